"""Asking a server process: REST as status and body, and the stubs and requests of gRPC."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.processes import RunningServer


def rest(server: RunningServer, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and body; the body as JSON where it is JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{server.rest_address}{path}", data=data)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, _json(response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _json(error.read().decode())


def _json(text: str) -> Any:
    return json.loads(text) if text.startswith("{") else text


def version_states(server: RunningServer, name: str = "toy") -> dict[int, str]:
    """State by version; nothing where the model has none."""
    _, answer = rest(server, f"/v1/models/{name}")
    return {int(entry["version"]): entry["state"] for entry in answer.get("model_version_status", [])}


def version_error(server: RunningServer, version: int, name: str = "toy") -> str:
    """The error of a version's status."""
    _, answer = rest(server, f"/v1/models/{name}/versions/{version}")
    (entry,) = answer["model_version_status"]
    return str(entry["status"]["error_message"])


def offset(server: RunningServer, name: str = "toy") -> float:
    """What tells the versions of the toy apart."""
    body = {"signature_name": "arithmetic", "inputs": {"x": [[0.0]], "n": [0]}}
    status, answer = rest(server, f"/v1/models/{name}:predict", body)
    assert status == 200, answer
    return float(answer["outputs"]["y"][0][0])


def predict_request(signature: str, **inputs: Any) -> predict_pb2.PredictRequest:
    """A request to the toy."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def prediction_stub(channel: grpc.Channel) -> prediction_service_pb2_grpc.PredictionServiceStub:
    """For Predict."""
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def reload(server: RunningServer, models: str) -> None:
    """HandleReloadConfigRequest with a ModelConfigList in text format."""
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    text_format.Merge(models, request.config.model_config_list)
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        stub.HandleReloadConfigRequest(request, timeout=60)
