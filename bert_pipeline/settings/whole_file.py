"""Files that are whole or not there: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, text: str) -> Path:
    """Writes a text file in UTF-8; a kill or a full disk leaves what was there before.

    Args:
        path: of the file; its folder is made if need be.
        text: the whole content.

    Returns:
        `path`.

    Raises:
        OSError: the disk is full, say; nothing is left of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives where to write a file that is put in its place at the end; an error leaves what was there before.

    Args:
        path: of the file, in a folder that is there.

    Raises:
        OSError: the disk is full, say; nothing is left of it.
    """
    partial = beside(path)
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def beside(path: Path) -> Path:
    """Where a file is written before it is renamed to `path`: a hidden name that says what it is."""
    return path.with_name(f".{path.name.lstrip('.')}.partial")
