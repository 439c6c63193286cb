"""Warm-up: real requests that lie with a model and are replayed before it is served."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from google.protobuf import message as protobuf_message
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_server import errors

# https://www.tensorflow.org/tfx/serving/saved_model_warmup
WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MAX_REQUESTS = 1000


def replay(path: str, *, predict: Callable[..., Any]) -> int:
    """Replays the model's warm-up requests, if it has any.

    Args:
        path: folder of the SavedModel.
        predict: `Servable.predict`.

    Returns:
        Number of requests replayed.

    Raises:
        WarmupError: a record is no PredictionLog, its request failed, or there are more than MAX_REQUESTS.
    """
    file = os.path.join(path, WARMUP_FILE)
    if not os.path.exists(file):
        return 0
    count = 0
    for count, record in enumerate(tf.compat.v1.io.tf_record_iterator(file), start=1):
        if count > MAX_REQUESTS:
            raise WarmupError(f"{WARMUP_FILE} holds more than {MAX_REQUESTS} requests")
        _replay_one(record, number=count, predict=predict)
    return count


class WarmupError(Exception):
    """A warm-up file that cannot be replayed."""


def _replay_one(record: bytes, *, number: int, predict: Callable[..., Any]) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except protobuf_message.DecodeError as error:
        raise WarmupError(f"warm-up request {number} is no PredictionLog: {error}") from error
    kind = log.WhichOneof("log_type")
    if kind != "predict_log":
        raise WarmupError(f"warm-up request {number} is a {kind}; only predict_log is supported")
    request = log.predict_log.request
    try:
        predict(
            request.inputs,
            signature_name=request.model_spec.signature_name,
            output_filter=tuple(request.output_filter),
        )
    except errors.ServingError as error:
        raise WarmupError(f"warm-up request {number} failed: {error.code.name}: {error.message}") from error
