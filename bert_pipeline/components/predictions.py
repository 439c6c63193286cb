"""What each model answers to each evaluated example, written while the Evaluator has it in hand.

A TFMA extractor is the one place that sees text, label and the probabilities of both models without running them a
second time. It passes every example on as it came.
"""

from __future__ import annotations

import contextlib
import contextvars
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

# Beside TFMA's own files in the ModelEvaluation's folder: gzipped JSON lines, in no order.
PREDICTIONS_FILE = "predictions"
_SUFFIX = ".jsonl.gz"

_DESTINATION: contextvars.ContextVar[str] = contextvars.ContextVar("predictions_destination")


def destination() -> str:
    """Beginning of the files' names, inside `written_to`."""
    return _DESTINATION.get()


@contextlib.contextmanager
def written_to(folder: str) -> Iterator[None]:
    """Lets `prediction_extractor` know where to write: TFX gives it no output."""
    token = _DESTINATION.set(str(Path(folder) / PREDICTIONS_FILE))
    try:
        yield
    finally:
        _DESTINATION.reset(token)


class WritePredictions(beam.PTransform):
    """Extracts -> the same extracts; a line of each is written."""

    def __init__(self, path: str, *, names: Mapping[str, str], label_key: str) -> None:
        """Takes where to write, each model's name as a line has it by TFMA's, and the label's name in TFMA."""
        super().__init__()
        self._path, self._names, self._label_key = path, names, label_key

    def expand(self, extracts: beam.PCollection) -> beam.PCollection:
        """Branches off the lines."""
        _ = (
            extracts
            | "AsLine" >> beam.Map(as_line, names=self._names, label_key=self._label_key)
            | "WriteLines"
            >> beam.io.WriteToText(
                self._path,
                file_name_suffix=_SUFFIX,
                compression_type=beam.io.filesystem.CompressionTypes.GZIP,
            )
        )
        return extracts


def as_line(extracts: Mapping[str, Any], *, names: Mapping[str, str], label_key: str) -> str:
    """One example as JSON: `columns` (raw features as text), `label_id`, `probabilities` by model."""
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
    }
    return json.dumps(values, ensure_ascii=False)


def _probabilities(value: Any) -> list[float]:
    found = value["probabilities"] if isinstance(value, Mapping) else value
    return [float(p) for p in np.asarray(found).reshape([-1])]


def _text(value: Any) -> str:
    values = np.asarray(value, dtype=object).reshape([-1])
    return " ".join(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values)


def read_lines(evaluation_uri: str) -> Iterator[dict[str, Any]]:
    """What was written beside an evaluation, in the order of the files; nothing where an older Evaluator wrote it."""
    for path in sorted(Path(evaluation_uri).glob(f"{PREDICTIONS_FILE}*{_SUFFIX}")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)
