"""Where a data set comes from: a file, a folder of splits or spans, or the Hugging Face hub."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

from bert_pipeline.data.spans import span_folders
from bert_pipeline.new_task import hub_datasets
from bert_pipeline.new_task.tables import AS_FOUND, SUFFIXES, Reading, Table, read_table
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

HUB_PREFIX = "hf:"

# Names of files and of the hub's splits, in the order in which they are looked for.
_SPLIT_NAMES = {"train": ("train", "training"), "eval": ("eval", "validation", "valid", "val", "dev", "test")}


@dataclasses.dataclass(frozen=True)
class Source:
    """The splits of a data set, read."""

    tables: dict[str, Table]
    """`train` and `eval`, or `all`, which is then split by hash."""

    files: dict[str, str]
    """Split to file name under `folder`, where the pipeline can read them there; else empty."""

    folder: Path | None
    """Where `files` lie; None: nowhere that the pipeline can read."""

    told: tuple[str, ...]
    """What was found, a line each."""

    origin: str
    """For the header of the task file: the path, or the hub's handle with its revision."""

    data_format: str = "csv"


def read_source(data: str, *, reading: Reading = AS_FOUND, say: Callable[[str], None]) -> Source:
    """Reads a data set.

    Args:
        data: a file, a folder, or `hf:HANDLE` (`hf:glue/sst2`, `hf:ag_news`, `hf:./folder`).
        reading: how files are to be read, where the user says so.
        say: prints a line of progress.

    Raises:
        UserError: there is nothing to read, or it cannot be read.
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
    """Folders `span-1`, `span-2`, ... with a file of the same name in each; the first span is looked at."""
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
    found = hub_datasets.load(handle, reading=reading, say=say)
    splits: dict[str, Table] = {}
    told = []
    for split, names in _SPLIT_NAMES.items():
        name = next((name for name in names if name in found.splits), "")
        if name:
            splits[split] = found.splits[name]
            told.append(f"split {name} -> {split}: {len(found.splits[name].rows):,} rows")
    if set(splits) != {"train", "eval"}:
        first, table = next(iter(found.splits.items()))
        splits, told = {"all": table}, [f"split {first}, which is split by hash: {len(table.rows):,} rows"]
    origin = f"hf:{handle}" + (f" at revision {found.revision}" if found.revision else "")
    return Source(tables=splits, files={}, folder=None, told=(origin, *told), origin=origin)


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)


def _columns(table: Table) -> str:
    return "/".join(table.columns)
