"""Bodies that no client should send: the server answers each with less than 500, and answers on."""

from __future__ import annotations

import base64
import collections
import dataclasses
import gzip
import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.serving.contract.models import ModelsOnDisk
from tests.serving.contract.rest_calls import Rest
from tests.serving.processes import serving

NUM_CONNECTIONS = 4
PREDICT, CLASSIFY, REGRESS = (f"/v1/models/toy:{verb}" for verb in ("predict", "classify", "regress"))
LONGEST_ANSWER_SECONDS = 10.0  # on a machine that does other things, too; a stall is far longer

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
        {
            "f32": 1,
            "f64": 2.5,
            "i8": 1,
            "i16": 1,
            "i32": 1,
            "i64": 1,
            "u8": 1,
            "u32": 1,
            "u64": 1,
            "b": True,
            "s": "s",
        }
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

    def value(self, depth: int = 0) -> Any:
        """Any JSON value."""
        pick = self._random
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
            return [self.value(depth + 1) for _ in range(pick.randrange(4))]
        return {
            pick.choice(["x", "n", "s", "b64", ""]): self.value(depth + 1) for _ in range(pick.randrange(4))
        }

    def other_type(self) -> Case:
        path, document = self._document()
        document = json.loads(json.dumps(document))
        place: Any = document
        while self._random.random() < 0.8 and isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = self._random.choice(keys)
            if self._random.random() < 0.5 or not isinstance(place[key], dict | list):
                place[key] = self.value()
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
            document[self._random.choice(names)] = self.value()
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


class Client:
    """Sends cases over one connection, as long as the server keeps it."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._address = (host, int(port))
        self._socket: socket.socket | None = None

    def send(self, case: Case) -> int:
        """The status; 0 where a body ends too early, which has no answer."""
        announced = int(case.headers.get("Content-Length", len(case.body)))
        headers = {"Host": "a", "Content-Length": str(announced), **case.headers}
        lines = [f"POST {case.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=60)
        self._socket.sendall("\r\n".join([*lines, "\r\n"]).encode() + case.body)
        if announced > len(case.body):
            self.close()
            return 0
        with http.client.HTTPResponse(self._socket) as response:
            response.begin()
            response.read()
        if response.will_close or announced != len(case.body):
            self.close()
        return response.status

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None


def fuzz(address: str, *, count: int, seed: int = 1) -> tuple[collections.Counter[int], float]:
    """Sends `count` bodies over several connections.

    Returns:
        How often each status came, and the seconds of the slowest answer.
    """
    statuses: collections.Counter[int] = collections.Counter()
    slowest, failures, lock = [0.0], [], threading.Lock()

    def work(number: int) -> None:
        cases, client = Cases(seed * 1000 + number), Client(address)
        for _ in range(count // NUM_CONNECTIONS):
            case = cases.next()
            start = time.monotonic()
            try:
                status = client.send(case)
            except (
                Exception
            ) as error:  # of any kind: a thread that dies would pass for one that found nothing
                failures.append(f"{error!r}: {case.headers} {case.body[:300]!r}")
                client.close()
                continue
            with lock:
                slowest[0] = max(slowest[0], time.monotonic() - start)
                statuses[status] += 1
            if status >= 500:
                failures.append(f"{status}: {case.path} {case.headers} {case.body[:300]!r}")
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(NUM_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [], f"{len(failures)} failures, the first: {failures[:3]}"
    return statuses, slowest[0]


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(2_000),
        pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(3000)]),
    ],
)
def test_no_body_brings_the_server_down(
    count: int, models_on_disk: ModelsOnDisk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    work_dir = tmp_path_factory.mktemp("fuzz")
    with serving(work_dir, f"--model_config_file={models_on_disk.config}") as server:
        statuses, slowest = fuzz(server.rest_address, count=count)
        answer = Rest(server.rest_address).post({"instances": ["hi"]})
        assert answer.json["predictions"][0]["label"] == "short"
        assert server.process.poll() is None
    print(f"{count} bodies: {dict(sorted(statuses.items()))}; the slowest answer took {slowest:.2f} s")
    assert set(statuses) == {0, 200, 400, 404}
    assert statuses[200] > count / 20
    assert slowest < LONGEST_ANSWER_SECONDS
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "unforeseen" not in log


def test_the_same_seed_makes_the_same_cases() -> None:
    first, again = Cases(7), Cases(7)
    assert [first.next() for _ in range(300)] == [again.next() for _ in range(300)]
