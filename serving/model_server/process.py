"""The process: its memory, and what it is at, in a file that outlives it: which model ran when a kernel ended it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
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
