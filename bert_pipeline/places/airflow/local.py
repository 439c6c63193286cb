"""An Airflow of one's own on this machine: scheduler, DAG processor, API server and PostgreSQL, all on loopback.

All of its state lies in OUT/airflow. Where its scheduler dies, what it left is ended and it is started again; Airflow
then finds which tasks were lost and tries them once more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import FrameType

from bert_pipeline.places import postgres_server, processes, steps_file
from bert_pipeline.places.airflow import environment
from bert_pipeline.running import warm
from bert_pipeline.settings import config, typed
from bert_pipeline.settings.config import PROJECT_ROOT
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import run_paths

HOST = "127.0.0.1"
# The scheduler would serve the logs of its tasks on every interface.
PROCESSES: dict[str, list[str]] = {"api-server": [], "dag-processor": [], "scheduler": ["--skip-serve-logs"]}
WARM_STEPS = "warm-steps"
_START_SECONDS = 240.0
# A process that ends so often within so many seconds is not started again.
_TRIES, _TRIES_SECONDS = 5, 120.0


@dataclasses.dataclass(frozen=True)
class Databases:
    """Where Airflow and ML Metadata keep what they know."""

    airflow: str
    """SQLAlchemy's address."""

    metadata: str
    """As `--metadata`; empty: SQLite in the output folder."""

    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """That programs need to open them."""

    servers: tuple[int, ...] = ()
    """Ids of the processes that keep them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(steps_file.Request):
    """What `airflow` is asked for."""

    port: int = 8080
    """Of the API and its pages; 0: any that is free."""


def run(request: Request) -> int:
    """The verb `airflow`: runs Airflow with a task's DAG until Ctrl-C; returns 0.

    Raises:
        UserError: the port is taken, a database or Airflow does not start.
    """
    home = request.out.resolve() / "airflow"
    task = config.task_name(request.task)
    port = _free_port(request.port)
    programs = environment.made(PROJECT_ROOT)
    home.mkdir(parents=True, exist_ok=True)
    processes.adopt_orphans()
    with (
        _one_at_a_time(home),
        _stopped_by_signals(),
        _databases(request, home=home, task=task) as databases,
        tempfile.TemporaryDirectory(prefix="bert-") as private,  # a socket's path has 107 bytes at most
    ):
        sock = Path(private, "steps")
        steps = steps_file.as_json(
            dataclasses.replace(request, metadata=databases.metadata),
            environment={**databases.variables, warm.VARIABLE: str(sock)},
        )
        dags = home / "dags"
        steps_file.write(dags / f"{task}.json", steps)
        shutil.copyfile(Path(__file__).with_name("dag.py"), dags / "bert_pipeline_dags.py")
        variables = _variables(programs, home, databases, port=port)
        airflow = _Airflow(programs, home, variables, sock=sock, others=databases.servers)
        airflow.migrate()
        address = f"http://{HOST}:{port}"
        with airflow.running():
            airflow.wait(address)
            print(f"airflow   {address}/dags/{task}")
            print(f"trigger   there, or {airflow.cli} dags trigger {task}")
            print(f"metadata  {databases.metadata or run_paths(task, out=request.out).metadata}")
            print("stop      Ctrl-C", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                airflow.keep_running()
            print("stopping", flush=True)
    return 0


@contextlib.contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    with open(home / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another Airflow runs in {home}; end it, or give another output folder"
            ) from None
        yield


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise UserError(
                f"port {port} is taken; give another with {typed.give('port')}, or 0 for any"
            ) from None
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _databases(request: Request, *, home: Path, task: str) -> Iterator[Databases]:
    """PostgreSQL for both where it can run here; a task whose runs are in SQLite or elsewhere goes on there."""
    if lacks := postgres_server.what_lacks(home / "postgres"):
        print(f"note      {lacks}; Airflow's database is SQLite, which is for trying it out", flush=True)
        yield Databases(f"sqlite:///{home}/airflow.db", request.metadata)
        return
    server = postgres_server.start(home / "postgres", databases=("airflow", "ml_metadata"))
    try:
        metadata = request.metadata
        if not metadata and not run_paths(task, out=request.out).metadata.exists():
            metadata = server.address("ml_metadata")
        address = server.address("airflow").replace("postgresql:", "postgresql+psycopg2:")
        yield Databases(address, metadata, {"PGPASSFILE": str(server.passwords)}, (server.process.pid,))
    finally:
        server.stop()


def _variables(programs: Path, home: Path, databases: Databases, *, port: int) -> dict[str, str]:
    """Airflow's settings. It listens on loopback, where each user of this machine is its administrator."""
    settings = {
        "CORE__DAGS_FOLDER": str(home / "dags"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        # A task's own process ends some time after its step, and takes a place until then.
        "CORE__PARALLELISM": str(max(4, os.cpu_count() or 4)),
        "CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{port}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "DATABASE__SQL_ALCHEMY_CONN": databases.airflow,
        "API__HOST": HOST,
        "API__PORT": str(port),
        "API__BASE_URL": f"http://{HOST}:{port}",
        "API__WORKERS": "1",
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        # A scheduler that was killed is missed after 15 s, and its tasks are looked for at once.
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    foreign = ("AIRFLOW", "PYTHON", "TF_", "BERT_PIPELINE_BY_MAKE")
    given = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {"AIRFLOW_HOME": str(home), **{f"AIRFLOW__{name}": value for name, value in settings.items()}}
    return {**given, **own, **databases.variables, "PATH": f"{programs}:{given.get('PATH', os.defpath)}"}


class _Airflow:
    """The processes of one Airflow."""

    def __init__(
        self,
        programs: Path,
        home: Path,
        variables: Mapping[str, str],
        *,
        sock: Path,
        others: Collection[int],
    ) -> None:
        self._program = str(programs / "airflow")
        self._home = home
        self._variables = variables
        self._others = others
        self._commands = {name: [self._program, name, *words] for name, words in PROCESSES.items()}
        if sys.platform != "darwin":  # macOS' libraries do not survive a fork: each step imports TFX itself
            steps = [sys.executable, "-m", "bert_pipeline", WARM_STEPS, "--socket", str(sock)]
            self._commands[WARM_STEPS] = steps
        self._logs = home / "processes"
        self._logs.mkdir(exist_ok=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ends: list[float] = []
        self.cli = home / "cli"
        """A program that is `airflow` with these settings."""
        self._write_cli()

    def _write_cli(self) -> None:
        own = {
            n: v for n, v in self._variables.items() if n.startswith("AIRFLOW") or n in ("PATH", "PGPASSFILE")
        }
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in own.items())
        self.cli.unlink(missing_ok=True)
        self.cli.touch(mode=0o700)
        self.cli.write_text(f'#!/bin/sh\n{exports}exec {shlex.quote(self._program)} "$@"\n', encoding="utf-8")

    def migrate(self) -> None:
        """Brings the database to this Airflow's version."""
        log = self._logs / "migrate.log"
        done = processes.start(
            [self._program, "db", "migrate"], log=log, cwd=self._home, environment=self._variables
        ).wait()
        if done != 0:
            raise UserError(f"airflow db migrate failed; its log is {log}")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Starts the processes, and ends them and what they started."""
        try:
            for name in self._commands:
                self._start(name)
            yield
        finally:
            for process in self._running.values():
                process.terminate()
            for process in self._running.values():
                processes.end(process)
            processes.end_orphans(self._others)

    def _start(self, name: str) -> None:
        own = name == WARM_STEPS
        self._running[name] = processes.start(
            self._commands[name],
            log=self._log(name),
            cwd=PROJECT_ROOT if own else self._home,
            environment=None if own else self._variables,
        )

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def wait(self, address: str) -> None:
        """Waits until all of it answers.

        Args:
            address: of the API.

        Raises:
            UserError: it does not, or a process ended.
        """
        deadline = time.monotonic() + _START_SECONDS
        while _unhealthy(address):
            self._look_after()
            if time.monotonic() > deadline:
                raise UserError(
                    f"airflow: {', '.join(_unhealthy(address))} did not start in {_START_SECONDS:.0f} s; "
                    f"the logs are in {self._logs}"
                )
            time.sleep(0.5)

    def keep_running(self) -> None:
        """Starts again what ends by itself; returns never.

        Raises:
            UserError: a process ends again and again.
        """
        while True:
            self._look_after()
            time.sleep(1.0)

    def _look_after(self) -> None:
        for name, process in self._running.items():
            if process.poll() is None:
                continue
            now = time.monotonic()
            self._ends = [*(end for end in self._ends if now - end < _TRIES_SECONDS), now]
            if len(self._ends) > _TRIES:
                raise UserError(f"{name} ends again and again; its log is {self._log(name)}")
            # Its tasks would run beside the ones that take their place.
            alive = (each.pid for each in self._running.values() if each.poll() is None)
            processes.end_orphans({*self._others, *alive})
            print(f"restart   {name} ended with {process.returncode}", flush=True)
            self._start(name)
            return


def _unhealthy(address: str) -> list[str]:
    """What of an Airflow does not answer, or says that it is not well."""
    try:
        with urllib.request.urlopen(f"{address}/api/v2/monitor/health", timeout=5) as answer:
            health = json.load(answer)
    except (OSError, ValueError):
        return ["api-server"]
    wanted = ("metadatabase", "scheduler", "dag_processor")
    return [name for name in wanted if health[name]["status"] != "healthy"]
