"""Decides fine, watch or retrain from drops since the push, drift, and weak labels.

All drops of a verdict share one chance of a false alarm, by Holm's procedure as in `judging.gates`. Repeated looks
are corrected: the k-th look at a version has 6 / (pi k)^2 of that chance; the shares sum to one over all looks.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from bert_pipeline.evaluation.slices import SliceMetrics
from bert_pipeline.judging import counts, intervals, power, scores
from bert_pipeline.judging.comparisons import SHARE_OF_ALL_DATA
from bert_pipeline.judging.intervals import Interval
from bert_pipeline.judging.sentences import chance, number, percent
from bert_pipeline.settings.sections import MonitoringConfig

if TYPE_CHECKING:  # both import TensorFlow, which takes seconds
    from bert_pipeline.data.drift import Drift
    from bert_pipeline.monitoring.weak_labels import Agreement

# Shares of the chance of a false alarm: most for the labels, which show what is wrong.
SHARE_OF_DROPS = 0.9


class Level(enum.IntEnum):
    """What to do; larger is more urgent."""

    FINE = 0
    WATCH = 1
    RETRAIN = 2


# For schedulers; 1 and 2 are used by refusals and errors.
EXIT_STATUS = {Level.FINE: 0, Level.WATCH: 10, Level.RETRAIN: 20}


@dataclasses.dataclass(frozen=True)
class Change:
    """A slice now, compared with the same slice at the push."""

    slice: str
    """Empty for all data."""

    num_examples: int
    now: Interval
    before: Interval
    """Value at the push; NaN if that evaluation had no such slice."""

    num_before: int = 0
    """Examples at the push."""

    behind: Interval = dataclasses.field(default_factory=lambda: Interval(math.nan))
    """Before minus now."""

    p_value: float = 1.0
    """Chance of a drop this large or larger under the null hypothesis."""

    @property
    def drop(self) -> float:
        """Before minus now; NaN if either is unknown."""
        return self.before.value - self.now.value


@dataclasses.dataclass(frozen=True)
class Reason:
    """One reason for a level."""

    level: Level
    sentence: str
    slice: str = ""
    """The slice; empty for all data, or if the reason does not concern slices."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The level of the most urgent reason."""

    level: Level
    reasons: tuple[Reason, ...]
    """Most urgent first."""

    notes: tuple[str, ...]
    """Notes on changes that were not judged."""


def changes(
    live: Sequence[SliceMetrics], before: Sequence[SliceMetrics], *, metric: str, labels: Sequence[str]
) -> list[Change]:
    """Compares each live slice with the same slice at the push; all data first, then by drop, largest first.

    Args:
        live: metrics of the labelled traffic.
        before: metrics at the push.
        metric: to compare.
        labels: `data.labels`.
    """
    old = {row.slice: row for row in before}
    found = [_change(row, old.get(row.slice), metric, labels=tuple(labels)) for row in live]
    return sorted(
        found, key=lambda c: (bool(c.slice), -c.drop if not math.isnan(c.drop) else math.inf, c.slice)
    )


def _change(row: SliceMetrics, old: SliceMetrics | None, metric: str, *, labels: tuple[str, ...]) -> Change:
    now = _interval(row, metric, labels=labels)
    if old is None:
        return Change(row.slice, row.num_examples, now, Interval(math.nan))
    before = _interval(old, metric, labels=labels)
    if math.isnan(now.value) or math.isnan(before.value):
        return Change(row.slice, row.num_examples, now, before, old.num_examples)
    # Align labels by name: the task may have changed them since the push.
    both = tuple(dict.fromkeys([*(row.labels or labels), *(old.labels or labels)]))
    tables = [_table(each, both, labels=labels) for each in (row, old)]
    behind, p_value = counts.compare_counts(metric, *tables, labels=both, costs=_costs(both))
    return Change(row.slice, row.num_examples, now, before, old.num_examples, behind, p_value)


def _costs(labels: Sequence[str]) -> np.ndarray:
    return scores.cost_matrix({}, labels)


def _table(row: SliceMetrics, both: tuple[str, ...], *, labels: tuple[str, ...]) -> np.ndarray:
    """Expands a confusion matrix to a row and a column for each label of `both`."""
    places = [both.index(label) for label in row.labels or labels]
    table = np.zeros([len(both), len(both)])
    table[np.ix_(places, places)] = np.array(row.confusion, dtype=float)
    return table


def _interval(row: SliceMetrics, metric: str, *, labels: tuple[str, ...]) -> Interval:
    of_row = row.labels or labels
    kind, _, label = metric.partition("/")
    if kind == "recall" and label not in of_row:  # the label is newer than that evaluation
        return Interval(math.nan)
    table = np.array(row.confusion, dtype=float)
    return counts.counts_interval(metric, table, labels=of_row, costs=_costs(of_row))


def look_share(look: int) -> float:
    """The share of the k-th look at a version in the chance of a false alarm; the shares sum to 1 over all k.

    Args:
        look: 1 or more.
    """
    return 6 / (math.pi * look) ** 2


def drift_alpha(config: MonitoringConfig, *, look: int, has_labels: bool) -> float:
    """The chance of a false alarm for the drift of a look: the look's full chance if there are no labels."""
    share = 1 - SHARE_OF_DROPS if has_labels else 1.0
    return (1 - config.confidence) * share * look_share(look)


def judge(
    found: Sequence[Change],
    *,
    drifts: Sequence[Drift],
    agreements: Sequence[Agreement],
    config: MonitoringConfig,
    gated: Collection[str] = (),
    look: int = 1,
) -> Verdict:
    """Decides the level of a report.

    A significant drop of `watch_drop` or more counts. It means RETRAIN if its interval (one-sided, at `confidence`)
    does not exclude a drop of `retrain_drop`, otherwise WATCH. All data and the slices that a gate names get 70 % of
    the chance of a false alarm, so that the other slices do not weaken them.

    Args:
        found: of `changes`; empty without labels.
        drifts: of the traffic against the training data.
        agreements: with weak labels or another model.
        config: section [monitoring].
        gated: slices that a gate of the task names.
        look: number of this look at the version, from 1.
    """
    judged = [c for c in found if not _too_few(c, config) and not math.isnan(c.drop)]
    alpha = (1 - config.confidence) * SHARE_OF_DROPS * look_share(look)
    weights = _weights(judged, gated=gated)
    adjusted = intervals.holm([c.p_value for c in judged], weights)
    reasons, notes = [], list(_notes(found, config=config))
    for change, p_value in zip(judged, adjusted, strict=True):
        if not change.drop >= config.watch_drop:
            continue
        if p_value <= alpha:
            reasons.append(_drop_reason(change, config=config))
        elif not change.slice:
            notes.append(
                f"{config.metric} on all data is {change.drop:.3f} below that at the push, which may be noise "
                f"(p {chance(p_value)}; an alarm needs {alpha:.2g}, look {look} at this version)"
            )
    notes += _seen(judged, weights, alpha=alpha, config=config)
    reasons += [
        Reason(Level.RETRAIN if drift.is_breach else Level.WATCH, f"drift: {drift.explanation}")
        for drift in drifts
        if drift.is_breach or drift.is_note
    ]
    for agreement in agreements:
        # Alarm only if the share is significantly below the limit: on few texts a low share is noise.
        by_chance = stats.binom.cdf(agreement.num_agreeing, agreement.num_texts, config.min_agreement)
        if (
            agreement.num_texts
            and agreement.share < config.min_agreement
            and by_chance <= 1 - config.confidence
        ):
            limit = f"(monitoring.min_agreement is {config.min_agreement:g})"
            reasons.append(Reason(Level.WATCH, f"{agreement.sentence} {limit}"))
    reasons.sort(key=lambda reason: -reason.level)
    level = max((reason.level for reason in reasons), default=Level.FINE)
    return Verdict(level, tuple(reasons), tuple(notes))


def _too_few(change: Change, config: MonitoringConfig) -> bool:
    """Both sides of a slice need the minimum size; for all data only the live side does."""
    few_before = bool(change.slice) and 0 < change.num_before < config.min_examples
    return change.num_examples < config.min_examples or few_before


def _weights(judged: Sequence[Change], *, gated: Collection[str]) -> list[float]:
    is_named = [not c.slice or c.slice in gated for c in judged]
    shares = {True: SHARE_OF_ALL_DATA, False: 1 - SHARE_OF_ALL_DATA}
    return [shares[named] / is_named.count(named) for named in is_named]


def _drop_reason(change: Change, *, config: MonitoringConfig) -> Reason:
    sentence = (
        f"{config.metric} on {change.slice or 'all data'} is {change.now.value:.3f} on {change.num_examples} labelled "
        f"texts, {change.drop:.3f} below the {change.before.value:.3f} at its push"
    )
    # Scale the shown two-sided 95 % interval to the one-sided end at the confidence.
    scale = float(stats.norm.ppf(config.confidence) / stats.norm.ppf((1 + intervals.SHOWN_CONFIDENCE) / 2))
    highest = change.drop + scale * (change.behind.high - change.drop)
    is_large = highest >= config.retrain_drop
    return Reason(Level.RETRAIN if is_large else Level.WATCH, sentence, change.slice)


def _notes(found: Sequence[Change], *, config: MonitoringConfig) -> Iterator[str]:
    few = [c for c in found if _too_few(c, config)]
    if few:
        names = ", ".join(f"{c.slice or 'all data'} ({_sizes(c, config)})" for c in few)
        yield f"under {config.min_examples} labelled texts, not judged: {names}"
    new = [c for c in found if c not in few and math.isnan(c.drop)]
    if new:
        names = ", ".join(f"{c.slice or 'all data'} ({config.metric} {c.now.value:.3f})" for c in new)
        yield f"unknown to the evaluation at the push, so not compared: {names}"


def _sizes(change: Change, config: MonitoringConfig) -> str:
    if change.num_examples < config.min_examples:
        return str(change.num_examples)
    return f"{change.num_before} at the push"


def _seen(
    judged: Sequence[Change], weights: Sequence[float], *, alpha: float, config: MonitoringConfig
) -> Iterator[str]:
    """The smallest change on all data that the comparison could have detected."""
    for change, weight in zip(judged, weights, strict=True):
        if not change.slice and not config.metric.startswith("recall/"):
            level = alpha * weight / sum(weights)
            smallest = power.smallest_difference(
                change.before.value,
                change.num_examples,
                change.num_before,
                level=level,
                allowed=config.watch_drop,
            )
            what = f"a drop of {number(smallest)} or more" if math.isfinite(smallest) else "no drop"
            yield f"{what} of {config.metric} on all data would have been seen ({percent(power.POWER)})"
