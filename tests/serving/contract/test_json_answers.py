"""JSON of answers, and of Classify and Regress: lines J20 to J25 of the contract."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest

from tests.serving.contract.rest_calls import Rest

CLASSIFY, REGRESS = "/v1/models/toy:classify", "/v1/models/toy:regress"


def compact(body: bytes) -> str:
    """The answer's own text, without white space: how a number is written is part of the contract."""
    return body.decode().replace(" ", "").replace("\n", "")


def test_j20_rows_in_predictions_out_and_columns_in_outputs_out(rest: Rest) -> None:
    text = {"text": ["hi", "hello world"]}
    expected = {
        "label": ["short", "long"],
        "labels": [["short", "long"], ["short", "long"]],
        "probabilities": [[0.8, 0.2], [0.2, 0.8]],
    }
    assert rest.predict("serving_default", inputs=text).json == {"outputs": expected}
    answer = rest.predict("serving_default", instances=text["text"])
    assert answer.json == {
        "predictions": [{alias: values[row] for alias, values in expected.items()} for row in range(2)]
    }


def test_j20_the_name_of_the_only_output_is_left_out(rest: Rest) -> None:
    assert rest.predict("any_shape", instances=[[1.0], [2.0]]).json == {"predictions": [[1.0], [2.0]]}
    assert rest.predict("any_shape", inputs=[[1.0], [2.0]]).json == {"outputs": [[1.0], [2.0]]}


@pytest.mark.parametrize(
    ("signature", "message"),
    [("total", "Tensor name: total has no shape information "), ("fixed", " has inconsistent batch size: ")],
)
def test_j21_rows_need_outputs_of_one_batch_size(rest: Rest, signature: str, message: str) -> None:
    answer = rest.predict(signature, instances=[1.0, 2.0])
    assert answer.status == 400
    assert message in answer.error
    assert rest.predict(signature, inputs=[1.0, 2.0]).json["outputs"]["twice"] == [2.0, 4.0]


def test_j22_bytes_by_the_name_of_the_output(rest: Rest) -> None:
    answer = rest.predict("strings", inputs=["a", {"b64": "gP8="}])
    outputs = json.loads(answer.body.decode("utf-8", "surrogateescape"))["outputs"]
    assert outputs["s_bytes"] == [{"b64": "YQ=="}, {"b64": "gP8="}]
    assert outputs["s"] == ["a", "\udc80\udcff"]  # as they are
    row = rest.predict("strings", instances=['\u00e9\n"\\\u0001']).json["predictions"][0]
    assert row == {"s": '\u00e9\n"\\\u0001', "s_bytes": {"b64": "w6kKIlwB"}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.2", 0.2),
        ("1", 1.0),
        ("-0.0", -0.0),
        ("0.3333333333333333", 0.333333343),
        ("0.1234567", 0.123456702),
        ("16777217", 16777216.0),
        ("1000000", 1e6),
        ("0.00001", 1e-05),
        ("1e38", 1e38),
        ("1e-45", 0.0),
        ("NaN", math.nan),
        ("Infinity", math.inf),
        ("-Inf", -math.inf),
    ],
)
def test_j23_float32_reads_back_equal_and_never_as_an_integer(rest: Rest, text: str, value: float) -> None:
    """J23: TF Serving writes 0.333333343 where the shortest text of the same float32 is 0.33333334."""
    written = rest.predict("any_shape", inputs=text).json["outputs"]
    assert isinstance(written, float)
    assert struct.pack("f", written) == struct.pack("f", value)


@pytest.mark.parametrize(
    "text", ["0.2", "0.1234567", "0.30000000000000004", "0.3333333333333333", "1234567", "1e300"]
)
def test_j23_double_reads_back_equal(rest: Rest, text: str) -> None:
    ones = ", ".join(f'"{alias}": [1]' for alias in ("f32", "i8", "i16", "i32", "i64", "u8", "u32", "u64"))
    inputs = f'{{{ones}, "b": [true], "s": [""], "f64": [{text}]}}'
    (written,) = rest.predict("types", inputs=inputs).json["outputs"]["f64"]
    assert isinstance(written, float)
    assert written == float(text)


def test_j23_constants_beside_other_numbers(rest: Rest) -> None:
    body = rest.predict("any_shape", inputs="[[0.2, NaN], [Inf, -Inf]]").body
    assert compact(body) == '{"outputs":[[0.2,NaN],[Infinity,-Infinity]]}'


def test_j24_classify(rest: Rest) -> None:
    body = {"signature_name": "classify", "examples": [{"x": 0.25}, {"x": [1.0]}]}
    answer = rest.post(body, CLASSIFY)
    assert compact(answer.body) == '{"results":[[["short",0.25],["long",0.75]],[["short",1.0],["long",0.0]]]}'
    scores = rest.post({"signature_name": "classify_scores", "examples": [{"x": 0.2}]}, CLASSIFY)
    assert compact(scores.body) == '{"results":[[["",0.2],["",0.8]]]}'
    classes = rest.post({"signature_name": "classify_classes", "examples": [{"text": "\u00e9"}]}, CLASSIFY)
    assert classes.json == {"results": [[["\u00e9", 0.0]]]}


def test_j24_regress_with_a_context(rest: Rest) -> None:
    body = {"signature_name": "regress", "context": {"n": 3}, "examples": [{"x": 0.25}, {"x": 1.0, "n": 1}]}
    assert compact(rest.post(body, REGRESS).body) == '{"results":[5.25,4.0]}'
    body["signature_name"] = "regress_column"
    assert compact(rest.post(body, REGRESS).body) == '{"results":[5.25,4.0]}'


@pytest.mark.parametrize(
    ("body", "end"),
    [
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": {"x": 1.0}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [[1.0]]}, "Example must be JSON object but got JSON Array"),
        ({"examples": ["x"]}, "Example must be JSON object but got JSON String"),
        ({"context": 1, "examples": [{}]}, "Example must be JSON object but got JSON Number"),
    ],
)
def test_j24_examples_must_be_a_list_of_objects(rest: Rest, body: Any, end: str) -> None:
    for path in (CLASSIFY, REGRESS):
        answer = rest.post(body, path)
        assert answer.status == 400
        assert answer.error.endswith(end)


@pytest.mark.parametrize(
    ("example", "value"),
    [
        ({"n": 3, "x": 0.5}, 5.5),
        ({"n": True, "x": 0.5}, 3.5),
        ({"n": [False], "x": [0.5]}, 2.5),
        ({"n": -9223372036854775808, "x": 0.0}, -9.223372036854775808e18),
        ({"text": "s"}, 2.0),
        ({"text": {"b64": "gP8="}, "unknown": []}, 2.0),
    ],
)
def test_j25_integers_and_truth_values_are_int64_and_doubles_float(
    rest: Rest, example: Any, value: float
) -> None:
    answer = rest.post({"signature_name": "regress", "examples": [example]}, REGRESS)
    assert answer.json["results"] == [pytest.approx(value)]


def test_j25_a_feature_of_another_kind_is_the_graphs_error(rest: Rest) -> None:
    for example in ({"n": 1.0}, {"x": 1}, {"text": 1}):
        assert rest.post({"signature_name": "regress", "examples": [example]}, REGRESS).status == 400


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ([1, 2.0], "Unexpected element type in feature: f expecting type: int64"),
        ([1.0, 2], "Unexpected element type in feature: f expecting type: float"),
        (["a", 1], "Unexpected element type in feature: f expecting type: bytes"),
        (None, "Feature: f has element with unexpected JSON type: Null"),
        ([[1]], "Feature: f has element with unexpected JSON type: Array"),
        ({"a": 1}, "Feature: f has element with unexpected JSON type: Object"),
        (9223372036854775808, "Feature: f has uint64_t element. Only int64_t is supported."),
        ({"b64": "?"}, "Unable to base64 decode"),
    ],
)
def test_j25_mixed_kinds_null_and_nesting_name_the_feature(rest: Rest, feature: Any, message: str) -> None:
    for body in ({"examples": [{"f": feature}]}, {"context": {"f": feature}, "examples": [{}]}):
        answer = rest.post(body, REGRESS)
        assert (answer.status, answer.error) == (400, message)
