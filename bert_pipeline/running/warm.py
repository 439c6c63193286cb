"""A process that has imported TFX and forks for each step: an orchestrator's steps begin in one second, not in five.

`serve` is that process. `handed_over` is called by the command of a step; it sends its command line, folder, variables
and standard streams over a socket, waits, and gives the exit status of the fork. Where nothing listens, or files of the
project have changed since that process began, the step runs by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from bert_pipeline.settings.errors import UserError

VARIABLE = "BERT_PIPELINE_WARM"
"""Names the socket, for the steps that an orchestrator starts."""

_ROOT = Path(__file__).resolve().parents[2]
_READY, _STALE = b"r", b"s"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What `warm-steps` is asked for."""

    socket: Path
    """Where it listens, in a folder of this user alone."""

    main: Callable[[list[str]], int] | None = None
    """Runs a command line; of the command line's own module."""


def run(request: Request) -> NoReturn:
    """The verb `warm-steps`: imports what steps need, then forks for each one; ends with its parent.

    Raises:
        UserError: on macOS, whose libraries do not survive a fork.
    """
    if sys.platform == "darwin":
        raise UserError(
            "warm-steps forks, which macOS' libraries do not survive: let each step run by itself"
        )
    import tensorflow_text  # noqa: F401

    from bert_pipeline import pipeline  # noqa: F401
    from bert_pipeline.report import after_run  # noqa: F401
    from bert_pipeline.running import older_spans, recovered, steps, summary  # noqa: F401

    assert request.main is not None
    serve(request.socket, request.main)


def handed_over(argv: Sequence[str]) -> int | None:
    """Runs a command in a fork of the process that listens, if there is one.

    Args:
        argv: the command line behind `python -m bert_pipeline`.

    Returns:
        Its exit status; None: run it here.
    """
    path = os.environ.get(VARIABLE, "")
    if not path:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
            if connection.recv(1) != _READY:
                return None
        except OSError:
            return None
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        asked = {"argv": list(argv), "folder": os.getcwd(), "environment": environment}
        message = json.dumps(asked).encode()
        socket.send_fds(connection, [len(message).to_bytes(4, "big")], [0, 1, 2])
        connection.sendall(message)
        status = connection.recv(1)
    return status[0] if status else 1  # it was killed


def serve(path: Path, run: Callable[[list[str]], int]) -> NoReturn:
    """Waits for commands and forks for each one; ends with its parent.

    Args:
        path: of the socket, in a folder of this user alone.
        run: runs a command line and returns its exit status; what it needs is imported.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are not waited for
    stamp = _newest()
    gc.collect()
    gc.freeze()  # a fork's last collection over all of TFX's modules takes 1.4 s, and copies their memory
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(16)
        while True:
            connection, _ = listener.accept()
            if _newest() != stamp:
                connection.sendall(_STALE)
                connection.close()
                os.execv(sys.executable, sys.orig_argv)
            if os.fork() == 0:
                listener.close()
                _child(connection, run)
            connection.close()


def _newest() -> float:
    """When the newest of the project's files was written."""
    files = (path for name in ("bert_pipeline", "modules") for path in (_ROOT / name).rglob("*.py"))
    return max(path.stat().st_mtime for path in files)


def _child(connection: socket.socket, run: Callable[[list[str]], int]) -> NoReturn:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.sendall(_READY)
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    size, message = int.from_bytes(head, "big"), b""
    while len(message) < size:
        message += connection.recv(size - len(message)) or sys.exit(1)
    asked = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    nowhere, ended = os.open(os.devnull, os.O_WRONLY), threading.Event()
    threading.Thread(target=_end_with, args=(connection, ended), daemon=True).start()
    try:
        status = run(asked["argv"])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    ended.set()
    for number in (1, 2):  # who reads to their end need not wait for the interpreter's
        os.dup2(nowhere, number)
    with contextlib.suppress(OSError):
        connection.sendall(bytes([status]))
    sys.exit(status)


def _end_with(connection: socket.socket, ended: threading.Event) -> None:
    """Ends this process, and what it started, when the command that asked for it is gone before its time."""
    with contextlib.suppress(OSError):
        connection.recv(1)
    if not ended.is_set():
        os.killpg(0, signal.SIGKILL)
