"""A set-up that is stopped says what to do, and the next one goes on: disk, proxy, rights, a foreign .venv."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bert_pipeline.setup import bootstrap, setup_uv
from tests.bert_pipeline.set_ups import UV, make_project

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")
# What uv 0.13.8 printed, with HTTPS_PROXY=http://127.0.0.1:9.
REFUSED = "error: Request failed after 3 retries in 4.2s; cause: tunnel error: failed to create underlying connection"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No proxy is set."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return make_project(tmp_path, monkeypatch)


def break_uv(project: Path, step: str, says: str) -> None:
    """Makes a step of the set-up fail with these words."""
    uv = project / ".tools/uv" / setup_uv.UV_VERSION / "uv"
    uv.write_text(UV.replace('case "$*" in', f'case "$*" in *"{step}"*) echo "{says}"; exit 1 ;;', 1))


def goes_on(project: Path) -> bool:
    """Whether the next set-up is whole, once uv works again."""
    (project / ".tools/uv" / setup_uv.UV_VERSION / "uv").write_text(UV)
    bootstrap.set_up(project, extras=[])
    return bootstrap.is_current(project, extras=[])


def test_a_full_disk_is_named_with_its_cure(project: Path) -> None:
    break_uv(project, "pip sync", "failed to copy: No space left on device (os error 28)")
    with pytest.raises(
        setup_uv.SetupError, match=r"(?s)The disk is full: [\d.]+ GiB are free at .*UV_CACHE_DIR"
    ):
        bootstrap.set_up(project, extras=[])
    assert not bootstrap.is_current(project, extras=[])
    assert goes_on(project)


def test_the_disk_that_is_full_is_the_one_that_is_named(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("UV_CACHE_DIR", str(cache))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: usage._replace(free=0) if folder == str(cache) else usage
    )
    break_uv(project, "pip sync", "failed to write to file: No space left on device (os error 28)")
    with pytest.raises(setup_uv.SetupError, match=f"The disk is full: 0.0 GiB are free at {cache};"):
        bootstrap.set_up(project, extras=[])


def test_a_proxy_that_refuses_is_named_without_its_password(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.example:9")
    break_uv(project, "pip sync", REFUSED)
    with pytest.raises(setup_uv.SetupError) as refusal:
        bootstrap.set_up(project, extras=[])
    cure = "if this proxy is not the right one, set another or unset HTTPS_PROXY."
    assert str(refusal.value).splitlines()[-1] == "HTTPS_PROXY=http://...@proxy.example:9: " + cure
    assert goes_on(project)


def test_a_fault_of_another_kind_is_not_said_to_be_the_networks(project: Path) -> None:
    break_uv(project, "pip sync", "error: Hash mismatch for alpha==1.0")
    with pytest.raises(setup_uv.SetupError) as refusal:
        bootstrap.set_up(project, extras=[])
    assert str(refusal.value).splitlines()[-1] == "The same command tries again."


def test_a_venv_of_another_user_is_named_with_its_cure(project: Path) -> None:
    break_uv(project, "venv --clear", "cause: failed to remove file: Permission denied (os error 13)")
    with pytest.raises(setup_uv.SetupError, match=f"Give this user the right to write in {project}, or"):
        bootstrap.set_up(project, extras=[])


@pytest.mark.parametrize(("what", "is_it"), [("fetch", "proxy"), ("space", "disk")])
def test_uv_that_cannot_be_fetched(
    project: Path, monkeypatch: pytest.MonkeyPatch, what: str, is_it: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:9")
    shutil.rmtree(project / ".tools/uv")
    says = {
        "fetch": "ERROR: No matching distribution found for uv",
        "space": "[Errno 28] No space left on device",
    }
    monkeypatch.setattr(setup_uv, "_pip", lambda folder: ["sh", "-c", f"echo '{says[what]}'; exit 1"])
    with pytest.raises(setup_uv.SetupError, match=f"(?s)pip could not fetch uv .*{says[what][-9:]}.*{is_it}"):
        setup_uv.find_uv(project)


def test_what_is_no_virtual_environment_is_left_alone_with_a_sentence(project: Path) -> None:
    venv = project / ".venv"
    venv.mkdir()
    (venv / "notes.txt").write_text("mine")
    with pytest.raises(setup_uv.SetupError, match=r"is a folder and no virtual environment.*`make clean`"):
        bootstrap.set_up(project, extras=[])
    assert (venv / "notes.txt").read_text() == "mine"
    shutil.rmtree(venv)
    venv.symlink_to("/nowhere/at/all")
    with pytest.raises(setup_uv.SetupError, match="is a link that leads nowhere and no"):
        bootstrap.set_up(project, extras=[])
    venv.unlink()
    venv.write_text("mine")
    with pytest.raises(setup_uv.SetupError, match="is a file and no"):
        bootstrap.set_up(project, extras=[])
    venv.unlink()
    assert goes_on(project)


@pytest.mark.parametrize("of", ["another tool", "another project"])
def test_a_foreign_virtual_environment_is_replaced(project: Path, of: str) -> None:
    command = [sys.executable, "-m", "venv", "--without-pip", str(project / ".venv")]
    subprocess.run(command, check=True, capture_output=True)
    record = {"digest": "of the other", "extras": [], "stack": "1.21", "python": "3.12", "asked": ""}
    if of == "another project":
        (project / bootstrap.RECORD_FILE).write_text(bootstrap.json.dumps(record))
    assert goes_on(project)
    assert "venv --clear" in (project / "calls.txt").read_text()


def test_a_set_up_killed_while_venv_was_made_goes_on(project: Path) -> None:
    """uv writes pyvenv.cfg late, and clears no folder that has none."""
    break_uv(project, "venv --clear", "`mkdir -p .venv/bin`killed")
    with pytest.raises(setup_uv.SetupError, match="a new .venv: failed"):
        bootstrap.set_up(project, extras=[])
    assert (project / ".venv/bin").is_dir()
    assert goes_on(project)
    assert not (project / bootstrap.VENV_BEGUN_FILE).exists()
