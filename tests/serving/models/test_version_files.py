"""When a version folder is taken for whole: real SavedModels with parts cut off."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
import tensorflow as tf

from serving.model_server.models import version_files
from serving.model_server.models.servable import LoadError, Servable
from serving.model_server.models.version_files import Snapshot, is_settled, missing_part, snapshot

DATA = "variables/variables.data-00000-of-00001"


def test_saved_model_is_whole(toy_copy: Path) -> None:
    assert missing_part(str(toy_copy)) == ""


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index"])
def test_missing_file_is_named(toy_copy: Path, name: str) -> None:
    (toy_copy / name).unlink()
    assert missing_part(str(toy_copy)) == f"{name} is missing in {toy_copy}"


def test_missing_folder_of_variables_is_noticed_although_tensorflow_would_load_the_graph(
    toy_copy: Path,
) -> None:
    shutil.rmtree(toy_copy / "variables")
    assert missing_part(str(toy_copy)) == f"variables/variables.index is missing in {toy_copy}"


@pytest.mark.parametrize("name", [DATA, "variables/variables.index"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_file_of_variables_that_is_cut_off_does_not_load(toy_copy: Path, name: str, kept: float) -> None:
    os.truncate(toy_copy / name, int((toy_copy / name).stat().st_size * kept))
    assert missing_part(str(toy_copy)) == ""
    with pytest.raises(LoadError, match=r"a file of variables is cut off|variables/variables|sstable"):
        Servable(str(toy_copy), name="toy", version=1)


def test_a_missing_file_of_variables_does_not_load(toy_copy: Path) -> None:
    (toy_copy / DATA).unlink()
    assert missing_part(str(toy_copy)) == ""
    with pytest.raises(LoadError, match=DATA):
        Servable(str(toy_copy), name="toy", version=1)


def test_graph_without_variables_needs_none(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, name="x")
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "1"))
        builder.add_meta_graph_and_variables(session, ["serve"])
        del x
        builder.save()
    shutil.rmtree(tmp_path / "1" / "variables", ignore_errors=True)
    assert missing_part(str(tmp_path / "1")) == ""


def test_quiet_time_is_two_seconds() -> None:
    assert version_files.QUIET_SECONDS == 2.0


def at(seconds: float) -> int:
    return round(seconds * 1e9)


OLD = (at(1000), at(1000))


@pytest.mark.parametrize(
    ("changed", "own_times", "settled"),
    [
        (1000.0, OLD, True),  # nobody has touched it for long
        (4999.0, OLD, False),  # one second ago
        (4997.9, OLD, True),
        (4999.0, (at(4999.0), at(4999.5)), True),  # renamed, or `cp -a` put its times right
        (4999.0, (at(4998.0), at(4998.5)), False),  # that was before the last change
        (4999.0, (at(4999.5), at(4999.5)), False),  # a new entry, which changes both times
        (6000.0, OLD, False),  # the file system's clock is ahead of ours
    ],
)
def test_writing_has_ended_by_rename_or_after_quiet(
    changed: float, own_times: tuple[int, int], settled: bool
) -> None:
    now = Snapshot(taken=5000.0, files=(("a", 1, at(changed)),), own_times=own_times)
    assert is_settled(now) == settled


def test_two_equal_looks_count_where_the_clock_of_the_file_system_is_ahead() -> None:
    files = (("a", 1, at(6000)),)
    first, soon, later = (
        Snapshot(taken=t, files=files, own_times=(at(6000), at(6000))) for t in (5000, 5001, 5002)
    )
    grown = Snapshot(taken=5002, files=(("a", 2, at(6000)),), own_times=(at(6000), at(6000)))
    assert not is_settled(soon, first)
    assert is_settled(later, first)
    assert not is_settled(grown, first)


def test_real_copies_are_told_apart(toy_path: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(toy_path, tmp_path / "copied", copy_function=shutil.copyfile))
    (copied / "last").touch()
    assert not is_settled(snapshot(str(copied)))
    time.sleep(0.05)
    copied.rename(tmp_path / "renamed")
    assert is_settled(snapshot(str(tmp_path / "renamed")))


def test_a_link_to_nothing_beside_the_model_does_not_keep_it_waiting(toy_copy: Path) -> None:
    (toy_copy / "README").symlink_to(toy_copy / "gone")
    files = [name for name, _, _ in version_files.snapshot(str(toy_copy)).files]
    assert "README" in files
    assert version_files.missing_part(str(toy_copy)) == ""
