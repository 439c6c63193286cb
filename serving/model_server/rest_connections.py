"""Connections whose client has shut its writing side: it still waits for the answer, or it has gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web, web_protocol

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
