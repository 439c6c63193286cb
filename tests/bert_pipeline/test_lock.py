"""The lock: what an extra adds, hashes, and that it satisfies pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement

from bert_pipeline import bootstrap, lock

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


def test_the_lock_holds_an_extra_as_what_it_adds() -> None:
    default = (
        "alpha==1 \\\n    --hash=sha256:aa\nbeta==2 ; sys_platform == 'linux' \\\n    --hash=sha256:bb\n"
    )
    extra = "alpha==1 \\\n    --hash=sha256:aa\nbeta==2 \\\n    --hash=sha256:bb\ngamma==3 \\\n    --hash=sha256:cc\n"
    text = lock.lock_text(default, {"kfp": extra})
    _, added = text.split("# ==== extra: kfp ====\n")
    assert added == "beta==2 \\\n    --hash=sha256:bb\ngamma==3 \\\n    --hash=sha256:cc\n"


def test_every_locked_package_has_hashes_and_names_no_registry() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = [entry for part in text.split("# ==== ")[1:] for entry in lock.entries(part).values()]
    assert len(locked) > 200
    assert [entry for entry in locked if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert "index" + "-url" not in text


def test_the_lock_satisfies_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == {"test", *bootstrap.EXTRAS}
    for extra, wanted in {"": project["dependencies"], **extras}.items():
        names = [extra] if extra in bootstrap.EXTRAS else []
        pins = re.findall(
            r"^([\w.-]+)==([^\s;\\]+)", bootstrap.requirements(ROOT, extras=names), re.MULTILINE
        )
        for requirement in map(Requirement, wanted):
            versions = [version for name, version in pins if name == requirement.name]
            assert versions, f"{requirement.name} is not locked: make lock"
            assert all(requirement.specifier.contains(v) for v in versions), (requirement, versions)
