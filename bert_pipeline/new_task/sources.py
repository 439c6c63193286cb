"""Reads a data set from a file, a folder of splits or spans, or the Hugging Face hub."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_pipeline.data import table_files
from bert_pipeline.data.spans import span_folders
from bert_pipeline.data.table_files import first_line
from bert_pipeline.new_task.tables import AS_FOUND, SUFFIXES, Reading, Table, of_records, read_table
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

HUB_PREFIX = "hf:"

# Names of files and of the hub's splits, in search order.
_SPLIT_NAMES = {"train": ("train", "training"), "eval": ("eval", "validation", "valid", "val", "dev", "test")}
# Rows between progress lines.
_TELL_EVERY = 20_000
# Builders of `datasets` whose files are tables; `datasets` itself reads all others (scripts, Arrow, ...).
_TABLE_BUILDERS = ("csv", "json", "parquet")
_HUB_FILE = re.compile(r"hf://datasets/(?P<repository>[^@]+)@(?P<revision>[^/]+)/(?P<path>.+)")


@dataclasses.dataclass(frozen=True)
class Source:
    """The splits of a data set."""

    tables: dict[str, Table]
    """`train` and `eval`, or `all`, which is split by hash later."""

    files: dict[str, str]
    """Split to file name under `folder` if the pipeline can read them there, else empty."""

    folder: Path | None
    """Folder of `files`; None if the pipeline cannot read them in place."""

    told: tuple[str, ...]
    """Findings, one line each."""

    origin: str
    """Origin for the header of the task file: the path, or the hub's handle with its revision."""

    data_format: str = "csv"


def read_source(data: str, *, reading: Reading = AS_FOUND, say: Callable[[str], None]) -> Source:
    """Reads a data set.

    Args:
        data: a file, a folder, or `hf:HANDLE` (`hf:glue/sst2`, `hf:ag_news`, `hf:./folder`).
        reading: how files are to be read, where the user says so.
        say: prints a line of progress.

    Raises:
        UserError: the data does not exist or cannot be read.
    """
    if data.startswith(HUB_PREFIX):
        return _of_hub(data.removeprefix(HUB_PREFIX), reading=reading, say=say)
    path = Path(data)
    if path.is_file():
        return _of_files({"all": path.resolve()}, folder=path.resolve().parent, reading=reading)
    if path.is_dir():
        return _of_folder(path.resolve(), reading=reading)
    raise UserError(
        f"{typed.data()}: there is no file or folder {data}; for a data set of the Hugging Face hub write "
        f"{typed.give('data', HUB_PREFIX + data, verb='new-task')}"
    )


def _of_folder(folder: Path, *, reading: Reading) -> Source:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not files:
        return _of_spans(folder, reading=reading)
    splits: dict[str, Path] = {}
    for split, names in _SPLIT_NAMES.items():
        for name in names:
            found = [
                p for p in files if re.split(r"[-_.]", p.name.lower())[0] == name and p not in splits.values()
            ]
            if len(found) > 1:
                raise UserError(
                    f"{typed.data()}: {folder} holds several files of the split {split}: {_names(found)}; keep one"
                )
            if found and split not in splits:
                splits[split] = found[0]
    if set(splits) == {"train", "eval"}:
        return _of_files(splits, folder=folder, reading=reading)
    if len(files) == 1:
        return _of_files({"all": files[0]}, folder=folder, reading=reading)
    raise UserError(
        f"{typed.data()}: {folder} holds {_names(files)}; name them train.* and eval.* (or test.*), or give a "
        "single file"
    )


def _of_spans(folder: Path, *, reading: Reading) -> Source:
    """Folders `span-1`, `span-2`, ... with a file of the same name in each; reads the first span."""
    spans, pattern = span_folders(folder)
    names = [{f.name for f in span.iterdir() if f.suffix.lower() in (".csv", ".parquet")} for span in spans]
    common = set.intersection(*names) if names else set()
    if len(common) != 1:
        raise UserError(
            f"{typed.data()}: {folder} holds no table ({', '.join(SUFFIXES)}) and no folders span-1, span-2, ... "
            "with a file of the same name in each"
        )
    name = common.pop()
    source = _of_files({"all": spans[0] / name}, folder=folder, reading=reading)
    if source.folder is None:
        raise UserError(
            f"{typed.data()}: {spans[0] / name} is {source.tables['all'].told}; spans must be UTF-8 CSV with commas "
            "and a header, or Parquet"
        )
    told = (
        *source.told,
        "1 span, span-1"
        if [span.name for span in spans] == ["span-1"]
        else f"{len(spans)} spans, {spans[0].name} to {spans[-1].name}; {spans[0].name} was looked at",
    )
    return dataclasses.replace(source, files={"all": f"{pattern}/{name}"}, told=told)


def _of_files(paths: dict[str, Path], *, folder: Path, reading: Reading) -> Source:
    tables = {split: read_table(path, reading=reading) for split, path in paths.items()}
    for table, path in zip(tables.values(), paths.values(), strict=True):
        if not table.rows:
            raise UserError(f"{typed.data()}: {path} has no rows")
        if set(table.columns) != set(next(iter(tables.values())).columns):
            raise UserError(
                f"{typed.data()}: the splits have other columns: {', '.join(map(_columns, tables.values()))}"
            )
    suffixes = {path.suffix.lower() for path in paths.values()}
    readable = all(table.readable for table in tables.values()) and len(suffixes) == 1
    return Source(
        tables=tables,
        files={split: str(path.relative_to(folder)) for split, path in paths.items()} if readable else {},
        folder=folder if readable else None,
        told=tuple(
            f"{path.name}: {table.told}, {len(table.rows):,} rows, {len(table.columns)} columns"
            for table, path in zip(tables.values(), paths.values(), strict=True)
        ),
        origin=str(next(iter(paths.values())) if len(paths) == 1 else folder),
        data_format="parquet" if suffixes == {".parquet"} else "csv",
    )


def _of_hub(handle: str, *, reading: Reading, say: Callable[[str], None]) -> Source:
    found, revision = _load_hub(handle, reading=reading, say=say)
    splits: dict[str, Table] = {}
    told = []
    for split, names in _SPLIT_NAMES.items():
        name = next((name for name in names if name in found), "")
        if name:
            splits[split] = found[name]
            told.append(f"split {name} -> {split}: {len(found[name].rows):,} rows")
    if set(splits) != {"train", "eval"}:
        first, table = next(iter(found.items()))
        splits, told = {"all": table}, [f"split {first}, which is split by hash: {len(table.rows):,} rows"]
    origin = f"hf:{handle}" + (f" at revision {revision}" if revision else "")
    return Source(tables=splits, files={}, folder=None, told=(origin, *told), origin=origin)


def _load_hub(
    handle: str, *, reading: Reading = AS_FOUND, say: Callable[[str], None]
) -> tuple[dict[str, Table], str]:
    """The non-empty splits with class labels by name, and the repository's commit (empty for a local folder).

    `datasets` lists the files of a split; this project's readers then read CSV, JSON lines and Parquet. The readers of
    `datasets` infer types (in streaming, per chunk of 10,000 rows): a label `01` becomes 1 in one chunk and stays in
    the next, `NA` becomes missing, and a text that looks like a date is rewritten.

    Args:
        handle: `name`, `owner/name`, `name/config`, `owner/name/config`, or a folder.
        reading: options for CSV files.
        say: prints a line of progress.

    Raises:
        UserError: no network, no such data set, or one that requires a script.
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
                str(split): _hub_files(
                    str(split), list(map(str, paths)), names=names, reading=reading, say=say
                )
                for split, paths in files.items()
            }
        else:
            found = datasets.load_dataset(repository, config, streaming=True, revision=revision or None)
            splits = {name: _hub_split(name, split, say=say) for name, split in found.items()}
    except UserError:
        raise
    except Exception as error:  # errors of `datasets`, pyarrow, fsspec and its HTTP library
        raise UserError(f"{typed.data()}: hf:{handle} cannot be read: {first_line(error)}") from error
    labelled = {name: table for name, table in splits.items() if table.rows}
    if not labelled:
        raise UserError(f"{typed.data()}: hf:{handle} has no rows")
    return labelled, revision


def _builder_name(builder: Any) -> str:
    """Name of the builder, such as "csv" for a class in datasets.packaged_modules.csv.csv."""
    return str(type(builder).__module__).rsplit(".", 1)[-1]


def _hub_files(
    name: str,
    paths: Sequence[str],
    *,
    names: Mapping[str, list[str]],
    reading: Reading,
    say: Callable[[str], None],
) -> Table:
    """Concatenates the rows of a split's files."""
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
    """The local path of a file; downloads a file of the hub."""
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
    """Replaces numbers of class labels by names; a hidden label (-1) becomes empty."""
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
        except Exception as error:  # the hub's client raises errors of its HTTP library
            raise UserError(
                f"{typed.data()}: the Hugging Face hub cannot be reached ({type(error).__name__}: "
                f"{first_line(error)}); get the "
                f"files on a machine that can, and give the folder: {typed.give('data', 'folder', verb='new-task')}"
            ) from error
    raise UserError(
        f"{typed.data()}: the Hugging Face hub has no data set {handle}; look at its page for the handle"
    )


def _hub_split(name: str, split: Any, *, say: Callable[[str], None]) -> Table:
    names = _class_labels(split.features)
    return of_records(_hub_records(name, split, names=names, say=say), told="Hugging Face", readable=False)


def _hub_records(
    name: str, split: Any, *, names: dict[str, list[str]], say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Rows with class labels by name; a hidden label (-1) is missing."""
    for number, row in enumerate(split, start=1):
        if number % _TELL_EVERY == 0:
            say(f"  split {name}: {number:,} rows")
        yield {
            column: _name(table_files.cell(value).decode(), names[column]) if column in names else value
            for column, value in row.items()
        }


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)


def _columns(table: Table) -> str:
    return "/".join(table.columns)
