"""The two sides of a skew check: the computation in training, and in the exported model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import bert_model
import bert_task
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the tokenizer's ops)
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from bert_task import ENCODER_INPUTS, LABEL_ID
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders import example_coder
from tfx_bsl.public import tfxio

# Files of the Trainer's model run; see modules/bert_trainer.py.
_WEIGHTS_FILE = "best_weights.h5"
_REPORT_FILE = "training.json"

# Carries the position of a text through Beam, which does not keep the order. Not a column name of tables.
_ROW = "__row__"

# Texts per Beam element; Transform's own batches are of this order.
_BEAM_BATCH = 1024

_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"

Ids = dict[str, list[np.ndarray]]
"""Each of ENCODER_INPUTS: for each text int64 [length], no padding; and label_id: int64 []."""


class TransformSide:
    """Transform: the transform graph of a run, executed by Beam like the component."""

    def __init__(self, transform_graph_dir: str, *, data: bert_task.DataConfig) -> None:
        """Reads the raw schema of the graph, only text and label columns."""
        self._dir = transform_graph_dir
        raw_schema = tft.TFTransformOutput(transform_graph_dir).raw_metadata.schema
        wanted = {*data.text, data.label}
        self._schema = schema_pb2.Schema(feature=[f for f in raw_schema.feature if f.name in wanted])

    def ids(self, examples: Sequence[bytes]) -> Ids:
        """Transforms serialized raw tf.Examples, in order."""
        starts = range(0, len(examples), _BEAM_BATCH)
        batches = [self._record_batch(examples[start : start + _BEAM_BATCH], start) for start in starts]
        reader = tfxio.TFExampleBeamRecord(
            physical_format="inmemory", telemetry_descriptors=["skew"], schema=self._schema
        )
        config = tfxio.TensorAdapterConfig(batches[0].schema, reader.TensorRepresentations())
        with tempfile.TemporaryDirectory() as work_dir:
            beam_dir, out_dir = Path(work_dir, "beam"), Path(work_dir, "ids")
            out_dir.mkdir()
            with (
                beam.Pipeline(runner=_RUNNER) as pipeline,
                tft_beam.Context(temp_dir=str(beam_dir), passthrough_keys={_ROW}),
            ):
                transform_fn = pipeline | tft_beam.ReadTransformFn(self._dir)
                raw = pipeline | beam.Create(batches)
                transformed, _ = ((raw, config), transform_fn) | tft_beam.TransformDataset(
                    output_record_batches=True
                )
                _ = transformed | beam.Map(_write_batch, out_dir=str(out_dir))
            return _read_batches(out_dir, num_texts=len(examples))

    def _record_batch(self, examples: Sequence[bytes], start: int) -> pa.RecordBatch:
        decoder = example_coder.ExamplesToRecordBatchDecoder(self._schema.SerializeToString())
        batch = decoder.DecodeBatch(list(examples))
        rows = pa.array([[start + i] for i in range(len(examples))], pa.large_list(pa.int64()))
        schema = batch.schema.append(pa.field(_ROW, rows.type))
        return pa.RecordBatch.from_arrays([*batch.columns, rows], schema=schema)


def _write_batch(element: tuple[pa.RecordBatch, Any], *, out_dir: str) -> None:
    batch, _ = element
    arrays = {}
    for name in (*ENCODER_INPUTS, LABEL_ID, _ROW):
        column = batch.column(batch.schema.get_field_index(name))
        arrays[name] = np.asarray(column.flatten())
        arrays[f"{name}.lengths"] = np.asarray(column.value_lengths())
    np.savez(Path(out_dir) / f"{arrays[_ROW][0]:012d}.npz", **arrays)


def _read_batches(out_dir: Path, *, num_texts: int) -> Ids:
    ids: Ids = {name: [np.zeros(0, np.int64)] * num_texts for name in (*ENCODER_INPUTS, LABEL_ID)}
    for path in sorted(out_dir.iterdir()):
        with np.load(path) as arrays:
            rows = arrays[_ROW]
            for name, values in ids.items():
                parts = np.split(arrays[name], np.cumsum(arrays[f"{name}.lengths"])[:-1])
                for row, part in zip(rows, parts, strict=True):
                    values[row] = part
    return ids


class TrainerSide:
    """The Trainer's Keras model: built as in training, with the saved weights."""

    def __init__(self, model_run_dir: str) -> None:
        """Builds the model with the settings recorded by the Trainer."""
        report = json.loads(Path(model_run_dir, _REPORT_FILE).read_text(encoding="utf-8"))
        self.form: str = report.get("export", {}).get("form", "float32")
        """In which the model was exported."""
        self._model = bert_model.build_model(
            report["encoder_path"],
            num_labels=report["num_labels"],
            pooling=report["encoder"]["pooling"],
            training=bert_task.TrainingConfig(**report["training"]),
        )
        self._model.load_weights(str(Path(model_run_dir, _WEIGHTS_FILE)))
        spec = {name: tf.TensorSpec([None, None], tf.int32) for name in ENCODER_INPUTS}
        self._predict = tf.function(self._probabilities, input_signature=[spec])

    def _probabilities(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.nn.softmax(self._model(inputs, training=False))

    def probabilities(self, ids: Ids, rows: Iterable[int]) -> np.ndarray:
        """Probabilities of texts: float32 [number of rows, num_labels]."""
        return self._predict(_batch(ids, rows)).numpy()


def _batch(ids: Ids, rows: Iterable[int]) -> dict[str, tf.Tensor]:
    return {name: _pad([ids[name][row] for row in rows]) for name in ENCODER_INPUTS}


def _pad(values: Sequence[np.ndarray]) -> tf.Tensor:
    """[[101, 7, 102], [101, 102]] -> int32 [[101, 7, 102], [101, 102, 0]]."""
    padded = np.zeros([len(values), max(len(value) for value in values)], np.int32)
    for row, value in zip(padded, values, strict=True):
        row[: len(value)] = value
    return tf.constant(padded)


class ServingSide:
    """The exported SavedModel, used only through its signatures."""

    def __init__(self, saved_model_dir: str) -> None:
        """Loads the model."""
        self._model = tf.saved_model.load(saved_model_dir)

    def ids(self, examples: Sequence[bytes]) -> Ids:
        """`transform_features`, without its padding."""
        outputs = self._model.signatures["transform_features"](tf.constant(list(examples)))
        lengths = outputs[bert_task.INPUT_MASK].numpy().sum(axis=1)
        ids: Ids = {name: list(_unpad(outputs[name].numpy(), lengths)) for name in ENCODER_INPUTS}
        ids[LABEL_ID] = list(outputs[LABEL_ID].numpy().reshape([-1, 1]))
        return ids

    def by_text(self, texts: dict[str, Sequence[bytes]]) -> np.ndarray:
        """`serving_default`: float32 [batch, num_labels]."""
        tensors = {name: tf.constant(list(values)) for name, values in texts.items()}
        return self._model.signatures["serving_default"](**tensors)["probabilities"].numpy()

    def by_example(self, examples: Sequence[bytes]) -> np.ndarray:
        """`serve_examples`: float32 [batch, num_labels]."""
        return self._model.signatures["serve_examples"](tf.constant(list(examples)))["probabilities"].numpy()

    def labels(self, examples: Sequence[bytes]) -> list[str]:
        """`serve_examples`: the predicted labels."""
        answers = self._model.signatures["serve_examples"](tf.constant(list(examples)))["label"]
        return [label.decode("utf-8") for label in answers.numpy().reshape([-1])]


def _unpad(values: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    for row, length in zip(values, lengths, strict=True):
        # Keep anything but 0 after the text: it is not padding, and must be found.
        yield row[: max(int(length), int(np.max(np.nonzero(row)[0], initial=-1)) + 1)]
