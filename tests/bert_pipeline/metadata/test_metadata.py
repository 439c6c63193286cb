"""ML Metadata's address: a file by default, MySQL or PostgreSQL by URL, never a password in a message."""

from __future__ import annotations

import pytest

from bert_pipeline.metadata import database
from bert_pipeline.settings.errors import UserError


def test_default_is_a_sqlite_file(tmp_path):
    config = database.connection_config("", sqlite_path=tmp_path / "metadata.sqlite")
    assert config.sqlite.filename_uri == str(tmp_path / "metadata.sqlite")


def test_mysql_address(tmp_path):
    config = database.connection_config("mysql://me:p%40ss@db.local/mlmd", sqlite_path=tmp_path)
    mysql = config.mysql
    assert (mysql.host, mysql.port, mysql.database, mysql.user, mysql.password) == (
        "db.local", 3306, "mlmd", "me", "p@ss",
    )  # fmt: skip


def test_postgresql_address_with_a_port(tmp_path):
    config = database.connection_config("postgresql://me:secret@db:6543/mlmd", sqlite_path=tmp_path)
    postgresql = config.postgresql
    assert (postgresql.host, postgresql.port, postgresql.dbname, postgresql.user) == (
        "db",
        "6543",
        "mlmd",
        "me",
    )


@pytest.mark.parametrize("address", ["mysql://db/mlmd", "oracle://me:secret@db/x", "mysql://me:secret@db"])
def test_bad_address_is_refused_without_its_password(tmp_path, address):
    with pytest.raises(UserError, match="write sqlite, mysql://user:password@host:port/database") as error:
        database.connection_config(address, sqlite_path=tmp_path)
    assert "secret" not in str(error.value)
