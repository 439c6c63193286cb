"""ML Metadata in a real PostgreSQL: strings with backslashes come back whole, rows come in order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_pipeline.metadata import postgres
from bert_pipeline.places import postgres_server

# A process of its own, because what it installs stays for the life of a process.
SCRIPT = r"""
import json, random, sys
from pathlib import Path
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb
from bert_pipeline.metadata import database

store = MetadataStore(database.connection_config(sys.argv[1], sqlite_path=Path("unused")))
kind = store.put_artifact_type(pb.ArtifactType(name="Thing", properties={"text": pb.STRING}))
texts = ['{"a": "{\\"b\\": \\"\\\\d+%5C\\"}"}', "plain", "100 %", "caf\u00e9", "a\\0b%00"]
things = [pb.Artifact(type_id=kind, uri=f"/thing/{i}") for i in range(len(texts))]
for thing, text in zip(things, texts):
    thing.properties["text"].string_value = text
ids = store.put_artifacts(things)
first = store.get_artifacts_by_id(ids[:1])[0]
first.state = pb.Artifact.LIVE
store.put_artifacts([first])  # an updated row comes last in PostgreSQL
noise = random.Random(1)  # which does not shrink, as a schema does
long = "".join(noise.choice("abcdefgh\u00e9\\%\n") for _ in range(60_000))
thing = pb.Artifact(id=ids[0], type_id=kind, uri="/thing/0")
thing.properties["text"].string_value = long
thing.custom_properties["more"].string_value = long[::-1]
store.put_artifacts([thing])
run = store.put_context_type(pb.ContextType(name="run"))
step = store.put_execution_type(pb.ExecutionType(name="step"))
context, execution = pb.Context(type_id=run, name="r"), pb.Execution(type_id=step)
for entity in (context, execution):
    entity.custom_properties["long"].string_value = long
    entity.custom_properties["number"].int_value = 7
store.put_execution(execution, [], [context])
[read] = store.get_artifacts_by_id(ids[:1])
kept = [read.properties["text"].string_value == long, read.custom_properties["more"].string_value == long[::-1]]
for entity in (*store.get_contexts(), *store.get_executions()):
    kept.append(sorted(entity.custom_properties) == ["long", "number"])
    kept.append(entity.custom_properties["long"].string_value == long)
thing.properties["text"].string_value = texts[0]  # shorter again: no piece is left behind
del thing.custom_properties["more"]
store.put_artifacts([thing])
[read] = store.get_artifacts_by_id(ids[:1])
kept += [read.properties["text"].string_value == texts[0], not read.custom_properties]
print(json.dumps(kept))
found = store.get_artifacts_by_id(ids)
print(json.dumps([[a.id for a in found] == list(ids), [a.properties["text"].string_value for a in found] == texts]))
"""


@pytest.fixture
def server() -> Iterator[postgres_server.PostgresServer]:
    """A new server on a free port of this machine."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    folder.chmod(0o755)
    if lacks := postgres_server.what_lacks(folder):
        pytest.skip(f"NOT TESTED: ML Metadata in PostgreSQL: {lacks}")
    server = postgres_server.start(folder / "server", databases=("store",))
    yield server
    server.stop()
    shutil.rmtree(folder)


def test_what_goes_into_postgresql_comes_out_alike_and_in_order(
    server: postgres_server.PostgresServer,
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, server.address("store")]
    path = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "PYTHONPATH": path, "PGPASSFILE": str(server.passwords)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept, found = map(json.loads, done.stdout.splitlines())
    assert kept == [True] * 8
    assert found == [True, True]


@pytest.mark.parametrize("text", ["", "plain", "\\", "%5C", "a\\%25\\\\b%%", "\0%00"])
def test_disguised_strings_have_no_backslash_and_come_back(text: str) -> None:
    assert "\\" not in postgres.encode(text)
    assert postgres.decode(postgres.encode(text)) == text


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", [0]),
        ("a" * 1600, [1600]),
        ("a" * 1601, [1600, 1]),
        ("\u00e9" * 1000, [1600, 400]),
        ("\U0001f600" * 401, [1600, 4]),
    ],
)
def test_long_strings_are_cut_between_characters(text: str, sizes: list[int]) -> None:
    found = postgres.pieces(text)
    assert [len(piece.encode()) for piece in found] == sizes
    assert "".join(found) == text
