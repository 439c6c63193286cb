"""What the texts are like: lengths, truncation, unknown tokens and labels, by split and span."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tensorflow_metadata.proto.v0 import statistics_pb2

from bert_pipeline.data import text_features
from bert_pipeline.data.drift import STATISTICS_FILE, read_statistics
from bert_pipeline.report import plots
from bert_pipeline.report.blocks import Figure, Section, Table, Text, count, share
from bert_pipeline.report.source import Source

_ROW_POINTS = 24.0
_MAX_LABELS = 7
_REST = "other labels"


@dataclasses.dataclass(frozen=True)
class Texts:
    """One split of one span."""

    name: str
    """`span 2, train`, or `train`."""
    num_texts: int
    lengths: tuple[float, ...]
    """Tokens at the quantiles 0, 0.1, ..., 1; [CLS] and [SEP] counted, nothing cut."""
    mean_length: float
    truncated: float
    """Share, 0 to 1."""
    unknown: float
    """Mean share of tokens that the vocabulary lacks, 0 to 1."""
    duplicate: float
    labels: dict[str, float]
    """Share of each label."""


def section(source: Source) -> Section:
    """Two plots and a table."""
    found = [
        texts
        for name, folder in source.statistics().items()
        for texts in read_texts(folder, name=name, label=source.settings.get("data", {}).get("label", ""))
    ]
    if not found:
        return Section("texts", "Texts and labels", (Text("There are no statistics of the texts."),))
    limit = int(source.settings.get("text", {}).get("max_seq_length", 0))
    blocks = (_lengths(found, limit), _label_mix(found, source.labels), _table(found))
    return Section("texts", "Texts and labels", blocks)


def read_texts(folder: Path, *, name: str, label: str) -> list[Texts]:
    """What StatisticsGen wrote of each split, train first.

    Args:
        folder: of an ExampleStatistics.
        name: of the span; `data` where there is none.
        label: name of the label column.
    """
    splits = sorted(folder.glob(f"Split-*/{STATISTICS_FILE}"), key=lambda p: "train" not in p.parent.name)
    prefix = "" if name == "data" else f"{name}, "
    found = []
    for path in splits:
        statistics = read_statistics(path.parent).datasets[0]
        features = {feature.path.step[0]: feature for feature in statistics.features}
        if text_features.NUM_TOKENS in features and label in features:
            split = path.parent.name.removeprefix("Split-")
            found.append(_texts(f"{prefix}{split}", statistics.num_examples, features, label))
    return found


def _texts(
    name: str, num_texts: int, features: dict[str, statistics_pb2.FeatureNameStatistics], label: str
) -> Texts:
    length = features[text_features.NUM_TOKENS].num_stats
    quantiles = [h for h in length.histograms if h.type == statistics_pb2.Histogram.QUANTILES]
    buckets = quantiles[0].buckets if quantiles else []
    return Texts(
        name=name,
        num_texts=int(num_texts),
        lengths=(*(b.low_value for b in buckets), *(b.high_value for b in buckets[-1:])),
        mean_length=length.mean,
        truncated=_shares(features[text_features.TRUNCATED]).get("yes", 0.0),
        unknown=features[text_features.UNKNOWN_SHARE].num_stats.mean,
        duplicate=_shares(features[text_features.DUPLICATE]).get("yes", 0.0),
        labels=_shares(features[label]),
    )


def _shares(feature: statistics_pb2.FeatureNameStatistics) -> dict[str, float]:
    buckets = feature.string_stats.rank_histogram.buckets
    total = sum(b.sample_count for b in buckets) or 1.0
    return {b.label: b.sample_count / total for b in buckets}


def _lengths(found: Sequence[Texts], limit: int) -> Figure:
    shown = [texts for texts in found if len(texts.lengths) == 11]
    with plots.plot("lengths", height=80 + _ROW_POINTS * len(shown)) as drawn:
        axes = drawn.figure.subplots()
        for row, texts in enumerate(shown):
            q = texts.lengths
            axes.plot(
                [q[1], q[9]], [row, row], color=plots.SERIES[0], linewidth=7, solid_capstyle="butt", alpha=0.5
            )
            axes.plot([q[0], q[10]], [row, row], color=plots.SERIES[0], linewidth=1)
            axes.plot(q[5], row, "o", color=plots.INK, markersize=5)
        axes.set_yticks(range(len(shown)), [texts.name for texts in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        if limit:
            axes.axvline(limit, color=plots.SERIES[1], linestyle="--", linewidth=1.2)
            axes.text(limit, -0.5, f"max_seq_length {limit} ", ha="right", va="bottom", fontsize=10)
        axes.set_xlabel("tokens: all, the middle 80 %, and the median")
        axes.set_xlim(left=0)
    worst = max(found, key=lambda texts: texts.truncated)
    finding = f"At most {share(worst.truncated)} of the texts are cut to {limit} tokens ({worst.name})."
    if shown:
        finding = f"Half of the texts of {shown[0].name} have up to {shown[0].lengths[5]:g} tokens. {finding}"
    rows = tuple((t.name, *(f"{t.lengths[i]:g}" for i in (0, 1, 5, 9, 10))) for t in shown)
    table = Table("Tokens of a text", ("data", "least", "10 %", "median", "90 %", "most"), rows)
    return Figure("lengths", drawn.svg, finding, table)


def _label_mix(found: Sequence[Texts], labels: Sequence[str]) -> Figure:
    mixes = [_few(texts.labels, labels) for texts in found]
    names = list(dict.fromkeys(name for mix in mixes for name in mix))
    with plots.plot("label-mix", height=100 + _ROW_POINTS * len(found)) as drawn:
        axes = drawn.figure.subplots()
        left = [0.0] * len(found)
        for i, name in enumerate(names):
            widths = [mix.get(name, 0.0) for mix in mixes]
            axes.barh(range(len(found)), widths, left=left, height=0.7, color=plots.SERIES[i], alpha=0.55,
                      hatch=plots.HATCHES[i], edgecolor=plots.INK, linewidth=0.6,
                      label=plots.short(name, letters=20))  # fmt: skip
            for row, (start, width) in enumerate(zip(left, widths, strict=True)):
                if width >= 0.12:
                    axes.text(start + width / 2, row, f"{width:.0%}", ha="center", va="center", bbox=_BEHIND)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        axes.set_yticks(range(len(found)), [texts.name for texts in found])
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.grid(visible=False)
        axes.set_xlabel("share of the label")
        drawn.figure.legend(loc="outside upper right", ncols=4 if max(map(len, names)) < 12 else 2)
    rows = tuple((t.name, *(share(t.labels.get(label, 0.0)) for label in labels)) for t in found)
    table = Table("Share of each label", ("data", *labels), rows)
    largest = max(found[0].labels, key=lambda label: found[0].labels[label])
    finding = f"The most frequent label of {found[0].name} is {largest}, {share(found[0].labels[largest])}."
    return Figure("label-mix", drawn.svg, finding, table)


_BEHIND = {"facecolor": plots.PAPER, "edgecolor": "none", "pad": 1.2}


def _few(shares: dict[str, float], labels: Sequence[str]) -> dict[str, float]:
    """The first labels of the task, and the rest together."""
    if len(labels) <= _MAX_LABELS:
        return {label: shares.get(label, 0.0) for label in labels}
    first = {label: shares.get(label, 0.0) for label in labels[: _MAX_LABELS - 1]}
    return {**first, _REST: max(0.0, 1 - sum(first.values()))}


def _table(found: Sequence[Texts]) -> Table:
    header = ("data", "texts", "mean tokens", "cut", "unknown tokens", "duplicates")
    rows = tuple(
        (
            t.name,
            count(t.num_texts),
            f"{t.mean_length:.1f}",
            share(t.truncated),
            share(t.unknown),
            share(t.duplicate),
        )
        for t in found
    )
    return Table("Texts by split and span", header, rows)
