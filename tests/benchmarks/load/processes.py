"""Child processes that answer lines with lines, and servers that are waited for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.benchmarks.load.plan import Plan, Result, to_line

ROOT = Path(__file__).resolve().parents[3]


class LineProcess:
    """A program that takes a job as a line of JSON and answers with a Result."""

    def __init__(self, module: str, *arguments: str, wait_for_ready: bool = False) -> None:
        """Starts `python -m module`; its messages go to this program's standard error."""
        command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        if wait_for_ready:
            self._read()

    def ask(self, line: str) -> Result:
        """Sends a job and waits."""
        assert self.process.stdin
        self.process.stdin.write(line)
        self.process.stdin.flush()
        return Result(**json.loads(self._read()))

    def _read(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with status {self.process.wait()}")
        return line

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.process.kill()
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class LoadGenerator(LineProcess):
    """`generator.py` as a process; one serves many measurements."""

    def __init__(self) -> None:
        super().__init__("tests.benchmarks.load.generator")

    def run(self, plan: Plan) -> Result:
        """Makes the load that a plan tells and waits for its end."""
        return self.ask(to_line(plan))


class BareModel(LineProcess):
    """`bare.py` as a process."""

    def __init__(self, model_path: Path, texts_path: Path) -> None:
        super().__init__("tests.benchmarks.load.bare", str(model_path), str(texts_path), wait_for_ready=True)

    def run(self, *, threads: int, rows: int, seconds: float) -> Result:
        """Calls the model from threads and waits for the end."""
        return self.ask(json.dumps({"threads": threads, "rows": rows, "seconds": seconds}) + "\n")


class HttpServerProcess:
    """A server of somebody else's, ready when a URL answers."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, ready_url: str, log_path: Path
    ) -> None:
        """Starts it and waits up to three minutes.

        Raises:
            RuntimeError: it ended, or did not answer; names its log.
        """
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(command, env=dict(env), cwd=cwd, stdout=log, stderr=log)
        deadline = time.monotonic() + 180
        while not _answers(ready_url):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{command[0]} does not answer at {ready_url}; see {log_path}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Ends it, by force after ten seconds."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False
