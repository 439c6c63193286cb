"""The gRPC front: PredictionService and ModelService over `predictions.Models`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from typing import Any, TypeVar

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.model_server.errors import ServingError
from serving.model_server.predictions import Models

Response = TypeVar("Response")

# TF Serving's bound; gRPC's own default of 4 MB is less than a batch of images.
_MAX_MESSAGE_BYTES = 2**31 - 1
_NUM_THREADS = 16


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the base class answers UNIMPLEMENTED to the rest."""

    def __init__(self, models: Models) -> None:
        """Serves `models`."""
        self._models = models

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs one request."""
        return _answer(context, lambda: self._models.predict(request))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The signatures of a version."""
        return _answer(context, lambda: self._models.metadata(request))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; the base class answers UNIMPLEMENTED to the rest."""

    def __init__(self, models: Models) -> None:
        """Serves `models`."""
        self._models = models

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The states of a model's versions."""
        return _answer(context, lambda: self._models.status_response(request.model_spec))


def _answer(context: grpc.ServicerContext, call: Callable[[], Response]) -> Response:
    try:
        return call()
    except ServingError as error:
        return context.abort(error.code, error.message)  # it raises


class GrpcServer:
    """Listens on one port."""

    def __init__(self, models: Models, *, host: str, port: int) -> None:
        """Binds the port, and answers nothing yet.

        Args:
            models: what is served.
            host: address to listen on.
            port: 0 is any free one.

        Raises:
            OSError: the port is taken.
        """
        options = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),  # a second server on the same port is a mistake, not load balancing
        ]
        self._server = grpc.server(futures.ThreadPoolExecutor(_NUM_THREADS), options=options)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(models), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models), self._server)
        try:
            self.port = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on gRPC port {port}: {error}") from error
        if not self.port:
            raise OSError(f"cannot listen on gRPC port {port}")

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def stop(self, grace_seconds: float) -> None:
        """Takes no new requests and waits for those under way."""
        self._server.stop(grace_seconds).wait()
