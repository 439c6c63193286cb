"""A small project to set up, with a uv that only writes down what it is asked."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from bert_pipeline.setup import bootstrap, setup_uv

ROOT = Path(__file__).resolve().parents[2]

LOCK = """\
# ==== default ====
alpha==1.0 ; python_full_version < '3.11' \\
    --hash=sha256:aa
# ==== extra: gpu ====
# ==== extra: notebooks ====
notebook==7.0 ; python_full_version < '3.11' \\
    --hash=sha256:bb
"""


# Does what uv does as far as the set-up looks; `touch broken` makes the installation fail.
UV = f"""\
#!/bin/sh
echo "$*" >> calls.txt
case "$*" in
  "python find"*"3.10") test -e no-3.10 || echo {sys.executable} ;;
  "python find"*"3.12") test ! -e has-3.12 || echo {sys.executable} ;;
  "python find"*) ;;
  *"python install"*) test -e online && touch "has-${{5}}" ;;
  *"venv --clear"*) rm -rf .venv; mkdir -p .venv/bin
    mkdir -p .venv/lib/python3.10/site-packages .venv/lib/python3.12/site-packages
    touch .venv/bin/python .venv/pyvenv.cfg ;;
  *"pip sync"*) sleep 0.3; cp .tools/requirements.txt installed.txt; test ! -e broken ;;
esac
"""


def make_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a lock, and a uv that is there already; on Debian 12, with Python 3.10 alone."""
    on_machine(monkeypatch, glibc=(2, 36))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    uv = tmp_path / ".tools/uv" / setup_uv.UV_VERSION / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(UV)
    uv.chmod(0o755)
    (tmp_path / "requirements.lock").write_text(LOCK)
    folder = tmp_path / "bert_pipeline" / "setup"
    folder.mkdir(parents=True)
    for name in ("bootstrap.py", "setup_uv.py", "farmhash_standin.py"):
        shutil.copy(ROOT / "bert_pipeline" / "setup" / name, folder)
    return tmp_path


def on_machine(
    monkeypatch: pytest.MonkeyPatch,
    system: str = "Linux",
    machine: str = "x86_64",
    *,
    glibc: tuple[int, ...] = (),
) -> None:
    """Makes this machine look like another one."""
    monkeypatch.setattr(bootstrap.platform, "system", lambda: system)
    monkeypatch.setattr(bootstrap.platform, "machine", lambda: machine)
    monkeypatch.setattr(bootstrap, "glibc_version", lambda: glibc)
