"""Requests that a real TensorFlow Serving has answered (`answers/README.md`), asked again."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.contract.conftest import Target
from tests.serving.contract.rest_calls import Answer

_FUNCTION = re.compile(rb"(__inference_[a-z_]+)_[0-9]+")
_FLOAT32_DIGITS = 9
ANSWERS = Path(__file__).parent / "answers" / "tf_serving_2_16_1.jsonl.gz"

# On purpose, whatever TF Serving answers: a tensor of another rank than the signature's is refused before any kernel
# sees it, since some kernels end the process on one. TF Serving hands it to the kernels: to those that take it (answers
# with status 200), and to those that fail in words of their own (400).
TAKEN_BY_KERNELS = {211, 215, 219, 223, 329, 399, 429, 435}
REFUSED_BY_KERNELS = {431, 432, 433}
OTHER_RANK = re.compile(rb"input [a-z0-9]+ has shape .*, of rank [0-9]; the signature's .* has rank [0-9]")


def _exchanges() -> list[dict[str, Any]]:
    with gzip.open(ANSWERS, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _bytes(part: Mapping[str, str]) -> bytes:
    return part["text"].encode() if "text" in part else base64.b64decode(part["base64"])


def _ask(connection: http.client.HTTPConnection, exchange: Mapping[str, Any]) -> Answer:
    body = _bytes(exchange["body"])
    connection.putrequest(exchange["method"], exchange["path"], skip_accept_encoding=True)
    for name, value in exchange["headers"].items():
        connection.putheader(name, value)
    if body or exchange["method"] == "POST":
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    response = connection.getresponse()
    return Answer(response.status, dict(response.getheaders()), response.read())


class _Decimal(str):
    """A JSON number with a point or an exponent, as it is written."""

    def digits(self) -> int:
        """How many significant ones."""
        return len(re.sub(r"[eE].*", "", self).replace(".", "").lstrip("-0"))


def _value(body: bytes) -> Any:
    """JSON, in which 1, 1.0 and true differ, with each byte that is not UTF-8; bytes where it is no JSON.

    TensorFlow numbers the functions of a process, and so their names in messages depend on what it traced before.
    """
    body = _FUNCTION.sub(rb"\1", body)
    try:
        text = body.decode("utf-8", "surrogateescape")
        return json.loads(text, parse_float=_Decimal, parse_constant=str.upper)
    except ValueError:
        return body


def is_equal(ours: Any, theirs: Any) -> bool:
    """Equal in value; a decimal of up to nine digits, which is how TF Serving writes float32, as a float32."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(is_equal(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(is_equal, ours, theirs))
    if isinstance(ours, _Decimal):
        kind = np.float32 if theirs.digits() <= _FLOAT32_DIGITS else np.float64
        with np.errstate(over="ignore"):
            mine, other = kind(ours), kind(theirs)
        return bool(mine == other and np.signbit(mine) == np.signbit(other))
    return bool(ours == theirs)


@pytest.mark.parametrize(
    ("ours", "theirs", "equal"),
    [
        (b'{"a": [0.33333334, 1.0]}', b'{"a": [0.333333343, 1.0]}', True),
        (b"0.33333337", b"0.333333343", False),  # the next float32
        (b"0.30000000000000004", b"0.29999999999999999", False),
        (b"0.1", b"0.10000000000000001", True),
        (b"1e+39", b"Infinity", False),
        (b"-0.0", b"0.0", False),
        (b"1", b"1.0", False),
        (b"1", b"true", False),
        (b'["\xff"]', b'["\xfe"]', False),
        (b'{"error": "a"}', b'{"error": "b"}', False),
    ],
)
def test_answers_are_compared_by_value(ours: bytes, theirs: bytes, equal: bool) -> None:
    assert is_equal(_value(ours), _value(theirs)) is equal


def test_the_answers_are_those_of_a_real_tf_serving(target: Target) -> None:
    exchanges = _exchanges()
    different, other_status = {}, []
    for number, exchange in enumerate(exchanges):
        connection = http.client.HTTPConnection(target.rest_address, timeout=120)
        try:
            answer = _ask(connection, exchange)
        finally:
            connection.close()
        expected = _bytes(exchange["answer"])
        if answer.status != exchange["status"]:
            other_status.append(number)
        if answer.status != exchange["status"] or not is_equal(_value(answer.body), _value(expected)):
            different[number] = (answer.status, answer.body, expected)
    assert len(exchanges) == 541
    if not target.is_ours:
        assert not different
        return
    expected_set = TAKEN_BY_KERNELS | REFUSED_BY_KERNELS
    assert set(different) == expected_set, {n: different[n] for n in set(different) ^ expected_set}
    assert all(status == 400 and OTHER_RANK.search(body) for status, body, _ in different.values())
    assert set(other_status) == TAKEN_BY_KERNELS
    assert len(exchanges) - len(different) == 530
