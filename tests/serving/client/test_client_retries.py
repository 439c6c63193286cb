"""The client when a server is full, away or slow."""

from __future__ import annotations

import threading
import time

import grpc
import pytest

from serving.client import Client, ClientError, Retries
from serving.client.transport import RetryableError
from tests.serving.client.client_stubs import (
    ANSWER,
    GrpcStub,
    Stub,
    answer,
    grpc_running,
    hang_up,
    running,
    sleep,
)

QUICK = Retries(3, first_seconds=0.01)


def test_full_or_stopping_server_is_asked_again() -> None:
    behaviours = (answer(503, {"error": "stopping"}), answer(429, {"error": "full"}), answer(200, ANSWER))
    with running(Stub(*behaviours)) as stub, Client(stub.address, model="m", retries=QUICK) as client:
        assert client.classify("x")[0].probabilities == {"bad": 0.25, "good": 0.75}
    assert len(stub.seconds) == 3


def test_lost_connection_is_made_anew() -> None:
    with (
        running(Stub(hang_up, hang_up, answer(200, ANSWER))) as stub,
        Client(stub.address, model="m", retries=QUICK) as client,
    ):
        assert [p.label for p in client.classify("x")] == ["good"]


def test_kept_connection_that_the_server_has_closed_costs_no_try() -> None:
    with (
        running(Stub(hang_up, answer(200, ANSWER))) as stub,
        Client(stub.address, model="m", retries=Retries(0)) as client,
    ):
        assert client.columns == ["text"]  # over the connection that is lost in the next call
        assert [p.label for p in client.classify("x")] == ["good"]


def test_connection_is_kept_from_call_to_call() -> None:
    with running(Stub(*[answer(200, ANSWER)] * 8)) as stub, Client(stub.address, model="m") as client:
        for _ in range(8):
            client.classify("x")
    assert len(stub.connections) == 1


def test_threads_share_a_client_and_its_connections() -> None:
    labels: list[str] = []
    with (
        running(Stub(*[answer(200, ANSWER)] * 80)) as stub,
        Client(stub.address, model="m", batch_size=1, num_connections=3) as client,
    ):
        threads = [
            threading.Thread(target=lambda: labels.extend(p.label for p in client.classify(["x"] * 10)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert labels == ["good"] * 80
    # Three for the calls; and, before that, one for each thread that asked for the columns.
    assert len(stub.connections) <= 3 + 8


def test_nothing_more_is_asked_after_an_error_or_for_nobody() -> None:
    with (
        running(Stub(*[answer(200, ANSWER)] * 10)) as stub,
        Client(stub.address, model="m", batch_size=1, num_connections=1) as client,
    ):
        stream = client.stream(iter(["x"] * 10))
        assert next(stream).label == "good"
        stream.close()
    asked = len(stub.seconds)
    assert asked <= 3
    with (
        running(Stub(answer(400, {"error": "no"}), *[answer(200, ANSWER)] * 9)) as stub,
        Client(stub.address, model="m", batch_size=1, num_connections=1) as client,
        pytest.raises(ClientError, match="answered 400"),
    ):
        client.classify(["x"] * 10)
    assert len(stub.seconds) <= 3


@pytest.mark.parametrize("status", [400, 404, 500])
def test_error_of_the_request_is_final(status: int) -> None:
    with (
        running(Stub(answer(status, {"error": "no such thing"}))) as stub,
        Client(stub.address, model="m", retries=QUICK) as client,
        pytest.raises(ClientError, match=f'answered {status}: {{"error": "no such thing"}}'),
    ):
        client.classify("x")
    assert len(stub.seconds) == 1


def test_last_error_is_told_with_the_number_of_tries() -> None:
    with (
        running(Stub(*[answer(503, {"error": "stopping"})] * 4)) as stub,
        Client(stub.address, model="m", retries=QUICK) as client,
        pytest.raises(ClientError, match=r"answered 503: .*stopping.*\(tried 4 times\)"),
    ):
        client.classify("x")


def test_retry_after_is_honoured() -> None:
    behaviours = (answer(503, {"error": "later"}, Retry_After="0.3"), answer(200, ANSWER))
    with running(Stub(*behaviours)) as stub, Client(stub.address, model="m", retries=QUICK) as client:
        client.classify("x")
    assert stub.seconds[1] - stub.seconds[0] >= 0.3


def test_time_out_holds_for_all_tries_together() -> None:
    behaviours = [answer(503, {"error": "later"}, Retry_After="9")] * 4
    with (
        running(Stub(*behaviours)) as stub,
        Client(stub.address, model="m", timeout_seconds=0.5) as client,
        pytest.raises(ClientError, match=r"later.*\(tried once; no time for another in 0\.5 s\)"),
    ):
        client.classify("x")
    with (
        running(Stub(sleep)) as stub,
        Client(stub.address, model="m", timeout_seconds=0.3) as client,
        pytest.raises(ClientError, match="gave no answer in time"),
    ):
        client.classify("x")


def test_waits_grow_and_are_random() -> None:
    retries = Retries(first_seconds=1.0, longest_seconds=3.0)
    for number, most in enumerate((1.0, 2.0, 3.0, 3.0)):
        waits = [retries.wait_seconds(number, RetryableError("")) for _ in range(300)]
        assert 0.8 * most < max(waits) <= most
        assert min(waits) < 0.2 * most


def test_grpc_is_retried_alike_and_the_server_knows_the_deadline() -> None:
    stub = GrpcStub(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    with (
        grpc_running(stub) as address,
        Client(address, model="m", protocol="grpc", retries=QUICK, timeout_seconds=20) as client,
    ):
        assert client.classify("x")[0].version == 3
    assert len(stub.deadlines) == 3
    assert all(10 < seconds < 21 for seconds in stub.deadlines)  # the wire rounds up


def test_grpc_error_of_the_request_is_final() -> None:
    stub = GrpcStub(grpc.StatusCode.INVALID_ARGUMENT)
    with (
        grpc_running(stub) as address,
        Client(address, model="m", protocol="grpc", retries=QUICK) as client,
        pytest.raises(ClientError, match="answered INVALID_ARGUMENT: as told"),
    ):
        client.classify("x")
    assert len(stub.deadlines) == 1


def test_grpc_deadline_is_told_and_is_final() -> None:
    stub = GrpcStub()
    stub.seconds = 0.6
    with (
        grpc_running(stub) as address,
        Client(address, model="m", protocol="grpc", retries=QUICK, timeout_seconds=0.3) as client,
        pytest.raises(ClientError, match="gave no answer in time; give it longer"),
    ):
        client.classify("x")
    assert len(stub.deadlines) == 1


def test_grpc_server_that_comes_back_is_found_within_the_tries() -> None:
    with grpc_running(GrpcStub()) as address:
        pass
    port = int(address.rpartition(":")[2])
    back = threading.Event()
    stub = GrpcStub()

    def come_back() -> None:
        time.sleep(0.3)
        with grpc_running(stub, port=port):
            back.wait(20)

    thread = threading.Thread(target=come_back)
    thread.start()
    try:
        retries = Retries(30, first_seconds=0.05, longest_seconds=0.1)  # one and a half seconds of tries
        with Client(address, model="m", protocol="grpc", retries=retries) as client:
            assert client.classify("x")[0].label == "good"
    finally:
        back.set()
        thread.join()


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_nobody_there_is_told_with_what_to_do(protocol: str) -> None:
    with (
        Client(
            "127.0.0.1:1", model="toy", protocol=protocol, retries=Retries(2, first_seconds=0.01)
        ) as client,
        pytest.raises(
            ClientError,
            match=r"no server answers at 127\.0\.0\.1:1.*; start one \(make serve\), or .*\(tried 3 times\)",
        ),
    ):
        client.classify("hi")


@pytest.mark.parametrize(
    "body", ["It works!", [], {"metadata": 3}, {"outputs": 3}, {"predictions": []}], ids=str
)
def test_server_of_another_kind_is_told(body: object) -> None:
    with (
        running(Stub(answer(200, body))) as stub,
        Client(stub.address, model="m") as client,
        pytest.raises(ClientError, match="no answer of TensorFlow Serving's API|knows text classifiers only"),
    ):
        client.classify("x")


def test_outputs_that_do_not_fit_together_are_told() -> None:
    outputs = {"label": ["good"], "labels": [["bad", "good"]], "probabilities": [[1.0]]}
    with (
        running(Stub(answer(200, {"outputs": outputs}))) as stub,
        Client(stub.address, model="m") as client,
        pytest.raises(ClientError, match=r"do not fit together; .* label \[batch\]"),
    ):
        client.classify("x")
