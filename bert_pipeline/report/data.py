"""The data of a run: texts and labels by split and span, anomalies, and drift."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from tensorflow_metadata.proto.v0 import statistics_pb2

from bert_pipeline.components.example_validator import REPORT_FILE
from bert_pipeline.data import text_features
from bert_pipeline.data.drift import STATISTICS_FILE, Drift, Threshold, compare, read_statistics
from bert_pipeline.report.page import Block, Figure, Pre, Section, Table, count, number, share
from bert_pipeline.report.plots import SERIES, name_rows, plot, short
from bert_pipeline.report.source import Source

_ROW_POINTS = 24
_MAX_LABELS = 7
_REST = "other labels"
_DRIFT_SPLIT = "train"  # eval is split from the same data


@dataclasses.dataclass(frozen=True)
class Texts:
    """One split of one span."""

    name: str
    """`span 2, train`, or `train`."""
    num_texts: int
    lengths: tuple[float, ...]
    """Tokens at the quantiles 0, 0.1, ..., 1, including [CLS] and [SEP], before truncation."""
    mean_length: float
    truncated: float
    """Share, 0 to 1."""
    unknown: float
    """Mean share of unknown tokens, 0 to 1."""
    duplicate: float
    labels: dict[str, float]
    """Share of each label."""


def texts(source: Source) -> Section:
    """Lengths, labels, truncation and unknown tokens."""
    found = read_texts(source)
    if not found:
        return Section("texts", "Texts and labels", ("There are no statistics of the texts.",))
    limit = int(source.settings.get("text", {}).get("max_seq_length", 0))
    header = ("data", "texts", "mean tokens", "cut", "unknown tokens", "duplicates")
    rows = [
        (
            t.name,
            count(t.num_texts),
            f"{t.mean_length:.1f}",
            *map(share, (t.truncated, t.unknown, t.duplicate)),
        )
        for t in found
    ]
    table = Table("Texts by split and span", header, tuple(rows))
    return Section(
        "texts", "Texts and labels", (_lengths(found, limit), _label_mix(found, source.labels), table)
    )


def read_texts(source: Source) -> list[Texts]:
    """Statistics of each split of each span, newest span first, train split first."""
    label = source.settings.get("data", {}).get("label", "")
    found = []
    for name, folder in source.statistics().items():
        prefix = "" if name == "data" else f"{name}, "
        paths = folder.glob(f"Split-*/{STATISTICS_FILE}")
        for path in sorted(paths, key=lambda p: ("train" not in p.parent.name, p)):
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
    with plot(height=80 + _ROW_POINTS * len(shown)) as (drawn, svg):
        axes = drawn.subplots()
        for row, q in enumerate(texts.lengths for texts in shown):
            axes.plot(
                [q[1], q[9]], [row, row], color=SERIES[0], linewidth=7, solid_capstyle="butt", alpha=0.5
            )
            axes.plot([q[0], q[10]], [row, row], color=SERIES[0], linewidth=1)
            axes.plot(q[5], row, "o", color="black", markersize=5)
        name_rows(axes, [texts.name for texts in shown])
        if limit:
            axes.axvline(limit, color=SERIES[1], linestyle="--", linewidth=1.2)
            axes.text(limit, -0.5, f"max_seq_length {limit} ", ha="right", va="bottom", fontsize=10)
        axes.set_xlabel("tokens: all, the middle 80 %, and the median")
        axes.set_xlim(left=0)
    worst = max(found, key=lambda texts: texts.truncated)
    finding = f"At most {share(worst.truncated)} of the texts are cut to {limit} tokens ({worst.name})."
    if shown:
        finding = f"Half of the texts of {shown[0].name} have up to {shown[0].lengths[5]:g} tokens. {finding}"
    rows = tuple((t.name, *(f"{t.lengths[i]:g}" for i in (0, 1, 5, 9, 10))) for t in shown)
    table = Table("Tokens of a text", ("data", "least", "10 %", "median", "90 %", "most"), rows)
    return Figure(svg.getvalue(), finding, table)


def _label_mix(found: Sequence[Texts], labels: Sequence[str]) -> Figure:
    mixes = [_few(texts.labels, labels) for texts in found]
    names = list(mixes[0])
    with plot(height=100 + _ROW_POINTS * len(found)) as (drawn, svg):
        axes = drawn.subplots()
        left = [0.0] * len(found)
        for name, color in zip(names, SERIES, strict=False):
            widths = [mix[name] for mix in mixes]
            bars = axes.barh(
                range(len(found)),
                widths,
                left=left,
                color=color,
                edgecolor="white",
                label=short(name, letters=20),
            )
            shown = [f"{width:.0%}" if width >= 0.12 else "" for width in widths]
            axes.bar_label(bars, shown, label_type="center", color="white")
            left = [a + b for a, b in zip(left, widths, strict=True)]
        name_rows(axes, [texts.name for texts in found])
        axes.set_xlim(0, 1)
        axes.grid(visible=False)
        axes.set_xlabel("share of the label")
        drawn.legend(loc="outside upper right", ncols=4 if max(map(len, names)) < 12 else 2)
    rows = tuple((t.name, *(share(t.labels.get(label, 0.0)) for label in labels)) for t in found)
    table = Table("Share of each label", ("data", *labels), rows)
    largest = max(found[0].labels, key=lambda label: found[0].labels[label])
    finding = f"The most frequent label of {found[0].name} is {largest}, {share(found[0].labels[largest])}."
    return Figure(svg.getvalue(), finding, table)


def _few(shares: dict[str, float], labels: Sequence[str]) -> dict[str, float]:
    """The first labels of the task, and the sum of the rest."""
    if len(labels) <= _MAX_LABELS:
        return {label: shares.get(label, 0.0) for label in labels}
    first = {label: shares.get(label, 0.0) for label in labels[: _MAX_LABELS - 1]}
    return {**first, _REST: max(0.0, 1 - sum(first.values()))}


def drift(source: Source) -> Section:
    """ExampleValidator's report, and the drift from the previous span."""
    text = _anomalies(source)
    block: Block = text.strip() or "The data was not validated: the run stopped before."
    if "\n" in text.strip():
        block = Pre(text, label="Report of ExampleValidator")
    drifts = _drifts(source)
    distances = _drift_figure(drifts) if drifts else "There is no span before to compare with."
    return Section("drift", "Anomalies and drift", (block, distances))


def _anomalies(source: Source) -> str:
    """The report of this run's data. If validation stopped the run, there is no artifact, only the text file."""
    execution, folder = source.execution("ExampleValidator"), source.folder("ExampleValidator", "anomalies")
    if folder and (folder / REPORT_FILE).exists():
        return (folder / REPORT_FILE).read_text(encoding="utf-8")
    if execution is None:
        return ""
    path = Path(str(execution.properties.get("report_path", "")))
    # A later run's validation would have overwritten that file.
    last = max(e.id for e in source.history.executions.values() if e.node == "ExampleValidator")
    if execution.id == last and path.is_file():
        return path.read_text(encoding="utf-8")
    return source.error


def _drifts(source: Source) -> list[Drift]:
    execution = source.execution("ExampleValidator")
    inputs = [source.given("ExampleValidator", key) for key in ("statistics", "reference_statistics")]
    if execution is None or not all(inputs):
        return []
    folders = [Path(artifacts[0].uri) / f"Split-{_DRIFT_SPLIT}" for artifacts in inputs]
    if not all((folder / STATISTICS_FILE).exists() for folder in folders):
        return []
    limits = json.loads(str(execution.properties["limits"]))
    now, before = map(read_statistics, folders)
    return compare(now, before, {name: Threshold(*pair) for name, pair in limits.items()})


def _drift_figure(drifts: Sequence[Drift]) -> Figure:
    with plot(height=80 + _ROW_POINTS * len(drifts)) as (drawn, svg):
        axes, rows = drawn.subplots(), range(len(drifts))
        axes.barh(rows, [d.value for d in drifts], height=0.6, color=SERIES[0], label="distance")
        axes.plot(
            [d.threshold for d in drifts], rows, "|", color=SERIES[1], markersize=15, mew=2.5, label="limit"
        )
        name_rows(axes, [d.column for d in drifts])
        axes.set_xlim(left=0)
        axes.set_xlabel("distance from the span before, 0 to 1")
        drawn.legend(loc="outside upper right", ncols=2)
    table = Table(
        f"Distances of the {_DRIFT_SPLIT} split from the span before",
        ("column", "distance", "value", "limit", "verdict"),
        tuple((d.column, d.distance, number(d.value), f"{d.threshold:g}", _verdict(d)) for d in drifts),
    )
    told = sum(d.is_breach or d.is_note for d in drifts)
    finding = (
        f"{told} of {len(drifts)} columns moved further than their limit and than chance explains. "
        f"{drifts[0].column} moved most, by {drifts[0].value:.3f}."
    )
    return Figure(svg.getvalue(), finding, table)


def _verdict(drift: Drift) -> str:
    if drift.is_breach:
        return "stopped the run"
    return "noted" if drift.is_note else "within its limit, or within chance"
