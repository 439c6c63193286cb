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

from bert_pipeline.setup import bootstrap, setup_uv
from tests.bert_pipeline.set_ups import LOCK, make_project, on_machine

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """On Debian 12, with Python 3.10 alone."""
    return make_project(tmp_path, monkeypatch)


def installed(project: Path) -> tuple[str, str]:
    """The stack and the Python of .venv, by its record."""
    record = bootstrap.read_record(project)
    return record["stack"], record["python"]


def steps(project: Path) -> list[str]:
    """What uv was asked since the last look, in short."""
    calls = project / "calls.txt"
    lines = calls.read_text().splitlines() if calls.exists() else []
    calls.unlink(missing_ok=True)
    return [word for line in lines for word in ("find", "venv", "sync") if f" {word}" in line]


def test_first_set_up_makes_the_environment_and_installs_the_default_section(project: Path) -> None:
    bootstrap.set_up(project, extras=[])
    assert steps(project) == ["find", "venv", "sync"]
    assert installed(project) == ("1.16", "3.10")
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


def test_a_change_of_what_else_is_installed_is_noticed(project: Path) -> None:
    bootstrap.set_up(project, extras=[])
    path = project / "bert_pipeline/setup/farmhash_standin.py"
    path.write_text(path.read_text() + "\n \n# changed")
    assert not bootstrap.is_current(project, extras=[])


def test_a_set_up_that_did_not_end_is_repaired_from_the_beginning(project: Path) -> None:
    bootstrap.set_up(project, extras=[])
    (project / "requirements.lock").write_text(LOCK.replace("alpha==1.0", "alpha==1.1"))
    (project / "broken").touch()
    with pytest.raises(
        setup_uv.SetupError, match=r"(?s)1 packages: failed.*setup\.log.*The same command tries"
    ):
        bootstrap.set_up(project, extras=[])
    (project / "requirements.lock").write_text(LOCK)  # even with the lock of the last one that did end
    (project / "broken").unlink()
    steps(project)
    bootstrap.set_up(project, extras=[])
    assert steps(project) == ["find", "venv", "sync"]


def test_a_set_up_that_did_not_end_forgets_neither_extras_nor_stack(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_machine(monkeypatch, glibc=(2, 41))
    (project / "has-3.12").touch()
    (project / "broken").touch()
    with pytest.raises(setup_uv.SetupError, match="2 packages"):
        bootstrap.set_up(project, extras=["notebooks"], asked="1.16")
    (project / "broken").unlink()
    bootstrap.set_up(project, extras=[])
    assert installed(project) == ("1.16", "3.10")
    assert "notebook==7.0" in (project / "installed.txt").read_text()


def test_a_python_that_was_removed_from_the_machine_is_repaired(project: Path) -> None:
    bootstrap.set_up(project, extras=[])
    steps(project)
    (project / ".venv/bin/python").unlink()
    (project / ".venv/bin/python").symlink_to("/nowhere/python3.10")
    bootstrap.set_up(project, extras=[])
    assert steps(project) == ["find", "venv", "sync"]


def test_extras_are_added_and_stay_until_dropped(project: Path) -> None:
    bootstrap.set_up(project, extras=["notebooks"])
    assert "notebook==7.0" in (project / "installed.txt").read_text()
    assert bootstrap.is_current(project, extras=[])
    assert bootstrap.wanted_extras(project, extras=["gpu"]) == ["gpu", "notebooks"]
    bootstrap.set_up(project, extras=["none"])
    assert "notebook" not in (project / "installed.txt").read_text()


def test_an_unknown_extra_is_refused_by_name(project: Path) -> None:
    message = "EXTRAS: no extra kubeflow; there are: gpu notebooks"
    with pytest.raises(setup_uv.SetupError, match=message):
        bootstrap.set_up(project, extras=["kubeflow"])


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (("Linux", "aarch64", (2, 41)), "Linux aarch64, glibc 2.41 cannot run TFX 1.21 or TFX 1.16"),
        (("Linux", "x86_64", ()), "Linux x86_64, no glibc cannot run"),
        (("Linux", "x86_64", (2, 12)), "TFX 1.16 needs glibc 2.17 or newer"),
        (("Windows", "AMD64", ()), "Windows AMD64 cannot run"),
    ],
)
def test_a_machine_without_wheels_is_refused_before_anything_is_fetched(
    project: Path, monkeypatch: pytest.MonkeyPatch, machine: tuple[str, str, tuple[int, ...]], message: str
) -> None:
    on_machine(monkeypatch, machine[0], machine[1], glibc=machine[2])
    with pytest.raises(setup_uv.SetupError, match=message):
        bootstrap.set_up(project, extras=[])
    assert steps(project) == []


@pytest.mark.parametrize(
    ("machine", "fitting"),
    [
        (("Linux", "x86_64", (2, 41)), ["1.21", "1.16"]),
        (("Linux", "x86_64", (2, 39)), ["1.21", "1.16"]),
        (("Linux", "x86_64", (2, 36)), ["1.16"]),
        (("Darwin", "arm64", ()), ["1.21"]),
        (("Darwin", "x86_64", ()), ["1.16"]),
        (("Linux", "aarch64", (2, 41)), []),
    ],
)
def test_the_stacks_that_a_machine_runs(
    monkeypatch: pytest.MonkeyPatch, machine: tuple[str, str, tuple[int, ...]], fitting: list[str]
) -> None:
    on_machine(monkeypatch, machine[0], machine[1], glibc=machine[2])
    assert bootstrap.fitting_names() == fitting


def test_the_c_library_is_named_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.41")
    assert bootstrap.glibc_version() == (2, 41)
    monkeypatch.delattr(os, "confstr")
    assert bootstrap.glibc_version() == ()


def test_the_newest_stack_is_taken_where_its_python_is_there(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_machine(monkeypatch, glibc=(2, 41))
    (project / "has-3.12").touch()
    bootstrap.set_up(project, extras=[])
    assert installed(project) == ("1.21", "3.12")
    line = f"set-up: TFX 1.21 with Python 3.12 at {sys.executable} (Linux x86_64, glibc 2.41)"
    assert line in capsys.readouterr().out.splitlines()


def test_the_newest_stack_is_taken_where_its_python_can_be_fetched(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_machine(monkeypatch, glibc=(2, 41))
    (project / "online").touch()
    bootstrap.set_up(project, extras=[])
    assert installed(project) == ("1.21", "3.12")


def test_the_older_stack_is_taken_where_no_python_of_the_newest_can_be_had(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_machine(monkeypatch, glibc=(2, 41))
    bootstrap.set_up(project, extras=[])
    assert installed(project) == ("1.16", "3.10")
    assert "it runs TFX 1.21 too: make setup STACK=auto, with Python 3.12" in capsys.readouterr().out


def test_why_the_newest_stack_is_not_taken_on_an_older_machine(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap.set_up(project, extras=[])
    assert "(Linux x86_64, glibc 2.36; TFX 1.21 needs glibc 2.39 or newer)" in capsys.readouterr().out


def test_a_stack_that_was_asked_for_stays_until_another_is(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_machine(monkeypatch, glibc=(2, 41))
    (project / "has-3.12").touch()
    bootstrap.set_up(project, extras=[], asked="1.16")
    assert installed(project) == ("1.16", "3.10")
    steps(project)
    bootstrap.set_up(project, extras=[])
    assert steps(project) == []
    bootstrap.set_up(project, extras=[], asked="auto")
    assert installed(project) == ("1.21", "3.12")
    assert "venv" in steps(project)
    bootstrap.set_up(project, extras=[], asked="auto")
    assert steps(project) == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("1.17", "STACK=1.17: there is no such stack; there are: 1.21 1.16 auto"),
        (
            "1.21",
            "(?s)cannot run TFX 1.21.*TFX 1.21 needs glibc 2.39 or newer.*make setup STACK=auto takes what runs",
        ),
    ],
)
def test_a_stack_that_cannot_be_is_refused_and_the_environment_kept(
    project: Path, asked: str, message: str
) -> None:
    bootstrap.set_up(project, extras=[])
    with pytest.raises(setup_uv.SetupError, match=message):
        bootstrap.set_up(project, extras=[], asked=asked)
    assert bootstrap.is_current(project, extras=[])


def test_another_machine_rebuilds_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine(monkeypatch, glibc=(2, 41))
    (project / "has-3.12").touch()
    (project / "out").mkdir()
    bootstrap.set_up(project, extras=["notebooks"])
    steps(project)
    on_machine(monkeypatch, glibc=(2, 36))  # the same folder, as on a shared disk, seen from an older machine
    bootstrap.set_up(project, extras=[])
    assert installed(project) == ("1.16", "3.10")
    assert "venv" in steps(project)
    assert "notebook==7.0" in (project / "installed.txt").read_text()  # the extras stay
    assert (project / "out").is_dir()


def test_an_environment_of_a_set_up_before_stacks_is_rebuilt(project: Path) -> None:
    bootstrap.set_up(project, extras=[])
    (project / bootstrap.RECORD_FILE).write_text('{"digest": "aa", "extras": ["notebooks", "kfp"]}')
    steps(project)
    bootstrap.set_up(project, extras=[])
    assert steps(project) == ["find", "venv", "sync"]
    assert bootstrap.read_record(project)["extras"] == ["notebooks"]


def test_a_folder_that_cannot_be_written_is_one_line(project: Path) -> None:
    (project / ".tools/setup.lock").mkdir()
    command = [sys.executable, "-I", "bert_pipeline/setup/bootstrap.py"]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert ended.stderr.strip() == f"set-up stopped: {project}/.tools/setup.lock: Is a directory"


def test_two_set_ups_at_once_install_once(project: Path) -> None:
    command = [sys.executable, "-I", "bert_pipeline/setup/bootstrap.py"]
    both = [subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    output = [process.communicate(timeout=30)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert steps(project).count("sync") == 1, output


def test_without_pip_and_venv_it_says_what_to_install(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(project / ".tools/uv")
    monkeypatch.setattr(setup_uv, "_output", lambda *args, **kwargs: "")
    monkeypatch.setattr(subprocess, "call", lambda *args, **kwargs: 1)
    with pytest.raises(setup_uv.SetupError, match="neither pip nor venv(?s:.*)apt install python3-venv"):
        setup_uv.find_uv(project)


def test_without_a_python_it_says_which_ones_would_do(project: Path) -> None:
    (project / "no-3.10").touch()
    message = "(?s)no Python 3.10 on this machine.*pyenv install 3.10.*TFX 1.21, which runs on Python 3.12, 3.13, 3.11"
    with pytest.raises(setup_uv.SetupError, match=message):
        bootstrap.set_up(project, extras=[])


def test_pyenvs_python_is_found_where_uv_does_not_see_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "no-3.10").touch()
    python = project / "pyenv/versions/3.10.13/bin/python3.10"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setenv("PYENV_ROOT", str(project / "pyenv"))
    bootstrap.set_up(project, extras=[])
    assert f"with Python 3.10 at {python} " in capsys.readouterr().out


def test_uv_caches_inside_the_project_where_there_is_no_home(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "UV_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert setup_uv.uv_environment(project)["UV_CACHE_DIR"] == str(project / ".tools/cache")
    monkeypatch.setenv("HOME", str(project / "requirements.lock"))  # a file: cannot be written into
    assert setup_uv.uv_environment(project)["UV_CACHE_DIR"] == str(project / ".tools/cache")
    monkeypatch.setenv("HOME", str(project))
    assert "UV_CACHE_DIR" not in setup_uv.uv_environment(project)


def test_uv_gets_pips_mirror_and_may_write_bytecode(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    environment = setup_uv.uv_environment(project)
    assert environment["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert "PYTHONDONTWRITEBYTECODE" not in environment


@pytest.mark.parametrize("name", ["bootstrap.py", "setup_uv.py"])
def test_any_python_from_37_can_read_the_set_up(name: str) -> None:
    ast.parse((ROOT / "bert_pipeline" / "setup" / name).read_text(encoding="utf-8"), feature_version=(3, 7))
