"""The encoder cache: folders that are whole or not there, and hashes of files."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bert_pipeline.settings.errors import UserError

# Of the environment: another place for the cache.
VARIABLE = "BERT_PIPELINE_CACHE"

# Of the errors of a conversion those that are the cache's: no right to write, a read-only file system, no room.
_UNWRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EEXIST,
)

# Where a long step reports, a line of text at a time.
Progress = Callable[[str], None]


def publish(path: Path, build: Callable[[Path], None]) -> None:
    """Makes the folder `path`, unless it is there.

    `build` fills a sibling, which is renamed when it is whole: a process that is killed leaves no `path`.
    Of two processes the second waits for the first and finds its work done; the lock of one that dies is
    released by the system, and the next removes what was left.

    Args:
        path: folder to make.
        build: fills the empty folder it is given.

    Raises:
        UserError: the cache cannot be written, or its disk is full; nothing is left of it.
    """
    if path.is_dir():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(error) from error
    try:
        with _lock(path.parent / f".{path.name}.lock"):
            _build(path, build)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise _unwritable(error) from error


def _unwritable(error: OSError) -> UserError:
    where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    return UserError(
        f"the cache of encoders cannot be written: {where}{error.strerror}; "
        f"set {VARIABLE} to a folder that can be written and has room"
    )


def _build(path: Path, build: Callable[[Path], None]) -> None:
    if path.is_dir():
        return
    partial = path.parent / f".{path.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        build(partial)
        os.rename(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def file_sha256(path: Path) -> str:
    """Hash of one file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def files_sha256(folder: Path, names: Iterable[str]) -> str:
    """Hash of the names and contents of those files of a folder that are there."""
    present = [name for name in sorted(names) if (folder / name).is_file()]
    return text_sha256("\n".join(f"{name} {file_sha256(folder / name)}" for name in present))


def text_sha256(text: str) -> str:
    """Hash of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
