"""HTTP below the REST API, on aiohttp: connections and bodies within limits of time and size.

aiohttp brings its own HTTP server, and TFX's stack installs it anyway. Its `web.Application` is not used: each path has
an answer of TF Serving's own, so that its router would hold one catch-all route, and `Connection` needs a `web.Server`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web, web_protocol
from aiohttp.http_exceptions import HttpProcessingError

from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.observe.metrics import refusals

MAX_BODY_BYTES = 100 * 2**20

_GZIP = ("gzip", "x-gzip")
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS

RunInThread = Callable[[Callable[[bytes], bytes], bytes], Awaitable[bytes]]


class SlowBodyError(Exception):
    """A body that did not come in time."""


async def read_body(request: web.BaseRequest, *, timeout_seconds: float, in_thread: RunInThread) -> bytes:
    """The body of a request, unpacked.

    Args:
        request: its body is not read yet.
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


class HttpServer(web.Server):
    """As aiohttp's, which closes a connection whose client has shut its writing side, whatever it waits for."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        """Answers with `handler`; lives in the running event loop."""
        self._options: dict[str, Any] = {
            "auto_decompress": False,  # aiohttp takes a gzip body that ends too early for a whole one
            "access_log": None,
            "logger": _http_logger(),
        }
        super().__init__(
            handler,
            request_factory=functools.partial(_bounded_request, loop=asyncio.get_running_loop()),
            handler_cancellation=True,  # a client that goes takes its queued work with it
            **self._options,
        )

    def __call__(self) -> web_protocol.RequestHandler:
        """A connection."""
        return Connection(self, loop=self._loop, **self._options)


class Connection(web_protocol.RequestHandler):
    """Stays open for the answer where the client has shut its side together with its request."""

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


async def close_idle(server: web.Server, *, idle_seconds: float) -> None:
    """Closes connections whose headers do not end; aiohttp waits for ever for those of the first request."""
    idle_since: dict[object, tuple[int, float]] = {}
    while True:
        await asyncio.sleep(idle_seconds / 4)
        now, seen = time.monotonic(), idle_since
        idle_since = {}
        for connection in server.connections:
            if connection._current_request is not None:
                continue
            requests, since = seen.get(connection, (-1, now))
            if requests != connection._request_count:
                requests, since = connection._request_count, now
            idle_since[connection] = requests, since
            if now - since >= idle_seconds:
                refusals.note("REST", "SLOW_HEADERS", f"no complete request in {idle_seconds:g} s")
                connection.force_close()


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
