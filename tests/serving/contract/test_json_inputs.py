"""Rows and columns of a JSON request: lines J10 to J12 of the contract."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.serving.contract.rest_calls import Rest

BAD_ELEMENT = "Failed to process element: "


def test_j10_one_input_by_value_base64_or_name(rest: Rest) -> None:
    hi = {"b64": base64.b64encode(b"hi").decode()}
    for instances in (["hi", "hi"], [hi, "hi"], [hi, hi], [{"text": "hi"}, {"text": hi}]):
        answer = rest.predict("serving_default", instances=instances)
        assert [row["label"] for row in answer.json["predictions"]] == ["short", "short"]


def test_j10_several_inputs_by_name(rest: Rest) -> None:
    answer = rest.predict("arithmetic", instances=[{"x": [3], "n": 1}, {"n": 2, "x": [0.5]}])
    assert answer.json == {
        "predictions": [
            {"y": [3.5], "n": 2, "raw_bytes": {"b64": "MQ=="}},
            {"y": [2.25], "n": 3, "raw_bytes": {"b64": "Mg=="}},
        ]
    }


@pytest.mark.parametrize(
    ("signature", "instances", "message"),
    [
        (
            "serving_default",
            ["a", {"text": "b"}],
            "Expecting value/list but got object at item 1 of input list",
        ),
        ("serving_default", [{"text": "b"}, "a"], "Expecting object but got list at item 1 of input list"),
        (
            "arithmetic",
            [1.0, 2.0],
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        (
            "serving_default",
            ["a", 7],
            f"{BAD_ELEMENT}1 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 7 Type: Number is not of "
            "expected type: string",
        ),
        (
            "serving_default",
            [{"title": "a"}],
            f"{BAD_ELEMENT}0 key: title of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have "
            "named input: title",
        ),
        (
            "arithmetic",
            [{"x": [1.0], "n": 1}, {"x": [1.0], "n": "1"}],
            f"{BAD_ELEMENT}1 key: n of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"1\" Type: String is "
            "not of expected type: int32",
        ),
    ],
)
def test_j10_what_does_not_fit_is_named(rest: Rest, signature: str, instances: Any, message: str) -> None:
    answer = rest.predict(signature, instances=instances)
    assert (answer.status, answer.error) == (400, message)


def test_j10_every_object_has_exactly_the_keys_of_the_signature(rest: Rest) -> None:
    answer = rest.predict("arithmetic", instances=[{"x": [1.0], "n": 1}, {"x": [1.0]}])
    assert answer.status == 400
    assert answer.error.startswith(f"{BAD_ELEMENT}1 of 'instances' list. JSON object: ")
    assert answer.error.endswith(" keys must be equal to: n,x")
    assert rest.predict("arithmetic", instances=[{"x": [1.0], "n": 1, "z": 1}]).status == 400


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ([[1.0, 2.0], [1.0]], "Expecting tensor size: 2 but got: 1"),
        ([[[1.0, 2.0]], [[1.0], [2.0]]], "Expecting shape [1,2] but got: [2,1]"),
    ],
)
def test_j11_rows_must_agree_in_shape(rest: Rest, instances: Any, message: str) -> None:
    answer = rest.predict("any_shape", instances=instances)
    expected = f"{BAD_ELEMENT}1 of 'instances' list. Error: INVALID_ARGUMENT: {message}"
    assert (answer.status, answer.error) == (400, expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([[1.0, 2.0], [3.0]], "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ([1.0, [2.0]], "Encountered list at unexpected level: 1 expected < 1"),
        ([[1.0], 2.0], "JSON Value: 2.0 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    ],
)
def test_j11_no_ragged_input(rest: Rest, inputs: Any, message: str) -> None:
    answer = rest.predict("any_shape", inputs=inputs)
    assert (answer.status, answer.error) == (400, message)


def test_j11_the_batch_size_is_the_number_of_instances(rest: Rest) -> None:
    for count in (1, 3, 33):
        answer = rest.predict("strings", instances=["x"] * count)
        assert len(answer.json["predictions"]) == count
    assert rest.predict("any_shape", instances=[[], []]).json == {"predictions": [[], []]}


def test_j12_columns(rest: Rest) -> None:
    assert rest.predict("any_shape", inputs=[[1, 2], [3, 4]]).json == {"outputs": [[1.0, 2.0], [3.0, 4.0]]}
    assert rest.predict("any_shape", inputs={"x": []}).json == {"outputs": []}
    assert rest.predict("any_shape", inputs=2).json == {"outputs": 2.0}
    assert rest.predict("busy", inputs=0).json == {"outputs": 400.0}
    extra = {"x": [[1.0]], "n": [1], "more": "ignored"}
    assert rest.predict("arithmetic", inputs=extra).json["outputs"]["n"] == [2]


def test_j12_a_bare_value_needs_a_signature_of_one_input(rest: Rest) -> None:
    answer = rest.predict("arithmetic", inputs=[1.0])
    assert answer.status == 400
    assert answer.error == (
        "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
        "tensorinfo_map"
    )
    answer = rest.predict("arithmetic", inputs={"x": [[1.0]]})
    assert (answer.status, answer.error) == (400, "Missing named input: n in 'inputs' object.")
