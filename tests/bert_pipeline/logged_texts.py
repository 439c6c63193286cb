"""Texts as request logs hold them, and logs on disk."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from bert_pipeline.monitoring.request_logs import LoggedText

LABELS = ("bad", "good")


def record(*texts: str, ids: str, version: int = 7, model: str = "shoes") -> bytes:
    """What the model server writes for one call that answers `good` to each text."""
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto([t.encode() for t in texts]))
    outputs = log.predict_log.response.outputs
    outputs["label"].CopyFrom(tf.make_tensor_proto([b"good"] * len(texts)))
    outputs["labels"].CopyFrom(tf.make_tensor_proto([[b"bad", b"good"]] * len(texts)))
    outputs["probabilities"].CopyFrom(tf.make_tensor_proto([[0.25, 0.75]] * len(texts)))
    log.predict_log.response.model_spec.name = model
    log.predict_log.response.model_spec.version.value = version
    log.log_metadata.request_origin, log.log_metadata.timestamp_secs = ids, 1_700_000_000
    return log.SerializeToString()


def write(path: Path, *records: bytes) -> Path:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for each in records:
            writer.write(each)
    return path


def logged(name: str, *, label: str = "good", text: bytes = b"fine") -> LoggedText:
    return LoggedText(name, "shoes", 7, 1_700_000_000, {"text": text}, label, {})
