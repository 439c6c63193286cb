"""The sentences of a verdict: metric, slice, value, uncertainty and bound."""

from __future__ import annotations

import math

from bert_pipeline.judging.intervals import Interval
from bert_pipeline.judging.power import POWER
from bert_pipeline.settings import metric_names, sections


def subject(metric: str, slice_name: str) -> str:
    """`accuracy on category=boots`."""
    return f"{metric} on {slice_name or 'all data'}"


def bound_sentence(
    gate: sections.GateConfig, slice_name: str, known: Interval, *, is_lower: bool, bound: float
) -> str:
    """Describes a broken `min` (`is_lower`) or `max`.

    Example:
        >>> gate = sections.GateConfig("accuracy", min=0.6, confidence=0.95)
        >>> bound_sentence(gate, "part=sole", Interval(0.7, 0.49, 0.86), is_lower=True, bound=0.6)
        'accuracy on part=sole is 0.70 [0.49 to 0.86], and must surely be at least 0.60 (95 %)'
        >>> gate = sections.GateConfig("accuracy", min=0.7)
        >>> bound_sentence(gate, "", Interval(0.61), is_lower=True, bound=0.7)
        'accuracy on all data is 0.61, below the bound 0.70 (by 0.09)'
    """
    side = "least" if is_lower else "most"
    start = f"{subject(gate.metric, slice_name)} is"
    if math.isnan(known.value):
        return f"{start} {_undefined(gate.metric)}, and must be at {side} {plain(bound)}"
    if gate.confidence is not None:
        shown = with_interval(known)
        return f"{start} {shown}, and must surely be at {side} {plain(bound)} ({percent(gate.confidence)})"
    shown, limit, amount = numbers(gate.metric, known.value, bound, abs(known.value - bound))
    typed = round(bound, 6)
    if (
        float(limit) != typed == round(typed, 3)
    ):  # 0.999 of a task file must not become 1.00; a computed 0.3833 may
        limit = plain(bound)
    return f"{start} {shown}, {'below' if is_lower else 'above'} the bound {limit} (by {amount})"


def change_sentence(
    metric: str,
    slice_name: str,
    value: float,
    baseline: float,
    *,
    allowed: float,
    p_value: float,
    is_drop: bool,
) -> str:
    """Describes a change against the baseline beyond the allowed one.

    Args:
        metric: its name.
        slice_name: empty for all data.
        value: the candidate's; NaN if undefined.
        baseline: the baseline's; NaN if undefined.
        allowed: 0 or more.
        p_value: adjusted for all comparisons of the verdict.
        is_drop: True for `max_drop`, False for `max_rise`.

    Example:
        >>> change_sentence("accuracy", "", 0.7, 0.8, allowed=0.02, p_value=0.0004, is_drop=True)
        "accuracy on all data is 0.70, 0.10 below the baseline's 0.80 (allowed 0.02; p 0.0004)"
    """
    word = "below" if is_drop else "above"
    start, limit = f"{subject(metric, slice_name)} is", f"at most {plain(allowed)} {word} the baseline's"
    if math.isnan(value):
        return f"{start} {_undefined(metric)}, and must lie {limit}"
    if math.isnan(baseline):
        (shown,) = numbers(metric, value)
        return f"{start} {shown} and the baseline's is not defined, so it cannot be shown to lie {limit}"
    shown, base, amount = numbers(metric, value, baseline, abs(value - baseline))
    return f"{start} {shown}, {amount} {word} the baseline's {base} (allowed {plain(allowed)}; p {chance(p_value)})"


def gain_sentence(
    gate: sections.GateConfig, slice_name: str, value: float, baseline: float, change: Interval
) -> str:
    """Describes a broken `min_gain`.

    Example:
        >>> gate = sections.GateConfig("accuracy", min_gain=0.02, confidence=0.95)
        >>> gain_sentence(gate, "a=b", 0.83, 0.80, Interval(0.03, -0.01, 0.07))
        "accuracy on a=b is 0.83, 0.03 above the baseline's 0.80 [-0.01 to +0.07] (wanted: surely 0.02 above, 95 %)"
    """
    is_error = gate.metric in metric_names.LOWER_IS_BETTER
    better, worse = ("below", "above") if is_error else ("above", "below")
    wanted, start = plain(gate.min_gain or 0.0), f"{subject(gate.metric, slice_name)} is"
    if math.isnan(value) or math.isnan(baseline):
        known = (
            _undefined(gate.metric) if math.isnan(value) else f"{value:.2f} and the baseline's is not defined"
        )
        return f"{start} {known}, so it cannot be shown to lie at least {wanted} {better} the baseline's"
    shown, base, amount = numbers(gate.metric, value, baseline, abs(value - baseline))
    word = better if (value < baseline) == is_error else worse
    surely, level, ends = "", "", ""
    if gate.confidence is not None:
        surely, level = "surely ", f", {percent(gate.confidence)}"
        ends = f" {_ends(change, signed=True)}"
    return f"{start} {shown}, {amount} {word} the baseline's {base}{ends} (wanted: {surely}{wanted} {better}{level})"


def gap_sentence(
    metric: str,
    slice_name: str,
    num_examples: int,
    *,
    here: float,
    rest: float,
    allowed: float,
    p_value: float,
) -> str:
    """Describes how far a slice is behind the rest.

    Example:
        >>> gap_sentence("accuracy", "part=sole", 30, here=0.6, rest=0.85, allowed=0.1, p_value=0.002)
        "accuracy on part=sole (30 examples) is 0.60, 0.25 behind the rest's 0.85 (allowed 0.10; p 0.002)"
    """
    shown, base, amount = numbers(metric, here, rest, abs(here - rest))
    return (
        f"{metric} on {slice_name} ({num_examples:,} examples) is {shown}, {amount} behind the rest's {base} "
        f"(allowed {plain(allowed)}; p {chance(p_value)})"
    )


def seen_text(smallest: float, *, what: str) -> str:
    """Describes the smallest change that a comparison can detect.

    Example:
        >>> seen_text(0.07, what="drop")
        'a drop of 0.07 or more would have been seen (80 %)'
    """
    if math.isinf(smallest):
        return f"no {what} would have been seen: too few examples"
    return f"a {what} of {number(smallest)} or more would have been seen ({percent(POWER)})"


def percent(share: float) -> str:
    """`95 %`."""
    return f"{share * 100:g} %"


def chance(p_value: float) -> str:
    """A p-value with one significant digit."""
    if p_value >= 0.1:
        return f"{p_value:.1f}"
    return f"{p_value:.1g}" if p_value >= 1e-4 else "under 0.0001"


def with_interval(known: Interval) -> str:
    """`0.70 [0.49 to 0.86]`; the value alone without an interval."""
    return f"{number(known.value)} {_ends(known)}"


def _ends(known: Interval, *, signed: bool = False) -> str:
    if not known.is_known:
        return "[too few examples for an interval]"
    return f"[{number(known.low, signed=signed)} to {number(known.high, signed=signed)}]"


def plain(bound: float) -> str:
    """A bound as written in the task file."""
    bound = round(bound, 6) + 0.0
    return f"{bound:.2f}" if bound == round(bound, 2) else f"{bound:g}"


def number(value: float, *, signed: bool = False) -> str:
    """Two decimals, or up to four if the value is small; `not defined` for NaN."""
    if math.isnan(value):
        return "not defined"
    decimals = 2
    while decimals < 4 and abs(value - round(value, decimals)) > 0.1 * abs(value):
        decimals += 1
    return f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"


def numbers(metric: str, *values: float) -> list[str]:
    """Numbers with 2 decimals, or with as many (at most 6) as needed to tell them apart."""
    if metric == metric_names.EXAMPLE_COUNT:
        return [f"{round(value)}" for value in values]
    for decimals in range(2, 6):
        texts = [f"{value:.{decimals}f}" for value in values]
        exact = [round(value, 6) for value in values]
        if all((float(text) == 0) == (value == 0) for text, value in zip(texts, exact, strict=True)) and (
            len(set(texts)) == len(set(exact))
        ):
            return texts
    return [f"{value:.6f}" for value in values]


def in_table(value: float | None, *, sign: str = "") -> str:
    """A number in a table: 0.12345 -> `0.123`; `-` for None and NaN.

    Args:
        value: rounded to three decimals, never to -0.000.
        sign: `+` to show the sign.
    """
    return "-" if value is None or math.isnan(value) else f"{round(float(value), 3) + 0.0:{sign}.3f}"


def _undefined(metric: str) -> str:
    kind, _, label = metric.partition("/")
    reasons = {
        "precision": f" (the model never answers {label})",
        "recall": f" (no example has the label {label})",
    }
    return f"not defined{reasons.get(kind, '')}"
