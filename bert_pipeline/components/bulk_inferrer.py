"""BulkInferrer with progress output: an executor that overrides a stock one.

An example to copy if only one step of a stock component needs to change: the component, its inputs, outputs
and cache key stay TFX's; only the step that runs the model is replaced.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tfx import types
from tfx.components.bulk_inferrer import component as stock_component
from tfx.components.bulk_inferrer import executor as stock
from tfx.dsl.components.base import executor_spec
from tfx.proto import bulk_inferrer_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils
from tfx_bsl.public.beam import run_inference
from tfx_bsl.public.proto import model_spec_pb2

# Seconds between progress lines; a shorter run prints none.
_TELL_SECONDS = 5.0


class Executor(stock.Executor):
    """Writes PredictionLogs as TFX's executor does, and prints texts, texts/s and the time left."""

    def _run_model_inference(
        self,
        data_spec: bulk_inferrer_pb2.DataSpec,
        output_example_spec: bulk_inferrer_pb2.OutputExampleSpec,
        examples: list[types.Artifact],
        output_examples: types.Artifact | None,
        inference_result: types.Artifact | None,
        inference_endpoint: model_spec_pb2.InferenceSpecType,
    ) -> None:
        if inference_result is None:  # output as tf.Examples, which this project does not use
            super()._run_model_inference(
                data_spec, output_example_spec, examples, output_examples, None, inference_endpoint
            )
            return
        paths = sorted(_record_files(examples, splits=data_spec.example_splits))
        total = sum(1 for path in paths for _ in _records(path))
        progress = _Progress(total)
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | beam.Create(paths, reshuffle=False)
                | beam.FlatMap(_records)
                | beam.Map(tf.train.Example.FromString)
                | "RunInference" >> run_inference.RunInference(inference_endpoint)
                | beam.Map(progress.count)
                | "WritePredictionLogs"
                >> beam.io.WriteToTFRecord(
                    os.path.join(inference_result.uri, stock._PREDICTION_LOGS_FILE_NAME),
                    file_name_suffix=".gz",
                    coder=beam.coders.ProtoCoder(prediction_log_pb2.PredictionLog),
                )
            )


def _record_files(examples: list[types.Artifact], *, splits: Any) -> Iterator[str]:
    for artifact in examples:
        for split in artifact_utils.decode_split_names(artifact.split_names):
            if not splits or split in splits:
                yield from tf.io.gfile.glob(
                    io_utils.all_files_pattern(artifact_utils.get_split_uri([artifact], split))
                )


def _records(path: str) -> Iterator[bytes]:
    yield from tf.data.TFRecordDataset([path], compression_type="GZIP").as_numpy_iterator()


class _Progress:
    """Counts texts as they are labelled.

    Beam pickles it once per worker; on one machine the workers are threads of this process and share the counts.
    """

    _lock = threading.Lock()
    _done = 0
    _began = _told = 0.0

    def __init__(self, total: int) -> None:
        self._total = total
        cls = type(self)
        cls._done, cls._began, cls._told = 0, time.monotonic(), time.monotonic()

    def count(self, log: prediction_log_pb2.PredictionLog) -> prediction_log_pb2.PredictionLog:
        """Counts one text and returns it."""
        cls, now = type(self), time.monotonic()
        with cls._lock:
            cls._done += 1
            due = now - cls._told >= _TELL_SECONDS
            if due:
                cls._told = now
                rate = cls._done / (now - cls._began)
                left = max(self._total - cls._done, 0) / rate
                print(
                    f"  BulkInferrer  {cls._done:,} of {self._total:,} texts, {rate:,.0f} texts/s, {left:,.0f} s left",
                    flush=True,
                )
        return log


class ProgressBulkInferrer(stock_component.BulkInferrer):
    """TFX's BulkInferrer with the executor above; takes the same arguments."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
