"""Inputs and outputs over gRPC: lines G4 to G7 of the contract."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import predict_pb2

from tests.serving.contract.calls import Code, Stub, predict_request, refusal, spec, values


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


def spoilt(prediction_service: Stub, spoil: Callable[[Any], None]) -> tuple[grpc.StatusCode, str]:
    """The refusal of a request that was right until its tensor `x` was spoilt."""
    request = predict_request("arithmetic", x=[[1.0], [2.0]], n=[1, 2])
    spoil(request.inputs["x"])
    return refusal(prediction_service.Predict, request)


@pytest.mark.parametrize("spoil", [_too_few_bytes, _unknown_dtype, _negative_size])
def test_g7_a_malformed_tensor_is_refused_by_name(
    prediction_service: Stub, spoil: Callable[[Any], None]
) -> None:
    assert spoilt(prediction_service, spoil) == (Code.INVALID_ARGUMENT, "tensor parsing error: x")


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
    assert spoilt(prediction_service, spoil) == (Code.INVALID_ARGUMENT, "tensor parsing error: x")


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
