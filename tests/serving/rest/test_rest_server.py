"""The REST front around the models: time limits, clients that go, draining, pages, metrics."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from serving.model_server.api import Models
from serving.model_server.rest.server import RestServer
from tests.serving.contract.rest_calls import HI
from tests.serving.rest_connection import PREDICT, Connection, in_loop, listening


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
async def test_g13_r17_late_answers_are_504_and_late_starts_429(toy_models: Models) -> None:
    async with listening(toy_models) as unhurried:
        turns = int(4.0 / await seconds_of(100, unhurried) * 100)
    async with listening(toy_models, timeout_seconds=0.5) as server:
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
async def test_a_client_that_goes_takes_its_waiting_request_with_it(toy_models: Models) -> None:
    async with listening(toy_models) as server:
        turns = int(1.5 / await seconds_of(100, server) * 100)
        running, gone, last = [await Connection.open(server) for _ in range(3)]
        await running.send("POST", PREDICT, busy(turns))
        await asyncio.sleep(0.1)
        await gone.send("POST", PREDICT, busy(turns * 60))
        await asyncio.sleep(0.6)  # a client that ends its side at once may still read
        await gone.close()
        start = time.monotonic()
        assert (await last.ask("POST", PREDICT, HI)).status == 200
        assert time.monotonic() - start < 10
        assert (await running.receive()).status == 200
        await running.close()
        await last.close()


@in_loop
async def test_draining_ends_what_is_under_way_and_refuses_the_rest(toy_models: Models) -> None:
    pages = {"/livez": lambda: (200, "text/plain", b"ok\n")}
    async with listening(toy_models, pages=pages) as server:
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
async def test_pages_have_exact_paths_outside_v1(toy_models: Models) -> None:
    async def later() -> tuple[int, str, bytes]:
        return 503, "text/html; charset=utf-8", b"<p>"

    async with listening(
        toy_models, pages={"/": lambda: (200, "text/plain", b"root"), "/later": later}
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
async def test_r8_cors_headers_when_switched_on(toy_models: Models) -> None:
    async with listening(toy_models, cors=True) as server:
        connection = await Connection.open(server)
        for method, body in (("OPTIONS", None), ("POST", HI), ("POST", {})):
            headers = (await connection.ask(method, PREDICT, body)).headers
            assert headers["Access-Control-Allow-Origin"] == "*"
            assert headers["Access-Control-Allow-Methods"] == "POST, GET"
            assert headers["Access-Control-Allow-Headers"] == "Content-Type"
        await connection.close()


@in_loop
async def test_what_is_unforeseen_is_500_in_json(toy_models: Models) -> None:
    async with listening(toy_models) as server:
        connection = await Connection.open(server)
        answer = await connection.ask("GET", "/v1/models/toy")
        assert (answer.status, answer.json) == (500, {"error": "RuntimeError: unforeseen"})
        assert (await connection.ask("POST", PREDICT, HI)).status == 200
        await connection.close()


@in_loop
async def test_a_port_that_is_taken_is_told(toy_models: Models) -> None:
    async with listening(toy_models) as server:
        with pytest.raises(OSError, match=str(server.port)):
            await RestServer(toy_models, host="127.0.0.1", port=server.port).start()


@in_loop
async def test_inference_is_counted_by_model_and_code(toy_models: Models) -> None:
    class Metrics:
        seen: list[tuple[str, ...]] = []

        def observe(self, model_name: str, api: str, entrypoint: str, code_name: str, seconds: float) -> None:
            assert 0 <= seconds < 60
            self.seen.append((model_name, api, entrypoint, code_name))

    metrics = Metrics()
    async with listening(toy_models, metrics=metrics) as server:
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
