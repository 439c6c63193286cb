"""The list of models that were rolled back from, kept in the served folder: none is pushed again by a repeated run.

A rollback leaves the task as it was, so the next run finds the same model in the cache, blessed, and not in
service. The list lies beside the versions, where the Pusher of any runner sees it; servers look at numbers only.
No package is needed for it.
"""

from __future__ import annotations

import json
from pathlib import Path

from bert_pipeline.whole_file import write_whole

WITHDRAWN_FILE = ".withdrawn.json"


def withdrawn(base_dir: Path) -> dict[str, dict[str, str]]:
    """What was said of each withdrawn model, by its fingerprint (`atomic_push.fingerprint`).

    Args:
        base_dir: base path of the served model.

    Raises:
        ValueError: the file is no list of withdrawn models.
    """
    path = base_dir / WITHDRAWN_FILE
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON ({error}); correct it, or remove it to forget rollbacks"
        ) from error
    if not isinstance(values, dict) or not all(isinstance(value, dict) for value in values.values()):
        raise ValueError(f"{path} must hold an object of objects")
    return values


def withdraw(base_dir: Path, *, fingerprint: str, version: int, when: str, reason: str) -> None:
    """Puts a model on the list."""
    entry = {"version": str(version), "when": when, "reason": reason}
    _write(base_dir, withdrawn(base_dir) | {fingerprint: entry})


def reinstate(base_dir: Path, *, fingerprint: str) -> None:
    """Takes a model off the list; nothing happens where it is not on it."""
    listed = withdrawn(base_dir)
    if listed.pop(fingerprint, None) is not None:
        _write(base_dir, listed)


def _write(base_dir: Path, listed: dict[str, dict[str, str]]) -> None:
    write_whole(base_dir / WITHDRAWN_FILE, json.dumps(listed, indent=2, ensure_ascii=False) + "\n")
