"""The process that makes the load: reads plans from standard input, a line each, and writes results.

    echo '{"protocol": "rest", "address": "127.0.0.1:8501", "path": "/v1/models/shoes:predict", "bodies_path": "b"}' |
        python -m tests.benchmarks.load.generator

It is a process of its own, so that the server does not share its interpreter, and it imports neither TensorFlow
nor a web framework: its processor time is the server's loss. What a request costs it is part of each result.

Where the server answers at once it takes 0.04 ms of processor time a request (REST, 32 clients); Locust 2.46 takes 0.14
(FastHttpUser) or 0.65 (HttpUser), has no open loop, which the tests of overload need, and no client for gRPC.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from tests.benchmarks.load import usage
from tests.benchmarks.load.grpc_client import GrpcClient
from tests.benchmarks.load.http_client import HttpClient
from tests.benchmarks.load.plan import Plan, Result, percentile, read_bodies, to_line

CLIENTS = {"grpc": GrpcClient, "rest": HttpClient}


class Client(Protocol):
    """One way to a server."""

    async def send(self, body: bytes) -> str:
        """Sends a request, waits for the answer and returns its code."""


class Run:
    """One plan under way."""

    def __init__(self, plan: Plan, *, client: Client, bodies: list[bytes]) -> None:
        self._plan = plan
        self._client = client
        self._bodies: Iterator[bytes] = itertools.cycle(bodies)
        self._codes: dict[str, int] = {}
        self._latencies: list[float] = []
        self._failures: list[float] = []
        self._lateness: list[float] = [0.0]
        self._seconds = [0] * max(round(plan.seconds), 1)
        self._start = self._end = 0.0

    async def result(self) -> Result:
        """Makes the load and counts."""
        self._start = time.perf_counter() + self._plan.warmup_seconds
        self._end = self._start + self._plan.seconds
        load = self._open_loop() if self._plan.rate else self._closed_loop()
        _, cpu = await asyncio.gather(load, self._read_cpu())
        return Result(
            seconds=self._plan.seconds,
            codes=self._codes,
            latencies=sorted(self._latencies),
            failure_latencies=sorted(self._failures),
            late_p99_ms=percentile(sorted(self._lateness), 99),
            generator_cpu_seconds=cpu[0],
            server_cpu_seconds=cpu[1],
            ok_by_second=self._seconds,
        )

    async def _closed_loop(self) -> None:
        async def client() -> None:
            while (start := time.perf_counter()) < self._end:
                await self._send(start)

        await asyncio.gather(*[client() for _ in range(self._plan.clients)])

    async def _open_loop(self) -> None:
        arrivals, tasks = random.Random(self._plan.seed), set()
        intended = time.perf_counter()
        while intended < self._end:
            # Sleep even when late: without it no request would be sent and no answer be read.
            await asyncio.sleep(max(intended - time.perf_counter(), 0.0))
            task = asyncio.create_task(self._send(intended))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            intended += arrivals.expovariate(self._plan.rate)
        await asyncio.gather(*tasks)

    async def _send(self, intended: float) -> None:
        sent = time.perf_counter()
        code = await self._client.send(next(self._bodies))
        now = time.perf_counter()
        # A closed loop is asked how many answers came within the time; an open one, what became of those who
        # arrived within it, however long they waited.
        moment = intended if self._plan.rate else now
        if self._start <= moment < self._end:
            self._count(code, latency=(now - intended) * 1e3)
            self._lateness.append((sent - intended) * 1e3)
        if code == "OK" and self._start <= now < self._end:
            self._seconds[min(int(now - self._start), len(self._seconds) - 1)] += 1

    def _count(self, code: str, *, latency: float) -> None:
        self._codes[code] = self._codes.get(code, 0) + 1
        (self._latencies if code == "OK" else self._failures).append(latency)

    async def _read_cpu(self) -> tuple[float, float]:
        """Processor seconds of this process and of the server within the measurement."""
        pid = self._plan.pid
        await asyncio.sleep(self._start - time.perf_counter())
        before = time.process_time(), usage.cpu_seconds(pid) if pid else 0.0
        await asyncio.sleep(self._end - time.perf_counter())
        after = time.process_time(), usage.cpu_seconds(pid) if pid else 0.0
        return after[0] - before[0], after[1] - before[1]


async def carry_out(plan: Plan) -> Result:
    """Carries out one plan, over connections of its own."""
    client = CLIENTS[plan.protocol](
        plan.address, plan.path, connections=plan.clients, timeout_seconds=plan.timeout_seconds
    )
    try:
        return await Run(plan, client=client, bodies=read_bodies(plan.bodies_path)).result()
    finally:
        await client.close()


async def main() -> None:
    """One event loop for all plans: gRPC binds itself to the first one it sees."""
    gc.disable()  # a pause of the generator would look like one of the server; a run's garbage is small
    while line := await asyncio.to_thread(sys.stdin.readline):
        result = await carry_out(Plan(**json.loads(line)))
        sys.stdout.write(to_line(result))
        sys.stdout.flush()
        gc.collect()


if __name__ == "__main__":
    asyncio.run(main())
