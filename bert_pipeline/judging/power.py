"""What a comparison could have seen: the smallest change for the worse that it refuses four times in five."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy import stats

# Of finding a change that is there.
POWER = 0.8

_STEPS = np.arange(0.005, 1.0001, 0.005)
_QUANTILES = (np.arange(15) + 0.5) / 15


@functools.lru_cache(maxsize=4096)
def smallest_share_drop(num_examples: int, num_different: int, *, level: float, allowed: float) -> float:
    """Of accuracy or recall, of two models on the same examples, by McNemar's exact test.

    Args:
        num_examples: that the share is of.
        num_different: of them, those on which one model is right and the other is not.
        level: chance of a refusal where nothing changed.
        allowed: drops up to this one are not refused.

    Returns:
        The drop in steps of 0.005; infinite where no drop would be seen.
    """
    if not num_examples:
        return math.inf
    of_all = np.maximum(num_different / num_examples, _STEPS)
    share = ((of_all + _STEPS) / 2 / of_all)[:, np.newaxis]
    # As many examples differ as chance has it: its quantiles, each as likely as another.
    different = stats.binom.ppf(_QUANTILES, num_examples, of_all[:, np.newaxis]).astype(int)
    # So many of the differing examples must be losses to be no noise, and to be more than is allowed.
    for_level = stats.binom.isf(level, different, 0.5) + 1
    for_bound = np.floor((different + num_examples * allowed) / 2 + 1e-9) + 1
    power = stats.binom.sf(np.maximum(for_level, for_bound) - 1, different, share)
    return _first(power.mean(axis=1) >= POWER)


def smallest_drop(spread: float, *, level: float, allowed: float) -> float:
    """Of any metric whose change varies by `spread` (standard deviation) where nothing changed, by a normal quantile.

    Infinite where the spread is not known.
    """
    if math.isnan(spread):
        return math.inf
    found = float(stats.norm.isf(level) + stats.norm.isf(1 - POWER)) * spread
    return max(found, allowed + float(stats.norm.isf(1 - POWER)) * spread)


@functools.lru_cache(maxsize=4096)
def smallest_difference(
    share: float, num_examples: int, num_others: int, *, level: float, allowed: float = 0.0
) -> float:
    """Of a share on some examples below the same share on others, by Fisher's exact test and a normal quantile.

    Args:
        share: on the others.
        num_examples: 0 or more.
        num_others: alike.
        level: chance of an alarm where nothing changed.
        allowed: differences up to this one do not count.

    Returns:
        The difference in steps of 0.005; infinite where none would be seen.
    """
    if not num_examples or not num_others:
        return math.inf
    here = np.maximum(share - _STEPS, 0.0)
    together = (num_examples * here + num_others * share) / (num_examples + num_others)
    if_alike = np.sqrt(together * (1 - together) * (1 / num_examples + 1 / num_others))
    spread = np.sqrt(here * (1 - here) / num_examples + share * (1 - share) / num_others)
    needed = np.maximum(stats.norm.isf(level) * if_alike, allowed)
    is_seen = (_STEPS - needed >= stats.norm.isf(1 - POWER) * spread) & (share >= _STEPS)
    # Even a share of 0 here must be less likely than the level.
    worst = stats.hypergeom.cdf(0, num_examples + num_others, round(num_others * share), num_examples)
    return _first(is_seen) if worst / 2 <= level else math.inf


def _first(is_seen: np.ndarray) -> float:
    return float(_STEPS[is_seen.argmax()]) if is_seen.any() else math.inf
