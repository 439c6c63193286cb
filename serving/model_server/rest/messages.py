"""TF Serving's words for what is wrong with JSON, with positions, values and shapes as it shows them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

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


# REST does not cut messages, but of a body of megabytes this much is enough to find the place.
_MAX_CHARS = 2**20
_LONG_INTEGER = re.compile(r"(\D*?)(-?[0-9]{19,})")

_encoder = json.JSONEncoder(indent=4, ensure_ascii=False)


def shown(value: Any) -> str:
    r"""A value as JSON, indented as TF Serving does; the end of a long one is left out.

    >>> shown({"a": []})
    '{\n    "a": []\n}'
    """
    parts: list[str] = []
    length = 0
    for part in _encoder.iterencode(value):
        if long := _LONG_INTEGER.fullmatch(part):
            part = long[1] + _integer(long[2])
        parts.append(part[:_MAX_CHARS])
        length += len(part)
        if length > _MAX_CHARS:
            break
    return "".join(parts)


def _integer(digits: str) -> str:
    """RapidJSON reads an integer beyond 64 bits as a double."""
    return digits if -(2**63) <= int(digits) < 2**64 else format(float(digits), ".9g")


def type_name(value: Any) -> str:
    """RapidJSON's name of a value's type: Null, False, True, Object, Array, String, Number."""
    if isinstance(value, bool):
        return str(value)
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number", type(None): "Null"}
    return names[type(value)]


def shape(sizes: Sequence[int]) -> str:
    """A shape as TF Serving writes it.

    >>> shape((2, 3))
    '[2,3]'
    """
    return f"[{','.join(map(str, sizes))}]"
