"""Deadlines behind a full queue: callers go when theirs is over, and nothing is run that nobody waits for."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.model_server.config.settings import default_num_batch_threads
from tests.serving.processes import RunningServer
from tests.serving.soak.callers import Answer, GrpcCaller, in_threads
from tests.serving.soak.clock import ask, counts, turns_for
from tests.serving.soak.models import save_clock

_DEADLINE_SECONDS = 0.05


def expire(busy: Busy, *, num_calls: int, busy_seconds: float, clients: int = 16) -> dict[str, Any]:
    """Calls with 50 ms to live while the model is busy with others, which fill the queue before them.

    Args:
        busy: serves a `Clock` as `model`.
        num_calls: that expire, of all clients together.
        busy_seconds: how long each of the others would run alone: longer than the calls take to be sent and to expire.
        clients: threads that send them.
    """
    server, num_blockers = busy.server, busy.blockers
    turns = turns_for(server, seconds=busy_seconds)
    before = counts(server)
    callers = [GrpcCaller(server) for _ in range(clients + num_blockers)]
    for caller in callers:
        ask(caller, turns=0)  # each has its connection
    blocked: list[Answer] = []
    blockers = in_threads(lambda n: blocked.append(ask(callers[clients + n], turns=turns)), num_blockers)
    time.sleep(0.3)
    answers: list[Answer] = []

    def expire_in_turns(number: int) -> None:
        for _ in range(num_calls // clients):
            deadline = time.time() + _DEADLINE_SECONDS
            answers.append(ask(callers[number], turns=1, deadline=deadline, timeout=_DEADLINE_SECONDS))

    for thread in in_threads(expire_in_turns, clients):
        thread.join()
    still_busy = not blocked
    for thread in blockers:
        thread.join()
    time.sleep(0.2)
    after = counts(server)
    for caller in callers:
        caller.close()
    return {
        "calls": len(answers),
        "codes": dict(Counter(answer.code for answer in answers)),
        "slowest_release_ms": round(max(answer.ms for answer in answers), 1),
        "busy_to_the_end": still_busy,
        "expired_rows_run": after[0] - before[0] - len(callers) - num_blockers,
        "late_rows": after[1],
    }


def check(figures: dict[str, Any], *, report: Callable[..., None]) -> None:
    report(**figures)
    assert figures["busy_to_the_end"], "the model was free too early: nothing was tested"
    assert set(figures["codes"]) <= {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNAVAILABLE"}
    assert figures["expired_rows_run"] == 0
    assert figures["late_rows"] == 0


@dataclasses.dataclass(frozen=True)
class Busy:
    """A server, and how many calls keep all its threads from looking at the queue."""

    server: RunningServer
    blockers: int


@pytest.fixture(params=[False, True], ids=["unbatched", "batched"])
def busy(request: pytest.FixtureRequest, tmp_path: Path, start_server: Any, batching_flags: Any) -> Busy:
    """Serves a `Clock`; batched with one thread and a queue of eight rows, which the callers overfill.

    As many blockers as threads: whoever is not expired yet when one of them ends is answered, and rightly so.
    """
    save_clock(tmp_path / "model" / "1")
    queue = {"max_batch_size": 8, "num_batch_threads": 1, "max_enqueued_batches": 1}
    flags = batching_flags(**queue) if request.param else []
    server = start_server("--model_name=model", f"--model_base_path={tmp_path / 'model'}", *flags)
    return Busy(server, 1 if request.param else default_num_batch_threads())


def test_g13_what_expired_in_the_queue_is_never_run(busy: Busy, report: Callable[..., None]) -> None:
    for busy_seconds in (
        2.0,
        4.0,
        8.0,
        16.0,
    ):  # other work on the machine may slow the calls, or the measuring
        figures = expire(busy, num_calls=64, busy_seconds=busy_seconds)
        if figures["busy_to_the_end"]:
            break
    check(figures, report=report)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_1000_deadlines_of_50_ms(busy: Busy, report: Callable[..., None]) -> None:
    figures = expire(busy, num_calls=1008, busy_seconds=12.0)
    check(figures, report=report)
    assert figures["slowest_release_ms"] <= 100


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_nothing_begins_after_its_deadline_under_overload(busy: Busy, report: Callable[..., None]) -> None:
    """Half a minute of calls of 10 ms each with 50 ms to live, from 16 clients at once."""
    server, answers = busy.server, []
    turns, end = turns_for(server, seconds=0.01), time.monotonic() + 30

    def hurry(_: int) -> None:
        caller = GrpcCaller(server)
        while time.monotonic() < end:
            deadline = time.time() + _DEADLINE_SECONDS
            answers.append(ask(caller, turns=turns, deadline=deadline, timeout=_DEADLINE_SECONDS))
        caller.close()

    for thread in in_threads(hurry, 16):
        thread.join()
    rows, late = counts(server)
    codes = Counter(answer.code for answer in answers)
    slowest = round(max(answer.ms for answer in answers), 1)
    report(calls=len(answers), codes=dict(codes), slowest_ms=slowest, rows_run=rows, late_rows=late)
    assert codes["OK"] > 0
    assert late == 0


def test_a_rest_caller_that_hung_up_is_not_run(
    tmp_path: Path, start_server: Any, report: Callable[..., None]
) -> None:
    """REST has no deadline of the client's; to close the connection is to say that nobody waits.

    Half a second after the request or later: a FIN that comes with it means "that was all".
    """
    save_clock(tmp_path / "model" / "1")
    server = start_server("--model_name=model", f"--model_base_path={tmp_path / 'model'}")
    turns, callers = turns_for(server, seconds=1.5), [GrpcCaller(server) for _ in range(4)]
    for caller in callers:
        ask(caller, turns=0)
    before = counts(server)[0]
    blockers = in_threads(lambda number: ask(callers[number], turns=turns), len(callers))
    time.sleep(0.2)
    _post_and_hang_up(server, count=8)
    for thread in blockers:
        thread.join()
    time.sleep(0.2)
    run = counts(server)[0] - before - len(blockers)
    for caller in callers:
        caller.close()
    report(calls=8, abandoned_rows_run=run)
    assert run == 0


def _post_and_hang_up(server: RunningServer, *, count: int) -> None:
    body = b'{"instances": [{"deadline": 1e12, "turns": 1}]}'
    head = f"POST /v1/models/model:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with contextlib.ExitStack() as connections:
        for _ in range(count):
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", server.rest_port)))
            connection.sendall(head.encode() + body)
        time.sleep(
            0.7
        )  # a FIN that comes with the request means "that was all", and the answer is waited for
