"""JSON requests as a whole: syntax, keys, signature, nesting, encoding; lines J1 to J9 of the contract."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from tests.serving.contract.rest_calls import Rest


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
        ({"instances": "hi"}, "Expecting 'instances' to be an list/array"),
        ({"instances": {"text": "hi"}}, "Expecting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
    ],
)
def test_j9_either_key_and_not_both(rest: Rest, body: Any, end: str) -> None:
    answer = rest.post(body)
    assert answer.status == 400
    assert answer.error.endswith(end)


def test_lone_high_surrogates_are_400(rest: Rest) -> None:
    for text in (r"\ud800", r"\ud800\ud800", r"a\udc00\ud800", r"\ud83d \ude00", r"\\\ud800"):
        answer = rest.predict("strings", instances=f'["{text}"]')
        assert answer.status == 400
        assert answer.error.startswith(
            "JSON Parse error: The surrogate pair in string is invalid. at offset: "
        )
    paired = rest.predict("strings", instances=r'["\ud83d\ude00 \\ud800"]')
    assert paired.json["predictions"][0]["s"] == "\U0001f600 \\ud800"


def test_a_byte_order_mark_is_skipped(rest: Rest) -> None:
    assert rest.post(b'\xef\xbb\xbf{"inputs": ["hi"]}').json["outputs"]["label"] == ["short"]


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\x80"])
def test_j16_what_is_not_utf8_goes_through_as_it_is(rest: Rest, text: bytes) -> None:
    answer = rest.post(b'{"signature_name": "strings", "inputs": ["' + text + b'"]}')
    assert answer.status == 200
    assert b'"' + text + b'"' in answer.body
    assert b'"' + base64.b64encode(text) + b'"' in answer.body
    assert rest.post(b'{"instances": ["' + text + b'"]}').status == 200


@pytest.mark.ours
def test_names_that_are_not_utf8_are_400(rest: Rest) -> None:
    answer = rest.post(b'{"signature_name": "\xff", "instances": ["hi"]}')
    assert answer.status == 400
    assert b'Serving signature name: \\"\xff\\" not found in signature def' in answer.body


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
