"""JSON of requests: lines J1 to J15 of the contract, and what no body may do to a server."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from tests.serving.contract.rest_calls import Rest

BAD_ELEMENT = "Failed to process element: "


def test_j1_an_empty_body(rest: Rest) -> None:
    for verb in ("predict", "classify", "regress"):
        answer = rest.post(b"", f"/v1/models/toy:{verb}")
        assert (answer.status, answer.error) == (400, "JSON Parse error: The document is empty")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"instances": [1,]}',
        b'{"instances": [1 2]}',
        b'{"instances": [1]} x',
        b'{"instances": [1]}{}',
        b'{"instances": [01]}',
        b'{"instances": [+1]}',
        b'{"instances": [.5]}',
        b'{"instances": [1.]}',
        b'{"instances": [0x1]}',
        b'{"instances": [-]}',
        b"{'instances': [1]}",
        b"{instances: [1]}",
        b'{"instances" [1]}',
        b'{"instances": ["\x01"]}',
        b'{"instances": ["\\x"]}',
        b'{"instances": ["\\u12g4"]}',
        b'{"instances": ["unterminated]}',
        b'{"instances": [Infi]}',
        b'{"instances": [nan]}',
        b'{"instances": [True]}',
        b"\x00",
        b"   ",
    ],
)
def test_j2_wrong_syntax_is_400_and_says_where(rest: Rest, body: bytes) -> None:
    answer = rest.post(body)
    assert answer.status == 400
    assert answer.error.startswith("JSON Parse error: ")
    assert re.search(r" at offset: \d+$", answer.error)


def test_j2_the_offset_counts_bytes(rest: Rest) -> None:
    answer = rest.post('{"é": x}'.encode())
    assert answer.error == "JSON Parse error: Invalid value. at offset: 7"


@pytest.mark.parametrize("body", ["[1]", '"x"', "1", "null", "true", "NaN"])
def test_j3_the_root_must_be_an_object(rest: Rest, body: str) -> None:
    answer = rest.post(body)
    assert answer.status == 400
    assert answer.error.startswith("JSON Value: ")
    assert answer.error.endswith(" Is not object")


def test_j4_nan_and_infinities_are_numbers(rest: Rest) -> None:
    answer = rest.predict("any_shape", inputs="[NaN, -NaN, Inf, -Inf, Infinity, -Infinity, 1.5]")
    assert answer.body.replace(b" ", b"").replace(b"\n", b"") == (
        b'{"outputs":[NaN,NaN,Infinity,-Infinity,Infinity,-Infinity,1.5]}'
    )
    assert rest.predict("strings", inputs='["Inf", "-NaN \\" Inf"]').json["outputs"]["s"] == [
        "Inf",
        '-NaN " Inf',
    ]


def test_j7_the_signature_must_be_a_string(rest: Rest) -> None:
    for value in ("1", "null", '["serving_default"]'):
        answer = rest.post(f'{{"signature_name": {value}, "instances": ["hi"]}}')
        assert answer.status == 400
        assert answer.error.endswith(" not formatted correctly. 'signature_name' key must be a string value.")


def test_j7_the_default_signature(rest: Rest) -> None:
    assert rest.post({"inputs": ["hi"]}).json["outputs"]["label"] == ["short"]
    assert rest.post({"signature_name": "", "inputs": ["hi"]}).json["outputs"]["label"] == ["short"]
    assert rest.predict("serving_default", inputs=["hi"]).json["outputs"]["label"] == ["short"]


def test_j8_an_unknown_signature(rest: Rest) -> None:
    answer = rest.predict("nope", instances=["hi"])
    message = 'Serving signature name: "nope" not found in signature def'
    assert (answer.status, answer.error) == (400, message)
    body = {"signature_name": "nope", "examples": [{"x": 1.0}]}
    for verb in ("classify", "regress"):
        answer = rest.post(body, f"/v1/models/toy:{verb}")
        assert (answer.status, answer.error) == (400, "No signature was found with the name: nope")


@pytest.mark.parametrize(
    ("body", "end"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"Instances": ["hi"]}, "Missing 'inputs' or 'instances' key"),
        (
            {"inputs": ["hi"], "instances": ["hi"]},
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
        ({"instances": "hi"}, "Excepting 'instances' to be an list/array"),
        ({"instances": {"text": "hi"}}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
    ],
)
def test_j9_either_key_and_not_both(rest: Rest, body: Any, end: str) -> None:
    answer = rest.post(body)
    assert answer.status == 400
    assert answer.error.endswith(end)


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


NUMBERS = ("f32", "f64", "i8", "i16", "i32", "i64", "u8", "u32", "u64")


def types_answer(rest: Rest, **changes: str) -> tuple[int, str, dict[str, Any]]:
    """Status, error and outputs of `types`, called with one value of JSON text for each input."""
    values = {**dict.fromkeys(NUMBERS, "1"), "b": "true", "s": '""', **changes}
    answer = rest.predict("types", inputs="{" + ", ".join(f'"{k}": [{v}]' for k, v in values.items()) + "}")
    if answer.status != 200:
        return answer.status, answer.error, {}
    return 200, "", {alias: value[0] for alias, value in answer.json["outputs"].items()}


@pytest.mark.parametrize(
    ("alias", "text", "value"),
    [
        ("f32", "2", 2.0),
        ("f32", "-16777215", -16777215.0),
        ("f32", "3.4028234e38", 3.40282347e38),
        ("f32", "1e-50", 0.0),
        ("f64", "9007199254740991", 9007199254740991.0),
        ("f64", "123456789012345678901234567890", 1.2345678901234568e29),
        ("i8", "-128", -128),
        ("i16", "32767", 32767),
        ("i32", "-2147483648", -2147483648),
        ("i64", "9223372036854775807", 9223372036854775807),
        ("u8", "255", 255),
        ("u32", "4294967295", 4294967295),
        ("u64", "18446744073709551615", 18446744073709551615),
        ("b", "false", False),
        ("s", '"\\u00e9\\u0000\\ud83d\\ude00"', "\u00e9\u0000\U0001f600"),
        ("s", '{"b64": "aGk="}', "hi"),
    ],
)
def test_j14_what_each_type_takes(rest: Rest, alias: str, text: str, value: Any) -> None:
    assert types_answer(rest, **{alias: text})[2][alias] == value


@pytest.mark.parametrize(
    ("alias", "text", "shown"),
    [
        ("f32", "true", "true Type: True is not of expected type: float"),
        ("f32", '"1"', '"1" Type: String is not of expected type: float'),
        ("f64", "null", "null Type: Null is not of expected type: double"),
        ("i32", "1.0", "1.0 Type: Number is not of expected type: int32"),
        ("i32", "true", "true Type: True is not of expected type: int32"),
        ("i32", "2147483648", "2147483648 Type: Number is not of expected type: int32"),
        ("i64", "9223372036854775808", "9223372036854775808 Type: Number is not of expected type: int64"),
        ("i64", "1e3", "1000.0 Type: Number is not of expected type: int64"),
        ("u32", "-1", "-1 Type: Number is not of expected type: uint32"),
        ("u64", "-1", "-1 Type: Number is not of expected type: uint64"),
        ("b", "1", "1 Type: Number is not of expected type: bool"),
        ("b", '"true"', '"true" Type: String is not of expected type: bool'),
        ("s", "1", "1 Type: Number is not of expected type: string"),
        ("s", "false", "false Type: False is not of expected type: string"),
    ],
)
def test_j14_what_each_type_refuses(rest: Rest, alias: str, text: str, shown: str) -> None:
    assert types_answer(rest, **{alias: text})[:2] == (400, f"JSON Value: {shown}")


@pytest.mark.ours
@pytest.mark.parametrize(("alias", "text"), [("i8", "128"), ("i8", "-129"), ("i16", "32768"), ("u8", "-1")])
def test_j14_small_integers_are_refused_where_they_do_not_fit(rest: Rest, alias: str, text: str) -> None:
    status, error, _ = types_answer(rest, **{alias: text})
    assert status == 400
    assert error.startswith(f"JSON Value: {text} Type: Number is not of expected type: ")


@pytest.mark.parametrize(
    ("alias", "text"),
    [("f32", "16777217"), ("f32", "1e39"), ("f64", "9007199254740993")],
)
def test_j14_a_float_that_would_be_another_number_is_refused(rest: Rest, alias: str, text: str) -> None:
    status, error, _ = types_answer(rest, **{alias: text})
    assert status == 400
    assert error.endswith(f" to {'float' if alias == 'f32' else 'double'} without loss of precision.")


def test_j14_half_has_no_json(rest: Rest) -> None:
    answer = rest.predict("half", inputs=[1.5])
    assert (answer.status, answer.error) == (501, "Conversion of JSON Value: 1.5 to type: half")
    answer = rest.predict("half", instances=[1.5])
    assert answer.status == 400
    assert answer.error.endswith(": Conversion of JSON Value: 1.5 to type: half")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b64": "aGVsbG8="}, "hello"),
        ({"b64": "aGVsbG8"}, "hello"),
        ({"b64": ""}, ""),
        ({"b64": "Pz8/Pj4+"}, "???>>>"),
    ],
)
def test_j15_base64_is_accepted_for_any_string(rest: Rest, value: Any, text: str) -> None:
    assert rest.predict("strings", inputs=value).json["outputs"]["s"] == text
    assert rest.predict("strings", inputs=[value]).json["outputs"]["s"] == [text]
    assert rest.predict("strings", instances=[value]).json["predictions"][0]["s"] == text
    assert rest.predict("strings", instances=[{"s": value}]).json["predictions"][0]["s"] == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"b64": "Pz8_Pj4-"}, "Unable to base64 decode"),
        ({"b64": "a"}, "Unable to base64 decode"),
        ({"b64": "\u00e9\u00e9\u00e9\u00e9"}, "Unable to base64 decode"),
    ],
)
def test_j15_another_alphabet_is_refused(rest: Rest, value: Any, message: str) -> None:
    answer = rest.predict("strings", inputs=[value])
    assert (answer.status, answer.error) == (400, message)


@pytest.mark.parametrize("value", [{"b64": "aGk=", "more": 1}, {"B64": "aGk="}, {"b64": 1}, {}])
def test_j15_base64_has_exactly_its_key(rest: Rest, value: Any) -> None:
    answer = rest.predict("strings", inputs=[value])
    assert answer.status == 400
    assert answer.error.endswith(" not formatted correctly for base64 data")


def test_lone_surrogates_are_400(rest: Rest) -> None:
    for text in (r"\ud800", r"\udc00", r"\ud800\ud800", r"a\udc00\ud800", r"\ud83d \ude00", r"\\\ud800"):
        answer = rest.predict("strings", instances=f'["{text}"]')
        assert answer.status == 400
        assert answer.error.startswith(
            "JSON Parse error: The surrogate pair in string is invalid. at offset: "
        )
    paired = rest.predict("strings", instances=r'["\ud83d\ude00 \\ud800"]')
    assert paired.json["predictions"][0]["s"] == "\U0001f600 \\ud800"


def test_a_byte_order_mark_is_skipped(rest: Rest) -> None:
    assert rest.post(b'\xef\xbb\xbf{"inputs": ["hi"]}').json["outputs"]["label"] == ["short"]


@pytest.mark.ours
@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\x80"])
def test_what_is_not_utf8_is_400(rest: Rest, text: bytes) -> None:
    answer = rest.post(b'{"instances": ["' + text + b'"]}')
    assert (answer.status, answer.error) == (400, "JSON Parse error: Not UTF-8. at offset: 16")


@pytest.mark.ours
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"instances": ' + b"[" * 101 + b"]" * 101 + b"}",
        b'{"a":' * 101 + b"1" + b"}" * 101,
        b'{"instances": ["\\"[", "\\\\", ' + b"[" * 2_000_000,
    ],
    ids=["open", "closed", "objects", "after strings"],
)
def test_deep_nesting_is_refused_before_it_is_parsed(rest: Rest, body: bytes) -> None:
    answer = rest.post(body)
    assert answer.status == 400
    assert answer.error == (
        "JSON Parse error: lists and objects are nested more than 100 deep, which is the limit"
    )
    assert rest.post({"instances": ["hi"]}).status == 200


@pytest.mark.ours
def test_brackets_in_strings_and_in_a_row_are_no_nesting(rest: Rest) -> None:
    answer = rest.predict("strings", instances=["[" * 1000, '"' * 1000 + "{" * 1000 + "\\" * 999])
    assert answer.status == 200
    assert rest.predict("any_shape", instances=[[1.0]] * 500).json == {"predictions": [[1.0]] * 500}
    answer = rest.predict("any_shape", inputs="[" * 90 + "]" * 90)
    assert (answer.status, answer.error) == (400, "Lists are nested 90 deep; at most 32 dimensions are read")


@pytest.mark.ours
def test_numbers_of_any_length_are_answered(rest: Rest) -> None:
    for text in ("1" * 5000, "-" + "9" * 400, "1" * 100_000, "1e999", "-1e999", "0." + "3" * 100_000):
        answer = rest.predict("any_shape", inputs=f"[{text}]")
        assert answer.status == (200 if text.startswith("0.") else 400)
        assert len(answer.body) < 2000
