"""gRPC, line by line of the contract: PredictionService.Predict, metadata, ModelService, limits."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.contract.calls import predict_request, refusal, spec
from tests.serving.contract.conftest import Target
from tests.serving.processes import RunningServer

Code = grpc.StatusCode
Stub = Any


def values(response: predict_pb2.PredictResponse) -> dict[str, Any]:
    return {alias: tf.make_ndarray(proto).tolist() for alias, proto in response.outputs.items()}


def test_g1_predict_and_both_services_are_there(prediction_service: Stub, model_service: Stub) -> None:
    """Classify, Regress and MultiInference: test_inference.py."""
    answer = prediction_service.Predict(predict_request(text=["hi", "hello world"]), timeout=60)
    assert values(answer)["label"] == [b"short", b"long"]
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=spec(), metadata_field=["signature_def"]
    )
    assert prediction_service.GetModelMetadata(metadata, timeout=60).model_spec.version.value == 2
    status = get_model_status_pb2.GetModelStatusRequest(model_spec=spec("other"))
    (version,) = model_service.GetModelStatus(status, timeout=60).model_version_status
    assert (version.version, version.state, version.status.error_code) == (7, 30, 0)
    reload = model_management_pb2.ReloadConfigRequest()
    assert refusal(model_service.HandleReloadConfigRequest, reload) == (
        Code.INVALID_ARGUMENT,
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    )


def test_g1_status_lists_the_versions_asked_for(model_service: Stub) -> None:
    request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec())
    versions = model_service.GetModelStatus(request, timeout=60).model_version_status
    assert sorted(entry.version for entry in versions) == [1, 2]
    request.model_spec.version.value = 1
    assert [e.version for e in model_service.GetModelStatus(request, timeout=60).model_version_status] == [1]
    request.model_spec.version.value = 9
    assert refusal(model_service.GetModelStatus, request) == (
        Code.NOT_FOUND,
        "Could not find version 9 of model toy",
    )


def test_g2_a_request_must_name_its_model(prediction_service: Stub, model_service: Stub) -> None:
    missing = (Code.INVALID_ARGUMENT, "Missing ModelSpec")
    assert refusal(prediction_service.Predict, predict_pb2.PredictRequest()) == missing
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    assert refusal(prediction_service.GetModelMetadata, metadata) == missing
    assert refusal(model_service.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()) == missing
    nameless = (Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
    assert refusal(prediction_service.Predict, predict_request(name="", text=["hi"])) == nameless
    metadata.model_spec.signature_name = "serving_default"
    assert refusal(prediction_service.GetModelMetadata, metadata) == nameless


@pytest.mark.parametrize(
    ("model_spec", "message"),
    [
        (spec("nobody"), "Servable not found for request: Latest(nobody)"),
        (spec(version=9), "Servable not found for request: Specific(toy, 9)"),
    ],
)
def test_g2_a_model_that_is_not_loaded_is_not_found(
    prediction_service: Stub, model_spec: Any, message: str
) -> None:
    request = predict_request(text=["hi"])
    request.model_spec.CopyFrom(model_spec)
    assert refusal(prediction_service.Predict, request) == (Code.NOT_FOUND, message)


def test_g3_long_messages_are_cut(prediction_service: Stub) -> None:
    request = predict_request("to_number", text=["x" * 5000])
    code, message = refusal(prediction_service.Predict, request)
    assert code is Code.INVALID_ARGUMENT
    assert message.startswith("StringToNumberOp could not correctly convert string: xxx")
    assert message.endswith("x...TRUNCATED")
    assert len(message) == 1024 + len("...TRUNCATED")


@pytest.mark.ours
def test_g3_a_message_that_quotes_bytes_that_are_not_utf8_is_told_all_the_same(
    prediction_service: Stub,
) -> None:
    code, message = refusal(prediction_service.Predict, predict_request("to_number", text=[b"\xff\xfe"]))
    assert code is Code.INVALID_ARGUMENT
    assert message.startswith("StringToNumberOp could not correctly convert string: \ufffd\ufffd")


@pytest.mark.parametrize(
    ("version", "label", "resolved", "y"), [(None, "", 2, 2.5), (1, "", 1, 1.5), (None, "stable", 1, 1.5)]
)
def test_g4_the_answer_names_model_version_and_signature(
    prediction_service: Stub, version: int | None, label: str, resolved: int, y: float
) -> None:
    request = predict_request("arithmetic", x=[[1.0]], n=[1])
    if version is not None:
        request.model_spec.version.value = version
    elif label:
        request.model_spec.version_label = label
    response = prediction_service.Predict(request, timeout=60)
    assert values(response) == {"y": [[y]], "n": [2], "raw_bytes": [b"1"]}
    answered = response.model_spec
    assert (answered.name, answered.version.value, answered.signature_name) == ("toy", resolved, "arithmetic")
    assert answered.WhichOneof("version_choice") == "version"


def test_g4_the_default_signature_is_named_too(prediction_service: Stub) -> None:
    response = prediction_service.Predict(predict_request(text=["hi"]), timeout=60)
    assert response.model_spec.signature_name == "serving_default"


def test_g4_outputs_use_typed_fields(prediction_service: Stub) -> None:
    outputs = prediction_service.Predict(
        predict_request("arithmetic", x=[[1.0], [2.0]], n=[1, 2]), timeout=60
    ).outputs
    assert list(outputs["y"].float_val) == [2.5, 3.0]
    assert [dim.size for dim in outputs["y"].tensor_shape.dim] == [2, 1]
    assert list(outputs["n"].int_val) == [2, 3]
    assert list(outputs["raw_bytes"].string_val) == [b"1", b"2"]
    assert {proto.tensor_content for proto in outputs.values()} == {b""}


def test_g4_inputs_may_use_typed_fields_or_tensor_content(prediction_service: Stub) -> None:
    typed = predict_pb2.PredictRequest(model_spec=spec(signature="any_shape"))
    typed.inputs["x"].dtype = 1
    typed.inputs["x"].float_val.extend([1.0, 2.0])
    typed.inputs["x"].tensor_shape.dim.add(size=2)
    assert values(prediction_service.Predict(typed, timeout=60)) == {"x": [1.0, 2.0]}
    content = predict_pb2.PredictRequest(model_spec=spec(signature="any_shape"))
    content.inputs["x"].CopyFrom(typed.inputs["x"])
    content.inputs["x"].ClearField("float_val")
    content.inputs["x"].tensor_content = struct.pack("<2f", 3.0, 4.0)
    assert values(prediction_service.Predict(content, timeout=60)) == {"x": [3.0, 4.0]}


def test_g4_one_value_may_stand_for_all(prediction_service: Stub) -> None:
    """As tensor.proto says of a typed field that holds fewer values than the shape."""
    request = predict_request("any_shape", x=[[5.0, 5.0, 5.0]])
    del request.inputs["x"].float_val[1:]
    request.inputs["x"].ClearField("tensor_content")
    request.inputs["x"].float_val[:] = [5.0]
    assert values(prediction_service.Predict(request, timeout=60)) == {"x": [[5.0, 5.0, 5.0]]}


def test_j8_an_unknown_signature_is_a_failed_precondition(prediction_service: Stub) -> None:
    assert refusal(prediction_service.Predict, predict_request("nope", text=["hi"])) == (
        Code.FAILED_PRECONDITION,
        'Serving signature key "nope" not found.',
    )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"n": [1], "w": [1], "x": [[1.0]]},
            "input size does not match signature: 3!=2 len({n,w,x}) != len({n,x}). Sent extra: {w}. "
            "Missing but required: {}.",
        ),
        (
            {"n": [1]},
            "input size does not match signature: 1!=2 len({n}) != len({n,x}). Sent extra: {}. "
            "Missing but required: {x}.",
        ),
        (
            {"n": [1], "z": [[1.0]]},
            "Signature input alias: x(feed name: arithmetic_x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {n,z}, or default input alias set: ",
        ),
    ],
)
def test_g5_missing_and_unexpected_inputs_are_named(
    prediction_service: Stub, inputs: dict[str, Any], message: str
) -> None:
    request = predict_request("arithmetic", **inputs)
    assert refusal(prediction_service.Predict, request) == (Code.INVALID_ARGUMENT, message)


def test_g5_another_dtype_is_refused_by_position(prediction_service: Stub) -> None:
    code, message = refusal(prediction_service.Predict, predict_request("arithmetic", x=["1"], n=[1]))
    assert code is Code.INVALID_ARGUMENT
    assert "to be float but string is provided" in message


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["y", "y"], "duplicate output tensor alias: y"),
        (
            ["q"],
            "output tensor alias not found in signature: q Outputs expected to be in the set {n,raw_bytes,y}.",
        ),
    ],
)
def test_g6_unknown_and_duplicate_outputs_are_refused(
    prediction_service: Stub, wanted: list[str], message: str
) -> None:
    request = predict_request("arithmetic", x=[[1.0]], n=[1])
    request.output_filter.extend(wanted)
    assert refusal(prediction_service.Predict, request) == (Code.INVALID_ARGUMENT, message)


def test_g6_only_filtered_outputs_come_and_are_computed(prediction_service: Stub) -> None:
    request = predict_request("arithmetic", x=[[1.0]], n=[1])
    request.output_filter.extend(["y", "n"])
    assert values(prediction_service.Predict(request, timeout=60)) == {"y": [[2.5]], "n": [2]}
    request = predict_request(name="plain", text=["no number"])
    assert refusal(prediction_service.Predict, request)[0] is Code.INVALID_ARGUMENT
    request.output_filter.append("length")
    assert values(prediction_service.Predict(request, timeout=60)) == {"length": [9]}


def _too_few_bytes(proto: Any) -> None:
    proto.ClearField("float_val")
    proto.tensor_content = b"abc"


def _too_many_values(proto: Any) -> None:
    proto.ClearField("tensor_content")
    proto.float_val.extend([1.0, 2.0, 3.0])


def _unknown_dtype(proto: Any) -> None:
    proto.dtype = 0


def _negative_size(proto: Any) -> None:
    proto.tensor_shape.dim[0].size = -2


@pytest.mark.parametrize("spoil", [_too_few_bytes, _unknown_dtype, _negative_size])
def test_g7_a_malformed_tensor_is_refused_by_name(
    prediction_service: Stub, spoil: Callable[[Any], None]
) -> None:
    request = predict_request("arithmetic", x=[[1.0], [2.0]], n=[1, 2])
    spoil(request.inputs["x"])
    assert refusal(prediction_service.Predict, request) == (
        Code.INVALID_ARGUMENT,
        "tensor parsing error: x",
    )


def _no_values(proto: Any) -> None:
    proto.ClearField("float_val")
    proto.ClearField("tensor_content")


def _huge(proto: Any) -> None:
    proto.tensor_shape.dim[0].size = 2**40


def _overflowing(proto: Any) -> None:
    for _ in range(3):
        proto.tensor_shape.dim.add(size=2**40)


@pytest.mark.ours
@pytest.mark.parametrize("spoil", [_no_values, _too_many_values, _huge, _overflowing])
def test_g7_values_that_do_not_fill_the_shape_are_refused_too(
    prediction_service: Stub, spoil: Callable[[Any], None]
) -> None:
    request = predict_request("arithmetic", x=[[1.0], [2.0]], n=[1, 2])
    spoil(request.inputs["x"])
    assert refusal(prediction_service.Predict, request) == (
        Code.INVALID_ARGUMENT,
        "tensor parsing error: x",
    )


@pytest.mark.parametrize(
    ("fields", "code"),
    [([], Code.INVALID_ARGUMENT), (["other"], Code.INVALID_ARGUMENT), (["signature_def"], Code.OK)],
)
def test_g8_metadata_is_asked_for_by_signature_def_and_nothing_else(
    prediction_service: Stub, fields: list[str], code: grpc.StatusCode
) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec(), metadata_field=fields)
    if code is not Code.OK:
        assert refusal(prediction_service.GetModelMetadata, request)[0] is code
        return
    response = prediction_service.GetModelMetadata(request, timeout=60)
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 2)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    arithmetic = signatures.signature_def["arithmetic"]
    assert arithmetic.method_name == "tensorflow/serving/predict"
    assert {alias: info.dtype for alias, info in arithmetic.inputs.items()} == {"x": 1, "n": 3}
    assert [dim.size for dim in arithmetic.inputs["x"].tensor_shape.dim] == [-1, 1]


def test_g11_messages_far_beyond_grpcs_default_of_4_mb_go_in_and_out(prediction_service: Stub) -> None:
    """The bound is INT32_MAX; 48 MB here."""
    request = predict_pb2.PredictRequest(model_spec=spec(signature="any_shape"))
    size = 12 * 2**20
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=size)
    request.inputs["x"].tensor_content = struct.pack("<2f", 1.0, 2.0) * (size // 2)
    answer = prediction_service.Predict(request, timeout=120).outputs["x"]
    assert len(answer.float_val) == size
    assert list(answer.float_val[-2:]) == [1.0, 2.0]


def test_g13_a_caller_is_released_at_its_deadline(prediction_service: Stub) -> None:
    start = time.monotonic()
    code, _ = refusal(prediction_service.Predict, predict_request("busy", turns=1000), timeout=0.1)
    assert code is Code.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 0.6


def test_graphs_may_be_fed_what_their_declared_shapes_do_not_allow(prediction_service: Stub) -> None:
    """C++ sessions do not check: two columns to an input of [-1, 1]."""
    request = predict_request("arithmetic", x=[[1.0, 2.0]], n=[1])
    assert values(prediction_service.Predict(request, timeout=60))["y"] == [[2.5, 3.0]]


def test_inputs_of_rank_0_and_outputs_without_rows_are_answered(prediction_service: Stub) -> None:
    assert values(prediction_service.Predict(predict_request("busy", turns=0), timeout=60)) == {
        "trace": 400.0
    }
    request = predict_request("total", x=[1.0, 2.0])
    assert values(prediction_service.Predict(request, timeout=60)) == {"total": 3.0, "twice": [2.0, 4.0]}
    request = predict_request("fixed", x=[1.0, 2.0, 4.0])
    assert values(prediction_service.Predict(request, timeout=60)) == {
        "three": [1.0, 2.0, 3.0],
        "twice": [2.0, 4.0, 8.0],
    }


def test_the_target_is_reachable_by_its_address(target: Target) -> None:
    with grpc.insecure_channel(target.grpc_address) as channel:
        grpc.channel_ready_future(channel).result(60)


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
