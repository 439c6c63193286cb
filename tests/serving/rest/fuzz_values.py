"""What requests are made of: right documents, odd numbers, escapes and bytes, and any JSON value."""

from __future__ import annotations

import random
from typing import Any

PREDICT, CLASSIFY, REGRESS = (f"/v1/models/toy:{verb}" for verb in ("predict", "classify", "regress"))

# A signature that JSON cannot speak to (501 by contract), and those that take as long as they are told, are left out.
ROWS: dict[str, Any] = {
    "serving_default": ["hi", "hello \u00e9\U0001f600 world", {"b64": "aGk="}],
    "arithmetic": [{"x": [0.5], "n": 1}, {"x": [-3], "n": 2}],
    "any_shape": [[[1.0, 2.5], [3.0, 4.0]], [[1e-9, 1e9], [0, -0.0]]],
    "strings": ["a", {"b64": "gP8="}],
    "positive": [1.0, -1.0],
    "fixed": [1.0, 2.0, 3.0],
    "total": [1.0, 2.0],
    "types": [
        {"f32": 1, "f64": 2.5, "i8": 1, "i16": 1, "i32": 1, "i64": 1}
        | {"u8": 1, "u32": 1, "u64": 1, "b": True, "s": "s"}
    ],
}
EXAMPLES: dict[str, Any] = {
    "classify": [{"x": 0.25}, {"x": [1.0]}],
    "regress": [{"x": 0.25, "n": 3, "text": "t"}, {"n": True}],
    "classify_classes": [{"text": {"b64": "aGk="}}],
}
NUMBERS = """
    NaN -NaN Inf -Inf Infinity -Infinity Infi nan inf +1 01 .5 1. 0x1 1e5 1E+5 1e400 -1e400 1e-400 -0 -0.0
    2147483648 9223372036854775808 18446744073709551616 16777217 1e38 1e39 1_000 1,000 true null --1 1e 1e+
"""
ESCAPES = r"""
    \ud800 \udc00 \ud83d\ude00 \ude00\ud83d \ud800\ud800 \u0000 \u12 \x \\ \" \\\ud800 \u00e9 \/ \b \uffff \uD83D
"""
BYTES = [
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xef\xbb\xbf",
    b"\xf8\x88\x80\x80\x80",
    b"\x1f",
    b"\\",
    b'"',
]


def any_value(pick: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    leaves = [
        None,
        True,
        0,
        -1,
        2**31,
        2**63,
        2**64,
        0.5,
        1e300,
        "",
        "text",
        "\x00",
        {"b64": "aGk"},
        {"b64": 1},
    ]
    if depth > 3 or pick.random() < 0.5:
        return pick.choice(leaves)
    if pick.random() < 0.6:
        return [any_value(pick, depth + 1) for _ in range(pick.randrange(4))]
    return {
        pick.choice(["x", "n", "s", "b64", ""]): any_value(pick, depth + 1) for _ in range(pick.randrange(4))
    }
