"""HTTP/1.1 with keep-alive in as few steps as it takes: the client shares the processors with the server."""

from __future__ import annotations

import asyncio
import re

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._reply: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._reply and not self._reply.done():
            self._reply.set_exception(error or ConnectionResetError("closed before the answer was whole"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0 or self._reply is None or self._reply.done():
            return
        head, body = self._buffer[: head_end + 2], self._buffer[head_end + 4 :]
        length = _LENGTH.search(head)
        in_chunks = not length and _CHUNKED.search(head)
        if (length and len(body) >= int(length[1])) or (in_chunks and body.endswith(b"0\r\n\r\n")):
            self._buffer = b""
            if _CLOSE.search(head):
                self.close()
            self._reply.set_result((int(head[9:12]), body))

    def send(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Writes a request; gives status and body (chunks, where it comes in chunks, undivided)."""
        assert self._transport
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._reply

    def close(self) -> None:
        self.is_open = False
        if self._transport:
            self._transport.close()


class HttpClient:
    """POSTs ready-made bodies to one path over at most `connections` connections."""

    def __init__(self, address: str, path: str, *, connections: int, timeout_seconds: float) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._head = f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
        self._timeout = timeout_seconds
        self._idle: list[_Connection] = []
        self._free = asyncio.Semaphore(connections)

    async def send(self, body: bytes) -> str:
        """Returns OK, the status where it is not 200, TIMEOUT or CONNECTION."""
        async with self._free:
            try:
                connection = await self._connect()
            except OSError:
                return "CONNECTION"
            reply = connection.send(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            # A timer costs less than asyncio.wait_for, which makes a task or a waiter of its own.
            timer = asyncio.get_running_loop().call_later(self._timeout, reply.cancel)
            try:
                status, _ = await reply
            except asyncio.CancelledError:
                connection.close()
                return "TIMEOUT"
            except OSError:
                return "CONNECTION"
            finally:
                timer.cancel()
            if connection.is_open:
                self._idle.append(connection)
            return "OK" if status == 200 else str(status)

    async def _connect(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection

    async def close(self) -> None:
        """Closes what is idle."""
        for connection in self._idle:
            connection.close()
