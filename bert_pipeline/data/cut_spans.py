"""The verb `spans`: cuts dated tables into one folder a day, week or month, as the pattern of a task finds them."""

from __future__ import annotations

import collections
import csv
import dataclasses
import datetime
import filecmp
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bert_pipeline.data import table_files
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

FILE_NAME = "rows.csv"

# Dates that a message shows.
_NUM_NAMED = 3

# ISO 8601, and what exports make of it: `2015-02-16 23:36:05 -0800`, `2015-02-16T23:36:05Z`. The day is the one
# that is written, in the zone that it is written in.
_ZONE = r"\s*(?:Z|UTC|GMT|[A-Z]{2,4}T|[+-]\d{2}:?(?:\d{2})?)?"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d(?::(?:[0-5]\d|60)(?:[.,]\d+)?)?" + _ZONE
_DATE = re.compile(rf"(\d{{4}}-\d{{2}}-\d{{2}})(?:[T ]{_TIME})?")

_FIRST_DAYS: dict[str, Callable[[datetime.date], datetime.date]] = {
    "day": lambda day: day,
    "week": lambda day: day - datetime.timedelta(days=day.weekday()),  # Monday
    "month": lambda day: day.replace(day=1),
}

Row = dict[str, bytes]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What `spans` is asked for."""

    csv: tuple[str, ...]
    date: str
    """Name of the column with dates."""

    by: str
    """day, week or month."""

    to: str
    """The folder that gets one folder a span."""


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
    """Writes the rows of some tables into `folder/YYYY-MM-DD/rows.csv`, by date and in their order.

    Everything is written beside `folder` and renamed when it is whole. Spans that are there already stay as they
    are; one that would get other rows is refused, because runs have trained on it.

    Args:
        paths: CSV files with the same columns.
        date_column: the column with dates, ISO 8601: `2025-07-01`, with a time or without.
        by: `day`, `week` (named by its Monday) or `month` (by its first day).
        folder: where to; made if need be.

    Returns:
        Name of each span to its number of rows, the oldest first; those that were there included.

    Raises:
        UserError: a file lacks the column or has other columns, dates cannot be read, a span would change, or `folder`
            is a file.
    """
    folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{typed.name('to')}: {folder} is a file; give a folder")
    spans = _rows_by_span(paths, date_column=date_column, by=by)
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    with tempfile.TemporaryDirectory(dir=there, prefix=".spans-") as partial:
        new = {}
        for name, rows in sorted(spans.items()):
            _write(rows, path=Path(partial) / name / FILE_NAME)
            if not (folder / name).exists():
                new[name] = Path(partial) / name
            elif not _same(folder / name / FILE_NAME, Path(partial) / name / FILE_NAME):
                path = folder / name / FILE_NAME
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
    return {name: len(rows) for name, rows in sorted(spans.items())}


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and filecmp.cmp(one, other, shallow=False)


def span_of(text: str, *, by: str) -> str | None:
    """`2015-02-18 10:00:00 -0800` by week -> `2015-02-16`; None where it is no date."""
    match = _DATE.fullmatch(text.strip())
    try:
        day = datetime.date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None
    return str(_FIRST_DAYS[by](day)) if day else None


def _rows_by_span(paths: Iterable[Path], *, date_column: str, by: str) -> dict[str, list[Row]]:
    spans: dict[str, list[Row]] = collections.defaultdict(list)
    bad: list[str] = []
    for where, row in _rows(paths, date_column=date_column):
        text = row[date_column].decode("utf-8", "replace")
        name = span_of(text, by=by)
        if name is None:
            bad.append(f"{where}: {text[:40]!r}")
        else:
            spans[name].append(row)
    if bad:
        raise UserError(
            f"column {date_column}: {len(bad)} rows have no date, for example {'; '.join(bad[:_NUM_NAMED])}; "
            "write dates as 2025-07-01, with a time behind or without, or drop these rows"
        )
    if not spans:
        raise UserError("the tables hold no row; there is nothing to cut")
    return spans


def _rows(paths: Iterable[Path], *, date_column: str) -> Iterator[tuple[str, Row]]:
    columns: list[str] = []
    for path in paths:
        if not path.is_file():
            raise UserError(f"{typed.name('csv')}: there is no file {path}")
        for number, row in enumerate(table_files.rows_of_csv(path.read_bytes(), path=path), start=1):
            if date_column not in row:
                raise UserError(
                    f"{path}: there is no column {date_column!r} ({typed.name('date')}); it has {', '.join(row)}"
                )
            columns = columns or list(row)
            if set(row) != set(columns):
                raise UserError(
                    f"{path}: its columns are {', '.join(row)}, and those of the files before {', '.join(columns)}"
                )
            yield f"{path.name} row {number}", {name: row[name] for name in columns}


def _write(rows: list[Row], *, path: Path) -> None:
    path.parent.mkdir(parents=True)
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([cell.decode("utf-8", "surrogateescape") for cell in row.values()] for row in rows)
