"""What each type takes of JSON, and base64: lines J14 and J15 of the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.serving.contract.rest_calls import Rest

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
        ("f64", "123456789012345678901234567890", 1.2345678901234566e29),  # RapidJSON's last place
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
    read_back = np.float32 if alias == "f32" else type(value)
    assert read_back(types_answer(rest, **{alias: text})[2][alias]) == read_back(value)


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


@pytest.mark.parametrize(
    ("alias", "text", "value"),
    [("i8", "128", -128), ("i8", "-129", 127), ("i16", "32768", -32768), ("u8", "-1", 255), ("u8", "256", 0)],
)
def test_j14_small_integers_keep_their_lowest_bits(rest: Rest, alias: str, text: str, value: int) -> None:
    assert types_answer(rest, **{alias: text})[2][alias] == value
    status, error, _ = types_answer(rest, **{alias: "2147483648"})
    assert status == 400
    assert error.startswith("JSON Value: 2147483648 Type: Number is not of expected type: ")


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
