"""How the versions of one model come and go, with servables that only note what happens to them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_pipeline.serving_folder.served import served_versions
from serving.model_server.config.settings import ModelSettings
from serving.model_server.errors import ServingError
from serving.model_server.models.manager import Staged, check_available
from serving.model_server.models.versions import LoadPolicy, ServedModel, scan
from serving.version_folders import version_numbers
from tests.serving.fakes import LOAD_AT_ONCE, FakeServable, add_version, poll, states


def test_v1_versions_are_folders_whose_name_is_an_int64(base: Path) -> None:
    for name in ("1", "007", ".8.incomplete", "9x", "-3", "9223372036854775808", "\u0663", "1.5", "+4"):
        add_version(base, name)
    (base / "12").touch()
    assert scan(str(base)) == {-3: str(base / "-3"), 1: str(base / "1"), 7: str(base / "007")}


def test_v1_of_two_names_of_one_version_the_shorter_is_taken(base: Path) -> None:
    for name in ("07", "7", "007"):
        add_version(base, name)
    assert scan(str(base)) == {7: str(base / "7")}


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ({}, [10]),
        ({"latest": 2}, [10, 3]),
        ({"latest": 0}, [10, 3, 2]),
        ({"specific": frozenset({2, 3, 99})}, [3, 2]),
    ],
)
def test_v2_policy_says_which_versions_are_served(
    base: Path, make_model: Callable[..., ServedModel], policy: dict[str, object], served: list[int]
) -> None:
    """V2: the latest (numerically), the latest N, all, or those named."""
    for name in ("3", "10", "2"):
        add_version(base, name)
    model = make_model(**policy)
    poll(model)
    assert model.available == served


def test_v4_new_version_is_loaded_before_the_old_one_is_unloaded(
    base: Path, make_model: Callable[..., ServedModel], events: list[str]
) -> None:
    model = make_model()
    add_version(base, "1")
    add_version(base, "2")
    poll(model)
    add_version(base, "10")
    poll(model)
    poll(model)
    assert events == ["load 2", "load 10", "unload 2"]
    assert states(model) == {10: "AVAILABLE", 2: "END"}


def test_v4_removed_latest_version_gives_way_to_the_one_before(
    base: Path, make_model: Callable[..., ServedModel], tmp_path: Path, events: list[str]
) -> None:
    model = make_model()
    add_version(base, "1")
    newer = add_version(base, "2")
    poll(model)
    newer.rename(tmp_path / "gone")
    poll(model)
    assert events == ["load 2", "load 1", "unload 2"]
    (tmp_path / "gone").rename(newer)
    poll(model)
    assert events[3:] == ["load 2", "unload 1"]
    assert states(model) == {2: "AVAILABLE", 1: "END"}


def test_v5_missing_base_path_unloads_nothing_and_is_logged_and_an_empty_one_unloads_all(
    base: Path,
    make_model: Callable[..., ServedModel],
    tmp_path: Path,
    events: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = make_model()
    folder = add_version(base, "1")
    poll(model)
    base.rename(tmp_path / "away")
    poll(model)
    assert events == ["load 1"]
    assert f"cannot read base path {base}" in caplog.text
    (tmp_path / "away").rename(base)
    folder.rename(tmp_path / "1")
    poll(model)
    assert events == ["load 1", "unload 1"]
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(m\)"):
        model.acquire()


def test_v8_ended_versions_stay_listed_but_not_for_ever(
    base: Path, make_model: Callable[..., ServedModel], tmp_path: Path
) -> None:
    model = make_model()
    for number in range(120):
        folder = add_version(base, str(number))
        poll(model)
        folder.rename(tmp_path / str(number))
    assert states(model) == {119: "AVAILABLE"} | dict.fromkeys(range(19, 119), "END")


def test_v8_states_of_a_version_from_start_to_end(base: Path, make_model: Callable[..., ServedModel]) -> None:
    seen = []
    settings = ModelSettings("m", str(base))

    def load(path: str, *, name: str, version: int) -> FakeServable:
        seen.append(states(model))
        return FakeServable(path, name=name, version=version)

    model = ServedModel(settings, policy=LOAD_AT_ONCE, load=load)  # type: ignore[arg-type]
    folder = add_version(base, "1")
    loads = model.look()
    seen.append(states(model))
    loads[0]()
    seen.append(states(model))
    (folder / "saved_model.pb").unlink()
    folder.rmdir()
    model.look()
    unloads = model.retire()
    seen.append(states(model))
    unloads[0]()
    seen.append(states(model))
    assert [state[1] for state in seen] == ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]


def test_version_in_use_is_unloaded_when_its_request_is_done(
    base: Path, make_model: Callable[..., ServedModel], events: list[str]
) -> None:
    model = make_model()
    add_version(base, "1")
    poll(model)
    add_version(base, "2")
    version, servable = model.acquire()
    thread = threading.Thread(target=poll, args=(model,))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert servable.version == 1
    assert events == ["load 1", "load 2"]
    newer, _ = model.acquire()
    assert newer.number == 2
    newer.release()
    version.release()
    thread.join(10)
    assert events == ["load 1", "load 2", "unload 1"]


def test_version_wanted_again_while_it_is_unloaded_is_loaded_at_the_next_look(
    base: Path, make_model: Callable[..., ServedModel], events: list[str], tmp_path: Path
) -> None:
    model = make_model()
    add_version(base, "1")
    poll(model)
    newer = add_version(base, "2")
    for load in model.look():
        load()
    unloads = model.retire()
    newer.rename(tmp_path / "gone")
    assert model.look() == []
    unloads[0]()
    poll(model)
    assert events == ["load 1", "load 2", "unload 1", "load 1", "unload 2"]


def test_renamed_folder_is_loaded_at_the_first_look(
    base: Path, make_model: Callable[..., ServedModel], events: list[str]
) -> None:
    """How the Pusher pushes: nothing is waited for."""
    model = make_model(LoadPolicy())
    folder = add_version(base, ".1.incomplete")
    threading.Event().wait(0.05)  # the file system's clock ticks each few milliseconds
    folder.rename(base / "1")
    poll(model)
    assert events == ["load 1"]


def test_a_base_path_that_is_a_version_is_named(
    base: Path, make_model: Callable[..., ServedModel], caplog: pytest.LogCaptureFixture
) -> None:
    base.mkdir()
    (base / "saved_model.pb").touch()
    model = make_model()
    model.look()
    model.look()
    assert caplog.text.count(f"base path {base} is itself the folder of a version") == 1


def test_a_reload_says_that_the_base_path_cannot_be_read(
    base: Path, make_model: Callable[..., ServedModel]
) -> None:
    model = make_model()
    model.look()
    with pytest.raises(ServingError, match="cannot read base path .*: No such file or directory"):
        check_available(Staged(ModelSettings("m", str(base)), model, is_new=True))


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["1", "007", "7", "x", "1.5", "-3"], {1: "1", 7: "7", -3: "-3"}),
        (["9223372036854775807", "9223372036854775808", "1" * 5000], {2**63 - 1: "9223372036854775807"}),
        (["-9223372036854775808", "-9223372036854775809"], {-(2**63): "-9223372036854775808"}),
        (["1_0", " 1", "+1", "\u0661"], {}),
    ],
)
def test_v1_names_of_versions(names: list[str], numbers: dict[int, str]) -> None:
    assert version_numbers(names) == numbers


def test_the_pipeline_sees_the_versions_that_the_server_sees(tmp_path: Path) -> None:
    names = ["1", "007", "7", "-3", "9223372036854775807", "9223372036854775808", "1_0", "0" * 30 + "8", "x"]
    for name in names:
        (tmp_path / name).mkdir()
    seen = {v.version: v.folder.name for v in served_versions(tmp_path)}
    assert seen == version_numbers(names)
    assert list(seen) == [-3, 1, 7, 8, 2**63 - 1]
