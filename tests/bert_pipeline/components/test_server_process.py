"""How a server that ends, crashes or outlives its parent is told apart; the servers are five-line fakes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bert_pipeline.components import server_process
from bert_pipeline.components.server_process import ModelNotLoaded, ServerNotStarted, ServerProcess
from bert_pipeline.settings.config import PROJECT_ROOT

WAIT_FOR_STDIN = (
    "import pathlib, sys; pathlib.Path('pid').write_text(str(__import__('os').getpid())); sys.stdin.read()"
)


def start_fake(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerProcess:
    (tmp_path / "fake_server.py").write_text(code)
    monkeypatch.setattr(server_process, "_SERVER_MODULE", "fake_server")
    monkeypatch.setattr(server_process, "PROJECT_ROOT", tmp_path)
    server = ServerProcess(model_base_path="/nowhere", model_name="m", work_dir=str(tmp_path))
    server.Start()
    return server


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (
            "import sys; print('model m version 1: no such op: Foo', file=sys.stderr); sys.exit(3)",
            ModelNotLoaded,
            "the server did not load it: no such op: Foo",
        ),
        (
            "import os; os.abort()",
            ModelNotLoaded,
            "the server crashed on it with SIGABRT",
        ),
        (
            "import sys; sys.exit('the server could not start: port 1 is taken')",
            ServerNotStarted,
            "the server ended with status 1: the server could not start: port 1 is taken",
        ),
        (
            "import os; os.kill(os.getpid(), 9)",
            ServerNotStarted,
            "the server ended with SIGKILL: it wrote nothing",
        ),
    ],
)
def test_a_bad_model_is_told_from_a_bad_start(
    code: str, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_fake(code, tmp_path, monkeypatch)
    with pytest.raises(error) as raised:
        server.WaitUntilRunning(time.time() + 60)
    assert str(raised.value) == message
    server.Stop()


def test_stop_kills_a_server_that_ignores_sigterm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "_STOP_SECONDS", 0.3)
    code = (
        "import os, pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    server = start_fake(code, tmp_path, monkeypatch)
    pid = read_pid(tmp_path)
    server.Stop()
    assert not is_alive(pid)


def test_server_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "fake_server.py").write_text(WAIT_FOR_STDIN)
    script = (
        "import pathlib, time\n"
        "from bert_pipeline.components import server_process as s\n"
        f"s._SERVER_MODULE, s.PROJECT_ROOT = 'fake_server', pathlib.Path({str(tmp_path)!r})\n"
        f"s.ServerProcess(model_base_path='/nowhere', model_name='m', work_dir={str(tmp_path)!r}).Start()\n"
        "time.sleep(60)\n"
    )
    paths = os.pathsep.join([str(PROJECT_ROOT), str(PROJECT_ROOT / "modules")])
    command = [sys.executable, "-W", "ignore", "-c", script]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}) as parent:
        pid = read_pid(tmp_path)
        assert is_alive(pid)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))


def read_pid(folder: Path) -> int:
    wait_until(lambda: (folder / "pid").exists() and bool((folder / "pid").read_text()))
    return int((folder / "pid").read_text())


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition: object, seconds: float = 60) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
