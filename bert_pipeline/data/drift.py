"""Distances between two sets of statistics by column: drift (span to span) and skew (training to serving).

The distances are TFDV's: L-infinity for categories (the largest change of one value's share) and
Jensen-Shannon divergence for numbers, both from 0 (equal) to 1. `compare` works on StatisticsGen's output as
well as on statistics of a request log:

    current = text_statistics.statistics_of({**features.columns([texts]), "label": labels})  # labels if known
    reference = read_statistics(folder / "Split-train")  # `statistics` of the run that trained the model
    found = compare(current, reference, drift_limits.thresholds(task, kind="skew"))
    [drift.explanation for drift in found if drift.is_note or drift.is_breach]

A column that only one side has is not compared: the schema checks for required columns. A distance within sampling
noise is neither a note nor a breach (`drift_chance.py`): ten texts are far from ten thousand even if nothing changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from bert_pipeline.data import drift_chance
from bert_pipeline.data import text_features as derived
from bert_pipeline.settings import sections


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Limits of one column's distance, 0 to 1; 1 disables the limit."""

    note: float
    """A distance above it gives a note."""

    stop: float
    """A distance above it stops the run before training (drift), or means retraining (skew)."""


# Chosen for this project. Two halves of a thousand rows of one source differ by at most 0.05 in every column; about 0.1
# (of the texts in another script, or truncated) means an upstream change, about 0.3 a different source.
DEFAULTS = {
    derived.NUM_TOKENS: Threshold(note=0.1, stop=0.4),
    derived.UNKNOWN_SHARE: Threshold(note=0.1, stop=0.4),
    derived.TRUNCATED: Threshold(note=0.1, stop=0.4),
    derived.SCRIPT: Threshold(note=0.05, stop=0.3),
    derived.EMPTY: Threshold(note=0.02, stop=0.1),
    derived.DUPLICATE: Threshold(note=0.1, stop=0.4),
}
LABEL_DEFAULT = Threshold(note=0.1, stop=0.4)
# A growing slice is worth a note, not a stop.
SLICE_DEFAULT = Threshold(note=0.1, stop=1.0)
_NEVER = Threshold(note=1.0, stop=1.0)


def thresholds(task: sections.TaskConfig, *, kind: str) -> dict[str, Threshold]:
    """The limits of a task.

    Args:
        task: its sections [validation], [data] (the label's name) and [evaluation] (the slices) are read.
        kind: `drift` (span to span) or `skew` (training to serving).

    Returns:
        Column to limits: the defaults, overridden by the task. A note's limit is never above
        that of a stop.
    """
    validation = task.validation
    notes, stops = {
        "drift": (validation.drift_note, validation.drift_stop),
        "skew": (validation.skew_note, validation.skew_stop),
    }[kind]
    slices = {name for columns in task.evaluation.slices for name in columns.split("+")}
    limits = dict.fromkeys(slices, SLICE_DEFAULT) | {task.data.label: LABEL_DEFAULT} | DEFAULTS
    for column in (*notes, *stops):
        default = limits.get(column, _NEVER)
        stop = stops.get(column, default.stop)
        limits[column] = Threshold(note=notes.get(column, min(default.note, stop)), stop=stop)
    return dict(sorted(limits.items()))


def as_json(limits: Mapping[str, Threshold]) -> dict[str, tuple[float, float]]:
    """Column to [note, stop], for a component's parameters; `Threshold(*pair)` reads it."""
    return {column: (limit.note, limit.stop) for column, limit in limits.items()}


Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList

L_INFINITY = "L-infinity"
JENSEN_SHANNON = "Jensen-Shannon divergence"

STATISTICS_FILE = "FeatureStats.pb"

# Categories with more values than TFDV counts (ids, dates, the texts themselves) have no distance.
_MAX_VALUES = 100


@dataclasses.dataclass(frozen=True)
class Drift:
    """The distance of one column."""

    column: str
    distance: str
    """L_INFINITY or JENSEN_SHANNON."""

    value: float
    """0 (equal) to 1."""

    threshold: float
    """The exceeded limit, or the note's if none was."""

    is_note: bool
    """Whether the value is above the note's limit, below the stop limit, and larger than sampling noise."""

    is_breach: bool
    """Whether the value is above the stop limit, and larger than sampling noise."""

    explanation: str
    """One sentence: `label: L-infinity 0.149 (limit 0.1); 'negative' went from 59.1% to 74.0%, on 350 after 681`; where
    the limit is within sampling noise, also the smallest detectable change."""


def compare(
    current: Statistics,
    reference: Statistics,
    thresholds: Mapping[str, Threshold],
    *,
    alpha: float = drift_chance.ALPHA,
) -> list[Drift]:
    """Measures the distance of each column with a limit.

    Args:
        current: statistics of the new data (one dataset).
        reference: statistics of the previous span, or of the training data.
        thresholds: column to limits; other columns are not measured.
        alpha: the chance that any column is reported under the null hypothesis.

    Returns:
        A `Drift` for each column with a limit that both sides have, the largest distance first.
    """
    now, before = _by_column(current), _by_column(reference)
    measured = [
        column
        for column in thresholds
        if column in now
        and column in before
        and _is_comparable(now[column])
        and _is_comparable(before[column])
    ]
    if not measured:
        return []
    schema = schema_pb2.Schema(feature=[_comparator(now[column], column) for column in measured])
    anomalies = tfdv.validate_statistics(current, schema, previous_statistics=reference)
    values = dict(_measurements(anomalies))
    # A column that cannot exceed its limit, or with a single value, is not tested and does not weaken the others.
    judged = [
        column for column in values if thresholds[column].note < 1 and _varies(now[column], before[column])
    ]
    p_values = {column: _p_value(now[column], before[column]) for column in judged}
    beyond = drift_chance.beyond_chance(p_values, alpha=alpha)
    found = [
        _drift(
            column,
            value,
            threshold=thresholds[column],
            by_chance=column not in beyond,
            sides=(now[column], before[column]),
            level=alpha / max(1, len(judged)),
        )
        for column, value in values.items()
    ]
    return sorted(found, key=lambda drift: (-drift.value, drift.column))


def read_statistics(split_dir: str | Path) -> Statistics:
    """Reads StatisticsGen's output for one split (`.../statistics/12/Split-train`)."""
    return Statistics.FromString((Path(split_dir) / STATISTICS_FILE).read_bytes())


def _by_column(statistics: Statistics) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    return {feature.path.step[0]: feature for feature in statistics.datasets[0].features}


def _is_comparable(feature: statistics_pb2.FeatureNameStatistics) -> bool:
    if feature.HasField("string_stats"):
        return 0 < feature.string_stats.unique <= _MAX_VALUES
    return bool(_common(feature).num_non_missing)


def _comparator(feature: statistics_pb2.FeatureNameStatistics, column: str) -> schema_pb2.Feature:
    """A schema entry that makes TFDV measure the column; the limits are applied here, so its own is 0."""
    comparator = schema_pb2.FeatureComparator()
    if feature.HasField("string_stats"):
        comparator.infinity_norm.threshold = 0
        return schema_pb2.Feature(name=column, type=schema_pb2.BYTES, drift_comparator=comparator)
    comparator.jensen_shannon_divergence.threshold = 0
    # Buckets of equal count: with equal width, one text of ten thousand tokens would put all others into one bucket.
    comparator.jensen_shannon_divergence.source.type = schema_pb2.HistogramSelection.QUANTILES
    kind = schema_pb2.INT if feature.type == statistics_pb2.FeatureNameStatistics.INT else schema_pb2.FLOAT
    return schema_pb2.Feature(name=column, type=kind, drift_comparator=comparator)


def _measurements(anomalies: anomalies_pb2.Anomalies) -> Iterable[tuple[str, float]]:
    for info in anomalies.drift_skew_info:
        for measurement in info.drift_measurements:
            yield info.path.step[0], measurement.value


def _drift(
    column: str,
    value: float,
    *,
    threshold: Threshold,
    by_chance: bool,
    sides: tuple[statistics_pb2.FeatureNameStatistics, statistics_pb2.FeatureNameStatistics],
    level: float,
) -> Drift:
    """Judges a distance; `sides` are now and before, `level` is Holm's for the smallest p-value."""
    is_text = sides[0].HasField("string_stats")
    distance = L_INFINITY if is_text else JENSEN_SHANNON
    is_breach = value > threshold.stop and not by_chance
    limit = threshold.stop if is_breach else threshold.note
    what = _largest_change(*sides) if is_text else _change_of_mean(*sides)
    sizes = "on {:,} after {:,}".format(*map(_size, sides))
    hidden = _hidden(*sides, note=threshold.note, level=level) if by_chance else ""
    return Drift(
        column=column,
        distance=distance,
        value=value,
        threshold=limit,
        is_note=value > threshold.note and not is_breach and not by_chance,
        is_breach=is_breach,
        explanation=f"{column}: {distance} {value:.3f} (limit {limit:g}); {what}, {sizes}{hidden}",
    )


def _hidden(
    now: statistics_pb2.FeatureNameStatistics,
    before: statistics_pb2.FeatureNameStatistics,
    *,
    note: float,
    level: float,
) -> str:
    """The smallest detectable change for this few texts; empty if it is below the limit."""
    if note >= 1:
        return ""
    if now.HasField("string_stats"):
        least = drift_chance.smallest_seen_of_counts(_counts(now), _counts(before), level=level)
        return f"; so few tell no change of a share under {least:.2f} from chance" if least > note else ""
    least = drift_chance.smallest_seen(num_now=_size(now), num_before=_size(before), level=level)
    # Two normal distributions of divergence d, moved against each other, differ in a cumulative share by about
    # the root of d.
    return f"; so few tell no shift of under {least:.0%} of them from chance" if least > note**0.5 else ""


def _varies(now: statistics_pb2.FeatureNameStatistics, before: statistics_pb2.FeatureNameStatistics) -> bool:
    if now.HasField("string_stats"):
        return len({*_counts(now), *_counts(before)}) > 1
    numbers = (now.num_stats, before.num_stats)
    return min(side.min for side in numbers) < max(side.max for side in numbers)


def _p_value(
    now: statistics_pb2.FeatureNameStatistics, before: statistics_pb2.FeatureNameStatistics
) -> float:
    """The chance of such a distance if both samples have one source."""
    if now.HasField("string_stats"):
        return drift_chance.p_value_of_counts(_counts(now), _counts(before))
    return drift_chance.p_value_of_numbers(_cumulative(now), _cumulative(before))


def _cumulative(feature: statistics_pb2.FeatureNameStatistics) -> drift_chance.Cumulative:
    """TFDV's buckets exclude the low edge and include the high one."""
    [histogram] = (
        h for h in feature.num_stats.histograms if h.type == statistics_pb2.Histogram.QUANTILES and not h.name
    )
    counts: dict[float, float] = {}
    total = 0.0
    for bucket in histogram.buckets:
        total += bucket.sample_count
        counts[bucket.high_value] = total
    return drift_chance.Cumulative(
        size=_size(feature),
        minimum=histogram.buckets[0].low_value,
        edges=tuple(counts),
        shares=tuple(count / total for count in counts.values()),
    )


def _size(feature: statistics_pb2.FeatureNameStatistics) -> int:
    return max(1, int(_common(feature).num_non_missing))


def _common(feature: statistics_pb2.FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    is_text = feature.HasField("string_stats")
    return (feature.string_stats if is_text else feature.num_stats).common_stats


def _counts(feature: statistics_pb2.FeatureNameStatistics) -> dict[str, int]:
    return {
        bucket.label: round(bucket.sample_count) for bucket in feature.string_stats.rank_histogram.buckets
    }


def _shares(feature: statistics_pb2.FeatureNameStatistics) -> dict[str, float]:
    counts = _counts(feature)
    total = sum(counts.values())
    return {label: count / total for label, count in counts.items()}


def _most_changed(new: Mapping[str, float], old: Mapping[str, float]) -> str:
    return max({*new, *old}, key=lambda v: (round(abs(new.get(v, 0) - old.get(v, 0)), 6), v))


def _largest_change(
    now: statistics_pb2.FeatureNameStatistics, before: statistics_pb2.FeatureNameStatistics
) -> str:
    new, old = _shares(now), _shares(before)
    value = _most_changed(new, old)
    return f"{value!r} went from {old.get(value, 0):.1%} to {new.get(value, 0):.1%}"


def _change_of_mean(
    now: statistics_pb2.FeatureNameStatistics, before: statistics_pb2.FeatureNameStatistics
) -> str:
    return (
        f"its mean went from {before.num_stats.mean:.3g} to {now.num_stats.mean:.3g}, "
        f"its median from {before.num_stats.median:.3g} to {now.num_stats.median:.3g}"
    )
