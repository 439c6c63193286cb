"""What each model answers to each evaluated example, written while the Evaluator has it in hand.

A TFMA extractor is the one place that sees text, label and the probabilities of both models without running them a
second time. It passes every example on, with the answers of both models in the order of the task's labels.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from bert_pipeline.judging.answers import PREDICTIONS_FILE, PREDICTIONS_SUFFIX, read_lines


@dataclasses.dataclass(frozen=True)
class Writing:
    """What the extractor is told by the executor, which TFX gives it no way to."""

    path: str
    """Beginning of the files' names."""

    label_column: str
    """Raw feature with the true label."""

    labels: tuple[str, ...]
    """The task's, in order."""


_WRITING: contextvars.ContextVar[Writing] = contextvars.ContextVar("writing")


def writing() -> Writing:
    """What is to be written where, inside `written_to`."""
    return _WRITING.get()


@contextlib.contextmanager
def written_to(folder: str, *, label_column: str, labels: tuple[str, ...]) -> Iterator[None]:
    """Lets `prediction_extractor` know where to write: TFX gives it no output."""
    token = _WRITING.set(Writing(str(Path(folder) / PREDICTIONS_FILE), label_column, labels))
    try:
        yield
    finally:
        _WRITING.reset(token)


class WritePredictions(beam.PTransform):
    """Extracts -> the same with each model's answers in the order of the task's labels; a line of each is written."""

    def __init__(self, to: Writing, *, names: Mapping[str, str], label_key: str) -> None:
        """Takes what to write where, each model's name as a line has it by TFMA's, and the label's name in TFMA."""
        super().__init__()
        self._to, self._names, self._label_key = to, names, label_key

    def expand(self, extracts: beam.PCollection) -> beam.PCollection:
        """Branches off the lines."""
        how = {"names": self._names, "label_key": self._label_key, "to": self._to}
        _ = (
            extracts
            | "AsLine" >> beam.Map(as_line, **how)
            | "WriteLines"
            >> beam.io.WriteToText(
                self._to.path,
                file_name_suffix=PREDICTIONS_SUFFIX,
                compression_type=beam.io.filesystem.CompressionTypes.GZIP,
            )
        )
        return extracts | "AlignLabels" >> beam.Map(aligned, **how)


def aligned(
    extracts: Mapping[str, Any], *, names: Mapping[str, str], label_key: str, to: Writing
) -> dict[str, Any]:
    """An example whose label and answers are in the order of the task's labels, whatever order each model has.

    A model in service may have been trained before a label was added, removed, renamed or moved: its own graph numbers
    labels in its own order. Its answers are put in order by the names that it gives them; a label that it does not know
    has probability 0, and what it gives to one that the task does not know is left out.
    """
    true = _text(extracts[tfma.FEATURES_KEY].get(to.label_column, b""))
    label_id = to.labels.index(true) if true in to.labels else -1
    answers = extracts[tfma.PREDICTIONS_KEY]
    if len(names) > 1:
        answers = {**answers, **{key: _in_order(answers[key], to.labels) for key in names}}
    else:
        answers = _in_order(answers, to.labels)
    labels = _filled(extracts[tfma.LABELS_KEY], label_id)
    return {**extracts, tfma.PREDICTIONS_KEY: answers, tfma.LABELS_KEY: labels}


def _filled(value: Any, label_id: int) -> Any:
    """The label of each model, or of the only one, replaced by an id; its shape and type stay."""
    if isinstance(value, Mapping):
        return {key: _filled(each, label_id) for key, each in value.items()}
    return np.full_like(np.asarray(value), label_id)


def _in_order(answer: Any, labels: tuple[str, ...]) -> Any:
    own = _labels_of(answer)
    if not own or own == labels:
        return answer
    values = np.asarray(answer["probabilities"])
    by_name = dict(zip(own, values.reshape([-1]), strict=True))
    ordered = np.array([by_name.get(label, 0.0) for label in labels], dtype=values.dtype)
    shape = (*values.shape[:-1], len(labels))
    return {**answer, "probabilities": ordered.reshape(shape)}


def _labels_of(answer: Any) -> tuple[str, ...]:
    """The labels that a model names beside its probabilities; empty where it names none."""
    if not isinstance(answer, Mapping) or "labels" not in answer:
        return ()
    return tuple(label.decode("utf-8", "replace") for label in np.asarray(answer["labels"]).reshape([-1]))


def as_line(extracts: Mapping[str, Any], *, names: Mapping[str, str], label_key: str, to: Writing) -> str:
    """One example as JSON: `columns` (raw features as text), `label_id`, `probabilities` by model.

    `other_labels` are those of a model that has not the task's labels in the task's order.
    """
    given = extracts[tfma.PREDICTIONS_KEY]
    own = {name: _labels_of(given[key] if len(names) > 1 else given) for key, name in names.items()}
    extracts = aligned(extracts, names=names, label_key=label_key, to=to)
    predictions, label = extracts[tfma.PREDICTIONS_KEY], extracts[tfma.LABELS_KEY]
    for key in (*names, label_key):  # of two models, the label of each: it is the same
        label = label[key] if isinstance(label, Mapping) and key in label else label
    values = {
        "columns": {name: _text(value) for name, value in sorted(extracts[tfma.FEATURES_KEY].items())},
        "label_id": int(np.asarray(label).reshape([-1])[0]),
        "probabilities": {
            name: _probabilities(predictions[key] if len(names) > 1 else predictions)
            for key, name in names.items()
        },
        "other_labels": {name: list(found) for name, found in own.items() if found and found != to.labels},
    }
    return json.dumps({key: value for key, value in values.items() if value != {}}, ensure_ascii=False)


def other_labels(evaluation_uri: str) -> dict[str, tuple[str, ...]]:
    """The labels of each model that has not the evaluation's, `candidate` or `baseline`."""
    line = next(read_lines(evaluation_uri), {})
    return {name: tuple(labels) for name, labels in line.get("other_labels", {}).items()}


def _probabilities(value: Any) -> list[float]:
    found = value["probabilities"] if isinstance(value, Mapping) else value
    return [float(p) for p in np.asarray(found).reshape([-1])]


def _text(value: Any) -> str:
    values = np.asarray(value, dtype=object).reshape([-1])
    return " ".join(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values)
