"""Records of a request log: made, configured, and read back."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import logging_config_pb2

from serving.model_server.config.settings import ModelSettings
from serving.model_server.observe import logged_examples


def settings(prefix: Path, *, rate: float = 1.0, name: str = "shoes") -> ModelSettings:
    config = logging_config_pb2.LoggingConfig()
    config.sampling_config.sampling_rate = rate
    config.log_collector_config.type = "tfrecord"
    config.log_collector_config.filename_prefix = str(prefix)
    return ModelSettings(name, "/models", logging=config)


def predict_log(*texts: str, labels: tuple[str, ...] = ()) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto([t.encode() for t in texts]))
    if labels:
        answer = tf.make_tensor_proto([name.encode() for name in labels])
        log.predict_log.response.outputs["label"].CopyFrom(answer)
    log.predict_log.response.model_spec.name = "shoes"
    log.predict_log.response.model_spec.version.value = 7
    return log


def whole_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("requests-*.tfrecord"))


def read(folder: Path) -> list[prediction_log_pb2.PredictionLog]:
    paths = [str(path) for path in whole_files(folder)]
    return [log for path in paths for log in logged_examples.read_logs(path)]
