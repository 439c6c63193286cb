"""Processes that end with the one that starts them, and what they leave when they are killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

# Linux's prctl(2).
_SET_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36
_END_SECONDS = 15.0


def start(
    command: list[str],
    *,
    log: Path,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
    dies_by: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Starts a process in a session of its own: Ctrl-C reaches this one alone.

    Args:
        command: its command line.
        log: what it prints is added to.
        cwd: its folder.
        environment: its variables; None: those of this process.
        user: that it runs as; None: this one.
        dies_by: the signal that it gets when this process is killed (Linux).
    """

    def in_child() -> None:
        _prctl(_SET_DEATH_SIGNAL, dies_by)

    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=environment,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            start_new_session=True,
            preexec_fn=in_child,
        )


def end(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """Asks a process to end, and kills it where it has not after 15 s."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def adopt_orphans() -> None:
    """From now on what a child leaves becomes a child of this process, so that `end_orphans` finds it (Linux)."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def end_orphans(known: Collection[int]) -> None:
    """Kills every child of this process, and what that leaves in turn, but for the `known` ids (Linux)."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    while children.exists():
        left = {int(number) for number in children.read_text(encoding="utf-8").split()} - set(known)
        if not left:
            return
        for child in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        time.sleep(0.05)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, int(value), 0, 0, 0)
