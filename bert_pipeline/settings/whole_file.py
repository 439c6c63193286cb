"""Files that are whole or not there: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import os
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
    partial = beside(path)
    try:
        with open(partial, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def beside(path: Path) -> Path:
    """Where a file is written before it is renamed to `path`: a hidden name that says what it is."""
    return path.with_name(f".{path.name.lstrip('.')}.partial")
