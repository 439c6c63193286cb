"""TFMA's records -> the metrics of each slice, with intervals, beside the baseline's."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_pipeline.judging.intervals import Interval

# Beside TFMA's files in the ModelEvaluation's folder: the labels of its metrics and confusion matrices, and the
# intervals of its metrics.
LABELS_FILE = "labels.json"
INTERVALS_FILE = "intervals.json"


@dataclasses.dataclass(frozen=True)
class SliceMetrics:
    """Metrics of one slice."""

    slice: str
    """Empty for all data; `category=boots`; `category=boots+channel=web`."""

    columns: tuple[str, ...]
    """The slice columns and their values."""

    num_examples: int

    metrics: dict[str, float]
    """The candidate's, by the names of `metric_names.metric_names`; NaN if undefined."""

    baseline: dict[str, float]
    """The baseline's; empty without a baseline."""

    confusion: tuple[tuple[int, ...], ...]
    """The candidate's examples by true label (row) and predicted label (column)."""

    intervals: dict[str, Interval] = dataclasses.field(default_factory=dict)
    """95 % intervals of the candidate's metrics; empty if `evaluation.intervals` is none."""

    changes: dict[str, Interval] = dataclasses.field(default_factory=dict)
    """Candidate minus baseline on the same examples: if two models make the same errors, the difference is more
    certain than either value."""

    labels: tuple[str, ...] = ()
    """The labels of `confusion`, in order: the task's at the time of evaluation."""


def read_slices(evaluation_uri: str, *, labels: tuple[str, ...]) -> list[SliceMetrics]:
    """Reads the metrics that the Evaluator wrote.

    Args:
        evaluation_uri: uri of the ModelEvaluation artifact.
        labels: `data.labels` of the task, for evaluations by older versions, which do not store theirs.
    """
    from bert_pipeline.evaluation import tfma_records  # imports TFMA, which takes seconds

    labels = evaluated_labels(evaluation_uri) or labels
    known = read_intervals(evaluation_uri)
    found = tfma_records.read(evaluation_uri, labels=labels)
    return [
        dataclasses.replace(
            row,
            intervals=known.get(row.slice, {}).get("metrics", {}),
            changes=known.get(row.slice, {}).get("changes", {}),
        )
        for row in found
    ]


def evaluated_labels(evaluation_uri: str) -> tuple[str, ...]:
    """The labels of an evaluation, in order; empty if it does not store them."""
    return tuple(_read(evaluation_uri, LABELS_FILE) or ())


def write_labels(evaluation_uri: str, labels: tuple[str, ...]) -> None:
    """Stores the labels of an evaluation: the task may have changed when it is read."""
    _write(evaluation_uri, LABELS_FILE, list(labels))


def read_intervals(evaluation_uri: str) -> dict[str, dict[str, dict[str, Interval]]]:
    """Slice to `metrics` and `changes`, by metric; empty if none were stored."""
    found = _read(evaluation_uri, INTERVALS_FILE) or {}

    def intervals(values: Mapping[str, list[float | None]]) -> dict[str, Interval]:
        numbers = {name: [math.nan if v is None else v for v in three] for name, three in values.items()}
        return {name: Interval(*three) for name, three in numbers.items()}

    return {name: {kind: intervals(values) for kind, values in row.items()} for name, row in found.items()}


def write_intervals(evaluation_uri: str, found: Mapping[str, Mapping[str, Mapping[str, Interval]]]) -> None:
    """Stores the intervals of an evaluation in the form that `read_intervals` returns."""
    values = {
        name: {
            kind: {
                metric: [_or_null(v) for v in dataclasses.astuple(known)] for metric, known in each.items()
            }
            for kind, each in row.items()
        }
        for name, row in found.items()
    }
    _write(evaluation_uri, INTERVALS_FILE, values)


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _read(folder: str, name: str) -> Any:
    try:
        return json.loads((Path(folder) / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _write(folder: str, name: str, values: Any) -> None:
    (Path(folder) / name).write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")
