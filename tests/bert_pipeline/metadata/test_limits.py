"""What a server as ML Metadata's store cannot hold is refused by name, and is what such a server really cannot hold."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline.metadata import database, limits, run_record
from bert_pipeline.settings.errors import UserError
from tests.serving.processes import free_ports, wait_until

MARIADB = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")

# What the limits say of it, in a process of its own.
SCRIPT = r"""
import json, sys
from pathlib import Path
from ml_metadata import MetadataStore, errors
from ml_metadata.proto import metadata_store_pb2 as pb
from bert_pipeline.metadata import database, limits
from bert_pipeline.settings.errors import UserError

connection = database.connection_config(sys.argv[1], sqlite_path=Path("unused"))
found = {}

def refuses(name, kind, **values):
    store = MetadataStore(connection)  # after a refusal the client keeps its transaction
    type_id = store.put_context_type(pb.ContextType(name="pipeline"))
    context = pb.Context(type_id=type_id, name=name)
    for key, value in values.items():
        setattr(context.custom_properties["x"], key, value)
    try:
        store.put_contexts([context])
    except errors.StatusError as error:
        found[kind] = type(error).__name__
    else:
        found[kind] = ""

refuses("a" * limits.MAX_NAME, "longest name")
refuses("b" * (limits.MAX_NAME + 1), "longer name")
refuses("most", "largest int", int_value=limits.MAX_INT)
refuses("more", "larger int", int_value=limits.MAX_INT + 1)
refuses("toy", "toy")
refuses("Toy", "Toy")
store = MetadataStore(connection)
try:
    limits.check(store, connection, task_name="TOY")
except UserError as error:
    found["TOY"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture
def mariadb() -> Iterator[str]:
    """The address of a new server on a free port of this machine."""
    if MARIADB is None:
        pytest.skip("NOT TESTED: ML Metadata in MariaDB; install it (Debian: mariadb-server)")
    folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
    (port,) = free_ports(1)
    init = folder / "init.sql"
    statements = (
        "CREATE DATABASE runs;",
        "CREATE USER ann@'127.0.0.1' IDENTIFIED BY 'any';",
        "GRANT ALL ON runs.* TO ann@'127.0.0.1';",
    )
    init.write_text("\n".join(statements), encoding="utf-8")  # the server reads one a line
    place = ["--no-defaults", f"--datadir={folder}/data", f"--user={getpass.getuser()}"]
    install = ["mariadb-install-db", *place, "--auth-root-authentication-method=normal"]
    subprocess.run(install, check=True, capture_output=True)
    flags = [
        *place, f"--port={port}", f"--socket={folder}/socket", "--bind-address=127.0.0.1", f"--init-file={init}",
        "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen([MARIADB, *flags], stdout=log, stderr=log)
    try:
        wait_until(lambda: b"ready for connections" in (folder / "log").read_bytes(), 60)
        yield f"mysql://ann:any@127.0.0.1:{port}/runs"
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder)


def test_mariadb_has_the_limits_that_are_refused(mariadb: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, mariadb]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {kind for kind, error in found.items() if error} == {"longer name", "larger int", "Toy", "TOY"}, (
        found
    )
    assert found["Toy"] == "AlreadyExistsError"
    assert found["TOY"].startswith(
        "the metadata store has runs of task 'toy', and MySQL and MariaDB take 'TOY' for "
    )


SERVERS = {
    "MySQL or MariaDB": pb.ConnectionConfig(mysql=pb.MySQLDatabaseConfig(host="db")),
    "PostgreSQL": pb.ConnectionConfig(postgresql=pb.PostgreSQLDatabaseConfig(host="db")),
}


@pytest.fixture
def store(tmp_path: Path) -> MetadataStore:
    connection = database.connection_config("", sqlite_path=tmp_path / "metadata.sqlite")
    store = database.open_store(connection)
    type_id = store.put_context_type(pb.ContextType(name="pipeline"))
    store.put_contexts([pb.Context(type_id=type_id, name="toy")])
    return store


@pytest.mark.parametrize("server", SERVERS)
def test_what_does_not_fit_is_named_with_its_fix(store: MetadataStore, server: str) -> None:
    connection = SERVERS[server]
    limits.check(store, connection, task_name="t" * 234, run_id="r" * 255, spans=[1, 2**31 - 1])
    with pytest.raises(
        UserError, match=f"has 235 characters; with {server} as metadata store it may have 234: give"
    ):
        limits.check(store, connection, task_name="t" * 235)
    with pytest.raises(UserError, match=rf"has 256 characters; {server} as metadata store takes 255$"):
        limits.check(store, connection, task_name="toy", run_id="r" * 256)
    with pytest.raises(
        UserError, match=f"span 2147483648 is above 2147483647, the largest integer that {server} "
    ):
        limits.check(store, connection, task_name="toy", spans=[1, 2**31])


def test_names_that_differ_in_case_are_one_to_mysql_alone(store: MetadataStore) -> None:
    limits.check(store, SERVERS["PostgreSQL"], task_name="Toy")
    limits.check(store, SERVERS["MySQL or MariaDB"], task_name="toy")
    limits.check(store, SERVERS["MySQL or MariaDB"], task_name="toys")
    with pytest.raises(
        UserError, match="has runs of task 'toy', and MySQL and MariaDB take 'Toy' for the same name"
    ):
        limits.check(store, SERVERS["MySQL or MariaDB"], task_name="Toy")


def test_sqlite_has_none_of_these_limits(store: MetadataStore, tmp_path: Path) -> None:
    connection = database.connection_config("", sqlite_path=tmp_path / "metadata.sqlite")
    limits.check(store, connection, task_name="T" * 300, run_id="r" * 300, spans=[2**40])


def test_a_small_learning_rate_does_not_come_back_as_0(store: MetadataStore) -> None:
    settings = json.dumps({"training": {"learning_rate": 2e-7}})
    run_id = run_record.begin(store, {run_record.SETTINGS: settings})
    (run,) = (context for context in store.get_contexts_by_type("pipeline_run") if context.name == run_id)
    kept = run_record.settings_of({"settings": run.custom_properties["settings"].string_value})
    assert kept == {"training.learning_rate": 2e-7}
