"""HTTP as the REST front reads it: headers, bodies in pieces or not at all, paths of any bytes."""

from __future__ import annotations

import asyncio
import json

from serving.model_server.api import Models
from tests.serving.contract.rest_calls import HI
from tests.serving.rest_connection import PREDICT, Connection, in_loop, listening


@in_loop
async def test_a_body_that_does_not_come_is_408(toy_models: Models) -> None:
    async with listening(toy_models, timeout_seconds=0.3) as server:
        connection = await Connection.open(server)
        await connection.send_raw(
            f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{{".encode()
        )
        answer = await connection.receive()
        assert (answer.status, answer.headers["Connection"]) == (408, "close")
        assert answer.error == "the body did not arrive within 0.3 s"
        await connection.close()


@in_loop
async def test_what_the_headers_may_not_say(toy_models: Models) -> None:
    async with listening(toy_models) as server:
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
async def test_a_chunked_body_and_many_requests_on_one_connection(toy_models: Models) -> None:
    async with listening(toy_models) as server:
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
    toy_models: Models,
) -> None:
    async with listening(toy_models) as server:
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
async def test_a_client_that_ends_its_side_with_the_request_gets_the_answer(toy_models: Models) -> None:
    async with listening(toy_models) as server:
        for more in ("", "Connection: close\r\n"):
            connection = await Connection.open(server)
            await connection.send("POST", PREDICT, HI, more=more)
            connection.end_sending()
            assert (await connection.receive()).status == 200
            assert await connection.is_closed()
            await connection.close()
        connection = await Connection.open(server)
        for _ in range(3):
            await connection.send("POST", PREDICT, HI)
        connection.end_sending()
        assert [(await connection.receive()).status for _ in range(3)] == [200] * 3
        assert await connection.is_closed()
        await connection.close()


@in_loop
async def test_a_large_answer_reaches_a_client_that_has_ended_its_side(toy_models: Models) -> None:
    async with listening(toy_models) as server:
        connection = await Connection.open(server)
        document = {"signature_name": "any_shape", "inputs": [0.123456] * 500_000}
        await connection.send("POST", PREDICT, document)
        connection.end_sending()
        answer = await connection.receive()
        assert (answer.status, len(answer.json["outputs"])) == (200, 500_000)
        await connection.close()


@in_loop
async def test_what_ends_before_its_request_does_is_closed_at_once(toy_models: Models) -> None:
    async with listening(toy_models) as server:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\n"
        for sent in (
            "",
            head,
            f"{head}Content-Length: 9\r\n\r\n{{",
            f"{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{",
        ):
            connection = await Connection.open(server)
            await connection.send_raw(sent.encode())
            connection.end_sending()
            assert await asyncio.wait_for(connection.is_closed(), 5)
            await connection.close()
        kept = await Connection.open(server)
        assert (await kept.ask("POST", PREDICT, HI)).status == 200
        kept.end_sending()
        assert await asyncio.wait_for(kept.is_closed(), 5)
        await kept.close()


@in_loop
async def test_paths_of_any_bytes_are_answered(toy_models: Models) -> None:
    async with listening(toy_models) as server:
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
