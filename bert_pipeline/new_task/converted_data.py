"""The folder `data/NAME/` that converted data goes to: written whole, and replaced only where it is ours."""

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

# Says that `new-task` made the folder, and of which files.
MARKER = ".made_by_new_task.json"


def check_ours(folder: Path) -> None:
    """Refuses a folder that holds anything but what `write` wrote there.

    Raises:
        UserError: names the folder and a file of somebody else's.
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
    """What the folder holds that is not ours, by the marker's list and sizes; empty where it is all ours."""
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
    """Writes `SPLIT.csv` for each table; the folder appears whole or not at all, and takes the place of ours.

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
        if folder.exists():  # ours, as was checked: replaced by a rename, and then removed
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            folder.rename(old / folder.name)
            partial.rename(folder)
            shutil.rmtree(old)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
