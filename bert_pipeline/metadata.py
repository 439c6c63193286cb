"""Where ML Metadata lies: a sqlite file by default, MySQL or PostgreSQL by address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from bert_pipeline import postgres_store, typed
from bert_pipeline.errors import UserError

_DEFAULT_PORTS = {"mysql": 3306, "postgresql": 5432}


def connection_config(address: str, *, sqlite_path: Path) -> metadata_store_pb2.ConnectionConfig:
    """The connection of a run.

    Args:
        address: empty or `sqlite` for the file; `mysql://user:password@host:port/database` or
            `postgresql://user:password@host:port/database`.
        sqlite_path: the sqlite file.

    Raises:
        UserError: the address is of neither form.
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
    postgres_store.install()
    return metadata_store_pb2.ConnectionConfig(
        postgresql=metadata_store_pb2.PostgreSQLDatabaseConfig(
            host=url.hostname, port=str(port), dbname=database, user=user, password=password
        )
    )


def output_artifacts(store: MetadataStore, execution_id: int) -> dict[str, metadata_store_pb2.Artifact]:
    """Output key to artifact, of an execution that ran or was cached; 0: nothing."""
    if not execution_id:
        return {}
    outputs = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
    events = [e for e in store.get_events_by_execution_ids([execution_id]) if e.type in outputs]
    artifacts = {a.id: a for a in store.get_artifacts_by_id([e.artifact_id for e in events])}
    return {
        next(step.key for step in event.path.steps if step.key): artifacts[event.artifact_id]
        for event in events
    }
