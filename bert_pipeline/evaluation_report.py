"""What the Evaluator found, in numbers and sentences: metrics by slice beside the baseline's, and every refusal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import bert_task
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from bert_pipeline import evaluation, metrics, scores
from bert_pipeline.refusals import refusals_of


@dataclasses.dataclass(frozen=True)
class SliceMetrics:
    """Metrics of one slice."""

    slice: str
    """Empty: all data; `category=boots`; `category=boots+channel=web`."""

    columns: tuple[str, ...]
    """The columns that were sliced by, by name."""

    num_examples: int

    metrics: dict[str, float]
    """The candidate's, by the names of `scores.metric_names`; NaN where one is not defined."""

    baseline: dict[str, float]
    """The baseline's; empty where there is none."""

    confusion: tuple[tuple[int, ...], ...]
    """The candidate's examples by true label (row) and answered label (column)."""


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
    """What was not checked, and why."""


def read_report(evaluation_uri: str, *, task: bert_task.TaskConfig) -> EvaluationReport:
    """Reads what the Evaluator wrote.

    Args:
        evaluation_uri: uri of the ModelEvaluation artifact.
        task: the task that was evaluated.
    """
    records = list(tfma.load_metrics(evaluation_uri))
    validation = tfma.load_validation_result(evaluation_uri)
    found = [_slice_metrics(record, num_labels=len(task.data.labels)) for record in records]
    by_name = {slice_metrics.slice: slice_metrics for slice_metrics in found}
    overall = by_name.pop("", SliceMetrics("", (), 0, {}, {}, ()))
    has_baseline = bool(overall.baseline)
    order = [_columns(spec) for spec in task.evaluation.slices]
    slices = sorted(by_name.values(), key=lambda s: (order.index(s.columns), s.slice))
    return EvaluationReport(
        overall=overall,
        slices=tuple(slices),
        blessed=validation.validation_ok,
        has_baseline=has_baseline,
        refusals=tuple(
            refusals_of(
                validation,
                metrics={s.slice: s.metrics for s in found},
                baseline={s.slice: s.baseline for s in found},
            )
        ),
        notes=tuple(_notes(task, slices=slices, has_baseline=has_baseline)),
    )


def _slice_metrics(record: metrics_for_slice_pb2.MetricsForSlice, *, num_labels: int) -> SliceMetrics:
    values: dict[bool, dict[str, float]] = {False: {}, True: {}}
    confusion = np.zeros([num_labels, num_labels], dtype=int)
    for item in record.metric_keys_and_values:
        is_baseline = item.key.model_name == evaluation.BASELINE
        kind = item.value.WhichOneof("type")
        if item.key.is_diff:
            continue
        if kind == "double_value":
            values[is_baseline][item.key.name] = item.value.double_value.value
        elif item.key.name == metrics.CONFUSION_MATRIX and not is_baseline:
            for entry in item.value.multi_class_confusion_matrix_at_thresholds.matrices[0].entries:
                if entry.predicted_class_id >= 0:
                    confusion[entry.actual_class_id, entry.predicted_class_id] = round(
                        entry.num_weighted_examples
                    )
    return SliceMetrics(
        slice=evaluation.slice_name(record.slice_key),
        columns=tuple(single.column for single in record.slice_key.single_slice_keys),
        num_examples=round(values[False].get(scores.EXAMPLE_COUNT, 0.0)),
        metrics=values[False],
        baseline=values[True],
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def _columns(spec: str) -> tuple[str, ...]:
    """Columns of an entry of `evaluation.slices`, in TFMA's order."""
    return tuple(sorted(spec.split("+")))


def _notes(task: bert_task.TaskConfig, *, slices: list[SliceMetrics], has_baseline: bool) -> Iterator[str]:
    gates = evaluation.gates_of(task)
    if not task.evaluation.gates:
        yield f"the task names no gates; the default ones hold: {'; '.join(map(_gate_text, gates))}"
    changes = [gate for gate in gates if gate.max_drop is not None or gate.max_rise is not None]
    if changes and not has_baseline:
        yield f"no model was in service at this evaluation; bounds not checked: {'; '.join(map(_gate_text, changes))}"
    seen = {slice_metrics.columns for slice_metrics in slices}
    for spec in task.evaluation.slices:
        if _columns(spec) not in seen:
            yield f"evaluation.slices names {spec!r}, and no evaluated example has it; nothing is reported by it"


def _gate_text(gate: bert_task.GateConfig) -> str:
    bounds = [(name, getattr(gate, name)) for name in ("min", "max", "max_drop", "max_rise")]
    texts = [f"{name} {bound:g}" for name, bound in bounds if bound is not None]
    return f"{gate.metric} on {gate.slice or 'all data'}: {', '.join(texts)}"
