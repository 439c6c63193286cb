"""Standard errors, intervals, and the distance between slices, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bert_pipeline.estimates import Estimate, estimate, one_example, t_quantile
from bert_pipeline.gaps import gaps_of
from bert_pipeline.slice_metrics import SliceMetrics

LABELS = ("bad", "good")
COSTS = np.array([[0.0, 5.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("probability", "degrees_of_freedom", "expected"),
    [(0.975, 19, 2.0930), (0.95, 19, 1.7291), (0.995, 19, 2.8609), (0.75, 19, 0.6876), (0.975, 10, 2.2281)],
)
def test_quantiles_are_those_of_the_printed_tables(probability, degrees_of_freedom, expected) -> None:
    assert t_quantile(probability, degrees_of_freedom=degrees_of_freedom) == pytest.approx(expected, abs=2e-4)


def test_an_interval_lies_around_the_value() -> None:
    known = Estimate(0.8, 0.05)

    assert known.low(0.95) == pytest.approx(0.8 - 2.093 * 0.05, abs=1e-4)
    assert known.high(0.9) == pytest.approx(0.8 + 1.7291 * 0.05, abs=1e-4)


def test_four_right_answers_of_four_are_not_sure() -> None:
    confusion = np.array([[2.0, 0.0], [0.0, 2.0]])
    step = one_example("accuracy", confusion=confusion, labels=LABELS, costs=COSTS)

    assert estimate(1.0, 0.0, step=step) == Estimate(1.0, 0.25)
    assert estimate(0.75, 0.3, step=step) == Estimate(0.75, 0.3)
    assert estimate(1.0, None, step=step) == estimate(1.0, math.nan, step=step) == Estimate(1.0, math.inf)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", 1 / 10),
        ("recall/bad", 1 / 4),
        ("precision/bad", 1 / 3),
        ("expected_cost", 5 / 10),
        ("loss", 0.0),
        ("auc", 1 / 10),
    ],
)
def test_one_example_moves_a_metric_by_its_share(metric: str, expected: float) -> None:
    confusion = np.array([[2.0, 2.0], [1.0, 5.0]])

    assert one_example(metric, confusion=confusion, labels=LABELS, costs=COSTS) == pytest.approx(expected)


def _row(name: str, confusion: list[list[int]], **values: float) -> SliceMetrics:
    estimates = {metric: Estimate(value, 0.03) for metric, value in values.items()}
    count = int(np.sum(confusion))
    return SliceMetrics(
        name, ("c",) if name else (), count, dict(values), {}, tuple(map(tuple, confusion)), estimates
    )


def test_a_slice_is_compared_with_the_examples_outside_it() -> None:
    overall = _row("", [[30, 20], [10, 40]], accuracy=0.7, expected_cost=1.1, loss=0.6)
    part = _row("c=x", [[5, 15], [0, 20]], accuracy=0.625, expected_cost=1.875, loss=0.9)

    def gap(metric: str):
        costs = {"bad": {"good": 5.0}}
        return next(gaps_of(metric, [part], overall=overall, labels=LABELS, costs=costs))

    # Outside it: 25 and 20 right of 60.
    assert (gap("accuracy").rest, gap("accuracy").behind.value) == pytest.approx((0.75, 0.125))
    # 5 complaints taken for praise, 10 praises for complaints; errors count the other way.
    assert (gap("expected_cost").rest, gap("expected_cost").behind.value) == pytest.approx(
        (35 / 60, 1.875 - 35 / 60)
    )
    assert gap("loss").rest == pytest.approx((0.6 * 100 - 0.9 * 40) / 60)
    # The variances of the slice and of 60 of 100 examples add.
    assert gap("accuracy").behind.std_error == pytest.approx(math.sqrt(0.03**2 + 0.03**2 / 0.6))


def test_a_slice_that_holds_everything_has_nothing_to_be_compared_with() -> None:
    overall = _row("", [[3, 0], [0, 3]], accuracy=1.0)

    assert not list(
        gaps_of(
            "accuracy",
            [_row("c=x", [[3, 0], [0, 3]], accuracy=1.0)],
            overall=overall,
            labels=LABELS,
            costs={},
        )
    )
