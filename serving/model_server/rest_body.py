"""Reading a request's body: bounded in size and in time, and unpacked where it is gzip."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from serving.model_server.errors import ServingError, invalid_argument

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
