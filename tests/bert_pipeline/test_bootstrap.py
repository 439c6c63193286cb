"""The set-up, against a uv that only writes down what it is asked."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bert_pipeline import bootstrap

ROOT = Path(__file__).resolve().parents[2]


LOCK = """\
# ==== default ====
alpha==1.0 \\
    --hash=sha256:aa
# ==== extra: gpu ====
# ==== extra: kfp ====
kfp==2.5.0 \\
    --hash=sha256:bb
# ==== extra: airflow ====
# ==== extra: notebooks ====
"""


# Does what uv does as far as the set-up looks; `touch broken` makes the installation fail.
UV = f"""\
#!/bin/sh
echo "$*" >> calls.txt
case "$*" in
  "python find"*) echo {sys.executable} ;;
  *"venv --clear"*) rm -rf .venv; mkdir -p .venv/bin .venv/lib/python3.10/site-packages; touch .venv/bin/python ;;
  *"pip sync"*) sleep 0.3; cp .tools/requirements.txt installed.txt; test ! -e broken ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a lock, and a uv that is there already; on a platform that TFX knows."""
    monkeypatch.setattr(bootstrap, "PLATFORMS", ((os.uname().sysname, os.uname().machine),))
    uv = tmp_path / ".tools/uv" / bootstrap.UV_VERSION / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(UV)
    uv.chmod(0o755)
    (tmp_path / ".python-version").write_text("3.10\n")
    (tmp_path / "requirements.lock").write_text(LOCK)
    (tmp_path / "bert_pipeline").mkdir()
    for name in ("bootstrap.py", "farmhash_standin.py"):
        shutil.copy(ROOT / "bert_pipeline" / name, tmp_path / "bert_pipeline")
    return tmp_path


def steps(project: Path) -> list[str]:
    """What uv was asked since the last look, in short."""
    calls = project / "calls.txt"
    lines = calls.read_text().splitlines() if calls.exists() else []
    calls.unlink(missing_ok=True)
    return [word for line in lines for word in ("find", "venv", "sync") if f" {word}" in line]


def test_first_set_up_makes_the_environment_and_installs_the_default_section(project: Path) -> None:
    bootstrap.set_up(project, extras=[])
    assert steps(project) == ["find", "venv", "sync"]
    assert re.findall(r"\w+==[\d.]+", (project / "installed.txt").read_text()) == ["alpha==1.0"]
    standin = project / ".venv/lib/python3.10/site-packages/farmhash.py"
    assert "def fingerprint64" in standin.read_text()


def test_packages_are_installed_by_hash_and_built_with_what_the_lock_says(project: Path) -> None:
    bootstrap.set_up(project, extras=[])
    sync = (project / "calls.txt").read_text().splitlines()[-1]
    assert "--require-hashes --compile-bytecode --build-constraints" in sync


def test_second_set_up_asks_uv_nothing(project: Path) -> None:
    bootstrap.set_up(project, extras=[])
    steps(project)
    bootstrap.set_up(project, extras=[])
    assert steps(project) == []


def test_a_changed_lock_is_installed_into_the_environment_there_is(project: Path) -> None:
    bootstrap.set_up(project, extras=[])
    steps(project)
    (project / "requirements.lock").write_text(LOCK.replace("alpha==1.0", "alpha==1.1"))
    bootstrap.set_up(project, extras=[])
    assert steps(project) == ["find", "sync"]


@pytest.mark.parametrize("file", ["farmhash_standin.py", "../.python-version"])
def test_a_change_of_what_else_is_installed_is_noticed(project: Path, file: str) -> None:
    bootstrap.set_up(project, extras=[])
    path = project / "bert_pipeline" / file
    path.write_text(path.read_text() + "\n \n# changed")
    assert not bootstrap.is_current(project, extras=[])


def test_a_set_up_that_did_not_end_is_repaired_from_the_beginning(project: Path) -> None:
    bootstrap.set_up(project, extras=[])
    (project / "requirements.lock").write_text(LOCK.replace("alpha==1.0", "alpha==1.1"))
    (project / "broken").touch()
    with pytest.raises(bootstrap.SetupError, match=r"(?s)1 packages: failed.*setup\.log.*UV_DEFAULT_INDEX"):
        bootstrap.set_up(project, extras=[])
    (project / "requirements.lock").write_text(LOCK)  # even with the lock of the last one that did end
    (project / "broken").unlink()
    steps(project)
    bootstrap.set_up(project, extras=[])
    assert steps(project) == ["find", "venv", "sync"]


def test_a_python_that_was_removed_from_the_machine_is_repaired(project: Path) -> None:
    bootstrap.set_up(project, extras=[])
    steps(project)
    (project / ".venv/bin/python").unlink()
    (project / ".venv/bin/python").symlink_to("/nowhere/python3.10")
    bootstrap.set_up(project, extras=[])
    assert steps(project) == ["find", "venv", "sync"]


def test_extras_are_added_and_stay_until_dropped(project: Path) -> None:
    bootstrap.set_up(project, extras=["kfp"])
    assert "kfp==2.5.0" in (project / "installed.txt").read_text()
    assert bootstrap.is_current(project, extras=[])
    assert bootstrap.wanted_extras(project, extras=["gpu"]) == ["gpu", "kfp"]
    bootstrap.set_up(project, extras=["none"])
    assert "kfp" not in (project / "installed.txt").read_text()


def test_an_unknown_extra_is_refused_by_name(project: Path) -> None:
    message = "EXTRAS: no extra kubeflow; there are: gpu kfp airflow notebooks"
    with pytest.raises(bootstrap.SetupError, match=message):
        bootstrap.set_up(project, extras=["kubeflow"])


def test_a_platform_without_wheels_is_refused_before_anything_is_fetched(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "PLATFORMS", (("Linux", "s390x"),))
    with pytest.raises(bootstrap.SetupError, match="TFX has no wheels for"):
        bootstrap.set_up(project, extras=[])
    assert steps(project) == []


def test_two_set_ups_at_once_install_once(project: Path) -> None:
    command = [sys.executable, "-I", "bert_pipeline/bootstrap.py"]
    both = [subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    output = [process.communicate(timeout=30)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert steps(project).count("sync") == 1, output


def test_without_pip_and_venv_it_says_what_to_install(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(project / ".tools/uv")
    monkeypatch.setattr(bootstrap, "_output", lambda *args, **kwargs: "")
    monkeypatch.setattr(subprocess, "call", lambda *args, **kwargs: 1)
    with pytest.raises(bootstrap.SetupError, match="neither pip nor venv(?s:.*)apt install python3-venv"):
        bootstrap.find_uv(project)


def test_without_python_310_it_says_how_to_get_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_output", lambda *args, **kwargs: "")
    environment = {"PATH": "/usr/bin:/bin", "PYENV_ROOT": str(project)}
    with pytest.raises(bootstrap.SetupError, match="no Python 3.10(?s:.*)pyenv install 3.10"):
        bootstrap.find_python(project, uv=Path("/bin/false"), version="3.10", environment=environment)


def test_pyenvs_python_is_found_where_uv_does_not_see_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "_output", lambda *args, **kwargs: "")
    python = project / "pyenv/versions/3.10.13/bin/python3.10"
    python.parent.mkdir(parents=True)
    python.touch()
    environment = {"PYENV_ROOT": str(project / "pyenv")}
    found = bootstrap.find_python(project, uv=Path("/bin/false"), version="3.10", environment=environment)
    assert found == python


def test_uv_caches_inside_the_project_where_there_is_no_home(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "UV_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert bootstrap.uv_environment(project)["UV_CACHE_DIR"] == str(project / ".tools/cache")
    monkeypatch.setenv("HOME", "/proc/nowhere")  # cannot be written
    assert bootstrap.uv_environment(project)["UV_CACHE_DIR"] == str(project / ".tools/cache")
    monkeypatch.setenv("HOME", str(project))
    assert "UV_CACHE_DIR" not in bootstrap.uv_environment(project)


def test_uv_gets_pips_mirror_and_may_write_bytecode(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    environment = bootstrap.uv_environment(project)
    assert environment["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert "PYTHONDONTWRITEBYTECODE" not in environment


def test_any_python_from_37_can_read_the_set_up() -> None:
    ast.parse((ROOT / "bert_pipeline/bootstrap.py").read_text(encoding="utf-8"), feature_version=(3, 7))
