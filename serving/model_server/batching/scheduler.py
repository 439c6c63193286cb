"""A queue in front of one servable: what runs when, alone or in a batch, and what is dropped.

Our own, and not TensorFlow's batch op (`tf.raw_ops.BatchFunction`): its C++ queue cannot drop a request whose
deadline has passed or whose caller has gone, and each request in it holds a blocked Python thread.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Sequence

import grpc
import numpy as np

from serving.model_server import errors, process
from serving.model_server.batching.queue import Call, RequestQueue, State, Task, expired, has_rows
from serving.model_server.config.settings import BatchingParameters, default_num_batch_threads
from serving.model_server.errors import ServingError

logger = logging.getLogger(__name__)

# A gRPC client gives up by itself at its deadline: the answer that its request only waited must leave
# a little earlier. Seconds, and at most this share of what the client allowed.
_REPLY_SECONDS, _REPLY_SHARE = 0.02, 0.1

Answer = tuple[Task, "list[np.ndarray] | ServingError"]


def padded_size(rows: int, *, allowed: Sequence[int]) -> int:
    """The size at which `rows` rows run: the next allowed one.

    >>> padded_size(3, allowed=(2, 8))
    8
    """
    return allowed[bisect.bisect_left(allowed, rows)] if allowed and rows <= allowed[-1] else rows


def merge(requests: Sequence[Sequence[np.ndarray]], *, padding: int = 0) -> list[np.ndarray]:
    """Puts the rows of several requests under each other.

    >>> merge([[np.array([1])], [np.array([2, 3])]], padding=1)
    [array([1, 2, 3, 1])]

    Args:
        requests: for each request its arrays, in the order of the inputs; alike but for the number of rows.
        padding: rows to add; the first row of all again, which a model has seen the like of.

    Returns:
        Array by input.
    """
    if len(requests) == 1 and not padding:
        return list(requests[0])
    return [np.concatenate([*arrays, *[arrays[0][:1]] * padding]) for arrays in zip(*requests, strict=True)]


def split(outputs: Sequence[np.ndarray], *, sizes: Sequence[int]) -> list[list[np.ndarray]]:
    """Takes the rows of a batch apart again; rows beyond the sum of `sizes` are padding.

    >>> split([np.array([1, 2, 3, 1])], sizes=[1, 2])
    [[array([1])], [array([2, 3])]]
    """
    ends = list(itertools.accumulate(sizes))
    starts = [0, *ends[:-1]]
    return [[output[a:b] for output in outputs] for a, b in zip(starts, ends, strict=True)]


class Scheduler:
    """A bounded queue and the threads that empty it."""

    def __init__(self, *, batching: BatchingParameters | None = None, name: str = "model") -> None:
        """Starts the threads.

        Args:
            batching: None runs each request alone, as many at a time as batches would by default.
            name: of the threads.
        """
        self._batching = batching
        self._name = name
        self._queue = RequestQueue(batching)
        self._marked = process.marked if process.is_watched() else contextlib.nullcontext
        self._batch_sizes: collections.Counter[int] = collections.Counter()
        self._counting = threading.Lock()
        count = batching.num_batch_threads if batching else default_num_batch_threads()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name} {number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def rows_waiting(self) -> int:
        """Rows in the queue (requests, where batching is off); those that run are not in it any more."""
        return self._queue.rows

    def batch_sizes(self) -> dict[int, int]:
        """How many batches of which number of rows have run; where batching is off, each request counts as one row."""
        with self._counting:
            return dict(self._batch_sizes)

    async def run(
        self, call: Call, arrays: Sequence[np.ndarray], *, deadline: float | None = None
    ) -> list[np.ndarray]:
        """Runs one request, with others or alone; a cancelled one is not run, if it is not running yet.

        Args:
            call: what to run.
            arrays: array by input.
            deadline: second of `time.monotonic` at which the caller is released; None is never.

        Returns:
            Array by output.

        Raises:
            ServingError: UNAVAILABLE, the queue is full; RESOURCE_EXHAUSTED, expired while waiting;
                DEADLINE_EXCEEDED, expired while running; else the graph's own.
        """
        pieces = self._pieces(call, arrays)
        tasks = [
            Task(call, piece, deadline=deadline, batching=self._batching is not None) for piece in pieces
        ]
        now = time.monotonic()
        if tasks[0].expires_before(now):
            raise expired(State.WAITING)
        self._queue.add(tasks)
        timer = None
        if deadline is not None:
            margin = min(_REPLY_SECONDS, _REPLY_SHARE * (deadline - now))
            timer = tasks[0].loop.call_at(deadline - margin, self._expire, tasks)
        try:
            answers = [await task.future for task in tasks]
        finally:
            if timer:
                timer.cancel()
            for task in tasks:
                self._forget(task)
        if len(tasks) == 1:
            return answers[0]
        if all(has_rows(answer, rows=task.rows) for answer, task in zip(answers, tasks, strict=True)):
            return merge(answers)
        call.batchable = False
        return await self.run(call, arrays, deadline=deadline)  # in one piece

    def close(self) -> None:
        """Waits for what runs; refuses what waits."""
        error = ServingError(grpc.StatusCode.UNAVAILABLE, "the servable was unloaded; try again")
        _deliver([(task, error) for task in self._queue.close()])
        for thread in self._threads:
            thread.join()

    def _pieces(self, call: Call, arrays: Sequence[np.ndarray]) -> list[Sequence[np.ndarray]]:
        """A request of more rows than a batch takes, in pieces."""
        rows = arrays[0].shape[0] if arrays and arrays[0].ndim else 0
        most = self._batching.max_batch_size if self._batching and call.batchable else rows
        if self._batching is None or rows <= most or not has_rows(arrays, rows=rows):
            return [arrays]
        limit = (
            self._batching.max_request_rows or rows if self._batching.enable_large_batch_splitting else most
        )
        if rows > limit:
            raise errors.invalid_argument(f"Task size {rows} is larger than maximum input batch size {limit}")
        return [[array[start : start + most] for array in arrays] for start in range(0, rows, most)]

    def _expire(self, tasks: list[Task]) -> None:
        """Answers what still waits a little before its deadline; what runs has until then."""
        for task in tasks:
            state = self._queue.drop(task, late=True)
            if state is State.RUNNING and task.deadline is not None and task.deadline > time.monotonic():
                task.loop.call_at(task.deadline, self._expire, [task])
            else:
                task.fail(expired(state))

    def _forget(self, task: Task) -> None:
        """Drops a task whose caller does not wait any more."""
        self._queue.drop(task)
        if not task.future.cancel() and not task.future.cancelled():
            task.future.exception()  # retrieve it, or asyncio logs 'exception was never retrieved'

    def _work(self) -> None:
        while tasks := self._queue.take():
            _deliver(self._answers(tasks))
            del tasks  # its arrays may be large, and the next one may be long in coming

    def _answers(self, tasks: list[Task]) -> list[Answer]:
        """Runs tasks together; when that fails, in halves, so that a bad request fails alone."""
        try:
            results: Sequence[list[np.ndarray] | ServingError] = self._run(tasks)
        except _RowsLost:
            return [answer for task in tasks for answer in self._answers([task])]
        except ServingError as error:
            if len(tasks) > 1:
                middle = len(tasks) // 2
                return [*self._answers(tasks[:middle]), *self._answers(tasks[middle:])]
            results = [error]
        except Exception as error:  # a thread that dies would leave every later caller waiting
            logger.exception("a call failed in an unforeseen way")
            message = f"{type(error).__name__}: {error}"
            results = [ServingError(grpc.StatusCode.INTERNAL, message)] * len(tasks)
        return list(zip(tasks, results, strict=True))

    def _run(self, tasks: list[Task]) -> list[list[np.ndarray]]:
        call, sizes = tasks[0].call, [task.rows for task in tasks]
        rows = sum(sizes)
        padded = rows
        if self._batching and call.batchable and tasks[0].key is not None:
            padded = padded_size(rows, allowed=self._batching.allowed_batch_sizes)
        arrays = merge([task.arrays for task in tasks], padding=padded - rows)
        start = time.monotonic()
        with self._marked(self._name):
            outputs = call.function(*arrays)
        call.note(time.monotonic() - start, rows=padded)
        with self._counting:
            self._batch_sizes[rows] += 1
        if len(tasks) == 1 and padded == rows:
            return [list(outputs)]
        if not has_rows(outputs, rows=padded):
            call.batchable = False
            shapes = [output.shape for output in outputs]
            logger.warning("a signature gave shapes %s for %d rows; it is no longer batched", shapes, padded)
            raise _RowsLost
        return split(outputs, sizes=sizes)


class _RowsLost(Exception):
    """The outputs of a batch do not have its rows: it cannot be taken apart."""


def _deliver(answers: list[Answer]) -> None:
    """Hands answers to the event loops that wait for them, in one step for each."""
    loops = {task.loop for task, _ in answers}
    for loop in loops:
        mine = [answer for answer in answers if answer[0].loop is loop]
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:  # the loop is closed: the caller is gone
            logger.info("%d answers came after the server had stopped", len(mine))


def _settle(answers: list[Answer]) -> None:
    for task, answer in answers:
        if isinstance(answer, ServingError):
            task.fail(answer)
        elif not task.future.done():
            task.future.set_result(answer)
