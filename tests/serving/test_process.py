"""A server that a signal has ended comes back by itself; what ended it thrice is left out."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.model_server import process
from tests.serving.calls import rest
from tests.serving.processes import RunningServer, read_ports, wait_until


def child_of(server: RunningServer) -> int:
    return child_of_process(server.process.pid)


def child_of_process(pid: int) -> int:
    """The only child, from Linux's list of them; elsewhere from pgrep."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if listed.exists():
        (child,) = listed.read_text().split()
    else:
        done = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True)
        (child,) = done.stdout.split()
    return int(child)


def kill_and_wait(server: RunningServer) -> float:
    """Kills the child; the seconds until the next one serves."""
    ports = server.log.parent / "ports.json"
    ports.unlink()
    start = time.monotonic()
    os.kill(child_of(server), signal.SIGKILL)
    wait_until(ports.exists)
    read_ports(server)
    return time.monotonic() - start


def test_a_killed_server_comes_back_and_sigterm_ends_both(
    start_server: Callable[..., RunningServer], models_on_disk: Any
) -> None:
    server = start_server(f"--model_config_file={models_on_disk.config}", "--supervise")
    hi = {"instances": ["hi"]}
    assert rest(server, "/v1/models/toy:predict", hi)[0] == 200
    gap = kill_and_wait(server)
    print(f"gap of {gap:.1f} s")
    assert rest(server, "/v1/models/toy:predict", hi)[0] == 200
    assert "the server was ended by SIGKILL; it starts again in 1 s" in server.log.read_text()
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(30) == 0


def test_a_version_that_is_marked_bad_is_left_out_and_the_others_serve(
    start_server: Callable[..., RunningServer], models_on_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(process.BAD_VARIABLE, "plain 1")
    server = start_server(f"--model_config_file={models_on_disk.config}")
    assert rest(server, "/v1/models/other:predict", {"instances": ["hi"]})[0] == 200
    assert rest(server, "/v1/models/plain:predict", {"instances": ["1"]})[0] == 404
    assert rest(server, "/readyz")[0] == 503
    assert "plain version 1 did not load: it has ended the server several times" in server.log.read_text()


def test_what_ran_at_the_end_is_blamed_and_left_out_after_three_times(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "running"
    process.create_record(file)
    monkeypatch.setenv(process.FILE_VARIABLE, str(file))
    assert process.read_record(file) == []
    one = process._Supervisor([], file)
    with process.marked("toy 7"):
        assert process.read_record(file) == ["toy 7"]
        for _ in range(3):
            one._blame(-signal.SIGSEGV, pause=1.0)
    assert process.read_record(file) == []
    assert caplog.messages[-1] == "toy 7 has ended the server 3 times: it is not loaded again"
    assert (
        caplog.messages[0] == "the server was ended by SIGSEGV while it was at toy 7; it starts again in 1 s"
    )


def test_a_server_that_ends_again_and_again_is_started_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = process._Supervisor([], tmp_path / "running")
    process.create_record(tmp_path / "running")
    clock, pauses = [0.0], []
    # Seconds that it ran, and how it ended; the last time by itself.
    runs = iter([(1.0, -9), (1.0, -9), (5.0, -11), *[(1.0, -9)] * 6, (301.0, -9), (1.0, -9), (1.0, 3)])

    def run_once() -> int:
        seconds, status = next(runs)
        clock[0] += seconds
        return status

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(one, "_run_once", run_once)
    monkeypatch.setattr(one, "_is_told_to_end", lambda seconds: pauses.append(seconds))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    assert one.run() == 3
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 1.0, 2.0]


def test_sigterm_ends_the_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = process._Supervisor([], tmp_path / "running")
    monkeypatch.setattr(time, "sleep", lambda seconds: one._forward(signal.SIGTERM, None))
    assert one._is_told_to_end(60.0)


def test_pauses_grow() -> None:
    assert [process.pause_after(ends) for ends in (1, 2, 3, 7, 500)] == [1.0, 2.0, 4.0, 60.0, 60.0]
