"""A model that notes what runs together, and ways to ask a scheduler."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import numpy as np

from serving.model_server.batching.queue import Call
from serving.model_server.batching.scheduler import Scheduler
from serving.model_server.errors import ServingError

CODE = grpc.StatusCode


class Recorder:
    """A model that doubles, counts its runs, and waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.started = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.call = Call(function=self.run, batchable=True)

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        self.batches.append(x.tolist())
        self.started.set()
        assert self.go.wait(20)
        if -1 in x:
            raise ServingError(CODE.INVALID_ARGUMENT, "a negative number")
        return [x * 2]

    def hold(self) -> None:
        """The next run lasts until `go` is set."""
        self.started.clear()
        self.go.clear()


MakeScheduler = Callable[..., Scheduler]


def arrays(*values: int) -> list[np.ndarray]:
    return [np.array(values, np.int32)]


def answers(outputs: list[np.ndarray]) -> list[Any]:
    return [output.tolist() for output in outputs]


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def behind(recorder: Recorder, scheduler: Scheduler, *requests: Any) -> list[Any]:
    """Starts `requests` while a first one runs, lets it go when they wait, and gives their answers."""

    async def main() -> list[Any]:
        recorder.hold()
        first = asyncio.ensure_future(scheduler.run(recorder.call, arrays(0)))
        await asyncio.to_thread(recorder.started.wait, 20)
        tasks = [asyncio.ensure_future(request) for request in requests]
        await asyncio.sleep(0.05)
        recorder.go.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(main())
