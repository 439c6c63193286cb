"""Sets up .venv from requirements.lock; run as a file by any Python from 3.7, standard library only.

    python3 -I bert_pipeline/bootstrap.py --extras "kfp notebooks"

uv is fetched by hash with pip; Python 3.10 is found or fetched by uv; the packages are installed by hash.
A record in .venv says what was installed: where it fits, nothing is done and no network is touched. It is
removed before a change and written after it, so that the next set-up repairs one that was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, Iterator

LOCK_FILE = "requirements.lock"
RECORD_FILE = ".venv/bert_pipeline_setup.json"
FARMHASH_FILE = "bert_pipeline/farmhash_standin.py"
EXTRAS = ("gpu", "kfp", "airflow", "notebooks")
# TFX 1.16's compiled parts (ml-metadata, tfx-bsl, tensorflow-text) exist as wheels for these only.
PLATFORMS = (("Linux", "x86_64"), ("Darwin", "x86_64"))

UV_VERSION = "0.13.8"
# One wheel per platform; pip takes the one that fits.
UV_WHEEL_SHA256 = (
    "e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984",  # Linux x86_64, glibc
    "29451c60f5e8b07403e0a175d5229efc36b0289b34143ff4aaa499a5dd52553a",  # Linux x86_64, musl
    "b7124ca1956ec2e476a1003ea5715a15f0266afaec37f4dc9c6972ba8183e6d1",  # macOS x86_64
    "62b6943c7fd64fac6854f780bea6e0359e5a5bc3241f83ee357bb38276afac49",  # macOS arm64
)


class SetupError(Exception):
    """What stopped the set-up, and how to mend it."""


def main() -> int:
    """Sets up the project that this file belongs to; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--extras", default="", help="of {}; `none` drops those there are".format(" ".join(EXTRAS))
    )
    try:
        set_up(Path(__file__).resolve().parent.parent, extras=parser.parse_args().extras.split())
    except SetupError as error:
        print(f"\nset-up stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


def set_up(root: Path, *, extras: list[str]) -> None:
    """Brings .venv to what requirements.lock says, with `extras` and those that it already has.

    Args:
        root: folder of the project.
        extras: of `EXTRAS`; ["none"] for none at all.

    Raises:
        SetupError: a step failed; the message says what to do.
    """
    if is_current(root, extras=extras):
        if not os.environ.get("SETUP_QUIETLY"):  # as a step before a verb
            print("set-up: up to date")
        return
    if (platform.system(), platform.machine()) not in PLATFORMS:
        raise SetupError(
            f"TFX has no wheels for {platform.system()} {platform.machine()}, only for Linux and macOS on x86_64.\n"
            "Use a Linux x86_64 machine or container (docker run --platform linux/amd64 ...)."
        )
    with _only_one(root) as lock:
        if not is_current(root, extras=extras):  # the one we waited for may have done it
            _install(root, extras=wanted_extras(root, extras=extras), lock=lock)


def is_current(root: Path, *, extras: list[str]) -> bool:
    """Whether .venv holds what the lock says, by its record."""
    digest = _digest(root, extras=wanted_extras(root, extras=extras))
    return read_record(root).get("digest") == digest and (root / ".venv/bin/python").exists()


def wanted_extras(root: Path, *, extras: list[str]) -> list[str]:
    """The extras asked for and those that .venv has, in the order of `EXTRAS`; none for ["none"]."""
    unknown = sorted(set(extras) - set(EXTRAS) - {"none"})
    if unknown:
        raise SetupError("EXTRAS: no extra {}; there are: {}".format(", ".join(unknown), " ".join(EXTRAS)))
    had = [] if "none" in extras else read_record(root).get("extras", [])
    return [extra for extra in EXTRAS if extra in extras or extra in had]


def read_record(root: Path) -> dict[str, Any]:
    """What the last set-up wrote; empty where there was none or it did not end."""
    try:
        record = json.loads((root / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def section_line(name: str) -> str:
    """The line that begins a section of the lock file."""
    return f"# ==== {name} ===="


def requirements(root: Path, *, extras: list[str]) -> str:
    """The part of the lock file that a set-up with `extras` installs."""
    text = (root / LOCK_FILE).read_text(encoding="utf-8")
    parts = re.split(r"^# ==== (.*) ====$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2]))
    return "".join(sections[name] for name in ["default", *("extra: " + extra for extra in extras)])


def python_version(root: Path) -> str:
    """Such as 3.10, from .python-version."""
    return (root / ".python-version").read_text(encoding="utf-8").strip()


def _digest(root: Path, *, extras: list[str]) -> str:
    farmhash = (root / FARMHASH_FILE).read_text(encoding="utf-8")
    content = [python_version(root), platform.machine(), farmhash, requirements(root, extras=extras)]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


@contextlib.contextmanager
def _only_one(root: Path) -> Iterator[IO[str]]:
    """Waits for another set-up of this folder; a child holds the lock on when its parent is killed."""
    (root / ".tools").mkdir(exist_ok=True)
    with open(str(root / ".tools/setup.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("set-up: waiting for another set-up in this folder", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _install(root: Path, *, extras: list[str], lock: IO[str]) -> None:
    started = time.monotonic()
    uv, environment, version = find_uv(root), uv_environment(root), python_version(root)
    python = find_python(root, uv=uv, version=version, environment=environment)
    repair = not read_record(root) or not (root / ".venv/bin/python").exists()
    with contextlib.suppress(FileNotFoundError):
        (root / RECORD_FILE).unlink()
    log = root / ".tools/setup.log"
    log.write_text("", encoding="utf-8")

    def run(what: str, *arguments: str) -> None:
        command = [str(uv), "--no-progress", *arguments]
        _run(command, what=what, log=log, root=root, environment=environment, lock=lock)

    if repair:
        run(f"Python {version} at {python}", "venv", "--clear", "--python", str(python), ".venv")
    wanted = root / ".tools/requirements.txt"
    wanted.write_text(requirements(root, extras=extras), encoding="utf-8")
    count = len(re.findall("^[a-z0-9].*==", wanted.read_text(encoding="utf-8"), flags=re.MULTILINE))
    sync = ["pip", "sync", "--python", ".venv/bin/python", "--require-hashes", "--compile-bytecode"]
    # What few source packages there are build with the setuptools of the lock, not with the newest.
    sync += ["--build-constraints", str(wanted), str(wanted)]
    run(f"{count} packages" + "".join(" +" + extra for extra in extras), *sync)
    site_packages = root / (f".venv/lib/python{version}/site-packages")
    shutil.copyfile(str(root / FARMHASH_FILE), str(site_packages / "farmhash.py"))
    record = {"digest": _digest(root, extras=extras), "extras": extras}
    _write_whole(root / RECORD_FILE, json.dumps(record) + "\n")
    print(f"set-up: done in {time.monotonic() - started:.0f} s", flush=True)


def find_uv(root: Path) -> Path:
    """Gives uv of the pinned version: the one in .tools, the one on PATH, or one fetched now by hash.

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
        # The wheel is a program, whatever Python it asks for.
        command += ["--ignore-requires-python", "--target", str(Path(folder, "uv")), "-r", str(wanted)]
        environment = dict(
            os.environ, PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0", PIP_ROOT_USER_ACTION="ignore"
        )
        if subprocess.call(command, env=environment) != 0:
            raise SetupError(
                f"pip could not fetch uv {UV_VERSION}; see above. Is PyPI (or your mirror) reachable?"
            )
        os.replace(str(Path(folder, "uv/bin/uv")), str(uv))
    return uv


def _pip(folder: Path) -> list[str]:
    """The command of some pip: of this Python, or of a throwaway venv of any Python on PATH."""
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


def find_python(root: Path, *, uv: Path, version: str, environment: dict[str, str]) -> Path:
    """A Python of `version`: on PATH, pyenv's, or one that uv fetches into .tools.

    Raises:
        SetupError: there is none and none could be fetched.
    """
    find = [str(uv), "python", "find", "--system", "--no-python-downloads", version]
    found = _output(find, cwd=root, environment=environment)
    if not found:
        pyenv = Path(environment.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv"))
        pythons = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
        found = str(pythons[-1]) if pythons else ""
    if not found:
        print(f"set-up: fetching Python {version}", flush=True)
        fetch = [str(uv), "--quiet", "python", "install", "--no-bin", version]
        if subprocess.call(fetch, cwd=str(root), env=environment) == 0:
            found = _output(find, cwd=root, environment=environment)
    if not found:
        raise SetupError(
            f"no Python {version} on this machine, and uv could not fetch one (above).\n"
            f"Install it (apt install python{version}, brew install python@{version}, pyenv install {version},"
            f" or a conda environment) so that `python{version}` is on PATH."
        )
    return Path(found)


def uv_environment(root: Path) -> dict[str, str]:
    """What uv sees: the user's index and certificates, and a cache that it can write."""
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
    """What a command prints; empty where it fails."""
    try:
        raw = subprocess.check_output(
            command, cwd=cwd and str(cwd), env=environment, stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return raw.decode().strip()


def _run(
    command: list[str], *, what: str, log: Path, root: Path, environment: dict[str, str], lock: IO[str]
) -> None:
    """Runs a step, its output into the log, with a sign of life in the terminal."""
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
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        raise SetupError(
            "{}: failed\n{}\nThe whole of it: {}\nThe same command tries again. Where packages come from a mirror,"
            " set UV_DEFAULT_INDEX: uv does not read pip.conf.".format(what, "\n".join(tail), log)
        )


def _write_whole(path: Path, text: str) -> None:
    partial = Path(str(path) + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(str(partial), str(path))


if __name__ == "__main__":
    sys.exit(main())
