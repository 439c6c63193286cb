"""A set of models, and how another one takes its place: wholly or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server import serving_set
from serving.model_server.errors import ServingError
from serving.model_server.manager import Manager, ManagerOptions
from serving.model_server.model_settings import read_settings, single_model
from serving.model_server.versions import LoadPolicy, State
from tests.serving.fakes import FakeServable, add_version

Config = model_server_config_pb2.ModelServerConfig


@pytest.fixture
def events() -> Iterator[list[str]]:
    FakeServable.events = []
    return FakeServable.events


@pytest.fixture
def make_manager(events: list[str]) -> Iterator[Callable[..., Manager]]:
    managers = []

    def make(config: Config, **options: object) -> Manager:
        policy = LoadPolicy(max_retries=0, retry_seconds=3600.0, waits_for_writers=False)
        made = Manager(config, ManagerOptions(policy=policy, load=FakeServable, **options))  # type: ignore[arg-type]
        managers.append(made)
        made.poll()
        return made

    yield make
    for manager in managers:
        manager.close()


def configure(folder: Path, *models: str) -> Config:
    """Of lines like `name: "a" ...`; the base path is the folder of that name unless the line has one."""
    config = Config(model_config_list={})
    for text in models:
        model = config.model_config_list.config.add(model_platform="tensorflow")
        text_format.Merge(text, model)
        model.base_path = model.base_path or str(folder / model.name)
    return config


def spec(name: str, *, version: int | None = None, label: str = "") -> model_pb2.ModelSpec:
    made = model_pb2.ModelSpec(name=name)
    if version is not None:
        made.version.value = version
    if label:
        made.version_label = label
    return made


def served(manager: Manager, name: str, **choice: object) -> int:
    with manager.use(spec(name, **choice)) as servable:  # type: ignore[arg-type]
        assert servable.name == name
        return servable.version


def refusal(call: Callable[..., object], *arguments: object) -> tuple[str, str]:
    with pytest.raises(ServingError) as error:
        call(*arguments)
    return error.value.code.name, error.value.message


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
            "model new did not become available, and nothing has been changed: there is no version under "
            "{tmp_path}/new",
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


def test_v10_labels_choose_a_version(tmp_path: Path, make_manager: Callable[..., Manager]) -> None:
    for version in ("1", "2"):
        add_version(tmp_path / "a", version)
    labels = 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'
    manager = make_manager(configure(tmp_path, f'name: "a" model_version_policy {{ all {{}} }} {labels}'))
    manager.assign_labels()
    assert (served(manager, "a", label="stable"), served(manager, "a", label="canary")) == (1, 2)
    assert refusal(manager.use(spec("a", label="other")).__enter__) == (
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: other",
    )
    swapped = 'version_labels { key: "stable" value: 2 }'
    manager.reload(configure(tmp_path, f'name: "a" model_version_policy {{ all {{}} }} {swapped}'))
    assert served(manager, "a", label="stable") == 2
    assert refusal(manager.use(spec("a", label="canary")).__enter__)[0] == "INVALID_ARGUMENT"


def test_v10_label_of_the_first_configuration_must_point_at_an_available_version(
    tmp_path: Path, make_manager: Callable[..., Manager]
) -> None:
    add_version(tmp_path / "a", "1")
    manager = make_manager(configure(tmp_path, 'name: "a" version_labels { key: "x" value: 9 }'))
    assert refusal(manager.assign_labels) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 9 of model a, which is not currently available for inference",
    )


def test_v10_with_the_flag_a_new_label_may_point_anywhere_but_may_not_move_there(
    tmp_path: Path, make_manager: Callable[..., Manager]
) -> None:
    for version in ("1", "2"):
        add_version(tmp_path / "a", version)
    manager = make_manager(
        configure(tmp_path, 'name: "a" version_labels { key: "next" value: 3 }'),
        allow_version_labels_for_unavailable_models=True,
    )
    manager.assign_labels()
    assert refusal(manager.use(spec("a", label="next")).__enter__) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(a, 3)",
    )
    add_version(tmp_path / "a", "3")
    manager.poll()
    assert served(manager, "a", label="next") == 3
    moved = configure(tmp_path, 'name: "a" version_labels { key: "next" value: 4 }')
    assert refusal(manager.reload, moved)[0] == "FAILED_PRECONDITION"


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


def test_the_base_path_of_the_command_line_may_be_relative_and_a_file_uri_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (settings,) = read_settings(single_model("m", "models/m"))
    assert settings.base_path == str(tmp_path / "models" / "m")
    (settings,) = read_settings(single_model("m", "file:///models/m"))
    assert settings.base_path == "/models/m"


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
