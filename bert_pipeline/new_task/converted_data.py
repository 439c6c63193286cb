"""Writes converted data to `data/NAME/`: atomically, replacing only folders that `new-task` wrote."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from pathlib import Path

from bert_pipeline.new_task.tables import Table
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

# Marks a folder as written by `new-task`, and lists its files.
MARKER = ".made_by_new_task.json"


def check_ours(folder: Path) -> None:
    """Raises if the folder has anything that `write` did not write.

    Raises:
        UserError: names the folder and the foreign file.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    foreign = _foreign_file(folder)
    if foreign:
        raise UserError(
            f"{typed.new_name()}: the converted data would go to {folder}, which holds {foreign} that new-task did not "
            f"write; take another {typed.new_name()}, or move that folder"
        )


def _foreign_file(folder: Path) -> str:
    """The first entry not in the marker's list or of another size; empty if `new-task` wrote everything."""
    if folder.is_symlink() or not folder.is_dir():
        return "a file or link"
    try:
        sizes = json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return next((entry.name for entry in sorted(folder.iterdir())), "") or "no marker of ours,"
    for entry in sorted(folder.iterdir()):
        if entry.name != MARKER and (not entry.is_file() or sizes.get(entry.name) != entry.stat().st_size):
            return entry.name
    return ""


def write(tables: dict[str, Table], *, folder: Path) -> None:
    """Writes `SPLIT.csv` for each table, atomically; replaces a folder written before.

    Raises:
        UserError: as `check_ours`.
    """
    check_ours(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for split, table in tables.items():
            with open(partial / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(table.columns)
                writer.writerows(table.rows)
        sizes = {entry.name: entry.stat().st_size for entry in sorted(partial.iterdir())}
        (partial / MARKER).write_text(json.dumps({"files": sizes}) + "\n", encoding="utf-8")
        os.chmod(partial, 0o755)
        if folder.exists():  # checked above: replace it by a rename, then remove it
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            folder.rename(old / folder.name)
            partial.rename(folder)
            shutil.rmtree(old)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
