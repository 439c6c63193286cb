"""The lock: what an extra adds, hashes, and that it satisfies pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from bert_pipeline.setup import bootstrap, lock

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[3]
PIN = re.compile(r"^([\w.-]+)==([^\s;]+) ; (.*) \\$", re.MULTILINE)


def test_the_lock_holds_an_extra_as_what_it_adds() -> None:
    default = (
        "alpha==1 \\\n    --hash=sha256:aa\nbeta==2 ; sys_platform == 'linux' \\\n    --hash=sha256:bb\n"
    )
    extra = "alpha==1 \\\n    --hash=sha256:aa\nbeta==2 \\\n    --hash=sha256:bb\ngamma==3 \\\n    --hash=sha256:cc\n"
    text = lock.lock_text([default], {"gpu": [extra]})
    _, added = text.split("# ==== extra: gpu ====\n")
    assert added == "beta==2 \\\n    --hash=sha256:bb\ngamma==3 \\\n    --hash=sha256:cc\n"


def test_two_versions_of_a_package_stay_in_the_lock_whether_of_two_stacks_or_of_one() -> None:
    old = "alpha==1 ; python_full_version < '3.11' \\\n    --hash=sha256:aa\n"
    new = (
        "alpha==2 ; python_full_version == '3.12.*' \\\n    --hash=sha256:bb\n"
        "alpha==3 ; python_full_version == '3.13.*' \\\n    --hash=sha256:cc\n"
        "beta==1 ; python_full_version >= '3.11' \\\n    --hash=sha256:dd\n"
    )
    text = lock.lock_text([new, old], {})
    assert [entry.split(" ")[0] for entry in lock.entries(text)] == [
        "alpha==2",
        "alpha==3",
        "alpha==1",
        "beta==1",
    ]


def test_a_marker_that_lists_every_environment_of_a_stack_is_written_as_the_stacks() -> None:
    newest = bootstrap.STACKS[0]
    everywhere = (
        "(python_full_version >= '3.11' and sys_platform == 'linux') or (python_full_version >= '3.11')"
    )
    text = f"tfx==1.21.0 ; {everywhere} \\\n    --hash=sha256:aa\nbeta==1 ; sys_platform == 'linux' \\\n"
    assert lock.shorten(text, newest).splitlines()[0] == "tfx==1.21.0 ; python_full_version >= '3.11' \\"
    assert "beta==1 ; sys_platform == 'linux'" in lock.shorten(text, newest)


@pytest.mark.parametrize("stack", bootstrap.STACKS, ids=str)
def test_a_stack_is_resolved_for_its_own_environments(stack: bootstrap.Stack) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    environments = tomllib.loads(lock.project_of_stack(project, stack))["tool"]["uv"]["environments"]
    assert len(environments) == len(stack.platforms) == 2
    assert all(environment.startswith(stack.marker) for environment in environments)


def test_every_locked_package_has_hashes_and_names_no_registry() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = lock.entries(text)
    assert len(locked) > 500
    assert [entry for entry in locked if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert "index" + "-url" not in text


def test_every_pin_belongs_to_one_stack() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    both = [lock.entries(lock.of_stack(text, stack)) for stack in bootstrap.STACKS]
    assert min(map(len, both)) > 200
    assert sum(map(len, both)) == len(lock.entries(text))
    for stack, own in zip(bootstrap.STACKS, both, strict=True):
        pythons = {python for other in bootstrap.STACKS if other != stack for python in other.pythons}
        for _, _, marker in PIN.findall("\n".join(own)):
            assert not any(
                Marker(marker).evaluate({"python_full_version": f"{python}.1"}) for python in pythons
            )


@pytest.mark.parametrize("stack", bootstrap.STACKS, ids=str)
def test_the_lock_satisfies_pyproject(stack: bootstrap.Stack) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == {"test", *bootstrap.EXTRAS}
    system, machine = stack.platforms[0]
    environment = {"sys_platform": system.lower(), "platform_machine": machine}
    for python in stack.pythons:
        environment.update(python_version=python, python_full_version=python + ".1")
        for extra, wanted in {"": project["dependencies"], **extras}.items():
            names = [extra] if extra in bootstrap.EXTRAS else []
            pins: dict[str, list[str]] = {}
            for name, version, marker in PIN.findall(bootstrap.requirements(ROOT, extras=names)):
                if Marker(marker).evaluate(environment):
                    pins.setdefault(name, []).append(version)
            for requirement in map(Requirement, wanted):
                if requirement.marker and not requirement.marker.evaluate(environment):
                    continue
                versions = set(pins.get(requirement.name, []))
                assert len(versions) == 1, (
                    f"{requirement.name} is locked as {versions} for {python}: make lock"
                )
                assert requirement.specifier.contains(versions.pop()), (python, requirement)


def test_only_what_this_project_or_an_extra_of_it_needs_is_locked() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.findall(r"^(?:apache-airflow|kfp)\b.*", text, re.MULTILINE)
