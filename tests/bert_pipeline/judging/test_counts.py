"""Metrics that counts alone decide: their values, draws and gaps, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bert_pipeline.judging import counts, intervals

TABLES = np.array([[[6.0, 2], [1, 3]], [[0, 3], [0, 4]], [[5, 0], [2, 0]]])


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "expected_cost", "precision/b", "recall/a"])
def test_draws_have_the_values_of_their_tables(metric: str) -> None:
    labels, costs = ("a", "b"), np.array([[0.0, 3], [1, 0]])
    true, answered = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    found = counts.drawn_values(metric, TABLES.reshape(3, 4), true, answered, labels=labels, costs=costs)
    literal = {
        "accuracy": [9 / 12, 4 / 7, 5 / 7],
        "macro_f1": [(12 / 15 + 6 / 9) / 2, (0 + 8 / 11) / 2, (10 / 12 + 0) / 2],
        "expected_cost": [7 / 12, 9 / 7, 2 / 7],
        "precision/b": [3 / 5, 4 / 7, math.nan],
        "recall/a": [6 / 8, 0, 1],
    }
    assert found == pytest.approx(literal[metric], nan_ok=True)
    values = [counts.value_of_counts(metric, table, labels=labels, costs=costs) for table in TABLES]
    assert values == pytest.approx(literal[metric], nan_ok=True)


def test_hits_are_counted_where_a_metric_is_a_share() -> None:
    table = np.array([[6.0, 2], [1, 3]])
    metrics = ("accuracy", "recall/a", "precision/b", "macro_f1", "recall/none", "loss/a")
    found = [counts.hits_of(metric, table, ("a", "b")) for metric in metrics]
    assert found == [(9, 12), (6, 8), (3, 5), None, None, None]


def test_draws_are_gammas_of_the_counts_with_half_an_example_more_each_way() -> None:
    costs = np.array([[0.0, 1, 2], [3, 0, 1], [1, 1, 0]])
    assert counts.costliest(costs).tolist() == [2, 0, 0]
    drawn, true, answered = counts.draw_tables(np.array([[4.0, 1, 0], [0, 2, 0], [0, 0, 0]]), costs)
    cells = [
        (0, 0, 4.5),
        (0, 1, 1),
        (0, 2, 0.5),
        (1, 0, 0.5),
        (1, 1, 2.5),
    ]  # nothing of the label that nobody has
    assert list(zip(true.tolist(), answered.tolist(), strict=True)) == [cell[:2] for cell in cells]
    assert drawn.shape == (2000, 5)
    assert drawn.mean(axis=0) == pytest.approx([cell[2] for cell in cells], rel=0.1)
    assert drawn.var(axis=0) == pytest.approx([cell[2] for cell in cells], rel=0.2)


def test_the_gap_of_a_share_is_newcombes_and_fishers_and_that_of_a_cost_alike() -> None:
    table, other = np.array([[7.0, 3], [0, 0]]), np.array([[38.0, 2], [0, 0]])
    how = {"labels": ("a", "b"), "costs": 1 - np.eye(2)}
    here, there = intervals.share_interval(7, 10), intervals.share_interval(38, 40)
    assert counts.compare_counts("accuracy", table, other, **how) == (
        intervals.difference_interval(there, here),
        intervals.shares_p_value(7, 10, 38, 40),
    )
    # Wrong answers instead of right ones: 3 of 10 or more of the 5 of 50, 0.048 by the hypergeometric distribution.
    known, p_value = counts.compare_counts("expected_cost", table, other, **how)
    assert known.value == pytest.approx(0.25)
    assert p_value == pytest.approx(stats.hypergeom.sf(2, 50, 5, 10), abs=0.015)
    # Beta(3.5, 7.5) less Beta(2.5, 38.5): 0.257 +- 1.96 * 0.139.
    assert (known.low, known.high) == pytest.approx((-0.01, 0.53), abs=0.04)
    table, other = np.array([[8.0, 2], [0, 0]]), np.array([[40.0, 0], [0, 0]])  # the only 2 of 50 among 10
    p_value = counts.compare_counts("expected_cost", table, other, **how)[1]
    assert p_value == pytest.approx(10 * 9 / (50 * 49), abs=0.015)
    known, p_value = counts.compare_counts("recall/b", table, other, **how)
    assert math.isnan(known.value) and p_value == 1.0


def test_examples_are_counted_by_label_and_answer() -> None:
    found = counts.confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_only_labels_that_occur_have_half_an_example_more() -> None:
    _, true, answered = counts.draw_tables(np.array([[3.0, 1], [0, 0]]), 1 - np.eye(2))
    assert (true.tolist(), answered.tolist()) == ([0, 0], [0, 1])


def test_two_sets_with_the_same_answers_do_not_differ() -> None:
    table = np.array([[30.0, 5], [4, 21]])
    known, p_value = counts.compare_counts("macro_f1", table, table, labels=("a", "b"), costs=1 - np.eye(2))
    assert known.value == 0.0
    assert known.low < -0.1 and known.high > 0.1
    assert p_value == pytest.approx(0.5, abs=0.06)
