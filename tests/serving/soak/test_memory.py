"""A server that swaps versions for months must not grow."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.load.usage import memory_mb
from tests.serving.processes import RunningServer, wait_until
from tests.serving.soak.callers import CALLERS, statuses
from tests.serving.soak.models import copy_version, save_echo, size_mb

_FLAGS = ("--model_name=model", "--file_system_poll_wait_seconds=0.1")


def memory_over_swaps(
    server: RunningServer, *, push: Callable[[int], Path], num_swaps: int, requests_a_swap: int = 20
) -> list[float]:
    """Resident memory in MB (10^6 bytes) after each swap, a few requests over both protocols, and a rest."""
    callers = [make(server) for make in CALLERS]
    memory = []
    for version in range(2, num_swaps + 2):
        push(version)
        wait_until(lambda v=version: _is_swapped(server, v))
        for turn in range(requests_a_swap):
            assert callers[turn % 2].call("model", {"text": [f"text {turn}"]}).code == "OK"
        time.sleep(0.1)
        memory.append(memory_mb(server.process.pid)[0])
    for caller in callers:
        caller.close()
    return memory


def _is_swapped(server: RunningServer, version: int) -> bool:
    now = {number: state for number, (state, _) in statuses(server, "model").items()}
    return now.get(version) == "AVAILABLE" and now[version - 1] == "END"


@dataclasses.dataclass(frozen=True)
class Swaps:
    """Version after version of a model, pushed to a server of its own."""

    base_path: Path
    start_server: Callable[..., RunningServer]
    report: Callable[..., None]

    def grow_by_less_than_a_model(self, save: Callable[[Path], Path], *, count: int, early: int) -> None:
        """Growth from the swap number `early` to the last one is less than one model."""
        first = save(self.base_path / "1")
        server = self.start_server(f"--model_base_path={self.base_path}", *_FLAGS)
        memory = memory_over_swaps(server, push=lambda v: save(self.base_path / str(v)), num_swaps=count)
        growth, model_mb = memory[-1] - memory[early - 1], size_mb(first)
        self.report(
            swaps=len(memory),
            model_mb=round(model_mb, 1),
            after_the_first_mb=round(memory[0]),
            **{f"after_number_{early}_mb": round(memory[early - 1]), "after_the_last_mb": round(memory[-1])},
            growth_mb=round(growth, 1),
        )
        assert growth <= model_mb


@pytest.fixture
def swaps(tmp_path: Path, start_server: Callable[..., RunningServer], report: Callable[..., None]) -> Swaps:
    return Swaps(tmp_path / "model", start_server, report)


def test_swaps_do_not_pile_up_models(swaps: Swaps) -> None:
    swaps.grow_by_less_than_a_model(lambda folder: save_echo(folder, megabytes=40), count=5, early=2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_100_swaps_of_a_small_model(swaps: Swaps) -> None:
    swaps.grow_by_less_than_a_model(lambda folder: save_echo(folder, megabytes=20), count=100, early=10)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_100_swaps_of_a_real_model(swaps: Swaps, real_model: Path) -> None:
    swaps.grow_by_less_than_a_model(lambda folder: copy_version(real_model, folder), count=100, early=10)
