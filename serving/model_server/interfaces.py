"""What the parts of the server need of each other; each is given to the others by `server.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from tensorflow_serving.apis import model_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server.servable import Servable
from serving.model_server.versions import VersionStatus


class Manager(Protocol):
    """Where the models come from."""

    def use(self, spec: model_pb2.ModelSpec) -> AbstractContextManager[Servable]:
        """Holds the version that a request names, for the time of the request."""

    def statuses(self, spec: model_pb2.ModelSpec) -> Mapping[int, VersionStatus]:
        """The states of the versions that a request names, the highest first."""

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> Awaitable[None] | None:
        """Puts another set of models in place: a coroutine, or a function that may block."""


class RequestLog(Protocol):
    """Where answered requests may be kept."""

    def offer(self, model_name: str, make_log: Callable[[], prediction_log_pb2.PredictionLog]) -> None:
        """Keeps the request, or does not; never blocks."""


class Metrics(Protocol):
    """Where requests are counted; the fronts do it."""

    def observe(self, model_name: str, api: str, entrypoint: str, code_name: str, seconds: float) -> None:
        """Counts one request: `observe("toy", "Predict", "GRPC", "OK", 0.012)`."""
