"""What runs: a call, which is what to compute, and a task, which is one request for it."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import Callable, Hashable, Sequence

import grpc
import numpy as np

from serving.model_server import batching as batches
from serving.model_server.errors import ServingError


@dataclasses.dataclass(eq=False, kw_only=True)
class Call:
    """What to run: some outputs of one signature. Only requests for the same Call may share a batch."""

    function: Callable[..., Sequence[np.ndarray]]
    """Takes an array by input, gives one by output, and raises ServingError."""

    batchable: bool
    """Whether rows of several requests may run together; set to False when the outputs tell otherwise."""

    row_seconds: float = 0.0
    """How long a run took lately for each of its rows, on average; 0 before the first."""

    spread_seconds: float = 0.0
    """How far from it a run was lately, on average."""

    @property
    def least_seconds(self) -> float:
        """What few runs of one row are shorter than; 0 where they differ much."""
        return max(0.0, self.row_seconds - 2 * self.spread_seconds)

    def note(self, seconds: float, *, rows: int) -> None:
        """Takes a run into account, with the weights by which TCP estimates delays (RFC 6298)."""
        row_seconds = seconds / max(rows, 1)
        if self.row_seconds:
            self.spread_seconds += (abs(row_seconds - self.row_seconds) - self.spread_seconds) / 4
            self.row_seconds += (row_seconds - self.row_seconds) / 8
        else:
            self.row_seconds, self.spread_seconds = row_seconds, row_seconds / 2


class State(enum.Enum):
    """Where a task is."""

    WAITING = 0
    RUNNING = 1
    DROPPED = 2
    """It will never run: it expired, or its caller went away."""


class Task:
    """One request, or a piece of a large one."""

    __slots__ = ("arrays", "call", "deadline", "future", "key", "loop", "number", "rows", "since", "state")

    def __init__(
        self, call: Call, arrays: Sequence[np.ndarray], *, deadline: float | None, batching: bool
    ) -> None:
        """Makes a task of the running event loop.

        Args:
            call: what to run.
            arrays: array by input.
            deadline: second of `time.monotonic`; None is never.
            batching: whether it may be batched, if its arrays allow it.
        """
        self.call = call
        self.arrays = arrays
        self.deadline = deadline
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[np.ndarray]] = self.loop.create_future()
        self.state = State.WAITING
        self.number = 0
        self.since = 0.0
        rows = arrays[0].shape[0] if arrays and arrays[0].ndim else 0
        alone = not (batching and call.batchable and rows and batches.has_rows(arrays, rows=rows))
        self.rows = 1 if alone else rows
        # Tasks of one key may share a batch.
        self.key: Hashable = None
        if not alone:
            self.key = (call, *[(array.dtype.char, array.shape[1:]) for array in arrays])

    def fail(self, error: ServingError) -> None:
        """Answers with an error, if it is not answered yet; in the loop of the task."""
        if not self.future.done():
            self.future.set_exception(error)

    def expires_before(self, second: float) -> bool:
        """Whether its deadline is earlier than `second` of `time.monotonic`."""
        return self.deadline is not None and self.deadline < second


def expired(state: State) -> ServingError:
    """The error of a task that expired in this state."""
    if state is State.RUNNING:
        return ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline exceeded while the model ran")
    message = "Run() timeout exceeded while waiting in batching queue"
    return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
