"""Power of the comparisons: the smallest worsening that is detected with 80 % power."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy import stats

# Chance of detecting a real change.
POWER = 0.8

_STEPS = np.arange(0.005, 1.0001, 0.005)
_QUANTILES = (np.arange(15) + 0.5) / 15


@functools.lru_cache(maxsize=4096)
def smallest_share_drop(num_examples: int, num_different: int, *, level: float, allowed: float) -> float:
    """Smallest detectable drop of accuracy or recall between two models on the same examples (exact McNemar test).

    Args:
        num_examples: number of examples that the metric counts.
        num_different: of these, the examples that only one model gets right.
        level: chance of a refusal under the null hypothesis.
        allowed: drops up to this one are not refused.

    Returns:
        The drop in steps of 0.005; infinite if no drop is detectable.
    """
    if not num_examples:
        return math.inf
    of_all = np.maximum(num_different / num_examples, _STEPS)
    share = ((of_all + _STEPS) / 2 / of_all)[:, np.newaxis]
    # The number of differing examples is random: equally likely quantiles of its distribution.
    different = stats.binom.ppf(_QUANTILES, num_examples, of_all[:, np.newaxis]).astype(int)
    # Losses needed among the differing examples to be significant, and to exceed the allowed drop.
    for_level = stats.binom.isf(level, different, 0.5) + 1
    for_bound = np.floor((different + num_examples * allowed) / 2 + 1e-9) + 1
    power = stats.binom.sf(np.maximum(for_level, for_bound) - 1, different, share)
    return _first(power.mean(axis=1) >= POWER)


def smallest_drop(spread: float, *, level: float, allowed: float) -> float:
    """Smallest detectable drop of a metric whose change has the standard deviation `spread`, by a normal quantile.

    Infinite if the spread is NaN.
    """
    if math.isnan(spread):
        return math.inf
    found = float(stats.norm.isf(level) + stats.norm.isf(1 - POWER)) * spread
    return max(found, allowed + float(stats.norm.isf(1 - POWER)) * spread)


@functools.lru_cache(maxsize=4096)
def smallest_difference(
    share: float, num_examples: int, num_others: int, *, level: float, allowed: float = 0.0
) -> float:
    """Smallest detectable difference of a share between two samples (Fisher's exact test, normal quantile).

    Args:
        share: on the other sample.
        num_examples: 0 or more.
        num_others: size of the other sample, 0 or more.
        level: chance of an alarm under the null hypothesis.
        allowed: differences up to this one do not count.

    Returns:
        The difference in steps of 0.005; infinite if none is detectable.
    """
    if not num_examples or not num_others:
        return math.inf
    here = np.maximum(share - _STEPS, 0.0)
    together = (num_examples * here + num_others * share) / (num_examples + num_others)
    if_alike = np.sqrt(together * (1 - together) * (1 / num_examples + 1 / num_others))
    spread = np.sqrt(here * (1 - here) / num_examples + share * (1 - share) / num_others)
    needed = np.maximum(stats.norm.isf(level) * if_alike, allowed)
    is_seen = (_STEPS - needed >= stats.norm.isf(1 - POWER) * spread) & (share >= _STEPS)
    # Not even a share of 0 would be significant at this level.
    worst = stats.hypergeom.cdf(0, num_examples + num_others, round(num_others * share), num_examples)
    return _first(is_seen) if worst / 2 <= level else math.inf


def _first(is_seen: np.ndarray) -> float:
    return float(_STEPS[is_seen.argmax()]) if is_seen.any() else math.inf
