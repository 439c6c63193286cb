"""The answers of two models to the evaluated examples, as arrays, and the slices of the examples."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Beside TFMA's own files in the ModelEvaluation's folder: gzipped JSON lines, unordered.
PREDICTIONS_FILE = "predictions"
PREDICTIONS_SUFFIX = ".jsonl.gz"

CANDIDATE, BASELINE = "candidate", "baseline"


@dataclasses.dataclass(frozen=True)
class Answers:
    """Examples with their true labels and each model's probabilities."""

    labels: tuple[str, ...]
    """Label names, in the order of ids and probabilities."""

    label_ids: np.ndarray
    """int [num_examples]."""

    candidate: np.ndarray
    """float64 [num_examples, num_labels]."""

    baseline: np.ndarray | None = None
    """The baseline's, same shape; None without a baseline."""

    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """Column to object [num_examples]: text; empty if the example has no value."""

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.label_ids)

    def take(self, rows: np.ndarray) -> Answers:
        """Selects examples by a mask or by positions."""
        baseline = None if self.baseline is None else self.baseline[rows]
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Answers(self.labels, self.label_ids[rows], self.candidate[rows], baseline, columns)


@dataclasses.dataclass(frozen=True)
class Slice:
    """A subset of the examples."""

    name: str
    """Empty: all data; `category=boots`; `category=boots+channel=web`."""

    columns: tuple[str, ...]
    """The columns that define the slice, sorted."""

    rows: np.ndarray
    """int: positions of the slice's examples."""


def slices_of(answers: Answers, specs: Iterable[str]) -> list[Slice]:
    """Returns all data, then each slice that has an example.

    Args:
        answers: including the columns to slice by.
        specs: `evaluation.slices`: `column`, or `a+b` for two columns crossed.
    """
    found = [Slice("", (), np.arange(len(answers)))]
    for spec in dict.fromkeys("+".join(sorted(spec.split("+"))) for spec in specs):
        columns = tuple(spec.split("+"))
        cells = [answers.columns.get(name, np.full(len(answers), "", dtype=object)) for name in columns]
        rows: dict[tuple[str, ...], list[int]] = {}
        for i, values in enumerate(zip(*cells, strict=True)):
            if all(values):
                rows.setdefault(values, []).append(i)
        for values in sorted(rows):
            name = "+".join(f"{column}={value}" for column, value in zip(columns, values, strict=True))
            found.append(Slice(name, columns, np.array(rows[values])))
    return found


def read_lines(evaluation_uri: str) -> Iterator[dict[str, Any]]:
    """Yields the answers saved beside an evaluation, in file order; none if an older Evaluator wrote it."""
    for path in sorted(Path(evaluation_uri).glob(f"{PREDICTIONS_FILE}*{PREDICTIONS_SUFFIX}")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)


def read_answers(evaluation_uri: str, *, labels: Sequence[str], columns: Iterable[str]) -> Answers:
    """Reads the examples of an evaluation, sorted, so the result does not depend on the order of writing.

    Args:
        evaluation_uri: uri of the ModelEvaluation artifact.
        labels: of the evaluation, in order.
        columns: to keep.
    """
    lines = sorted(read_lines(evaluation_uri), key=lambda line: json.dumps(line, sort_keys=True))
    names = list(dict.fromkeys(columns))

    def probabilities(whose: str) -> np.ndarray:
        return np.array([line["probabilities"][whose] for line in lines], dtype=np.float64).reshape(
            [len(lines), len(labels)]
        )

    cells = {
        name: np.array([line.get("columns", {}).get(name, "") for line in lines], dtype=object)
        for name in names
    }
    return Answers(
        tuple(labels),
        np.array([line["label_id"] for line in lines], dtype=np.int64),
        probabilities(CANDIDATE),
        probabilities(BASELINE) if lines and BASELINE in lines[0]["probabilities"] else None,
        cells,
    )
