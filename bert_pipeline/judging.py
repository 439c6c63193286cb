"""Gates that TFMA's thresholds cannot hold: with confidence, between slices, with a least number of examples.

A threshold of TFMA sees one number. These gates see its interval too: of the value, of the difference from the
baseline on the same examples, or of the distance between a slice and the rest.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence

import bert_task

from bert_pipeline import evaluation, scores
from bert_pipeline.estimates import Estimate
from bert_pipeline.gaps import Gap, gaps_of
from bert_pipeline.judged_sentences import bound_sentence, change_sentence, gap_sentence
from bert_pipeline.slice_metrics import SliceMetrics, value_of

# As in `evaluation`: a value on its bound passes.
_ROUNDING = 1e-9

# How many slices of a `max_gap` gate the summary shows, the worst first.
_NUM_GAPS_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a verdict depends on beside the metrics."""

    labels: tuple[str, ...]
    costs: Mapping[str, Mapping[str, float]]
    gates: tuple[bert_task.GateConfig, ...]
    """Those that TFMA does not decide."""

    label_column: str = ""
    """`data.label`."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the gates here found."""

    refusals: tuple[str, ...] = ()
    """One sentence for each bound that was broken."""

    notes: tuple[str, ...] = ()
    """What was within noise or not judged."""

    behind: tuple[str, ...] = ()
    """The worst slices of each comparison, as lines of a table."""


def terms_of(task: bert_task.TaskConfig) -> Terms:
    """What `judge` needs of a task."""
    gates = tuple(g for g in evaluation.gates_of(task) if evaluation.is_beyond_thresholds(g))
    return Terms(task.data.labels, task.evaluation.costs, gates, label_column=task.data.label)


def terms_to_json(terms: Terms) -> str:
    """For a component's execution properties."""
    return json.dumps(dataclasses.asdict(terms), sort_keys=True)


def terms_from_json(text: str) -> Terms:
    """Reads what `terms_to_json` wrote."""
    values = json.loads(text)
    gates = tuple(bert_task.GateConfig(**gate) for gate in values["gates"])
    return Terms(tuple(values["labels"]), values["costs"], gates, label_column=values["label_column"])


def judge(slices: Sequence[SliceMetrics], *, terms: Terms) -> Verdict:
    """Holds an evaluation against the gates.

    Args:
        slices: every slice that was measured, all data among them.
        terms: of the task.
    """
    refusals: list[str] = []
    notes: list[str] = []
    behind: list[str] = []
    for gate in terms.gates:
        rows = sorted((row for row in slices if _applies(gate.slice, row)), key=lambda row: row.slice)
        small = [row for row in rows if row.num_examples < gate.min_examples]
        if small:
            names = ", ".join(f"{row.slice} ({row.num_examples})" for row in small)
            notes.append(
                f"{gate.metric} not judged where there are under {gate.min_examples} examples: {names}"
            )
        rows = [row for row in rows if row not in small]
        for row in rows:
            refusals += _bounds(gate, row)
            refusals += _changes(gate, row, notes=notes)
        if gate.max_gap is not None:
            gaps = _gaps(gate, rows, slices=slices, terms=terms)
            refusals += _too_far(gate, gaps, limit=gate.max_gap, notes=notes, behind=behind)
    return Verdict(tuple(refusals), tuple(notes), tuple(behind))


def _applies(spec: str, row: SliceMetrics) -> bool:
    if not spec or "=" in spec:
        return row.slice == spec
    return row.columns == tuple(sorted(spec.split("+")))


def _bounds(gate: bert_task.GateConfig, row: SliceMetrics) -> Iterator[str]:
    """`min` and `max`: the model must show that it keeps them."""
    known = row.estimates.get(gate.metric, Estimate(value_of(row, gate.metric)))
    low, high = _ends(known, gate.confidence)
    if gate.min is not None and not low >= gate.min - _ROUNDING:
        yield bound_sentence(gate, row.slice, known, word="least", bound=gate.min)
    if gate.max is not None and not high <= gate.max + _ROUNDING:
        yield bound_sentence(gate, row.slice, known, word="most", bound=gate.max)


def _ends(known: Estimate, confidence: float | None) -> tuple[float, float]:
    if confidence is None:
        return known.value, known.value
    return known.low(confidence), known.high(confidence)


def _changes(gate: bert_task.GateConfig, row: SliceMetrics, *, notes: list[str]) -> Iterator[str]:
    """`max_drop` and `max_rise` refuse what surely breaks them, `min_gain` what does not surely keep it."""
    if not row.baseline or (gate.max_drop, gate.max_rise, gate.min_gain) == (None, None, None):
        return
    value, base = value_of(row, gate.metric), row.baseline.get(gate.metric, math.nan)
    change = row.changes.get(gate.metric, Estimate(value - base))
    low, high = _ends(change, gate.confidence)
    for bound, sign, measured, sure in (
        (gate.max_drop, -1, -change.value, -high),
        (gate.max_rise, 1, change.value, low),
    ):
        if bound is None or measured <= bound + _ROUNDING:
            continue
        sentence = change_sentence(gate, row.slice, value, base, change, allowed=sign * bound)
        if math.isnan(measured) or sure > bound + _ROUNDING:
            yield sentence
        else:
            notes.append(f"within noise, not refused: {sentence}")
    if gate.min_gain is not None:
        sign, sure = (-1, -high) if gate.metric in scores.LOWER_IS_BETTER else (1, low)
        if not sure >= gate.min_gain - _ROUNDING:
            yield change_sentence(gate, row.slice, value, base, change, wanted=sign * gate.min_gain)


def _gaps(
    gate: bert_task.GateConfig, rows: Sequence[SliceMetrics], *, slices: Sequence[SliceMetrics], terms: Terms
) -> list[Gap]:
    """The slices beside the rest, the worst first, those that cannot be compared last."""
    if not rows:
        return []
    overall = next(row for row in slices if not row.slice)
    gaps = gaps_of(gate.metric, rows, overall=overall, labels=terms.labels, costs=terms.costs)
    return sorted(gaps, key=lambda gap: (math.isnan(gap.behind.value), -gap.behind.value, gap.slice))


def _too_far(
    gate: bert_task.GateConfig, gaps: Sequence[Gap], *, limit: float, notes: list[str], behind: list[str]
) -> Iterator[str]:
    """`max_gap` refuses the slices that are (surely) too far behind the rest."""
    undefined = [gap.slice for gap in gaps if math.isnan(gap.behind.value)]
    if undefined:
        notes.append(f"{gate.metric} is not defined on, and was not compared: {', '.join(undefined)}")
    known = [gap for gap in gaps if gap.slice not in undefined]
    behind += [gap_sentence(gate, gap) for gap in known[:_NUM_GAPS_SHOWN] if gap.behind.value > 0]
    for gap in known:
        if gap.behind.value <= limit + _ROUNDING:
            continue
        if _ends(gap.behind, gate.confidence)[0] > limit + _ROUNDING:
            yield gap_sentence(gate, gap)
        else:
            notes.append(f"within noise, not refused: {gap_sentence(gate, gap)}")
