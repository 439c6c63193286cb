"""One slice compared with one bound, and the smallest change that the comparison can detect."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from bert_pipeline.judging import power, sentences
from bert_pipeline.judging.answers import Slice
from bert_pipeline.judging.measures import Change, Gap
from bert_pipeline.settings import metric_names, sections

# Default of comparisons: at most 5 % of the verdicts refuse wrongly.
DEFAULT_CONFIDENCE = 0.95

# Shares of the chance of a wrong refusal.
SHARE_OF_ALL_DATA = 0.7


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One slice compared with one bound."""

    gate: sections.GateConfig
    kind: str
    """max_drop, max_rise or max_gap."""

    row: Slice
    measured: float
    """Positive means worse."""

    p_value: float
    values: tuple[float, float]
    """The value on this slice, and the baseline's or the rest's."""

    found: Change | Gap
    num_rest: int = 0
    """Examples outside the slice, for max_gap."""

    @property
    def allowed(self) -> float:
        """The bound, 0 or more."""
        return float(getattr(self.gate, self.kind))

    @property
    def alpha(self) -> float:
        """Accepted chance of a wrong refusal."""
        return 1 - (DEFAULT_CONFIDENCE if self.gate.confidence is None else self.gate.confidence)

    def sentence(self, p_value: float) -> str:
        """The message, with the p-value adjusted for all comparisons."""
        if self.kind == "max_gap":
            return sentences.gap_sentence(
                self.gate.metric,
                self.row.name,
                len(self.row.rows),
                here=self.values[0],
                rest=self.values[1],
                allowed=self.allowed,
                p_value=p_value,
            )
        return sentences.change_sentence(
            self.gate.metric,
            self.row.name,
            *self.values,
            allowed=self.allowed,
            p_value=p_value,
            is_drop=self.kind == "max_drop",
        )


def weights_of(found: Sequence[Comparison]) -> list[float]:
    """Weights of the comparisons for Holm's procedure: 70 % for all data, the rest for the slices."""
    counts = [sum(bool(each.row.name) == of_slice for each in found) for of_slice in (False, True)]
    shares = [SHARE_OF_ALL_DATA / max(counts[0], 1), (1 - SHARE_OF_ALL_DATA) / max(counts[1], 1)]
    return [shares[bool(each.row.name)] for each in found]


def smallest_seen(each: Comparison, level: float) -> float:
    """The smallest worsening that this comparison detects with 80 % power."""
    if isinstance(each.found, Gap):
        share, kind = each.found.rest, each.gate.metric.partition("/")[0]
        if kind not in (metric_names.ACCURACY, "recall", "precision", metric_names.MACRO_F1):
            spread = (each.found.behind.value - each.found.behind.low) / 1.645
            return power.smallest_drop(spread, level=level, allowed=each.allowed)
        sizes = len(each.row.rows), each.num_rest
        return power.smallest_difference(share, *sizes, level=level, allowed=each.allowed)
    change = each.found
    is_share = each.gate.metric == metric_names.ACCURACY or each.gate.metric.startswith("recall/")
    if is_share:
        return power.smallest_share_drop(
            change.num_examples, change.num_different, level=level, allowed=each.allowed
        )
    if each.gate.metric not in (metric_names.LOSS, metric_names.AUC, metric_names.CALIBRATION_ERROR):
        # Random swaps: with too few differing answers, no p-value can fall below the level.
        of_share = power.smallest_share_drop(
            change.num_examples, change.num_different, level=level, allowed=each.allowed
        )
        if math.isinf(of_share) or not change.spread:
            return of_share
    return power.smallest_drop(change.spread, level=level, allowed=each.allowed)


def held_sentences(group: Sequence[tuple[Comparison, float]]) -> Iterator[str]:
    """One sentence for a bound that held on every slice, with the smallest change it could have detected."""
    first = group[0][0]
    what = {"max_drop": "drop", "max_rise": "rise", "max_gap": "gap"}[first.kind]
    smallest = [(smallest_seen(each, level), each) for each, level in group]
    if len(group) == 1:
        new, old = sentences.numbers(first.gate.metric, *first.values)
        where = sentences.subject(first.gate.metric, first.row.name)
        beside = "the rest's " if first.kind == "max_gap" else ""
        yield f"{where} {new} against {beside}{old}; {sentences.seen_text(smallest[0][0], what=what)}"
        return
    seeing = sorted(
        ((value, each) for value, each in smallest if not math.isinf(value)), key=lambda pair: pair[0]
    )
    blind = [each for value, each in smallest if math.isinf(value)]
    parts = []
    if seeing:
        (low, best), (high, worst) = seeing[0], seeing[-1]
        ends = [f"{sentences.number(v)} on {e.row.name}" for v, e in ((low, best), (high, worst))]
        between = ends[0] if len(seeing) == 1 else f"{ends[0]} to {ends[1]}"
        parts.append(f"a {what} of {between} would have been seen ({sentences.percent(power.POWER)})")
    if blind:
        names = ", ".join(f"{each.row.name} ({len(each.row.rows)})" for each in blind)
        parts.append(f"too few examples to see any {what}: {names}")
    yield f"{first.gate.metric} on each {first.gate.slice}, {len(group)} slices; {'; '.join(parts)}"
