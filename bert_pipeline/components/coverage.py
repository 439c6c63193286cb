"""Coverage: says where the evaluation data is thin; a function component with an artifact type of its own.

TFX reads inputs, outputs and parameters off the type hints, so this file must not postpone their evaluation (no
`from __future__ import annotations`).
"""

import collections
import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import tensorflow as tf
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.types import Artifact, standard_artifacts

from bert_pipeline.components.example_gen import read_examples
from bert_pipeline.data.coverage import KINDS, Thin, thin_slices

COVERAGE_FILE = "coverage.json"


class CoverageReport(Artifact):
    """Folder with `coverage.json`: a list of the places where eval is thin."""

    TYPE_NAME = "CoverageReport"


@tfx.dsl.components.component
def Coverage(
    window: InputArtifact[list[standard_artifacts.Examples]],
    newest: InputArtifact[standard_artifacts.Examples],
    report: OutputArtifact[CoverageReport],
    slices: Parameter[str],
) -> None:
    """Counts eval examples by slice, beside the training examples.

    Args:
        window: raw Examples that are trained on, one for each span.
        newest: raw Examples of the span that is evaluated.
        report: what is written.
        slices: `evaluation.slices` as JSON.
    """
    train = itertools.chain.from_iterable(read_examples(examples, "train") for examples in window)
    evaluated = read_examples(newest, "eval")
    specs = json.loads(slices)
    found = thin_slices(count_slices(train, specs), count_slices(evaluated, specs))
    values = json.dumps([dataclasses.asdict(thin) for thin in found], indent=2, ensure_ascii=False)
    Path(report.uri).mkdir(parents=True, exist_ok=True)
    (Path(report.uri) / COVERAGE_FILE).write_text(values + "\n", encoding="utf-8")


def read_report(uri: str) -> list[Thin]:
    """Reads what the component wrote; leaves out kinds that it wrote once (clusters of texts)."""
    places = json.loads((Path(uri) / COVERAGE_FILE).read_text(encoding="utf-8"))
    names = [field.name for field in dataclasses.fields(Thin)]
    return [Thin(**{name: place[name] for name in names}) for place in places if place["kind"] in KINDS]


def count_slices(examples: Iterable[tf.train.Example], specs: Sequence[str]) -> dict[str, int]:
    """Examples by slice, named as the Evaluator names them.

    Args:
        examples: raw tf.Examples.
        specs: of `evaluation.slices`; `a+b` crosses two columns.
    """
    counts: collections.Counter[str] = collections.Counter()
    for example in examples:
        counts.update(_slice_names(example.features.feature, specs))
    return dict(counts)


def _slice_names(features: Mapping[str, tf.train.Feature], specs: Sequence[str]) -> Iterator[str]:
    for spec in specs:
        values = [
            (column, _value(features[column])) for column in sorted(spec.split("+")) if column in features
        ]
        if len(values) == spec.count("+") + 1 and all(value for _, value in values):
            yield "+".join(f"{column}={value}" for column, value in values)


def _value(feature: tf.train.Feature) -> str:
    kind = feature.WhichOneof("kind")
    found = list(getattr(feature, kind).value) if kind else []
    if not found:
        return ""
    return found[0].decode("utf-8", errors="replace") if isinstance(found[0], bytes) else str(found[0])
