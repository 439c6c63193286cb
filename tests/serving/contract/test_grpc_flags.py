"""What flags switch on for gRPC: health and batching; lines G12, G13 and B1 of the contract."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.serving.contract.calls import Code, Stub, predict_request, refusal
from tests.serving.processes import RunningServer

Start = Callable[..., RunningServer]


def stub_of(server: RunningServer) -> tuple[grpc.Channel, Stub]:
    channel = grpc.insecure_channel(server.grpc_address)
    return channel, prediction_service_pb2_grpc.PredictionServiceStub(channel)


def test_g12_health_can_be_switched_on(start_server: Start, toy_path: Path) -> None:
    flags = ("--model_name=toy", f"--model_base_path={toy_path.parent}")
    services = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
    server = start_server(*flags, "--enable_grpc_healthcheck_service=true")
    with grpc.insecure_channel(server.grpc_address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        for service in services:
            request = health_pb2.HealthCheckRequest(service=service)
            assert check(request, timeout=60).status == health_pb2.HealthCheckResponse.SERVING
        request = health_pb2.HealthCheckRequest(service="nobody")
        assert refusal(check, request)[0] is Code.NOT_FOUND


def test_g12_health_is_off_unless_asked_for(channel: grpc.Channel) -> None:
    check = health_pb2_grpc.HealthStub(channel).Check
    assert refusal(check, health_pb2.HealthCheckRequest())[0] is Code.UNIMPLEMENTED


@pytest.fixture
def narrow(start_server: Start, toy_path: Path, tmp_path: Path) -> RunningServer:
    """A server that runs one row at a time and lets two wait."""
    file = tmp_path / "batching.txt"
    file.write_text(
        "max_batch_size { value: 1 } num_batch_threads { value: 1 } max_enqueued_batches { value: 2 }"
    )
    flags = ("--model_name=toy", f"--model_base_path={toy_path.parent}", "--enable_batching=true")
    return start_server(*flags, f"--batching_parameters_file={file}")


def occupy(stub: Stub, *, count: int) -> list[Any]:
    """Requests that take some seconds each, one after the other."""
    futures = []
    for _ in range(count):
        futures.append(stub.Predict.future(predict_request("busy_rows", turns=[6000]), timeout=120))
        time.sleep(0.2)
    return futures


def test_b1_a_full_queue_is_unavailable(narrow: RunningServer) -> None:
    channel, stub = stub_of(narrow)
    with channel:
        slow = occupy(stub, count=3)
        code, message = refusal(stub.Predict, predict_request(text=["hi"]))
        assert code is Code.UNAVAILABLE
        assert message.startswith("The batch scheduling queue to which this task was submitted is full; ")
        assert [future.result().outputs["turns"].int_val[:] for future in slow] == [[6000]] * 3
        assert stub.Predict(predict_request(text=["hi"]), timeout=60).outputs["label"].string_val[:] == [
            b"short"
        ]


def test_g13_expired_while_waiting_is_resource_exhausted_and_while_running_deadline_exceeded(
    narrow: RunningServer,
) -> None:
    """The server answers 20 ms early, or the client would give up first and see its own DEADLINE_EXCEEDED.

    On a busy machine it still may; hence five attempts.
    """
    channel, stub = stub_of(narrow)
    with channel:
        (slow,) = occupy(stub, count=1)
        start = time.monotonic()
        attempts = [refusal(stub.Predict, predict_request(text=["hi"]), timeout=0.3) for _ in range(5)]
        assert not slow.done()
        assert time.monotonic() - start < 5 * 0.4
        told = "Run() timeout exceeded while waiting in batching queue"
        assert (Code.RESOURCE_EXHAUSTED, told) in attempts
        assert {code for code, _ in attempts} <= {Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED}
        slow.result()
        start = time.monotonic()
        running = refusal(stub.Predict, predict_request("busy_rows", turns=[6000]), timeout=0.3)
        assert time.monotonic() - start < 0.4
        assert running[0] is Code.DEADLINE_EXCEEDED
