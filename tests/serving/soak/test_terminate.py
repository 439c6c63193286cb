"""SIGTERM: everybody who waits is answered, nobody new is let in, and the process ends well."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.processes import RunningServer
from tests.serving.soak.callers import CALLERS, Answer, in_threads
from tests.serving.soak.clock import ask, turns_for
from tests.serving.soak.models import save_clock


def terminate(server: RunningServer, *, in_flight: int) -> dict[str, Any]:
    """Sends SIGTERM when one call has been answered that kept `in_flight` others waiting, half by each protocol.

    Args:
        server: serves a `Clock` as `model`, one call at a time.
        in_flight: calls under way at that moment.
    """
    turns = turns_for(server, seconds=0.02)
    answers: list[Answer] = []
    first = threading.Event()
    callers = [CALLERS[number % 2](server) for number in range(in_flight)]
    for caller in callers:
        ask(caller, turns=0)  # each has its connection

    def hold() -> None:
        ask(caller := CALLERS[0](server), turns=30 * turns)
        first.set()
        caller.close()

    def wait(number: int) -> None:
        answers.append(ask(callers[number], turns=turns))

    holder = threading.Thread(target=hold)
    holder.start()
    time.sleep(0.1)
    threads = in_threads(wait, in_flight)
    assert first.wait(60)
    waiting = in_flight - len(answers)
    server.process.send_signal(signal.SIGTERM)
    late = _late_calls(server)
    for thread in [holder, *threads]:
        thread.join()
    status = server.process.wait(60)
    for caller in callers:
        caller.close()
    return {
        "in_flight": waiting,
        "answers": dict(Counter(f"{answer.code} {answer.message}".strip() for answer in answers)),
        "new_calls": late,
        "status": status,
    }


def _late_calls(server: RunningServer) -> list[str]:
    """What new clients are told once the server stops."""
    time.sleep(0.1)
    codes = []
    for make in CALLERS:
        caller = make(server)
        codes.append(ask(caller, turns=0).code)
        caller.close()
    return codes


def check(figures: dict[str, Any], *, in_flight: int, report: Callable[..., None]) -> None:
    report(**figures)
    assert figures["answers"] == {"OK": in_flight}
    assert figures["status"] == 0
    # Refused in words, or at the door.
    assert figures["new_calls"][0] == "UNAVAILABLE"
    assert figures["new_calls"][1] in ("503", "CONNECTION")


@pytest.fixture
def serve(tmp_path: Path, start_server: Any, batching_flags: Any) -> Callable[[], RunningServer]:
    save_clock(tmp_path / "model" / "1")
    flags = batching_flags(max_batch_size=1, max_enqueued_batches=100, num_batch_threads=1)
    place = ("--model_name=model", f"--model_base_path={tmp_path / 'model'}")
    return lambda: start_server(*place, *flags)


def test_sigterm_with_32_in_flight(serve: Callable[[], RunningServer], report: Callable[..., None]) -> None:
    check(terminate(serve(), in_flight=32), in_flight=32, report=report)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_20_times_sigterm_with_32_in_flight(
    serve: Callable[[], RunningServer], report: Callable[..., None]
) -> None:
    for _ in range(20):
        figures = terminate(serve(), in_flight=32)
        check(figures, in_flight=32, report=report)
        assert figures["in_flight"] >= 31
