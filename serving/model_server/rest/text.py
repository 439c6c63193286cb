"""JSON values and shapes as error messages show them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

# REST does not cut messages, but of a body of megabytes this much is enough to find the place.
_MAX_CHARS = 2**20
_ESCAPED_BYTE = re.compile("[\ud800-\udfff]")
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
