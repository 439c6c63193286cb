"""The queue: what runs together, what is dropped, what is refused, and who gets which answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from serving.model_server import batching
from serving.model_server.batching import BatchingParameters
from serving.model_server.errors import ServingError
from serving.model_server.scheduler import Scheduler
from serving.model_server.tasks import Call

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


Made = Callable[..., Scheduler]


@pytest.fixture
def make() -> Iterator[Made]:
    schedulers: list[Scheduler] = []

    def scheduler(**parameters: Any) -> Scheduler:
        schedulers.append(Scheduler(batching=BatchingParameters(**{"num_batch_threads": 1, **parameters})))
        return schedulers[-1]

    yield scheduler
    for made in schedulers:
        made.close()


def arrays(*values: int) -> list[np.ndarray]:
    return [np.array(values, np.int32)]


def answers(outputs: list[np.ndarray]) -> list[Any]:
    return [output.tolist() for output in outputs]


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


async def behind(recorder: Recorder, scheduler: Scheduler, *requests: Any) -> tuple[Any, list[Any]]:
    """Starts `requests` while a first one runs, lets it go when they wait, and gives all answers."""
    recorder.hold()
    first = asyncio.ensure_future(scheduler.run(recorder.call, arrays(0)))
    await asyncio.to_thread(recorder.started.wait, 20)
    tasks = [asyncio.ensure_future(request) for request in requests]
    await asyncio.sleep(0.05)
    recorder.go.set()
    await first
    return first, await asyncio.gather(*tasks, return_exceptions=True)


def test_what_waits_runs_together_and_everybody_gets_his_own_rows(make: Made) -> None:
    scheduler, recorder = make(max_batch_size=4), Recorder()

    async def main() -> list[Any]:
        requests = [scheduler.run(recorder.call, arrays(*values)) for values in ([1], [2, 3], [4], [5])]
        return (await behind(recorder, scheduler, *requests))[1]

    assert [answers(a) for a in run(main())] == [[[2]], [[4, 6]], [[8]], [[10]]]
    assert recorder.batches == [[0], [1, 2, 3, 4], [5]]


def test_a_batch_is_padded_to_an_allowed_size_and_the_padding_is_cut_away(make: Made) -> None:
    scheduler, recorder = make(max_batch_size=8, allowed_batch_sizes=(2, 8)), Recorder()

    async def main() -> list[Any]:
        requests = [scheduler.run(recorder.call, arrays(*values)) for values in ([7], [8, 9])]
        return (await behind(recorder, scheduler, *requests))[1]

    assert [answers(a) for a in run(main())] == [[[14]], [[16, 18]]]
    assert recorder.batches == [[0, 0], [7, 8, 9, 7, 7, 7, 7, 7]]


def test_large_requests_run_in_pieces_where_splitting_is_on_and_are_refused_where_it_is_off(
    make: Made,
) -> None:
    splitting, recorder = make(max_batch_size=2, enable_large_batch_splitting=True), Recorder()
    assert answers(run(splitting.run(recorder.call, arrays(1, 2, 3, 4, 5)))) == [[2, 4, 6, 8, 10]]
    assert recorder.batches == [[1, 2], [3, 4], [5]]
    refusing = make(max_batch_size=2, enable_large_batch_splitting=False)
    with pytest.raises(ServingError) as error:
        run(refusing.run(recorder.call, arrays(1, 2, 3)))
    assert error.value.code is CODE.INVALID_ARGUMENT
    assert error.value.message == "Task size 3 is larger than maximum input batch size 2"


def test_requests_of_other_calls_dtypes_or_row_shapes_never_share_a_batch(make: Made) -> None:
    scheduler, recorder, other = make(max_batch_size=8), Recorder(), Recorder()
    wide = np.array([[1, 2]], np.int32)

    async def main() -> list[Any]:
        requests = [
            scheduler.run(recorder.call, arrays(1)),
            scheduler.run(other.call, arrays(2)),
            scheduler.run(recorder.call, [np.array([3.5])]),
            scheduler.run(recorder.call, [wide]),
            scheduler.run(recorder.call, arrays(4)),
        ]
        return (await behind(recorder, scheduler, *requests))[1]

    assert [answers(a) for a in run(main())] == [[[2]], [[4]], [[7.0]], [[[2, 4]]], [[8]]]
    assert recorder.batches == [[0], [1, 4], [3.5], [[1, 2]]]
    assert other.batches == [[2]]


def test_a_bad_request_fails_alone(make: Made) -> None:
    scheduler, recorder = make(max_batch_size=8), Recorder()

    async def main() -> list[Any]:
        requests = [scheduler.run(recorder.call, arrays(value)) for value in (1, 2, -1, 4)]
        return (await behind(recorder, scheduler, *requests))[1]

    one, two, bad, four = run(main())
    assert [answers(a) for a in (one, two, four)] == [[[2]], [[4]], [[8]]]
    assert isinstance(bad, ServingError)
    assert bad.message == "a negative number"
    assert recorder.batches == [[0], [1, 2, -1, 4], [1, 2], [-1, 4], [-1], [4]]


def test_an_unforeseen_error_is_told_and_the_thread_lives(
    make: Made, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = make()
    broken = Call(function=lambda x: [x[5]], batchable=True)
    with pytest.raises(ServingError, match="IndexError: index 5 is out of bounds") as error:
        run(scheduler.run(broken, arrays(1)))
    assert error.value.code is CODE.INTERNAL
    assert answers(run(scheduler.run(Recorder().call, arrays(1)))) == [[2]]


def test_scalars_are_not_batched(make: Made) -> None:
    scheduler, recorder = make(max_batch_size=8), Recorder()

    async def main() -> list[Any]:
        requests = [scheduler.run(recorder.call, [np.array(value)]) for value in (1, 2)]
        return (await behind(recorder, scheduler, *requests))[1]

    assert [answers(a) for a in run(main())] == [[2], [4]]
    assert recorder.batches == [[0], 1, 2]


@pytest.mark.parametrize("allowed", [(), (8,)])
def test_a_call_whose_outputs_lose_rows_is_run_alone_from_then_on(make: Made, allowed: tuple[int]) -> None:
    scheduler, recorder = make(max_batch_size=8, allowed_batch_sizes=allowed), Recorder()
    sums = Call(function=lambda x: [x.sum(keepdims=True)], batchable=True)

    async def main() -> list[Any]:
        requests = [scheduler.run(sums, arrays(*values)) for values in ([1, 2], [3])]
        return (await behind(recorder, scheduler, *requests))[1]

    assert [answers(a) for a in run(main())] == [[[3]], [[3]]]
    assert not sums.batchable


def test_a_large_request_whose_outputs_lose_rows_is_run_again_in_one_piece(make: Made) -> None:
    scheduler = make(max_batch_size=2, enable_large_batch_splitting=True)
    sums = Call(function=lambda x: [x.sum(keepdims=True)], batchable=True)
    assert answers(run(scheduler.run(sums, arrays(1, 2, 3)))) == [[6]]


def test_g13_expired_requests_are_answered_at_once_and_never_run(make: Made) -> None:
    """The caller is released at its deadline, with RESOURCE_EXHAUSTED where its request only waited."""
    scheduler, recorder = make(max_batch_size=8), Recorder()

    async def main() -> tuple[ServingError, float]:
        recorder.hold()
        first = asyncio.ensure_future(scheduler.run(recorder.call, arrays(0)))
        await asyncio.to_thread(recorder.started.wait, 20)
        start = time.monotonic()
        with pytest.raises(ServingError) as error:
            await scheduler.run(recorder.call, arrays(1), deadline=start + 0.05)
        seconds = time.monotonic() - start
        recorder.go.set()
        await first
        return error.value, seconds

    error, seconds = run(main())
    assert error.code is CODE.RESOURCE_EXHAUSTED
    assert error.message == "Run() timeout exceeded while waiting in batching queue"
    assert 0.03 < seconds < 0.15
    assert answers(run(scheduler.run(recorder.call, arrays(2)))) == [[4]]
    assert recorder.batches == [[0], [2]]


def test_g13_a_caller_is_released_while_its_request_runs(make: Made) -> None:
    scheduler, recorder = make(), Recorder()

    async def main() -> float:
        recorder.hold()
        start = time.monotonic()
        with pytest.raises(ServingError) as error:
            await scheduler.run(recorder.call, arrays(1), deadline=start + 0.05)
        assert error.value.code is CODE.DEADLINE_EXCEEDED
        return time.monotonic() - start

    assert 0.045 < run(main()) < 0.15
    recorder.go.set()


def test_g13_a_deadline_that_has_passed_is_not_even_queued(make: Made) -> None:
    scheduler, recorder = make(), Recorder()
    with pytest.raises(ServingError) as error:
        run(scheduler.run(recorder.call, arrays(1), deadline=time.monotonic() - 1))
    assert error.value.code is CODE.RESOURCE_EXHAUSTED
    assert recorder.batches == []


def test_abandoned_requests_are_never_run(make: Made) -> None:
    scheduler, recorder = make(max_batch_size=8), Recorder()

    async def main() -> None:
        recorder.hold()
        first = asyncio.ensure_future(scheduler.run(recorder.call, arrays(0)))
        await asyncio.to_thread(recorder.started.wait, 20)
        gone = asyncio.ensure_future(scheduler.run(recorder.call, arrays(1)))
        kept = asyncio.ensure_future(scheduler.run(recorder.call, arrays(2)))
        await asyncio.sleep(0.02)
        gone.cancel()
        await asyncio.sleep(0.02)
        recorder.go.set()
        await asyncio.gather(first, kept)

    run(main())
    assert recorder.batches == [[0], [2]]


def test_b1_a_full_queue_refuses_with_unavailable_and_takes_again_when_it_has_emptied(make: Made) -> None:
    scheduler, recorder = make(max_batch_size=2, max_enqueued_batches=2), Recorder()

    async def main() -> list[Any]:
        requests = [scheduler.run(recorder.call, arrays(value)) for value in (1, 2, 3, 4, 5)]
        return (await behind(recorder, scheduler, *requests))[1]

    *served, refused = run(main())
    assert [answers(a) for a in served] == [[[2]], [[4]], [[6]], [[8]]]
    assert isinstance(refused, ServingError)
    assert refused.code is CODE.UNAVAILABLE
    assert refused.message.startswith("The batch scheduling queue to which this task was submitted is full")
    assert answers(run(scheduler.run(recorder.call, arrays(6)))) == [[12]]


def test_what_expired_or_was_abandoned_makes_room_in_the_queue(make: Made) -> None:
    scheduler, recorder = make(max_batch_size=1, max_enqueued_batches=1), Recorder()

    async def main() -> list[np.ndarray]:
        recorder.hold()
        first = asyncio.ensure_future(scheduler.run(recorder.call, arrays(0)))
        await asyncio.to_thread(recorder.started.wait, 20)
        with pytest.raises(ServingError):
            await scheduler.run(recorder.call, arrays(1), deadline=time.monotonic() + 0.02)
        second = asyncio.ensure_future(scheduler.run(recorder.call, arrays(2)))
        await asyncio.sleep(0.02)
        recorder.go.set()
        await first
        return await second

    assert answers(run(main())) == [[4]]


def test_b1_a_batch_that_is_not_full_waits_as_long_as_it_is_told(make: Made) -> None:
    scheduler, recorder = make(max_batch_size=2, batch_timeout_micros=300_000), Recorder()

    async def main() -> tuple[float, float]:
        start = time.monotonic()
        await asyncio.gather(*[scheduler.run(recorder.call, arrays(value)) for value in (1, 2)])
        full = time.monotonic() - start
        await scheduler.run(recorder.call, arrays(3))
        return full, time.monotonic() - start - full

    full, alone = run(main())
    assert full < 0.2
    assert 0.29 < alone < 0.6
    assert recorder.batches == [[1, 2], [3]]


def test_under_overload_what_cannot_be_done_in_time_is_dropped_and_the_newest_mostly_comes_first(
    make: Made,
) -> None:
    scheduler, recorder = make(max_batch_size=1), Recorder()
    values = range(2, 12)

    async def main() -> list[Any]:
        recorder.call.row_seconds, now = 100.0, time.monotonic()
        requests = [scheduler.run(recorder.call, arrays(1), deadline=now + 9)]
        requests += [scheduler.run(recorder.call, arrays(v), deadline=now + 900) for v in values]
        return (await behind(recorder, scheduler, *requests))[1]

    dropped, *served = run(main())
    assert isinstance(dropped, ServingError)
    assert dropped.code is CODE.RESOURCE_EXHAUSTED
    assert [answers(a) for a in served] == [[[2 * value]] for value in values]
    # The eighth batch is one of the oldest; what had no time left is not run at all.
    assert [x for (x,) in recorder.batches] == [0, 11, 10, 9, 8, 7, 6, 2, 5, 4, 3]


def test_a_batch_takes_no_more_rows_than_can_be_done_before_the_first_deadline_in_it(make: Made) -> None:
    scheduler, recorder = make(max_batch_size=8), Recorder()

    async def main() -> list[Any]:
        recorder.call.row_seconds, recorder.call.spread_seconds = 100.0, 100.0
        now = time.monotonic()
        lives = (None, 350, 350, 900, 900)
        requests = [
            scheduler.run(recorder.call, arrays(i), deadline=life and now + life)
            for i, life in enumerate(lives, start=1)
        ]
        return (await behind(recorder, scheduler, *requests))[1]

    assert [answers(a) for a in run(main())] == [[[2]], [[4]], [[6]], [[8]], [[10]]]
    assert recorder.batches == [[0], [1, 2, 3], [4, 5]]


def test_what_cannot_be_done_in_time_runs_all_the_same_where_nothing_else_waits(make: Made) -> None:
    """Else an estimate that is wrong would never be corrected."""
    scheduler, recorder = make(max_batch_size=1), Recorder()
    recorder.call.row_seconds = 10.0
    deadline = time.monotonic() + 5
    assert answers(run(scheduler.run(recorder.call, arrays(1), deadline=deadline))) == [[2]]


def test_closing_refuses_what_waits_and_finishes_what_runs() -> None:
    scheduler, recorder = (
        Scheduler(batching=BatchingParameters(max_batch_size=1, num_batch_threads=1)),
        Recorder(),
    )

    async def main() -> list[Any]:
        recorder.hold()
        running = asyncio.ensure_future(scheduler.run(recorder.call, arrays(1)))
        await asyncio.to_thread(recorder.started.wait, 20)
        waiting = asyncio.ensure_future(scheduler.run(recorder.call, arrays(2)))
        await asyncio.sleep(0.02)
        closing = asyncio.ensure_future(asyncio.to_thread(scheduler.close))
        await asyncio.sleep(0.02)
        recorder.go.set()
        await closing
        return await asyncio.gather(running, waiting, return_exceptions=True)

    served, refused = run(main())
    assert answers(served) == [[2]]
    assert isinstance(refused, ServingError)
    assert refused.code is CODE.UNAVAILABLE
    with pytest.raises(ServingError) as error:
        run(scheduler.run(recorder.call, arrays(3)))
    assert error.value.code is CODE.UNAVAILABLE


def test_without_batching_each_request_runs_alone() -> None:
    scheduler, recorder = Scheduler(), Recorder()

    async def main() -> list[Any]:
        return await asyncio.gather(*[scheduler.run(recorder.call, arrays(v)) for v in range(20)])

    assert [answers(a) for a in run(main())] == [[[2 * v]] for v in range(20)]
    assert sorted(recorder.batches) == [[v] for v in range(20)]
    scheduler.close()


def test_many_callers_on_many_loops_get_their_own_answers(make: Made) -> None:
    scheduler, recorder = make(max_batch_size=8, num_batch_threads=3), Recorder()
    wrong: list[Any] = []

    async def ask(offset: int) -> None:
        for value in range(offset, offset + 200):
            if answers(await scheduler.run(recorder.call, arrays(value, value + 1))) != [
                [2 * value, 2 * value + 2]
            ]:
                wrong.append(value)

    async def main(offset: int) -> None:
        await asyncio.gather(*[ask(offset + 1000 * i) for i in range(8)])

    threads = [threading.Thread(target=run, args=(main(10_000 * i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(map(len, recorder.batches)) == 4 * 8 * 200 * 2
    assert max(map(len, recorder.batches)) == 8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size is 0: give 1 or more"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros is -1: give 0 or more"),
        ({"num_batch_threads": 0}, "num_batch_threads is 0: give 1 or more"),
        ({"max_enqueued_batches": 0}, "max_enqueued_batches is 0: give 1 or more"),
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (4, 2, 8)},
            r"allowed_batch_sizes is \[4, 2, 8\]: give increasing numbers",
        ),
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (2, 4)},
            "allowed_batch_sizes ends in 4: the last one must be max_batch_size, which is 8",
        ),
    ],
)
def test_b1_settings_that_cannot_be_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchingParameters(**values)


def test_rows_are_put_together_and_taken_apart() -> None:
    one, two = [np.array([b"a"], object)], [np.array([b"b", b"c"], object)]
    (merged,) = batching.merge([one, two], padding=2)
    assert merged.tolist() == [b"a", b"b", b"c", b"a", b"a"]
    parts = batching.split([merged], sizes=[1, 2])
    assert [[array.tolist() for array in part] for part in parts] == [[[b"a"]], [[b"b", b"c"]]]
