"""An Airflow that `python -m bert_pipeline airflow` runs, driven over its API as its pages do."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


class LocalAirflow:
    """One Airflow with an output folder of its own."""

    def __init__(self, folder: Path, task: str) -> None:
        self.out = folder / "out"
        self.home = self.out / "airflow"
        self.environment = {**os.environ, "BERT_PIPELINE_CACHE": str(folder / "cache")}
        self._log = folder / "airflow.log"
        self.launcher = self._start(task)
        self.address, self.metadata = "", ""
        self._token = ""

    def _start(self, task: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bert_pipeline", "airflow", "--task", task, "--out", str(self.out)]
        with open(self._log, "wb") as log:
            return subprocess.Popen(
                [*command, "--port", "0"], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def wait_until_ready(self) -> None:
        wait_for(lambda: "stop      Ctrl-C" in self.said or self.launcher.poll() is not None, seconds=400)
        assert self.launcher.poll() is None, self.said
        lines = dict(line.split(None, 1) for line in self.said.splitlines() if " " in line)
        self.address = lines["airflow"].partition("/dags/")[0]
        self.metadata = lines["metadata"]
        self._token = self._ask("GET", "/auth/token")["access_token"]

    def verb(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m bert_pipeline`, with the password of Airflow's PostgreSQL."""
        environment = {**self.environment, "PGPASSFILE": str(self.home / "postgres/passwords")}
        command = [sys.executable, "-m", "bert_pipeline", *words]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    def add(self, task: str) -> None:
        """Puts a further task's file into the folder of DAGs, and waits until Airflow knows it."""
        name = Path(task).stem
        place = ["--task", task, "--out", str(self.out), "--metadata", self.metadata]
        done = self.verb("dag", *place, "--schedule", "@daily", "--to", str(self.home / f"dags/{name}.json"))
        assert done.returncode == 0, done.stderr
        wait_for(lambda: self._knows(name), seconds=120)

    def _knows(self, dag: str) -> bool:
        with contextlib.suppress(urllib.error.HTTPError):
            return bool(self.api("GET", f"/dags/{dag}")["dag_id"] == dag)
        return False

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask(method, f"/api/v2{path}", body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers |= {"Authorization": f"Bearer {self._token}"} if self._token else {}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.address}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def trigger(self, dag: str, run: str) -> None:
        self.api("POST", f"/dags/{dag}/dagRuns", {"dag_run_id": run, "logical_date": None})

    def runs(self, dag: str) -> dict[str, dict[str, Any]]:
        return {run["dag_run_id"]: run for run in self.api("GET", f"/dags/{dag}/dagRuns")["dag_runs"]}

    def tasks(self, dag: str, run: str) -> dict[str, dict[str, Any]]:
        found = self.api("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances?limit=100")["task_instances"]
        return {task["task_id"]: task for task in found}

    def ended(self, dag: str, run: str, *, seconds: float = 1200) -> str:
        """Waits for a run's end; returns its state."""
        wait_for(lambda: self.runs(dag)[run]["state"] in ("success", "failed"), seconds=seconds)
        return str(self.runs(dag)[run]["state"])

    def log(self, dag: str, run: str, task: str, *, attempt: int = 1) -> str:
        """What a task printed, as its page shows it."""
        lines = self.api("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}")["content"]
        return "\n".join(line["event"] if isinstance(line, dict) else line for line in lines)

    def process(self, name: str) -> int:
        """The id of one of Airflow's processes: `scheduler`."""
        for child in children(self.launcher.pid):
            if name.encode() in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return child
        raise AssertionError(f"no {name} among the launcher's processes")

    def versions(self, task: str) -> list[str]:
        return sorted(path.name for path in (self.out / task / "serving" / task).glob("*"))

    def stop(self) -> None:
        self.launcher.send_signal(signal.SIGINT)
        self.launcher.wait(90)


@contextlib.contextmanager
def local_airflow(folder: Path, task: str) -> Iterator[LocalAirflow]:
    """Runs an Airflow with a task's DAG."""
    airflow = LocalAirflow(folder, task)
    try:
        airflow.wait_until_ready()
        yield airflow
    finally:
        airflow.stop()


def children(process: int) -> list[int]:
    """The processes that a process has started (Linux)."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8")
    return [int(number) for number in text.split()]


def wait_for(holds: Callable[[], bool], *, seconds: float) -> None:
    """Waits until something holds; a connection that is refused meanwhile is not yet an end."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(ConnectionError, TimeoutError):
            if holds():
                return
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.5)


def span_of(task: dict[str, Any]) -> tuple[float, float]:
    """When a task began and ended, in seconds since 1970."""
    begin, end = (
        datetime.datetime.fromisoformat(task[key].replace("Z", "+00:00"))
        for key in ("start_date", "end_date")
    )
    return begin.timestamp(), end.timestamp()
