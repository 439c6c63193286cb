"""Which labels are taken for which, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba

from bert_pipeline.evaluation.slices import SliceMetrics
from bert_pipeline.judging import scores
from bert_pipeline.report import plots
from bert_pipeline.report.blocks import Block, Figure, Section, Table, Text, count, number, share
from bert_pipeline.report.metrics import slice_title
from bert_pipeline.report.source import Source
from bert_pipeline.settings import metric_names

# Labels up to which a cell has room for its count.
_MAX_WRITTEN = 12
_NUM_PAIRS = 15
_MAX_OPACITY = 0.5  # text on a cell stays readable on both papers


def section(source: Source, slices: Sequence[SliceMetrics]) -> Section:
    """The confusion matrix of all data."""
    title = "Confusion matrix"
    if not slices or not any(map(sum, slices[0].confusion)):
        return Section("confusion", title, (Text("There are no answers to compare with labels."),))
    matrix, labels = np.array(slices[0].confusion), slices[0].labels or source.labels
    return Section("confusion", title, (matrix_figure(matrix, labels),))


def matrix_figure(matrix: np.ndarray, labels: Sequence[str]) -> Figure:
    """The matrix as a plot.

    Args:
        matrix: int [num_labels, num_labels]; examples by true label (row) and answered label (column).
        labels: names of the labels, in order.

    Returns:
        With every count in its table; of more than 12 labels the most frequent mistakes.
    """
    few = len(labels) <= _MAX_WRITTEN
    with plots.plot("confusion-matrix", height=130 + (30 * len(labels) if few else 300)) as drawn:
        axes = drawn.figure.subplots()
        _draw(axes, matrix, labels, is_written=few)
    pairs = _pairs(matrix, labels)
    if few:
        header = ("true label", *(f"answered {label}" for label in labels), "recall")
        rows = tuple(
            (label, *map(count, row), _share(row, i))
            for i, (label, row) in enumerate(zip(labels, matrix, strict=True))
        )
        table = Table("Examples by true and answered label", header, rows)
    else:
        header = ("true label", "answered", "examples")
        table = Table("The most frequent mistakes", header, tuple(pairs[:_NUM_PAIRS]))
    finding = "No answer is wrong."
    if pairs:
        finding = f"The most frequent mistake: {pairs[0][0]} is taken for {pairs[0][1]}, {pairs[0][2]} times."
    wrong = int(matrix.sum() - np.trace(matrix))
    return Figure(
        "confusion-matrix",
        drawn.svg,
        f"{wrong:,} of {int(matrix.sum()):,} answers are wrong. {finding}",
        table,
    )


def _share(row: np.ndarray, i: int) -> str:
    return number(row[i] / row.sum() if row.sum() else math.nan)


def _pairs(matrix: np.ndarray, labels: Sequence[str]) -> list[tuple[str, str, str]]:
    off = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-off, axis=None, kind="stable")
    places = [divmod(int(i), len(labels)) for i in order if off.flat[i] > 0]
    return [(labels[row], labels[column], count(off[row, column])) for row, column in places]


def _draw(axes: plots.Axes, matrix: np.ndarray, labels: Sequence[str], *, is_written: bool) -> None:
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cells = [(row, column) for row, column in np.ndindex(shares.shape) if matrix[row, column]]
    opacity = _MAX_OPACITY if is_written else 1.0
    corners = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    axes.add_collection(
        PolyCollection(
            [[(column + x, row + y) for x, y in corners] for row, column in cells],
            facecolors=[
                to_rgba(plots.SERIES[int(row != column)], opacity * shares[row, column])
                for row, column in cells
            ],
        )
    )
    if is_written:
        for row, column in np.ndindex(shares.shape):
            axes.text(column, row, count(matrix[row, column]), ha="center", va="center")
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.set_xlabel("answered label")
    axes.set_ylabel("true label")
    if is_written:
        axes.set_xticks(range(len(labels)), labels, rotation=0 if len(labels) < 5 else 60)
        axes.set_yticks(range(len(labels)), labels)


def cost_section(source: Source, slices: Sequence[SliceMetrics]) -> Section:
    """What the answers cost, by kind of mistake and by slice."""
    if not source.costs or not slices:
        return Section(
            "cost",
            "Expected cost",
            (Text("The task names no costs ([evaluation.costs]): every mistake counts the same."),),
        )
    unit = source.settings["evaluation"].get("cost_unit", "")
    return Section("cost", "Expected cost", tuple(_cost_blocks(source, slices, f" {unit}" if unit else "")))


def _cost_blocks(source: Source, slices: Sequence[SliceMetrics], unit: str) -> list[Block]:
    matrix, labels = np.array(slices[0].confusion), slices[0].labels or source.labels
    costs = scores.cost_matrix(source.costs, labels)
    total = float((matrix * costs).sum())
    mean = slices[0].metrics.get(metric_names.EXPECTED_COST, math.nan)
    before = slices[0].baseline.get(metric_names.EXPECTED_COST)
    beside = f", beside the baseline's {number(before)}{unit}" if before is not None else ""
    order = np.argsort(-(matrix * costs), axis=None, kind="stable")
    kinds = [divmod(int(i), len(labels)) for i in order if (matrix * costs).flat[i] > 0][:_NUM_PAIRS]
    rows = []
    for r, c in kinds:
        cost = matrix[r, c] * costs[r, c]
        numbers = (count(matrix[r, c]), f"{costs[r, c]:g}", f"{cost:g}", share(cost / total))
        rows.append((f"{labels[r]} taken for {labels[c]}", *numbers))
    together = f"all {int(matrix.sum()):,} together cost {total:g}{unit}"
    text = f"An answer costs {number(mean)}{unit} on average{beside}; {together}."
    return [
        Text(text),
        Table("Where the cost comes from", ("mistake", "times", "cost of one", "cost", "share"), tuple(rows)),
        Table(
            "Expected cost by slice",
            ("slice", "examples", "candidate", "± at 95 %", "baseline"),
            tuple(map(_cost_row, slices)),
            folded=True,
        ),
    ]


def _cost_row(row: SliceMetrics) -> tuple[str, ...]:
    known = row.intervals.get(metric_names.EXPECTED_COST)
    width = known.half_width if known and known.is_known else None
    values = (row.metrics.get(metric_names.EXPECTED_COST), width)
    return (
        slice_title(row),
        count(row.num_examples),
        *map(number, values),
        number(row.baseline.get(metric_names.EXPECTED_COST)),
    )
