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
    if encoding not in (*_GZIP, "identity", ""):
        raise invalid_argument(f"Content-Encoding {encoding} is not supported; send gzip, or none")
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
    """Unpacks gzip, of one member or several.

    Raises:
        ServingError: INVALID_ARGUMENT; it is corrupt, ends too early, or unpacks to more than MAX_BODY_BYTES.
    """
    parts: list[bytes] = []
    size = 0
    while packed:
        member = zlib.decompressobj(_WITH_GZIP_HEADER)
        try:
            part = member.decompress(packed, MAX_BODY_BYTES - size + 1)
        except zlib.error as error:
            raise invalid_argument(f"the gzip body is corrupt: {error}") from error
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise _too_large(" when unpacked")
        if not member.eof:
            raise invalid_argument("the gzip body ends too early")
        parts.append(part)
        packed = member.unused_data
    return b"".join(parts)


def _too_large(when: str) -> ServingError:
    return invalid_argument(f"the body is larger than {MAX_BODY_BYTES} bytes{when}, which is the limit")
