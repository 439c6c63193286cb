"""The client against real servers: alike over REST and gRPC."""

from __future__ import annotations

import subprocess
import sys

import pytest

from serving.client import Client, ClientError, Retries
from tests.serving.processes import ROOT, RunningServer

PROTOCOLS = ("rest", "grpc")
# By the toy model: longer than five bytes or not.
SHORT = {"short": 0.8, "long": 0.2}
LONG = {"short": 0.2, "long": 0.8}


def connect(server: RunningServer, protocol: str, *, model: str = "toy", **options: object) -> Client:
    address = server.grpc_address if protocol == "grpc" else server.rest_address
    return Client(address, model=model, protocol=protocol, **options)  # type: ignore[arg-type]  # any option


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_labels_and_probabilities_come_from_the_model(server: RunningServer, protocol: str) -> None:
    with connect(server, protocol) as client:
        short, long = client.classify(["hi", {"text": "hello, world"}])
        assert (short.label, long.label) == ("short", "long")
        assert short.probabilities == pytest.approx(SHORT)
        assert long.probabilities == pytest.approx(LONG)
        assert client.classify("hi") == [short]
        assert client.classify([]) == []


def test_version_that_answered_is_told(server: RunningServer) -> None:
    with connect(server, "grpc") as client:
        assert client.classify("hi")[0].version == 1
    with connect(server, "rest", version=1) as client:
        assert client.classify("hi")[0].version == 1
    with connect(server, "rest") as client:
        assert client.classify("hi")[0].version is None  # REST does not tell


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_many_texts_go_in_batches_and_come_back_in_order(server: RunningServer, protocol: str) -> None:
    texts = ["x" * (1 + number % 10) for number in range(100)]
    with connect(server, protocol, batch_size=7, num_connections=3) as client:
        labels = [prediction.label for prediction in client.stream(iter(texts))]
    assert labels == ["long" if len(text) > 5 else "short" for text in texts]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "other"}, r"Servable not found for request: Latest\(other\)"),
        ({"version": 7}, r"Servable not found for request: Specific\(toy, 7\)"),
        ({"version_label": "canary"}, "Unrecognized servable version label: canary"),
        ({"signature_name": "nope"}, "the model toy has no signature nope; it has: "),
        ({"signature_name": "arithmetic"}, "give each text as"),
    ],
)
def test_errors_name_what_is_wrong(
    server: RunningServer, protocol: str, options: dict[str, object], message: str
) -> None:
    with connect(server, protocol, **options) as client, pytest.raises(ClientError, match=message):
        client.classify("hi")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_wrong_columns_show_the_right_ones(server: RunningServer, protocol: str) -> None:
    with (
        connect(server, protocol) as client,
        pytest.raises(ClientError, match=r'takes the columns text; give each text as \{"text": "\.\.\."\}'),
    ):
        client.classify([{"title": "hi"}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 1, "version_label": "stable"}, "give one of them"),
        ({"protocol": "http"}, "protocol is 'http'; give one of rest, grpc"),
        ({"address": "http://localhost:8501"}, "address is 'http://localhost:8501'; give host:port"),
        ({"address": "localhost"}, "address is 'localhost'; give host:port"),
        ({"address": "localhost:abc"}, "address is 'localhost:abc'; give host:port"),
        ({"batch_size": 0}, "batch_size is 0; give more than 0"),
        ({"num_connections": -1}, "num_connections is -1; give more than 0"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds is nan; give more than 0"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        Client(model="toy", **options)  # type: ignore[arg-type]  # any option
    with pytest.raises(ClientError, match="retries: most is -1; give 0 or more"):
        Retries(-1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_client_needs_no_tensorflow(server: RunningServer, protocol: str) -> None:
    """Neither does REST need grpcio and protobuf."""
    address = server.grpc_address if protocol == "grpc" else server.rest_address
    needless = ["tensorflow", "tensorflow_serving", "numpy"]
    needless += ["grpc", "google.protobuf"] if protocol == "rest" else []
    code = f"""if True:
        import sys
        from serving.client import Client
        with Client("{address}", model="toy", protocol="{protocol}") as client:
            assert client.classify("hi")[0].label == "short"
        print(sorted(sys.modules.keys() & set({needless})))"""
    command = [sys.executable, "-W", "error", "-c", code]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert output == "[]\n"
