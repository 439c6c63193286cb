"""Servers that end with their program: PostgreSQL in a folder, and what a killed process leaves."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_pipeline.places import postgres_server

# Starts a process that leaves another one, in a session of its own as Airflow's tasks are.
ORPHANS = """
import subprocess, sys
from pathlib import Path
from bert_pipeline.places import processes
processes.adopt_orphans()
kept = subprocess.Popen(["sleep", "60"])
script = "setsid sh -c 'sleep 61 & echo $! > left; echo $$ >> left; sleep 62' & sleep 1"
subprocess.run(["sh", "-c", script], check=True)
processes.end_orphans({kept.pid})
left = [Path("/proc", number).exists() for number in Path("left").read_text().split()]
print(left, kept.poll())
kept.kill()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2)")
def test_what_a_child_leaves_is_ended_and_what_is_known_stays(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-W", "ignore", "-c", ORPHANS]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "[False, False] None\n", done.stderr


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user may enter."""
    path = Path(tempfile.mkdtemp(prefix="postgres-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def names(server: postgres_server.PostgresServer) -> set[str]:
    programs = postgres_server.programs()
    assert programs is not None
    command = [str(programs / "psql"), "-w", "-d", server.address("postgres"), "-Atc"]
    done = subprocess.run(
        [*command, "select datname from pg_database"],
        env={**os.environ, "PGPASSFILE": str(server.passwords)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split()) - {"postgres", "template0", "template1"}


def test_a_server_keeps_its_data_and_its_port_and_wants_its_password(folder: Path) -> None:
    if lacks := postgres_server.what_lacks(folder):
        pytest.skip(f"NOT TESTED: {lacks}")
    first = postgres_server.start(folder / "server", databases=("one",))
    first.process.kill()
    first.process.wait()
    again = postgres_server.start(folder / "server", databases=("one", "two"))
    try:
        assert again.port == first.port
        assert names(again) == {"one", "two"}
        assert stat.S_IMODE(again.passwords.stat().st_mode) == 0o600
        with pytest.raises(subprocess.CalledProcessError):
            names(postgres_server.PostgresServer(again.port, folder / "none", again.process))
    finally:
        again.stop()
    assert again.process.returncode == 0


def test_a_folder_that_the_servers_user_may_not_enter_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0 or postgres_server.programs() is None:
        pytest.skip("NOT TESTED: only root's PostgreSQL runs as another user")
    tmp_path.chmod(0o700)
    assert postgres_server.what_lacks(tmp_path / "a/b").startswith(
        "PostgreSQL refuses to run as root, and user "
    )
    monkeypatch.setattr(postgres_server, "programs", lambda: None)
    assert postgres_server.what_lacks(tmp_path) == (
        "PostgreSQL is not installed (Debian, Ubuntu: apt install postgresql)"
    )
