"""The bytes of a request's body to a JSON object, within limits that no body gets around."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from serving.model_server import errors
from serving.model_server.rest import messages

# No tensor has half as many dimensions; a parser that recurses needs far more to run out of stack.
MAX_DEPTH = 100
# Python takes some 60 bytes for an empty list and 230 for a small object: 0.5 GB at worst.
MAX_CONTAINERS = 2**21
# Above this, numbers are read by Python functions, between which other threads get their turn.
LARGE_BODY_BYTES = 2**16
_CHUNK_BYTES = 2**20

_BRACKETS = b"[]{}"
_STEPS = bytes(1 if c in b"[{" else 255 if c in b"]}" else 0 for c in range(256))
_NO_BRACKETS = bytes(c for c in range(256) if c not in _BRACKETS)

_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_HIGH, _LONE_LOW = re.compile(rf"{_HIGH}(?!{_LOW})"), re.compile(rf"(?<!{_HIGH}){_LOW}")
_CONSTANT_OR_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?(?:NaN|Inf(?:inity)?)', re.DOTALL)

_INFINITE = (float("inf"), float("-inf"))
_MAX_DIGITS = 309
_LONG_INTEGER = re.compile(rf"[0-9]{{{_MAX_DIGITS}}}")

_CONSTANTS = {
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}
_ESCAPED_BYTE = re.compile("[\ud800-\udfff]")
# So many digits a float64 holds exactly, and with a point as many characters: there RapidJSON is right, as `float` is.
_EXACT_DIGITS, _EXACT_CHARS = 15, 16
_MAX_EXACT, _MAX_UINT64, _MAX_INT64_SIZE = 2**53 - 1, 2**64 - 1, 2**63
# Digits beyond this number of them are skipped.
_DIGITS = 17
_SMALLEST_POWER = -308
_POWER_CHARS = 12
_POWERS = tuple(float(f"1e{power}") for power in range(309))


def from_bytes(raw: bytes) -> str:
    r"""UTF-8 as text; bytes that are none stand in it as lone surrogates, which `to_bytes` makes bytes again.

    >>> to_bytes(from_bytes(b"caf\xc3\xa9 \xff"))
    b'caf\xc3\xa9 \xff'
    """
    return raw.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The bytes of a text of `from_bytes`."""
    return text.encode("utf-8", "surrogateescape")


def is_utf8(text: str) -> bool:
    """Whether a text of `from_bytes` came from nothing but UTF-8."""
    return not _ESCAPED_BYTE.search(text)


def read_decimal(text: str) -> float:
    """Reads a decimal; infinite where it is beyond float64.

    >>> read_decimal("0.5"), read_decimal("123456789.123456789"), float("123456789.123456789")
    (0.5, 123456789.12345681, 123456789.12345679)

    The algorithm is `ParseNumber` and `StrtodNormalPrecision` of RapidJSON 1.1.0 (include/rapidjson/reader.h and
    internal/strtod.h): digits are gathered in an integer of 64 bits, then in a float64, and scaled once. With Python's
    `float` 3 of the 541 recorded answers differ.

    Args:
        text: of a JSON number.
    """
    exponent = ""
    if "e" in text or "E" in text:
        text, _, exponent = text.lower().partition("e")
    elif len(text) <= _EXACT_CHARS:
        return float(text)
    sign = text.startswith("-")
    whole, _, fraction = text[sign:].partition(".")
    if len(whole) > len(_POWERS):
        return float("-inf" if sign else "inf")
    value, taken = _gather(whole, fraction, largest=_MAX_INT64_SIZE if sign else _MAX_UINT64)
    # A power of so many digits makes 0 or infinity of every number that a body can hold.
    power = int(exponent.lstrip("+-0")[:_POWER_CHARS] or "0")
    value = _scale(value, (-power if exponent.startswith("-") else power) - taken)
    return -value if sign else value


def _gather(whole: str, fraction: str, *, largest: int) -> tuple[float, int]:
    """The digits as a number, and how many of those behind the point are in it."""
    digits = (whole + fraction).lstrip("0")
    if len(whole) < _EXACT_DIGITS:
        number = int(digits[: _EXACT_DIGITS + 1] or "0")
        taken = min(len(digits), _EXACT_DIGITS + 1)
        if taken < len(digits) and number <= _MAX_EXACT:
            number, taken = int(digits[: taken + 1]), taken + 1
        value, left = float(number), digits[taken:]
        significant = taken - (whole != "0")
    else:
        value, significant, left = _from_long_whole(whole, fraction, largest=largest)
    for digit in left[: max(0, _DIGITS - significant)]:
        value = value * 10.0 + int(digit)
        left = left[1:]
    return value, len(fraction) - len(left)


def _from_long_whole(whole: str, fraction: str, *, largest: int) -> tuple[float, int, str]:
    """The value, how many digits count as significant in it, and the digits that are left."""
    number, significant = int(whole), len(whole) - 1
    if number <= largest:
        taken = 0
        while taken < len(fraction) and number <= _MAX_EXACT:
            number, taken = number * 10 + int(fraction[taken]), taken + 1
        return float(number), significant + taken, fraction[taken:]
    fits = len(str(largest))
    if int(whole[:fits]) > largest:
        fits -= 1
    value = float(int(whole[:fits]))
    for digit in whole[fits:]:
        value = value * 10.0 + int(digit)
    return value, fits - 1, fraction


def _scale(value: float, power: int) -> float:
    if power < _SMALLEST_POWER:
        return _scale_once(_scale_once(value, _SMALLEST_POWER), power - _SMALLEST_POWER)
    return _scale_once(value, power)


def _scale_once(value: float, power: int) -> float:
    if power < _SMALLEST_POWER:
        return 0.0
    if power < 0:
        return value / _POWERS[-power]
    return value * _POWERS[power] if power < len(_POWERS) else float("inf")


class _TooBigError(ValueError):
    """A number beyond float64."""


def _read_float(text: str) -> float:
    value = read_decimal(text)
    if value in _INFINITE:
        raise _TooBigError(text)
    return value


def _read_int(text: str) -> int:
    if len(text) >= _MAX_DIGITS and not _is_finite(text):
        raise _TooBigError(text)
    return int(text)


def _is_finite(number: str) -> bool:
    return read_decimal(number) not in _INFINITE


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a repeated key RapidJSON finds the first value, and Python the last."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else dict(reversed(pairs))


# Small bodies have their integers read by C code; those of so many digits are looked for besides.
_small = json.JSONDecoder(
    parse_constant=_CONSTANTS.__getitem__, parse_float=_read_float, object_pairs_hook=_first_wins
)
_large = json.JSONDecoder(
    parse_constant=_CONSTANTS.__getitem__,
    parse_float=_read_float,
    parse_int=_read_int,
    object_pairs_hook=_first_wins,
)


def parse_object(body: bytes) -> dict[str, Any]:
    """Reads a request's body: JSON in UTF-8, and `NaN`, `Inf`, `Infinity` and their negatives as numbers.

    Bytes that are not UTF-8 are kept, as TF Serving keeps them: `to_bytes` gives them back.

    >>> parse_object(b'{"instances": [1, -Inf]}')
    {'instances': [1, -inf]}

    Returns:
        The object; the first value of a repeated key.

    Raises:
        ServingError: INVALID_ARGUMENT; it is not a JSON object, or exceeds a limit.
    """
    if not body:
        raise errors.invalid_argument("JSON Parse error: The document is empty")
    _check_nesting(body)
    skipped = 3 if body.startswith(b"\xef\xbb\xbf") else 0  # a byte order mark, as RapidJSON does
    text = from_bytes(body[skipped:])
    document = _parse(text, offset=lambda position: skipped + len(to_bytes(text[:position])))
    if not isinstance(document, dict):
        raise errors.invalid_argument(f"JSON Value: {messages.shown(document)} Is not object")
    return document


def _parse(text: str, *, offset: Callable[[int], int]) -> Any:
    """The document; `offset` makes the position of a character one of a byte."""
    has_long = len(text) >= _MAX_DIGITS and _LONG_INTEGER.search(text)
    decoder = _large if len(text) > LARGE_BODY_BYTES or has_long else _small
    try:
        try:
            document = decoder.decode(text)
        except json.JSONDecodeError as error:
            if not text.startswith(("I", "-I", "-N"), error.pos):
                raise
            document = _parse_with_constants(text)
    except json.JSONDecodeError as error:
        message, position = messages.translate(error, text)
        raise _parse_error(message, offset(position)) from error
    except (ValueError, RecursionError) as error:
        position = messages.find_number(text, lambda number: not _is_finite(number))
        raise _parse_error("Number too big to be stored in double.", offset(position)) from error
    may_be_lone = "\\ud" in text or "\\uD" in text  # far faster than the expression
    if may_be_lone:
        plain = text.replace("\\\\", "__")
        if lone := _LONE_HIGH.search(plain):
            raise _parse_error("The surrogate pair in string is invalid.", offset(lone.start()))
        if _LONE_LOW.search(plain):
            return _parse(_with_bytes_of_lone_surrogates(text, plain), offset=offset)
    return document


def _with_bytes_of_lone_surrogates(text: str, plain: str) -> str:
    r"""The text with the bytes that RapidJSON makes of a lone `\udc00`, ED B0 80, in its place.

    Args:
        text: JSON that has been parsed.
        plain: the same without escaped backslashes, of the same length.
    """
    parts, end = [], 0
    for lone in _LONE_LOW.finditer(plain):
        code = chr(int(lone[0][2:], 16))
        parts += [text[end : lone.start()], from_bytes(code.encode("utf-8", "surrogatepass"))]
        end = lone.end()
    return "".join([*parts, text[end:]])


def _parse_with_constants(text: str) -> Any:
    """Parses a text with constants that Python does not know, which it reads in order as so many NaN."""
    values: list[float] = []

    def replace(match: re.Match[str]) -> str:
        token = match[0]
        if token.startswith('"'):
            return token
        sign = "-" if token.startswith("-") else ""
        values.append(_CONSTANTS[f"{sign}Infinity"] if "I" in token else _CONSTANTS["NaN"])
        return token if token.endswith("Infinity") else "NaN".rjust(len(token))

    replaced = _CONSTANT_OR_STRING.sub(replace, text)
    remaining = iter(values)
    decoder = json.JSONDecoder(
        parse_constant=lambda _: next(remaining),
        parse_float=_read_float,
        parse_int=_read_int,
        object_pairs_hook=_first_wins,
    )
    return decoder.decode(replaced)


def _check_nesting(body: bytes) -> None:
    """Counts brackets before any parser sees them, since a parser spends stack on each level."""
    if len(body) <= LARGE_BODY_BYTES and body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    # Of the same length, so that offsets stay; left to right, so that the right backslashes are paired.
    plain = body.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in body else body
    depth = containers = 0
    in_string = 0
    for start in range(0, len(plain), _CHUNK_BYTES):
        pieces = plain[start : start + _CHUNK_BYTES].split(b'"')
        outside = b"".join(pieces[in_string::2])
        in_string ^= (len(pieces) - 1) & 1
        steps = np.frombuffer(outside.translate(_STEPS, _NO_BRACKETS), dtype=np.int8)
        if steps.size:
            depths = depth + steps.cumsum(dtype=np.int64)
            depth = int(depths[-1])
            containers += int((steps == 1).sum())
            _check_limits(deepest=int(depths.max()), containers=containers)


def _check_limits(*, deepest: int, containers: int) -> None:
    if deepest > MAX_DEPTH:
        raise errors.invalid_argument(
            f"JSON Parse error: lists and objects are nested more than {MAX_DEPTH} deep, which is the limit"
        )
    if containers > MAX_CONTAINERS:
        raise errors.invalid_argument(
            f"JSON Parse error: more than {MAX_CONTAINERS} lists and objects, which is the limit; "
            "send fewer rows, or send tensors over gRPC"
        )


def _parse_error(message: str, offset: int) -> errors.ServingError:
    return errors.invalid_argument(f"JSON Parse error: {message} at offset: {offset}")
