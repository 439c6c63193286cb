"""The limit: threads that call the model's session themselves, without a server.

    python -m tests.benchmarks.load.bare MODEL_VERSION_FOLDER TEXTS_FILE

Reads jobs from standard input, a line of JSON each ({"threads": 8, "rows": 1, "seconds": 5}), and writes a
`plan.Result` for each, with the processor time of this process as the server's.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from pathlib import Path

import numpy as np

from serving.model_server.models.servable import Servable
from tests.benchmarks.load.plan import Result, to_line

_WARMUP_SECONDS = 1.0


class Caller:
    """A model, and the texts that are asked."""

    def __init__(self, path: str, texts: list[str]) -> None:
        self._call = Servable(path, name="bare", version=1).call()
        self._texts = [text.encode() for text in texts]

    def result(self, *, threads: int, rows: int, seconds: float) -> Result:
        """Calls from `threads` threads, `rows` texts at a time; counts texts, and the latencies of calls."""
        start = time.perf_counter() + _WARMUP_SECONDS
        latencies: list[list[float]] = [[] for _ in range(threads)]
        workers = [
            threading.Thread(target=self._work, args=(k, rows, start, start + seconds, latencies[k]))
            for k in range(threads)
        ]
        for worker in workers:
            worker.start()
        time.sleep(max(start - time.perf_counter(), 0.0))
        cpu = time.process_time()
        time.sleep(max(start + seconds - time.perf_counter(), 0.0))
        cpu = time.process_time() - cpu
        for worker in workers:
            worker.join()
        merged = sorted(latency for mine in latencies for latency in mine)
        return Result(seconds, {"OK": len(merged) * rows}, latencies=merged, server_cpu_seconds=cpu)

    def _work(self, seed: int, rows: int, start: float, end: float, latencies: list[float]) -> None:
        texts = random.Random(seed)
        while (sent := time.perf_counter()) < end:
            self._call.function(np.array(texts.choices(self._texts, k=rows), object))
            now = time.perf_counter()
            if start <= now < end:
                latencies.append((now - sent) * 1e3)


def main() -> None:
    caller = Caller(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))
    print("ready", flush=True)
    for line in sys.stdin:
        print(to_line(caller.result(**json.loads(line))), end="", flush=True)


if __name__ == "__main__":
    main()
