"""A real Transform output for the trainer's tests: tiny encoder, a task that can be told apart."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import pathlib
from typing import Any

import apache_beam as beam
import bert_task
import bert_trainer
import bert_transform
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
from tfx.components.trainer.fn_args_utils import DataAccessor, FnArgs
from tfx.components.util import tfxio_utils
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from tfx_bsl.tfxio.tensor_to_arrow import TensorsToRecordBatchConverter

from bert_pipeline.encoders import resolve

DATA = bert_task.DataConfig(
    path="", text=("review",), label="label", labels=("bad", "good", "so so"), files={}
)
TEXT = bert_task.TextConfig(max_seq_length=12)

# One word tells the label; the others and the length say nothing.
_WORDS = {"bad": "hate", "good": "love", "so so": "not"}
_FILLERS = ("shoe", "the sole", "it was very, very", "and i am this are is", "heel!", "a fit")


def toy_rows(num_rows: int) -> list[dict[str, str]]:
    """Rows with the columns review and label: 2 good, 1 bad, 1 so so, and again."""
    labels = ("good", "bad", "good", "so so")
    rows = []
    for i in range(num_rows):
        label = labels[i % 4]
        rows.append({"review": f"{_FILLERS[i % 6]} {_WORDS[label]} {_FILLERS[i % 5]}", "label": label})
    return rows


def tfx_data_accessor() -> DataAccessor:
    """As TFX's Trainer makes it for Transform's examples."""
    examples = standard_artifacts.Examples()
    examples.set_string_custom_property(
        "payload_format", example_gen_pb2.PayloadFormat.Name(example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    )
    examples.set_string_custom_property("file_format", "tfrecords_gzip")
    return DataAccessor(
        tf_dataset_factory=tfxio_utils.get_tf_dataset_factory_from_artifact([examples], []),
        record_batch_factory=None,
        data_view_decode_fn=None,
    )


@dataclasses.dataclass(frozen=True)
class Transformed:
    """What the Transform component leaves."""

    path: str
    splits: dict[str, str]
    """File pattern by split."""

    @property
    def output(self) -> tft.TFTransformOutput:
        return tft.TFTransformOutput(self.path)

    def fn_args(
        self,
        folder: pathlib.Path,
        *,
        encoder_path: str,
        training: bert_task.TrainingConfig,
        progress: bool = False,
    ) -> FnArgs:
        """What TFX's Trainer gives to run_fn, for a run that writes to the folder."""
        return FnArgs(
            train_files=[self.splits["train"]],
            eval_files=[self.splits["eval"]],
            transform_graph_path=self.path,
            data_accessor=tfx_data_accessor(),
            serving_model_dir=str(folder / "model" / "Format-Serving"),
            model_run_dir=str(folder / "model_run"),
            custom_config={
                "data": bert_task.to_json(DATA),
                "encoder": bert_task.to_json(bert_task.EncoderConfig()),
                "training": bert_task.to_json(training),
                "encoder_path": encoder_path,
                "progress": progress,
            },
        )


def run_transform(
    folder: pathlib.Path, *, splits: dict[str, list[dict[str, str]]], custom_config: dict[str, Any]
) -> Transformed:
    """What TFX's Transform component does with rows, by the same library calls."""
    columns = sorted(next(iter(splits.values()))[0])
    schema = schema_utils.schema_from_feature_spec(
        {c: tf.io.FixedLenFeature([1], tf.string) for c in columns}
    )
    metadata = dataset_metadata.DatasetMetadata(schema)
    path = str(folder / "transform_graph")
    preprocessing_fn = functools.partial(bert_transform.preprocessing_fn, custom_config=custom_config)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=str(folder / "tmp")):
        rows = pipeline | beam.Create([{c: [row[c]] for c in columns} for row in splits["train"]])
        transform_fn = (rows, metadata) | tft_beam.AnalyzeDataset(preprocessing_fn)
        transform_fn | tft_beam.WriteTransformFn(path)
    output = tft.TFTransformOutput(path)
    metadata_io.write_metadata(metadata, f"{path}/{output.RAW_METADATA_DIR}")
    patterns = {}
    for name, rows in splits.items():
        raw = {c: tf.constant([[row[c]] for row in rows]) for c in columns}
        patterns[name] = str(folder / f"{name}-*.gz")
        write_examples(
            output.transform_features_layer()(raw), output=output, path=str(folder / f"{name}-0.gz")
        )
    return Transformed(path, patterns)


def write_examples(features: dict[str, Any], *, output: tft.TFTransformOutput, path: str) -> None:
    """Writes transformed features as Transform does: tf.Examples, gzipped TFRecords."""
    spec = {name: tf.type_spec_from_value(value) for name, value in features.items()}
    spec = {name: _any_batch(type_spec) for name, type_spec in spec.items()}
    batch = TensorsToRecordBatchConverter(spec).convert(features)
    encoder = RecordBatchToExamplesEncoder(output.transformed_metadata.schema)
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for example in encoder.encode(batch):
            writer.write(example)


def _any_batch(spec: Any) -> Any:
    if isinstance(spec, tf.RaggedTensorSpec):
        return tf.RaggedTensorSpec([None, None], spec.dtype, ragged_rank=1, row_splits_dtype=tf.int64)
    return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)


@pytest.fixture(scope="session")
def toy(tiny_encoder: resolve.Encoder, tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """A train split of 83 rows and an eval split of 21; of the 83 a held-out share of 0.4 leaves 48 to train on."""
    return run_transform(
        tmp_path_factory.mktemp("toy"),
        splits={"train": toy_rows(83), "eval": toy_rows(104)[83:]},
        custom_config={
            "data": bert_task.to_json(DATA),
            "text": bert_task.to_json(TEXT),
            "vocab_path": tiny_encoder.vocab_path,
            "lower_case": tiny_encoder.lower_case,
        },
    )


@dataclasses.dataclass(frozen=True)
class Trained:
    """One whole run of the Trainer's run_fn."""

    fn_args: FnArgs
    data: bert_task.DataConfig
    training: bert_task.TrainingConfig
    encoder: resolve.Encoder
    stderr: str

    @property
    def model_run_dir(self) -> pathlib.Path:
        return pathlib.Path(self.fn_args.model_run_dir)


@pytest.fixture(scope="session")
def trained(
    toy: Transformed, tiny_encoder: resolve.Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """run_fn on the toy rows, until it knows them: batches of 9 leave a last one of 3, and of 8."""
    training = bert_task.TrainingConfig(epochs=30, batch_size=9, learning_rate=5e-3, held_out_share=0.4)
    fn_args = toy.fn_args(
        tmp_path_factory.mktemp("trained"), encoder_path=tiny_encoder.path, training=training, progress=True
    )
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        bert_trainer.run_fn(fn_args)
    return Trained(fn_args, DATA, training, tiny_encoder, stderr.getvalue())
