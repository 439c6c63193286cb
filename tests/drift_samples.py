"""Two samples of one source, column by column, and whether chance is said to explain their distances; no TFDV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from scipy import stats

from bert_pipeline.data import drift_chance

Values: TypeAlias = np.ndarray

# The shares of the shoes' texts, by column: the label, two slices, and the kinds of texts.
CATEGORIES: Mapping[str, Sequence[float]] = {
    "label": (0.38, 0.24, 0.38),
    "category": (0.08, 0.09, 0.05, 0.20, 0.12, 0.14, 0.20, 0.12),
    "channel": (0.30, 0.12, 0.16, 0.04, 0.38),
    "text_truncated": (0.95, 0.05),
    "text_script": (0.97, 0.02, 0.01),
    "text_empty": (0.99, 0.01),
    "text_duplicate": (0.98, 0.02),
}
NUMBERS = ("text_num_tokens", "text_unknown_share")

# What a rate of ALPHA stays under in 999 of 1,000 simulations.
_SURE = 0.999


def band(draws: int) -> float:
    """What the measured rate may be where the true one is ALPHA."""
    return float(stats.binom.ppf(_SURE, draws, drift_chance.ALPHA) / draws)


def sample(generator: np.random.Generator, size: int) -> dict[str, Values]:
    """Columns of one source: numbers with a long tail and with ties, and categories."""
    lengths = np.maximum(3, np.exp(generator.normal(3.4, 0.7, size=size)).astype(int))
    unknown = np.where(generator.random(size) < 0.8, 0.0, generator.beta(1, 12, size=size))
    columns = dict(zip(NUMBERS, (lengths, unknown), strict=True))
    for name, shares in CATEGORIES.items():
        columns[name] = generator.choice(len(shares), size=size, p=np.array(shares) / sum(shares))
    return columns


def quiet_is_told(generator: np.random.Generator, now: int, before: int) -> bool:
    """Whether chance is said not to explain some column of two samples of one source."""
    first, second = sample(generator, now), sample(generator, before)
    p_values = {
        name: drift_chance.p_value_of_counts(_counts(first[name]), _counts(second[name]))
        if name in CATEGORIES
        else drift_chance.p_value_of_numbers(cumulative(first[name]), cumulative(second[name]))
        for name in first
    }
    return bool(drift_chance.beyond_chance(p_values))


def _counts(values: Values) -> dict[str, int]:
    return {
        str(value): int(count) for value, count in zip(*np.unique(values, return_counts=True), strict=True)
    }


def cumulative(values: Values) -> drift_chance.Cumulative:
    """What TFDV's histogram of ten buckets of equal count holds of some numbers."""
    edges = np.unique(np.quantile(values, np.arange(1, 11) / 10, method="inverted_cdf"))
    shares = np.searchsorted(np.sort(values), edges, side="right") / len(values)
    return drift_chance.Cumulative(
        len(values), float(values.min()), tuple(edges.tolist()), tuple(shares.tolist())
    )
