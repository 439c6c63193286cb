"""How another set of models takes the place of the one in service: wholly or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tensorflow_serving.apis import model_pb2

from serving.model_server.config.settings import read_settings
from serving.model_server.errors import ServingError
from serving.model_server.models import manager as serving_set
from serving.model_server.models.manager import Manager
from serving.model_server.models.versions import State
from tests.serving.fakes import add_version
from tests.serving.managers import Config, configure, refusal, served, spec


def test_v9_reload_replaces_the_whole_set(
    tmp_path: Path, make_manager: Callable[..., Manager], events: list[str]
) -> None:
    for name, version in (("a", "1"), ("b", "2"), ("c", "3")):
        add_version(tmp_path / name, version)
    manager = make_manager(configure(tmp_path, 'name: "a"', 'name: "b"'))
    manager.reload(configure(tmp_path, 'name: "b"', 'name: "c"'))
    assert (served(manager, "b"), served(manager, "c")) == (2, 3)
    with pytest.raises(ServingError, match=r"Latest\(a\)"), manager.use(spec("a")):
        pass
    manager.close()
    assert events[:3] == ["load 1", "load 2", "load 3"]  # what stays is not loaded again
    assert {n: State.Name(s.state) for n, s in manager.statuses(spec("a")).items()} == {1: "END"}


def test_v9_reload_to_no_model_unloads_all_and_an_empty_config_changes_nothing(
    tmp_path: Path, make_manager: Callable[..., Manager]
) -> None:
    add_version(tmp_path / "a", "1")
    manager = make_manager(configure(tmp_path, 'name: "a"'))
    manager.reload(Config())
    assert served(manager, "a") == 1
    manager.reload(configure(tmp_path))
    assert refusal(lambda: manager.use(spec("a")).__enter__()) == (
        "NOT_FOUND",
        "Servable not found for request: Latest(a)",
    )


@pytest.mark.parametrize(
    ("models", "code", "message"),
    [
        (
            ['name: "b"', 'name: "b"'],
            "INVALID_ARGUMENT",
            "Illegal to list model b multiple times in config list",
        ),
        (
            ['name: "b" base_path: "models/b"'],
            "INVALID_ARGUMENT",
            "Expected model b to have an absolute path or URI; got base_path()=models/b",
        ),
        (
            ['name: "b" base_path: "gs://bucket/b"'],
            "INVALID_ARGUMENT",
            "Model b: base_path gs://bucket/b is not on a file system of this machine; mount it, or copy it",
        ),
        (
            ['name: "b" model_platform: "caffe"'],
            "INVALID_ARGUMENT",
            "Model b requests unsupported platform caffe",
        ),
        (
            ['name: "b" model_platform: ""'],
            "INVALID_ARGUMENT",
            "Illegal setting neither model_type(deprecated) nor model_platform.",
        ),
        (
            ['name: "b" model_type: TENSORFLOW'],
            "INVALID_ARGUMENT",
            "Illegal setting both model_type(deprecated) and model_platform.",
        ),
        (
            ['base_path: "/x"'],
            "INVALID_ARGUMENT",
            "a model with base_path '/x' has no name; set `name`",
        ),
        (
            ['name: "b" model_version_policy { specific {} }'],
            "INVALID_ARGUMENT",
            "Model b: model_version_policy.specific names no version; add `versions: N`",
        ),
        (
            ['name: "b" logging_config { log_collector_config { type: "kafka" } }'],
            "INVALID_ARGUMENT",
            'Model b: logging_config.log_collector_config.type is "kafka"; only "tfrecord" is known',
        ),
        (
            ['name: "b" logging_config { log_collector_config { type: "tfrecord" } }'],
            "INVALID_ARGUMENT",
            "Model b: logging_config.log_collector_config.filename_prefix is empty; give a path",
        ),
        (
            [
                'name: "b" logging_config { log_collector_config { type: "tfrecord" filename_prefix: "/l" } '
                "sampling_config { sampling_rate: 1.5 } }"
            ],
            "INVALID_ARGUMENT",
            "Model b: logging_config.sampling_config.sampling_rate is 1.5; it must be within [0, 1]",
        ),
        (
            ['name: "b"'],
            "UNKNOWN",
            "model b did not become available, and nothing has been changed: version 3: it is broken",
        ),
        (
            ['name: "new"'],
            "UNKNOWN",
            "model new did not become available, and nothing has been changed: cannot read base path "
            "{tmp_path}/new: No such file or directory",
        ),
        (
            ['name: "a" model_version_policy { specific { versions: 2 versions: 9 } }'],
            "UNKNOWN",
            "model a did not become available, and nothing has been changed: version 9: there is no such folder",
        ),
        (
            ['name: "a" version_labels { key: "stable" value: 1 }'],
            "FAILED_PRECONDITION",
            "Request to assign label to version 1 of model a, which is not currently available for inference",
        ),
    ],
)
def test_v9_refused_reload_changes_nothing(
    tmp_path: Path,
    make_manager: Callable[..., Manager],
    events: list[str],
    models: list[str],
    code: str,
    message: str,
) -> None:
    """V9, V10: the set before it, and what was loaded for the new one is unloaded again."""
    for version in ("1", "2"):
        add_version(tmp_path / "a", version)
    add_version(tmp_path / "b", "3", broken=True)
    add_version(tmp_path / "good", "5")
    manager = make_manager(configure(tmp_path, 'name: "a"'))
    config = configure(tmp_path, 'name: "good"', *models)
    for model in config.model_config_list.config:
        if 'model_platform: ""' in models[0] and model.name == "b":
            model.model_platform = ""
    expected = (code, message.replace("{tmp_path}", str(tmp_path)))
    assert refusal(manager.reload, config) == expected
    assert served(manager, "a") == 2
    assert [settings.name for settings in manager.settings] == ["a"]
    with pytest.raises(ServingError, match=r"Latest\(good\)"), manager.use(spec("good")):
        pass
    manager.poll()
    manager.close()
    assert events.count("load 5") == events.count("unload 5")
    assert events.count("load 2") == events.count("unload 2") == 1


def test_v9_refused_reload_unloads_what_it_had_loaded_of_a_model_that_stays(
    tmp_path: Path, make_manager: Callable[..., Manager], events: list[str]
) -> None:
    for version in ("1", "2"):
        add_version(tmp_path / "a", version)
    manager = make_manager(configure(tmp_path, 'name: "a"'))
    with pytest.raises(ServingError):
        manager.reload(configure(tmp_path, 'name: "a" model_version_policy { all {} }', 'name: "b"'))
    with pytest.raises(ServingError, match=r"Specific\(a, 1\)"), manager.use(spec("a", version=1)):
        pass
    manager.close()
    assert sorted(events) == ["load 1", "load 2", "unload 1", "unload 2"]


def test_v9_custom_config_is_refused(tmp_path: Path, make_manager: Callable[..., Manager]) -> None:
    config = Config(custom_model_config={})
    assert refusal(read_settings, config)[0] == "FAILED_PRECONDITION"


def test_reload_changes_the_policy_and_the_base_path_of_a_model(
    tmp_path: Path, make_manager: Callable[..., Manager], events: list[str]
) -> None:
    for version in ("1", "2"):
        add_version(tmp_path / "a", version)
    add_version(tmp_path / "elsewhere", "1")
    manager = make_manager(configure(tmp_path, 'name: "a"'))
    manager.reload(configure(tmp_path, 'name: "a" model_version_policy { all {} }'))
    assert (served(manager, "a"), served(manager, "a", version=1)) == (2, 1)
    manager.reload(configure(tmp_path, f'name: "a" base_path: "{tmp_path}/elsewhere"'))
    assert served(manager, "a") == 1
    with manager.use(spec("a")) as servable:
        assert servable.path == str(tmp_path / "elsewhere" / "1")  # type: ignore[attr-defined]
    manager.close()
    assert events[:3] == ["load 2", "load 1", "load 1"]


def test_reload_while_a_request_is_under_way_waits_for_neither(
    tmp_path: Path, make_manager: Callable[..., Manager], events: list[str]
) -> None:
    for name, version in (("a", "1"), ("b", "2")):
        add_version(tmp_path / name, version)
    manager = make_manager(configure(tmp_path, 'name: "a"'))
    with manager.use(spec("a")):
        manager.reload(configure(tmp_path, 'name: "b"'))
        assert served(manager, "b") == 2
        assert "unload 1" not in events
    manager.close()
    assert "unload 1" in events


def test_a_request_that_comes_between_two_sets_gets_an_answer(
    tmp_path: Path, make_manager: Callable[..., Manager], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read the old set, whose models have been taken out of service meanwhile."""
    for base in ("a", "b"):
        add_version(tmp_path / base, "1")
    manager = make_manager(configure(tmp_path, 'name: "m" base_path: "' + str(tmp_path / "a") + '"'))
    acquire = serving_set.ServingSet.acquire
    reloads = iter([configure(tmp_path, 'name: "m" base_path: "' + str(tmp_path / "b") + '"')])

    def acquire_late(self: serving_set.ServingSet, wanted: model_pb2.ModelSpec) -> object:
        for config in reloads:
            manager.reload(config)
        return acquire(self, wanted)

    monkeypatch.setattr(serving_set.ServingSet, "acquire", acquire_late)
    assert served(manager, "m") == 1
