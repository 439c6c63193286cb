"""What a run reads has a digest, which changes with any of it."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from bert_pipeline.encoders.resolve import Encoder
from bert_pipeline.running import unchanged
from bert_pipeline.running.run import Request
from bert_pipeline.running.unchanged import Unchanged
from bert_pipeline.settings import config
from bert_pipeline.settings.config import LoadedTask
from bert_pipeline.settings.paths import RunPaths, run_paths

ENCODER = Encoder(
    path="encoder", sha256="c0de", lower_case=True, vocab_path="vocab.txt", source="bert", max_seq_length=128
)


@dataclasses.dataclass
class Situation:
    """What a run would find."""

    request: Request
    loaded: LoadedTask
    paths: RunPaths
    encoder: Encoder = ENCODER

    def digest(self) -> str:
        given = unchanged.surroundings()
        inputs = unchanged.inputs_of(self.request, self.loaded, self.encoder, self.paths, given=given)
        return unchanged.digest_of(inputs, self.paths)


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Situation:
    """A task with data, schema and code in a folder of its own, and what a run of it left."""
    monkeypatch.setattr(unchanged, "PROJECT_ROOT", tmp_path)
    paths = run_paths("toy", out=tmp_path / "out")
    for name in (
        "data/train.csv",
        "modules/bert_text.py",
        "bert_pipeline/pipeline.py",
        "tasks/toy.schema.pbtxt",
    ):
        _write(tmp_path / name)
    _write(paths.metadata)
    _write(paths.push_destination / "7" / "saved_model.pb")
    task = config.load_task("toy").task
    loaded = LoadedTask(task=task, path=tmp_path / "tasks" / "toy.toml", data_dir=tmp_path / "data")
    request = Request(task="toy", out=tmp_path / "out")
    return Situation(request, loaded, paths)


def _write(path: Path, text: str = "1") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _later(path: Path) -> None:
    """Same content, another time."""
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))


def test_what_nothing_touched_is_unchanged(found: Situation) -> None:
    before = found.digest()
    assert len(before) == 64
    _write(found.paths.root / "logs" / "run.log")
    _write(found.loaded.data_dir.parent / "modules" / "__pycache__" / "bert_text.cpython-310.pyc")
    assert found.digest() == before


@pytest.mark.parametrize(
    "name",
    [
        "data/train.csv", "modules/bert_text.py", "bert_pipeline/pipeline.py", "out/toy/metadata.sqlite",
        "out/toy/serving/toy/7/saved_model.pb",
    ],
)  # fmt: skip
def test_a_file_with_another_time_is_a_change(found: Situation, tmp_path: Path, name: str) -> None:
    before = found.digest()
    _later(tmp_path / name)
    assert found.digest() != before


@pytest.mark.parametrize("name", ["data/more.csv", "modules/new.py", "out/toy/serving/toy/8/saved_model.pb"])
def test_a_new_file_is_a_change(found: Situation, tmp_path: Path, name: str) -> None:
    before = found.digest()
    _write(tmp_path / name)
    assert found.digest() != before


def test_settings_schema_encoder_variables_and_packages_count(
    found: Situation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [found.digest()]
    training = dataclasses.replace(found.loaded.task.training, epochs=99)
    task = dataclasses.replace(found.loaded.task, training=training)
    found.loaded = dataclasses.replace(found.loaded, task=task)
    digests.append(found.digest())
    _write(found.loaded.schema_path, "2")
    digests.append(found.digest())
    found.encoder = dataclasses.replace(ENCODER, sha256="beef")
    digests.append(found.digest())
    found.request = dataclasses.replace(found.request, server="docker")
    digests.append(found.digest())
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")
    digests.append(found.digest())
    (tmp_path / "site" / "tensorflow-9.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    digests.append(found.digest())
    assert len(set(digests)) == 7


def test_a_server_as_metadata_store_or_very_many_files_are_left_to_tfx(
    found: Situation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(unchanged, "_MAX_FILES", 0)
        assert found.digest() == ""
    found.request = dataclasses.replace(found.request, metadata="postgresql://localhost/runs")
    assert found.digest() == ""


def test_what_was_kept_holds_for_its_digest_while_its_artifacts_are_there(found: Situation) -> None:
    artifact = found.paths.root / "artifacts" / "Trainer" / "model" / "3"
    artifact.mkdir(parents=True)
    kept = Unchanged(found.digest(), (str(artifact),), "text", {"verdict": "in service already"}, "7")
    unchanged.remember(found.paths, kept)
    unchanged.remember(found.paths, dataclasses.replace(kept, digest="", text="other"))  # keeps nothing
    assert unchanged.recall(found.paths, kept.digest) == kept
    assert unchanged.recall(found.paths, "another") is None
    assert unchanged.recall(found.paths, "") is None
    artifact.rmdir()
    assert unchanged.recall(found.paths, kept.digest) is None


@pytest.mark.parametrize("where", ["data", "modules", "out/toy/serving/toy"])
def test_a_folder_that_is_a_link_is_left_to_tfx(found: Situation, tmp_path: Path, where: str) -> None:
    """Its files may change without a trace in the folder that holds the link."""
    _write(tmp_path / "elsewhere" / "rows.csv")
    (tmp_path / where / "span-2").symlink_to(tmp_path / "elsewhere")
    assert found.digest() == ""


def test_a_file_that_is_a_link_counts_as_what_it_leads_to(found: Situation, tmp_path: Path) -> None:
    _write(tmp_path / "elsewhere.csv")
    (tmp_path / "data" / "eval.csv").symlink_to(tmp_path / "elsewhere.csv")
    before = found.digest()
    _later(tmp_path / "elsewhere.csv")
    assert found.digest() not in ("", before)


@pytest.mark.parametrize("pattern", ["../elsewhere/train.csv", "/elsewhere/train.csv"])
def test_data_outside_its_folder_are_left_to_tfx(found: Situation, pattern: str) -> None:
    task = found.loaded.task
    files = dataclasses.replace(
        task, data=dataclasses.replace(task.data, files={"train": pattern, "eval": "e.csv"})
    )
    found.loaded = dataclasses.replace(found.loaded, task=files)
    assert found.digest() == ""
    bulk = dataclasses.replace(task, bulk_inference=dataclasses.replace(task.bulk_inference, files=pattern))
    found.loaded = dataclasses.replace(found.loaded, task=bulk)
    assert found.digest() == ""


def test_packages_and_variables_are_those_from_before_tensorflow(
    found: Situation, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = unchanged.surroundings()
    inputs = unchanged.inputs_of(found.request, found.loaded, found.encoder, found.paths, given=given)
    monkeypatch.setenv("TF_SET_BY_AN_IMPORT", "1")
    assert unchanged.inputs_of(found.request, found.loaded, found.encoder, found.paths, given=given) == inputs


def test_what_is_printed_and_written_has_the_time_of_this_run(
    found: Situation, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Unchanged(
        "d", (), f"time      {unchanged.SECONDS} s, 0 of 15", {"wall_seconds": 200.0, "task": "toy"}, "7"
    )
    unchanged.say(found.paths, kept, seconds=0.4321)
    assert capsys.readouterr().out == "time      0.4 s, 0 of 15\n"
    assert json.loads((found.paths.root / "summary.json").read_text()) == {
        "wall_seconds": 0.432,
        "task": "toy",
    }
