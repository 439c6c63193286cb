"""Warm-up: real requests that lie with a model and are replayed before it is served."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import tensorflow as tf
from google.protobuf import message as protobuf_message
from tensorflow_serving.apis import input_pb2, prediction_log_pb2

from serving.model_server import errors
from serving.model_server.models import inference

if TYPE_CHECKING:  # it replays while it loads
    from serving.model_server.models.servable import Servable, SignatureCall

# https://www.tensorflow.org/tfx/serving/saved_model_warmup
WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MAX_REQUESTS = 1000


class WarmupError(Exception):
    """A warm-up file that cannot be replayed."""


def replay(servable: Servable, *, path: str) -> int:
    """Replays the model's warm-up requests, if it has any: of Predict, Classify, Regress and MultiInference.

    Args:
        servable: whose requests they are; not in use yet.
        path: folder of the SavedModel.

    Returns:
        Number of requests replayed.

    Raises:
        WarmupError: a record is not a PredictionLog, its request failed, or there are more than MAX_REQUESTS.
    """
    file = os.path.join(path, WARMUP_FILE)
    if not os.path.exists(file):
        return 0
    count = 0
    try:
        for count, record in enumerate(tf.compat.v1.io.tf_record_iterator(file), start=1):
            if count > MAX_REQUESTS:
                raise WarmupError(f"{WARMUP_FILE} holds more than {MAX_REQUESTS} requests")
            _replay_one(servable, record, number=count)
    except tf.errors.DataLossError as error:
        raise WarmupError(f"{WARMUP_FILE} is not a TFRecord file after {count} requests: {error}") from error
    return count


def _replay_one(servable: Servable, record: bytes, *, number: int) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except protobuf_message.DecodeError as error:
        raise WarmupError(f"warm-up request {number} is not a PredictionLog: {error}") from error
    try:
        _run(servable, log, number=number)
    except errors.ServingError as error:
        raise WarmupError(f"warm-up request {number} failed: {error.code.name}: {error.message}") from error


def _run(servable: Servable, log: prediction_log_pb2.PredictionLog, *, number: int) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        servable.predict(
            request.inputs,
            signature_name=request.model_spec.signature_name,
            output_filter=tuple(request.output_filter),
        )
    elif kind == "classify_log":
        request = log.classify_log.request
        _infer(request.input, inference.classify_call(servable, request.model_spec.signature_name))
    elif kind == "regress_log":
        request = log.regress_log.request
        _infer(request.input, inference.regress_call(servable, request.model_spec.signature_name))
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        for call in inference.multi_calls(servable, request):
            _infer(request.input, call)
    else:
        raise WarmupError(
            f"warm-up request {number} is a {kind}; give predict_log, classify_log, regress_log or "
            "multi_inference_log"
        )


def _infer(request_input: input_pb2.Input, call: SignatureCall) -> None:
    call.function(inference.serialized(request_input))
