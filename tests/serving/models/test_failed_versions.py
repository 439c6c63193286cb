"""Versions that fail to load, or are not whole: what stays in service, when they are tried again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.model_server.models.versions import LoadPolicy, ServedModel
from tests.serving.fakes import add_version, poll, states


def test_v6_version_that_fails_is_retried_and_leaves_the_old_one_in_service(
    base: Path, make_model: Callable[..., ServedModel], events: list[str]
) -> None:
    model = make_model()
    add_version(base, "1")
    poll(model)
    folder = add_version(base, "2", broken=True)
    for _ in range(4):
        poll(model)
    assert events == ["load 1", "fail 2", "fail 2"]
    assert states(model) == {2: "END", 1: "AVAILABLE"}
    assert model.statuses()[2].error == "it is broken"
    assert model.failed() is None
    (folder / "broken").unlink()
    poll(model)
    assert events[3:] == ["load 2", "unload 1"]  # its files have changed, so it is tried again
    assert model.statuses()[2].error == ""


def test_v6_failed_version_is_retried_after_the_interval(
    base: Path, make_model: Callable[..., ServedModel], events: list[str]
) -> None:
    model = make_model(LoadPolicy(max_retries=5, retry_seconds=3600.0, waits_for_writers=False))
    add_version(base, "2", broken=True)
    for _ in range(3):
        poll(model)
    assert events == ["fail 2"]
    assert model.failed() is None


def test_v6_version_that_was_taken_away_and_put_back_is_tried_afresh(
    base: Path, make_model: Callable[..., ServedModel], tmp_path: Path, events: list[str]
) -> None:
    model = make_model()
    folder = add_version(base, "2", broken=True)
    for _ in range(3):
        poll(model)
    folder.rename(tmp_path / "aside")
    poll(model)
    (tmp_path / "aside").rename(folder)
    poll(model)
    assert events == ["fail 2", "fail 2", "fail 2"]


def test_v6_with_several_versions_the_old_one_stays_until_all_new_ones_are_there(
    base: Path, make_model: Callable[..., ServedModel], tmp_path: Path
) -> None:
    """V6: but an old one whose folder is gone has been taken down by somebody."""
    model = make_model(latest=2)
    oldest = add_version(base, "1")
    add_version(base, "2")
    poll(model)
    add_version(base, "3", broken=True)
    poll(model)
    assert model.available == [2, 1]
    oldest.rename(tmp_path / "gone")
    poll(model)
    assert model.available == [2]


def test_v6_the_only_version_stays_even_without_its_folder_until_another_is_there(
    base: Path, make_model: Callable[..., ServedModel], tmp_path: Path
) -> None:
    model = make_model()
    first = add_version(base, "1")
    poll(model)
    second = add_version(base, "2", broken=True)
    first.rename(tmp_path / "gone")
    poll(model)
    assert model.available == [1]
    (second / "broken").unlink()
    poll(model)
    assert model.available == [2]


def test_v7_model_of_which_every_version_failed_for_good_is_told(
    base: Path, make_model: Callable[..., ServedModel]
) -> None:
    model = make_model(latest=2)
    add_version(base, "1", broken=True)
    add_version(base, "2", broken=True)
    poll(model)
    assert model.failed() is None
    poll(model)
    assert model.failed() == (2, "it is broken")


def test_folder_that_is_being_written_is_left_alone_and_the_state_says_so(
    base: Path,
    make_model: Callable[..., ServedModel],
    events: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("serving.model_server.models.version_files.QUIET_SECONDS", 0.3)
    model = make_model(LoadPolicy(max_retries=0, retry_seconds=0.0))
    folder = add_version(base, "1")
    (folder / "saved_model.pb").unlink()
    poll(model)
    assert model.statuses()[1].error == f"saved_model.pb is missing in {folder}"
    assert states(model) == {1: "START"}
    (folder / "saved_model.pb").touch()
    poll(model)
    assert model.statuses()[1].error == f"{folder} is still being written"
    assert model.unsettled
    assert model.failed() is None
    threading.Event().wait(0.4)
    poll(model)
    assert events == ["load 1"]
    assert caplog.text.count("is not loaded yet") == 2


def test_folder_that_stays_incomplete_has_failed_and_one_more_file_makes_it_new(
    base: Path, make_model: Callable[..., ServedModel], events: list[str]
) -> None:
    model = make_model(LoadPolicy(max_retries=0, retry_seconds=0.0, waits_for_writers=False))
    folder = add_version(base, "1")
    (folder / "saved_model.pb").unlink()
    poll(model)
    assert model.failed() == (1, f"saved_model.pb is missing in {folder}")
    assert states(model) == {1: "END"}
    (folder / "saved_model.pb").touch()
    poll(model)
    assert events == ["load 1"]
    assert model.failed() is None
