"""The queue: what runs together, what is dropped, what is refused, and who gets which answer."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.model_server import process
from serving.model_server.batching.queue import Call
from serving.model_server.batching.scheduler import Scheduler
from serving.model_server.config.settings import BatchingParameters
from serving.model_server.errors import ServingError
from tests.serving.batching.schedulers import CODE, MakeScheduler, Recorder, answers, arrays, behind, run


def test_what_waits_runs_together_and_everybody_gets_his_own_rows(make_scheduler: MakeScheduler) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=4), Recorder()
    requests = [scheduler.run(recorder.call, arrays(*values)) for values in ([1], [2, 3], [4], [5])]
    assert [answers(a) for a in behind(recorder, scheduler, *requests)] == [[[2]], [[4, 6]], [[8]], [[10]]]
    assert recorder.batches == [[0], [1, 2, 3, 4], [5]]


def test_a_batch_is_padded_to_an_allowed_size_and_the_padding_is_cut_away(
    make_scheduler: MakeScheduler,
) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=8, allowed_batch_sizes=(2, 8)), Recorder()
    requests = [scheduler.run(recorder.call, arrays(*values)) for values in ([7], [8, 9])]
    assert [answers(a) for a in behind(recorder, scheduler, *requests)] == [[[14]], [[16, 18]]]
    assert recorder.batches == [[0, 0], [7, 8, 9, 7, 7, 7, 7, 7]]


def test_large_requests_run_in_pieces_where_splitting_is_on_and_are_refused_where_it_is_off(
    make_scheduler: MakeScheduler,
) -> None:
    splitting, recorder = make_scheduler(max_batch_size=2, enable_large_batch_splitting=True), Recorder()
    assert answers(run(splitting.run(recorder.call, arrays(1, 2, 3, 4, 5)))) == [[2, 4, 6, 8, 10]]
    assert recorder.batches == [[1, 2], [3, 4], [5]]
    capped = make_scheduler(max_batch_size=2, max_request_rows=4)
    assert answers(run(capped.run(recorder.call, arrays(1, 2, 3, 4)))) == [[2, 4, 6, 8]]
    with pytest.raises(ServingError) as too_many:
        run(capped.run(recorder.call, arrays(1, 2, 3, 4, 5)))
    assert too_many.value.message == "Task size 5 is larger than maximum input batch size 4"
    refusing = make_scheduler(max_batch_size=2, enable_large_batch_splitting=False)
    with pytest.raises(ServingError) as error:
        run(refusing.run(recorder.call, arrays(1, 2, 3)))
    assert error.value.code is CODE.INVALID_ARGUMENT
    assert error.value.message == "Task size 3 is larger than maximum input batch size 2"


def test_requests_of_other_calls_dtypes_or_row_shapes_never_share_a_batch(
    make_scheduler: MakeScheduler,
) -> None:
    scheduler, recorder, other = make_scheduler(max_batch_size=8), Recorder(), Recorder()
    wide = np.array([[1, 2]], np.int32)

    requests = [
        scheduler.run(recorder.call, arrays(1)),
        scheduler.run(other.call, arrays(2)),
        scheduler.run(recorder.call, [np.array([3.5])]),
        scheduler.run(recorder.call, [wide]),
        scheduler.run(recorder.call, arrays(4)),
    ]
    assert [answers(a) for a in behind(recorder, scheduler, *requests)] == [
        [[2]],
        [[4]],
        [[7.0]],
        [[[2, 4]]],
        [[8]],
    ]
    assert recorder.batches == [[0], [1, 4], [3.5], [[1, 2]]]
    assert other.batches == [[2]]


def test_a_bad_request_fails_alone(make_scheduler: MakeScheduler) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=8), Recorder()
    requests = [scheduler.run(recorder.call, arrays(value)) for value in (1, 2, -1, 4)]
    one, two, bad, four = behind(recorder, scheduler, *requests)
    assert [answers(a) for a in (one, two, four)] == [[[2]], [[4]], [[8]]]
    assert isinstance(bad, ServingError)
    assert bad.message == "a negative number"
    assert recorder.batches == [[0], [1, 2, -1, 4], [1, 2], [-1, 4], [-1], [4]]


def test_an_unforeseen_error_is_told_and_the_thread_lives(
    make_scheduler: MakeScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = make_scheduler()
    broken = Call(function=lambda x: [x[5]], batchable=True)
    with pytest.raises(ServingError, match="IndexError: index 5 is out of bounds") as error:
        run(scheduler.run(broken, arrays(1)))
    assert error.value.code is CODE.INTERNAL
    assert answers(run(scheduler.run(Recorder().call, arrays(1)))) == [[2]]


def test_scalars_are_not_batched(make_scheduler: MakeScheduler) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=8), Recorder()
    requests = [scheduler.run(recorder.call, [np.array(value)]) for value in (1, 2)]
    assert [answers(a) for a in behind(recorder, scheduler, *requests)] == [[2], [4]]
    assert recorder.batches == [[0], 1, 2]


@pytest.mark.parametrize("allowed", [(), (8,)])
def test_a_call_whose_outputs_lose_rows_is_run_alone_from_then_on(
    make_scheduler: MakeScheduler, allowed: tuple[int]
) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=8, allowed_batch_sizes=allowed), Recorder()
    sums = Call(function=lambda x: [x.sum(keepdims=True)], batchable=True)

    requests = [scheduler.run(sums, arrays(*values)) for values in ([1, 2], [3])]
    assert [answers(a) for a in behind(recorder, scheduler, *requests)] == [[[3]], [[3]]]
    assert not sums.batchable


def test_a_large_request_whose_outputs_lose_rows_is_run_again_in_one_piece(
    make_scheduler: MakeScheduler,
) -> None:
    scheduler = make_scheduler(max_batch_size=2, enable_large_batch_splitting=True)
    sums = Call(function=lambda x: [x.sum(keepdims=True)], batchable=True)
    assert answers(run(scheduler.run(sums, arrays(1, 2, 3)))) == [[6]]


def test_b1_a_batch_that_is_not_full_waits_as_long_as_it_is_told(make_scheduler: MakeScheduler) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=2, batch_timeout_micros=300_000), Recorder()

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


def test_the_thread_that_has_just_run_runs_again_and_others_only_beside_it(
    make_scheduler: MakeScheduler,
) -> None:
    scheduler, threads = make_scheduler(max_batch_size=1, num_batch_threads=3), []
    both = threading.Barrier(2, timeout=20)

    def note(x: np.ndarray) -> list[np.ndarray]:
        threads.append(threading.get_ident())
        if x[0]:
            both.wait()
        return [x]

    call = Call(function=note, batchable=True)

    async def main() -> None:
        for _ in range(10):
            await scheduler.run(call, arrays(0))
            await asyncio.sleep(0.05)  # until it waits again
        await asyncio.gather(*[scheduler.run(call, arrays(1)) for _ in range(2)])

    run(main())
    assert len(set(threads[1:10])) == 1  # of the first one, all three may still be on their way to wait
    assert len(set(threads[10:])) == 2


def test_many_callers_on_many_loops_get_their_own_answers(make_scheduler: MakeScheduler) -> None:
    scheduler, recorder = make_scheduler(max_batch_size=8, num_batch_threads=3), Recorder()
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


def test_a_scheduler_under_a_supervisor_notes_the_version_that_runs(
    make_scheduler: MakeScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, seen = tmp_path / "running", []
    process.create_record(file)

    def look(x: np.ndarray) -> list[np.ndarray]:
        seen.append(process.read_record(file))
        return [x]

    run(make_scheduler().run(Call(function=look, batchable=True), arrays(1)))
    monkeypatch.setenv(process.FILE_VARIABLE, str(file))
    run(make_scheduler().run(Call(function=look, batchable=True), arrays(1)))
    assert (seen, process.read_record(file)) == ([[], ["model"]], [])
