"""A REST server in this process, and one connection to it, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from tensorflow_serving.apis import model_pb2

from serving.model_server.api import Models
from serving.model_server.models.servable import Servable
from serving.model_server.rest.server import RestServer
from tests.serving.contract.rest_calls import Answer

PREDICT = "/v1/models/toy:predict"


class OneModel:
    """The least of a manager."""

    def __init__(self, servable: Servable) -> None:
        self.servable = servable

    @contextlib.contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        yield self.servable

    def statuses(self, spec: model_pb2.ModelSpec) -> Any:
        raise RuntimeError("unforeseen")

    def reload(self, config: Any) -> None:
        raise NotImplementedError


@contextlib.asynccontextmanager
async def listening(models: Models, **options: Any) -> AsyncIterator[RestServer]:
    """A server on a free port, with the options given."""
    server = RestServer(models, host="127.0.0.1", port=0, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(10)


class Connection:
    """One connection, kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, server: RestServer) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", server.port))

    async def send(self, method: str, path: str, body: Any = None, *, more: str = "") -> None:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(data)}\r\n{more}\r\n"
        await self.send_raw(head.encode() + data)

    async def send_raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self, *, has_body: bool = True) -> Answer:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await self._reader.readexactly(int(headers.get("Content-Length", 0)) if has_body else 0)
        return Answer(int(head[0].split(" ")[1]), headers, body)

    async def ask(self, method: str, path: str, body: Any = None, **more: str) -> Answer:
        await self.send(method, path, body, **more)
        return await self.receive(has_body=method != "HEAD")

    def end_sending(self) -> None:
        """Shuts the writing side, as `nc -N` does; the answer may still come."""
        self._writer.write_eof()

    async def is_closed(self) -> bool:
        return await self._reader.read() == b""

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[[Models], None]:
    """Runs a test in an event loop, with the fixture `toy_models`, for 100 seconds at most."""

    def run(toy_models: Models) -> None:
        asyncio.run(asyncio.wait_for(test(toy_models), 100))

    run.__name__ = test.__name__
    return run
