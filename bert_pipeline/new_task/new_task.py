"""The verb `new-task`: writes a task file and a first schema for a data set, and explains its choices."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

from bert_pipeline.new_task import converted_data, findings, roles, sources, task_file
from bert_pipeline.new_task.findings import Note
from bert_pipeline.new_task.tables import AS_FOUND, Reading, Table
from bert_pipeline.settings import config, typed
from bert_pipeline.settings.errors import UserError, is_full_disk
from bert_pipeline.settings.paths import run_paths

# Folder for data that the pipeline cannot read as it is.
DATA_DIR = config.PROJECT_ROOT / "data"


@dataclasses.dataclass(frozen=True)
class LabelChoice:
    """Options for labels."""

    merge: bool = False
    """Whether to merge labels that differ only in case, blanks or notation."""

    dropped: tuple[str, ...] = ()
    """Labels whose rows are dropped."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Arguments of `new-task`."""

    name: str
    data: str
    text: tuple[str, ...]
    label: str
    slice: tuple[str, ...]
    out: Path
    force: bool
    header: str | None
    """yes or no; None to detect."""

    encoding: str
    """Empty to detect."""

    merge_labels: bool
    drop_label: tuple[str, ...]


def run(request: Request) -> int:
    """Runs the verb: `--name --data [--text C [--text C]] [--label C] [--slice C] [--header yes|no] ...`.

    Returns:
        0.

    Raises:
        UserError: the data cannot be read, a column is ambiguous, or the task already exists.
    """
    name = request.name
    path = write_task(
        name,
        data=request.data,
        chosen=(request.text, request.label, request.slice),
        force=request.force,
        reading=Reading(None if request.header is None else request.header == "yes", request.encoding),
        labels=LabelChoice(request.merge_labels, request.drop_label),
        say=lambda line: print("".join(c if c.isprintable() else " " for c in line)),
    )
    try:
        _write_schema(name, out=request.out)
    except Exception as error:
        if not is_full_disk(error):
            raise
        raise UserError(
            f"the disk of {request.out} is full, so that no schema was inferred; {config.short(path)} is written and "
            f"stays: free some room, then {typed.command('pipeline', task=name)}, which begins with the schema"
        ) from error
    print(f"\nnext      read {config.short(path)}, then: {typed.command('pipeline', task=name)}")
    return 0


def _write_schema(name: str, *, out: Path) -> None:
    """Infers the first schema with the same components as the task's first run."""
    from bert_pipeline.settings.run_log import run_log

    paths = run_paths(name, out=out)
    with run_log(paths.logs / "new-task.log", verbose=False):
        from bert_pipeline.running import steps

        steps.infer_schema(steps.Place.of(paths), config.load_task(name))


def write_task(
    name: str,
    *,
    data: str,
    chosen: tuple[tuple[str, ...], str, tuple[str, ...]] = ((), "", ()),
    force: bool = False,
    reading: Reading = AS_FOUND,
    labels: LabelChoice = LabelChoice(),
    tasks_dir: Path = config.TASKS_DIR,
    data_dir: Path = DATA_DIR,
    say: Callable[[str], None],
) -> Path:
    """Inspects a data set and writes `tasks/NAME.toml`; writes converted data to `data/NAME/`.

    Args:
        name: of the task: letters, digits and _.
        data: file, folder, or `hf:HANDLE`.
        chosen: text columns, label column and slice columns named by the user; empty to detect.
        force: replaces a task of that name, and keeps its files as `.bak`.
        reading: the user's options for reading files.
        labels: the user's options for labels.
        tasks_dir: folder of task files.
        data_dir: folder for converted data.
        say: prints a line.

    Returns:
        The task file.

    Raises:
        UserError: as `main`; nothing was written.
    """
    target = _target(name, tasks_dir=tasks_dir, force=force)
    source = sources.read_source(data, reading=reading, say=say)
    found, tables, notes, picked = _look(source, chosen, labels)
    converted = data_dir / name
    convert = source.folder is None or any(not table.readable for table in tables.values())
    if convert:
        converted_data.check_ours(converted)
    place = _place(source, tables, converted=converted if convert else None)
    sentences = [note.sentence for note in notes]
    text = task_file.task_text(
        name, today=date.today(), place=place, roles=found, settings=picked, notes=sentences
    )
    partial = target.with_suffix(".partial")
    try:
        with _disk_of(target):
            partial.write_text(text, encoding="utf-8")
        config.parse_task(config.read_toml(partial), source=str(target))
        _tell(name, source=source, found=found, picked=picked, notes=notes, say=say)
        if convert:
            with _disk_of(converted):
                converted_data.write(tables, folder=converted)
            say(
                f"data      written to {config.short(converted)} as UTF-8 CSV; it is not committed with the project"
            )
        _put(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    say(f"task      {config.short(target)}")
    return target


@contextlib.contextmanager
def _disk_of(path: Path) -> Iterator[None]:
    """Names the file that could not be written on a full disk, because the system's error does not."""
    try:
        yield
    except OSError as error:
        if not is_full_disk(error):
            raise
        raise UserError(
            f"the disk is full: {config.short(path)} could not be written; free some room, and give the same command "
            "again"
        ) from error


def _look(
    source: sources.Source, chosen: tuple[tuple[str, ...], str, tuple[str, ...]], labels: LabelChoice
) -> tuple[roles.Roles, dict[str, Table], list[Note], task_file.Settings]:
    """The columns' roles, the remaining rows, the findings, and the resulting settings."""
    main_table = source.tables.get("train") or source.tables["all"]
    found = roles.choose(roles.profile(main_table), text=chosen[0], label=chosen[1], slices=chosen[2])
    tables, notes = _clean(_with_labels(source.tables, found, labels), found)
    notes += [*findings.label_notes(tables, found.label), *findings.findings(tables, found)]
    picked = task_file.choose_settings(tables, found)
    notes += [Note(picked.long_training)] if picked.long_training else []
    if len(picked.labels) < 2:
        raise UserError(
            f"{typed.give('label', found.label)}: it has one value only, {picked.labels[0]!r}; name another column"
        )
    return found, tables, notes, picked


def _place(source: sources.Source, tables: dict[str, Table], *, converted: Path | None) -> task_file.Place:
    """The pipeline's data folder: converted, or the original."""
    if converted is None:
        assert source.folder is not None
        return task_file.Place(config.short(source.folder), source.data_format, source.files, source.origin)
    files = {split: f"{split}.csv" for split in tables}
    return task_file.Place(config.short(converted), "csv", files, source.origin)


def _put(partial: Path, target: Path) -> None:
    """Writes a task file; keeps a replaced one and its schema as `.bak`."""
    for old in (target, target.with_suffix(".schema.pbtxt")):
        if old.exists():
            old.replace(old.with_name(old.name + ".bak"))
    partial.replace(target)


def _with_labels(tables: dict[str, Table], found: roles.Roles, choice: LabelChoice) -> dict[str, Table]:
    tables = findings.without_labels(tables, found.label, choice.dropped) if choice.dropped else tables
    return findings.merged_labels(tables, found.label) if choice.merge else tables


def _clean(given: dict[str, Table], found: roles.Roles) -> tuple[dict[str, Table], list[Note]]:
    """Drops rows that no run accepts; returns the tables and a note on each with dropped rows."""
    tables: dict[str, Table] = {}
    notes: list[Note] = []
    for split, table in given.items():
        tables[split], left_out = findings.without_empty_rows(table, found)
        if left_out:
            notes.append(Note(f"{split}: {left_out:,} rows without text or label were left out"))
        if not tables[split].rows:
            raise UserError(
                f"{typed.data()}: no row of {split} has both {', '.join(found.text)} and {found.label}"
            )
    return tables, notes


def _target(name: str, *, tasks_dir: Path, force: bool) -> Path:
    """The path of the task file to write."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,99}", name):
        raise UserError(
            f"{typed.new_name()} is {name!r}; use letters, digits and _, at most 100, and begin with a letter"
        )
    target = tasks_dir / f"{name}.toml"
    if target.exists() and not force:
        raise UserError(
            f"{typed.new_name()}: there is a task {name} already ({config.short(target)}); take another, or add "
            f"{typed.give('force', None)}"
        )
    return target


def _tell(
    name: str,
    *,
    source: sources.Source,
    found: roles.Roles,
    picked: task_file.Settings,
    notes: list[Note],
    say: Callable[[str], None],
) -> None:
    say(f"new task {name}")
    for line in source.told:
        say(f"data      {line}")
    say(f"text      {', '.join(found.text)}: {found.why['text']}")
    say(f"label     {found.label}: {found.why['label']}")
    main = source.tables.get("train") or source.tables["all"]
    counts = main.counts(found.label)
    say(
        "          "
        + ", ".join(f"{label} {count / counts.total():.1%}" for label, count in counts.most_common(8))
    )
    say(f"slices    {', '.join(found.slices) or 'none'}: {found.why['slices']}")
    if found.date and not any("{SPAN}" in pattern for pattern in source.files.values()):
        say(f"date      {found.date}: `{typed.command('spans', date=found.date)}` cuts the table by it")
    say(f"length    max_seq_length {picked.max_seq_length}: {picked.why['max_seq_length']}")
    say(f"training  {picked.epochs} epochs, batches of {picked.batch_size}, rate {picked.learning_rate:g}: "
        f"{picked.why['training']}")  # fmt: skip
    for note in notes:
        say(f"note      {note.sentence}" + (f"; for example {note.sample}" if note.sample else ""))
