"""Server processes for tests: started on free ports, waited for, and ended whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class RunningServer:
    """A server process and how to reach it."""

    process: subprocess.Popen[bytes]
    log: Path
    """Its standard output and standard error."""

    port: int = 0
    rest_port: int = 0

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def rest_address(self) -> str:
        return f"127.0.0.1:{self.rest_port}"


def launch(work_dir: Path, *flags: str) -> RunningServer:
    """Starts a process with TF Serving's flags, on free ports, and does not wait for it."""
    work_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "serving.model_server", "--port=0", "--host=127.0.0.1"]
    command += [f"--port_file={work_dir / 'ports.json'}", "--exit_with_stdin", *flags]
    log = work_dir / "server.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=file, stderr=file)
    return RunningServer(process, log)


@contextlib.contextmanager
def serving(work_dir: Path, *flags: str) -> Iterator[RunningServer]:
    """A server that answers; killed at the end if it still runs.

    Args:
        work_dir: takes the log (`server.log`) and `ports.json`.
        *flags: `--model_config_file=...`, say.
    """
    server = launch(work_dir, *flags)
    try:
        ports = work_dir / "ports.json"
        wait_until(lambda: ports.exists() or server.process.poll() is not None)
        assert server.process.poll() is None, server.log.read_text()
        read_ports(server)
        yield server
    finally:
        kill(server)


def read_ports(server: RunningServer) -> None:
    """Takes up the ports of a server that is ready."""
    numbers = json.loads((server.log.parent / "ports.json").read_text())
    server.port, server.rest_port = numbers["port"], numbers["rest_api_port"]


def kill(server: RunningServer) -> None:
    """Ends the process at once."""
    server.process.kill()
    server.process.wait()
    if server.process.stdin:
        server.process.stdin.close()


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Looks every 50 ms; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [taken.getsockname()[1] for taken in sockets]
