"""Each line of TensorFlow Serving's contract has a test that is named by it.

R routing, J JSON, G gRPC, V versions, W warm-up, B batching, C configuration.
"""

from __future__ import annotations

import re
from pathlib import Path

LINES = {
    "R": [*range(1, 19)],
    "J": [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 14, 15, 20, 21, 22, 23, 24, 25],
    "G": [*range(1, 14)],
    "V": [*range(1, 12)],
    "W": [1],
    "B": [1],
    "C": [1, 2, 3, 4],
}


def test_every_line_has_a_test() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    names = re.findall(r"^(?:async )?def (test_\w+)", source, re.MULTILINE)
    tested = {line.upper() for name in names for line in re.findall(r"_([rjgvwbc]\d+)(?=_)", name)}
    assert {f"{kind}{number}" for kind, numbers in LINES.items() for number in numbers} - tested == set()
