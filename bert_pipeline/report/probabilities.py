"""Whether the probabilities can be believed, and what a threshold on them gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from bert_pipeline.evaluation.slices import SliceMetrics
from bert_pipeline.judging import scores
from bert_pipeline.report import answers as of_answers
from bert_pipeline.report import plots
from bert_pipeline.report.answers import Answers, Bin
from bert_pipeline.report.blocks import Block, Figure, Part, Section, Table, Text, count, number, share
from bert_pipeline.report.source import Source
from bert_pipeline.settings import metric_names

OLDER = Text(
    "The answers to the single examples are not recorded: this evaluation was made by an older version of the "
    "pipeline, or stopped. A changed bound, label or slice evaluates anew."
)

# Label by label up to so many; of more, those with the lowest recall.
_MAX_LABELS = 6
_THRESHOLDS = np.linspace(0, 1, 101)
_TABLE_EVERY = 10


def section(source: Source, slices: Sequence[SliceMetrics], answers: Answers | None) -> Section:
    """Calibration, abstaining, and precision and recall by threshold."""
    title = "Calibration and thresholds"
    if answers is None:
        return Section("probabilities", title, (OLDER,))
    error = slices[0].metrics.get(metric_names.CALIBRATION_ERROR) if slices else None
    parts = (
        Part("Calibration", (_reliability(answers, error),)),
        Part("Leaving unsure texts to a person", (_abstaining(answers),)),
        Part("Threshold for each label", tuple(_thresholds(source.labels, answers))),
    )
    return Section("probabilities", title, (), parts)


def _reliability(answers: Answers, error: float | None) -> Figure:
    bins = of_answers.calibration(answers)
    with plots.plot("calibration", height=330) as drawn:
        above, below = drawn.figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.plot([0, 1], [0, 1], "--", color=plots.INK, linewidth=0.8, label="as right as confident")
        above.plot(
            [b.confidence for b in bins],
            [b.accuracy for b in bins],
            "o-",
            color=plots.SERIES[0],
            label="candidate",
        )
        above.set_ylabel("share right")
        above.legend(loc="upper left")
        edges, width = [b.low for b in bins], 1 / scores.NUM_CALIBRATION_BINS
        below.bar(edges, [b.count for b in bins], width=width * 0.9, align="edge", color=plots.SERIES[0])
        below.set_ylabel("examples")
        below.set_xlabel("confidence (probability of the answer)")
        above.set_xlim(min(0.3, edges[0]), 1.005)
    rows = tuple(_bin_row(b) for b in bins)
    header = ("confidence", "examples", "mean confidence", "share right")
    return Figure(
        "calibration", drawn.svg, _calibration_finding(bins, error), Table("Calibration", header, rows)
    )


def _bin_row(b: Bin) -> tuple[str, ...]:
    return (f"{b.low:.2f} to {b.high:.2f}", count(b.count), number(b.confidence), number(b.accuracy))


def _calibration_finding(bins: Sequence[Bin], error: float | None) -> str:
    total = sum(b.count for b in bins)
    gap = sum(b.count * (b.confidence - b.accuracy) for b in bins) / total
    word = "overconfident" if gap > 0 else "underconfident"
    mean = f"Over all answers the model is {word} by {abs(gap):.3f}."
    return f"{mean} The expected calibration error is {number(error)}." if error is not None else mean


def _abstaining(answers: Answers) -> Figure:
    kept, right = of_answers.abstaining(answers, _THRESHOLDS)
    with plots.plot("abstaining", height=220) as drawn:
        axes = drawn.figure.subplots()
        axes.plot(_THRESHOLDS, right, "-", color=plots.SERIES[0], label="right, of those answered")
        axes.plot(_THRESHOLDS, kept, "--", color=plots.SERIES[1], label="answered, of all")
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("answered only where the confidence is at least")
        axes.legend(loc="lower left")
    rows = tuple(
        (f"{_THRESHOLDS[i]:.1f}", share(kept[i]), share(right[i]))
        for i in range(0, len(_THRESHOLDS), _TABLE_EVERY)
    )
    at = int(np.flatnonzero(np.isclose(_THRESHOLDS, 0.9))[0])
    finding = (
        f"If answers with a confidence under 0.9 went to a person, {share(kept[at])} would be answered, "
        f"{share(right[at])} of them right; without a threshold {share(right[0])} are right."
    )
    table = Table("Answers by confidence threshold", ("threshold", "answered", "right"), rows)
    return Figure("abstaining", drawn.svg, finding, table)


def _thresholds(labels: Sequence[str], answers: Answers) -> list[Block]:
    shown = _weakest(labels, answers)
    curves = {i: of_answers.precision_recall(answers, i, _THRESHOLDS) for i in shown}
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    with plots.plot("thresholds", height=36 + 150 * rows) as drawn:
        grid = drawn.figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        for axes, i in zip(grid.flat, shown, strict=False):
            axes.plot(_THRESHOLDS, curves[i][0], "-", color=plots.SERIES[0], label="precision")
            axes.plot(_THRESHOLDS, curves[i][1], "--", color=plots.SERIES[1], label="recall")
            axes.set_title(plots.short(labels[i], letters=18), fontsize=11)
            axes.set_ylim(0, 1.03)
        drawn.figure.supxlabel("threshold on the label's probability", fontsize=11)
        drawn.figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    finding, table = _threshold_finding(labels, curves), _threshold_table(labels, curves)
    figure = Figure("thresholds", drawn.svg, finding, table)
    if len(shown) == len(labels):
        return [figure]
    return [Text(f"The {len(shown)} labels with the lowest recall, of {len(labels)}."), figure]


def _weakest(labels: Sequence[str], answers: Answers) -> list[int]:
    """Label ids: all of a few, of many those with the lowest recall."""
    if len(labels) <= _MAX_LABELS:
        return list(range(len(labels)))
    recall = {
        int(i): float(answers.is_right[answers.label_ids == i].mean()) for i in np.unique(answers.label_ids)
    }
    return sorted(sorted(recall, key=lambda i: recall[i])[:_MAX_LABELS])


Curves: TypeAlias = Mapping[int, tuple[np.ndarray, np.ndarray]]


def _threshold_finding(labels: Sequence[str], curves: Curves) -> str:
    middle = len(_THRESHOLDS) // 2
    parts = [
        f"{labels[i]} precision {number(precision[middle])}, recall {number(recall[middle])}"
        for i, (precision, recall) in curves.items()
    ]
    return f"At a threshold of 0.5: {'; '.join(parts)}."


def _threshold_table(labels: Sequence[str], curves: Curves) -> Table:
    header = ("threshold", *(f"{kind}, {labels[i]}" for i in curves for kind in ("precision", "recall")))
    rows = tuple(
        (f"{_THRESHOLDS[t]:.1f}", *(number(curves[i][kind][t]) for i in curves for kind in (0, 1)))
        for t in range(0, len(_THRESHOLDS), _TABLE_EVERY)
    )
    return Table("Precision and recall by threshold", header, rows)
