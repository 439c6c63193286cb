"""Confidence intervals and p-values from counts and means.

Every function is deterministic: random draws use a fixed seed. `confidence` is one-sided in verdicts (the
chance that noise alone refuses or alarms is 1 - confidence); displayed intervals are two-sided, 95 %.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from scipy import stats

# Two-sided confidence in summaries and reports.
SHOWN_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value and its interval."""

    value: float
    """NaN if undefined."""

    low: float = math.nan
    """NaN without an interval."""

    high: float = math.nan

    @property
    def is_known(self) -> bool:
        """Whether the interval is known."""
        return not (math.isnan(self.value) or math.isnan(self.low) or math.isnan(self.high))

    @property
    def half_width(self) -> float:
        """Half the width of the interval; NaN if unknown."""
        return (self.high - self.low) / 2


def share_interval(num_hits: float, num_trials: float, *, confidence: float = SHOWN_CONFIDENCE) -> Interval:
    """Wilson's two-sided score interval of a proportion (Wilson 1927).

    Args:
        num_hits: number of successes.
        num_trials: number of trials; 0 gives a NaN value and the interval 0 to 1.
        confidence: 0 to 1.

    Example:
        >>> share_interval(4, 4)
        Interval(value=1.0, low=0.51, high=1.0)
    """
    if not num_trials:
        return Interval(math.nan)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = num_hits / num_trials, z * z / num_trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / num_trials + spread / (4 * num_trials))
    # At 0 and 1 the formula gives the share itself up to rounding.
    low = 0.0 if num_hits == 0 else min(middle - half, share)
    return Interval(share, low, 1.0 if num_hits == num_trials else max(middle + half, share))


def paired_share_interval(
    num_gained: float, num_lost: float, num_trials: float, *, confidence: float = SHOWN_CONFIDENCE
) -> Interval:
    """Two-sided interval of a change between paired proportions (Bonett and Price 2012, one example added each way).

    Args:
        num_gained: examples that only the new model gets right.
        num_lost: examples that only the old model gets right.
        num_trials: all examples; 0 gives NaN.
        confidence: 0 to 1.
    """
    if not num_trials:
        return Interval(math.nan)
    gained, lost = ((count + 1) / (num_trials + 2) for count in (num_gained, num_lost))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    half = z * math.sqrt((gained + lost - (gained - lost) ** 2) / (num_trials + 2))
    return _around((num_gained - num_lost) / num_trials, gained - lost, half)


def difference_interval(a: Interval, b: Interval) -> Interval:
    """Interval of a - b from the intervals of two independent values (Newcombe 1998, method 10)."""
    change = a.value - b.value
    low = change - math.hypot(a.value - a.low, b.high - b.value)
    return Interval(change, low, change + math.hypot(a.high - a.value, b.value - b.low))


def mean_interval(
    contributions: np.ndarray, *, value: float, confidence: float = SHOWN_CONFIDENCE
) -> Interval:
    """Student's two-sided t interval of a mean.

    Args:
        contributions: float [num_examples], whose mean is the value (exactly or to first order).
        value: the center to report.
        confidence: 0 to 1.
    """
    count = len(contributions)
    if count < 2:
        return Interval(value)
    error = float(np.std(contributions, ddof=1)) / math.sqrt(count)
    half = float(stats.t.isf((1 - confidence) / 2, count - 1)) * error
    return Interval(value, value - half, value + half)


def drawn_interval(value: float, draws: np.ndarray, *, confidence: float = SHOWN_CONFIDENCE) -> Interval:
    """Two-sided interval from the quantiles of draws, widened to contain the value.

    With few examples, draws with a prior count are shifted to one side of the value; the interval covers both their
    quantiles and the same distances around the value.
    """
    known = draws[np.isfinite(draws)]
    if not len(known) or math.isnan(value):
        return Interval(value)
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    shift = value - float(known.mean())
    return Interval(value, float(min(low, low + shift, value)), float(max(high, high + shift, value)))


def _around(value: float, middle: float, half: float) -> Interval:
    return Interval(value, min(middle - half, value), max(middle + half, value))


def sign_p_value(num_gained: int, num_lost: int) -> float:
    """One-sided exact McNemar test: chance of this few gains if gains and losses are equally likely."""
    return float(stats.binom.cdf(num_gained, num_gained + num_lost, 0.5))


def mean_p_value(contributions: np.ndarray) -> float:
    """One-sided Student's t test: chance of a mean this low if the true mean is 0.

    Returns 1.0 if all contributions are equal, or for fewer than 2 examples.
    """
    count = len(contributions)
    if count < 2:
        return 1.0
    mean = float(np.mean(contributions))
    if math.isnan(mean):
        return 1.0
    error = float(np.std(contributions, ddof=1)) / math.sqrt(count)
    if not error:
        return 1.0
    return float(stats.t.cdf(mean / error, count - 1))


def shares_p_value(hits: int, trials: int, other_hits: int, other_trials: int) -> float:
    """Chance that the first share is this far below the second if both are equal; the samples are independent.

    One-sided Fisher's exact test with Lancaster's mid-p correction (Lancaster 1961). The test by a
    normal quantile, with or without Agresti and Caffo's two examples, rejects 1.2 to 9 times too often at the levels
    used for one slice of many (`tests/error_rates.py`).
    """
    total, right = trials + other_trials, hits + other_hits
    if not trials or not other_trials:
        return 1.0
    up_to, here = (each(hits, total, right, trials) for each in (stats.hypergeom.cdf, stats.hypergeom.pmf))
    return float(up_to - 0.5 * here)


def drawn_p_value(value: float, draws: np.ndarray) -> float:
    """Chance of `value` or less among draws under the null hypothesis.

    With fewer than ten draws in the tail, a normal approximation replaces the count: a verdict over many slices needs
    p-values below 1 / number of draws.
    """
    known = draws[np.isfinite(draws)]
    if not len(known) or math.isnan(value):
        return 1.0
    count = int(np.count_nonzero(known <= value + 1e-12))
    if count >= 10 or not known.std():
        return (1 + count) / (1 + len(known))
    return float(min(stats.norm.cdf((value - known.mean()) / known.std()), 10 / len(known)))


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Adjusts p-values for multiple tests: rejecting those at most alpha keeps the overall error rate at alpha.

    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure", with weights (his section 4).

    Args:
        p_values: of the tests.
        weights: shares of alpha, all above 0; None: equal shares.

    Returns:
        The adjusted p-values in the same order, at most 1.
    """
    weights = [1.0] * len(p_values) if weights is None else list(weights)
    order = sorted(range(len(p_values)), key=lambda i: (p_values[i] / weights[i], i))
    adjusted, largest, left = [0.0] * len(p_values), 0.0, sum(weights)
    for i in order:
        largest = max(largest, min(1.0, p_values[i] * left / weights[i]))
        adjusted[i] = largest
        left -= weights[i]
    return adjusted
