"""The sentences of a verdict."""

from __future__ import annotations

import math

import pytest
from bert_task import GateConfig

from bert_pipeline.judging import sentences
from bert_pipeline.judging.intervals import Interval


@pytest.mark.parametrize(
    ("gate", "value", "sentence"),
    [
        (
            GateConfig("accuracy", slice="category=boots", min=0.7),
            0.61,
            "accuracy on category=boots is 0.61, below the bound 0.70 (by 0.09)",
        ),
        (
            GateConfig("calibration_error", max=0.1),
            0.25,
            "calibration_error on all data is 0.25, above the bound 0.10 (by 0.15)",
        ),
        (
            # Two decimals would say "0.70, below the bound 0.70 (by 0.00)".
            GateConfig("accuracy", min=0.7),
            0.6996,
            "accuracy on all data is 0.6996, below the bound 0.7000 (by 0.0004)",
        ),
        (
            GateConfig("example_count", slice="category", min=100),
            30,
            "example_count on category is 30, below the bound 100 (by 70)",
        ),
        (
            GateConfig("recall/negative", min=0.5),
            math.nan,
            "recall/negative on all data is not defined (no example has the label negative), and must be at least 0.50",
        ),
    ],
)
def test_a_bound_names_metric_slice_and_amount(gate: GateConfig, value: float, sentence: str) -> None:
    bound, is_lower = (gate.min, True) if gate.min is not None else (gate.max, False)
    found = sentences.bound_sentence(gate, gate.slice, Interval(value), is_lower=is_lower, bound=bound)
    assert found == sentence


@pytest.mark.parametrize(
    ("metric", "value", "baseline", "allowed", "is_drop", "sentence"),
    [
        (
            "recall/negative", 0.55, 0.67, 0.02, True,
            "recall/negative on all data is 0.55, 0.12 below the baseline's 0.67 (allowed 0.02; p 0.03)",
        ),
        (
            "loss", 0.5, 0.42, 0.005, False,
            "loss on all data is 0.50, 0.08 above the baseline's 0.42 (allowed 0.005; p 0.03)",
        ),
        (
            "auc", 0.9, math.nan, 0.01, True,
            "auc on all data is 0.90 and the baseline's is not defined, so it cannot be shown to lie "
            "at most 0.01 below the baseline's",
        ),
    ],
)  # fmt: skip
def test_a_change_names_both_values_the_bound_and_the_chance(
    metric: str, value: float, baseline: float, allowed: float, is_drop: bool, sentence: str
) -> None:
    how = {"allowed": allowed, "p_value": 0.03, "is_drop": is_drop}
    assert sentences.change_sentence(metric, "", value, baseline, **how) == sentence


@pytest.mark.parametrize(
    ("metric", "gain", "value", "baseline", "sentence"),
    [
        (
            "loss", 0.1, 0.5, 0.42,
            "loss on all data is 0.50, 0.08 above the baseline's 0.42 (wanted: 0.10 below)",
        ),
        (
            "auc", 0.1, 0.5, math.nan,
            "auc on all data is 0.50 and the baseline's is not defined, so it cannot be shown to lie "
            "at least 0.10 above the baseline's",
        ),
    ],
)  # fmt: skip
def test_a_gain_names_what_was_wanted(
    metric: str, gain: float, value: float, baseline: float, sentence: str
) -> None:
    found = sentences.gain_sentence(
        GateConfig(metric, min_gain=gain), "", value, baseline, Interval(math.nan)
    )
    assert found == sentence


def test_a_chance_has_one_digit_that_counts() -> None:
    assert [sentences.chance(p) for p in (0.73, 0.1, 0.0449, 0.00042, 1e-9)] == [
        "0.7", "0.1", "0.04", "0.0004", "under 0.0001",
    ]  # fmt: skip
    assert sentences.seen_text(math.inf, what="drop") == "no drop would have been seen: too few examples"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.12345, "0.123"), (-0.0001, "0.000"), (None, "-"), (float("nan"), "-")],
)
def test_a_cell_of_a_table_has_three_decimals_or_a_dash(value: float | None, expected: str) -> None:
    assert sentences.in_table(value) == expected
