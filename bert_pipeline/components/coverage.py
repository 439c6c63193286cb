"""Coverage: reports slices with too few evaluation examples, and values missing from the evaluation data.

A function component with a custom artifact type.

TFX reads inputs, outputs and parameters from the type hints, so this file must not postpone their evaluation (no
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
from bert_pipeline.judging.intervals import share_interval

COVERAGE_FILE = "coverage.json"

# A slice is thin if the 95 % interval of an accuracy of 0.5 is at least this wide on each side: under 16 examples. Two
# such slices with 0.5 and 0.9 are not distinguishable.
THIN_HALF_WIDTH = 0.25

# Report a value missing from eval only if training has at least this many examples.
_MIN_MISSING = 5

_NUM_TOLD = 5

# Kinds of findings, most serious first, with their plurals.
KINDS = {"missing": "values", "slice": "slices"}


@dataclasses.dataclass(frozen=True)
class Thin:
    """One thin slice or missing value."""

    kind: str
    """`slice` (few eval examples) or `missing` (none)."""

    name: str
    """`category=boots`."""

    num_train: int
    num_eval: int

    def sentence(self) -> str:
        """The sentence in the summary.

        Example:
            >>> Thin("slice", "channel=phone", 35, 7).sentence()
            'channel=phone has 7 eval examples: an accuracy there is known to ±0.37'
        """
        if self.kind == "slice":
            examples = "example" if self.num_eval == 1 else "examples"
            width = half_width(self.num_eval)
            return (
                f"{self.name} has {self.num_eval} eval {examples}: an accuracy there is known to ±{width:.2f}"
            )
        return (
            f"{self.name} has {self.num_train} training examples and none in eval: nothing is measured there"
        )


def half_width(num_examples: int) -> float:
    """Half the width of the 95 % interval of an accuracy of 0.5 on this many examples."""
    return share_interval(num_examples / 2, num_examples).half_width


def thin_slices(
    train: Mapping[str, int], evaluated: Mapping[str, int], *, max_half_width: float = THIN_HALF_WIDTH
) -> list[Thin]:
    """Slices without or with too few eval examples, largest in training first.

    Args:
        train: training examples by slice, `category=boots`.
        evaluated: eval examples by slice.
        max_half_width: see THIN_HALF_WIDTH.
    """
    missing = [
        Thin("missing", name, count, 0)
        for name, count in train.items()
        if name not in evaluated and count >= _MIN_MISSING
    ]
    few = [
        Thin("slice", name, train.get(name, 0), count)
        for name, count in evaluated.items()
        if half_width(count) > max_half_width
    ]
    return sorted([*missing, *few], key=lambda thin: (-thin.num_train, thin.name))


def sentences(found: Sequence[Thin]) -> Iterator[str]:
    """The first findings of each kind, and the number of others."""
    for kind, plural in KINDS.items():
        of_kind = [thin for thin in found if thin.kind == kind]
        yield from (thin.sentence() for thin in of_kind[:_NUM_TOLD])
        if len(of_kind) > _NUM_TOLD:
            yield f"and {len(of_kind) - _NUM_TOLD} more {plural}"


class CoverageReport(Artifact):
    """Folder with `coverage.json`: a list of thin slices and missing values."""

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
        window: raw Examples of the training data, one per span.
        newest: raw Examples of the evaluated span.
        report: output.
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
    """Reads the component's output; skips kinds that older versions wrote (clusters of texts)."""
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
