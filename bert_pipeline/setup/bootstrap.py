"""Sets up .venv from requirements.lock; runs as a script on Python 3.7 or newer with only the standard library.

    python3 -I bert_pipeline/setup/bootstrap.py --extras "gpu notebooks" --stack 1.16

Uses the newest stack that this machine can run (`STACKS`), or the requested one. Fetches uv by hash with pip, finds
or fetches a Python of the stack with uv, and installs the packages by hash.
A record in .venv lists what was installed: if it matches, the set-up does nothing and needs no network. Before a
change the record is reduced to the request, so the next set-up repairs one that was killed.
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
import time
from pathlib import Path
from typing import IO, Any, Iterator, NamedTuple

if not __package__:  # run as a script, before anything is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bert_pipeline.setup.setup_uv import (
    SetupError,
    find_python,
    find_uv,
    proxy_hint,
    run_step,
    space_hint,
    uv_environment,
)

LOCK_FILE = "requirements.lock"
RECORD_FILE = ".venv/bert_pipeline_setup.json"
VENV_BEGUN_FILE = ".tools/venv_begun"  # exists while uv creates .venv
FARMHASH_FILE = "bert_pipeline/setup/farmhash_standin.py"
EXTRAS = ("gpu", "notebooks")


class Stack(NamedTuple):
    """Versions of TFX, TensorFlow and Python that belong together."""

    name: str
    """TFX's version, as in STACK=."""

    pythons: tuple[str, ...]
    """Supported Python versions; the first is fetched if none is installed."""

    platforms: tuple[tuple[str, str], ...]
    """`platform.system()` and `platform.machine()` with all wheels."""

    glibc: tuple[int, int]
    """Oldest C library that its wheels support on Linux."""

    marker: str
    """Prefix of this stack's environments in pyproject.toml."""

    def __str__(self) -> str:
        return "TFX " + self.name


# Newest first. TFX 1.21's wheels of tfx-bsl, ml-metadata and tensorflow-data-validation are tagged manylinux_2_39.
STACKS = (
    Stack(
        name="1.21",
        pythons=("3.12", "3.13", "3.11"),
        platforms=(("Linux", "x86_64"), ("Darwin", "arm64")),
        glibc=(2, 39),
        marker="python_full_version >= '3.11'",
    ),
    Stack(
        name="1.16",
        pythons=("3.10",),
        platforms=(("Linux", "x86_64"), ("Darwin", "x86_64")),
        glibc=(2, 17),
        marker="python_full_version < '3.11'",
    ),
)
ANY_STACK = "auto"  # resets an earlier STACK=


def main() -> int:
    """Sets up this project; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--extras", default="", help="of {}; `none` drops those there are".format(" ".join(EXTRAS))
    )
    parser.add_argument(
        "--stack",
        default="",
        help="of {}; `{}`: the newest".format(", ".join(s.name for s in STACKS), ANY_STACK),
    )
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    try:
        set_up(root, extras=arguments.extras.split(), asked=arguments.stack)
    except OSError as error:
        where = error.filename or root
        print(
            f"\nset-up stopped: {where}: {error.strerror or error}{space_hint(root, str(error))}",
            file=sys.stderr,
        )
        return 1
    except SetupError as error:
        print(f"\nset-up stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


def set_up(root: Path, *, extras: list[str], asked: str = "") -> None:
    """Updates .venv to requirements.lock, with `extras` and the installed extras.

    Args:
        root: folder of the project.
        extras: of `EXTRAS`; ["none"] to remove all.
        asked: name of one of `STACKS`; `ANY_STACK` for the newest that runs here; empty for the last choice.

    Raises:
        SetupError: a step failed; the message gives the fix.
    """
    stacks = wanted_stacks(root, asked=asked)
    if is_current(root, extras=extras, asked=asked):
        if not os.environ.get("SETUP_QUIETLY"):  # as a step before a verb
            print("set-up: up to date")
        return
    with _only_one(root) as lock:
        if not is_current(root, extras=extras, asked=asked):  # another set-up may have finished it meanwhile
            _install(root, extras=wanted_extras(root, extras=extras), asked=asked, stacks=stacks, lock=lock)


def is_current(root: Path, *, extras: list[str], asked: str = "") -> bool:
    """Whether .venv matches the lock for the selected stack, by its record."""
    record = read_record(root)
    stack = next((s for s in STACKS if s.name == record.get("stack")), None)
    if stack is None or not (root / ".venv/bin/python").exists():
        return False
    if asked_stack(root, asked=asked) != record.get("asked") or record.get("fitting") != fitting_names():
        return False
    digest = _digest(
        root, extras=wanted_extras(root, extras=extras), python=record.get("python", ""), stack=stack
    )
    return bool(record.get("digest") == digest)


def asked_stack(root: Path, *, asked: str) -> str:
    """The requested stack, now or in the last set-up; empty if none was named."""
    if asked == ANY_STACK:
        return ""
    return asked or str(read_record(root).get("asked", ""))


def wanted_stacks(root: Path, *, asked: str) -> list[Stack]:
    """The stacks to try, in order: the requested one, or all that run on this machine.

    Raises:
        SetupError: no such stack, or none that runs here.
    """
    names = [stack.name for stack in STACKS]
    name = asked_stack(root, asked=asked)
    if name and name not in names:
        raise SetupError(
            "STACK={}: there is no such stack; there are: {} {}".format(name, " ".join(names), ANY_STACK)
        )
    tried = [stack for stack in STACKS if not name or stack.name == name]
    stacks = [stack for stack in tried if not what_lacks(stack)]
    if not stacks:
        lacks = "\n".join(f"{stack} needs {what_lacks(stack)}." for stack in tried)
        other = f"\nmake setup STACK={ANY_STACK} takes what runs here." if name and fitting_names() else ""
        raise SetupError(
            f"{this_machine()} cannot run {' or '.join(map(str, tried))}.\n{lacks}{other}\nUse a Linux x86_64 machine"
            " or container with glibc (docker run --platform linux/amd64 ...), or WSL2 on Windows."
        )
    return stacks


def fitting_names() -> list[str]:
    """The names of the stacks whose wheels load on this machine, newest first."""
    return [stack.name for stack in STACKS if not what_lacks(stack)]


def what_lacks(stack: Stack) -> str:
    """What this machine lacks for a stack, such as "glibc 2.39 or newer"; empty if it runs here."""
    if (platform.system(), platform.machine()) not in stack.platforms:
        return " or ".join(" ".join(pair) for pair in stack.platforms)
    if platform.system() == "Linux" and glibc_version() < stack.glibc:
        return "glibc {}.{} or newer".format(*stack.glibc)
    return ""


def glibc_version() -> tuple[int, ...]:
    """Version of this Python's glibc, such as (2, 41); () for another C library (musl)."""
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (AttributeError, OSError, ValueError):  # no confstr, or not glibc
        return ()
    return tuple(map(int, re.findall(r"\d+", version)[:2])) if name == "glibc" else ()


def this_machine() -> str:
    """Such as "Linux x86_64, glibc 2.41"."""
    machine = f"{platform.system()} {platform.machine()}"
    if platform.system() != "Linux":
        return machine
    return machine + (", glibc {}.{}".format(*glibc_version()) if glibc_version() else ", no glibc")


def wanted_extras(root: Path, *, extras: list[str]) -> list[str]:
    """The requested and the installed extras, in the order of `EXTRAS`; none for ["none"]."""
    unknown = sorted(set(extras) - set(EXTRAS) - {"none"})
    if unknown:
        raise SetupError("EXTRAS: no extra {}; there are: {}".format(", ".join(unknown), " ".join(EXTRAS)))
    had = [] if "none" in extras else read_record(root).get("extras", [])
    return [extra for extra in EXTRAS if extra in extras or extra in had]


def read_record(root: Path) -> dict[str, Any]:
    """The record of the last set-up; empty if there is none or it did not finish."""
    try:
        record = json.loads((root / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def section_line(name: str) -> str:
    """The line that begins a section of the lock file."""
    return f"# ==== {name} ===="


def requirements(root: Path, *, extras: list[str]) -> str:
    """The part of the lock file for a set-up with `extras`."""
    text = (root / LOCK_FILE).read_text(encoding="utf-8")
    parts = re.split(r"^# ==== (.*) ====$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2]))
    return "".join(sections[name] for name in ["default", *("extra: " + extra for extra in extras)])


def stack_of(pin: str) -> Stack:
    """The stack of a line of the lock; the newest if its markers name none (only Python 3.13)."""
    return next((stack for stack in STACKS if stack.marker in pin), STACKS[0])


def _digest(root: Path, *, extras: list[str], python: str, stack: Stack) -> str:
    farmhash = (root / FARMHASH_FILE).read_text(encoding="utf-8")
    machine = [platform.system(), platform.machine()]
    content = [stack.name, python, *machine, farmhash, requirements(root, extras=extras)]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


@contextlib.contextmanager
def _only_one(root: Path) -> Iterator[IO[str]]:
    """Waits for another set-up of this folder; a child keeps the lock if its parent is killed."""
    (root / ".tools").mkdir(exist_ok=True)
    with open(str(root / ".tools/setup.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("set-up: waiting for another set-up in this folder", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _install(root: Path, *, extras: list[str], asked: str, stacks: list[Stack], lock: IO[str]) -> None:
    started = time.monotonic()
    uv, environment, record = find_uv(root), uv_environment(root), read_record(root)
    stack, version, python = choose(root, stacks, uv=uv, environment=environment)
    print(f"set-up: {stack} with Python {version} at {python} ({why(stack)})", flush=True)
    wish = {"extras": extras, "asked": asked_stack(root, asked=asked)}  # survives a killed set-up
    made = {"stack": stack.name, "python": version, "machine": this_machine(), "fitting": fitting_names()}
    whole = record.get("digest") and (root / ".venv/bin/python").exists()
    repair = not whole or any(record.get(key) != made[key] for key in ("stack", "python", "machine"))
    log = root / ".tools/setup.log"
    log.write_text("", encoding="utf-8")

    def run(what: str, *arguments: str) -> None:
        command = [str(uv), "--no-progress", *arguments]
        run_step(command, what=what, log=log, root=root, environment=environment, lock=lock)

    if repair:
        _clear_the_way(root)
        begun = root / VENV_BEGUN_FILE
        begun.touch()
        run("a new .venv", "venv", "--clear", "--python", str(python), ".venv")
        begun.unlink()
    _write_whole(root / RECORD_FILE, json.dumps(wish) + "\n")
    wanted = root / ".tools/requirements.txt"
    wanted.write_text(requirements(root, extras=extras), encoding="utf-8")
    pins = re.findall("^[a-z0-9].*==.*", wanted.read_text(encoding="utf-8"), flags=re.MULTILINE)
    count = len([pin for pin in pins if stack_of(pin) == stack])
    sync = ["pip", "sync", "--python", ".venv/bin/python", "--require-hashes", "--compile-bytecode"]
    # The few source packages build with the setuptools of the lock, not the newest.
    sync += ["--build-constraints", str(wanted), str(wanted)]
    run(f"{count} packages" + "".join(" +" + extra for extra in extras), *sync)
    site_packages = root / (f".venv/lib/python{version}/site-packages")
    shutil.copyfile(str(root / FARMHASH_FILE), str(site_packages / "farmhash.py"))
    made["digest"] = _digest(root, extras=extras, python=version, stack=stack)
    _write_whole(root / RECORD_FILE, json.dumps({**wish, **made}) + "\n")
    print(f"set-up: done in {time.monotonic() - started:.0f} s", flush=True)


def _clear_the_way(root: Path) -> None:
    """Removes the remains of .venv after a killed set-up; uv itself replaces any virtual environment.

    Raises:
        SetupError: .venv is something else, which may be the user's.
    """
    venv = root / ".venv"
    if (venv / "pyvenv.cfg").exists() or not (venv.exists() or venv.is_symlink()):
        return
    if venv.is_dir() and not venv.is_symlink() and (root / VENV_BEGUN_FILE).exists():
        shutil.rmtree(str(venv))
    elif not venv.is_dir() or any(venv.iterdir()):
        kind = "a folder" if venv.is_dir() else "a link that leads nowhere" if venv.is_symlink() else "a file"
        raise SetupError(
            f"{venv} is {kind} and no virtual environment that this set-up could replace; move it away, or"
            " remove it with `make clean`, and give the same command again."
        )


def choose(
    root: Path, stacks: list[Stack], *, uv: Path, environment: dict[str, str]
) -> tuple[Stack, str, Path]:
    """The first stack with a Python that is installed or that uv can fetch; that Python's version and path.

    Raises:
        SetupError: no Python was found or fetched.
    """
    for stack in stacks:
        for version in stack.pythons:
            found = find_python(root, version, uv=uv, environment=environment)
            if found:
                return stack, version, found
        version = stack.pythons[0]
        print(f"set-up: fetching Python {version}", flush=True)
        fetch = [str(uv), "--quiet", "python", "install", "--no-bin", version]
        if subprocess.call(fetch, cwd=str(root), env=environment) == 0:
            found = find_python(root, version, uv=uv, environment=environment)
            if found:
                return stack, version, found
    versions = [version for stack in stacks for version in stack.pythons]
    raise SetupError(
        "no Python {} on this machine, and uv could not fetch one (above).\nInstall one of them (apt install"
        " python{}, brew install python@{}, pyenv install {}, or a conda environment) so that `python{}` is on"
        " PATH.{}{}".format(" or ".join(versions), *[versions[0]] * 4, _older_machine(stacks), proxy_hint())
    )


def _older_machine(stacks: list[Stack]) -> str:
    newest = STACKS[0]
    if newest in stacks or not what_lacks(newest):
        return ""
    pythons = ", ".join(newest.pythons)
    return (
        f"\n{newest}, which runs on Python {pythons}, needs {what_lacks(newest)}; this is {this_machine()}."
    )


def why(stack: Stack) -> str:
    """The reason for choosing a stack on this machine."""
    newest = STACKS[0]
    if stack == newest:
        return this_machine()
    if what_lacks(newest):
        return f"{this_machine()}; {newest} needs {what_lacks(newest)}"
    return f"{this_machine()}; it runs {newest} too: make setup STACK={ANY_STACK}, with Python {newest.pythons[0]}"


def _write_whole(path: Path, text: str) -> None:
    partial = Path(str(path) + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(str(partial), str(path))


if __name__ == "__main__":
    sys.exit(main())
