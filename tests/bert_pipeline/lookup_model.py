"""Models that know their answers by heart, and our Evaluator run on them: for the tests of gates."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import proto_utils

from bert_pipeline import pipeline
from bert_pipeline.components import evaluator
from bert_pipeline.evaluation import eval_config, read
from bert_pipeline.judging import gates
from bert_pipeline.settings.sections import TaskConfig


class LookupModel(tf.Module):
    """A model that knows its answers by heart: text -> label, with probability 0.8."""

    def __init__(self, answers: dict[str, str], labels: tuple[str, ...]) -> None:
        super().__init__()
        self._labels = labels
        self._answer_ids = _table(list(answers), [labels.index(label) for label in answers.values()])
        self._label_ids = _table(list(labels), list(range(len(labels))))

    def _parse(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {name: tf.io.FixedLenFeature([], tf.string, default_value="") for name in ("text", "label")}
        return tf.io.parse_example(examples, spec)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serving_default(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = self._answer_ids.lookup(text)
        probabilities = tf.one_hot(ids, len(self._labels)) * 0.7 + 0.1
        label = tf.gather(tf.constant(self._labels), ids)
        labels = tf.tile([self._labels], [tf.size(text), 1])
        return {"label": label, "labels": labels, "probabilities": probabilities}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = self.serving_default(self._parse(examples)["text"])
        return {**outputs, "label": outputs["label"][:, tf.newaxis]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def transform_features(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = self._parse(examples)
        ids = tf.fill([tf.size(examples), 3], tf.constant(1, tf.int64))
        label_id = self._label_ids.lookup(parsed["label"])
        return {"input_word_ids": ids, "input_mask": ids, "input_type_ids": ids, "label_id": label_id}


def _table(keys: list[str], values: list[int]) -> tf.lookup.StaticHashTable:
    pairs = tf.lookup.KeyValueTensorInitializer(keys, tf.constant(values, tf.int64))
    return tf.lookup.StaticHashTable(pairs, default_value=-1)


def save_lookup_model(folder: Path, answers: dict[str, str], *, labels: tuple[str, ...]) -> Path:
    """Exports a model that answers by a table, as TFX lays models out."""
    model = LookupModel(answers, labels)
    names = ("serving_default", "serve_examples", "transform_features")
    signatures = {signature: getattr(model, signature).get_concrete_function() for signature in names}
    tf.saved_model.save(model, str(folder / "Format-Serving"), signatures)
    return folder


def write_examples(
    root: Path, rows: Iterable[tuple[str, str, str]], *, split: str = "eval", column: str = "category"
) -> Path:
    """Writes raw examples (text, label, category) as ExampleGen does: an empty cell has no value."""
    folder = root / f"Split-{split}"
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data-00000-of-00001.gz"), "GZIP") as writer:
        for row in rows:
            values = dict(zip(("text", "label", column), row, strict=True))
            feature = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()] if value else []))
                for name, value in values.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return root


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the Evaluator left behind."""

    blessed_file: bool
    report: read.EvaluationReport
    uri: str


def evaluate_model(
    task: TaskConfig, model: Path, *, examples: Path, out: Path, baseline: Path | None = None
) -> Outcome:
    """Runs the Evaluator's executor."""
    inputs = {"examples": [_artifact(standard_artifacts.Examples(), examples)]}
    inputs["examples"][0].split_names = artifact_utils.encode_split_names(["eval"])
    inputs["model"] = [_artifact(standard_artifacts.Model(), model)]
    if baseline:
        inputs["baseline_model"] = [_artifact(standard_artifacts.Model(), baseline)]
    blessing = _artifact(standard_artifacts.ModelBlessing(), out / "blessing")
    outputs = {
        "evaluation": [_artifact(standard_artifacts.ModelEvaluation(), out / "evaluation")],
        "blessing": [blessing],
    }
    properties = {
        "eval_config": proto_utils.proto_to_json(eval_config.eval_config(task)),
        "feature_slicing_spec": None,
        "example_splits": "null",
        "fairness_indicator_thresholds": "null",
        "terms": gates.terms_to_json(gates.terms_of(task)),
    }
    context = evaluator.Executor.Context(
        beam_pipeline_args=list(pipeline.BEAM_ARGS), tmp_dir=str(out / "tmp"), unique_id="1"
    )
    evaluator.Executor(context).Do(inputs, outputs, properties)
    report = read.read_report(str(out / "evaluation"), task=task)
    blessed = (out / "blessing" / "BLESSED").exists()
    assert blessed != (out / "blessing" / "NOT_BLESSED").exists()
    assert blessing.get_int_custom_property("blessed") == int(blessed)
    return Outcome(blessed_file=blessed, report=report, uri=str(out / "evaluation"))


def _artifact(artifact, path: Path):
    artifact.uri = str(path)
    return artifact
