"""Finds or fetches uv, runs it for the set-up, and explains failures.

Part of `bootstrap.py`: any Python from 3.7, standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

UV_VERSION = "0.13.8"
# One wheel per platform; pip takes the one that fits.
UV_WHEEL_SHA256 = (
    "e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984",  # Linux x86_64, glibc
    "29451c60f5e8b07403e0a175d5229efc36b0289b34143ff4aaa499a5dd52553a",  # Linux x86_64, musl
    "b7124ca1956ec2e476a1003ea5715a15f0266afaec37f4dc9c6972ba8183e6d1",  # macOS x86_64
    "62b6943c7fd64fac6854f780bea6e0359e5a5bc3241f83ee357bb38276afac49",  # macOS arm64
)


class SetupError(Exception):
    """The reason that stopped the set-up, and its fix."""


def find_uv(root: Path) -> Path:
    """Returns uv of the pinned version from .tools or PATH, or fetches it by hash.

    Raises:
        SetupError: no Python here has pip or venv, or the download failed.
    """
    uv = root / ".tools/uv" / UV_VERSION / "uv"
    if uv.exists():
        return uv
    on_path = shutil.which("uv")
    if on_path and _output([on_path, "--version"]).split()[1:2] == [UV_VERSION]:
        return Path(on_path)
    print(f"set-up: fetching uv {UV_VERSION}", flush=True)
    uv.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=str(uv.parent)) as folder:
        pip = _pip(Path(folder))
        wanted = Path(folder, "uv.txt")
        hashes = " ".join("--hash=sha256:" + digest for digest in UV_WHEEL_SHA256)
        wanted.write_text(f"uv=={UV_VERSION} {hashes}\n", encoding="utf-8")
        command = [*pip, "install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        # The wheel is a program that works with any Python.
        command += ["--ignore-requires-python", "--target", str(Path(folder, "uv")), "-r", str(wanted)]
        environment = dict(
            os.environ, PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0", PIP_ROOT_USER_ACTION="ignore"
        )
        ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if ended.returncode != 0:
            tail = "\n".join(ended.stdout.decode(errors="replace").splitlines()[-15:])
            hint = _hint(root, tail) or " Is PyPI (or your mirror) reachable?"
            raise SetupError(
                f"pip could not fetch uv {UV_VERSION}:\n{tail}\nThe same command tries again.{hint}"
            )
        os.replace(str(Path(folder, "uv/bin/uv")), str(uv))
    return uv


def _pip(folder: Path) -> list[str]:
    """The command of a pip: this Python's, or that of a temporary venv of any Python on PATH."""
    names = ["python3", *(f"python3.{minor}" for minor in range(14, 6, -1)), "python"]
    pythons = [sys.executable, *filter(None, map(shutil.which, names))]
    for python in pythons:
        if _output([python, "-m", "pip", "--version"]):
            return [python, "-m", "pip"]
    for python in pythons:
        if subprocess.call([python, "-m", "venv", str(folder / "venv")], stdout=-3, stderr=-3) == 0:
            return [str(folder / "venv/bin/python"), "-m", "pip"]
    raise SetupError(
        f"uv {UV_VERSION} is not here, and {sys.executable} has neither pip nor venv to fetch it with.\n"
        f"Debian and Ubuntu: apt install python3-venv. Or put uv {UV_VERSION} on PATH."
    )


def find_python(root: Path, version: str, *, uv: Path, environment: dict[str, str]) -> Path | None:
    """An installed Python of `version`: on PATH, uv's, or pyenv's."""
    find = [str(uv), "python", "find", "--system", "--no-python-downloads", version]
    found = _output(find, cwd=root, environment=environment)
    if not found:
        pyenv = Path(environment.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv"))
        pythons = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
        found = str(pythons[-1]) if pythons else ""
    return Path(found) if found else None


def uv_environment(root: Path) -> dict[str, str]:
    """Environment of uv: the user's index and certificates, and a writable cache."""
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment.setdefault("UV_HTTP_TIMEOUT", "300")
    environment.setdefault("UV_PYTHON_INSTALL_DIR", str(root / ".tools/python"))
    if (
        "PIP_INDEX_URL" in environment and "UV_INDEX_URL" not in environment
    ):  # uv does not read pip's settings
        environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    home = environment.get("HOME", "")
    cache = environment.get("UV_CACHE_DIR") or environment.get("XDG_CACHE_HOME", home and home + "/.cache")
    if not cache or not _writable(Path(cache)):
        environment["UV_CACHE_DIR"] = str(root / ".tools/cache")
    return environment


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            return True
    except OSError:
        return False


def _output(command: list[str], *, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Output of a command; empty if it fails."""
    try:
        raw = subprocess.check_output(
            command, cwd=cwd and str(cwd), env=environment, stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return raw.decode().strip()


def run_step(
    command: list[str], *, what: str, log: Path, root: Path, environment: dict[str, str], lock: IO[str]
) -> None:
    """Runs a step with its output in the log and progress in the terminal."""
    print(f"set-up: {what}", flush=True)
    started = time.monotonic()
    with open(str(log), "a") as output:
        child = subprocess.Popen(
            command, cwd=str(root), env=environment, stdout=output, stderr=output, pass_fds=(lock.fileno(),)
        )
    while child.poll() is None:
        try:
            child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            print(f"set-up: {what} ... {time.monotonic() - started:.0f} s", flush=True)
        except KeyboardInterrupt:
            child.terminate()
            child.wait()
            raise
    if child.returncode != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise SetupError(
            f"{what}: failed\n{tail}\nThe whole of it: {log}\nThe same command tries again.{_hint(root, tail)}"
        )


_UNREACHED = re.compile(
    r"Failed to (fetch|download)|Request failed|error sending request|ProxyError|NewConnectionError|"
    r"No matching distribution|timed out|certificate",
    re.IGNORECASE,
)
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")


def _hint(root: Path, message: str) -> str:
    """The fix for a message of uv or pip; empty if unknown."""
    if "Permission denied" in message or "Operation not permitted" in message:
        return (
            f"\nGive this user the right to write in {root}, or remove .venv and .tools there as their owner."
        )
    return space_hint(root, message) or _network_hint(message)


def _network_hint(message: str) -> str:
    """The fix for a message about unreachable packages; names the proxy in use, if any."""
    if not _UNREACHED.search(message):
        return ""
    return proxy_hint() or (
        " Behind a proxy, set HTTPS_PROXY; where packages come from a mirror, set UV_DEFAULT_INDEX:"
        " uv does not read pip.conf."
    )


def proxy_hint() -> str:
    """Names the proxy in use; empty without one."""
    name = next((name for name in _PROXIES if os.environ.get(name)), "")
    if not name:
        return ""
    proxy = re.sub(r"//[^/@]*@", "//...@", os.environ[name])  # without a password
    return f"\n{name}={proxy}: if this proxy is not the right one, set another or unset {name}."


def space_hint(root: Path, message: str) -> str:
    """The fix for a message about a full disk, else empty."""
    if "No space left" not in message and "os error 28" not in message:
        return ""
    cache = (
        os.environ.get("UV_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    )
    folders = [folder for folder in (str(root), cache, tempfile.gettempdir()) if os.path.isdir(folder)]
    fullest = min(folders, key=lambda folder: shutil.disk_usage(folder).free)
    free = shutil.disk_usage(fullest).free / (1 << 30)
    return (
        f"\nThe disk is full: {free:.1f} GiB are free at {fullest}; .venv takes 4 GiB, and uv's cache another 4 GiB"
        " (UV_CACHE_DIR moves it, TMPDIR what is unpacked). Free some; the same command then goes on."
    )
