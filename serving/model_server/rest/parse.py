"""The bytes of a request's body to a JSON object, within limits that no body gets around."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from serving.model_server import errors
from serving.model_server.rest import numbers
from serving.model_server.rest import text as json_text

_MESSAGES = {
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Extra data": "The document root must not be followed by other values.",
}
_LITERALS = ("null", "true", "false", "NaN", "Infinity", "-NaN", "-Infinity")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_NUMBER = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)', re.DOTALL)
_HALF_NUMBER = re.compile(r"(\.)|[eE][-+]?")
# Beyond, the brackets before a mistake are not counted.
_MAX_COUNTED = 2**20


def translate(error: json.JSONDecodeError, text: str) -> tuple[str, int]:
    """The message and the position of a character for an error of Python.

    >>> translate(json.JSONDecodeError("Expecting ',' delimiter", "[1 2]", 3), "[1 2]")
    ("Missing a comma or ']' after an array element.", 3)
    """
    kind, position = error.msg, error.pos
    if kind == "Expecting value":
        return _no_value(text, position)
    if kind.startswith("Illegal trailing comma"):  # Python 3.13 points at the comma
        following = re.compile(r"[,\s]*").match(text, position)
        position = following.end() if following else position
        is_list = text.startswith("]", position)
        return "Invalid value." if is_list else "Missing a name for object member.", position
    if kind == "Expecting ',' delimiter":
        return _no_delimiter(text, position)
    if kind == "Unterminated string starting at":
        return "Missing a closing quotation mark in string.", len(text)
    if kind == "Invalid \\uXXXX escape":  # where the backslash is
        return "Incorrect hex digit after \\u escape in string.", text.rfind("\\", 0, position + 1)
    if kind == "Invalid control character at":
        is_end = text.startswith("\x00", position)
        words = ("Missing a closing quotation mark", "Invalid escape character")[not is_end]
        return f"{words} in string.", position
    return _MESSAGES.get(kind, kind), position


def find_number(text: str, wanted: Callable[[str], bool]) -> int:
    """The position of the first number for which `wanted` is true; 0 where there is none."""
    numbers = (match for match in _NUMBER.finditer(text) if match[1])
    return next((match.start() for match in numbers if wanted(match[1])), 0)


def _no_value(text: str, position: int) -> tuple[str, int]:
    """RapidJSON stops at the first character that does not go on as a literal that it knows."""
    if position in (len(text), text.find("\x00")) and not text[:position].strip():
        return "The document is empty.", position
    if text.startswith("Inf", position) or text.startswith("-Inf", position):
        return _broken_infinity(text, position)
    alike = max(_common(text, position, literal) for literal in _LITERALS)
    return "Invalid value.", position + alike


def _no_delimiter(text: str, position: int) -> tuple[str, int]:
    half = _HALF_NUMBER.match(text, position)
    if half and text[position - 1 : position].isdigit():
        part = "Miss fraction part" if half[1] else "Miss exponent"
        return f"{part} in number.", half.end()
    if text.startswith("i", position) and text.endswith("Inf", 0, position):
        return _broken_infinity(text, text.rfind("I", 0, position))
    closing = "a closing bracket after an element"
    if position <= _MAX_COUNTED:
        inside = _innermost(text[:position]) == "["
        closing = "']' after an array element" if inside else "'}' after an object member"
    return f"Missing a comma or {closing}.", position


def _broken_infinity(text: str, position: int) -> tuple[str, int]:
    literal = "-Infinity" if text.startswith("-", position) else "Infinity"
    return "Invalid value.", position + _common(text, position, literal)


def _innermost(text: str) -> str:
    """The bracket that is open at the end of a text."""
    open_brackets: list[str] = []
    for match in _TOKEN.finditer(text):
        if match[0] in "[{":
            open_brackets.append(match[0])
        elif match[0] in "]}" and open_brackets:
            open_brackets.pop()
    return open_brackets[-1] if open_brackets else ""


def _common(text: str, position: int, literal: str) -> int:
    """How many characters of a literal stand there."""
    count = 0
    while count < len(literal) and text.startswith(literal[count], position + count):
        count += 1
    return count


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


class _TooBigError(ValueError):
    """A number beyond float64."""


def _read_float(text: str) -> float:
    value = numbers.read_decimal(text)
    if value in _INFINITE:
        raise _TooBigError(text)
    return value


def _read_int(text: str) -> int:
    if len(text) >= _MAX_DIGITS and not _is_finite(text):
        raise _TooBigError(text)
    return int(text)


def _is_finite(number: str) -> bool:
    return numbers.read_decimal(number) not in _INFINITE


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a key that stands twice RapidJSON finds the first, and Python the last."""
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

    Bytes that are not UTF-8 are kept, as TF Serving keeps them: `json_text.to_bytes` gives them back.

    >>> parse_object(b'{"instances": [1, -Inf]}')
    {'instances': [1, -inf]}

    Returns:
        The object; of a key that stands twice, the first.

    Raises:
        ServingError: INVALID_ARGUMENT; it is no JSON object, or beyond a limit.
    """
    if not body:
        raise errors.invalid_argument("JSON Parse error: The document is empty")
    _check_nesting(body)
    skipped = 3 if body.startswith(b"\xef\xbb\xbf") else 0  # a byte order mark, as RapidJSON does
    text = json_text.from_bytes(body[skipped:])
    document = _parse(text, offset=lambda position: skipped + len(json_text.to_bytes(text[:position])))
    if not isinstance(document, dict):
        raise errors.invalid_argument(f"JSON Value: {json_text.shown(document)} Is not object")
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
        message, position = translate(error, text)
        raise _parse_error(message, offset(position)) from error
    except (ValueError, RecursionError) as error:
        position = find_number(text, lambda number: not _is_finite(number))
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
        parts += [text[end : lone.start()], json_text.from_bytes(code.encode("utf-8", "surrogatepass"))]
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
