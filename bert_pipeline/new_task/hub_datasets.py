"""Data sets of the Hugging Face hub, or of a local folder in its form; the only file that needs `datasets`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bert_pipeline.errors import UserError
from bert_pipeline.new_task.tables import Table, of_records

# Rows between two lines of progress.
_TELL_EVERY = 20_000


@dataclasses.dataclass(frozen=True)
class HubDataset:
    """A data set, read."""

    splits: dict[str, Table]
    revision: str
    """Commit of the repository; empty for a local folder."""


def load(handle: str, *, say: Callable[[str], None]) -> HubDataset:
    """Streams every split whose labels are known; class labels become their names.

    Args:
        handle: `name`, `owner/name`, `name/config`, `owner/name/config`, or a folder.
        say: prints a line of progress.

    Raises:
        UserError: no network, no such data set, or one that wants a script to be run.
    """
    import datasets

    datasets.disable_progress_bar()
    repository, config, revision = _resolve(handle)
    try:
        found = datasets.load_dataset(repository, config, streaming=True, revision=revision or None)
        splits = {name: _table(name, split, say=say) for name, split in found.items()}
    except (FileNotFoundError, ValueError, ConnectionError, OSError) as error:
        raise UserError(f"DATA: hf:{handle} cannot be read: {_first_line(error)}") from error
    labelled = {name: table for name, table in splits.items() if table.rows}
    if not labelled:
        raise UserError(f"DATA: hf:{handle} has no rows")
    return HubDataset(labelled, revision)


def _resolve(handle: str) -> tuple[str, str | None, str]:
    """Repository, configuration and commit of a handle; a folder has no commit."""
    if Path(handle).is_dir():
        return str(Path(handle).resolve()), None, ""
    import huggingface_hub as hub

    parts = handle.split("/")
    attempts: list[tuple[str, str | None]] = [(handle, None)] if len(parts) <= 2 else []
    if len(parts) > 1:
        attempts.append(("/".join(parts[:-1]), parts[-1]))
    for repository, config in attempts:
        try:
            return repository, config, str(hub.HfApi().dataset_info(repository, timeout=20).sha)
        except hub.errors.RepositoryNotFoundError:
            continue
        except Exception as error:  # the hub's client raises those of whichever HTTP library it has
            raise UserError(
                f"DATA: the Hugging Face hub cannot be reached ({type(error).__name__}: {_first_line(error)}); get the "
                "files on a machine that can, and give the folder: DATA=folder"
            ) from error
    raise UserError(f"DATA: the Hugging Face hub has no data set {handle}; look at its page for the handle")


def _table(name: str, split: Any, *, say: Callable[[str], None]) -> Table:
    names = {
        column: feature.names
        for column, feature in (split.features or {}).items()
        if type(feature).__name__ == "ClassLabel"
    }
    return of_records(_records(name, split, names=names, say=say), told="Hugging Face", readable=False)


def _records(
    name: str, split: Any, *, names: dict[str, list[str]], say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Rows, their class labels as names; a hidden label (-1) leaves the row out."""
    for number, row in enumerate(split, start=1):
        if number % _TELL_EVERY == 0:
            say(f"  split {name}: {number:,} rows")
        if any(row[column] in (None, -1) for column in names):
            continue
        yield {k: names[k][v] if k in names else v for k, v in row.items()}


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
