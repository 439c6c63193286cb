"""The verb `compare`: runs side by side, their metrics by slice, and the changes from each run to the next."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bert_pipeline.history.names import name_of_span
from bert_pipeline.history.task_store import task_store
from bert_pipeline.judging.sentences import in_table
from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_history import History, Run, read_history
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.requests import PastRequest

# Compared beside the settings: displayed name to property.
_FACTS = {
    "code": run_record.CODE_SHA256,
    "encoder": run_record.ENCODER,
    "encoder sha256": run_record.ENCODER_SHA256,
    "schema": run_record.SCHEMA_SHA256,
    "data": run_record.DATA_DIR,
}


@dataclasses.dataclass(frozen=True)
class Compared:
    """One run, as a column of the table."""

    number: int
    name: str
    outcome: str
    """`pushed`, `refused`, `in service already`, `stopped`; empty if killed or not recorded."""
    version: str
    """The version it pushed; empty if none."""
    spans: tuple[str, ...]
    """Spans of its model's training data, as written by the user."""
    error: str
    """The error that stopped it; empty if it did not stop."""
    metrics: Mapping[str, Mapping[str, float | None]]
    """`all data` and each slice to name to value."""
    changes: tuple[str, ...]
    """Differences from the previous run in the table, one sentence each."""


def choose(history: History, wanted: Sequence[str], *, last: int) -> list[Run]:
    """Returns the runs to compare, oldest first.

    Args:
        history: of the task.
        wanted: numbers, run ids (or prefixes), or versions that a run pushed; empty for the last ones.
        last: number of runs if none are named.

    Raises:
        UserError: a word matches no run, or several.
    """
    if not history.runs:
        raise UserError(
            f"no run of {history.task} got as far as a model; {typed.command('pipeline', task=history.task)} first"
        )
    if not wanted:
        return list(history.runs[-last:])
    chosen = {run.number: run for word in wanted for run in [_run(history, word)]}
    return [chosen[number] for number in sorted(chosen)]


def _run(history: History, word: str) -> Run:
    for run in history.runs:
        if word in (str(run.number), run.name, _version(history, run)):
            return run
    found = [run for run in history.runs if word and run.name.startswith(word)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} runs begin with {word!r}" if found else f"{word!r} names no run of {history.task}"
    known = ", ".join(f"{run.number} ({run.name})" for run in history.runs[-5:])
    raise UserError(f"{what}; the last runs: {known}")


def compare(history: History, runs: Sequence[Run]) -> list[Compared]:
    """Reads each run and its changes."""
    columns: list[Compared] = []
    before: dict[str, Any] | None = None
    for run in runs:
        facts = _facts(history, run)
        columns.append(
            Compared(
                number=run.number,
                name=run.name,
                outcome=str(run.properties.get(run_record.OUTCOME) or ""),
                version=_version(history, run),
                spans=spans(history, run),
                error=str(run.properties.get(run_record.ERROR, "")),
                metrics=run_record.metrics_of(run.properties),
                changes=tuple(_changes(before, facts)) if before is not None else (),
            )
        )
        before = facts
    return columns


def _version(history: History, run: Run) -> str:
    """The version that a run pushed; empty if none."""
    for execution_id in run.executions:
        for artifact_id in history.executions[execution_id].outputs.get("pushed_model", ()):
            push = history.artifacts[artifact_id].properties
            if push.get("pushed") == 1:
                return str(push.get("pushed_version"))
    return ""


def spans(history: History, run: Run) -> tuple[str, ...]:
    """Spans of the training data of the run's model."""
    found = set()
    for execution_id in run.executions:
        execution = history.executions[execution_id]
        if execution.node == "Trainer":
            for artifact_id in execution.inputs.get("examples", ()):
                for ancestor in history.ancestors(artifact_id):
                    found.add(history.artifacts[ancestor].properties.get("span"))
    return tuple(name_of_span(history, span) for span in sorted(int(span) for span in found if span))


def _facts(history: History, run: Run) -> dict[str, Any]:
    facts: dict[str, Any] = {name: run.properties.get(key) for name, key in _FACTS.items()}
    settings = run_record.settings_of(run.properties)
    if span := settings.get("data.span"):  # 0: the newest
        settings["data.span"] = name_of_span(history, int(str(span)))
    return facts | {"spans": spans(history, run)} | settings


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    # A run without records differs from every other in everything, which is not informative.
    if None in (before["code"], after["code"]):
        if before["spans"] != after["spans"]:
            yield _change("spans", before["spans"], after["spans"])
        yield "the rest is not recorded of one of the two"
        return
    for key in sorted({*before, *after}, key=lambda k: (k not in _FACTS and k != "spans", k)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if _is_tables(old) and _is_tables(new):
            yield from _table_changes(key, old or [], new or [])
        else:
            yield _change(key, old, new)


def _is_tables(value: Any) -> bool:
    """Whether the value is a list of tables, such as the gates, or None."""
    return value is None or (isinstance(value, list) and all(isinstance(v, dict) for v in value))


def _table_changes(
    key: str, before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
) -> Iterator[str]:
    """Changes within a list of tables, which are matched by their strings, such as metric and slice."""
    old, new = ({_identity(table): table for table in tables} for tables in (before, after))
    if len(old) < len(before) or len(new) < len(after) or (old == new and before != after):
        yield _change(key, list(before), list(after))  # no strings to match by, or another order
        return
    for name in [*old, *(name for name in new if name not in old)]:
        one, other = old.get(name), new.get(name)
        if one is None or other is None:
            yield f"{key}: {'without' if other is None else 'with'} {run_record.shown(one or other)}"
            continue
        for field in sorted({*one, *other}):
            if one.get(field) != other.get(field):
                yield _change(f"{key} ({', '.join(name)}): {field}", one.get(field), other.get(field))


def _identity(table: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(value for value in table.values() if isinstance(value, str) and value)


def _change(key: str, before: Any, after: Any) -> str:
    return f"{key}: {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    text = run_record.shown(value)
    return text[:12] if len(text) == 64 and text.isalnum() else text  # a hash


_NAME_WIDTH = 26
_WIDTH = 12
# One word for the column header.
_OUTCOMES = {"in service already": "unchanged", "": "-"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(PastRequest):
    """Arguments of `compare`."""

    runs: tuple[str, ...]
    """Numbers, run ids or versions; empty for the last ones."""

    last: int
    metrics: str
    """Names, separated by commas."""

    format: str
    """text, json or csv."""


def run(request: Request) -> int:
    """Prints the comparison; returns 0.

    Raises:
        UserError: no such run or metric.
    """
    store, paths = task_store(request)
    history = read_history(store, task=paths.task_name)
    columns = compare(history, choose(history, request.runs, last=request.last))
    names = tuple(request.metrics.split(","))
    _check_metrics(columns, names)
    if request.format == "json":
        print(json.dumps([dataclasses.asdict(column) for column in columns], indent=2, ensure_ascii=False))
    else:
        print(as_csv(columns) if request.format == "csv" else as_text(columns, names=names), end="")
    return 0


def _check_metrics(columns: Sequence[Compared], names: Sequence[str]) -> None:
    known = {name for c in columns for values in c.metrics.values() for name in values}
    unknown = [name for name in names if name not in known]
    if known and unknown:
        raise UserError(
            f"{typed.name('metrics')} names {unknown[0]!r}; the runs have {', '.join(sorted(known))}"
        )


def as_text(columns: Sequence[Compared], *, names: Sequence[str]) -> str:
    """A table with a column per run and a row per metric and slice; then the changes."""
    return "\n".join([*_head(columns), *_metric_lines(columns, names), "", *_change_lines(columns)]) + "\n"


def _head(columns: Sequence[Compared]) -> Iterator[str]:
    yield _row("run", [str(c.number) for c in columns])
    yield _row("day", [c.name[:10] for c in columns])
    yield _row("outcome", [_OUTCOMES.get(c.outcome, c.outcome) for c in columns])
    yield _row("version", [c.version or "-" for c in columns])
    yield from _span_rows(columns)


def _span_rows(columns: Sequence[Compared]) -> Iterator[str]:
    """One row; if that is too wide, as with dates, one row per span, newest first."""
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
            values = [in_table(c.metrics.get(slice_name, {}).get(name)) for c in columns]
            yield _row(f"{name}, {slice_name}" if slice_name == "all data" else f"  {slice_name}", values)


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:<{_NAME_WIDTH}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells)


def _change_lines(columns: Sequence[Compared]) -> Iterator[str]:
    for before, column in itertools.pairwise(columns):
        yield f"run {before.number} -> {column.number}"
        yield from (f"  {change}" for change in column.changes or ("nothing changed",))
    yield from (f"run {c.number} stopped: {c.error}" for c in columns if c.error)


def as_csv(columns: Sequence[Compared]) -> str:
    """One row per run, slice and metric, for a spreadsheet or a plot over time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "name", "version", "outcome", "slice", "metric", "value"])
    for c in columns:
        for slice_name, values in c.metrics.items():
            for name, value in sorted(values.items()):
                writer.writerow([c.number, c.name, c.version, c.outcome, slice_name, name, value])
    return text.getvalue()
