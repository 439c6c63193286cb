"""Detects a run that would change nothing, without loading TensorFlow and TFX.

A run whose model is in service stores a digest of everything that a run reads: settings, code, packages, data files by
size and time, schema, encoder, ML Metadata, the pushed versions. If the next run has the same digest, TFX would find
each component in its cache, so the stored output is printed at once. In any doubt the run continues as usual with TFX's
cache: a server as the metadata store, a removed artifact, very many files, data outside its folder or behind a link.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_pipeline.settings.config import PROJECT_ROOT, LoadedTask
from bert_pipeline.settings.paths import RunPaths
from bert_pipeline.settings.whole_file import write_whole

if TYPE_CHECKING:
    from bert_pipeline.encoders.resolve import Encoder
    from bert_pipeline.running.run import Request

_MAX_FILES = 10_000  # of data and code, whose times are read in each run
_CODE = ("bert_pipeline", "modules", "serving")
_FILE = "unchanged.json"

SECONDS = "{seconds}"
"""Stands in a stored text where a run prints its own time."""


@dataclasses.dataclass(frozen=True)
class Unchanged:
    """The output of a run without changes."""

    digest: str
    """Of `digest_of`, after the run."""

    artifacts: tuple[str, ...]
    """Output folders of the run's components, also cached ones."""

    text: str
    """Text of components and summary, with SECONDS in place of the time."""

    summary: dict[str, Any]
    """summary.json, but for the time."""

    version: str
    """Version in service."""


def surroundings() -> dict[str, Any]:
    """Packages and variables of this process. TensorFlow changes both when it is imported: call this before."""
    packages = sorted(path.name for each in sys.path for path in Path(each).glob("*.dist-info"))
    variables = sorted(item for item in os.environ.items() if item[0].startswith(("TF_", "BERT_PIPELINE_")))
    return {"python": [sys.version, packages], "variables": variables}


def inputs_of(
    request: Request, loaded: LoadedTask, encoder: Encoder, paths: RunPaths, *, given: dict[str, Any]
) -> str:
    """The inputs of a run, without its own outputs, as JSON; empty if they cannot be read quickly and surely.

    Call this before the run: the next run must see changes made during this one. `given` is from `surroundings`.
    """
    patterns = [*loaded.task.data.files.values(), loaded.task.bulk_inference.files]
    files = _states(loaded.data_dir, *(PROJECT_ROOT / name for name in _CODE))
    is_elsewhere = any(Path(each).is_absolute() or ".." in Path(each).parts for each in patterns)
    if request.metadata not in ("", "sqlite") or files is None or is_elsewhere:
        return ""
    values = {
        "asked": [str(loaded.path), request.server, str(paths.root)],
        "settings": dataclasses.asdict(loaded.task),
        "schema": loaded.schema_path.read_text(encoding="utf-8") if loaded.schema_path.exists() else None,
        "encoder": [encoder.path, encoder.sha256, encoder.notes],
        "files": files,
        **given,
    }
    return json.dumps(values, sort_keys=True, ensure_ascii=False)


def digest_of(inputs: str, paths: RunPaths) -> str:
    """SHA-256 of `inputs_of` and of the current output folder; empty if either cannot be read surely."""
    written = _states(paths.push_destination)
    if not inputs or written is None:
        return ""
    record = [_state(paths.metadata)] if paths.metadata.exists() else []
    return hashlib.sha256(json.dumps([inputs, written, record]).encode()).hexdigest()


def _states(*folders: Path) -> list[tuple[str, int, int]] | None:
    """Sorted entries of all files except byte code; None if there are very many, or a folder is a link."""
    found = []
    for path in (path for folder in folders for path in folder.rglob("*")):
        if path.is_dir() and path.is_symlink():
            return None  # `rglob` does not enter it
        if path.suffix != ".pyc" and path.is_file():
            found.append(_state(path))
        if len(found) > _MAX_FILES:
            return None
    return sorted(found)


def _state(path: Path) -> tuple[str, int, int]:
    """Name, size in bytes, and modification time in ns, as used by TFX's ExampleGen."""
    state = path.stat()
    return str(path), state.st_size, state.st_mtime_ns


def remember(paths: RunPaths, unchanged: Unchanged) -> None:
    """Stores the output for a next run without changes."""
    if unchanged.digest:
        write_whole(paths.root / _FILE, json.dumps(dataclasses.asdict(unchanged), ensure_ascii=False))


def say(paths: RunPaths, unchanged: Unchanged, *, seconds: float) -> None:
    """Prints the output of a run without changes, and writes its summary.

    Args:
        paths: of the task.
        unchanged: from `recall`.
        seconds: since the start of the run.
    """
    values = {**unchanged.summary, "wall_seconds": round(seconds, 3)}
    write_whole(paths.root / "summary.json", json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    print(unchanged.text.replace(SECONDS, f"{seconds:.1f}"), flush=True)


def recall(paths: RunPaths, digest: str) -> Unchanged | None:
    """The output stored by `remember`; None if something changed or an artifact was removed."""
    file = paths.root / _FILE
    if not file.is_file():
        return None
    values = json.loads(file.read_text(encoding="utf-8"))
    kept = Unchanged(**{**values, "artifacts": tuple(values["artifacts"])})
    if kept.digest != digest or not all(Path(uri).exists() for uri in kept.artifacts):
        return None
    return kept
