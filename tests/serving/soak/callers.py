"""Serial clients of both protocols that tell what came back, and how long it took."""

from __future__ import annotations

import dataclasses
import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.processes import RunningServer

State = get_model_status_pb2.ModelVersionStatus.State
# Else all channels of the process share one connection.
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one call came to."""

    code: str
    """OK, a gRPC code, an HTTP status, or CONNECTION."""

    message: str = ""
    outputs: Mapping[str, list[Any]] = dataclasses.field(default_factory=dict)
    version: int | None = None
    """As the answer's ModelSpec says; REST does not tell."""

    start: float = 0.0
    end: float = 0.0
    """Seconds of `time.monotonic`."""

    @property
    def ms(self) -> float:
        return (self.end - self.start) * 1e3


class Caller(Protocol):
    """One client, for one thread."""

    def call(
        self,
        model: str,
        inputs: Mapping[str, Sequence[Any]],
        *,
        version: int | None = None,
        signature: str = "serving_default",
        timeout: float = 60.0,
    ) -> Answer:
        """Calls a model; one value of each input is one row."""

    def close(self) -> None: ...


class GrpcCaller:
    """Predict over one connection."""

    def __init__(self, server: RunningServer) -> None:
        self._channel = grpc.insecure_channel(server.grpc_address, options=_OPTIONS)
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self._channel).Predict

    def call(
        self,
        model: str,
        inputs: Mapping[str, Sequence[Any]],
        *,
        version: int | None = None,
        signature: str = "serving_default",
        timeout: float = 60.0,
    ) -> Answer:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        if version is not None:
            request.model_spec.version.value = version
        for name, values in inputs.items():
            dtype = tf.float64 if isinstance(values[0], float) else None
            request.inputs[name].CopyFrom(tf.make_tensor_proto(list(values), dtype=dtype))
        start = time.monotonic()
        try:
            reply = self._predict(request, timeout=timeout)
        except grpc.RpcError as error:
            return Answer(error.code().name, str(error.details()), start=start, end=time.monotonic())
        end = time.monotonic()
        outputs = {name: _values(proto) for name, proto in reply.outputs.items()}
        return Answer("OK", "", outputs, reply.model_spec.version.value, start, end)

    def close(self) -> None:
        self._channel.close()


def _values(proto: Any) -> list[Any]:
    values = tf.make_ndarray(proto)
    return (
        [v.decode() for v in values.tolist()]
        if values.dtype == object and values.ndim == 1
        else values.tolist()
    )


class RestCaller:
    """POSTs over one keep-alive connection."""

    def __init__(self, server: RunningServer) -> None:
        self._connection = http.client.HTTPConnection(server.rest_address, timeout=60)

    def call(
        self,
        model: str,
        inputs: Mapping[str, Sequence[Any]],
        *,
        version: int | None = None,
        signature: str = "serving_default",
        timeout: float = 60.0,
    ) -> Answer:
        path = f"/v1/models/{model}" + (f"/versions/{version}" if version is not None else "")
        body = json.dumps({"signature_name": signature, "inputs": {k: list(v) for k, v in inputs.items()}})
        if self._connection.sock:
            self._connection.sock.settimeout(timeout)
        start = time.monotonic()
        try:
            self._connection.request("POST", f"{path}:predict", body)
            reply = self._connection.getresponse()
            text = reply.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return Answer("CONNECTION", repr(error), start=start, end=time.monotonic())
        end = time.monotonic()
        if reply.status != 200:
            return Answer(str(reply.status), text.decode(), start=start, end=end)
        outputs = json.loads(text)["outputs"]
        return Answer("OK", "", outputs if isinstance(outputs, dict) else {"": outputs}, None, start, end)

    def close(self) -> None:
        self._connection.close()


CALLERS: tuple[type[GrpcCaller] | type[RestCaller], ...] = (GrpcCaller, RestCaller)


def in_threads(work: Callable[[int], None], count: int) -> list[threading.Thread]:
    """Starts `work(0)`, `work(1)`, ... each in a thread."""
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def statuses(server: RunningServer, model: str) -> dict[int, tuple[str, str]]:
    """State and error of each version of a model."""
    with grpc.insecure_channel(server.grpc_address) as channel:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        reply = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request)
    return {
        entry.version: (State.Name(entry.state), entry.status.error_message)
        for entry in reply.model_version_status
    }
