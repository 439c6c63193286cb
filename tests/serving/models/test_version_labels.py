"""Version labels: which version they choose, and where they may point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from serving.model_server.models.manager import Manager
from tests.serving.fakes import add_version
from tests.serving.managers import configure, refusal, served, spec


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
