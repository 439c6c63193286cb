"""What the process is at, in a file that outlives it: which model ran when a kernel ended the server."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path

# Set by the supervisor for its child: the file, and the versions that are not to be loaded again.
FILE_VARIABLE, BAD_VARIABLE = "MODEL_SERVER_RUNNING", "MODEL_SERVER_BAD"

_SLOT_BYTES, _NUM_SLOTS = 256, 64
_lock = threading.Lock()
_slots = iter(range(_NUM_SLOTS))
_local = threading.local()
_maps: dict[str, mmap.mmap] = {}


def create(path: Path) -> None:
    """An empty file."""
    path.write_bytes(bytes(_SLOT_BYTES * _NUM_SLOTS))


def read(path: Path) -> list[str]:
    """What the threads of a process that has ended were at, each once."""
    data = path.read_bytes()
    slots = [data[start : start + _SLOT_BYTES] for start in range(0, len(data), _SLOT_BYTES)]
    return sorted({slot.rstrip(b"\0").decode(errors="replace") for slot in slots} - {""})


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
