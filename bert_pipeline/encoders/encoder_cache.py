"""The encoder cache: atomically written folders, and hashes of files."""

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

# Environment variable for another cache folder.
VARIABLE = "BERT_PIPELINE_CACHE"

# Errors of a conversion caused by the cache: no write permission, a read-only file system, a full disk.
_UNWRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EEXIST,
)

# Callback for the progress of a long step, one line at a time.
Progress = Callable[[str], None]


def publish(path: Path, build: Callable[[Path], None]) -> None:
    """Creates the folder `path` if it does not exist.

    `build` fills a sibling, which is renamed when complete: a killed process leaves no `path`. A second
    process waits for the first and uses its result. The system releases the lock of a dead process, and the
    next one removes its leftovers.

    Args:
        path: folder to create.
        build: fills the given empty folder.

    Raises:
        UserError: the cache cannot be written, or its disk is full; leaves no partial folder.
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
    """Hash of the names and contents of the existing files among some in a folder."""
    present = [name for name in sorted(names) if (folder / name).is_file()]
    return text_sha256("\n".join(f"{name} {file_sha256(folder / name)}" for name in present))


def text_sha256(text: str) -> str:
    """Hash of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
