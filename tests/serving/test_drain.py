"""How a server process stops: readiness first, then no new requests, and every request under way is answered."""

from __future__ import annotations

import signal
import threading
import time
import timeit
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.serving.calls import predict_request, prediction_stub, rest
from tests.serving.contract.toy import save_toy
from tests.serving.processes import RunningServer, wait_until

SLOW = {"signature_name": "busy", "inputs": 60}


# Long enough for what a test does before the ports close, on a machine with other work, too.
_DRAIN_DELAY_SECONDS = 2


@pytest.fixture
def server(
    request: pytest.FixtureRequest, tmp_path: Path, start_server: Callable[..., RunningServer]
) -> RunningServer:
    """Its parameter is --drain_delay_seconds: 0 unless a test needs the time."""
    (tmp_path / "toy").mkdir()
    save_toy(tmp_path / "toy" / "1", signatures=("serving_default", "busy"))
    return start_server(
        "--model_name=toy",
        f"--model_base_path={tmp_path / 'toy'}",
        "--enable_grpc_healthcheck_service",
        f"--drain_delay_seconds={getattr(request, 'param', 0)}",
    )


def turns_for(stub: prediction_service_pb2_grpc.PredictionServiceStub, *, seconds: float) -> int:
    """Turns of `busy` that take about so long, on this machine when nothing else runs: the fastest of three counts."""
    turns, taken = 50, 0.0
    while taken < 0.2:
        turns *= 2
        request = predict_request("busy", turns=turns)
        taken = min(timeit.repeat(lambda: stub.Predict(request, timeout=60), number=1, repeat=3))  # noqa: B023
    return round(turns * seconds / taken)


def health(channel: grpc.Channel) -> str:
    response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


def test_sigterm_with_32_requests_under_way_gives_32_answers_and_exit_status_0(server: RunningServer) -> None:
    """Half of them over REST, half over gRPC; two run and thirty wait in the queue."""
    request = predict_request("busy", turns=SLOW["inputs"])
    with grpc.insecure_channel(server.grpc_address) as channel, futures.ThreadPoolExecutor(16) as pool:
        stub = prediction_stub(channel)
        over_grpc = [stub.Predict.future(request, timeout=120) for _ in range(16)]
        over_rest = [pool.submit(rest, server, "/v1/models/toy:predict", SLOW) for _ in range(16)]
        wait_until(lambda: any(future.done() for future in over_rest))
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "readiness is off" in server.log.read_text())
        under_way = sum(not future.done() for future in (*over_grpc, *over_rest))
        assert [future.result().outputs["trace"].float_val[0] for future in over_grpc] == [400.0] * 16
        assert [future.result() for future in over_rest] == [(200, {"outputs": 400.0})] * 16
    assert under_way >= 16
    assert server.process.wait(60) == 0
    assert server.log.read_text().splitlines()[-1].endswith("stopped")


@pytest.mark.parametrize("server", [_DRAIN_DELAY_SECONDS], indirect=True)
def test_readiness_turns_off_first_and_new_calls_are_refused_last(server: RunningServer) -> None:
    """After SIGTERM it answers on for --drain_delay_seconds, for load balancers to notice; G12, too."""
    with grpc.insecure_channel(server.grpc_address) as channel, futures.ThreadPoolExecutor(1) as pool:
        stub = prediction_stub(channel)
        turns = turns_for(stub, seconds=4 * _DRAIN_DELAY_SECONDS)
        small, long = predict_request("serving_default", text=["hi"]), predict_request("busy", turns=turns)
        assert (rest(server, "/readyz"), health(channel)) == ((200, "ready\n"), "SERVING")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: rest(server, "/readyz")[0] == 503, 10)
        assert rest(server, "/readyz") == (503, "the server is stopping\n")
        assert rest(server, "/livez") == (200, "ok\n")
        assert health(channel) == "NOT_SERVING"
        assert rest(server, "/v1/models/toy:predict", {"instances": ["hi"]})[0] == 200
        assert stub.Predict(small, timeout=10).model_spec.version.value == 1
        over_grpc = stub.Predict.future(long, timeout=120)
        over_rest = pool.submit(rest, server, "/v1/models/toy:predict", {**SLOW, "inputs": turns})
        wait_until(lambda: "no new requests" in server.log.read_text(), 20)
        assert not over_grpc.done()
        assert not over_rest.done()
        time.sleep(0.1)
        status, answer = rest(server, "/v1/models/toy:predict", {"instances": ["hi"]})
        assert (status, answer) == (503, {"error": "the server is stopping; ask another one"})
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(small, timeout=10)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert rest(server, "/readyz")[0] == 503
        assert over_grpc.result().outputs["trace"].float_val[0] == 400.0
        assert over_rest.result() == (200, {"outputs": 400.0})
    assert server.process.wait(60) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_the_process_at_once(
    server: RunningServer, number: signal.Signals, status: int
) -> None:
    def ask() -> None:
        with pytest.raises(OSError):
            rest(server, "/v1/models/toy:predict", {**SLOW, "inputs": 10_000})

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "readiness is off" in server.log.read_text())
    server.process.send_signal(number)
    assert server.process.wait(10) == status
    asking.join()


def test_it_stops_when_its_standard_input_ends(server: RunningServer) -> None:
    """That is what the kernel does to it when the process dies that started it."""
    assert server.process.stdin is not None
    server.process.stdin.close()
    assert server.process.wait(30) == 0
    assert "those under way are finished" in server.log.read_text()
