"""What waits to be run: a bounded queue, first in first out, from which batches are taken."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import threading
import time
from collections.abc import Callable, Hashable, Sequence

import grpc
import numpy as np

from serving.model_server.config.settings import BatchingParameters
from serving.model_server.errors import ServingError


def has_rows(arrays: Sequence[np.ndarray], *, rows: int) -> bool:
    """Whether every array has `rows` rows."""
    return all(array.ndim and array.shape[0] == rows for array in arrays)


@dataclasses.dataclass(eq=False, kw_only=True)
class Call:
    """What to run: some outputs of one signature. Only requests for the same Call may share a batch."""

    function: Callable[..., Sequence[np.ndarray]]
    """Takes an array by input, gives one by output, and raises ServingError."""

    batchable: bool
    """Whether rows of several requests may run together; set to False when the outputs show otherwise."""

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
        alone = not (batching and call.batchable and rows and has_rows(arrays, rows=rows))
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


_NEVER = float("inf")
# Requests that may wait where batching is off: as many as rows wait by default where it is on.
_MAX_WAITING = 512
# After a task expired while it waited, there is taken to be too much work for so long; meanwhile every eighth
# batch begins with the oldest task, and the others with the newest.
_OVERLOAD_SECONDS, _OLDEST_EVERY = 1.0, 8


class RequestQueue:
    """Tasks by key; every method may be called from any thread."""

    def __init__(self, batching: BatchingParameters | None) -> None:
        """Starts empty."""
        self._max_rows = batching.max_batch_size if batching else 1
        self._capacity = batching.max_enqueued_batches * self._max_rows if batching else _MAX_WAITING
        self._patience = batching.batch_timeout_micros / 1e6 if batching else 0.0
        self._lock = threading.Lock()
        # A bell for each thread that waits, the last one to come at the end; under the lock.
        self._waiting: list[threading.Lock] = []
        # Dicts rather than deques: a task that is dropped is taken out of the middle.
        self._tasks: dict[Hashable, dict[int, Task]] = {}
        self._rows = 0
        self._count = 0
        self._takes = 0
        self._overloaded_until = 0.0
        self._closed = False

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return self._rows

    def add(self, tasks: Sequence[Task]) -> None:
        """Lets tasks wait; all of them or none. An empty queue takes any number of rows.

        Raises:
            ServingError: UNAVAILABLE; the queue is full, or closed.
        """
        rows = sum(task.rows for task in tasks)
        with self._lock:
            if self._closed:
                raise ServingError(grpc.StatusCode.UNAVAILABLE, "the servable is being unloaded; try again")
            if self._rows and self._rows + rows > self._capacity:
                raise ServingError(
                    grpc.StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"rows waiting: {self._rows}, of this task: {rows}, at most: {self._capacity}",
                )
            self._rows += rows
            now = time.monotonic()
            for task in tasks:
                task.number, task.since = self._count, now
                self._count += 1
                self._tasks.setdefault(task.key, {})[task.number] = task
            self._wake(len(tasks))

    def drop(self, task: Task, *, late: bool = False) -> State:
        """Takes a task that still waits out of the queue; a running one goes on.

        Args:
            task: its caller does not wait any more.
            late: because its deadline has come.

        Returns:
            Its state before.
        """
        with self._lock:
            state = task.state
            if state is State.WAITING:
                self._remove(task, state=State.DROPPED)
                self._overloaded_until = (
                    time.monotonic() + _OVERLOAD_SECONDS if late else self._overloaded_until
                )
            return state

    def take(self) -> list[Task] | None:
        """Waits for tasks to run: one, or several of the same key that fill a batch.

        Returns:
            Tasks, now running; None when the queue is closed.
        """
        with self._lock:
            while not self._closed:
                now = time.monotonic()
                key, ready_at = self._oldest(now)
                if ready_at <= now:
                    tasks = self._pick(self._tasks[key], now=now)
                    if tasks:
                        return tasks
                else:
                    self._sleep(-1 if ready_at == _NEVER else ready_at - now)
            return None

    def close(self) -> list[Task]:
        """Takes no more tasks and ends every `take`; gives back those that waited."""
        with self._lock:
            self._closed = True
            left = [task for tasks in self._tasks.values() for task in tasks.values()]
            for task in left:
                self._remove(task, state=State.DROPPED)
            self._wake(len(self._waiting))
            return left

    def _sleep(self, seconds: float) -> None:
        """Releases the lock until this thread is woken, or for so long; -1 is for ever."""
        bell = threading.Lock()
        bell.acquire()
        self._waiting.append(bell)
        self._lock.release()
        try:
            bell.acquire(timeout=seconds)
        finally:
            self._lock.acquire()
            if bell in self._waiting:
                self._waiting.remove(bell)

    def _wake(self, count: int) -> None:
        """Wakes the threads that have waited least: what they need is still in their processor's caches.

        A `threading.Condition` wakes those that have waited longest, so that two threads take turns, and costs a lone
        client of a classifier 0.4 ms: 3.9 ms an answer instead of 3.5.
        """
        for _ in range(min(count, len(self._waiting))):
            self._waiting.pop().release()

    def _oldest(self, now: float) -> tuple[Hashable, float]:
        """The key whose first task has waited longest among those that are ready, and when it is ready."""
        best: tuple[float, int, Hashable] = (_NEVER, 0, None)
        for key, tasks in self._tasks.items():
            first = next(iter(tasks.values()))
            ready_at = first.since + (self._patience if key is not None else 0.0)
            if ready_at > now and sum(task.rows for task in tasks.values()) >= self._max_rows:
                ready_at = now
            best = min(best, (max(ready_at, now), first.number, key), key=lambda entry: entry[:2])
        return best[2], best[0]

    def _pick(self, tasks: dict[int, Task], *, now: float) -> list[Task]:
        """Takes a batch from tasks of one key: the oldest first, unless there is too much work.

        Under overload everything waits about as long as its deadline allows, and in the order of arrival the
        processor would work on answers that come just too late. So what cannot be done in time is dropped
        while there is something that can, and the newest comes first: it has the most time left. Now and then
        it is the oldest all the same, so that nothing without a deadline waits for ever.
        """
        waiting = list(tasks.values())
        late = [task for task in waiting if task.expires_before(now + task.call.least_seconds)]
        in_time = [task for task in waiting if not task.expires_before(now + task.call.least_seconds)]
        for task in late if in_time else [task for task in late if task.expires_before(now)]:
            self._expire(task)
            self._overloaded_until = now + _OVERLOAD_SECONDS
        self._takes += 1
        if now < self._overloaded_until and self._takes % _OLDEST_EVERY:
            in_time.reverse()
        picked = self._fill(in_time or list(tasks.values()), now=now)
        for task in picked:
            self._remove(task, state=State.RUNNING)
        return picked

    def _fill(self, tasks: list[Task], *, now: float) -> list[Task]:
        """A batch of the first tasks: as many rows as fit, and as can be done before the first of them expires."""
        picked: list[Task] = []
        rows, end = 0, _NEVER
        for task in tasks:
            end_with = end if task.deadline is None else min(end, task.deadline)
            done = now + (rows + task.rows) * task.call.row_seconds
            if picked and (task.key is None or rows + task.rows > self._max_rows or done > end_with):
                continue
            picked.append(task)
            rows, end = rows + task.rows, end_with
            if rows >= self._max_rows or task.key is None:
                break
        return picked

    def _expire(self, task: Task) -> None:
        self._remove(task, state=State.DROPPED)
        with contextlib.suppress(RuntimeError):  # its loop is closed: the caller is gone
            task.loop.call_soon_threadsafe(task.fail, expired(State.WAITING))

    def _remove(self, task: Task, *, state: State) -> None:
        task.state = state
        self._rows -= task.rows
        tasks = self._tasks[task.key]
        del tasks[task.number]
        if not tasks:
            del self._tasks[task.key]
