"""The sentences of gates with intervals: which metric, on which slice, what value, how sure, and the bound."""

from __future__ import annotations

import math

import bert_task

from bert_pipeline import scores
from bert_pipeline.estimates import Estimate
from bert_pipeline.gaps import Gap

# Metrics that cannot leave [0, 1], whatever the ends of an interval say.
_UNBOUNDED = (scores.LOSS, scores.EXPECTED_COST)


def bound_sentence(
    gate: bert_task.GateConfig, slice_name: str, known: Estimate, *, word: str, bound: float
) -> str:
    """Tells a `min` (word `least`) or a `max` (word `most`) that is not kept.

    Example:
        >>> gate = bert_task.GateConfig("accuracy", min=0.6, confidence=0.95)
        >>> bound_sentence(gate, "part=sole", Estimate(0.7, 0.1), word="least", bound=0.6)
        'accuracy on part=sole is 0.70 [0.49 to 0.91 at 95 %], and must surely be at least 0.60'
    """
    subject = f"{gate.metric} on {slice_name or 'all data'}"
    surely = "" if gate.confidence is None else "surely "
    shown = interval_text(known, gate.confidence, is_share=gate.metric not in _UNBOUNDED)
    return f"{subject} is {shown}, and must {surely}be at {word} {number(bound)}"


def change_sentence(
    gate: bert_task.GateConfig,
    slice_name: str,
    value: float,
    baseline: float,
    change: Estimate,
    *,
    allowed: float | None = None,
    wanted: float | None = None,
) -> str:
    """Tells a change against the baseline beyond the `allowed` one (signed), or short of the `wanted` one (signed).

    Example:
        >>> gate = bert_task.GateConfig("accuracy", min_gain=0.02, confidence=0.95)
        >>> change_sentence(gate, "", 0.83, 0.80, Estimate(0.03, 0.02), wanted=0.02)
        "accuracy on all data is 0.83, +0.03 [-0.01 to +0.07 at 95 %] from the baseline's 0.80 (wanted: surely +0.02)"
    """
    subject = f"{gate.metric} on {slice_name or 'all data'}"
    if math.isnan(value) or math.isnan(baseline):
        return f"{subject} is {number(value)} and the baseline's {number(baseline)}: they cannot be compared"
    surely = "" if gate.confidence is None else "surely "
    limit = f"allowed {number(allowed, signed=True)}" if allowed is not None else ""
    if wanted is not None:
        limit = f"wanted: {surely}{number(wanted, signed=True)}"
    shown = interval_text(change, gate.confidence, signed=True)
    return f"{subject} is {number(value)}, {shown} from the baseline's {number(baseline)} ({limit})"


def gap_sentence(gate: bert_task.GateConfig, gap: Gap) -> str:
    """Tells how far a slice lies behind the rest.

    Example:
        >>> gate = bert_task.GateConfig("accuracy", slice="part", max_gap=0.1)
        >>> gap_sentence(gate, Gap("accuracy", "part=sole", 30, Estimate(0.6), 0.85, Estimate(0.25)))
        "accuracy on part=sole (30 examples) is 0.60, 0.25 behind the rest's 0.85 (allowed 0.10)"
    """
    shown = interval_text(gap.behind, gate.confidence)
    allowed = number(gate.max_gap or 0.0)
    return (
        f"{gap.metric} on {gap.slice} ({gap.num_examples} examples) is {number(gap.here.value)}, "
        f"{shown} behind the rest's {number(gap.rest)} (allowed {allowed})"
    )


def interval_text(
    known: Estimate, confidence: float | None, *, is_share: bool = False, signed: bool = False
) -> str:
    """A value with its interval at a confidence; without, the value alone.

    Args:
        known: value and standard error.
        confidence: 0 to 1, or None.
        is_share: the ends are cut at 0 and 1.
        signed: with a plus, for differences.
    """
    shown = number(known.value, signed=signed)
    if confidence is None or math.isnan(known.value):
        return shown
    level = f"{confidence * 100:g} %"
    if math.isinf(known.std_error):
        return f"{shown} [too few examples for an interval at {level}]"
    low, high = known.low(confidence), known.high(confidence)
    if is_share:
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{shown} [{number(low, signed=signed)} to {number(high, signed=signed)} at {level}]"


def number(value: float, *, signed: bool = False) -> str:
    """Two decimals, or up to four where the value is small and needs them; `not defined` for NaN."""
    if math.isnan(value):
        return "not defined"
    decimals = 2
    while decimals < 4 and abs(value) < 0.1 and abs(value - round(value, decimals)) > 0.1 * abs(value):
        decimals += 1
    return f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
