"""The errors that a user can act on."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Sequence


class UserError(Exception):
    """Bad input; the message names the key, the value and the fix, and is all that the user sees."""


def nearest(word: str, known: Sequence[str]) -> str:
    """The known name that is nearest to a word; empty: none is near."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), "")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """What to say of a name that there is not.

    Example:
        >>> did_you_mean("boot", ["boots", "clogs"])
        "did you mean 'boots'? Known: boots, clogs"
    """
    near = nearest(word, known)
    return (f"did you mean {near!r}? " if near else "") + f"Known: {', '.join(known)}"


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
