"""The REST front: TF Serving's routes under /v1, and pages of our own outside it."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent import futures
from typing import Any, TypeVar
from urllib.parse import unquote

import grpc
from aiohttp import web
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from serving.model_server.api import REQUEST_ID, Models, begin_request
from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.models.tensors import DEFAULT_SIGNATURE
from serving.model_server.observe.metrics import Metrics, refusals
from serving.model_server.rest import examples, inputs, outputs, parse
from serving.model_server.rest.http import HttpServer, SlowBodyError, close_idle, read_body

logger = logging.getLogger(__name__)

# Status, content type and body.
PageAnswer = tuple[int, str, bytes]
Page = Callable[[], "PageAnswer | Awaitable[PageAnswer]"]

_BACKLOG = 1024
_IDLE_SECONDS = 90.0  # longer than aiohttp keeps a connection alive between requests
# As libevent, the HTTP server of TF Serving, writes it.
_NOT_FOUND = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
_DRAIN_LOOK_SECONDS = 0.02
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_MAX_INT64 = 2**63 - 1

_VERSION = r"(?:/versions/([0-9]+)|/labels/([^/:]+))?"
# The path may be in any case; a verb and the word `metadata` may not, though they match.
_PATTERNS = {
    "POST": re.compile(
        rf"/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)", re.IGNORECASE | re.ASCII
    ),
    "GET": re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?", re.IGNORECASE | re.ASCII),
}
_VERBS = ("classify", "regress", "predict")


@dataclasses.dataclass(frozen=True)
class Route:
    """A request that is understood."""

    action: str
    """`predict`, `classify`, `regress`, `metadata` or `status`."""

    spec: model_pb2.ModelSpec
    """Which model; without a signature, which the body names."""


def find_route(method: str, path: str) -> Route | None:
    """Reads a path under /v1.

    >>> find_route("GET", "/v1/models/toy/versions/7").action
    'status'

    Args:
        method: GET, POST, ...
        path: as the client sent it, percent signs and all.

    Returns:
        None for a version beyond int64, which TF Serving answers with 400 and no body.

    Raises:
        ServingError: INVALID_ARGUMENT; there is no such route, or it names no model.
    """
    # With its query, which no route has: TF Serving refuses one, too.
    match = _PATTERNS[method].fullmatch(path) if method in _PATTERNS else None
    if match is None or (method == "POST" and match[4] not in _VERBS):
        raise invalid_argument(f"Malformed request: {method} {path}")
    name, version, label, word = match.groups()
    if int(version or 0) > _MAX_INT64:
        return None
    if name is None:
        raise invalid_argument("Missing model name in request.")
    spec = model_pb2.ModelSpec(name=unquote(name))
    if version:
        spec.version.value = int(version)
    if label:
        spec.version_label = unquote(label)
    if method == "POST":
        return Route(word, spec)
    return Route("metadata" if word == "metadata" else "status", spec)


Result = TypeVar("Result")

# For what would hold up the event loop. Python runs one of them at a time, and memory for few must do.
_NUM_THREADS = 2
_LARGE_ANSWER_VALUES = 2**14


class RestServer:
    """Listens on one port; lives in the event loop that starts it."""

    def __init__(
        self,
        models: Models,
        *,
        host: str,
        port: int,
        pages: Mapping[str, Page] | None = None,
        cors: bool = False,
        metrics: Metrics | None = None,
        timeout_seconds: float = 30.0,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        """Binds nothing yet.

        Args:
            models: what is served.
            host: address to listen on.
            port: 0 is any free one.
            pages: by exact path outside /v1, for GET and HEAD; they answer while the server drains, too.
            cors: whether browsers may call from other sites.
            metrics: counts inference.
            timeout_seconds: for reading a body, and then for answering.
            idle_seconds: after which a connection on which no request is complete is closed.
        """
        self._models = models
        # Large bodies and answers are read and written outside the event loop.
        self._threads = futures.ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="rest")
        self._address = (host, port)
        self.port = port
        self._pages = pages or {}
        self._headers = _CORS_HEADERS if cors else {}
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds
        self._idle_seconds = idle_seconds
        self._idle_watch: asyncio.Task[None] | None = None
        self._under_way = 0
        self._draining = False
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Binds the port and begins to answer.

        Raises:
            OSError: the port is taken.
        """
        server = HttpServer(self._handle)
        self._runner = web.ServerRunner(server)
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._address, backlog=_BACKLOG).start()
        self.port = self._runner.addresses[0][1]
        self._idle_watch = asyncio.create_task(close_idle(server, idle_seconds=self._idle_seconds))

    async def stop(self, grace_seconds: float) -> None:
        """Refuses new requests with 503, waits for those under way, and closes the port."""
        self._draining = True
        if self._idle_watch:
            self._idle_watch.cancel()
        deadline = time.monotonic() + grace_seconds
        while self._under_way and time.monotonic() < deadline:
            await asyncio.sleep(_DRAIN_LOOK_SECONDS)
        if self._runner:
            self._runner._shutdown_timeout = max(1.0, deadline - time.monotonic())  # known only when stopping
            await self._runner.cleanup()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        # As it came: aiohttp's own path is decoded, and a name may hold an encoded slash.
        path = request.raw_path if request.raw_path.startswith("/") else request.rel_url.raw_path_qs
        # aiohttp's parser in Python, which stands in for the one in C, lets bytes through that are not UTF-8.
        path = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        target = path.partition("?")[0]
        if target in self._pages:
            return await self._page(request.method, self._pages[target])
        if not target.lower().startswith("/v1/"):
            return web.Response(status=404, text=_NOT_FOUND, content_type="text/html")
        if self._draining:
            refusals.note("REST", "UNAVAILABLE", "the server is stopping")
            return self._error(503, "the server is stopping; ask another one", close=True)
        request_id = begin_request(request.headers.get(REQUEST_ID))
        self._under_way += 1
        try:
            response = await self._answer(request, path)
        finally:
            self._under_way -= 1
        response.headers[REQUEST_ID] = request_id
        return response

    async def _page(self, method: str, page: Page) -> web.Response:
        if method not in ("GET", "HEAD"):
            return web.Response(status=405, text="Method Not Allowed", headers={"Allow": "GET, HEAD"})
        answer = page()
        status, content_type, body = await answer if inspect.isawaitable(answer) else answer
        return web.Response(status=status, body=body, headers={"Content-Type": content_type})

    async def _answer(self, request: web.BaseRequest, path: str) -> web.Response:
        """The answer to a request under /v1, whatever becomes of it."""
        try:
            if request.method == "OPTIONS":
                from_site = request.headers.get("Origin", "").lower().startswith(("http://", "https://"))
                return self._respond(200 if from_site else 400, b"")
            route = find_route(request.method, path)
            if route is None:
                return self._respond(400, b"")
            return self._respond(200, await self._run(request, route))
        except ServingError as error:
            refusals.note_error("REST", error)
            return self._error(error.http_status, error.whole_message)
        except SlowBodyError as error:
            refusals.note("REST", "SLOW_BODY", str(error))
            return self._error(408, str(error), close=True)
        except ConnectionError:
            return self._error(499, "the client is gone", close=True)  # never read
        except Exception as error:
            logger.exception("a request failed in an unforeseen way")
            return self._error(500, f"{type(error).__name__}: {error}"[:1024])

    def _respond(self, status: int, body: bytes) -> web.Response:
        return web.Response(status=status, body=body, content_type="application/json", headers=self._headers)

    def _error(self, status: int, message: str, *, close: bool = False) -> web.Response:
        response = self._respond(status, outputs.write_error(message))
        if close:
            response.force_close()
        return response

    async def _run(self, request: web.BaseRequest, route: Route) -> bytes:
        if route.action == "status":
            status = get_model_status_pb2.GetModelStatusRequest(model_spec=route.spec)
            return outputs.write_status(self._models.status_response(status))
        if route.action == "metadata":
            metadata = get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=route.spec, metadata_field=["signature_def"]
            )
            return outputs.write_metadata(self._models.metadata(metadata))
        start = time.monotonic()
        code = grpc.StatusCode.CANCELLED
        try:
            body = await read_body(request, timeout_seconds=self._timeout_seconds, in_thread=self._in_thread)
            deadline = time.monotonic() + self._timeout_seconds
            answer = await self._infer(route, body, deadline=deadline)
            code = grpc.StatusCode.OK
        except ServingError as error:
            code = error.code
            raise
        except SlowBodyError:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            raise
        finally:
            if self._metrics:
                seconds = time.monotonic() - start
                self._metrics.observe(route.spec.name, route.action.capitalize(), "REST", code.name, seconds)
        return answer

    async def _infer(self, route: Route, body: bytes, *, deadline: float) -> bytes:
        """Predict, Classify or Regress.

        The body is parsed before the model is looked for, as in TF Serving: it decides which of two errors is reported.
        """
        is_large = len(body) > parse.LARGE_BODY_BYTES
        # The function that reads a document takes it out of the list: to free a million values takes time, too.
        documents = [await self._maybe_in_thread(is_large, parse.parse_object, body)]
        name = inputs.signature_name(documents[0])
        if route.action == "predict":
            return await self._predict(route, documents, name=name, is_large=is_large, deadline=deadline)
        route.spec.signature_name = name
        examples_proto = await self._maybe_in_thread(is_large, _pop_and_read, documents, examples.read_input)
        if route.action == "classify":
            classify = classification_pb2.ClassificationRequest(model_spec=route.spec, input=examples_proto)
            classified = await self._models.classify(classify, deadline=deadline)
            return outputs.write_classifications(classified.result)
        regress = regression_pb2.RegressionRequest(model_spec=route.spec, input=examples_proto)
        regressed = await self._models.regress(regress, deadline=deadline)
        return outputs.write_regressions(regressed.result)

    async def _predict(
        self, route: Route, documents: list[Any], *, name: str, is_large: bool, deadline: float
    ) -> bytes:
        with self._models.use(route.spec) as servable:
            key = name or DEFAULT_SIGNATURE
            if key not in servable.signatures:
                raise invalid_argument(f'Serving signature name: "{key}" not found in signature def')
            read = functools.partial(inputs.read_inputs, inputs=servable.signatures[key].inputs)
            arrays, rows = await self._maybe_in_thread(is_large, _pop_and_read, documents, read)
            answer = await self._models.predict_arrays(
                servable, signature_name=name, arrays=arrays, deadline=deadline
            )
        is_large = sum(array.size for array in answer.values()) > _LARGE_ANSWER_VALUES
        return await self._maybe_in_thread(
            is_large, functools.partial(outputs.write_outputs, answer, rows=rows)
        )

    async def _maybe_in_thread(self, is_large: bool, function: Callable[..., Result], *args: Any) -> Result:
        return await self._in_thread(function, *args) if is_large else function(*args)

    async def _in_thread(self, function: Callable[..., Result], *args: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)


def _pop_and_read(documents: list[Any], read: Callable[[Any], Result]) -> Result:
    return read(documents.pop())
