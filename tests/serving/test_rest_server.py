"""The REST front around the models: time limits, clients that go, draining, pages, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorflow_serving.apis import model_pb2

from serving.model_server.batching import BatchingParameters
from serving.model_server.predictions import Models
from serving.model_server.rest import RestServer
from serving.model_server.servable import Servable
from tests.serving.contract.rest_calls import Answer

PREDICT = "/v1/models/toy:predict"
HI = {"instances": ["hi"]}


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


@pytest.fixture(scope="module")
def models(toy_path: Path) -> Iterator[Models]:
    """One version, which runs one request at a time."""
    batching = BatchingParameters(max_batch_size=1, num_batch_threads=1)
    servable = Servable(str(toy_path), name="toy", version=1, batching=batching)
    yield Models(OneModel(servable))
    servable.close()


@contextlib.asynccontextmanager
async def listening(models: Models, **options: Any) -> AsyncIterator[RestServer]:
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

    async def is_closed(self) -> bool:
        return await self._reader.read() == b""

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[[Models], None]:
    def run(models: Models) -> None:
        asyncio.run(asyncio.wait_for(test(models), 100))

    run.__name__ = test.__name__
    return run


def busy(turns: int) -> dict[str, Any]:
    return {"signature_name": "busy", "inputs": turns}


async def seconds_of(turns: int, server: RestServer) -> float:
    """How long `busy` takes on this machine, when nothing else runs and it has run before."""
    connection = await Connection.open(server)
    assert (await connection.ask("POST", PREDICT, busy(1))).status == 200
    start = time.monotonic()
    assert (await connection.ask("POST", PREDICT, busy(turns))).status == 200
    await connection.close()
    return time.monotonic() - start


@in_loop
async def test_g13_r17_late_answers_are_504_and_late_starts_429(models: Models) -> None:
    async with listening(models) as unhurried:
        turns = int(4.0 / await seconds_of(100, unhurried) * 100)
    async with listening(models, timeout_seconds=0.5) as server:
        first, second = await Connection.open(server), await Connection.open(server)
        start = time.monotonic()
        await first.send("POST", PREDICT, busy(turns))
        await asyncio.sleep(0.1)
        late_start = await second.ask("POST", PREDICT, HI)
        late_answer = await first.receive()
        assert 0.4 < time.monotonic() - start < 3
        assert (late_answer.status, late_start.status) == (504, 429)
        assert (list(late_answer.json), list(late_start.json)) == (["error"], ["error"])
        await first.close()
        await second.close()


@in_loop
async def test_a_client_that_goes_takes_its_waiting_request_with_it(models: Models) -> None:
    async with listening(models) as server:
        turns = int(1.0 / await seconds_of(100, server) * 100)
        running, gone, last = [await Connection.open(server) for _ in range(3)]
        await running.send("POST", PREDICT, busy(turns))
        await asyncio.sleep(0.1)
        await gone.send("POST", PREDICT, busy(turns * 60))
        await asyncio.sleep(0.1)
        await gone.close()
        start = time.monotonic()
        assert (await last.ask("POST", PREDICT, HI)).status == 200
        assert time.monotonic() - start < 10
        assert (await running.receive()).status == 200
        await running.close()
        await last.close()


@in_loop
async def test_draining_ends_what_is_under_way_and_refuses_the_rest(models: Models) -> None:
    pages = {"/livez": lambda: (200, "text/plain", b"ok\n")}
    async with listening(models, pages=pages) as server:
        turns = int(1.5 / await seconds_of(100, server) * 100)
        running, kept, page = [await Connection.open(server) for _ in range(3)]
        assert (await kept.ask("POST", PREDICT, HI)).status == 200
        await running.send("POST", PREDICT, busy(turns))
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(server.stop(30))
        await asyncio.sleep(0.1)
        refused = await kept.ask("POST", PREDICT, HI)
        assert (refused.status, refused.headers["Connection"]) == (503, "close")
        assert refused.error == "the server is stopping; ask another one"
        assert await kept.is_closed()
        newcomer = await Connection.open(server)
        assert (await newcomer.ask("GET", "/v1/models/toy")).status == 503
        assert (await page.ask("GET", "/livez")).body == b"ok\n"
        assert not stopping.done()
        answer = await running.receive()
        assert (answer.status, answer.json) == (200, {"outputs": 400.0})
        await stopping
        with pytest.raises(ConnectionError):
            await Connection.open(server)
        for connection in (running, kept, page, newcomer):
            await connection.close()


@in_loop
async def test_pages_have_exact_paths_outside_v1(models: Models) -> None:
    async def later() -> tuple[int, str, bytes]:
        return 503, "text/html; charset=utf-8", b"<p>"

    async with listening(
        models, pages={"/": lambda: (200, "text/plain", b"root"), "/later": later}
    ) as server:
        connection = await Connection.open(server)
        answer = await connection.ask("GET", "/?query")
        assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/plain", b"root")
        answer = await connection.ask("HEAD", "/")
        assert (answer.status, answer.headers["Content-Length"]) == (200, "4")
        answer = await connection.ask("GET", "/later")
        assert (answer.status, answer.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert (await connection.ask("GET", "/LATER")).status == 404
        assert (await connection.ask("POST", "/")).status == 405
        await connection.close()


@in_loop
async def test_r8_cors_headers_when_switched_on(models: Models) -> None:
    async with listening(models, cors=True) as server:
        connection = await Connection.open(server)
        for method, body in (("OPTIONS", None), ("POST", HI), ("POST", {})):
            headers = (await connection.ask(method, PREDICT, body)).headers
            assert headers["Access-Control-Allow-Origin"] == "*"
            assert headers["Access-Control-Allow-Methods"] == "POST, GET"
            assert headers["Access-Control-Allow-Headers"] == "Content-Type"
        await connection.close()


@in_loop
async def test_a_body_that_does_not_come_is_408(models: Models) -> None:
    async with listening(models, timeout_seconds=0.3) as server:
        connection = await Connection.open(server)
        await connection.send_raw(
            f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{{".encode()
        )
        answer = await connection.receive()
        assert (answer.status, answer.headers["Connection"]) == (408, "close")
        assert answer.error == "the body did not arrive within 0.3 s"
        await connection.close()


@in_loop
async def test_what_the_headers_may_not_say(models: Models) -> None:
    async with listening(models) as server:
        for head, status in (
            ("X: " + "x" * 20_000, 400),
            ("\r\n".join(f"X{n}: x" for n in range(1000)), 400),
            ("Content-Length: 1000000000", 400),
            ("Content-Length: -1", 400),
            ("Content-Length: 1\r\nContent-Length: 2", 400),
            ("Content-Encoding: br\r\nContent-Length: 0", 400),
            ("Transfer-Encoding: chunked\r\n\r\nzz", 400),
        ):
            connection = await Connection.open(server)
            await connection.send_raw(f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n".encode())
            assert (await connection.receive()).status == status, head
            await connection.close()


@in_loop
async def test_a_chunked_body_and_many_requests_on_one_connection(models: Models) -> None:
    async with listening(models) as server:
        connection = await Connection.open(server)
        body = json.dumps(HI)
        chunks = "".join(f"{1:x}\r\n{character}\r\n" for character in body) + "0\r\n\r\n"
        for _ in range(3):
            await connection.send_raw(
                f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}".encode()
            )
            assert (await connection.receive()).status == 200
            assert (await connection.ask("POST", PREDICT, HI)).status == 200
        await connection.close()


@in_loop
async def test_a_client_that_waits_for_100_continue_gets_it_unless_its_body_is_refused(
    models: Models,
) -> None:
    async with listening(models) as server:
        connection = await Connection.open(server)
        body = json.dumps(HI).encode()
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
        await connection.send_raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert (await connection.receive()).status == 100
        await connection.send_raw(body)
        assert (await connection.receive()).status == 200
        await connection.send_raw(f"{head}Content-Length: {10**9}\r\n\r\n".encode())
        assert (await connection.receive()).status == 400
        await connection.close()


@in_loop
async def test_paths_of_any_bytes_are_answered(models: Models) -> None:
    async with listening(models) as server:
        for line in (
            b"PUT /v1/\xff",
            b"GET /v1/models/\xff/metadata",
            b"GET /v1/models/%ff/labels/\xed\xa0\x80/metadata",
            b"POST /v1/models/%ff%00:predict",
            b"POST /v1/models/a%0Ab/labels/\xff:predict",
            b"OPTIONS *",
            b"GET //",
        ):
            connection = await Connection.open(server)
            await connection.send_raw(line + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            assert (await connection.receive()).status in (200, 400, 404), line
            await connection.close()


@in_loop
async def test_what_is_unforeseen_is_500_in_json(models: Models) -> None:
    async with listening(models) as server:
        connection = await Connection.open(server)
        answer = await connection.ask("GET", "/v1/models/toy")
        assert (answer.status, answer.json) == (500, {"error": "RuntimeError: unforeseen"})
        assert (await connection.ask("POST", PREDICT, HI)).status == 200
        await connection.close()


@in_loop
async def test_a_port_that_is_taken_is_told(models: Models) -> None:
    async with listening(models) as server:
        with pytest.raises(OSError, match=str(server.port)):
            await RestServer(models, host="127.0.0.1", port=server.port).start()


@in_loop
async def test_inference_is_counted_by_model_and_code(models: Models) -> None:
    class Metrics:
        seen: list[tuple[str, ...]] = []

        def observe(self, model_name: str, api: str, entrypoint: str, code_name: str, seconds: float) -> None:
            assert 0 <= seconds < 60
            self.seen.append((model_name, api, entrypoint, code_name))

    metrics = Metrics()
    async with listening(models, metrics=metrics) as server:
        connection = await Connection.open(server)
        await connection.ask("POST", PREDICT, HI)
        await connection.ask("POST", PREDICT, {})
        await connection.ask("POST", "/v1/models/toy:classify", {"examples": [{}]})
        await connection.ask("GET", "/v1/models/toy/metadata")
        await connection.close()
    assert metrics.seen == [
        ("toy", "Predict", "REST", "OK"),
        ("toy", "Predict", "REST", "INVALID_ARGUMENT"),
        ("toy", "Classify", "REST", "INVALID_ARGUMENT"),
    ]
