"""Significance of a distance between two samples: p-values by sample size, and Holm's procedure over columns.

Works only on TFDV's statistics: counts of values, and cumulative shares at ten of them. Under the null hypothesis the
chance that `beyond_chance` names any column of a comparison is at most ALPHA, for any sizes and number of columns
(`make error-rates` measures it).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from scipy import stats

from bert_pipeline.judging.intervals import holm

# The chance that a comparison of two samples of one source reports anything, over all its columns.
ALPHA = 0.05

# Random splits of the pooled examples for a p-value of categories.
NUM_DRAWS = 2000
# With fewer extreme draws than this, an exact bound is better than their count: many columns and daily verdicts need
# p-values below 1 / NUM_DRAWS.
_FEW_DRAWS = 10
# The same counts always give the same p-value.
SEED = 20_261_128
# Rounding must not make two equal distances unequal.
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Cumulative:
    """A sample of numbers: its size, and the cumulative share at some values."""

    size: int
    minimum: float
    edges: tuple[float, ...]
    """Ascending, each once; the last is the maximum."""
    shares: tuple[float, ...]
    """Share of the values at or below each edge; the last is 1."""

    def bounds(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound of the cumulative share at each point. At an edge both are its share."""
        shares = np.array([0.0, *self.shares, 1.0])
        before = np.searchsorted(self.edges, points, side="right")  # edges at or below the point
        is_edge = np.isin(points, self.edges)
        most = np.where(is_edge, shares[before], np.where(points < self.minimum, 0.0, shares[before + 1]))
        return shares[before], most


def p_value_of_counts(now: Mapping[str, int], before: Mapping[str, int]) -> float:
    """The chance of an L-infinity distance this large or larger if both samples have one source.

    A permutation test: pools the examples and splits them at random, which is exact at any size.

    Args:
        now: examples by value.
        before: the same of the other sample.
    """
    pooled, size, others = _pooled(now, before)
    seen = np.array([now.get(value, 0) for value in sorted({*now, *before})])
    distances = _distances(pooled, size, others)
    as_far = np.count_nonzero(distances >= _distance(seen, pooled, size, others) - _ROUNDING)
    drawn = float(1 + as_far) / (1 + NUM_DRAWS)
    return min(drawn, _bound_of_counts(pooled, seen, size)) if as_far < _FEW_DRAWS else drawn


def _bound_of_counts(pooled: tuple[int, ...], seen: np.ndarray, size: int) -> float:
    """Fisher's exact test of each value, two-sided, times the number of values (Bonferroni); may be above 1."""
    args = (sum(pooled), np.array(pooled), size)
    tails = np.minimum(stats.hypergeom.cdf(seen, *args), stats.hypergeom.sf(seen - 1, *args))
    return float(2 * len(pooled) * tails.min())


def p_value_of_numbers(now: Cumulative, before: Cumulative) -> float:
    """The chance of a Kolmogorov-Smirnov distance this large or larger if both samples have one source.

    Some points of a cumulative share do not give that distance; they give the least that it can be, so that the
    p-value is never too small. (The Jensen-Shannon divergence of histograms of equal count has no p-value by the sizes
    of the samples: on numbers with ties, two samples of one source lie as far apart at 1,000 values as at 100.)

    Args:
        now: of the new sample.
        before: of the other.
    """
    return float(stats.kstwo.sf(least_distance(now, before), _effective_size(now.size, before.size)))


def least_distance(now: Cumulative, before: Cumulative) -> float:
    """Lower bound of the largest difference between two cumulative shares.

    Example:
        Half of one lies at 2 or below, and of the other nothing below 4:

        >>> least_distance(Cumulative(9, 0, (2, 9), (0.5, 1)), Cumulative(8, 4, (5, 9), (0.5, 1)))
        0.5
    """
    points = np.array([*now.edges, *before.edges])
    (now_low, now_high), (before_low, before_high) = now.bounds(points), before.bounds(points)
    return float(np.max([0.0, *(now_low - before_high), *(before_low - now_high)]))


def smallest_seen(*, num_now: int, num_before: int, level: float) -> float:
    """The smallest significant difference of a cumulative share for these sample sizes at a level."""
    return float(stats.kstwo.isf(level, _effective_size(num_now, num_before)))


def smallest_seen_of_counts(now: Mapping[str, int], before: Mapping[str, int], *, level: float) -> float:
    """The smallest significant L-infinity distance for these sample sizes at a level."""
    pooled, size, others = _pooled(now, before)
    if level < _FEW_DRAWS / NUM_DRAWS:  # by a normal quantile: no draw is so rare
        shares = np.array(pooled) / sum(pooled)
        spread = np.sqrt(shares * (1 - shares) * (1 / size + 1 / others)).max()
        return float(min(1.0, stats.norm.isf(level / (2 * len(pooled))) * spread))
    distances = np.sort(_distances(pooled, size, others))
    num_allowed = max(0, int(level * (1 + NUM_DRAWS)) - 1)  # as far or further, for a p-value of `level`
    further = distances[distances > distances[-1 - num_allowed] + _ROUNDING]
    return float(further[0]) if len(further) else 1.0


def beyond_chance(p_values: Mapping[str, float], *, alpha: float = ALPHA) -> set[str]:
    """The columns with a significant distance, by Holm's procedure (1979).

    Example:
        >>> sorted(beyond_chance({"label": 0.001, "channel": 0.02, "category": 0.04, "text_script": 0.9}))
        ['label']

    Args:
        p_values: of all columns of the comparison.
        alpha: the chance that any column is named under the null hypothesis.
    """
    adjusted = holm(list(p_values.values()))
    return {
        column for column, p_value in zip(p_values, adjusted, strict=True) if p_value <= alpha + _ROUNDING
    }


def _effective_size(num_now: int, num_before: int) -> int:
    return max(1, round(num_now * num_before / (num_now + num_before)))


def _pooled(now: Mapping[str, int], before: Mapping[str, int]) -> tuple[tuple[int, ...], int, int]:
    """Examples of both by value, and the sizes of both."""
    values = sorted({*now, *before})
    pooled = tuple(now.get(value, 0) + before.get(value, 0) for value in values)
    return pooled, sum(now.values()), sum(before.values())


@functools.lru_cache(maxsize=16)
def _distances(pooled: tuple[int, ...], size: int, others: int) -> np.ndarray:
    """The L-infinity distances of random splits, with a fixed seed."""
    generator = np.random.default_rng(SEED)
    drawn = generator.multivariate_hypergeometric(pooled, size, size=NUM_DRAWS, method="marginals")
    return _distance(drawn, pooled, size, others)


def _distance(counts: np.ndarray, pooled: tuple[int, ...], size: int, others: int) -> np.ndarray:
    distance: np.ndarray = np.abs(counts / size - (np.array(pooled) - counts) / others).max(axis=-1)
    return distance
