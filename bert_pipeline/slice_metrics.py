"""TFMA's records -> the metrics of each slice, with standard errors, beside the baseline's."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from bert_pipeline import evaluation, metrics, scores
from bert_pipeline.components.predictions import LABELS_FILE
from bert_pipeline.estimates import Estimate, estimate, one_example


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

    estimates: dict[str, Estimate] = dataclasses.field(default_factory=dict)
    """The candidate's metrics with standard errors; empty where `evaluation.intervals` is none."""

    changes: dict[str, Estimate] = dataclasses.field(default_factory=dict)
    """Candidate minus baseline, from the same examples of both: where two models err alike, the difference is
    surer than either of them."""

    labels: tuple[str, ...] = ()
    """Those of `confusion`, in order: the task's when it was evaluated."""


def read_slices(
    evaluation_uri: str, *, labels: tuple[str, ...], costs: Mapping[str, Mapping[str, float]]
) -> list[SliceMetrics]:
    """Reads the metrics that the Evaluator wrote.

    Args:
        evaluation_uri: uri of the ModelEvaluation artifact.
        labels: `data.labels` of the task, for an evaluation that does not say its own (by an older version of this).
        costs: `evaluation.costs` of the task.
    """
    labels = evaluated_labels(evaluation_uri) or labels
    known = {a: {b: c for b, c in row.items() if b in labels} for a, row in costs.items() if a in labels}
    matrix = scores.cost_matrix(known, labels)
    return [
        _slice_metrics(record, labels=labels, costs=matrix) for record in tfma.load_metrics(evaluation_uri)
    ]


def evaluated_labels(evaluation_uri: str) -> tuple[str, ...]:
    """The labels that an evaluation is of, in order; empty where it does not say them."""
    try:
        return tuple(json.loads((Path(evaluation_uri) / LABELS_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ()


def _slice_metrics(
    record: metrics_for_slice_pb2.MetricsForSlice, *, labels: tuple[str, ...], costs: np.ndarray
) -> SliceMetrics:
    values: dict[str, dict[str, float]] = {"candidate": {}, "baseline": {}, "change": {}}
    errors: dict[str, dict[str, float]] = {"candidate": {}, "baseline": {}, "change": {}}
    confusion = np.zeros([len(labels), len(labels)], dtype=int)
    for item in record.metric_keys_and_values:
        whose = "change" if item.key.is_diff else _owner(item.key.model_name)
        kind = item.value.WhichOneof("type")
        if kind == "double_value":
            values[whose][item.key.name] = item.value.double_value.value
            if item.HasField("confidence_interval"):
                errors[whose][item.key.name] = item.confidence_interval.standard_error.double_value.value
        elif item.key.name == metrics.CONFUSION_MATRIX and whose == "candidate":
            for entry in item.value.multi_class_confusion_matrix_at_thresholds.matrices[0].entries:
                if entry.predicted_class_id >= 0:
                    confusion[entry.actual_class_id, entry.predicted_class_id] = round(
                        entry.num_weighted_examples
                    )

    def estimates(whose: str) -> dict[str, Estimate]:
        steps = {n: one_example(n, confusion=confusion, labels=labels, costs=costs) for n in values[whose]}
        found = {n: estimate(v, errors[whose].get(n), step=steps[n]) for n, v in values[whose].items()}
        return {n: e for n, e in found.items() if n != scores.EXAMPLE_COUNT} if errors["candidate"] else {}

    return SliceMetrics(
        slice=evaluation.slice_name(record.slice_key),
        columns=tuple(single.column for single in record.slice_key.single_slice_keys),
        num_examples=round(values["candidate"].get(scores.EXAMPLE_COUNT, 0.0)),
        metrics=values["candidate"],
        baseline=values["baseline"],
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        labels=labels,
        estimates=estimates("candidate"),
        changes=estimates("change"),
    )


def _owner(model_name: str) -> str:
    return "baseline" if model_name == evaluation.BASELINE else "candidate"


def value_of(row: SliceMetrics, metric: str) -> float:
    """The candidate's value; NaN where it is not defined or not measured."""
    return row.metrics.get(metric, math.nan)
