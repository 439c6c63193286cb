"""The REST front: TF Serving's routes under /v1, and pages of our own outside it.

Written on aiohttp: it brings its own HTTP server (Starlette would need one beside it), and TFX's stack
installs it anyway.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from aiohttp import web, web_protocol
from aiohttp.http_exceptions import HttpProcessingError

from serving.model_server import request_ids
from serving.model_server.api import Metrics, Models
from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.observe.refusals import refusals
from serving.model_server.rest import outputs
from serving.model_server.rest.answers import RestAnswers, Route, find_route

MAX_BODY_BYTES = 100 * 2**20

_GZIP = ("gzip", "x-gzip")
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS

RunInThread = Callable[[Callable[[bytes], bytes], bytes], Awaitable[bytes]]


class SlowBodyError(Exception):
    """A body that did not come in time."""


async def read_body(request: web.BaseRequest, *, timeout_seconds: float, in_thread: RunInThread) -> bytes:
    """The body of a request, unpacked.

    Args:
        request: whose body nobody has read.
        timeout_seconds: how long the client may take to send it.
        in_thread: runs a function of bytes elsewhere than in the event loop.

    Raises:
        ServingError: INVALID_ARGUMENT; it is too large, or not what its headers say.
        SlowBodyError: it did not come in time.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large("")
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        # curl asks so before a megabyte, and waits a second for the answer.
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        if request.content.is_eof():  # small ones come together with their headers, and need no timer
            body = await request.read()
        else:
            body = await asyncio.wait_for(request.read(), timeout_seconds)
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large("") from error
    except asyncio.TimeoutError as error:
        raise SlowBodyError(f"the body did not arrive within {timeout_seconds:g} s") from error
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise invalid_argument(f"the body is not what its headers say: {error}") from error
    return await in_thread(gunzip, body) if body and encoding in _GZIP else body


def gunzip(packed: bytes) -> bytes:
    """Unpacks gzip of one member; TF Serving reads no second one, nor anything else that follows.

    Raises:
        ServingError: INVALID_ARGUMENT; it is corrupt, ends too early, goes on after its end, or unpacks to more than
            MAX_BODY_BYTES.
    """
    member = zlib.decompressobj(_WITH_GZIP_HEADER)
    try:
        unpacked = member.decompress(packed, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise _not_gzip(f"it is corrupt: {error}") from error
    if len(unpacked) > MAX_BODY_BYTES:
        raise _too_large(" when unpacked")
    if not member.eof:
        raise _not_gzip("it ends too early")
    if member.unused_data:
        raise _not_gzip(f"{len(member.unused_data)} bytes follow the end of its first member")
    return unpacked


def _not_gzip(reason: str) -> ServingError:
    return invalid_argument("JSON Parse error: The document is empty", reason=f"the gzip body: {reason}")


def _too_large(when: str) -> ServingError:
    return invalid_argument(f"the body is larger than {MAX_BODY_BYTES} bytes{when}, which is the limit")


# One FIN says both, "that was all that I had to send" and "I am gone". A client that means the first sends it with the
# request; one that gives up sends it later, and its work is not begun.
_WITH_THE_REQUEST_SECONDS = 0.5


class HalfOpenServer(web.Server):
    """As aiohttp's, which closes a connection whose client has shut its writing side, whatever it waits for."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **options: Any
    ) -> None:
        """As aiohttp's."""
        super().__init__(handler, **options)
        self._options = {
            k: v for k, v in options.items() if k not in ("request_factory", "handler_cancellation")
        }

    def __call__(self) -> web_protocol.RequestHandler:
        """A connection."""
        return _Connection(self, loop=self._loop, **self._options)


class _Connection(web_protocol.RequestHandler):
    __slots__ = ("_answered", "_data_at", "_last_body", "_sends_no_more")

    def __init__(self, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._answered = 0
        self._data_at = 0.0
        self._last_body: Any = None
        self._sends_no_more = False

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        self._data_at = self._loop.time()
        super().data_received(data)
        if self._messages:
            self._last_body = self._messages[-1][1]

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it: whether the transport stays open
        """The client sends nothing more. Returns whether it still gets what it has asked for."""
        is_late = self._loop.time() - self._data_at > _WITH_THE_REQUEST_SECONDS
        if is_late or self._request_count == self._answered or not self._last_body.is_eof():
            return False
        self._sends_no_more = True
        return True

    async def _handle_request(self, *args: Any) -> Any:
        answer = await super()._handle_request(*args)
        self._answered += 1
        if self._sends_no_more and self._request_count == self._answered:
            self._close = True
        return answer


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
_METRIC_NAMES = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}


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
        self._answers = RestAnswers(models)
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
        server = HalfOpenServer(
            self._handle,
            request_factory=functools.partial(_bounded_request, loop=asyncio.get_running_loop()),
            handler_cancellation=True,  # a client that goes takes its queued work with it
            auto_decompress=False,  # aiohttp takes a gzip body that ends too early for a whole one
            access_log=None,
            logger=_http_logger(),
        )
        self._runner = web.ServerRunner(server)
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._address, backlog=_BACKLOG).start()
        self.port = self._runner.addresses[0][1]
        self._idle_watch = asyncio.create_task(self._close_idle(server))

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
        self._answers.close()

    async def _close_idle(self, server: web.Server) -> None:
        """Closes connections whose headers do not end: aiohttp waits for ever for those of the first request."""
        idle_since: dict[object, tuple[int, float]] = {}
        while True:
            await asyncio.sleep(self._idle_seconds / 4)
            now, seen = time.monotonic(), idle_since
            idle_since = {}
            for connection in server.connections:
                if connection._current_request is not None:
                    continue
                requests, since = seen.get(connection, (-1, now))
                if requests != connection._request_count:
                    requests, since = connection._request_count, now
                idle_since[connection] = requests, since
                if now - since >= self._idle_seconds:
                    refusals.note("REST", "SLOW_HEADERS", f"no complete request in {self._idle_seconds:g} s")
                    connection.force_close()

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
        request_id = request_ids.begin(request.headers.get(request_ids.HEADER))
        self._under_way += 1
        try:
            response = await self._answer(request, path)
        finally:
            self._under_way -= 1
        response.headers[request_ids.HEADER] = request_id
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
            return self._error(499, "the client is gone", close=True)  # nobody reads it
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
            return self._answers.status(route)
        if route.action == "metadata":
            return self._answers.metadata(route)
        start = time.monotonic()
        code = grpc.StatusCode.CANCELLED
        try:
            body = await read_body(
                request, timeout_seconds=self._timeout_seconds, in_thread=self._answers.in_thread
            )
            deadline = time.monotonic() + self._timeout_seconds
            answer = await self._answers.infer(route, body, deadline=deadline)
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
                self._metrics.observe(
                    route.spec.name, _METRIC_NAMES[route.action], "REST", code.name, seconds
                )
        return answer


def _http_logger() -> logging.Logger:
    """For aiohttp, which else writes a traceback whenever a client does not speak HTTP."""
    http_logger = logging.getLogger(f"{__name__}.http")
    http_logger.addFilter(_is_no_clients_mistake)
    return http_logger


def _is_no_clients_mistake(record: logging.LogRecord) -> bool:
    if not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)):
        return True
    refusals.note("REST", "MALFORMED_HTTP", type(record.exc_info[1]).__name__)
    return False


def _bounded_request(
    message: Any, payload: Any, protocol: Any, writer: Any, task: Any, *, loop: asyncio.AbstractEventLoop
) -> web.BaseRequest:
    limit = MAX_BODY_BYTES
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=limit)
