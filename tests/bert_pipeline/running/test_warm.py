"""Steps in forks of one process: they get what their command was given, and end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_pipeline.running import warm
from tests.serving.processes import wait_until

SERVER = """
import os, sys, time
from pathlib import Path
from bert_pipeline.running import warm
warm._ROOT = Path("project").resolve()
def run(words):
    print(words, os.getcwd(), os.environ["ANY"], warm.VARIABLE in os.environ, os.getpid(), flush=True)
    if words[0] == "wait":
        time.sleep(60)
    if words[0] == "raise":
        raise ValueError("no such step")
    return 3
warm.serve(Path("socket"), run)
"""
CLIENT = "import sys; from bert_pipeline.running import warm; sys.exit(warm.handed_over(sys.argv[1:]) or 99)"


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join(p for p in sys.path if p)
    return {**os.environ, "PYTHONPATH": path, warm.VARIABLE: str(folder / "socket"), "ANY": "here"}


def client(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "mine").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CLIENT, *words],
        cwd=folder / "mine", env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a server listens."""
    (tmp_path / "project/modules").mkdir(parents=True)
    (tmp_path / "project/modules/a.py").write_text("", encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(command, cwd=tmp_path, env={**environment(tmp_path), "ANY": "there"}) as server:
        wait_until(lambda: (tmp_path / "socket").exists(), 30)
        yield tmp_path
        server.kill()


def test_a_step_gets_its_words_folder_variables_and_streams_and_gives_its_status(folder: Path) -> None:
    process = client(folder, "node", "a b")
    said, _ = process.communicate(timeout=30)
    assert said.startswith(f"['node', 'a b'] {folder}/mine here False ")
    assert process.returncode == 3
    failed = client(folder, "raise")
    _, errors = failed.communicate(timeout=30)
    assert failed.returncode == 1 and "ValueError: no such step" in errors


def test_a_step_ends_with_the_command_that_asked_for_it(folder: Path) -> None:
    process = client(folder, "wait")
    assert process.stdout is not None
    fork = int(process.stdout.readline().split()[-1])
    assert Path(f"/proc/{fork}").exists()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    wait_until(lambda: not Path(f"/proc/{fork}").exists(), 10)


def test_a_changed_file_makes_the_step_run_by_itself_and_the_process_begin_again(folder: Path) -> None:
    later = time.time() + 5
    os.utime(folder / "project/modules/a.py", (later, later))
    process = client(folder, "node")
    process.communicate(timeout=30)
    assert process.returncode == 99
    wait_until(lambda: client_status(folder) == 3, 30)


def client_status(folder: Path) -> int:
    process = client(folder, "node")
    process.communicate(timeout=30)
    return int(process.returncode)


def test_where_nothing_listens_a_step_runs_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(warm.VARIABLE, raising=False)
    assert warm.handed_over(["node"]) is None
    monkeypatch.setenv(warm.VARIABLE, str(tmp_path / "socket"))
    assert warm.handed_over(["node"]) is None
