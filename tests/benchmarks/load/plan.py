"""What to send and what came of it: the messages between a measurement and the process that makes the load."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Plan:
    """One measurement of one server."""

    protocol: str
    """grpc or rest."""

    address: str
    """host:port."""

    path: str
    """Full method name of gRPC, or path of a POST."""

    bodies_path: str
    """File of `write_bodies`; the requests take turns in its order."""

    clients: int = 1
    """Closed loop: requests under way at any time. Open loop: connections at most (gRPC: 8)."""

    rate: float = 0.0
    """Arrivals a second, a Poisson process; 0 is a closed loop, where each client waits for its answer."""

    seconds: float = 5.0
    warmup_seconds: float = 1.0
    """Load before the measurement starts; its requests are not counted."""

    timeout_seconds: float = 60.0
    """Of one request."""

    seed: int = 0
    """Of the arrivals."""

    pid: int = 0
    """Server process whose CPU time is read at both ends of the measurement; 0: none."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What was counted in the `seconds` of a plan."""

    seconds: float
    codes: Mapping[str, int]
    """Answers by code: OK, a gRPC code, an HTTP status, TIMEOUT or CONNECTION."""

    latencies: Sequence[float] = ()
    """Milliseconds of every OK answer, ascending. Closed loop: from sending; open loop: from the intended
    moment of sending, so that a server that stalls is charged for all who arrive meanwhile."""

    failure_latencies: Sequence[float] = ()
    """The same of the other answers."""

    late_p99_ms: float = 0.0
    """Open loop: how much later than intended requests were sent; what the generator itself is to blame for."""

    generator_cpu_seconds: float = 0.0
    server_cpu_seconds: float = 0.0
    ok_by_second: Sequence[int] = ()
    """OK answers in each second of the measurement."""

    @property
    def ok(self) -> int:
        return self.codes.get("OK", 0)

    @property
    def errors(self) -> dict[str, int]:
        return {code: count for code, count in self.codes.items() if code != "OK"}

    @property
    def answers(self) -> int:
        return sum(self.codes.values())


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; nan of nothing.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50)
    2.0
    """
    if not ascending:
        return math.nan
    return ascending[max(math.ceil(percent / 100 * len(ascending)), 1) - 1]


def merge(results: Sequence[Result]) -> Result:
    """Several measurements of the same as one."""
    codes: dict[str, int] = {}
    for result in results:
        for code, count in result.codes.items():
            codes[code] = codes.get(code, 0) + count
    return Result(
        seconds=sum(r.seconds for r in results),
        codes=codes,
        latencies=sorted(x for r in results for x in r.latencies),
        failure_latencies=sorted(x for r in results for x in r.failure_latencies),
        late_p99_ms=max((r.late_p99_ms for r in results), default=0.0),
        generator_cpu_seconds=sum(r.generator_cpu_seconds for r in results),
        server_cpu_seconds=sum(r.server_cpu_seconds for r in results),
        ok_by_second=[count for r in results for count in r.ok_by_second],
    )


def write_bodies(bodies: Sequence[bytes], path: Path) -> Path:
    """Writes request bodies, one line of base64 each."""
    path.write_bytes(b"".join(base64.b64encode(body) + b"\n" for body in bodies))
    return path


def read_bodies(path: str) -> list[bytes]:
    """What `write_bodies` wrote."""
    return [base64.b64decode(line) for line in Path(path).read_bytes().splitlines()]


def to_line(message: Any) -> str:
    """A plan or a result as one line of JSON."""
    return json.dumps(dataclasses.asdict(message)) + "\n"
