"""What is refused leaves a line; who may reload; what a client that never ends its headers gets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from serving.model_server.api import Models
from serving.model_server.config.settings import check_log_prefixes, read_settings
from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.grpc_service import Health
from serving.model_server.observe.metrics import Refusals
from serving.model_server.server import _on_loop_error
from tests.serving.managers import configure
from tests.serving.processes import RunningServer
from tests.serving.rest_connection import Connection, in_loop, listening

FULL = ServingError(grpc.StatusCode.UNAVAILABLE, "the queue is full")
LOGGED = 'name: "a" logging_config {{ log_collector_config {{ type: "tfrecord" filename_prefix: "{}" }} }}'


def test_the_first_refusal_has_a_line_and_the_next_ones_share_one(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    refusals = Refusals(clock=lambda: now[0])
    for _ in range(45):
        refusals.note_error("REST", FULL)
    refusals.note_error("GRPC", invalid_argument("a text of a client", reason="its shape"))
    now[0] = 10.0
    refusals.note_error("REST", FULL)
    assert [record.getMessage() for record in caplog.records] == [
        "refused 1 over REST (1 so far): UNAVAILABLE: the queue is full",
        "refused 1 over GRPC (1 so far): INVALID_ARGUMENT: its shape",
        "refused 45 over REST (46 so far): UNAVAILABLE: the queue is full",
    ]
    assert refusals.counts() == {("REST", "UNAVAILABLE"): 46.0, ("GRPC", "INVALID_ARGUMENT"): 1.0}


def test_running_out_of_file_descriptors_is_one_line_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.new_event_loop()
    for _ in range(5):
        _on_loop_error(loop, {"message": "socket.accept()", "exception": OSError(errno.EMFILE, "")})
    loop.close()
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "NO_FILE_DESCRIPTOR: Too many open files: new connections wait; raise the limit (ulimit -n)"
    )
    assert record.exc_info is None


@in_loop
async def test_headers_that_do_not_end_are_not_waited_for(toy_models: Models) -> None:
    async with listening(toy_models, idle_seconds=0.4) as server:
        slow, silent = await Connection.open(server), await Connection.open(server)
        await slow.send_raw(b"POST /v1/models/toy:predict HTTP/1.1\r\nX-A: ")
        for connection in (slow, silent):
            assert await asyncio.wait_for(connection.is_closed(), 10)
            await connection.close()


def test_readiness_is_off_without_a_model() -> None:
    health = Health(lambda: True, has_models=lambda: False)
    assert health.ready() == (503, "text/plain; charset=utf-8", b"no model is configured\n")
    assert Health(lambda: True).ready()[0] == 200


@pytest.mark.parametrize(
    ("prefix", "folder", "allowed"),
    [
        ("{tmp}/logs/a", "{tmp}/logs", True),
        ("{tmp}/logs/deep/a", "{tmp}/logs/", True),
        ("{tmp}/logs-of-others/a", "{tmp}/logs", False),
        ("{tmp}/logs/../a", "{tmp}/logs", False),
        ("{tmp}/logs/link/a", "{tmp}/logs", False),
        ("logs/a", "{tmp}/logs", False),
        ("{tmp}/a", "", False),
        ("{tmp}/now/a", "", True),
    ],
)
def test_a_reload_logs_only_where_the_operator_said(
    tmp_path: Path, prefix: str, folder: str, allowed: bool
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "link").symlink_to(tmp_path)
    in_force = read_settings(configure(tmp_path, LOGGED.format(tmp_path / "now" / "a")))
    config = configure(tmp_path, LOGGED.format(prefix.format(tmp=tmp_path)))
    expected: Any = (
        contextlib.nullcontext() if allowed else pytest.raises(ServingError, match="a reload may log")
    )
    with expected:
        check_log_prefixes(config, folder=folder.format(tmp=tmp_path), in_force=in_force)


def test_a_server_that_takes_no_reload_and_outlives_sighup_and_does_not_wait_for_watches(
    start_server: Callable[..., RunningServer], models_on_disk: Any
) -> None:
    server = start_server(
        f"--model_config_file={models_on_disk.config}",
        "--reload_from=nowhere",
        "--enable_grpc_healthcheck_service",
    )
    with grpc.insecure_channel(server.grpc_address) as channel:
        request = text_format.Parse(
            "config { model_config_list {} }", model_management_pb2.ReloadConfigRequest()
        )
        with pytest.raises(grpc.RpcError) as error:
            model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=20)
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        os.kill(server.process.pid, signal.SIGHUP)
        told: list[int] = []
        reader = threading.Thread(target=lambda: _read_all(watch, told))
        reader.start()
        os.kill(server.process.pid, signal.SIGTERM)
        assert server.process.wait(12) == 0  # the drain takes up to 25 s
        reader.join(10)
    assert told == [health_pb2.HealthCheckResponse.NOT_SERVING]
    assert "SIGHUP: looking at models.config" in server.log.read_text()


def _read_all(watch: Any, told: list[int]) -> None:
    with contextlib.suppress(grpc.RpcError):
        told.extend(answer.status for answer in watch)
