"""The server as its clients see it: a real process, asked over REST, gRPC and with our client.

The tests run in order on one server: the last ones change its versions and stop it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import client

ROOT = Path(__file__).resolve().parents[2]


def rest(server: Any, path: str, body: Any = None, *, method: str | None = None) -> tuple[int, Any]:
    """Status and body; the body as JSON where it is JSON."""
    data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
    url = f"http://127.0.0.1:{server.rest_port}{path}"
    request = urllib.request.Request(url, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return error.code, json.loads(text) if text.startswith("{") else text


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (
            {"instances": ["hi"]},
            {"predictions": [{"label": "short", "labels": ["short", "long"], "probabilities": [0.8, 0.2]}]},
        ),
        (
            {"inputs": {"text": ["hi", {"b64": "aGVsbG8gd29ybGQ="}]}},
            {
                "outputs": {
                    "label": ["short", "long"],
                    "labels": [["short", "long"], ["short", "long"]],
                    "probabilities": [[0.8, 0.2], [0.2, 0.8]],
                }
            },
        ),
        (
            {"signature_name": "arithmetic", "instances": [{"x": [0.2], "n": 1}, {"x": [3], "n": 2}]},
            {
                "predictions": [
                    {"n": 2, "raw_bytes": {"b64": "MQ=="}, "y": [1.1]},
                    {"n": 3, "raw_bytes": {"b64": "Mg=="}, "y": [2.5]},
                ]
            },
        ),
        ({"signature_name": "busy", "inputs": 0}, {"outputs": 400.0}),
    ],
)
def test_rest_answers_rows_and_columns(server: Any, body: Any, answer: Any) -> None:
    assert rest(server, "/v1/models/toy:predict", body) == (200, answer)
    assert rest(server, "/V1/MODELS/toy/VERSIONS/1:predict", body) == (200, answer)


def test_rest_float_text_is_the_shortest(server: Any) -> None:
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/toy:predict"
    body = {"instances": ["hi"]}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode())) as response:
        assert response.headers["Content-Type"].startswith("application/json")
        assert '"probabilities": [0.8, 0.2]' in response.read().decode()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "/v1/models/toy:predict", "", 400, "JSON Parse error: The document is empty"),
        ("POST", "/v1/models/toy:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        (
            "POST",
            "/v1/models/toy:predict",
            {"signature_name": "nope", "instances": [1]},
            400,
            'Serving signature name: "nope" not found in signature def',
        ),
        (
            "POST",
            "/v1/models/toy/versions/7:predict",
            {},
            404,
            "Servable not found for request: Specific(toy, 7)",
        ),
        ("POST", "/v1/models/other:predict", {}, 404, "Servable not found for request: Latest(other)"),
        (
            "POST",
            "/v1/models/toy/labels/stable:predict",
            {},
            400,
            "Unrecognized servable version label: stable",
        ),
        ("POST", "/v1/models/toy:PREDICT", {}, 400, "Malformed request: POST /v1/models/toy:PREDICT"),
        ("PUT", "/v1/models/toy", {}, 400, "Malformed request: PUT /v1/models/toy"),
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", "/v1/models/other", None, 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/toy/versions/7", None, 404, "Could not find version 7 of model toy"),
        ("GET", "/v1/models/other/metadata", None, 404, "Servable not found for request: Latest(other)"),
    ],
)
def test_rest_errors_are_tf_servings(
    server: Any, method: str, path: str, body: Any, status: int, error: str
) -> None:
    assert rest(server, path, body, method=method) == (status, {"error": error})


def test_rest_outside_the_api_and_beyond_int64(server: Any) -> None:
    assert rest(server, "/other") == (404, "Not Found")
    assert rest(server, "/v1/models/toy/versions/9223372036854775808") == (400, "")


def test_deeply_nested_json_is_refused_and_the_server_lives(server: Any) -> None:
    status, answer = rest(server, "/v1/models/toy:predict", '{"instances": ' + "[" * 100_000)
    assert status == 400
    assert answer["error"].startswith("JSON Parse error: ")
    deep = '{"inputs": ' + "[" * 900 + "]" * 900 + "}"
    assert rest(server, "/v1/models/toy:predict", deep) == (
        400,
        {"error": "Lists are nested 900 deep; at most 32 dimensions are read"},
    )
    assert rest(server, "/v1/models/toy:predict", {"instances": ["hi"]})[0] == 200


def test_rest_status_and_metadata(server: Any) -> None:
    available = {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert rest(server, "/v1/models/toy") == (200, {"model_version_status": [available]})
    status, metadata = rest(server, "/v1/models/toy/metadata")
    assert status == 200
    assert metadata["model_spec"] == {"name": "toy", "signature_name": "", "version": "1"}
    inputs = metadata["metadata"]["signature_def"]["signature_def"]["arithmetic"]["inputs"]
    assert inputs["x"]["dtype"] == "DT_FLOAT"
    assert inputs["x"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
        "unknown_rank": False,
    }


def predict_request(signature: str, **inputs: Any) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def stub(server: Any) -> prediction_service_pb2_grpc.PredictionServiceStub:
    return prediction_service_pb2_grpc.PredictionServiceStub(
        grpc.insecure_channel(f"127.0.0.1:{server.port}")
    )


def test_grpc_predict_names_what_answered_and_uses_typed_fields(server: Any) -> None:
    request = predict_request("arithmetic", x=[[1.0], [2.0]], n=[1, 2])
    request.output_filter.append("y")
    response = stub(server).Predict(request, timeout=60)
    assert list(response.outputs) == ["y"]
    assert list(response.outputs["y"].float_val) == [1.5, 2.0]
    assert [dim.size for dim in response.outputs["y"].tensor_shape.dim] == [2, 1]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("toy", 1, "arithmetic")
    assert (
        stub(server).Predict(predict_request("", text=["hi"])).model_spec.signature_name == "serving_default"
    )


def _drop_spec(request: predict_pb2.PredictRequest) -> None:
    request.ClearField("model_spec")


def _too_few_bytes(request: predict_pb2.PredictRequest) -> None:
    request.inputs["x"].tensor_content = b"abc"


def _no_values(request: predict_pb2.PredictRequest) -> None:
    request.inputs["x"].ClearField("float_val")
    request.inputs["x"].ClearField("tensor_content")


def _huge(request: predict_pb2.PredictRequest) -> None:
    request.inputs["x"].tensor_shape.dim[0].size = 2**40


def _filter_twice(request: predict_pb2.PredictRequest) -> None:
    request.output_filter.extend(["y", "y"])


def _rename(request: predict_pb2.PredictRequest) -> None:
    request.inputs["z"].CopyFrom(request.inputs["x"])
    del request.inputs["x"]


INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (_drop_spec, INVALID, "Missing ModelSpec"),
        (lambda r: r.model_spec.ClearField("name"), INVALID, "ModelSpec has no name specified."),
        (
            lambda r: setattr(r.model_spec, "signature_name", "nope"),
            grpc.StatusCode.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
        (
            lambda r: r.inputs["w"].CopyFrom(r.inputs["x"]),
            INVALID,
            "input size does not match signature: 3!=2 len({n,w,x}) != len({n,x}). Sent extra: {w}. "
            "Missing but required: {}.",
        ),
        (
            _rename,
            INVALID,
            "Signature input alias: x(feed name: arithmetic_x:0) not found in request and no ",
        ),
        (_too_few_bytes, INVALID, "tensor parsing error: x"),
        (_no_values, INVALID, "tensor parsing error: x"),
        (_huge, INVALID, "tensor parsing error: x"),
        (
            lambda r: r.inputs["x"].CopyFrom(tf.make_tensor_proto(["1"])),
            INVALID,
            "Expects arg[1] to be float but string is provided",
        ),
        (_filter_twice, INVALID, "duplicate output tensor alias: y"),
        (
            lambda r: r.output_filter.append("q"),
            INVALID,
            "output tensor alias not found in signature: q Outputs expected to be in the set {n,raw_bytes,y}.",
        ),
        (
            lambda r: setattr(r.model_spec.version, "value", 9),
            grpc.StatusCode.NOT_FOUND,
            "Servable not found for request: Specific(toy, 9)",
        ),
        (
            lambda r: setattr(r.model_spec, "name", "n" * 2000),
            grpc.StatusCode.NOT_FOUND,
            "Servable not found",
        ),
    ],
)
def test_grpc_errors_are_tf_servings(
    server: Any, change: Callable[[Any], None], code: grpc.StatusCode, message: str
) -> None:
    request = predict_request("arithmetic", x=[[1.0], [2.0]], n=[1, 2])
    change(request)
    with pytest.raises(grpc.RpcError) as error:
        stub(server).Predict(request, timeout=60)
    assert error.value.code() == code
    assert error.value.details().startswith(message)
    assert len(error.value.details()) <= 1024 + len("...TRUNCATED")


def test_grpc_status_and_metadata(server: Any) -> None:
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "toy"
    service = model_service_pb2_grpc.ModelServiceStub(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
    (version,) = service.GetModelStatus(status).model_version_status
    assert (version.version, version.state, version.status.error_code) == (1, 30, 0)
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "toy"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    stub(server).GetModelMetadata(request).metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "arithmetic", "busy"} <= set(signatures.signature_def)
    request.metadata_field.append("other")
    with pytest.raises(grpc.RpcError) as error:
        stub(server).GetModelMetadata(request)
    assert (error.value.code(), error.value.details()) == (INVALID, "Metadata field other is not supported")


def test_client_answers_alike_over_both_protocols(server: Any) -> None:
    expected = [
        client.Prediction("short", {"short": 0.8, "long": 0.2}),
        client.Prediction("long", {"short": 0.2, "long": 0.8}),
    ]
    for transport in (
        client.RestTransport(f"127.0.0.1:{server.rest_port}", model="toy"),
        client.GrpcTransport(f"127.0.0.1:{server.port}", model="toy"),
    ):
        predictions = client.classify(["hi", "hello world"], transport=transport)
        assert [p.label for p in predictions] == [p.label for p in expected]
        for prediction, wanted in zip(predictions, expected, strict=True):
            assert prediction.probabilities == pytest.approx(wanted.probabilities)
        with pytest.raises(client.ClientError, match='give each text as {"text": "..."}'):
            client.classify([{"title": "hi"}], transport=transport)


def test_client_on_the_command_line(server: Any) -> None:
    command = [sys.executable, "-m", "serving.client", "--text", "hi", "--text", '{"text": "hello, world"}']
    command += ["--model=toy", f"--address=127.0.0.1:{server.rest_port}"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [json.loads(line) for line in output.splitlines()] == [
        {"label": "short", "probabilities": {"short": 0.8, "long": 0.2}},
        {"label": "long", "probabilities": {"short": 0.2, "long": 0.8}},
    ]
    command[-2] = "--model=other"
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "Servable not found for request: Latest(other)" in failed.stderr


def test_new_version_takes_over_without_a_failed_request(
    server: Any, save_toy: Callable[..., Path], wait_until: Callable[..., None]
) -> None:
    body = {"signature_name": "arithmetic", "inputs": {"x": [[0.0]], "n": [0]}}
    stop, seen = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            status, answer = rest(server, "/v1/models/toy:predict", body)
            seen.append((status, answer.get("outputs", {}).get("y")))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    save_toy(server.base_path / "3", offset=3.0)
    (server.base_path / "2").mkdir()  # older than what is served: never loaded
    wait_until(lambda: bool(seen) and seen[-1][1] == [[3.0]])
    stop.set()
    for thread in threads:
        thread.join()
    assert {status for status, _ in seen} == {200}
    assert {y[0][0] for _, y in seen} == {1.0, 3.0}
    wait_until(lambda: rest(server, "/v1/models/toy")[1]["model_version_status"][1]["state"] == "END")
    states = rest(server, "/v1/models/toy")[1]["model_version_status"]
    assert [(s["version"], s["state"]) for s in states] == [("3", "AVAILABLE"), ("1", "END")]


def test_broken_version_leaves_the_old_one_in_service(server: Any, wait_until: Callable[..., None]) -> None:
    (server.base_path / "4").mkdir()
    (server.base_path / "4" / "saved_model.pb").write_bytes(b"broken")

    def newest() -> Any:
        return rest(server, "/v1/models/toy")[1]["model_version_status"][0]

    wait_until(lambda: newest()["version"] == "4" and newest()["state"] == "END")
    assert newest()["status"]["error_code"] == "UNKNOWN"
    assert "saved_model.pb" in newest()["status"]["error_message"]
    assert rest(server, "/v1/models/toy:predict", {"instances": ["hi"]})[0] == 200


def test_server_drains_when_its_parent_goes(server: Any) -> None:
    answers: list[Any] = []
    request = predict_request("busy", turns=1000)
    future = stub(server).Predict.future(request, timeout=120)
    slow = threading.Thread(
        target=lambda: answers.append(
            rest(server, "/v1/models/toy:predict", {"signature_name": "busy", "inputs": 1000})
        )
    )
    slow.start()
    threading.Event().wait(0.5)
    assert not future.done()
    server.process.stdin.close()  # as the kernel does when the parent is killed; it becomes a SIGTERM
    assert future.result().outputs["trace"].float_val[0] == 400.0
    slow.join()
    assert answers == [(200, {"outputs": 400.0})]
    assert server.process.wait(60) == 0
    assert "those under way are finished" in server.log.read_text()
