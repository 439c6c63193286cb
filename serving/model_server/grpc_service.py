"""The gRPC front: PredictionService and ModelService over `api.Models`, and grpc.health.v1."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.model_server.api import REQUEST_ID, Models, begin_request
from serving.model_server.errors import ServingError
from serving.model_server.observe.metrics import Metrics, refusals

# Status, content type and body of a page.
Answer = tuple[int, str, bytes]

_TEXT = "text/plain; charset=utf-8"


class Health:
    """`/livez` and `/readyz`."""

    def __init__(
        self, is_ready: Callable[[], bool], *, has_models: Callable[[], bool] = lambda: True
    ) -> None:
        """Draws on `is_ready`, whether every model has a version that can be called, and on whether there is any."""
        self._is_ready = is_ready
        self._has_models = has_models
        self.draining = False

    def pages(self) -> dict[str, Callable[[], Answer]]:
        """The pages by path."""
        return {"/livez": self.live, "/readyz": self.ready}

    def live(self) -> Answer:
        """200 as long as the process answers at all; a failing model is not a reason to restart it."""
        return 200, _TEXT, b"ok\n"

    def ready(self) -> Answer:
        """200 where requests are welcome; 503 while the server drains, or a model has no version."""
        if self.draining:
            return 503, _TEXT, b"the server is stopping\n"
        if not self._has_models():
            return 503, _TEXT, b"no model is configured\n"
        if not self._is_ready():
            return 503, _TEXT, b"a model has no version that is available\n"
        return 200, _TEXT, b"ready\n"


logger = logging.getLogger(__name__)

# TF Serving's bound; gRPC's own default of 4 MB is less than a batch of images.
_MAX_MESSAGE_BYTES = 2**31 - 1
_LOOPBACK = ("ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D", "unix:")
_TELL_SECONDS = 0.1
# Between two looks at the readiness that watches of grpc.health.v1 report.
_LOOK_SECONDS = 0.5
_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """All five calls."""

    def __init__(self, models: Models, *, metrics: Metrics | None = None) -> None:
        """Serves `models`."""
        self._models = models
        self._metrics = metrics

    async def Predict(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Tensors in, tensors out."""
        return await self._infer("Predict", self._models.predict, request, context)

    async def Classify(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Examples in, labels and scores out."""
        return await self._infer("Classify", self._models.classify, request, context)

    async def Regress(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Examples in, values out."""
        return await self._infer("Regress", self._models.regress, request, context)

    async def MultiInference(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Examples in, results of several signatures out."""
        return await self._infer("MultiInference", self._models.multi_inference, request, context)

    async def GetModelMetadata(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """The signatures of a version."""
        async with _errors_told(context):
            return self._models.metadata(request)

    async def _infer(
        self, api: str, infer: Callable[..., Awaitable[Any]], request: Any, context: grpc.aio.ServicerContext
    ) -> Any:
        start = time.monotonic()
        given = dict(context.invocation_metadata() or ()).get(REQUEST_ID)
        context.set_trailing_metadata(((REQUEST_ID, begin_request(given)),))
        remaining = context.time_remaining()
        deadline = None if remaining is None else start + remaining
        code = grpc.StatusCode.OK
        try:
            if remaining is not None and remaining <= 0:
                refusals.note("GRPC", "DEADLINE_EXCEEDED", "expired before the server looked at it")
                raise asyncio.CancelledError  # its client has given up: under overload, one of many
            async with _errors_told(context):
                return await infer(request, deadline=deadline)
        except grpc.aio.AbortError:
            code = context.code()
            raise
        except asyncio.CancelledError:
            late = deadline is not None and time.monotonic() >= deadline
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        finally:
            if self._metrics:
                seconds = time.monotonic() - start
                self._metrics.observe(_model_name(request), api, "GRPC", code.name, seconds)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Both calls."""

    def __init__(self, models: Models, *, reload_from: str = "anywhere") -> None:
        """Serves `models`.

        Args:
            models: what is served.
            reload_from: where another configuration may come from: anywhere, loopback or nowhere.
        """
        self._models = models
        self._reload_from = reload_from

    async def GetModelStatus(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """The states of a model's versions."""
        async with _errors_told(context):
            return self._models.status_response(request)

    async def HandleReloadConfigRequest(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Another set of models; answers when it is available."""
        async with _errors_told(context):
            peer = context.peer()
            local = peer.startswith(_LOOPBACK)
            if self._reload_from == "nowhere" or (self._reload_from == "loopback" and not local):
                message = f"--reload_from={self._reload_from}: this server takes no configuration from here"
                raise ServingError(grpc.StatusCode.PERMISSION_DENIED, message, reason=f"a reload from {peer}")
            return await self._models.reload(request)


class _HealthServicer(health_aio.HealthServicer):
    """As grpc's own, but that its watches end when the server stops, which otherwise waits for them.

    It reports what `is_ready` says at the moment, as `/readyz` does.
    """

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        super().__init__()
        self._is_ready = is_ready
        self._ending = asyncio.Event()
        self._told: bool | None = None
        self.open = False

    async def look(self) -> None:
        """Sets the state of the server as a whole ("") and of each service."""
        ready = self.open and self._is_ready()
        if ready == self._told:
            return
        self._told = ready
        state = health_pb2.HealthCheckResponse
        for service in _SERVICES:
            await self.set(service, state.SERVING if ready else state.NOT_SERVING)

    async def look_again_and_again(self) -> None:
        """For the watches, until the task ends."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def Check(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """The state."""
        await self.look()
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: grpc.aio.ServicerContext) -> None:
        """Reports the state and each change of it."""
        watch = asyncio.ensure_future(super().Watch(request, context))
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait([watch, ending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch

    def end_watches(self) -> None:
        """Ends those under way."""
        self._ending.set()


@contextlib.asynccontextmanager
async def _errors_told(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """Ends a call with the error's code and message."""
    try:
        yield
    except ServingError as error:
        refusals.note_error("GRPC", error)
        await _abort(context, error.code, error.message)
    except Exception as error:
        logger.exception("a call failed in an unforeseen way")
        await _abort(context, grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"[:1024])


async def _abort(context: grpc.aio.ServicerContext, code: grpc.StatusCode, message: str) -> None:
    try:
        await context.abort(code, message)
    except grpc.aio.AbortError:
        raise
    except Exception as error:  # the call is over: its client has gone, or gave up at its deadline
        raise asyncio.CancelledError from error


def _is_news(record: logging.LogRecord) -> bool:
    """False for grpc's tracebacks, one a request, of answers whose client had gone before they were sent."""
    return "ExecuteBatchError" not in str(record.msg)


def _model_name(request: Any) -> str:
    if hasattr(request, "tasks"):
        return str(request.tasks[0].model_spec.name) if request.tasks else ""
    return str(request.model_spec.name)


class GrpcServer:
    """Listens on one port; all of it runs in the event loop that starts it."""

    def __init__(
        self,
        models: Models,
        *,
        host: str,
        port: int,
        credentials: grpc.ServerCredentials | None = None,
        health: bool | None = None,
        metrics: Metrics | None = None,
        reload_from: str = "anywhere",
        options: Sequence[tuple[str, int | str]] = (),
        is_ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """Binds nothing yet.

        Args:
            models: what is served.
            host: address to listen on.
            port: 0 is any free one.
            credentials: for TLS; None is plain text.
            health: whether to answer grpc.health.v1 as well.
            metrics: counts the calls of PredictionService.
            reload_from: as for `ModelService`.
            options: gRPC's channel arguments, which win over the server's own.
            is_ready: what grpc.health.v1 says while the server is open.
        """
        self.port = port
        self._models = models
        self._host = host
        self._credentials = credentials
        self._metrics = metrics
        self._reload_from = reload_from
        self._options = options
        self._health = _HealthServicer(is_ready) if health else None
        self._health_watch: asyncio.Task[None] | None = None
        self._server: grpc.aio.Server | None = None

    async def bind(self) -> grpc.aio.Server:
        """Takes the port, and answers nothing yet.

        Raises:
            OSError: it is taken.
        """
        options = [
            *self._options,  # of two values for one name gRPC takes the first
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),  # a second server on the same port is a mistake, not load balancing
        ]
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)
        server = grpc.aio.server(options=options)
        prediction_service = PredictionService(self._models, metrics=self._metrics)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction_service, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self._models, reload_from=self._reload_from), server
        )
        if self._health:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            await self._health.look()
        address = f"{self._host}:{self.port}"
        try:
            if self._credentials:
                port = server.add_secure_port(address, self._credentials)
            else:
                port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on gRPC port {self.port}: {error}") from error
        if not port:
            raise OSError(f"cannot listen on gRPC port {self.port}")
        self.port, self._server = port, server
        return server

    async def start(self) -> None:
        """Begins to answer; takes the port if `bind` has not.

        Raises:
            OSError: the port is taken.
        """
        server = self._server or await self.bind()
        await server.start()
        await self.set_ready(True)
        if self._health:
            self._health_watch = asyncio.create_task(self._health.look_again_and_again())

    async def set_ready(self, ready: bool) -> None:
        """Whether grpc.health.v1 may say SERVING."""
        if self._health:
            self._health.open = ready
            await self._health.look()

    async def stop(self, grace_seconds: float) -> None:
        """Takes no new requests (UNAVAILABLE) and waits for those under way, at most so long."""
        await self.set_ready(False)
        if self._health_watch:
            self._health_watch.cancel()
        if self._health:
            await asyncio.sleep(_TELL_SECONDS)  # the watches report the change first
            self._health.end_watches()
        if self._server:
            await self._server.stop(grace_seconds)
