"""A metadata store that is locked, no store, cut short or of another version is refused, and left as it is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata.metadata_store import downgrade_schema

from bert_pipeline.metadata import database as metadata
from bert_pipeline.metadata import database as metadata_store
from bert_pipeline.settings.errors import UserError
from tests.bert_pipeline.past import Past


@pytest.fixture
def path(tmp_path: Path) -> Path:
    past = Past(tmp_path / "out")
    past.run(span=1, weights="a")
    return past.paths.metadata


def connection(path):
    return metadata.connection_config("", sqlite_path=path)


def refusal(path, **arguments) -> str:
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(UserError) as error:
        metadata_store.open_store(connection(path), **arguments)
    assert (path.read_bytes() if path.exists() else None) == before  # nothing is lost
    return str(error.value)


def test_good_store_opens_with_all_that_it_holds(path):
    assert len(metadata_store.open_store(connection(path), must_exist=True).get_executions()) == 7


def test_missing_store_is_made_or_refused(tmp_path):
    assert refusal(tmp_path / "none.sqlite", must_exist=True).startswith(
        f"there is no {tmp_path}/none.sqlite: no run"
    )
    metadata_store.open_store(connection(tmp_path / "none.sqlite"))
    assert (tmp_path / "none.sqlite").stat().st_size > 0


def test_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "metadata.sqlite"
    path.write_text("hello " * 1000)
    assert refusal(path).startswith(f"{path} is not a sqlite file; restore it from a backup, or move it away")


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.999])
def test_file_that_was_cut_short_is_named(path, kept):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert f"{path} is damaged or was cut short (" in refusal(path)


def test_empty_file_of_a_killed_first_run_is_filled(tmp_path):
    (tmp_path / "metadata.sqlite").touch()
    assert metadata_store.open_store(connection(tmp_path / "metadata.sqlite")).get_executions() == []


HOLD = """
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize(("held_seconds", "is_refused"), [(60.0, True), (1.0, False)])
def test_locked_file_is_waited_for_and_then_refused(path, held_seconds, is_refused):
    said: list[str] = []
    command = [sys.executable, "-c", HOLD, str(path), str(held_seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        if is_refused:
            text = refusal(path, lock_seconds=1.0, say=said.append)
            assert text.startswith(
                f"{path} is locked by another process, for more than 1 s; end that process"
            )
        else:
            metadata_store.open_store(connection(path), lock_seconds=20.0, say=said.append).get_executions()
        process.kill()
    assert said == [f"{path} is locked by another process; waiting up to {1 if is_refused else 20} s"]


def test_older_version_is_refused_and_upgraded_with_a_copy(path):
    downgrade_schema(connection(path), 9)
    text = refusal(path)
    assert f"{path}: MLMD database version 9 is older than library version 10; upgrade it with" in text
    older = path.read_bytes()
    said = metadata_store.upgrade(connection(path))
    assert said.endswith(f"the original file is {path}.backup-1")
    assert path.with_name("metadata.sqlite.backup-1").read_bytes() == older
    assert len(metadata_store.open_store(connection(path)).get_executions()) == 7


def test_newer_version_is_refused(path):
    database = sqlite3.connect(path)
    database.execute("UPDATE MLMDEnv SET schema_version = 11")
    database.commit()
    database.close()
    assert (
        f"{path}: MLMD database version 11 is greater than library version 10; it was written by a newer"
        in refusal(path)
    )
