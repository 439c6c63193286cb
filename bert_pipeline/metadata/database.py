"""Connects to ML Metadata, a sqlite file or a MySQL or PostgreSQL address, and diagnoses failures.

ML Metadata fails on a bad file with the text of its first SQL statement. This module checks the file
first, read-only: a bad file stays unchanged.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ml_metadata import MetadataStore, errors
from ml_metadata.proto import metadata_store_pb2

from bert_pipeline.metadata import postgres
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError, is_full_disk, sentence_of

_DEFAULT_PORTS = {"mysql": 3306, "postgresql": 5432}


def connection_config(address: str, *, sqlite_path: Path) -> metadata_store_pb2.ConnectionConfig:
    """Returns the connection config of a run.

    Args:
        address: empty or `sqlite` for the file; `mysql://user:password@host:port/database` or
            `postgresql://user:password@host:port/database`.
        sqlite_path: the sqlite file.

    Raises:
        UserError: the address has neither form.
    """
    if address in ("", "sqlite"):
        return metadata_store_pb2.ConnectionConfig(
            sqlite=metadata_store_pb2.SqliteMetadataSourceConfig(
                filename_uri=str(sqlite_path),
                connection_mode=metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE,
            )
        )
    url = urlsplit(address)
    database = url.path.lstrip("/")
    try:
        port = (url.port or _DEFAULT_PORTS[url.scheme]) if url.scheme in _DEFAULT_PORTS else 0
    except ValueError:  # letters, or more than 65535
        port = 0
    if not port or not url.hostname or not database or not url.username:
        raise UserError(
            f"{typed.name('metadata')} is {typed.without_password(address)!r}; write sqlite, "
            "mysql://user:password@host:port/database or postgresql://user:password@host:port/database"
        )
    user, password = unquote(url.username), unquote(url.password or "")
    if url.scheme == "mysql":
        return metadata_store_pb2.ConnectionConfig(
            mysql=metadata_store_pb2.MySQLDatabaseConfig(
                host=url.hostname, port=port, database=database, user=user, password=password
            )
        )
    postgres.install()
    return metadata_store_pb2.ConnectionConfig(
        postgresql=metadata_store_pb2.PostgreSQLDatabaseConfig(
            host=url.hostname, port=str(port), dbname=database, user=user, password=password
        )
    )


def output_artifacts(store: MetadataStore, execution_id: int) -> dict[str, metadata_store_pb2.Artifact]:
    """Output key to artifact of an execution that ran or was cached; empty for id 0."""
    if not execution_id:
        return {}
    outputs = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
    events = [e for e in store.get_events_by_execution_ids([execution_id]) if e.type in outputs]
    artifacts = {a.id: a for a in store.get_artifacts_by_id([e.artifact_id for e in events])}
    return {
        next(step.key for step in event.path.steps if step.key): artifacts[event.artifact_id]
        for event in events
    }


# Maximum wait for another process to release the file; ML Metadata's own transactions take milliseconds.
LOCK_SECONDS = 10.0
_FIRST_TRY_SECONDS = 0.5

# The first bytes of every sqlite file (https://www.sqlite.org/fileformat.html#the_database_header).
_MAGIC = b"SQLite format 3\x00"


def open_store(
    connection: metadata_store_pb2.ConnectionConfig,
    *,
    must_exist: bool = False,
    lock_seconds: float = LOCK_SECONDS,
    say: Callable[[str], None] | None = None,
) -> MetadataStore:
    """Opens the store of a task.

    Args:
        connection: of `metadata.connection_config`.
        must_exist: raise if the sqlite file does not exist, instead of creating it.
        lock_seconds: maximum wait for another process that locks the sqlite file.
        say: called with a line before waiting for a lock; None: print to standard error.

    Raises:
        UserError: the file is missing, locked, not sqlite, damaged or of another version, or the server is not
            reachable; the message names the file or server and the fix.
    """
    if connection.HasField("sqlite"):
        path = Path(connection.sqlite.filename_uri)
        if path.exists():
            _check_file(path, lock_seconds=lock_seconds, say=say or _say)
        elif must_exist:
            raise UserError(typed.missing_run(path))
    try:
        return MetadataStore(connection)
    except (RuntimeError, errors.StatusError) as error:
        raise _explained(error, connection) from error


def upgrade(connection: metadata_store_pb2.ConnectionConfig) -> str:
    """Upgrades an older store to this library's version; copies a sqlite file first.

    Returns:
        One sentence that describes the result.

    Raises:
        UserError: as `open_store`, except for an older version.
    """
    copy = ""
    if connection.HasField("sqlite"):
        path = Path(connection.sqlite.filename_uri)
        if not path.exists():
            raise UserError(f"there is no {path}; nothing to upgrade")
        _check_file(path, lock_seconds=LOCK_SECONDS, say=_say)
        backup = _free_name(path)
        try:
            shutil.copy2(path, backup)
        except OSError:
            backup.unlink(missing_ok=True)  # an incomplete copy would look complete
            raise
        copy = f"; the original file is {backup}"
    try:
        MetadataStore(connection, enable_upgrade_migration=True)
    except (RuntimeError, errors.StatusError) as error:
        raise _explained(error, connection) from error
    return f"{_where(connection)} has this library's version{copy}"


def _check_file(path: Path, *, lock_seconds: float, say: Callable[[str], None]) -> None:
    with open(path, "rb") as file:
        head = file.read(len(_MAGIC))
    if head and head != _MAGIC:  # an empty file is an empty database
        raise UserError(
            f"{path} is not a sqlite file; restore it from a backup, or move it away to start with an empty one "
            "(what is in service stays; its history is lost)"
        )
    try:
        _wait_for_lock(path, lock_seconds=lock_seconds, say=say)
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error


def _wait_for_lock(path: Path, *, lock_seconds: float, say: Callable[[str], None]) -> None:
    """Acquires the write lock, checks every page, and releases the lock."""
    deadline = time.monotonic() + lock_seconds
    timeout = min(_FIRST_TRY_SECONDS, lock_seconds)
    while True:
        connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            findings = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise UserError(
                    f"{path} cannot be opened for writing: {error}; correct its permissions"
                ) from error
            if time.monotonic() >= deadline:
                raise UserError(
                    f"{path} is locked by another process, for more than {lock_seconds:.0f} s; end that process "
                    f"(`fuser {path}` names it) and give the command again; nothing was changed"
                ) from error
            say(f"{path} is locked by another process; waiting up to {lock_seconds:.0f} s")
            timeout = max(deadline - time.monotonic(), 0.0)
        else:
            if findings != ["ok"]:
                raise _damaged(path, findings[0])
            return
        finally:
            connection.close()


def _damaged(path: Path, finding: str) -> UserError:
    return UserError(
        f"{path} is damaged or was cut short ({' '.join(finding.split())}); restore it from a backup, try "
        f"`sqlite3 {path} .recover`, or move it away to start with an empty one "
        "(what is in service stays; its history is lost)"
    )


def _explained(error: Exception, connection: metadata_store_pb2.ConnectionConfig) -> UserError:
    text, where = " ".join(str(error).split()), _where(connection)
    if "is older than library version" in text:
        versions = text.partition(". ")[0]
        return UserError(
            f"{where}: {versions}; upgrade it with `{typed.command('upgrade-metadata')}` "
            "(a sqlite file is copied first)"
        )
    if "is greater than library version" in text:
        versions = text.partition(". ")[0]
        return UserError(
            f"{where}: {versions}; it was written by a newer TFX: run this with that one, or give "
            f"{typed.give('out')} or {typed.give('metadata')} for a store of its own; nothing was changed"
        )
    if is_full_disk(error):
        return UserError(f"{where} cannot be written: {sentence_of(error)}")
    return UserError(f"{where} cannot be opened: {text}")


def _where(connection: metadata_store_pb2.ConnectionConfig) -> str:
    """Describes the store, without its password."""
    if connection.HasField("sqlite"):
        return str(connection.sqlite.filename_uri)
    if connection.HasField("mysql"):
        return f"mysql://{connection.mysql.host}:{connection.mysql.port}/{connection.mysql.database}"
    postgresql = connection.postgresql
    return f"postgresql://{postgresql.host}:{postgresql.port}/{postgresql.dbname}"


def _free_name(path: Path) -> Path:
    number = 1
    while (backup := path.with_name(f"{path.name}.backup-{number}")).exists():
        number += 1
    return backup


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
