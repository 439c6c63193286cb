"""The proxy of serving/tf_serving, as it is shipped, in front of the embedded server."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.serving.calls import predict_request, prediction_stub
from tests.serving.contract.models import ModelsOnDisk
from tests.serving.contract.toy import save_toy
from tests.serving.processes import RunningServer, serving, wait_until
from tests.serving.tf_serving.proxies import PREDICT, Proxy, proxying, texts

CAP = 2**20
TOO_DEEP = "JSON Parse error: lists and objects are nested more than 100 deep, which is the limit"


@pytest.fixture(scope="module")
def toy(
    request: pytest.FixtureRequest, models_on_disk: ModelsOnDisk, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """The embedded server over the fixture models."""
    if request.config.getoption("--serving-address"):
        pytest.skip("starts a server of its own")
    work_dir = tmp_path_factory.mktemp("toy")
    with serving(
        work_dir, "--model_name=toy", f"--model_base_path={models_on_disk.folder / 'toy'}"
    ) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(toy: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxying(toy, tmp_path_factory.mktemp("proxy")) as running:
        yield running


def test_rest_passes(proxy: Proxy) -> None:
    status, text = proxy.call(texts("a long text"))
    assert (status, json.loads(text)["predictions"][0]["label"]) == (200, "long")
    assert proxy.call(iter([b'{"instances": ', b'["chunked"]}']))[0] == 200
    assert proxy.call(path="/v1/models/toy")[0] == 200
    assert proxy.error("") == (400, "JSON Parse error: The document is empty")


@pytest.mark.parametrize(
    "body",
    [
        "[" * 10_000,
        '{"a": ' * 10_000,
        '{"instances": ' + "[{}, " * 101,
        '{"instances": [' + '"\\"[\\\\", ' * 50 + "[" * 101,
        '{"instances": ["\\\\", ' + "[" * 10_000,
        texts("long " * 100_000)[:-2] + ", " + "[" * 101,
    ],
    ids=["lists", "objects", "both", "behind strings with escapes", "behind a backslash", "far behind"],
)
def test_deep_json_is_refused(proxy: Proxy, body: str) -> None:
    assert proxy.error(body) == (400, TOO_DEEP)
    assert proxy.error(iter([body.encode()])) == (400, TOO_DEEP)


def test_the_100th_level_passes_and_the_101st_does_not(proxy: Proxy) -> None:
    assert proxy.error("[" * 100 + "]" * 100)[1] != TOO_DEEP
    assert proxy.error("[" * 101 + "]" * 101)[1] == TOO_DEEP


@pytest.mark.parametrize(
    "text",
    ["[" * 10_000, '"' + "[{" * 5_000, "\\" + '"' + "[" * 200, "\\" * 999 + "{" * 200, "]" * 50 + "é[" * 150],
)
def test_brackets_within_strings_do_not_count(proxy: Proxy, text: str) -> None:
    status, answer = proxy.call(texts(text, "short"))
    assert (status, len(json.loads(answer)["predictions"])) == (200, 2)


def test_many_flat_lists_pass(proxy: Proxy) -> None:
    body = json.dumps({"signature_name": "any_shape", "inputs": [[[0.5]] * 4] * 20_000})
    assert proxy.call(body)[0] == 200


def test_a_body_up_to_the_cap_passes_and_a_larger_one_does_not(proxy: Proxy) -> None:
    padding = CAP - len(texts(""))
    assert proxy.call(texts("a" * padding))[0] == 200
    assert proxy.call(iter([texts("a" * padding).encode()]))[0] == 200
    refused = (413, "The body is larger than 1048576 bytes")
    assert proxy.error(iter([texts("a" * (padding + 1)).encode()])) == refused


def test_a_declared_size_is_refused_before_the_body_is_sent(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.rest_port), timeout=30) as connection:
        connection.sendall(
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {CAP + 1}\r\n\r\n".encode()
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_packed_body_is_refused(proxy: Proxy) -> None:
    """TensorFlow Serving would unpack it, unseen."""
    packed = gzip.compress(texts("[" * 10).encode())
    refused = (415, "Send the body as it is: Content-Encoding is not accepted here")
    assert proxy.error(packed, headers={"Content-Encoding": "gzip"}) == refused


def test_metrics_are_not_for_clients(proxy: Proxy) -> None:
    assert proxy.call(path="/monitoring/prometheus/metrics") == (404, '{"error": "Not found"}')
    assert proxy.call(path="/Monitoring/x") == (404, '{"error": "Not found"}')


def test_a_slow_sender_is_let_go(toy: RunningServer, tmp_path: Path) -> None:
    changes = {
        "timeout http-request 10s": "timeout http-request 1s",
        "wait-for-body time 10s": "wait-for-body time 1s",
    }
    with (
        proxying(toy, tmp_path, changes=changes) as proxy,
        socket.create_connection(("127.0.0.1", proxy.rest_port), timeout=30) as connection,
    ):
        connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_scan_that_fails_lets_nothing_pass(toy: RunningServer, tmp_path: Path) -> None:
    with proxying(toy, tmp_path, changes={"lua.json_depth 100": "lua.json_depth no_number"}) as proxy:
        assert proxy.error(texts("a"))[0] in {400, 500}


def test_grpc_passes(proxy: Proxy) -> None:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{proxy.grpc_port}", options=options) as channel:
        stub = prediction_stub(channel)
        response = stub.Predict(predict_request("serving_default", text=["short", "longer text"]), timeout=30)
        assert list(response.outputs["label"].string_val) == [b"short", b"long"]
        large = predict_request("serving_default", text=["[" * 4 * CAP])
        assert list(stub.Predict(large, timeout=60).outputs["label"].string_val) == [b"long"]
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(predict_request("unknown", text=["a"]), timeout=30)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == 'Serving signature key "unknown" not found.'


def test_readiness_follows_the_model(tmp_path: Path) -> None:
    base_path = tmp_path / "toy"
    base_path.mkdir()
    save_toy(base_path / "1")
    flags = ("--model_name=toy", f"--model_base_path={base_path}", "--file_system_poll_wait_seconds=0.1")
    with (
        serving(tmp_path / "server", *flags) as server,
        proxying(server, tmp_path, changes={"check inter 2s": "check inter 100ms"}) as proxy,
    ):
        assert proxy.call(path="/livez") == (200, "ok")
        assert proxy.call(path="/readyz") == (200, "ready")
        (base_path / "1").rename(base_path / "gone")
        wait_until(lambda: proxy.call(path="/readyz") == (503, "the model is not available"), 30)
        assert proxy.error(texts("a")) == (503, "The model server is not available, or is full")
        with (
            grpc.insecure_channel(f"127.0.0.1:{proxy.grpc_port}") as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            prediction_stub(channel).Predict(predict_request("serving_default", text=["a"]), timeout=30)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert proxy.call(path="/livez") == (200, "ok")
        (base_path / "gone").rename(base_path / "1")
        wait_until(lambda: proxy.call(path="/readyz") == (200, "ready"), 30)
