"""Requests, answers and refusals, for the tests that speak gRPC."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import inference_pb2, input_pb2, model_pb2, predict_pb2

Code = grpc.StatusCode
Stub = Any
Feature = float | int | str


def spec(name: str = "toy", *, signature: str = "", version: int | None = None) -> model_pb2.ModelSpec:
    model_spec = model_pb2.ModelSpec(name=name, signature_name=signature)
    if version is not None:
        model_spec.version.value = version
    return model_spec


def predict_request(signature: str = "", *, name: str = "toy", **inputs: Any) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(model_spec=spec(name, signature=signature))
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return request


def examples(
    rows: Sequence[Mapping[str, Feature]], *, context: Mapping[str, Feature] | None = None
) -> input_pb2.Input:
    """A request's input: an example for each row, with a context or without."""
    message = input_pb2.Input()
    kind = message.example_list if context is None else message.example_list_with_context
    for row in rows:
        _fill(kind.examples.add(), row)
    if context is not None:
        _fill(message.example_list_with_context.context, context)
    return message


def _fill(example: Any, row: Mapping[str, Feature]) -> None:
    for name, value in row.items():
        feature = example.features.feature[name]
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)


def task(signature: str, method: str, *, name: str = "toy") -> inference_pb2.InferenceTask:
    return inference_pb2.InferenceTask(
        model_spec=spec(name, signature=signature), method_name=f"tensorflow/serving/{method}"
    )


def refusal(call: Callable[..., Any], request: Any, **options: Any) -> tuple[grpc.StatusCode, str]:
    """The code and the message with which a call fails."""
    with pytest.raises(grpc.RpcError) as error:
        call(request, **{"timeout": 60, **options})
    return error.value.code(), error.value.details()


def values(response: predict_pb2.PredictResponse) -> dict[str, Any]:
    """The outputs of an answer, as lists by name."""
    return {alias: tf.make_ndarray(proto).tolist() for alias, proto in response.outputs.items()}
