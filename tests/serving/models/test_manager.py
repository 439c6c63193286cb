"""A set of models: who is served by name, when the set is ready, what its status says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from serving.model_server.config.settings import read_settings, single_model
from serving.model_server.errors import ServingError
from serving.model_server.models.manager import Manager, ManagerOptions
from serving.model_server.models.versions import LoadPolicy
from tests.serving.fakes import FakeServable, add_version
from tests.serving.managers import configure, refusal, served, spec


def test_several_models_are_served_by_name(tmp_path: Path, make_manager: Callable[..., Manager]) -> None:
    add_version(tmp_path / "a", "1")
    add_version(tmp_path / "b", "7")
    manager = make_manager(configure(tmp_path, 'name: "a"', 'name: "b"'))
    assert (served(manager, "a"), served(manager, "b"), served(manager, "b", version=7)) == (1, 7, 7)
    assert manager.ready
    not_found = "Servable not found for request: "
    with pytest.raises(ServingError, match=rf"{not_found}Latest\(c\)"), manager.use(spec("c")):
        pass
    with (
        pytest.raises(ServingError, match=rf"{not_found}Specific\(a, 2\)"),
        manager.use(spec("a", version=2)),
    ):
        pass


def test_models_load_at_the_same_time_where_threads_are_given(
    tmp_path: Path, make_manager: Callable[..., Manager]
) -> None:
    """--num_load_threads: each of the two loads ends only when the other has begun."""
    both = threading.Barrier(2, timeout=20)

    def load(path: str, *, name: str, version: int) -> FakeServable:
        both.wait()
        return FakeServable(path, name=name, version=version)

    for name in ("a", "b"):
        add_version(tmp_path / name, "1")
    policy = LoadPolicy(waits_for_writers=False)
    options = ManagerOptions(policy=policy, load=load, num_load_threads=2)  # type: ignore[arg-type]
    manager = Manager(configure(tmp_path, 'name: "a"', 'name: "b"'), options)
    manager.poll()
    assert manager.ready
    manager.close()


def test_v7_ready_only_when_every_model_has_a_version_and_failed_says_which_has_none(
    tmp_path: Path, make_manager: Callable[..., Manager]
) -> None:
    add_version(tmp_path / "a", "1")
    (tmp_path / "b").mkdir()
    manager = make_manager(configure(tmp_path, 'name: "a"', 'name: "b"'))
    assert not manager.ready
    assert manager.failed() is None  # an empty base path is waited for
    add_version(tmp_path / "b", "3", broken=True)
    manager.poll()
    assert manager.failed() == ("b", 3, "it is broken")


def test_r12_r13_statuses_by_name_and_version_whatever_the_label(
    tmp_path: Path, make_manager: Callable[..., Manager]
) -> None:
    add_version(tmp_path / "a", "1")
    add_version(tmp_path / "a", "2")
    manager = make_manager(configure(tmp_path, 'name: "a" model_version_policy { all {} }'))
    assert list(manager.statuses(spec("a"))) == [2, 1]
    assert list(manager.statuses(spec("a", version=1))) == [1]
    assert list(manager.statuses(spec("a", label="nonsense"))) == [2, 1]
    assert refusal(manager.statuses, spec("b")) == ("NOT_FOUND", "Could not find any versions of model b")
    assert refusal(manager.statuses, spec("a", version=3)) == (
        "NOT_FOUND",
        "Could not find version 3 of model a",
    )


def test_the_base_path_of_the_command_line_may_be_relative_and_a_file_uri_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (settings,) = read_settings(single_model("m", "models/m"))
    assert settings.base_path == str(tmp_path / "models" / "m")
    (settings,) = read_settings(single_model("m", "file:///models/m"))
    assert settings.base_path == "/models/m"


def test_settings_are_announced_before_they_are_in_force(
    tmp_path: Path, make_manager: Callable[..., Manager]
) -> None:
    """C2: the request log hears of another logging_config, and may refuse it."""
    seen: list[list[str]] = []

    def announce(settings: list[object]) -> None:
        seen.append([one.name for one in settings])  # type: ignore[attr-defined]
        if len(seen) == 2:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "no such disk")

    for name in ("a", "b"):
        add_version(tmp_path / name, "1")
    manager = make_manager(configure(tmp_path, 'name: "a"'), on_settings=announce)
    assert refusal(manager.reload, configure(tmp_path, 'name: "b"')) == ("INVALID_ARGUMENT", "no such disk")
    assert served(manager, "a") == 1
    manager.reload(configure(tmp_path, 'name: "b"'))
    assert served(manager, "b") == 1
    assert seen == [["a"], ["b"], ["b"]]
