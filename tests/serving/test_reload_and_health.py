"""Who may reload over gRPC, and what grpc.health.v1 says of a server that has been left without a model."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from serving.model_server.grpc_service import ModelService
from tests.serving.calls import rest
from tests.serving.contract.models import ModelsOnDisk
from tests.serving.processes import RunningServer, wait_until

STATE = health_pb2.HealthCheckResponse
EMPTY = "config { model_config_list {} }"


def reload(address: str, config: str) -> grpc.StatusCode:
    """How a reload ends."""
    request = text_format.Parse(config, model_management_pb2.ReloadConfigRequest())
    with grpc.insecure_channel(address) as channel:
        try:
            model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=60)
        except grpc.RpcError as error:
            return error.code()  # type: ignore[no-any-return, attr-defined]  # an error of a call is one
    return grpc.StatusCode.OK


def own_address() -> str:
    """Of this machine in a network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return ""


@pytest.fixture
def watch_of() -> Iterator[Callable[[RunningServer], Any]]:
    """Watches the health of servers; the watches end with the test."""
    with contextlib.ExitStack() as stack:

        def watch(server: RunningServer) -> Any:
            channel = stack.enter_context(grpc.insecure_channel(server.grpc_address))
            return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)

        yield watch


def check(server: RunningServer, service: str = "") -> int:
    with grpc.insecure_channel(server.grpc_address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status)


def test_after_an_empty_reload_no_health_check_says_serving_until_there_is_a_model_again(
    start_server: Callable[..., RunningServer], models_on_disk: ModelsOnDisk, watch_of: Any
) -> None:
    server = start_server(f"--model_config_file={models_on_disk.config}", "--enable_grpc_healthcheck_service")
    watch = watch_of(server)
    assert (next(watch).status, check(server), rest(server, "/readyz")[0]) == (
        STATE.SERVING,
        STATE.SERVING,
        200,
    )
    assert reload(server.grpc_address, EMPTY) is grpc.StatusCode.OK
    assert (check(server), rest(server, "/readyz")) == (STATE.NOT_SERVING, (503, "no model is configured\n"))
    assert check(server, "tensorflow.serving.PredictionService") == STATE.NOT_SERVING
    assert next(watch).status == STATE.NOT_SERVING
    again = f'config {{ name: "toy" base_path: "{models_on_disk.folder}/toy" model_platform: "tensorflow" }}'
    assert reload(server.grpc_address, f"config {{ model_config_list {{ {again} }} }}") is grpc.StatusCode.OK
    assert (check(server), rest(server, "/readyz")[0]) == (STATE.SERVING, 200)
    assert next(watch).status == STATE.SERVING


def test_health_follows_a_base_path_that_is_emptied(
    start_server: Callable[..., RunningServer], models_on_disk: ModelsOnDisk, base: Any, toy_copy: Any
) -> None:
    base.mkdir()
    toy_copy.rename(base / "1")
    server = start_server(
        "--model_name=toy", f"--model_base_path={base}", "--enable_grpc_healthcheck_service",
        "--file_system_poll_wait_seconds=0.1",
    )  # fmt: skip
    assert check(server) == STATE.SERVING
    (base / "1").rename(base.parent / "away")
    wait_until(lambda: check(server) == STATE.NOT_SERVING)
    assert rest(server, "/readyz")[0] == 503


def test_a_reload_from_loopback_is_taken_from_this_machine_only(
    start_server: Callable[..., RunningServer], models_on_disk: ModelsOnDisk
) -> None:
    server = start_server(
        f"--model_config_file={models_on_disk.config}", "--reload_from=loopback", "--host=0.0.0.0"
    )
    address = own_address()
    if address and not address.startswith("127."):
        assert reload(f"{address}:{server.port}", EMPTY) is grpc.StatusCode.PERMISSION_DENIED
        assert rest(server, "/v1/models/toy:predict", {"instances": ["hi"]})[0] == 200
        log = server.log.read_text()
        assert f"a reload from ipv4:{address}:" in log
    assert reload(server.grpc_address, EMPTY) is grpc.StatusCode.OK
    assert rest(server, "/v1/models/toy:predict", {"instances": ["hi"]})[0] == 404


@pytest.mark.parametrize(
    ("peer", "taken"),
    [
        ("ipv4:127.0.0.1:50000", True),
        ("ipv4:127.8.9.1:50000", True),
        ("ipv6:[::1]:50000", True),
        ("ipv6:%5B::1%5D:50000", True),
        ("unix:", True),
        ("unix:/run/server.sock", True),
        ("ipv4:10.0.0.127:50000", False),
        ("ipv4:12.7.0.1:127", False),
        ("ipv6:[::1234]:50000", False),
        ("ipv6:%5Bfe80::1%5D:50000", False),
        ("", False),
    ],
)
def test_what_counts_as_loopback(peer: str, taken: bool) -> None:
    class Context:
        """The least of gRPC's."""

        code: grpc.StatusCode | None = None

        def peer(self) -> str:
            return peer

        async def abort(self, code: grpc.StatusCode, message: str) -> None:
            self.code = code
            assert message == "--reload_from=loopback: this server takes no configuration from here"
            raise grpc.aio.AbortError

    class Models:
        """Takes every configuration."""

        async def reload(self, request: Any) -> str:
            return "taken"

    context = Context()
    call = ModelService(Models(), reload_from="loopback").HandleReloadConfigRequest("", context)  # type: ignore[arg-type]
    with contextlib.nullcontext() if taken else pytest.raises(grpc.aio.AbortError):
        assert asyncio.run(call) == "taken"
    assert context.code is (None if taken else grpc.StatusCode.PERMISSION_DENIED)
