"""A parent that starts the server again when a signal has ended it: a kernel that crashed, or memory that ran out.

It loads no TensorFlow. A version during whose runs the process has ended several times is not loaded again.
"""

from __future__ import annotations

import collections
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from serving.model_server import process

logger = logging.getLogger("serving.model_server.supervisor")

# Pauses between two starts double from the one to the other; after so long without an end they begin again.
_FIRST_PAUSE, _LAST_PAUSE, _QUIET_SECONDS = 1.0, 60.0, 300.0
_LOOK_SECONDS = 0.1
# Ends of the process after which the version that ran is not loaded again.
_MOST_ENDS = 3


def supervise(arguments: Sequence[str]) -> int:
    """Runs the server until it ends by itself, or a signal ends this process.

    Args:
        arguments: the server's; of --supervise they say that it is off.

    Returns:
        The server's exit status.
    """
    with tempfile.TemporaryDirectory(prefix="model_server_") as folder:
        return _Supervisor(arguments, Path(folder) / "running").run()


def pause_after(ends: int) -> float:
    """Seconds to wait after so many ends in a row.

    >>> [pause_after(n) for n in (1, 2, 3, 9)]
    [1.0, 2.0, 4.0, 60.0]
    """
    return min(_LAST_PAUSE, _FIRST_PAUSE * 2.0 ** min(ends - 1, 10))


class _Supervisor:
    def __init__(self, arguments: Sequence[str], file: Path) -> None:
        self._arguments = list(arguments)
        self._file = file
        self._ends_during: collections.Counter[str] = collections.Counter()
        self._child: subprocess.Popen[bytes] | None = None
        # No threading.Event: a handler of a signal that came while its lock was held would wait for ever.
        self._stopping = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._forward)
        if any(argument.startswith("--exit_with_stdin") for argument in self._arguments):
            threading.Thread(target=self._watch_stdin, daemon=True).start()
        ends = 0
        while True:
            start = time.monotonic()
            status = self._run_once()
            if status >= 0 or self._stopping:
                return status if status >= 0 else 128 - status
            ends = ends + 1 if time.monotonic() - start < _QUIET_SECONDS else 1
            self._blame(status, pause=pause_after(ends))
            if self._is_told_to_end(pause_after(ends)):
                return 0

    def _is_told_to_end(self, seconds: float) -> bool:
        """Waits so long, or until a signal comes."""
        deadline = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        return self._stopping

    def _run_once(self) -> int:
        """The exit status of one child; below 0: the signal that ended it."""
        process.create(self._file)
        bad = [what for what, count in self._ends_during.items() if count >= _MOST_ENDS]
        environment = {
            **os.environ,
            process.FILE_VARIABLE: str(self._file),
            process.BAD_VARIABLE: "\n".join(bad),
        }
        options = [part for option in sys.warnoptions for part in ("-W", option)]
        # The child ends when this process does, whatever ends it: its standard input closes.
        command = [
            sys.executable,
            *options,
            "-m",
            "serving.model_server",
            *self._arguments,
            "--exit_with_stdin",
        ]
        # In a session of its own: Ctrl-C reaches all that a terminal runs, and a second SIGINT ends the server at once.
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, env=environment, start_new_session=True
        )
        if self._stopping:  # the signal came before there was anything to forward it to
            self._child.terminate()
        status = self._child.wait()
        if self._child.stdin:
            self._child.stdin.close()
        return status

    def _blame(self, status: int, *, pause: float) -> None:
        suspects = process.read(self._file)
        self._ends_during.update(suspects)
        name = signal.Signals(-status).name
        during = f" while it was at {', '.join(suspects)}" if suspects else ""
        logger.error("the server was ended by %s%s; it starts again in %g s", name, during, pause)
        for what in suspects:
            if self._ends_during[what] == _MOST_ENDS:
                logger.error("%s has ended the server %d times: it is not loaded again", what, _MOST_ENDS)

    def _forward(self, number: int, frame: object) -> None:
        if number != signal.SIGHUP:
            self._stopping = True
        if self._child and self._child.poll() is None:
            self._child.send_signal(number)

    def _watch_stdin(self) -> None:
        while os.read(0, 1):  # past sys.stdin, whose lock the end of the interpreter would want
            pass
        os.kill(os.getpid(), signal.SIGTERM)
