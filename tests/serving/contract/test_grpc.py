"""The gRPC API: services, models, metadata, answers and messages; lines G1 to G4, G8, G11 and G13 of the contract."""

from __future__ import annotations

import struct
import time
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

from tests.serving.contract.calls import Code, Stub, predict_request, refusal, spec, values
from tests.serving.contract.conftest import Target


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


def test_j8_an_unknown_signature_is_a_failed_precondition(prediction_service: Stub) -> None:
    assert refusal(prediction_service.Predict, predict_request("nope", text=["hi"])) == (
        Code.FAILED_PRECONDITION,
        'Serving signature key "nope" not found.',
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


def test_the_target_is_reachable_by_its_address(target: Target) -> None:
    with grpc.insecure_channel(target.grpc_address) as channel:
        grpc.channel_ready_future(channel).result(60)
