"""Folders that cannot be written, and full disks: one sentence that names the path and the cure, and nothing half."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline.__main__ import main
from bert_pipeline.components import labelled_table
from bert_pipeline.encoders import encoder_cache, resolve
from bert_pipeline.running import label
from bert_pipeline.serving_folder import atomic_push, served
from bert_pipeline.serving_folder.served import served_versions
from bert_pipeline.settings import errors, whole_file
from bert_pipeline.settings.errors import UserError
from tests.bert_pipeline.components.test_pusher import write_model
from tests.bert_pipeline.past import Past
from tests.small_disks import give_room, mounted

ROOT = Path(__file__).resolve().parents[3]


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that cannot be written: by its rights, or for root, who has all of them, as a file system of its own."""
    if os.getuid() == 0:
        with mounted(folder, "ro"):
            yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


WHY = "lies on a read-only file system" if os.getuid() == 0 else "cannot be written by this user"


@pytest.mark.parametrize(
    ("verb", "place"),
    [
        *(("pipeline", p) for p in ("", "toy", "toy/artifacts", "toy/artifacts/Trainer", "toy/serving/toy")),
        ("schema review", ""),
        *((verb, "toy/artifacts") for verb in ("schema review", "rollback", "gc", "report", "tensorboard")),
    ],
)
def test_output_folder_is_refused_before_anything_is_written(tmp_path, capsys, verb, place):
    out = tmp_path / "out"
    with read_only(out / place):
        assert main([*verb.split(), "--task", "toy", "--out", str(out)]) == 2
        assert capsys.readouterr().err == (
            f"\nerror: {out / place} {WHY}; give --out ... a folder that can be written, or change the rights of this "
            "one\n"
        )
        assert list((out / place).iterdir()) == []


def test_output_folder_is_refused_before_tensorflow_is_loaded(tmp_path):
    with read_only(tmp_path / "out"):
        script = (
            "import sys\n"
            "from bert_pipeline.__main__ import main\n"
            f"status = main(['pipeline', '--task', 'toy', '--out', {str(tmp_path / 'out')!r}])\n"
            "sys.exit(10 * ('tensorflow' in sys.modules) + status)\n"
        )
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'modules'}"}
        assert (
            subprocess.run(
                [sys.executable, "-W", "ignore", "-c", script], env=environment, check=False
            ).returncode
            == 2
        )


def test_cache_that_cannot_be_written_is_named_with_its_variable_before_tensorflow_is_loaded(tmp_path):
    with read_only(tmp_path / "home"):
        script = (
            "import sys\n"
            "from bert_pipeline.__main__ import main\n"
            f"status = main(['pipeline', '--task', 'toy', '--out', {str(tmp_path / 'out')!r}])\n"
            "sys.exit(10 * ('tensorflow' in sys.modules) + status)\n"
        )
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'modules'}",
            "HOME": str(tmp_path / "home"),
        }
        for name in ("BERT_PIPELINE_CACHE", "XDG_CACHE_HOME"):
            environment.pop(name, None)
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 2, ended.stderr
    assert f"error: the cache of encoders cannot be written: {tmp_path}/home/.cache" in ended.stderr
    assert "set BERT_PIPELINE_CACHE to a folder that can be written" in ended.stderr


def test_user_without_a_home_is_told_the_variable(monkeypatch):
    monkeypatch.delenv("BERT_PIPELINE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UserError, match="no home folder .* set BERT_PIPELINE_CACHE to a folder"):
        resolve.default_cache_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert resolve.default_cache_dir() == Path("/somewhere/bert_pipeline")


@pytest.mark.parametrize("home", ["a file", "/proc/there-is-no-such-home"])
def test_home_that_cannot_hold_a_folder_is_the_same(tmp_path, home):
    (tmp_path / "a file").write_text("")
    with pytest.raises(
        UserError, match=r"cache of encoders cannot be written: .*; set BERT_PIPELINE_CACHE to a folder"
    ):
        encoder_cache.publish(
            tmp_path / home / ".cache/encoders/abc", lambda _: pytest.fail("nothing to build in")
        )


def test_file_that_a_checkpoint_lacks_is_not_the_caches_fault(tmp_path):
    def build(folder: Path) -> None:
        (tmp_path / "vocab.txt").read_text()

    with pytest.raises(FileNotFoundError, match=r"vocab\.txt"):
        encoder_cache.publish(tmp_path / "encoders" / "abc", build)


def test_cached_encoder_is_used_from_a_cache_that_cannot_be_written(tmp_path):
    entry = tmp_path / "encoders" / "abc"
    entry.mkdir(parents=True)
    encoder_cache.publish(entry, lambda _: pytest.fail("it is there"))


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KiB."""
    with mounted(tmp_path / "disk", "size=400k") as folder:
        yield folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_push_on_a_full_disk_leaves_nothing_and_the_next_one_succeeds(tmp_path, full):
    small = write_model(tmp_path / "small", weights=b"x" * 1000)
    large = write_model(tmp_path / "large", weights=b"x" * 500_000)
    first = atomic_push.push(small, base_dir=full)
    before = files(full)
    with pytest.raises(OSError, match="No space left on device"):
        atomic_push.push(large, base_dir=full)
    assert files(full) == before
    assert atomic_push.newest_version(full) == first
    assert atomic_push.push(small, base_dir=full) > first


def test_rollback_on_a_full_disk_leaves_what_is_in_service_and_goes_on_when_there_is_room(tmp_path, capsys):
    past = Past(tmp_path / "out")
    past.run(span=1, weights="a" * 300_000)
    past.run(span=2, weights="b")
    base_dir = past.paths.push_destination
    kept = tmp_path / "kept"
    base_dir.rename(kept)
    with mounted(base_dir, "size=500k"):
        subprocess.run(["cp", "-a", f"{kept}/.", str(base_dir)], check=True)
        two = past.versions()[-1]
        assert past.verb("rollback") == 2
        assert capsys.readouterr().err == (
            f"\nerror: the copy failed: [Errno 28] No space left on device; version {two} stays in service\n"
        )
        assert (past.versions()[-1], served.withdrawn(base_dir)) == (two, {})
        assert [path.name for path in base_dir.iterdir() if not path.name.isdigit()] == []
        give_room(base_dir, "2m")
        assert past.verb("rollback") == 0
        newest = served_versions(base_dir)[-1].folder / "variables" / "variables.data-00000-of-00001"
        assert newest.read_text()[:1] == "a"


def test_encoder_on_a_full_disk_is_a_sentence_and_leaves_nothing(full):
    def build(folder: Path) -> None:
        (folder / "weights").write_bytes(b"x" * 500_000)

    with pytest.raises(UserError, match="the cache of encoders cannot be written: No space left on device"):
        encoder_cache.publish(full / "encoders" / "abc", build)
    assert files(full) == ["encoders/.abc.lock"]
    encoder_cache.publish(full / "encoders" / "abc", lambda folder: (folder / "weights").write_bytes(b"x"))
    assert files(full) == ["encoders/.abc.lock", "encoders/abc/weights"]


def test_file_on_a_full_disk_is_as_it_was(full):
    whole_file.write_whole(full / "summary.json", "{}")
    with pytest.raises(OSError, match="No space left") as error:
        whole_file.write_whole(full / "summary.json", "x" * 500_000)
    assert error.value.errno == errno.ENOSPC
    assert [(path.name, path.read_text()) for path in full.iterdir()] == [("summary.json", "{}")]


def test_record_on_a_full_disk_is_a_sentence_and_gc_makes_room(tmp_path, capsys):
    """gc removes what ML Metadata does not know first: it must write into its own file before it removes the rest."""
    with mounted(tmp_path / "disk", "size=3m") as disk:
        past = Past(disk / "out")
        past.run(span=1, weights="a")
        past.run(span=2, weights="b")
        leftover = past.paths.pipeline_root / "Trainer" / "model" / "9999"
        leftover.mkdir()
        with (
            open(leftover / "half", "wb", buffering=0) as file,
            pytest.raises(OSError, match="No space left"),
        ):
            while True:
                file.write(b"x" * 4096)
        assert past.verb("rollback") == 2
        assert capsys.readouterr().err == (
            "\nerror: the disk is full (database or disk is full); free some room, and give the same command again\n"
        )
        assert past.verb("gc", "--yes") == 0
        assert not leftover.exists()
        assert past.verb("rollback") == 0


def test_labels_on_a_full_disk_leave_the_old_table_and_name_where_they_are(tmp_path, full, monkeypatch):
    table = labelled_table.write_table([{"text": "x" * 500_000}], str(tmp_path / "table"), "csv")
    (full / "labelled.csv").write_text("old")
    artifact = pb.Artifact(uri=str(tmp_path / "table"))
    artifact.custom_properties[labelled_table.NUM_ROWS].int_value = 1
    monkeypatch.setattr(label, "outputs", lambda *_: {"table": artifact})
    handle = types.SimpleNamespace(store=None)
    with pytest.raises(
        UserError, match=f"could not be written: No space left on device; the labelled texts are in {table}"
    ):
        label._take(handle, None, texts=[], target=full / "labelled.csv", file_format="csv")
    assert [(path.name, path.read_text()) for path in full.iterdir()] == [("labelled.csv", "old")]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "the disk is full (No space left on device); free some room",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a"), "the disk is full at /a (Disk quota exceeded)"),
        (RuntimeError("; No space left on device [Op:SaveV2]"), "the disk is full (No space left on device)"),
        (OSError(errno.EACCES, "Permission denied", "/a"), "/a: Permission denied"),
        (OSError("odd"), None),
        (ValueError("odd"), None),
    ],
)
def test_errors_of_the_system_are_sentences(error, sentence):
    found = errors.sentence_of(error)
    assert (found is None) if sentence is None else found.startswith(sentence)
