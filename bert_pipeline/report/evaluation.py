"""A run's outcome and evaluation: verdict, metrics by slice, confusions, costs, and coverage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bert_pipeline.components.coverage import COVERAGE_FILE, read_report, sentences
from bert_pipeline.evaluation.slices import SliceMetrics
from bert_pipeline.judging import scores
from bert_pipeline.judging.intervals import SHOWN_CONFIDENCE, Interval
from bert_pipeline.report.page import Block, Figure, Part, Pre, Section, Table, count, number, share
from bert_pipeline.report.plots import SERIES, Axes, name_rows, plot, short
from bert_pipeline.report.source import Source
from bert_pipeline.settings import metric_names

# Outcome to title and first sentence; "" for a killed run.
_OUTCOMES = {
    "pushed": ("Pushed", "Every gate held, {beside}. Pushed as version {version}."),
    "refused": ("Refused", "The candidate was refused; what was in service stays."),
    "in service already": (
        "Unchanged",
        "Version {version} in service is this very model; nothing was pushed.",
    ),
    "stopped": ("Stopped", "The run stopped before there was a verdict; what was in service stays. It said:"),
    "": ("Not finished", "The run was killed, or goes on still: it recorded no end."),
}
_TITLES = {
    metric_names.ACCURACY: "accuracy",
    metric_names.MACRO_F1: "macro F1",
    metric_names.EXPECTED_COST: "expected cost",
    metric_names.AUC: "AUC",
    metric_names.CALIBRATION_ERROR: "calibration error",
    metric_names.LOSS: "loss",
}
_HEADER = ("candidate", "interval", "baseline", "change", "interval of the change")
_THIN = {
    "slice": "few eval examples",
    "missing": "none in eval",
}
# Maximum slices in a plot; a table has all.
_MAX_PLOTTED = 30
# Maximum labels for which the cells of the confusion matrix show counts.
_MAX_WRITTEN = 12
_NUM_PAIRS = 15


def headline(source: Source) -> str:
    """One word for the title: Pushed, Refused, Unchanged, Stopped, Not finished."""
    return _OUTCOMES[source.outcome][0]


def verdict(source: Source) -> Section:
    """The outcome of the run, with reasons and notes."""
    parts = [Part(title, (items,)) for title, items in _lists(source) if items]
    return Section("verdict", "Verdict", tuple(_sentences(source)), tuple(parts))


def _sentences(source: Source) -> Iterator[Block]:
    summary = source.summary
    beside = "also beside the baseline" if summary.get("baseline") else "there was no baseline yet"
    first = _OUTCOMES[source.outcome][1]
    yield first.format(beside=beside, version=summary.get("version", ""))
    if source.outcome == "stopped":
        yield Pre(source.error, label="Why the run stopped")
    if summary:
        metrics = summary["metrics"]
        yield (
            f"On all {summary['num_examples']:,} evaluated examples: accuracy {number(metrics.get('accuracy'))}"
            f", macro F1 {number(metrics.get('macro_f1'))}."
        )
    spans = summary.get("trained_on_spans")
    if spans:
        plural = "s" if len(spans) > 1 else ""
        yield (
            f"Trained on span{plural} {', '.join(spans)}; evaluated on span {summary['evaluated_on_span']}."
        )


def _lists(source: Source) -> Iterator[tuple[str, tuple[str, ...]]]:
    summary = source.summary
    states = {name: component["state"] for name, component in summary.get("components", {}).items()}
    # If the model is already in service, the sentence above is the only reason.
    yield "Reasons", () if source.outcome == "in service already" else tuple(summary.get("reasons", ()))
    yield "Gates that held", tuple(summary.get("held", ()))
    yield "Slices behind the others", tuple(summary.get("behind", ()))
    failed = [f"{name} {state}" for name, state in states.items() if state in ("failed", "skipped")]
    yield "Warnings", tuple(f"{what}; the push is not affected" for what in failed)
    yield "Notes", (*summary.get("data_notes", ()), *summary.get("notes", ()))


def metrics(source: Source, slices: Sequence[SliceMetrics]) -> Section:
    """Metrics by slice, with confidence intervals, beside the baseline's.

    Args:
        source: of the run.
        slices: all data first; empty if nothing was evaluated.
    """
    title = "Metrics by slice"
    if not slices:
        return Section("metrics", title, ("The run stopped before anything was evaluated.",))
    overall = slices[0]
    header = ("metric", *_HEADER)
    of_all = tuple(
        (title, *_cells(overall, name)) for name, title in _TITLES.items() if name in overall.metrics
    )
    of_labels = [
        (f"{kind}, {label}", *_cells(overall, metric_names.per_label(kind, label)))
        for kind in ("precision", "recall")
        for label in source.labels
    ]
    blocks: tuple[Block, ...] = (
        _intro(overall),
        *(_slices_figure(metric, slices) for metric in (metric_names.ACCURACY, metric_names.MACRO_F1)),
        Table(f"Every metric on all data, {overall.num_examples:,} examples", header, of_all),
        Table("Precision and recall of each label, all data", header, tuple(of_labels), folded=True),
    )
    return Section("metrics", title, blocks)


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


def _cells(row: SliceMetrics, metric: str) -> tuple[str, ...]:
    value, before = row.metrics.get(metric, math.nan), row.baseline.get(metric, math.nan)
    change = "-" if math.isnan(value - before) else f"{value - before:+.3f}"
    of_value, of_change = _interval(row.intervals.get(metric)), _interval(row.changes.get(metric))
    return number(value), of_value, number(before), change, of_change


def _interval(known: Interval | None) -> str:
    return f"{number(known.low)} to {number(known.high)}" if known and known.is_known else "-"


def _slices_figure(metric: str, slices: Sequence[SliceMetrics]) -> Figure:
    title, largest = _TITLES[metric], sorted(slices[1:], key=lambda s: -s.num_examples)[: _MAX_PLOTTED - 1]
    shown = [slices[0], *(s for s in slices[1:] if s in largest)]
    with plot(height=90 + 17 * len(shown)) as (drawn, svg):
        axes = drawn.subplots()
        values = [s.metrics.get(metric, math.nan) for s in shown]
        known = [s.intervals.get(metric, Interval(math.nan)) for s in shown]
        ends = [(k.value - k.low, k.high - k.value) if k.is_known else (0, 0) for k in known]
        bars = np.array(ends).T.clip(0)
        rows = range(len(shown))
        axes.errorbar(values, rows, xerr=bars, fmt="o", color=SERIES[0], capsize=2.5, label="candidate")
        if shown[0].baseline:
            before = [s.baseline.get(metric, math.nan) for s in shown]
            axes.plot(before, rows, "D", color=SERIES[1], markerfacecolor="none", label="baseline")
            drawn.legend(loc="outside upper right", ncols=2)
        name_rows(axes, [f"{short(slice_title(s))} ({s.num_examples:,})" for s in shown])
        low = min([0.5, *(v for v in values - bars[0] if not math.isnan(v))])
        axes.set_xlim(max(0.0, low - 0.02), 1.02)
        axes.set_xlabel(title)
    cells = tuple((slice_title(s), count(s.num_examples), *_cells(s, metric)) for s in slices)
    table = Table(f"{title} by slice", ("slice", "examples", *_HEADER), cells)
    return Figure(svg.getvalue(), _slices_finding(metric, slices), table)


def _slices_finding(metric: str, slices: Sequence[SliceMetrics]) -> str:
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


def slice_title(row: SliceMetrics) -> str:
    """`all data`, or the slice's name."""
    return row.slice or "all data"


def confusion(source: Source, slices: Sequence[SliceMetrics]) -> Section:
    """The confusion matrix of all data."""
    title = "Confusion matrix"
    if not slices or not any(map(sum, slices[0].confusion)):
        return Section("confusion", title, ("There are no answers to compare with labels.",))
    matrix, labels = np.array(slices[0].confusion), slices[0].labels or source.labels
    return Section("confusion", title, (matrix_figure(matrix, labels),))


def matrix_figure(matrix: np.ndarray, labels: Sequence[str]) -> Figure:
    """The matrix as a plot.

    Args:
        matrix: int [num_labels, num_labels]; examples by true label (row) and predicted label (column).
        labels: names of the labels, in order.

    Returns:
        A figure with all counts in its table; with more than 12 labels, the most frequent mistakes.
    """
    few = len(labels) <= _MAX_WRITTEN
    with plot(height=130 + (30 * len(labels) if few else 300)) as (drawn, svg):
        _draw_matrix(drawn.subplots(), matrix, labels if few else ())
    pairs = [(labels[r], labels[c], count(matrix[r, c])) for r, c in _largest(matrix) if r != c]
    if few:
        recall = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
        known = [value if row.sum() else None for value, row in zip(recall, matrix, strict=True)]
        header = ("true label", *(f"answered {label}" for label in labels), "recall")
        rows = [(label, *map(count, matrix[i]), number(known[i])) for i, label in enumerate(labels)]
        table = Table("Examples by true and answered label", header, tuple(rows))
    else:
        header = ("true label", "answered", "examples")
        table = Table("The most frequent mistakes", header, tuple(pairs[:_NUM_PAIRS]))
    finding = "No answer is wrong."
    if pairs:
        finding = f"The most frequent mistake: {pairs[0][0]} is taken for {pairs[0][1]}, {pairs[0][2]} times."
    wrong = int(matrix.sum() - np.trace(matrix))
    text = f"{wrong:,} of {int(matrix.sum()):,} answers are wrong. {finding}"
    return Figure(svg.getvalue(), text, table)


def _largest(values: np.ndarray) -> list[tuple[int, int]]:
    """Rows and columns of a matrix's positive values, largest first."""
    order = np.argsort(-values, axis=None, kind="stable")
    return [divmod(int(i), len(values)) for i in order if values.flat[i] > 0]


def _draw_matrix(axes: Axes, matrix: np.ndarray, labels: Sequence[str]) -> None:
    """Draws each row's shares as colours, with the counts if labels are given."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    axes.set_xlabel("answered label")
    axes.set_ylabel("true label")
    if labels:
        for row, column in np.ndindex(shares.shape):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, count(matrix[row, column]), color=color, ha="center", va="center")
        axes.set_xticks(range(len(labels)), labels, rotation=0 if len(labels) < 5 else 60)
        axes.set_yticks(range(len(labels)), labels)


def cost(source: Source, slices: Sequence[SliceMetrics]) -> Section:
    """Costs of the answers, by kind of mistake and by slice."""
    title, metric = "Expected cost", metric_names.EXPECTED_COST
    section = source.settings.get("evaluation", {})
    if not section.get("costs") or not slices:
        why = "The task names no costs ([evaluation.costs]): every mistake counts the same."
        return Section("cost", title, (why,))
    overall = slices[0]
    unit = f" {section.get('cost_unit', '')}".rstrip()
    matrix, labels = np.array(overall.confusion), overall.labels or source.labels
    of_one = scores.cost_matrix(section["costs"], labels)
    costs = matrix * of_one
    total = float(costs.sum())
    before = overall.baseline.get(metric)
    beside = f", beside the baseline's {number(before)}{unit}" if before is not None else ""
    together = f"all {int(matrix.sum()):,} together cost {total:g}{unit}"
    rows = []
    for r, c in _largest(costs)[:_NUM_PAIRS]:
        numbers = (count(matrix[r, c]), f"{of_one[r, c]:g}", f"{costs[r, c]:g}", share(costs[r, c] / total))
        rows.append((f"{labels[r]} taken for {labels[c]}", *numbers))
    header = ("slice", "examples", "candidate", "± at 95 %", "baseline")
    blocks = (
        f"An answer costs {number(overall.metrics.get(metric))}{unit} on average{beside}; {together}.",
        Table("Where the cost comes from", ("mistake", "times", "cost of one", "cost", "share"), tuple(rows)),
        Table("Expected cost by slice", header, tuple(map(_cost_row, slices)), folded=True),
    )
    return Section("cost", title, blocks)


def _cost_row(row: SliceMetrics) -> tuple[str, ...]:
    metric = metric_names.EXPECTED_COST
    known = row.intervals.get(metric)
    values = (row.metrics.get(metric), known.half_width if known else None, row.baseline.get(metric))
    return (slice_title(row), count(row.num_examples), *map(number, values))


def thin(source: Source) -> Section:
    """Slices and values with too few evaluation examples, from Coverage."""
    folder, title = source.folder("Coverage", "report"), "Coverage"
    if folder is None or not (folder / COVERAGE_FILE).exists():
        why = "It was not looked for: evaluation.coverage is false, or the run stopped before."
        return Section("coverage", title, (why,))
    found = read_report(str(folder))
    if not found:
        return Section("coverage", title, ("The evaluation data is thin nowhere.",))
    rows = tuple((t.name, _THIN.get(t.kind, t.kind), count(t.num_train), count(t.num_eval)) for t in found)
    table = Table("Thin places", ("where", "what", "train", "eval"), rows, folded=True)
    return Section("coverage", title, (tuple(sentences(found)), table))
