"""Versions come and go under load: nobody is refused, and nobody is sent back to an older one."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.load.plan import percentile
from tests.serving.processes import RunningServer, wait_until
from tests.serving.soak.callers import CALLERS, Answer, in_threads, statuses
from tests.serving.soak.models import copy_version, save_echo


@dataclasses.dataclass
class Seen:
    """What serial clients were answered, in the order of each."""

    by_client: list[list[Answer]]
    idle: list[Answer] = dataclasses.field(default_factory=list)
    swaps: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    """From when a version appeared until the old one was gone, in seconds of `time.monotonic`."""

    @property
    def answers(self) -> list[Answer]:
        return [answer for mine in self.by_client for answer in mine]

    def steps_back(self) -> int:
        """How often a client got an older version than the one it had got before."""
        count = 0
        for mine in self.by_client:
            versions = [v for answer in mine if (v := version_of(answer)) is not None]
            count += sum(later < earlier for earlier, later in itertools.pairwise(versions))
        return count

    def while_loading(self) -> list[Answer]:
        return [a for a in self.answers if any(a.start < end and a.end > start for start, end in self.swaps)]

    def figures(self) -> dict[str, Any]:
        idle, loading = (sorted(a.ms for a in answers) for answers in (self.idle, self.while_loading()))
        p99_idle, p99_loading = percentile(idle, 99), percentile(loading, 99)
        return {
            "requests": len(self.answers),
            "swaps": len(self.swaps),
            "failures": sum(answer.code != "OK" for answer in self.answers),
            "steps_back": self.steps_back(),
            "seconds_a_swap": round(sum(end - start for start, end in self.swaps) / len(self.swaps), 2),
            "requests_while_loading": len(loading),
            "p99_idle_ms": round(p99_idle, 1),
            "p99_loading_ms": round(p99_loading, 1),
            "ratio": round(p99_loading / p99_idle, 2),
            "slowest_ms": round(max(answer.ms for answer in self.answers), 1),
        }


def version_of(answer: Answer) -> int | None:
    """As the model itself says; else as the server says, which it does not over REST."""
    return answer.outputs["version"][0] if "version" in answer.outputs else answer.version


def swap_under_load(
    server: RunningServer,
    *,
    push: Callable[[int], Path],
    num_requests: int,
    num_swaps: int,
    clients: int = 4,
    pause_seconds: float = 0.0,
) -> Seen:
    """Serial clients, each asking by gRPC and REST in turns, while versions 2, 3, ... replace each other.

    Args:
        server: serves version 1 of `model`.
        push: puts a version into its base path.
        num_requests: at least, all clients together, over all swaps; a fifth of it before, for comparison.
        num_swaps: spread over the requests.
        clients: threads.
        pause_seconds: of a client between two requests.
    """
    seen, swapping, done = Seen([[] for _ in range(clients)]), threading.Event(), threading.Event()
    idle: list[list[Answer]] = [[] for _ in range(clients)]

    def ask(number: int) -> None:
        callers = [make(server) for make in CALLERS]
        for turn in itertools.count(number):
            if done.is_set():
                break
            mine = seen.by_client[number] if swapping.is_set() else idle[number]
            mine.append(callers[turn % 2].call("model", {"text": [f"text {turn} of client {number}"]}))
            time.sleep(pause_seconds)
        for caller in callers:
            caller.close()

    threads = in_threads(ask, clients)
    wait_until(lambda: sum(map(len, idle)) >= num_requests / 5, seconds=3600)
    swapping.set()
    for swap in range(num_swaps):
        due = num_requests * swap / num_swaps
        wait_until(lambda due=due: len(seen.answers) >= due, seconds=3600)
        seen.swaps.append(_swap(server, push=push, version=swap + 2))
    wait_until(lambda: len(seen.answers) >= num_requests, seconds=3600)
    done.set()
    for thread in threads:
        thread.join()
    # The first answers of a process are slow in the client itself.
    seen.idle = [answer for mine in idle for answer in mine[5:]]
    return seen


def _swap(server: RunningServer, *, push: Callable[[int], Path], version: int) -> tuple[float, float]:
    push(version)
    start = time.monotonic()

    def is_done() -> bool:
        now = {number: state for number, (state, _) in statuses(server, "model").items()}
        return now.get(version) == "AVAILABLE" and now[version - 1] == "END"

    wait_until(is_done)
    return start, time.monotonic()


def check(seen: Seen, *, num_swaps: int) -> None:
    """What must hold on any machine."""
    assert [answer for answer in seen.idle + seen.answers if answer.code != "OK"] == []
    assert seen.steps_back() == 0
    versions = {version for answer in seen.answers if (version := version_of(answer)) is not None}
    assert versions == set(range(1, num_swaps + 2))


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    return tmp_path / "model"


@pytest.fixture
def serve(start_server: Callable[..., RunningServer], base_path: Path) -> Callable[..., RunningServer]:
    """Starts a server over the base path."""
    flags = ("--model_name=model", f"--model_base_path={base_path}", "--file_system_poll_wait_seconds=0.1")
    return lambda *more: start_server(*flags, *more)


@pytest.fixture
def save_echos(tmp_path: Path, base_path: Path) -> Callable[..., Callable[[int], Path]]:
    """Puts version 1 in place and gives what puts 2, 3, ... there.

    All are saved beforehand: to save one keeps the clients waiting, who are threads of the same process.
    """

    def save(num_versions: int, *, megabytes: float) -> Callable[[int], Path]:
        for version in range(1, num_versions + 1):
            save_echo(tmp_path / "saved" / str(version), megabytes=megabytes)
        base_path.mkdir()

        def push(version: int) -> Path:
            return (tmp_path / "saved" / str(version)).rename(base_path / str(version))

        push(1)
        return push

    return save


def test_swaps_lose_no_request_and_never_go_back(
    serve: Any, save_echos: Any, report: Callable[..., None]
) -> None:
    """V4: short form."""
    push = save_echos(4, megabytes=1)
    seen = swap_under_load(serve(), push=push, num_requests=300, num_swaps=3)
    report(**seen.figures())
    check(seen, num_swaps=3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("batching", [False, True], ids=["unbatched", "batched"])
def test_50_swaps_under_20000_requests(
    serve: Any, save_echos: Any, report: Callable[..., None], batching: bool
) -> None:
    push = save_echos(51, megabytes=20)
    seen = swap_under_load(
        serve(*["--enable_batching"] * batching),
        push=push,
        num_requests=20_000,
        num_swaps=50,
    )
    report(**seen.figures())
    check(seen, num_swaps=50)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_50_swaps_of_a_real_model_are_hardly_felt(
    serve: Any, base_path: Path, report: Callable[..., None], real_model: Path
) -> None:
    """Two clients that read what they get: a machine that is full has no time left to load in."""
    copy_version(real_model, base_path / "1")
    seen = swap_under_load(
        serve(),
        push=lambda v: copy_version(real_model, base_path / str(v)),
        num_requests=20_000,
        num_swaps=50,
        clients=2,
        pause_seconds=0.01,
    )
    report(**seen.figures())
    check(seen, num_swaps=50)
    assert seen.figures()["ratio"] <= 3
