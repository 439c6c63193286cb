"""Copies a SavedModel into a served folder atomically.

The copy has a temporary name that no server reads as a version, and is renamed when it is on disk, so a
run killed at any moment leaves no partial version. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

_INCOMPLETE = ".incomplete"
# Not part of the model: files here may be added to a version without affecting a server.
EXTRA_DIR = "assets.extra"
# For the server's demo page, and for people who inspect the folder.
_PROVENANCE_FILE = "provenance.json"
PROVENANCE_PATH = f"{EXTRA_DIR}/{_PROVENANCE_FILE}"
_CHUNK_BYTES = 2**20


def push(source: Path, *, base_dir: Path, provenance: Mapping[str, str] | None = None) -> int:
    """Copies a SavedModel to a new version folder, atomically.

    Args:
        source: folder of the SavedModel.
        base_dir: base path of the served model; created if missing. Leftovers of killed pushes are removed.
        provenance: origin of the model; written beside it and not part of its fingerprint.

    Returns:
        The version: seconds since the epoch, or the newest plus one if the clock went backwards.

    Raises:
        OSError: for example a full disk; the partial copy is removed.
    """
    base_dir.mkdir(parents=True, exist_ok=True)
    remove_leftovers(base_dir)
    version = max(int(time.time()), (newest_version(base_dir) or 0) + 1)
    incomplete = base_dir / f".{version}{_INCOMPLETE}"
    try:
        shutil.copytree(source, incomplete, copy_function=_copy_file)
        if provenance:
            _write_provenance(incomplete / EXTRA_DIR, provenance)
        for folder in (incomplete, *(path for path in incomplete.rglob("*") if path.is_dir())):
            _sync_folder(folder)
        os.rename(incomplete, base_dir / str(version))
    except shutil.Error as error:  # holds a list of (source, destination, reason)
        shutil.rmtree(incomplete, ignore_errors=True)
        raise OSError(error.args[0][0][-1].partition(": '")[0]) from error
    except BaseException:
        shutil.rmtree(incomplete, ignore_errors=True)
        raise
    _sync_folder(base_dir)
    return version


def remove_leftovers(base_dir: Path) -> None:
    """Removes leftovers of a killed push or `gc`: `.<number>.incomplete`, a name that only they use."""
    for leftover in base_dir.glob(f".*{_INCOMPLETE}"):
        is_ours = leftover.name[1 : -len(_INCOMPLETE)].isdecimal()
        if is_ours and leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)


def hide(version_dir: Path) -> Path:
    """Renames a version before its removal, so no server sees a partial one; returns the new path."""
    hidden = version_dir.with_name(f".{version_dir.name}{_INCOMPLETE}")
    os.rename(version_dir, hidden)
    return hidden


def newest_version(base_dir: Path) -> int | None:
    """The highest version that a server sees in the folder; None if there is none."""
    if not base_dir.is_dir():
        return None
    names = (path.name for path in base_dir.iterdir() if path.is_dir())
    return max((int(name) for name in names if name.isascii() and name.isdigit()), default=None)


def fingerprint(saved_model_dir: Path) -> str:
    """SHA-256 over the names and contents of a SavedModel's files, without warm-up requests and provenance."""
    digest = hashlib.sha256()
    for path in sorted(p for p in saved_model_dir.rglob("*") if p.is_file()):
        name = path.relative_to(saved_model_dir)
        if name.parts[0] != EXTRA_DIR:
            digest.update(f"{name.as_posix()}\0{path.stat().st_size}\0".encode())
            with open(path, "rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
    return digest.hexdigest()


def _copy_file(source: str, destination: str) -> str:
    """Copies a file and syncs it to disk, so it is there before the rename."""
    shutil.copyfile(source, destination)
    with open(destination, "rb") as file:
        os.fsync(file.fileno())
    return destination


def _write_provenance(folder: Path, provenance: Mapping[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    with open(folder / _PROVENANCE_FILE, "w", encoding="utf-8") as file:
        json.dump(dict(provenance), file, indent=2, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
