"""Metrics by slice, with confidence intervals, beside the baseline's."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bert_pipeline.evaluation.slices import SliceMetrics
from bert_pipeline.judging.intervals import SHOWN_CONFIDENCE, Interval
from bert_pipeline.report import plots
from bert_pipeline.report.blocks import Figure, Section, Table, Text, number
from bert_pipeline.report.source import Source
from bert_pipeline.settings import metric_names

# Slices in a plot; a table has them all.
_MAX_PLOTTED = 30
_ROW_POINTS = 17.0

_TITLES = {
    metric_names.ACCURACY: "accuracy",
    metric_names.MACRO_F1: "macro F1",
    metric_names.EXPECTED_COST: "expected cost",
    metric_names.AUC: "AUC",
    metric_names.CALIBRATION_ERROR: "calibration error",
    metric_names.LOSS: "loss",
}


def section(source: Source, slices: Sequence[SliceMetrics]) -> Section:
    """Tables and plots.

    Args:
        source: of the run.
        slices: all data first; empty: nothing was evaluated.
    """
    if not slices:
        return Section(
            "metrics", "Metrics by slice", (Text("The run stopped before anything was evaluated."),)
        )
    intro = Text(_intro(slices[0]))
    figures = [_plot(metric, slices) for metric in (metric_names.ACCURACY, metric_names.MACRO_F1)]
    return Section(
        "metrics",
        "Metrics by slice",
        (intro, *figures, _overall(slices[0]), _labels_table(source, slices[0])),
    )


def _intro(overall: SliceMetrics) -> str:
    intervals = (
        f"Bars are {SHOWN_CONFIDENCE:.0%} confidence intervals."
        if overall.intervals
        else "The task measures no intervals (evaluation.intervals is none)."
    )
    if not overall.baseline:
        return f"{intervals} No model was in service at this evaluation, so there is no baseline."
    return (
        f"{intervals} Change is candidate minus baseline, from the same examples of both: it may be surer than "
        "either of the two."
    )


def _interval(known: Interval | None) -> str:
    if known is None or not known.is_known:
        return "-"
    return f"{number(known.low)} to {number(known.high)}"


def _change(row: SliceMetrics, metric: str) -> str:
    if metric not in row.baseline or metric not in row.metrics:
        return "-"
    value = row.metrics[metric] - row.baseline[metric]
    return "-" if math.isnan(value) else f"{value:+.3f}"


_HEADER = ("candidate", "interval", "baseline", "change", "interval of the change")


def _cells(row: SliceMetrics, metric: str) -> tuple[str, ...]:
    return (
        number(row.metrics.get(metric)),
        _interval(row.intervals.get(metric)),
        number(row.baseline.get(metric)),
        _change(row, metric),
        _interval(row.changes.get(metric)),
    )


def _plot(metric: str, slices: Sequence[SliceMetrics]) -> Figure:
    title = _TITLES[metric]
    largest = sorted(slices[1:], key=lambda s: -s.num_examples)[: _MAX_PLOTTED - 1]
    shown = [slices[0], *(s for s in slices[1:] if s in largest)]
    with plots.plot(f"slices-{metric.replace('_', '-')}", height=64 + _ROW_POINTS * len(shown)) as drawn:
        axes = drawn.figure.subplots()
        _draw(axes, metric, shown)
        axes.set_xlabel(title)
    rows = tuple((slice_title(s), f"{s.num_examples:,}", *_cells(s, metric)) for s in slices)
    table = Table(f"{title} by slice", ("slice", "examples", *_HEADER), rows)
    return Figure(f"slices-{metric.replace('_', '-')}", drawn.svg, _finding(metric, slices), table)


def _draw(axes: plots.Axes, metric: str, shown: Sequence[SliceMetrics]) -> None:
    places = range(len(shown))
    values = [s.metrics.get(metric, math.nan) for s in shown]
    below, above = zip(*(_distances(s.intervals.get(metric)) for s in shown), strict=True)
    axes.errorbar(
        values,
        places,
        xerr=(below, above),
        fmt="o",
        color=plots.SERIES[0],
        capsize=2.5,
        markersize=5,
        label="candidate",
    )
    if shown[0].baseline:
        before = [s.baseline.get(metric, math.nan) for s in shown]
        axes.plot(
            before,
            places,
            "D",
            color=plots.SERIES[1],
            markerfacecolor="none",
            markersize=5.5,
            label="baseline",
        )
        axes.figure.legend(loc="outside upper right", ncols=2)
    axes.set_yticks(list(places), [f"{plots.short(slice_title(s))} ({s.num_examples:,})" for s in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    known = [v for v in values if not math.isnan(v)]
    low = min([0.5, *(v - w for v, w in zip(values, below, strict=True) if not math.isnan(v))])
    axes.set_xlim(max(0.0, low - 0.02) if known else 0.0, 1.02)


def _distances(known: Interval | None) -> tuple[float, float]:
    """From the value to both ends of its interval; 0 where there is none."""
    if known is None or not known.is_known:
        return 0.0, 0.0
    return max(known.value - known.low, 0.0), max(known.high - known.value, 0.0)


def _finding(metric: str, slices: Sequence[SliceMetrics]) -> str:
    title, overall = _TITLES[metric], slices[0]
    parts = [f"{title} on all data is {number(overall.metrics.get(metric))}"]
    if metric in overall.baseline:
        parts.append(f"beside the baseline's {number(overall.baseline[metric])}")
    known = [s for s in slices[1:] if not math.isnan(s.metrics.get(metric, math.nan))]
    if known:
        worst, best = (pick(known, key=lambda s: s.metrics[metric]) for pick in (min, max))
        parts.append(f"lowest on {worst.slice} ({number(worst.metrics[metric])})")
        parts.append(f"highest on {best.slice} ({number(best.metrics[metric])})")
    text = ", ".join(parts) + "."
    return text[0].upper() + text[1:]


def _overall(overall: SliceMetrics) -> Table:
    names = [name for name in _TITLES if name in overall.metrics]
    rows = tuple((_TITLES[name], *_cells(overall, name)) for name in names)
    return Table(f"Every metric on all data, {overall.num_examples:,} examples", ("metric", *_HEADER), rows)


def _labels_table(source: Source, overall: SliceMetrics) -> Table:
    rows = [
        (f"{kind}, {label}", *_cells(overall, metric_names.per_label(kind, label)))
        for kind in ("precision", "recall")
        for label in source.labels
    ]
    return Table(
        "Precision and recall of each label, all data", ("metric", *_HEADER), tuple(rows), folded=True
    )


def slice_title(row: SliceMetrics) -> str:
    """`all data`, or the slice's name."""
    return row.slice or "all data"
