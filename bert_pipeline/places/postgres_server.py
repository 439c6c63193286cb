"""A PostgreSQL of one's own: Debian's programs, data in a folder, on loopback with a password, while a program runs."""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_pipeline.places import processes
from bert_pipeline.settings.errors import UserError

USER = "bert"
HOST = "127.0.0.1"
_START_SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class PostgresServer:
    """A server that runs."""

    port: int
    passwords: Path
    """For PGPASSFILE, so that no password stands in an address or on a command line."""

    process: subprocess.Popen[bytes]

    def address(self, database: str) -> str:
        """Of a database; its password is in `passwords`."""
        return f"postgresql://{USER}@{HOST}:{self.port}/{database}"

    def stop(self) -> None:
        """Ends the server; connections are cut, what was committed is kept."""
        processes.end(self.process, signal.SIGINT)


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None: there is none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)])
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def what_lacks(folder: Path) -> str:
    """Why no server can have its data in a folder, in a sentence; empty where one can."""
    if programs() is None:
        return "PostgreSQL is not installed (Debian, Ubuntu: apt install postgresql)"
    owner = _server_user()
    if owner is None:
        return ""
    for parent in [folder, *folder.parents]:
        if parent.exists() and not _may_enter(parent, owner):
            return f"PostgreSQL refuses to run as root, and user {owner.pw_name} may not enter {parent}"
    return ""


def start(folder: Path, *, databases: Sequence[str]) -> PostgresServer:
    """Starts a server, with its first data where there are none.

    Args:
        folder: of its data; made if need be.
        databases: that it has, besides those of before.

    Raises:
        UserError: it does not start; the message names its log.
    """
    found = programs()
    assert found is not None, "what_lacks"
    owner, data, log = _server_user(), folder / "data", folder / "server.log"
    folder.mkdir(parents=True, exist_ok=True)
    log.touch()
    if owner:
        for path in (folder, log):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    passwords = folder / "passwords"
    if not data.exists():
        _first_data(found, folder, owner)
    _run(
        [str(found / "pg_ctl"), "-D", str(data), "-m", "fast", "stop"], owner, check=False
    )  # of a killed one
    port = int(passwords.read_text(encoding="utf-8").split(":")[1])
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise UserError(
                f"{folder} has a PostgreSQL on port {port}, which another program has; end that one"
            )
    command = [str(found / "postgres"), "-D", str(data), "-p", str(port), "-c", f"listen_addresses={HOST}"]
    command += ["-c", "unix_socket_directories="]
    name, deadline = owner and owner.pw_name, time.monotonic() + _START_SECONDS
    while True:
        process = processes.start(command, log=log, user=name, cwd=folder, dies_by=signal.SIGINT)
        server = PostgresServer(port, passwords, process)
        try:
            known = _databases_of(server, found, deadline)
            for database in set(databases) - known if known else ():
                _ask(server, [str(found / "createdb"), database]).check_returncode()
        except BaseException:
            server.stop()
            raise
        if known:
            return server
        # Of a server that was killed, what served its connections ends a moment later, and must have ended before.
        if time.monotonic() > deadline:
            server.stop()
            raise UserError(f"PostgreSQL did not start within {_START_SECONDS:.0f} s; its log is {log}")
        time.sleep(1.0)


def _first_data(found: Path, folder: Path, owner: pwd.struct_passwd | None) -> None:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    password = secrets.token_hex(16)
    passwords, word, partial = folder / "passwords", folder / "password", folder / "data.partial"
    for path, text in ((passwords, f"{HOST}:{port}:*:{USER}:{password}\n"), (word, password)):
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    if owner:
        os.chown(word, owner.pw_uid, owner.pw_gid)
    shutil.rmtree(partial, ignore_errors=True)
    command = [str(found / "initdb"), "-D", str(partial), "-U", USER, f"--pwfile={word}"]
    command += ["-A", "scram-sha-256", "--locale=C.UTF-8", "-E", "UTF8"]
    _run(command, owner)
    word.unlink()
    partial.rename(folder / "data")


def _databases_of(server: PostgresServer, found: Path, deadline: float) -> set[str]:
    """The databases of a server, once it answers; none where it has ended or does not answer in time."""
    query = [str(found / "psql"), "-d", "postgres", "-Atc", "select datname from pg_database"]
    while server.process.poll() is None and time.monotonic() < deadline:
        listed = _ask(server, query)
        if listed.returncode == 0:
            return set(listed.stdout.split())
        time.sleep(0.2)
    return set()


def _ask(server: PostgresServer, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs one of PostgreSQL's programs on a server."""
    program, *words = command
    at = ["-h", HOST, "-p", str(server.port), "-U", USER, "-w"]
    environment = {**os.environ, "PGPASSFILE": str(server.passwords)}
    return subprocess.run(
        [program, *at, *words], env=environment, cwd="/", capture_output=True, text=True, check=False
    )


def _run(command: list[str], owner: pwd.struct_passwd | None, *, check: bool = True) -> None:
    ids: dict[str, Any] = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **ids)
    if check and done.returncode != 0:
        raise UserError(f"{Path(command[0]).name}: {(done.stderr or done.stdout).strip()}")


def _server_user() -> pwd.struct_passwd | None:
    """Who the server runs as; None: the user of this process, who is not root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _may_enter(folder: Path, user: pwd.struct_passwd) -> bool:
    status = folder.stat()
    mine = 0o100 if status.st_uid == user.pw_uid else 0o010 if status.st_gid == user.pw_gid else 0o001
    return bool(status.st_mode & mine)
