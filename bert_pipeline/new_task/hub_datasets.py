"""Data sets of the Hugging Face hub, or of a local folder in its form; the only file that needs `datasets`.

`datasets` says which files a split is made of; CSV, JSON lines and Parquet are then read as everywhere here. Its own
readers give types to cells (by streaming, to each chunk of 10,000 rows by itself): a label `01` becomes 1 in one chunk
and stays in the next, `NA` becomes nothing, a text that looks like a date is rewritten.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_pipeline.data import table_files
from bert_pipeline.data.table_files import first_line
from bert_pipeline.new_task.tables import AS_FOUND, Reading, Table, of_records, read_table
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

# Rows between two lines of progress.
_TELL_EVERY = 20_000
# The builders of `datasets` whose files are tables; all others (scripts, Arrow, ...) are left to it.
_TABLE_BUILDERS = ("csv", "json", "parquet")
_HUB_FILE = re.compile(r"hf://datasets/(?P<repository>[^@]+)@(?P<revision>[^/]+)/(?P<path>.+)")


@dataclasses.dataclass(frozen=True)
class HubDataset:
    """A data set, read."""

    splits: dict[str, Table]
    revision: str
    """Commit of the repository; empty for a local folder."""


def load(handle: str, *, reading: Reading = AS_FOUND, say: Callable[[str], None]) -> HubDataset:
    """Reads every split whose labels are known; class labels become their names.

    Args:
        handle: `name`, `owner/name`, `name/config`, `owner/name/config`, or a folder.
        reading: how its CSV files are to be read.
        say: prints a line of progress.

    Raises:
        UserError: no network, no such data set, or one that wants a script to be run.
    """
    import datasets

    datasets.disable_progress_bar()
    repository, config, revision = _resolve(handle)
    try:
        builder = datasets.load_dataset_builder(repository, config, revision=revision or None)
        names = _class_labels(builder.info.features)
        files = builder.config.data_files or {}
        if _builder_name(builder) in _TABLE_BUILDERS and files:
            splits = {
                str(split): _of_files(
                    str(split), list(map(str, paths)), names=names, reading=reading, say=say
                )
                for split, paths in files.items()
            }
        else:
            found = datasets.load_dataset(repository, config, streaming=True, revision=revision or None)
            splits = {name: _of_split(name, split, say=say) for name, split in found.items()}
    except UserError:
        raise
    except Exception as error:  # of `datasets`, pyarrow, fsspec and whichever HTTP library it has
        raise UserError(f"{typed.data()}: hf:{handle} cannot be read: {first_line(error)}") from error
    labelled = {name: table for name, table in splits.items() if table.rows}
    if not labelled:
        raise UserError(f"{typed.data()}: hf:{handle} has no rows")
    return HubDataset(labelled, revision)


def _builder_name(builder: Any) -> str:
    """Such as "csv"; its class is of the module datasets.packaged_modules.csv.csv."""
    return str(type(builder).__module__).rsplit(".", 1)[-1]


def _of_files(
    name: str,
    paths: Sequence[str],
    *,
    names: Mapping[str, list[str]],
    reading: Reading,
    say: Callable[[str], None],
) -> Table:
    """The rows of a split's files, one after the other."""
    tables = []
    for path in paths:
        if len(paths) > 1:
            say(f"  split {name}: {path.rsplit('/', 1)[-1]}")
        tables.append(read_table(_local(path), reading=reading))
    first = tables[0]
    for table, path in zip(tables, paths, strict=True):
        if set(table.columns) != set(first.columns):
            raise UserError(
                f"{typed.data()}: {path} has the columns {', '.join(table.columns)}, and {paths[0]} "
                f"{', '.join(first.columns)}"
            )
    rows = [
        tuple(row[table.columns.index(column)] for column in first.columns)
        for table in tables
        for row in table.rows
    ]
    return _with_names(Table(first.columns, tuple(rows), first.told, readable=False), names)


def _local(path: str) -> Path:
    """A file of a folder, or of the hub, which is fetched."""
    of_hub = _HUB_FILE.fullmatch(path)
    if of_hub is None:
        return Path(path)
    import huggingface_hub as hub

    revision = of_hub["revision"].replace("%2F", "/")
    return Path(
        hub.hf_hub_download(of_hub["repository"], of_hub["path"], repo_type="dataset", revision=revision)
    )


def _class_labels(features: Any) -> dict[str, list[str]]:
    return {
        column: list(feature.names)
        for column, feature in (features or {}).items()
        if type(feature).__name__ == "ClassLabel"
    }


def _with_names(table: Table, names: Mapping[str, list[str]]) -> Table:
    """The table with class labels by name where its cells are their numbers; a hidden one (-1) is empty."""
    numbers = {
        place: names[column]
        for place, column in enumerate(table.columns)
        if column in names and all(re.fullmatch(r"-1|\d*", row[place]) for row in table.rows)
    }
    if not numbers:
        return table
    rows = tuple(
        tuple(_name(cell, numbers[i]) if i in numbers else cell for i, cell in enumerate(row))
        for row in table.rows
    )
    return dataclasses.replace(table, rows=rows)


def _name(cell: str, names: Sequence[str]) -> str:
    return names[int(cell)] if cell.isdecimal() and int(cell) < len(names) else ""


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
                f"{typed.data()}: the Hugging Face hub cannot be reached ({type(error).__name__}: "
                f"{first_line(error)}); get the "
                f"files on a machine that can, and give the folder: {typed.give('data', 'folder', verb='new-task')}"
            ) from error
    raise UserError(
        f"{typed.data()}: the Hugging Face hub has no data set {handle}; look at its page for the handle"
    )


def _of_split(name: str, split: Any, *, say: Callable[[str], None]) -> Table:
    names = _class_labels(split.features)
    return of_records(_records(name, split, names=names, say=say), told="Hugging Face", readable=False)


def _records(
    name: str, split: Any, *, names: dict[str, list[str]], say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Rows, their class labels as names; a hidden label (-1) is missing."""
    for number, row in enumerate(split, start=1):
        if number % _TELL_EVERY == 0:
            say(f"  split {name}: {number:,} rows")
        yield {
            column: _name(table_files.cell(value).decode(), names[column]) if column in names else value
            for column, value in row.items()
        }
