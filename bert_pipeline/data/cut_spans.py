"""The verb `spans`: splits dated tables into one folder per day, week or month, for a task's pattern."""

from __future__ import annotations

import dataclasses
import filecmp
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from bert_pipeline.data import table_files
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

FILE_NAME = "rows.csv"

# Number of dates in a message.
_NUM_NAMED = 3

# ISO 8601 and common variants: `2015-02-16 23:36:05 -0800`, `2015-02-16T23:36:05Z`. The day is taken as written, in its
# own time zone.
_ZONE = r"\s*(?:Z|UTC|GMT|[A-Z]{2,4}T|[+-]\d{2}:?(?:\d{2})?)?"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d(?::(?:[0-5]\d|60)(?:[.,]\d+)?)?" + _ZONE
_DATE = rf"^\s*(\d{{4}}-\d{{2}}-\d{{2}})(?:[T ]{_TIME})?\s*$"

# pandas' names of the periods; a week begins on Monday.
_PERIODS = {"day": "D", "week": "W-SUN", "month": "M"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Arguments of `spans`."""

    csv: tuple[str, ...]
    date: str
    """Name of the column with dates."""

    by: str
    """day, week or month."""

    to: str
    """The target folder, with one folder per span."""


def run(request: Request) -> int:
    """The verb `spans`: `--csv FILE... --date COLUMN --by day|week|month --to DIR`.

    Returns:
        0.

    Raises:
        UserError: see `cut`.
    """
    counts = cut(
        [Path(name) for name in request.csv],
        date_column=request.date,
        by=request.by,
        folder=Path(request.to),
    )
    for name, count in counts.items():
        print(f"  {name}  {count:>7,} rows")
    plural = "s" if len(counts) > 1 else ""
    print(f"{len(counts)} span{plural}, {sum(counts.values()):,} rows in {request.to}")
    print(
        f'next      files = {{ all = "{{YYYY}}-{{MM}}-{{DD}}/{FILE_NAME}" }} in the task file, then: '
        + typed.command("pipeline", task="...", data=request.to)
    )
    return 0


def cut(paths: Iterable[Path], *, date_column: str, by: str, folder: Path) -> dict[str, int]:
    """Writes the rows of tables into `folder/YYYY-MM-DD/rows.csv` by date, in order.

    Writes everything beside `folder` and renames it when complete. Keeps existing spans, and refuses to change
    their rows, because runs have trained on them.

    Args:
        paths: CSV files with the same columns.
        date_column: the column with dates, ISO 8601: `2025-07-01`, with a time or without.
        by: `day`, `week` (named by its Monday) or `month` (by its first day).
        folder: target; created if missing.

    Returns:
        Name of each span to its number of rows, oldest first, including existing spans.

    Raises:
        UserError: a file lacks the column or has other columns, dates cannot be read, a span would change, or `folder`
            is a file.
    """
    folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{typed.name('to')}: {folder} is a file; give a folder")
    table = _read(paths, date_column=date_column)
    spans = dict(list(table.groupby(_names(table[date_column], by=by))))
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    with tempfile.TemporaryDirectory(dir=there, prefix=".spans-") as partial:
        new = {}
        for name, rows in spans.items():
            whole = Path(partial) / name / FILE_NAME
            whole.parent.mkdir()
            rows.to_csv(whole, index=False, lineterminator="\n", errors="surrogateescape")
            path = folder / name / FILE_NAME
            if not path.parent.exists():
                new[name] = whole.parent
            elif not path.is_file() or not filecmp.cmp(path, whole, shallow=False):
                is_there = (
                    "is there and holds other rows" if path.exists() else "is not there, but its folder is"
                )
                raise UserError(
                    f"{path} {is_there}; spans that were trained on must stay as they are: cut whole spans only, or "
                    f"give another folder with {typed.give('to')}"
                )
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in new.items():
            os.rename(source, folder / name)
    return {name: len(rows) for name, rows in spans.items()}


def first_days(dates: pd.Series, *, by: str) -> pd.Series:
    """`2015-02-18 10:00:00 -0800` by week -> `2015-02-16`; NaN if not a date."""
    days = pd.to_datetime(dates.str.extract(_DATE, expand=False), format="%Y-%m-%d", errors="coerce")
    return days.dt.to_period(_PERIODS[by]).dt.start_time.dt.strftime("%Y-%m-%d")


def _names(dates: pd.Series, *, by: str) -> pd.Series:
    """The name of each row's span."""
    names = first_days(dates, by=by)
    bad = dates[names.isna()]
    if len(bad):
        shown = "; ".join(f"{where}: {text[:40]!r}" for where, text in bad[:_NUM_NAMED].items())
        raise UserError(
            f"column {dates.name}: {len(bad)} rows have no date, for example {shown}; "
            "write dates as 2025-07-01, with a time behind or without, or drop these rows"
        )
    return names


def _read(paths: Iterable[Path], *, date_column: str) -> pd.DataFrame:
    """All rows unchanged, with `surrogateescape` for bytes that are not UTF-8; the index gives file and row."""
    tables: list[pd.DataFrame] = []
    for path in paths:
        if not path.is_file():
            raise UserError(f"{typed.name('csv')}: there is no file {path}")
        rows = [
            {name: cell.decode("utf-8", "surrogateescape") for name, cell in row.items()}
            for row in table_files.rows_of_csv(path.read_bytes(), path=path)
        ]
        if not rows:
            continue
        table = pd.DataFrame(rows, index=[f"{path.name} row {i}" for i in range(1, len(rows) + 1)])
        has = ", ".join(table.columns)
        if date_column not in table:
            raise UserError(
                f"{path}: there is no column {date_column!r} ({typed.name('date')}); it has {has}"
            )
        if tables and set(table.columns) != set(tables[0].columns):
            before = ", ".join(tables[0].columns)
            raise UserError(f"{path}: its columns are {has}, and those of the files before {before}")
        tables.append(table)
    if not tables:
        raise UserError("the tables hold no row; there is nothing to cut")
    return pd.concat(tables)
