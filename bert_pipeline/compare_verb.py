"""The verb `compare`: prints several runs side by side, as a table, as JSON or as CSV."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Iterator, Sequence

from bert_pipeline import typed
from bert_pipeline.compare import Compared, choose, compare
from bert_pipeline.errors import UserError
from bert_pipeline.history import read_history
from bert_pipeline.lineage_text import number
from bert_pipeline.task_store import task_store

_NAME_WIDTH = 26
_WIDTH = 12
# In a word, for the head of a column.
_OUTCOMES = {"in service already": "unchanged", "": "-"}


def main(arguments: argparse.Namespace) -> int:
    """Prints the comparison; returns 0.

    Args:
        arguments: `runs`, `last`, `metrics` (names), `format` (text, json or csv), and those of `task_store`.

    Raises:
        UserError: there is no such run or metric.
    """
    store, paths = task_store(arguments)
    history = read_history(store, task=paths.task_name)
    columns = compare(history, choose(history, arguments.runs, last=arguments.last))
    names = tuple(arguments.metrics.split(","))
    _check_metrics(columns, names)
    if arguments.format == "json":
        print(json.dumps([dataclasses.asdict(column) for column in columns], indent=2, ensure_ascii=False))
    else:
        print(as_csv(columns) if arguments.format == "csv" else as_text(columns, names=names), end="")
    return 0


def _check_metrics(columns: Sequence[Compared], names: Sequence[str]) -> None:
    known = {name for c in columns for values in c.metrics.values() for name in values}
    unknown = [name for name in names if name not in known]
    if known and unknown:
        raise UserError(
            f"{typed.name('metrics')} names {unknown[0]!r}; the runs have {', '.join(sorted(known))}"
        )


def as_text(columns: Sequence[Compared], *, names: Sequence[str]) -> str:
    """A table: runs from left to right, metrics and slices from top to bottom; then the changes."""
    return "\n".join([*_head(columns), *_metric_lines(columns, names), "", *_change_lines(columns)]) + "\n"


def _head(columns: Sequence[Compared]) -> Iterator[str]:
    yield _row("run", [str(c.number) for c in columns])
    yield _row("day", [c.name[:10] for c in columns])
    yield _row("outcome", [_OUTCOMES.get(c.outcome, c.outcome) for c in columns])
    yield _row("version", [c.version or "-" for c in columns])
    yield from _span_rows(columns)


def _span_rows(columns: Sequence[Compared]) -> Iterator[str]:
    """One row; where that would be too wide, as of dates, one row a span, the newest above."""
    cells = [", ".join(c.spans) or "-" for c in columns]
    if all(len(cell) < _WIDTH for cell in cells):
        yield _row("spans", cells)
        return
    rows = itertools.zip_longest(*(reversed(c.spans) for c in columns), fillvalue="")
    for name, row in zip(itertools.chain(["spans"], itertools.repeat("")), rows, strict=False):
        yield _row(name, row).rstrip()


def _metric_lines(columns: Sequence[Compared], names: Sequence[str]) -> Iterator[str]:
    slices = list(dict.fromkeys(name for c in columns for name in c.metrics))
    for name in names:
        yield ""
        for slice_name in slices:
            values = [number(c.metrics.get(slice_name, {}).get(name)) for c in columns]
            yield _row(f"{name}, {slice_name}" if slice_name == "all data" else f"  {slice_name}", values)


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:<{_NAME_WIDTH}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells)


def _change_lines(columns: Sequence[Compared]) -> Iterator[str]:
    for before, column in itertools.pairwise(columns):
        yield f"run {before.number} -> {column.number}"
        yield from (f"  {change}" for change in column.changes or ("nothing changed",))
    yield from (f"run {c.number} stopped: {c.error}" for c in columns if c.error)


def as_csv(columns: Sequence[Compared]) -> str:
    """One row a run, slice and metric, for a spreadsheet or a plot over time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "name", "version", "outcome", "slice", "metric", "value"])
    for c in columns:
        for slice_name, values in c.metrics.items():
            for name, value in sorted(values.items()):
                writer.writerow([c.number, c.name, c.version, c.outcome, slice_name, name, value])
    return text.getvalue()
