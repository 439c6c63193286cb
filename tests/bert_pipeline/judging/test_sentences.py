"""The sentences of a verdict."""

from __future__ import annotations

import math

import pytest

from bert_pipeline.judging import sentences
from bert_pipeline.judging.intervals import Interval
from bert_pipeline.settings.sections import GateConfig


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
    assert [sentences.chance(p) for p in (1.0, 0.97, 0.73, 0.1, 0.0449, 0.00042, 1e-9)] == [
        "1.0", "1.0", "0.7", "0.1", "0.04", "0.0004", "under 0.0001",
    ]  # fmt: skip
    assert sentences.seen_text(math.inf, what="drop") == "no drop would have been seen: too few examples"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.12345, "0.123"), (-0.0001, "0.000"), (None, "-"), (float("nan"), "-")],
)
def test_a_cell_of_a_table_has_three_decimals_or_a_dash(value: float | None, expected: str) -> None:
    assert sentences.in_table(value) == expected


def test_a_number_has_the_decimals_that_it_needs() -> None:
    values = (0.5, 0.1, 0.0951, 0.0042, 0.00123, 0.00001, 0.0, -0.0042, math.nan)
    assert [sentences.number(value) for value in values] == [
        "0.50", "0.10", "0.10", "0.004", "0.0012", "0.0000", "0.00", "-0.004", "not defined",
    ]  # fmt: skip
    assert [sentences.number(value, signed=True) for value in (0.03, -0.01, 0.0042)] == [
        "+0.03",
        "-0.01",
        "+0.004",
    ]
    assert [sentences.plain(bound) for bound in (0.1, 0.005, 0.1234567, 1e-7, -0.0, 2.0)] == [
        "0.10", "0.005", "0.123457", "0.00", "0.00", "2.00",
    ]  # fmt: skip
    assert [sentences.percent(share) for share in (0.95, 0.975, 1.0)] == ["95 %", "97.5 %", "100 %"]


def test_numbers_are_told_from_each_other_and_from_0() -> None:
    assert sentences.numbers("accuracy", 0.5, 0.5) == ["0.50", "0.50"]
    assert sentences.numbers("accuracy", 0.0001, 0.5) == ["0.0001", "0.5000"]
    assert sentences.numbers("accuracy", 0.0, 0.5) == ["0.00", "0.50"]
    assert sentences.numbers("accuracy", 0.12341, 0.12342) == ["0.12341", "0.12342"]
    assert sentences.numbers("accuracy", 0.123456, 0.123457) == ["0.123456", "0.123457"]
    assert sentences.numbers("accuracy", 0.1234561, 0.1234562) == [
        "0.12",
        "0.12",
    ]  # the same but for rounding
    assert sentences.numbers("example_count", 30.0, 29.6) == ["30", "30"]


def test_a_bound_that_somebody_wrote_stays_what_it_is() -> None:
    gate = GateConfig("accuracy", min=0.999)
    assert sentences.bound_sentence(gate, "", Interval(0.3), is_lower=True, bound=0.999) == (
        "accuracy on all data is 0.30, below the bound 0.999 (by 0.70)"
    )
    gate = GateConfig("accuracy", min=0.6, confidence=0.975)
    known = Interval(0.7, 0.49, 0.86)
    assert sentences.bound_sentence(gate, "part=sole", known, is_lower=True, bound=0.6) == (
        "accuracy on part=sole is 0.70 [0.49 to 0.86], and must surely be at least 0.60 (97.5 %)"
    )
    gate = GateConfig("precision/a", max=0.6, confidence=0.95)
    assert sentences.bound_sentence(gate, "", Interval(0.7), is_lower=False, bound=0.6) == (
        "precision/a on all data is 0.70 [too few examples for an interval], and must surely be at most 0.60 (95 %)"
    )


@pytest.mark.parametrize(
    ("metric", "value", "baseline", "word"),
    [("accuracy", 0.83, 0.8, "above"), ("accuracy", 0.77, 0.8, "below"), ("loss", 0.77, 0.8, "below")],
)
def test_a_gain_that_is_not_sure_has_its_interval(
    metric: str, value: float, baseline: float, word: str
) -> None:
    wanted = "below" if metric == "loss" else "above"
    gate = GateConfig(metric, min_gain=0.02, confidence=0.95)
    assert sentences.gain_sentence(gate, "a=b", value, baseline, Interval(0.03, -0.01, 0.07)) == (
        f"{metric} on a=b is {value:.2f}, 0.03 {word} the baseline's 0.80 [-0.01 to +0.07] "
        f"(wanted: surely 0.02 {wanted}, 95 %)"
    )


def test_a_bound_that_was_computed_is_rounded() -> None:
    gate = GateConfig("macro_f1", min=0.3833)
    assert sentences.bound_sentence(gate, "", Interval(0.17), is_lower=True, bound=0.3833) == (
        "macro_f1 on all data is 0.17, below the bound 0.38 (by 0.21)"
    )


@pytest.mark.parametrize(("metric", "better"), [("accuracy", "above"), ("loss", "below")])
def test_no_gain_at_all_is_0_above_the_baseline(metric: str, better: str) -> None:
    gate = GateConfig(metric, min_gain=0.02)
    assert sentences.gain_sentence(gate, "", 0.8, 0.8, Interval(0.0)) == (
        f"{metric} on all data is 0.80, 0.00 above the baseline's 0.80 (wanted: 0.02 {better})"
    )
    gate = GateConfig(metric, min_gain=0.0)
    assert sentences.gain_sentence(gate, "", 0.8, 0.8, Interval(0.0)).endswith(f"(wanted: 0.00 {better})")


def test_a_gap_names_the_size_of_the_slice_and_the_rest() -> None:
    found = sentences.gap_sentence(
        "accuracy", "part=sole", 1030, here=0.6, rest=0.85, allowed=0.1, p_value=0.002
    )
    assert found == (
        "accuracy on part=sole (1,030 examples) is 0.60, 0.25 behind the rest's 0.85 (allowed 0.10; p 0.002)"
    )


def test_what_neither_model_has_is_said() -> None:
    how = {"allowed": 0.1, "p_value": 1.0}
    assert sentences.change_sentence("precision/a", "", math.nan, 0.5, is_drop=False, **how) == (
        "precision/a on all data is not defined (the model never answers a), and must lie at most 0.10 above the "
        "baseline's"
    )
    gate = GateConfig("auc", min_gain=0.1)
    assert sentences.gain_sentence(gate, "", math.nan, 0.5, Interval(math.nan)) == (
        "auc on all data is not defined, so it cannot be shown to lie at least 0.10 above the baseline's"
    )
    assert sentences.seen_text(0.07, what="drop") == "a drop of 0.07 or more would have been seen (80 %)"
    assert [sentences.chance(p) for p in (1e-4, 0.99e-4)] == ["0.0001", "under 0.0001"]
