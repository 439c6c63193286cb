"""Writes each model's answer to each evaluated example during the evaluation.

Only a TFMA extractor sees text, label and the probabilities of both models without running them a second time. It
passes every example on, with both models' answers in the order of the task's labels.
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
    """Settings from the executor to the extractor, which TFX cannot pass."""

    path: str
    """Prefix of the file names."""

    label_column: str
    """Raw feature with the true label."""

    labels: tuple[str, ...]
    """The task's labels, in order."""


_WRITING: contextvars.ContextVar[Writing] = contextvars.ContextVar("writing")


def writing() -> Writing:
    """The current settings inside `written_to`."""
    return _WRITING.get()


@contextlib.contextmanager
def written_to(folder: str, *, label_column: str, labels: tuple[str, ...]) -> Iterator[None]:
    """Tells `prediction_extractor` where to write, because TFX gives it no output."""
    token = _WRITING.set(Writing(str(Path(folder) / PREDICTIONS_FILE), label_column, labels))
    try:
        yield
    finally:
        _WRITING.reset(token)


class WritePredictions(beam.PTransform):
    """Extracts -> extracts with the answers in the order of the task's labels; writes a line for each example."""

    def __init__(self, to: Writing, *, names: Mapping[str, str], label_key: str) -> None:
        """Sets the output, the models' names in a line by TFMA's names, and TFMA's name of the label."""
        super().__init__()
        self._to, self._names, self._label_key = to, names, label_key

    def expand(self, extracts: beam.PCollection) -> beam.PCollection:
        """Adds the branch that writes the lines."""
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
    """Reorders an example's label and answers to the order of the task's labels.

    A model in service may be older than a change of the labels, so its graph may number them differently. Its answers
    are reordered by label name; a label that it does not know has probability 0, and labels that the task does not
    know are dropped.
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
    """Replaces the label of each model, or of the only one, by an id; keeps shape and type."""
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
    """The labels that a model returns with its probabilities; empty if it returns none."""
    if not isinstance(answer, Mapping) or "labels" not in answer:
        return ()
    return tuple(label.decode("utf-8", "replace") for label in np.asarray(answer["labels"]).reshape([-1]))


def as_line(extracts: Mapping[str, Any], *, names: Mapping[str, str], label_key: str, to: Writing) -> str:
    """One example as JSON: `columns` (raw features as text), `label_id`, `probabilities` by model.

    `other_labels` are those of a model whose labels or order differ from the task's.
    """
    given = extracts[tfma.PREDICTIONS_KEY]
    own = {name: _labels_of(given[key] if len(names) > 1 else given) for key, name in names.items()}
    extracts = aligned(extracts, names=names, label_key=label_key, to=to)
    predictions, label = extracts[tfma.PREDICTIONS_KEY], extracts[tfma.LABELS_KEY]
    for key in (*names, label_key):  # with two models, both have the same label
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
    """The labels of each model (`candidate`, `baseline`) that differ from the evaluation's."""
    line = next(read_lines(evaluation_uri), {})
    return {name: tuple(labels) for name, labels in line.get("other_labels", {}).items()}


def _probabilities(value: Any) -> list[float]:
    found = value["probabilities"] if isinstance(value, Mapping) else value
    return [float(p) for p in np.asarray(found).reshape([-1])]


def _text(value: Any) -> str:
    values = np.asarray(value, dtype=object).reshape([-1])
    return " ".join(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values)
