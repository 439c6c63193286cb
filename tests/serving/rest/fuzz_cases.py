"""Requests that no client should send, the same for the same seed."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from tests.serving.rest.fuzz_values import (
    BYTES,
    CLASSIFY,
    ESCAPES,
    EXAMPLES,
    NUMBERS,
    PREDICT,
    REGRESS,
    ROWS,
    any_value,
)


@dataclasses.dataclass(frozen=True)
class Case:
    """One request."""

    path: str
    body: bytes
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Cases:
    """Requests without end, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kinds: list[Callable[[], Case]] = [
            self.valid,
            self.bytes_changed,
            self.bytes_changed,
            self.nested,
            self.number,
            self.escape,
            self.other_type,
            self.other_type,
            self.other_key,
            self.packed,
            self.garbage,
            self.wrong_length,
            self.encoded_otherwise,
        ]

    def next(self) -> Case:
        return self._random.choice(self._kinds)()

    def _document(self) -> tuple[str, dict[str, Any]]:
        """A path and a document that are right."""
        pick = self._random
        if pick.random() < 0.25:
            name, examples = pick.choice(list(EXAMPLES.items()))
            document = {"signature_name": name, "examples": examples}
            if pick.random() < 0.3:
                document["context"] = {"n": 1}
            return (REGRESS if name == "regress" else CLASSIFY), document
        name, rows = pick.choice(list(ROWS.items()))
        if pick.random() < 0.5:
            return PREDICT, {"signature_name": name, "instances": rows * pick.randint(1, 4)}
        columns = {k: [row[k] for row in rows] for k in rows[0]} if isinstance(rows[0], dict) else rows
        return PREDICT, {"signature_name": name, "inputs": columns}

    def valid(self) -> Case:
        path, document = self._document()
        return Case(path, json.dumps(document, ensure_ascii=self._random.random() < 0.5).encode())

    def bytes_changed(self) -> Case:
        case, pick = self.valid(), self._random
        body = bytearray(case.body)
        for _ in range(pick.randint(1, 5)):
            at = pick.randrange(len(body) + 1)
            change = pick.randrange(5)
            if change == 0 and at < len(body):
                body[at] ^= 1 << pick.randrange(8)
            elif change == 1:
                del body[at : at + pick.randint(1, 9)]
            elif change == 2:
                body[at:at] = pick.choice(BYTES)
            elif change == 3:
                body[at:at] = body[pick.randrange(len(body) + 1) :][: pick.randint(1, 40)]
            else:
                del body[at:]
        return Case(case.path, bytes(body))

    def nested(self) -> Case:
        pick = self._random
        depth = pick.choice([5, 30, 33, 95, 99, 100, 101, 900, 20_000])
        opening, closing = pick.choice([("[", "]"), ('{"x":', "}"), ('[{"x":', "}]"), ('["[",', "]")])
        text = (
            opening * depth
            + pick.choice(["", "1", '"x"'])
            + closing * pick.choice([depth, depth, depth - 1, 0])
        )
        key = pick.choice(["instances", "inputs", "examples", "other"])
        body = text if pick.random() < 0.2 else f'{{"signature_name": "any_shape", "{key}": {text}}}'
        return Case(pick.choice([PREDICT, CLASSIFY]), body.encode())

    def number(self) -> Case:
        pick = self._random
        digits = "".join(pick.choices("0123456789", k=pick.choice([20, 400, 5000, 70_000])))
        numbers = [
            pick.choice([*NUMBERS.split(), digits, f"0.{digits}", f"-{digits}e-{digits[:3]}"])
            for _ in range(3)
        ]
        name, key = (
            pick.choice(["any_shape", "total", "types", "strings"]),
            pick.choice(["inputs", "instances"]),
        )
        if name == "types":
            rows = ", ".join(f'"{alias}": [{pick.choice(numbers)}]' for alias in ROWS["types"][0])
            return Case(PREDICT, f'{{"signature_name": "types", "inputs": {{{rows}}}}}'.encode())
        if pick.random() < 0.2:
            body = f'{{"signature_name": "regress", "examples": [{{"x": {numbers[0]}, "n": {numbers[1]}}}]}}'
            return Case(REGRESS, body.encode())
        return Case(PREDICT, f'{{"signature_name": "{name}", "{key}": [{", ".join(numbers)}]}}'.encode())

    def escape(self) -> Case:
        pick = self._random
        text = "".join(
            pick.choice([*ESCAPES.split(), "a", "\u00e9", "\U0001f600"]) for _ in range(pick.randint(1, 8))
        )
        body = pick.choice(
            [
                f'{{"instances": ["{text}"]}}',
                f'{{"signature_name": "{text}", "instances": ["x"]}}',
                f'{{"{text}": 1, "instances": ["x"]}}',
                f'{{"instances": [{{"{text}": "x"}}]}}',
                f'{{"signature_name": "strings", "inputs": {{"b64": "{text}"}}}}',
            ]
        )
        return Case(PREDICT, body.encode())

    def other_type(self) -> Case:
        path, document = self._document()
        document = json.loads(json.dumps(document))
        place: Any = document
        while self._random.random() < 0.8 and isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = self._random.choice(keys)
            if self._random.random() < 0.5 or not isinstance(place[key], dict | list):
                place[key] = any_value(self._random)
                break
            place = place[key]
        return Case(path, json.dumps(document).encode())

    def other_key(self) -> Case:
        path, document = self._document()
        names = ["instances", "inputs", "examples", "context", "signature_name", "Inputs", "", "x"]
        keys = list(document)
        renamed = self._random.choice(keys)
        document[self._random.choice(names)] = document.pop(renamed)
        if self._random.random() < 0.3:
            document[self._random.choice(names)] = any_value(self._random)
        if self._random.random() < 0.2:
            path = self._random.choice(
                [PREDICT, CLASSIFY, REGRESS, "/v1/models/toy/versions/7:predict", "/v1/\u00e9"]
            )
        return Case(path, json.dumps(document).encode())

    def packed(self) -> Case:
        pick, case = self._random, self.valid()
        packed = bytearray(gzip.compress(case.body, mtime=0))
        kind = pick.randrange(7)
        if kind == 0:
            del packed[pick.randrange(len(packed)) :]
        elif kind == 1:
            packed[pick.randrange(len(packed))] ^= 1 << pick.randrange(8)
        elif kind == 2:
            packed = bytearray(gzip.compress(bytes(packed), mtime=0))
        elif kind == 3:
            packed += pick.choice(BYTES)
        elif kind == 4:
            packed = bytearray(
                b"".join(gzip.compress(part, mtime=0) for part in (case.body[:20], case.body[20:]))
            )
        elif kind == 5:
            packed = bytearray(gzip.compress(b"[" * 2**20, mtime=0))
        encoding = pick.choice(["gzip"] * 8 + ["GZIP", "br", "gzip, gzip", "identity", ""])
        return Case(case.path, bytes(packed), {"Content-Encoding": encoding})

    def garbage(self) -> Case:
        pick = self._random
        body = pick.randbytes(pick.choice([0, 1, 3, 50, 3000]))
        if pick.random() < 0.3:
            body = base64.b64encode(body)
        return Case(
            PREDICT, body, pick.choice([{}, {"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}])
        )

    def wrong_length(self) -> Case:
        """Less than announced, and the connection ends; or more, and the rest reads as another request."""
        case = self.valid()
        length = max(0, len(case.body) + self._random.choice([-20, -1, 1, 20, 10**6]))
        return Case(case.path, case.body, {"Content-Length": str(length)})

    def encoded_otherwise(self) -> Case:
        case = self.valid()
        encoding = self._random.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7"])
        return Case(case.path, case.body.decode().encode(encoding))
