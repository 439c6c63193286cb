"""JSON values and shapes as error messages show them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

# An error's message is cut at 1,024 characters: more of a body of megabytes need not be written.
_MAX_CHARS = 2048

_encoder = json.JSONEncoder(indent=4, ensure_ascii=False)


def shown(value: Any) -> str:
    r"""A value as JSON, indented as TF Serving does; the end of a long one is left out.

    >>> shown({"a": []})
    '{\n    "a": []\n}'
    """
    parts: list[str] = []
    length = 0
    for part in _encoder.iterencode(value):
        parts.append(part[:_MAX_CHARS])
        length += len(part)
        if length > _MAX_CHARS:
            break
    return "".join(parts)


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
