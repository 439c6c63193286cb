"""The errors that a user can act on."""

from __future__ import annotations

import errno


class UserError(Exception):
    """Bad input; the message names the key, the value and the fix, and is all that the user sees."""


# What the system, TensorFlow and sqlite say of a disk without room.
_FULL = ("No space left on device", "Disk quota exceeded", "database or disk is full")


def is_full_disk(error: BaseException) -> bool:
    """Whether a library failed because a disk has no room."""
    of_system = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return of_system or any(text in str(error) for text in _FULL)


def sentence_of(error: Exception) -> str | None:
    """What to tell of an error of the system or of ML Metadata; None: it is a fault of the program.

    Example:
        >>> sentence_of(OSError(errno.ENOSPC, "No space left on device"))
        'the disk is full (No space left on device); free some room, and give the same command again'
    """
    if is_full_disk(error):
        text = " ".join(str(error).split())
        said = next((text for text in _FULL if text in str(error)), text)
        where = f" at {error.filename}" if isinstance(error, OSError) and error.filename else ""
        return f"the disk is full{where} ({said}); free some room, and give the same command again"
    if isinstance(error, OSError) and error.filename:
        # A path that cannot be used: too long, no permission, a file where a folder must be.
        return f"{error.filename}: {error.strerror}"
    if type(error).__module__ == "ml_metadata.errors":
        return f"ML Metadata: {' '.join(str(error).split())[:500]}"
    return None
