"""What the Evaluator found, in numbers and sentences: metrics by slice beside the baseline's, and every refusal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import bert_task
import tensorflow_model_analysis as tfma

from bert_pipeline.components.evaluator import read_verdict
from bert_pipeline.gate_checks import BOUNDS, gates_of
from bert_pipeline.slice_metrics import SliceMetrics as SliceMetrics
from bert_pipeline.slice_metrics import read_slices


@dataclasses.dataclass(frozen=True)
class EvaluationReport:
    """An evaluation, as the summary of a run tells it."""

    overall: SliceMetrics
    slices: tuple[SliceMetrics, ...]
    """In the order of `evaluation.slices`, then by value."""

    blessed: bool
    has_baseline: bool
    refusals: tuple[str, ...]
    """One sentence for each bound that was broken; empty where blessed."""

    notes: tuple[str, ...]
    """What was not checked, and why; what was within noise."""

    behind: tuple[str, ...] = ()
    """The worst slices of each comparison between slices (`max_gap`)."""

    held: tuple[str, ...] = ()
    """One sentence for each bound that held, with what it could have seen."""

    cost_unit: str = ""
    """Unit of expected_cost."""


def read_report(evaluation_uri: str, *, task: bert_task.TaskConfig) -> EvaluationReport:
    """Reads what the Evaluator wrote.

    Args:
        evaluation_uri: uri of the ModelEvaluation artifact.
        task: the task that was evaluated.
    """
    validation = tfma.load_validation_result(evaluation_uri)
    found = read_slices(evaluation_uri, labels=task.data.labels)
    verdict = read_verdict(evaluation_uri)
    by_name = {slice_metrics.slice: slice_metrics for slice_metrics in found}
    overall = by_name.pop("", SliceMetrics("", (), 0, {}, {}, ()))
    has_baseline = bool(overall.baseline)
    order = [_columns(spec) for spec in task.evaluation.slices]
    slices = sorted(by_name.values(), key=lambda s: (order.index(s.columns), s.slice))
    return EvaluationReport(
        overall=overall,
        slices=tuple(slices),
        blessed=validation.validation_ok and not verdict.refusals,
        has_baseline=has_baseline,
        refusals=verdict.refusals,
        notes=(
            *_notes(task, slices=slices, has_baseline=has_baseline),
            *_without_value(task.evaluation.slices, overall=overall, slices=slices),
            *verdict.notes,
        ),
        behind=verdict.behind,
        held=verdict.held,
        cost_unit=task.evaluation.cost_unit,
    )


def _columns(spec: str) -> tuple[str, ...]:
    """Columns of an entry of `evaluation.slices`, in TFMA's order."""
    return tuple(sorted(spec.split("+")))


def _notes(task: bert_task.TaskConfig, *, slices: list[SliceMetrics], has_baseline: bool) -> Iterator[str]:
    gates = gates_of(task)
    if not task.evaluation.gates:
        yield f"the task names no gates; the default ones hold: {'; '.join(map(_gate_text, gates))}"
    compared = ("max_drop", "max_rise", "min_gain")
    changes = [gate for gate in gates if any(getattr(gate, name) is not None for name in compared)]
    if changes and not has_baseline:
        yield (
            "no other model that ML Metadata knows was in service before this one; bounds not checked: "
            + "; ".join(_gate_text(gate, compared) for gate in changes)
        )
    seen = {slice_metrics.columns for slice_metrics in slices}
    for spec in task.evaluation.slices:
        if _columns(spec) not in seen:
            yield f"evaluation.slices names {spec!r}, and no evaluated example has it; nothing is reported by it"


def _without_value(
    specs: Sequence[str], *, overall: SliceMetrics, slices: Sequence[SliceMetrics]
) -> Iterator[str]:
    """Examples that lack a value of a column that is sliced by; TFMA counts them on all data only."""
    for spec in specs:
        counts = [row.num_examples for row in slices if row.columns == _columns(spec)]
        missing = overall.num_examples - sum(counts)
        if counts and missing > 0:
            yield (
                f"{missing:,} of {overall.num_examples:,} evaluated examples have no value of {spec}; they are in none "
                "of its slices"
            )


def _gate_text(gate: bert_task.GateConfig, names: Sequence[str] = (*BOUNDS, "confidence")) -> str:
    bounds = [(name, getattr(gate, name)) for name in names]
    texts = [f"{name} {bound:g}" for name, bound in bounds if bound is not None]
    return f"{gate.metric} on {gate.slice or 'all data'}: {', '.join(texts)}"
