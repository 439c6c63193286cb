"""Fine, watch or retrain: from drops against the evaluation at the push, from drift, and from weak labels."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Collection, Iterator, Sequence
from statistics import NormalDist

from bert_task import MonitoringConfig

from bert_pipeline.drift import Drift
from bert_pipeline.estimates import Estimate
from bert_pipeline.monitoring.weak_labels import Agreement
from bert_pipeline.scores import MACRO_F1
from bert_pipeline.slice_metrics import SliceMetrics, value_of


class Level(enum.IntEnum):
    """What to do; larger is more urgent."""

    FINE = 0
    WATCH = 1
    RETRAIN = 2


# For schedulers; 1 and 2 are taken by refusals and errors.
EXIT_STATUS = {Level.FINE: 0, Level.WATCH: 10, Level.RETRAIN: 20}


@dataclasses.dataclass(frozen=True)
class Change:
    """A slice now, beside itself at the push."""

    slice: str
    """Empty: all data."""

    num_examples: int
    now: Estimate
    before: Estimate
    """At the push; NaN where that evaluation had no such slice."""

    @property
    def drop(self) -> float:
        """Before minus now; NaN where one is not known."""
        return self.before.value - self.now.value

    @property
    def std_error(self) -> float:
        """Of the drop: the texts are others, so the errors are independent."""
        return math.hypot(self.before.std_error, self.now.std_error)


@dataclasses.dataclass(frozen=True)
class Reason:
    """One thing that speaks for a level."""

    level: Level
    sentence: str
    slice: str = ""
    """Where it is; empty: all data, or no matter of slices."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The level of the most urgent reason."""

    level: Level
    reasons: tuple[Reason, ...]
    """The most urgent first."""

    notes: tuple[str, ...]
    """What was not judged."""


def changes(
    live: Sequence[SliceMetrics], before: Sequence[SliceMetrics], *, metric: str, labels: Sequence[str]
) -> list[Change]:
    """Each live slice beside the same slice at the push, all data first, then the largest drop first.

    Args:
        live: metrics of the labelled traffic.
        before: metrics at the push.
        metric: that is compared.
        labels: `data.labels`.
    """
    old = {row.slice: row for row in before}
    found = [
        Change(
            row.slice,
            row.num_examples,
            _estimate(row, metric, labels=labels),
            _estimate(old[row.slice], metric, labels=labels) if row.slice in old else Estimate(math.nan),
        )
        for row in live
    ]
    return sorted(
        found, key=lambda c: (bool(c.slice), -c.drop if not math.isnan(c.drop) else math.inf, c.slice)
    )


def _estimate(row: SliceMetrics, metric: str, *, labels: Sequence[str]) -> Estimate:
    """TFMA's estimate of macro_f1; for a share of texts the binomial standard error, at least one text's.

    TFMA's jackknife draws its parts anew each time, so that its width varies by a sixth: the same traffic would be
    a reason to retrain today and noise tomorrow.
    """
    value, (kind, _, label) = value_of(row, metric), metric.partition("/")
    if metric == MACRO_F1:
        return row.estimates.get(metric, Estimate(value))
    of_row = row.labels or tuple(labels)
    if kind == "recall" and label not in of_row:  # the task has got it since that evaluation
        return Estimate(math.nan)
    count = sum(row.confusion[of_row.index(label)]) if kind == "recall" else row.num_examples
    if not count:
        return Estimate(value)
    return Estimate(value, max(math.sqrt(max(value * (1 - value), 0) / count), 1 / count))


def judge(
    found: Sequence[Change],
    *,
    drifts: Sequence[Drift],
    agreements: Sequence[Agreement],
    config: MonitoringConfig,
    gated: Collection[str] = (),
) -> Verdict:
    """Decides.

    A drop counts where the lower end of its one-sided interval is above 0: noise alone must not wake anybody.
    Of k slices judged together, each is held to 1 - (1 - confidence) / k (Bonferroni). All data and the slices that
    somebody named beforehand are one such family; those that are looked at because they are there are another, so
    that twenty of them do not drown the one that matters. A drop that would mean training anew, and is not that
    sure, is worth watching.

    Args:
        found: of `changes`; empty where no label is known.
        drifts: traffic beside training.
        agreements: with weak labels or another model.
        config: section [monitoring].
        gated: slices that a gate of the task names.
    """
    judged = [c for c in found if c.num_examples >= config.min_examples and not math.isnan(c.drop)]
    named = [c for c in judged if not c.slice or c.slice in gated]
    others = [c for c in judged if c not in named]
    reasons = [
        reason
        for family in (named, others)
        for change in family
        for reason in _drop_reasons(change, num_judged=len(family), config=config)
    ]
    reasons += [
        Reason(Level.RETRAIN if drift.is_breach else Level.WATCH, f"drift: {drift.explanation}")
        for drift in drifts
        if drift.is_breach or drift.is_note
    ]
    for agreement in agreements:
        if agreement.num_texts and agreement.share < config.min_agreement:
            reasons.append(
                Reason(
                    Level.WATCH,
                    f"{agreement.sentence} (monitoring.min_agreement is {config.min_agreement:g})",
                )
            )
    reasons.sort(key=lambda reason: -reason.level)
    level = max((reason.level for reason in reasons), default=Level.FINE)
    return Verdict(level, tuple(reasons), tuple(_notes(found, judged=judged, config=config)))


def _drop_reasons(change: Change, *, num_judged: int, config: MonitoringConfig) -> Iterator[Reason]:
    if change.drop < config.watch_drop:
        return
    quantile = NormalDist().inv_cdf(1 - (1 - config.confidence) / num_judged)
    is_sure = change.drop - quantile * change.std_error > 0
    is_large = change.drop >= config.retrain_drop
    if not is_sure and not is_large:
        return
    sentence = (
        f"{config.metric} on {change.slice or 'all data'} is {change.now.value:.3f} on {change.num_examples} labelled "
        f"texts, {change.drop:.3f} below the {change.before.value:.3f} at its push"
    )
    if not is_sure:
        sentence += f" (may be noise: standard error {change.std_error:.3f})"
    yield Reason(Level.RETRAIN if is_sure and is_large else Level.WATCH, sentence, change.slice)


def _notes(found: Sequence[Change], *, judged: Sequence[Change], config: MonitoringConfig) -> Iterator[str]:
    few = [c for c in found if c.num_examples < config.min_examples]
    if few:
        names = ", ".join(f"{c.slice or 'all data'} ({c.num_examples})" for c in few)
        yield f"under {config.min_examples} labelled texts, not judged: {names}"
    new = [c for c in found if c not in few and c not in judged]
    if new:
        names = ", ".join(f"{c.slice or 'all data'} ({config.metric} {c.now.value:.3f})" for c in new)
        yield f"unknown to the evaluation at the push, so not compared: {names}"
