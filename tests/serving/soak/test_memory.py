"""A server that swaps versions for months must not grow."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def check(memory: list[float], *, early: int, model_mb: float, report: Callable[..., None]) -> None:
    """Growth from the swap number `early` to the last one is less than one model."""
    growth = memory[-1] - memory[early - 1]
    report(
        swaps=len(memory),
        model_mb=round(model_mb, 1),
        after_the_first_mb=round(memory[0]),
        **{f"after_number_{early}_mb": round(memory[early - 1]), "after_the_last_mb": round(memory[-1])},
        growth_mb=round(growth, 1),
    )
    assert growth <= model_mb


def test_swaps_do_not_pile_up_models(tmp_path: Path, start_server: Any, report: Callable[..., None]) -> None:
    base_path = tmp_path / "model"
    save_echo(base_path / "1", megabytes=40)
    server = start_server(f"--model_base_path={base_path}", *_FLAGS)
    memory = memory_over_swaps(
        server, push=lambda v: save_echo(base_path / str(v), megabytes=40), num_swaps=5
    )
    check(memory, early=2, model_mb=size_mb(base_path / "1"), report=report)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_100_swaps_of_a_small_model(tmp_path: Path, start_server: Any, report: Callable[..., None]) -> None:
    base_path = tmp_path / "model"
    save_echo(base_path / "1", megabytes=20)
    server = start_server(f"--model_base_path={base_path}", *_FLAGS)
    memory = memory_over_swaps(
        server, push=lambda v: save_echo(base_path / str(v), megabytes=20), num_swaps=100
    )
    check(memory, early=10, model_mb=size_mb(base_path / "1"), report=report)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_100_swaps_of_a_real_model(
    tmp_path: Path, start_server: Any, report: Callable[..., None], real_model: Path
) -> None:
    base_path = tmp_path / "model"
    copy_version(real_model, base_path / "1")
    server = start_server(f"--model_base_path={base_path}", *_FLAGS)
    memory = memory_over_swaps(
        server, push=lambda v: copy_version(real_model, base_path / str(v)), num_swaps=100
    )
    check(memory, early=10, model_mb=size_mb(real_model), report=report)
