"""How often a comparison of two samples tells of drift where nothing changed, and which change it sees."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

from bert_pipeline.data import text_features
from bert_pipeline.data.drift import DEFAULTS, LABEL_DEFAULT, SLICE_DEFAULT, Statistics, Threshold, compare
from bert_pipeline.data.text_features import statistics_of
from tests.drift_samples import CATEGORIES, Values, band, quiet_is_told, sample

SEED = 20_261_128

# (texts now, texts before)
SIZES = ((10, 1_000), (100, 1_000), (30, 10_000), (1_000, 10_000))
POWER_SIZES = ((100, 1_000), (1_000, 10_000))

_POWER = 0.8
# Simulations for each change of which it is asked whether it is seen.
_POWER_DRAWS = 40

LIMITS: Mapping[str, Threshold] = {
    **dict.fromkeys(("category", "channel"), SLICE_DEFAULT),
    **DEFAULTS,
    "label": LABEL_DEFAULT,
}


def rows(draws: int) -> list[tuple[str, float, float, str]]:
    """Measures the rates.

    Args:
        draws: simulations for each case.

    Returns:
        For each case: its name, the measured rate of false notes or breaches, the upper end of its band, and which
        change is seen with 80 %.
    """
    power = {sizes: power_text(*sizes) for sizes in POWER_SIZES}
    found = []
    for now, before in SIZES:
        generator = np.random.default_rng((SEED, now, before))
        rate = float(np.mean([quiet_is_told(generator, now, before) for _ in range(draws)]))
        name = f"drift: {now:,} texts after {before:,}, {len(LIMITS)} columns, limits of 0"
        found.append((name, rate, band(draws), power.get((now, before), "")))
    through = max(1, draws // 10)
    name = f"drift: 100 texts after 1,000, {len(LIMITS)} columns, TFDV's statistics, the default limits"
    return [*found, (name, quiet_rate_of_compare(through, 100, 1_000), band(through), "")]


def quiet_rate_of_compare(draws: int, now: int, before: int) -> float:
    """The rate of comparisons with a note or a breach, through TFDV and `drift.compare`, at the default limits."""
    generator = np.random.default_rng((SEED, draws, now, before))
    sides = [_statistics([sample(generator, size) for _ in range(draws)]) for size in (now, before)]
    told = [
        any(d.is_note or d.is_breach for d in compare(*pair, LIMITS)) for pair in zip(*sides, strict=True)
    ]
    return float(np.mean(told))


def power_text(now: int, before: int) -> str:
    """The smallest changes, among some, that `drift.compare` tells in 80 % of simulations or more."""
    shift = smallest_told(
        now, before, column="label", changes=(0.08, 0.10, 0.12, 0.15, 0.20, 0.25, 0.30), change=_grow_label
    )
    length = smallest_told(
        now,
        before,
        column=text_features.NUM_TOKENS,
        changes=(1.1, 1.2, 1.3, 1.5, 1.75, 2.0, 2.5),
        change=lambda columns, factor, _: (columns * factor).astype(int),
    )
    return f"a label's share grown by {shift}, texts {length} times as long"


def smallest_told(
    now: int,
    before: int,
    *,
    column: str,
    changes: Sequence[float],
    change: Callable[[Values, float, np.random.Generator], Values],
) -> str:
    """The first of some rising changes of a column that is told often enough, the other columns being quiet."""
    generator = np.random.default_rng((SEED, now, before, len(column)))
    reference = _statistics([sample(generator, before) for _ in range(_POWER_DRAWS)], only=column)

    def is_told(value: float) -> bool:
        moved = [sample(generator, now) for _ in range(_POWER_DRAWS)]
        moved = [{**columns, column: change(columns[column], value, generator)} for columns in moved]
        pairs = zip(_statistics(moved, only=column), reference, strict=True)
        told = [any(d.is_note or d.is_breach for d in compare(*pair, LIMITS)) for pair in pairs]
        return bool(np.mean(told) >= _POWER)

    found = bisect.bisect_left(changes, True, key=is_told)
    return f"{changes[found]:g}" if found < len(changes) else f"over {changes[-1]:g}"


def _grow_label(labels: Values, share: float, generator: np.random.Generator) -> Values:
    """Moves so much of all texts from the last label to the first."""
    moved = (labels == 2) & (generator.random(len(labels)) < share / CATEGORIES["label"][2])
    return np.where(moved, 0, labels)


def _statistics(samples: Sequence[Mapping[str, Values]], *, only: str = "") -> list[Statistics]:
    """TFDV's statistics of each sample, made in one pass; of the columns beside `only` those of the first one."""
    names = {
        f"{number}/{name}": values
        for number, columns in enumerate(samples)
        for name, values in columns.items()
        if not number or not only or name == only
    }
    features = {
        feature.path.step[0]: feature
        for feature in statistics_of({name: _column(name, values) for name, values in names.items()})
        .datasets[0]
        .features
    }
    return [_dataset(features, number, samples[number]) for number in range(len(samples))]


def _column(name: str, values: Values) -> list[Any]:
    if name.partition("/")[2] in CATEGORIES:
        return [str(value).encode() for value in values]
    return list(values.tolist())


def _dataset(features: Mapping[str, Any], number: int, columns: Mapping[str, Values]) -> Statistics:
    result = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = result.datasets.add(num_examples=len(columns["label"]))
    for name in columns:
        feature = dataset.features.add()
        feature.CopyFrom(features.get(f"{number}/{name}", features[f"0/{name}"]))
        feature.path.step[0] = name
    return result
