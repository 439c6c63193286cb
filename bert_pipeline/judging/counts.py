"""Metrics computed from counts of answers: accuracy, macro_f1, expected_cost, precision and recall per label."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bert_pipeline.judging import intervals, scores
from bert_pipeline.judging.intervals import SHOWN_CONFIDENCE, Interval
from bert_pipeline.settings import metric_names

NUM_DRAWS = 2_000
SEED = 13


def confusion(label_ids: np.ndarray, answered: np.ndarray, size: int) -> np.ndarray:
    """Float [num_labels, num_labels]: examples by true label and predicted label."""
    return np.bincount(label_ids * size + answered, minlength=size * size).reshape([size, size]).astype(float)


def costliest(costs: np.ndarray) -> np.ndarray:
    """Int [num_labels]: the costliest wrong answer for each label."""
    others = costs.astype(float).copy()
    np.fill_diagonal(others, -math.inf)
    return others.argmax(axis=1)


def value_of_counts(metric: str, table: np.ndarray, *, labels: tuple[str, ...], costs: np.ndarray) -> float:
    """Computes a metric from counts; NaN if it is undefined.

    Args:
        metric: accuracy, macro_f1, expected_cost, precision/<label>, recall/<label> or example_count.
        table: float [num_labels, num_labels]: examples by true label (row) and answered label (column).
        labels: their names, in order.
        costs: of `scores.cost_matrix`.
    """
    if metric == metric_names.EXPECTED_COST:
        return scores.expected_cost(table, costs)
    return scores.scores_from_confusion(table, labels)[metric]


def drawn_values(
    metric: str,
    counts: np.ndarray,
    true: np.ndarray,
    answered: np.ndarray,
    *,
    labels: tuple[str, ...],
    costs: np.ndarray,
) -> np.ndarray:
    """Computes a metric from counts, for many draws at once.

    Args:
        metric: see `value_of_counts`.
        counts: float [num_draws, num_kinds]: examples of each kind, in each draw.
        true: int [num_kinds]: the true label of each kind.
        answered: int [num_kinds]: the predicted label of each kind.
        labels: names of the labels, in order.
        costs: of `scores.cost_matrix`.

    Returns:
        Float [num_draws]; NaN where undefined.
    """
    counts, kinds, is_right = counts.astype(float), np.arange(len(true)), true == answered
    kind, _, label = metric.partition("/")
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric == metric_names.EXPECTED_COST:
            return np.asarray(counts @ costs[true, answered] / counts.sum(axis=1))
        if metric == metric_names.ACCURACY:
            return np.asarray(counts @ is_right / counts.sum(axis=1))
        if metric == metric_names.MACRO_F1:
            is_true, is_answered = np.zeros([2, len(kinds), len(labels)])
            is_true[kinds, true] = is_answered[kinds, answered] = 1
            f1 = 2 * (counts @ (is_true * is_answered)) / (counts @ (is_true + is_answered))
            return np.asarray(np.nanmean(f1, axis=1))
        of_label = (true if kind == "recall" else answered) == labels.index(label)
        return np.asarray(counts @ (of_label & is_right) / (counts @ of_label))


def counts_interval(
    metric: str,
    table: np.ndarray,
    *,
    labels: tuple[str, ...],
    costs: np.ndarray,
    confidence: float = SHOWN_CONFIDENCE,
) -> Interval:
    """Two-sided interval of a metric of counts; see `value_of_counts`."""
    value = value_of_counts(metric, table, labels=labels, costs=costs)
    hits = hits_of(metric, table, labels)
    if hits is not None:
        return intervals.share_interval(*hits, confidence=confidence)
    draws = drawn_values(metric, *draw_tables(table, costs), labels=labels, costs=costs)
    return intervals.drawn_interval(value, draws, confidence=confidence)


def hits_of(metric: str, table: np.ndarray, labels: tuple[str, ...]) -> tuple[int, int] | None:
    """Correct and all answers if the metric is their quotient, else None."""
    kind, _, label = metric.partition("/")
    if metric == metric_names.ACCURACY:
        return round(float(np.trace(table))), round(float(table.sum()))
    if kind in ("recall", "precision") and label in labels:
        i = labels.index(label)
        return round(float(table[i, i])), round(float((table[i] if kind == "recall" else table[:, i]).sum()))
    return None


def draw_tables(
    table: np.ndarray, costs: np.ndarray, *, seed: int = SEED
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws counts by a Bayesian bootstrap: `counts`, `true` and `answered` of `drawn_values`.

    Adds half an example to the correct and to the costliest wrong answer of each
    label that occurs (Jeffreys' prior), so that 4 of 4 correct answers are less certain than 4,000 of 4,000.

    Args:
        table: float [num_labels, num_labels].
        costs: of `scores.cost_matrix`.
        seed: of the draws; use different seeds for two tables that share no example.
    """
    prior = np.zeros(table.shape)
    occurs = np.flatnonzero(table.sum(axis=1))
    prior[occurs, occurs] += 0.5
    prior[occurs, costliest(costs)[occurs]] += 0.5
    true, answered = np.nonzero(table + prior)
    weights = (table + prior)[true, answered]
    drawn = np.random.default_rng(seed).standard_gamma(weights, size=(NUM_DRAWS, len(weights)))
    return drawn, true, answered


def compare_counts(
    metric: str, table: np.ndarray, other: np.ndarray, *, labels: tuple[str, ...], costs: np.ndarray
) -> tuple[Interval, float]:
    """Computes how much worse a metric is on one set of examples than on a disjoint one.

    Args:
        metric: a metric of counts; see `value_of_counts`.
        table: float [num_labels, num_labels]: examples by true label and answered label.
        other: same, for the other examples.
        labels: names of the labels, in order.
        costs: of `scores.cost_matrix`.

    Returns:
        The two-sided interval of the difference, positive if `table` is worse, and the p-value of a difference
        this large under the null hypothesis.
    """
    how: dict[str, Any] = {"labels": labels, "costs": costs}
    sign = 1.0 if metric in metric_names.LOWER_IS_BETTER else -1.0
    worse = sign * (value_of_counts(metric, table, **how) - value_of_counts(metric, other, **how))
    if math.isnan(worse):
        return Interval(math.nan), 1.0
    here, there = hits_of(metric, table, labels), hits_of(metric, other, labels)
    if here is not None and there is not None:
        known = intervals.difference_interval(
            intervals.share_interval(*there), intervals.share_interval(*here)
        )
        return known, intervals.shares_p_value(*here, *there)
    draws = [
        drawn_values(metric, *draw_tables(each, costs, seed=SEED + i), **how)
        for i, each in enumerate((table, other))
    ]
    known = intervals.drawn_interval(worse, sign * (draws[0] - draws[1]))
    # Permutation: pool all examples and split them at random into two sets of these sizes.
    true, answered = np.nonzero(table + other)
    together = (table + other)[true, answered].astype(np.int64)
    generator = np.random.default_rng(SEED)
    cut = generator.multivariate_hypergeometric(together, round(float(table.sum())), size=NUM_DRAWS)
    by_chance = sign * (
        drawn_values(metric, cut, true, answered, **how)
        - drawn_values(metric, together - cut, true, answered, **how)
    )
    return known, intervals.drawn_p_value(-worse, -by_chance)
