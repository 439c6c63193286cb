"""Checks a model's answers against the gates of a task: refusals, noise, and the smallest detectable change.

Bounds on the model alone (`min`, `max`, `min_gain`) judge the measured value, or with `confidence` the end of its
one-sided interval. Comparisons (`max_drop`, `max_rise`, `max_gap`) refuse a change that is larger than allowed and
significant: all comparisons of a verdict share one chance of 1 - confidence (default 0.05)
of refusing a model when nothing changed, by Holm's procedure. Comparisons on all data get 70 % of it, so that many
slices do not weaken the most important number.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from bert_pipeline.judging import intervals, measures, scores, sentences
from bert_pipeline.judging.answers import Answers, Slice, slices_of
from bert_pipeline.judging.comparisons import Comparison, held_sentences, weights_of
from bert_pipeline.judging.intervals import Interval
from bert_pipeline.judging.measures import Metrics
from bert_pipeline.settings import metric_names, sections
from bert_pipeline.settings.checks import gates_of

# A value on its bound passes, however the last bit of 0.78 - 0.80 is rounded.
_ROUNDING = 1e-9

# Slices of a `max_gap` gate in the summary, worst first.
_NUM_GAPS_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Terms:
    """The settings that a verdict depends on."""

    labels: tuple[str, ...]
    costs: Mapping[str, Mapping[str, float]]
    gates: tuple[sections.GateConfig, ...]

    slices: tuple[str, ...] = ()
    """`evaluation.slices`."""

    label_column: str = ""
    """`data.label`."""

    intervals: bool = True
    """Whether to compute an interval for every metric, for the summary and the report."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of all gates."""

    refusals: tuple[str, ...] = ()
    """One sentence per broken bound."""

    notes: tuple[str, ...] = ()
    """Changes within noise, and gates that were not judged."""

    behind: tuple[str, ...] = ()
    """The worst slices of each comparison between slices."""

    held: tuple[str, ...] = ()
    """One sentence per bound that held: the values, and the smallest change it could have detected."""


def terms_of(task: sections.TaskConfig) -> Terms:
    """Extracts the terms from a task."""
    return Terms(
        task.data.labels,
        task.evaluation.costs,
        gates_of(task),
        slices=task.evaluation.slices,
        label_column=task.data.label,
        intervals=task.evaluation.intervals != "none",
    )


def terms_to_json(terms: Terms) -> str:
    """Serializes the terms for a component's execution properties."""
    return json.dumps(dataclasses.asdict(terms), sort_keys=True)


def terms_from_json(text: str) -> Terms:
    """Reads what `terms_to_json` wrote."""
    values = json.loads(text)
    gates = tuple(sections.GateConfig(**gate) for gate in values.pop("gates"))
    labels, slices = (tuple(values.pop(key)) for key in ("labels", "slices"))
    return Terms(labels, gates=gates, slices=slices, **values)


class Judge:
    """Checks the gates on one evaluation."""

    def __init__(self, answers: Answers, *, terms: Terms) -> None:
        """Splits the examples into slices.

        Args:
            answers: of the candidate, and of the baseline if any.
            terms: of the task.
        """
        self._answers, self._terms = answers, terms
        self._costs = scores.cost_matrix(terms.costs, terms.labels)
        self.slices = slices_of(answers, terms.slices)
        self._metrics = {row.name: Metrics(answers.take(row.rows), self._costs) for row in self.slices}
        self._refusals: list[str] = []
        self._notes: list[str] = []
        self._behind: list[str] = []
        self._held: list[str] = []

    def verdict(self) -> Verdict:
        """Checks the gates in order; the comparisons, which are judged together, come after the bounds."""
        if not len(self._answers):
            return Verdict(("there is no example to evaluate",))
        num_broken = int(np.count_nonzero(~np.isfinite(self._answers.candidate).all(axis=1)))
        if num_broken:
            count = f"{num_broken:,} of {len(self._answers):,} evaluated examples"
            return Verdict((f"the model's probabilities are not finite numbers on {count}",))
        found: list[Comparison] = []
        for gate in self._terms.gates:
            rows = self.rows(gate)
            self._bounds(gate, rows)
            for row in rows:
                found += self.changes(gate, row)
            if gate.max_gap is not None:
                found += self._gaps(gate, rows)
        self._compare(found)
        return Verdict(*map(tuple, (self._refusals, self._notes, self._behind, self._held)))

    def intervals(self) -> dict[str, dict[str, dict[str, Interval]]]:
        """Slice to `metrics` and `changes`, each metric name to interval; empty if the task disables intervals."""
        if not self._terms.intervals or not len(self._answers):
            return {}
        names = metric_names.metric_names(self._terms.labels, with_cost=bool(self._terms.costs))[1:]
        found = {}
        for name, metrics in self._metrics.items():
            changes = {}
            if self._answers.baseline is not None:
                changes = {metric: metrics.change_interval(metric) for metric in names}
            found[name] = {
                "metrics": {metric: metrics.interval(metric) for metric in names},
                "changes": changes,
            }
        return found

    def rows(self, gate: sections.GateConfig) -> list[Slice]:
        """The slices that a gate bounds."""
        spec = gate.slice
        if not spec or "=" in spec:
            rows = [row for row in self.slices if row.name == spec]
        else:
            columns = tuple(sorted(spec.split("+")))
            rows = [row for row in self.slices if row.columns == columns]
        if not rows:
            bounds = "that slice" if "=" in spec else "each value of it"
            names = spec if "=" in spec else " and ".join(sorted(spec.split("+")))
            refusal = f"no evaluated example has {names}, and a gate bounds {bounds}"
            self._refusals += [refusal] if refusal not in self._refusals else []
        small = [row for row in rows if len(row.rows) < gate.min_examples]
        if small:
            names = ", ".join(f"{row.name} ({len(row.rows)})" for row in small)
            self._notes.append(
                f"{gate.metric} not judged where there are under {gate.min_examples} examples: {names}"
            )
        return [row for row in rows if row not in small]

    def _bounds(self, gate: sections.GateConfig, rows: Sequence[Slice]) -> None:
        """`min` and `max`."""
        for bound, is_lower in ((gate.min, True), (gate.max, False)):
            if bound is None:
                continue
            held = []
            for row in rows:
                known, shown = self._one_sided(gate, row)
                end = known.value if gate.confidence is None else (known.low if is_lower else known.high)
                if end >= bound - _ROUNDING if is_lower else end <= bound + _ROUNDING:
                    held.append((end if is_lower else -end, row, shown))
                else:
                    refused = known if gate.confidence is not None else Interval(known.value)
                    self._refusals.append(
                        sentences.bound_sentence(gate, row.name, refused, is_lower=is_lower, bound=bound)
                    )
            if held and len(held) == len(rows):
                _, row, shown = min(held, key=lambda each: (each[0], each[1].name))
                where = sentences.subject(gate.metric, row.name)
                if len(held) > 1:
                    where = f"{gate.metric} on each {gate.slice}, {len(held)} slices, the nearest {row.name}:"
                limit = f"at {'least' if is_lower else 'most'} {sentences.plain(bound)}"
                self._held.append(f"{where} {sentences.with_interval(shown)}, {limit}")

    def _one_sided(self, gate: sections.GateConfig, row: Slice) -> tuple[Interval, Interval]:
        """The interval that is judged, one-sided at the gate's confidence, and the one to show."""
        metrics = self._metrics[row.name]
        if gate.metric == metric_names.EXAMPLE_COUNT:
            known = Interval(float(len(row.rows)), float(len(row.rows)), float(len(row.rows)))
            return known, known
        shown = metrics.interval(gate.metric)
        if gate.confidence is None:
            return shown, shown
        return metrics.interval(gate.metric, confidence=2 * gate.confidence - 1), shown

    def changes(self, gate: sections.GateConfig, row: Slice) -> Iterator[Comparison]:
        """Judges `min_gain`; collects `max_drop` and `max_rise`, which are judged with all comparisons."""
        if self._answers.baseline is None:
            return
        metrics = self._metrics[row.name]
        values = metrics.value(gate.metric), metrics.value(gate.metric, of_baseline=True)
        if gate.min_gain is not None:
            self._gain(gate, row, values=values)
        if (gate.max_drop, gate.max_rise) == (None, None):
            return
        change = metrics.change(gate.metric)
        if math.isnan(change.value):  # as recall where no example has the label
            self._notes.append(
                f"{sentences.subject(gate.metric, row.name)} is not defined, and was not compared"
            )
            return
        for kind, sign, p_value in (("max_drop", -1, change.p_lower), ("max_rise", 1, change.p_higher)):
            if getattr(gate, kind) is not None:
                yield Comparison(gate, kind, row, sign * change.value, p_value, values, change)

    def _gain(self, gate: sections.GateConfig, row: Slice, *, values: tuple[float, float]) -> None:
        change = Interval(values[0] - values[1])
        sign = -1 if gate.metric in metric_names.LOWER_IS_BETTER else 1
        sure = sign * change.value
        if gate.confidence is not None:
            change = self._metrics[row.name].change_interval(gate.metric, confidence=2 * gate.confidence - 1)
            sure = sign * (change.low if sign > 0 else change.high)
        if sure >= (gate.min_gain or 0.0) - _ROUNDING:
            where = sentences.subject(gate.metric, row.name)
            new, old = sentences.numbers(gate.metric, *values)
            wanted = sentences.plain(gate.min_gain or 0.0)
            self._held.append(f"{where} {new} against {old}, better by {wanted} at least")
        else:
            self._refusals.append(sentences.gain_sentence(gate, row.name, *values, change))

    def _gaps(self, gate: sections.GateConfig, rows: Sequence[Slice]) -> list[Comparison]:
        """Compares each slice with all examples outside it, worst first; skips a slice that holds every example."""
        found = []
        for row in rows:
            rest = np.setdiff1d(np.arange(len(self._answers)), row.rows)
            if len(rest):
                outside = Metrics(self._answers.take(rest), self._costs)
                gap = measures.gap(gate.metric, self._metrics[row.name], outside)
                found.append(
                    Comparison(
                        gate,
                        "max_gap",
                        row,
                        gap.behind.value,
                        gap.p_behind,
                        (gap.here, gap.rest),
                        gap,
                        len(rest),
                    )
                )
        undefined = [each.row.name for each in found if math.isnan(each.measured)]
        if undefined:
            self._notes.append(
                f"{gate.metric} is not defined on, and was not compared: {', '.join(undefined)}"
            )
        known = [each for each in found if each.row.name not in undefined]
        return sorted(known, key=lambda each: (-each.measured, each.row.name))

    def _compare(self, found: Sequence[Comparison]) -> None:
        """Refuses significant changes larger than allowed, with one error rate over all comparisons."""
        weights = weights_of(found)
        adjusted = intervals.holm([each.p_value for each in found], weights)
        shown: dict[int, int] = {}
        kept: dict[tuple[int, str], list[tuple[Comparison, float]]] = {}
        broken = set()
        for each, weight, p_value in zip(found, weights, adjusted, strict=True):
            key = (self._terms.gates.index(each.gate), each.kind)
            kept.setdefault(key, []).append((each, each.alpha * weight / sum(weights)))
            is_large = each.measured > each.allowed + _ROUNDING
            if is_large and p_value <= each.alpha + _ROUNDING:
                self._refusals.append(each.sentence(p_value))
                broken.add(key)
            elif is_large:
                self._notes.append(f"within noise, not refused: {each.sentence(p_value)}")
            if each.kind == "max_gap" and each.measured > 0 and shown.get(key[0], 0) < _NUM_GAPS_SHOWN:
                shown[key[0]] = shown.get(key[0], 0) + 1
                self._behind.append(each.sentence(p_value))
        for key, group in kept.items():
            if key not in broken:
                self._held += held_sentences(group)


def judge(answers: Answers, *, terms: Terms) -> Verdict:
    """Judges the answers of a model, and of the baseline if any, by the gates."""
    return Judge(answers, terms=terms).verdict()


VERDICT_FILE = "verdict.json"


def read_verdict(evaluation_uri: str) -> Verdict:
    """Reads the executor's verdict; empty if another Evaluator wrote the artifact."""
    path = Path(evaluation_uri) / VERDICT_FILE
    if not path.exists():
        return Verdict()
    values = json.loads(path.read_text(encoding="utf-8"))
    return Verdict(**{key: tuple(lines) for key, lines in values.items()})
