"""Detects a run that would change nothing, without loading TensorFlow and TFX.

A run whose model is in service stores a digest of everything that a run reads: settings, code, packages, data files by
size and time, schema, encoder, ML Metadata, the pushed versions. If the next run has the same digest, TFX would find
each component in its cache, so the stored output is printed at once. In any doubt (a server as the metadata store, a
removed artifact, very many files) the run continues as usual with TFX's cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from bert_pipeline.settings.config import PROJECT_ROOT, LoadedTask
from bert_pipeline.settings.paths import RunPaths
from bert_pipeline.settings.whole_file import write_whole

if TYPE_CHECKING:
    from bert_pipeline.encoders.resolve import Encoder
    from bert_pipeline.running.run import Request

_MAX_FILES = 10_000  # whose times are read in each run
_CODE = ("bert_pipeline", "modules", "serving")
_FILE = "unchanged.json"


@dataclasses.dataclass(frozen=True)
class Unchanged:
    """The output of a run without changes."""

    digest: str
    """Of `digest_of`, after the run."""

    artifacts: tuple[str, ...]
    """Output folders of the run's components, also cached ones."""

    text: str
    """Text of components and summary, with `{seconds}` in place of the time."""

    summary: str
    """summary.json."""

    version: str
    """Version in service."""


def variables() -> list[tuple[str, str]]:
    """The environment variables that a run reads. TensorFlow sets some when it is imported: call this before."""
    return sorted(item for item in os.environ.items() if item[0].startswith(("TF_", "BERT_PIPELINE_")))


def inputs_of(
    request: Request, loaded: LoadedTask, encoder: Encoder, paths: RunPaths, *, given: list[tuple[str, str]]
) -> str:
    """The inputs of a run, without its own outputs, as JSON; empty if they cannot be read quickly.

    Call this before the run: the next run must see changes made during this one. `given` is from `variables`.
    """
    folders = [loaded.data_dir, *(PROJECT_ROOT / name for name in _CODE)]
    states = [list(islice(_states(folder), _MAX_FILES + 1)) for folder in folders]
    if request.metadata not in ("", "sqlite") or any(len(each) > _MAX_FILES for each in states):
        return ""
    values = {
        "asked": [loaded.path.name, request.server, str(paths.root)],
        "settings": dataclasses.asdict(loaded.task),
        "schema": loaded.schema_path.read_text(encoding="utf-8") if loaded.schema_path.exists() else None,
        "encoder": [encoder.path, encoder.sha256, encoder.notes],
        "python": [
            sys.version,
            sorted(path.name for each in sys.path for path in Path(each).glob("*.dist-info")),
        ],
        "variables": given,
        "files": [sorted(each) for each in states],
    }
    return json.dumps(values, sort_keys=True, ensure_ascii=False)


def digest_of(inputs: str, paths: RunPaths) -> str:
    """SHA-256 of `inputs_of` and of the current output folder; empty if the inputs are."""
    if not inputs:
        return ""
    written = [
        *_states(paths.push_destination),
        *([_state(paths.metadata)] if paths.metadata.exists() else []),
    ]
    return hashlib.sha256(json.dumps([inputs, sorted(written)]).encode()).hexdigest()


def _states(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Entries of all files except byte code."""
    for path in folder.rglob("*"):
        if path.suffix != ".pyc" and path.is_file():
            yield _state(path)


def _state(path: Path) -> tuple[str, int, int]:
    """Name, size in bytes, and modification time in ns, as used by TFX's ExampleGen."""
    state = path.stat()
    return str(path), state.st_size, state.st_mtime_ns


def remember(paths: RunPaths, unchanged: Unchanged) -> None:
    """Stores the output for a next run without changes."""
    if unchanged.digest:
        write_whole(paths.root / _FILE, json.dumps(dataclasses.asdict(unchanged), ensure_ascii=False))


def recall(paths: RunPaths, digest: str) -> Unchanged | None:
    """The output stored by `remember`; None if something changed or an artifact was removed."""
    file = paths.root / _FILE
    if not digest or not file.is_file():
        return None
    values = json.loads(file.read_text(encoding="utf-8"))
    kept = Unchanged(**{**values, "artifacts": tuple(values["artifacts"])})
    if kept.digest != digest or not all(Path(uri).exists() for uri in kept.artifacts):
        return None
    return kept
