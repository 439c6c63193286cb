"""The process: its memory; what it is at, in a file that outlives it; and a parent that starts it again.

`supervise` starts the server again when a signal has ended it: a kernel that crashed, or memory that ran out. It loads
no TensorFlow. A version during whose runs the process has ended several times is not loaded again.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import gc
import logging
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# Set by the supervisor for its child: the file, and the versions that are not to be loaded again.
FILE_VARIABLE, BAD_VARIABLE = "MODEL_SERVER_RUNNING", "MODEL_SERVER_BAD"

_SLOT_BYTES, _NUM_SLOTS = 256, 64
_lock = threading.Lock()
_slots = iter(range(_NUM_SLOTS))
_local = threading.local()
_maps: dict[str, mmap.mmap] = {}


def create_record(path: Path) -> None:
    """An empty file."""
    path.write_bytes(bytes(_SLOT_BYTES * _NUM_SLOTS))


def read_record(path: Path) -> list[str]:
    """What the threads of a process that has ended were at, each once."""
    data = path.read_bytes()
    slots = [data[start : start + _SLOT_BYTES] for start in range(0, len(data), _SLOT_BYTES)]
    return sorted({slot.rstrip(b"\0").decode(errors="replace") for slot in slots} - {""})


def is_watched() -> bool:
    """Whether a supervisor wants to know what this process is at."""
    return FILE_VARIABLE in os.environ


@contextlib.contextmanager
def marked(what: str) -> Iterator[None]:
    """Notes that this thread is at something, where a supervisor wants to know."""
    slot = _slot()
    if slot is None:
        yield
        return
    file, start = slot
    file[start : start + _SLOT_BYTES] = what.encode()[: _SLOT_BYTES - 1].ljust(_SLOT_BYTES, b"\0")
    try:
        yield
    finally:
        file[start : start + _SLOT_BYTES] = bytes(_SLOT_BYTES)


def bad() -> list[str]:
    """Versions (`NAME NUMBER`) that have ended the process too often."""
    return [line for line in os.environ.get(BAD_VARIABLE, "").splitlines() if line]


def _slot() -> tuple[mmap.mmap, int] | None:
    path = os.environ.get(FILE_VARIABLE, "")
    if not path:
        return None
    with _lock:
        if path not in _maps:
            with open(path, "r+b") as file:
                _maps[path] = mmap.mmap(file.fileno(), 0)
        if not hasattr(_local, "number"):
            _local.number = next(_slots, None)
    return None if _local.number is None else (_maps[path], _local.number * _SLOT_BYTES)


def freeze_garbage() -> None:
    """Exempts what lives now, above all the 330,000 objects of TensorFlow's modules, from garbage collection.

    Call it once, when everything is imported and nothing is loaded. A full collection stops every thread: measured
    on 2 cores, 390 ms before and 10 ms after; loading a model triggers several.
    """
    gc.collect()
    gc.freeze()


def release_memory() -> None:
    """Gives the memory of an unloaded model back to the system.

    Graphs are cycles, which only the collector frees; and the allocator keeps what it gets. Measured with a MiniLM
    classifier (87 MB), 14 loads: 744 to 1,074 MB without this, 692 to 856 MB with it.
    """
    gc.collect()
    # glibc's own; another C library may have none.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


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
        create_record(self._file)
        bad = [what for what, count in self._ends_during.items() if count >= _MOST_ENDS]
        environment = {
            **os.environ,
            FILE_VARIABLE: str(self._file),
            BAD_VARIABLE: "\n".join(bad),
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
        suspects = read_record(self._file)
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
