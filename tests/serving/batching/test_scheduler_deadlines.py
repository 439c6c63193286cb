"""What is answered late, dropped or refused: deadlines, callers that go, a queue that is full."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from serving.model_server.errors import ServingError
from tests.serving.batching.schedulers import CODE, MakeScheduler, Recorder, answers, arrays, behind, run


def test_g13_expired_requests_are_answered_at_once_and_never_run(make_scheduler: MakeScheduler) -> None:
    """The caller is released at its deadline, with RESOURCE_EXHAUSTED where its request only waited."""
    scheduler, recorder = make_scheduler(max_batch_size=8), Recorder()

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


def test_g13_a_caller_is_released_while_its_request_runs(make_scheduler: MakeScheduler) -> None:
    scheduler, recorder = make_scheduler(), Recorder()

    async def main() -> float:
        recorder.hold()
        start = time.monotonic()
        with pytest.raises(ServingError) as error:
            await scheduler.run(recorder.call, arrays(1), deadline=start + 0.05)
        assert error.value.code is CODE.DEADLINE_EXCEEDED
        return time.monotonic() - start

    assert 0.045 < run(main()) < 0.15
    recorder.go.set()


def test_g13_a_deadline_that_has_passed_is_not_even_queued(make_scheduler: MakeScheduler) -> None:
    scheduler, recorder = make_scheduler(), Recorder()
    with pytest.raises(ServingError) as error:
        run(scheduler.run(recorder.call, arrays(1), deadline=time.monotonic() - 1))
    assert error.value.code is CODE.RESOURCE_EXHAUSTED
    assert recorder.batches == []


def test_abandoned_requests_are_never_run(make_scheduler: MakeScheduler) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=8), Recorder()

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


def test_b1_a_full_queue_refuses_with_unavailable_and_takes_again_when_it_has_emptied(
    make_scheduler: MakeScheduler,
) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=2, max_enqueued_batches=2), Recorder()
    requests = [scheduler.run(recorder.call, arrays(value)) for value in (1, 2, 3, 4, 5)]
    *served, refused = behind(recorder, scheduler, *requests)
    assert [answers(a) for a in served] == [[[2]], [[4]], [[6]], [[8]]]
    assert isinstance(refused, ServingError)
    assert refused.code is CODE.UNAVAILABLE
    assert refused.message.startswith("The batch scheduling queue to which this task was submitted is full")
    assert answers(run(scheduler.run(recorder.call, arrays(6)))) == [[12]]


def test_what_expired_or_was_abandoned_makes_room_in_the_queue(make_scheduler: MakeScheduler) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=1, max_enqueued_batches=1), Recorder()

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


def test_under_overload_what_cannot_be_done_in_time_is_dropped_and_the_newest_mostly_comes_first(
    make_scheduler: MakeScheduler,
) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=1), Recorder()
    values = range(2, 12)
    recorder.call.row_seconds, now = 100.0, time.monotonic()
    requests = [scheduler.run(recorder.call, arrays(1), deadline=now + 9)]
    requests += [scheduler.run(recorder.call, arrays(v), deadline=now + 900) for v in values]
    dropped, *served = behind(recorder, scheduler, *requests)
    assert isinstance(dropped, ServingError)
    assert dropped.code is CODE.RESOURCE_EXHAUSTED
    assert [answers(a) for a in served] == [[[2 * value]] for value in values]
    # The eighth batch is one of the oldest; what had no time left is not run at all.
    assert [x for (x,) in recorder.batches] == [0, 11, 10, 9, 8, 7, 6, 2, 5, 4, 3]


def test_a_batch_takes_no_more_rows_than_can_be_done_before_the_first_deadline_in_it(
    make_scheduler: MakeScheduler,
) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=8), Recorder()
    recorder.call.row_seconds, recorder.call.spread_seconds = 100.0, 100.0
    now = time.monotonic()
    lives = (None, 350, 350, 900, 900)
    requests = [
        scheduler.run(recorder.call, arrays(i), deadline=life and now + life)
        for i, life in enumerate(lives, start=1)
    ]
    assert [answers(a) for a in behind(recorder, scheduler, *requests)] == [
        [[2]],
        [[4]],
        [[6]],
        [[8]],
        [[10]],
    ]
    assert recorder.batches == [[0], [1, 2, 3], [4, 5]]


def test_what_cannot_be_done_in_time_runs_all_the_same_where_nothing_else_waits(
    make_scheduler: MakeScheduler,
) -> None:
    """Else an estimate that is wrong would never be corrected."""
    scheduler, recorder = make_scheduler(max_batch_size=1), Recorder()
    recorder.call.row_seconds = 10.0
    deadline = time.monotonic() + 5
    assert answers(run(scheduler.run(recorder.call, arrays(1), deadline=deadline))) == [[2]]
