"""How far the values of a column lie behind the rest of the examples: the comparison of slices."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bert_pipeline import scores
from bert_pipeline.estimates import Estimate, estimate, one_example
from bert_pipeline.slice_metrics import SliceMetrics, value_of

# Their value on "the rest" does not follow from the slice's and from all data's.
NOT_COMPARABLE = (scores.AUC, scores.CALIBRATION_ERROR, scores.EXAMPLE_COUNT)


@dataclasses.dataclass(frozen=True)
class Gap:
    """One slice beside all examples outside it."""

    metric: str
    slice: str
    num_examples: int
    here: Estimate
    rest: float

    behind: Estimate
    """How much worse it is here; negative where it is better."""


def gaps_of(
    metric: str,
    slices: Sequence[SliceMetrics],
    *,
    overall: SliceMetrics,
    labels: tuple[str, ...],
    costs: Mapping[str, Mapping[str, float]],
) -> Iterator[Gap]:
    """Compares each slice with the rest; a slice that holds every example has none.

    The standard error of the rest is that of all data, widened for its fewer examples; slice and rest share no
    example, so that their variances add.

    Args:
        metric: none of NOT_COMPARABLE.
        slices: the values of one column.
        overall: all data.
        labels: `data.labels`.
        costs: `evaluation.costs`.

    Yields:
        A gap for each slice; NaN where the metric is not defined on the slice or on the rest.
    """
    matrix = scores.cost_matrix(costs, labels)
    for row in slices:
        share = 1 - row.num_examples / overall.num_examples
        if share <= 0:
            continue
        confusion = np.array(overall.confusion, dtype=float) - np.array(row.confusion)
        rest = _value(metric, row, overall=overall, confusion=confusion, labels=labels, costs=matrix)
        step = one_example(metric, confusion=confusion, labels=labels, costs=matrix)
        error = overall.estimates.get(metric, Estimate(math.nan)).std_error / math.sqrt(share)
        here = row.estimates.get(metric, Estimate(value_of(row, metric)))
        behind = here.value - rest if metric in scores.LOWER_IS_BETTER else rest - here.value
        spread = math.hypot(here.std_error, estimate(rest, error, step=step).std_error)
        yield Gap(metric, row.slice, row.num_examples, here, rest, Estimate(behind, spread))


def _value(
    metric: str,
    row: SliceMetrics,
    *,
    overall: SliceMetrics,
    confusion: np.ndarray,
    labels: tuple[str, ...],
    costs: np.ndarray,
) -> float:
    """The metric on the examples outside a slice, whose confusion matrix is given."""
    if metric == scores.LOSS:  # a mean over the examples
        total = value_of(overall, metric) * overall.num_examples - value_of(row, metric) * row.num_examples
        return total / (overall.num_examples - row.num_examples)
    if metric == scores.EXPECTED_COST:
        return scores.expected_cost(confusion, costs)
    return scores.scores_from_confusion(confusion, labels)[metric]
