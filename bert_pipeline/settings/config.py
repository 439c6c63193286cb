"""Task file -> typed settings, strictly; and the paths of a run.

A task file is TOML with one table per section of `sections.TaskConfig`. What it may hold is
read off the dataclasses, so a field is declared in one place only.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from bert_pipeline.settings import checks, sections, typed
from bert_pipeline.settings.errors import UserError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT_ROOT = Path(__file__).resolve().parents[2]
TASKS_DIR = PROJECT_ROOT / "bert_pipeline" / "tasks"


@dataclasses.dataclass(frozen=True)
class LoadedTask:
    """A task with the files it came from."""

    task: sections.TaskConfig
    path: Path
    """The task file."""

    data_dir: Path
    """Absolute folder of the data, after `DATA=`."""

    @property
    def schema_path(self) -> Path:
        """The curated schema, kept beside the task file."""
        return self.path.with_suffix(".schema.pbtxt")


def load_task(
    name: str,
    *,
    data: str = "",
    span: int | None = None,
    window: int | None = None,
    overrides: Sequence[str] = (),
) -> LoadedTask:
    """Reads a task file.

    Args:
        name: the name of a file in `tasks/` (`shoes`), or a path to a .toml file.
        data: data folder that replaces `data.path`; relative to the working folder.
        span: span that replaces `data.span`.
        window: number of spans that replaces `data.window`.
        overrides: `section.key=value` settings for this run, value in TOML's notation.

    Raises:
        UserError: there is no such file, or it holds an unknown key, a wrong type or a bad value.
    """
    path = _task_path(name)
    values = read_toml(path)
    for override in overrides:
        _apply_override(values, override)
    if span is not None:
        values.setdefault("data", {})["span"] = span
    if window is not None:
        values.setdefault("data", {})["window"] = window
    task = parse_task(values, source=str(path))
    data_dir = Path(data).resolve() if data else (PROJECT_ROOT / task.data.path).resolve()
    if not data_dir.is_dir():
        fix = f"give the folder with {typed.give('data')}" if not data else "give an existing folder"
        raise UserError(f"data.path: there is no folder {data_dir}; {fix} (it must hold {_wanted(task)})")
    return LoadedTask(task=task, path=path, data_dir=data_dir)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, unchecked.

    Raises:
        UserError: it is none; says where.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a TOML file: {error}") from error


def task_settings(name: str) -> sections.TaskConfig:
    """A task file's settings as they stand there; the data need not be there.

    Args:
        name: as in `load_task`.

    Raises:
        UserError: as `load_task`, but for the data folder.
    """
    path = _task_path(name)
    return parse_task(read_toml(path), source=str(path))


def task_name(name: str) -> str:
    """The `name` of a task file, which names its output folder; the data need not be there.

    Args:
        name: as in `load_task`.
    """
    path = _task_path(name)
    found = read_toml(path).get("name") or path.stem
    try:
        checks.check_name(found)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return str(found)


def _wanted(task: sections.TaskConfig) -> str:
    return ", ".join(task.data.files.values())


def _task_path(name: str) -> Path:
    path = Path(name) if name.endswith(".toml") else TASKS_DIR / f"{name}.toml"
    if path.is_file():
        return path.resolve()
    known = sorted(p.stem for p in TASKS_DIR.glob("*.toml"))
    near = nearest(name, known)
    meant = f"; did you mean {near}?" if near else ""
    raise UserError(f"there is no task {name!r} ({path}); known tasks: {', '.join(known)}{meant}")


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    *parents, last = key.strip().split(".")
    if not separator or not parents or not all([*parents, last]):
        raise UserError(f"setting {override!r} is not of the form section.key=value")
    try:
        parsed = tomllib.loads(f"x = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    for depth, parent in enumerate(parents, start=1):
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            table = ".".join(parents[:depth])
            raise UserError(
                f"setting {override!r}: {table} has no keys; set {table} itself, in TOML's notation"
            )
    values[last] = parsed["x"] if list(parsed) == ["x"] else text


def parse_task(values: Mapping[str, Any], *, source: str) -> sections.TaskConfig:
    """Builds a task out of the tables of a TOML file.

    Args:
        values: the parsed file.
        source: name of the file, for messages.

    Raises:
        UserError: names the key, the value and the fix.
    """
    try:
        # As JSON, where pydantic's strict mode takes lists for tuples; what JSON lacks, TOML's dates, fits no field.
        text = json.dumps(values, default=lambda value: {"": str(value)})
        task = task_type().validate_json(text, strict=True)
        checks.check_task(task)
    except pydantic.ValidationError as error:
        raise UserError(f"{source}: {_sentence(error.errors(), values)}") from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    return task


@functools.cache  # 0.1 s
def task_type() -> pydantic.TypeAdapter[sections.TaskConfig]:
    """What pydantic makes of the dataclasses: validates, and gives their JSON schema."""
    return pydantic.TypeAdapter(sections.TaskConfig)


# What pydantic calls a value of a wrong type, in TOML's words; its own for all others.
_WANTED = {
    "dataclass": "a table",
    "dict": "a table",
    "tuple": "a list",
    "string": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
}


def _sentence(errors: Sequence[Any], values: Any) -> str:
    """What pydantic found, in one sentence with key, value and fix: the first unknown key, else the first error."""
    error = next((each for each in errors if each["type"] == "unexpected_keyword_argument"), errors[0])
    *parents, last = location = error["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)[1:]
    if error["type"] == "missing":
        return f"missing key {key}; every task needs it"
    if error["type"] == "unexpected_keyword_argument":
        known = [field.name for field in dataclasses.fields(_section(parents))]
        if near := nearest(last, known):
            return f"unknown key {key}; did you mean {key.removesuffix(last)}{near}?"
        return f"unknown key {key}; known here: {', '.join(sorted(known))}"
    for part in location:
        values = values[part] if isinstance(values, dict | list) else values
    if wanted := _WANTED.get(error["type"].partition("_")[0]):
        return f"{key} must be {wanted}, and is {values!r}"
    return f"{key} is {values!r}; it must be {error['msg'].removeprefix('Input should be ')}"


def _section(location: Sequence[str | int]) -> Any:
    """The dataclass of a table: of a section, or of an item of a list of tables."""
    found: Any = sections.TaskConfig
    for part in location:
        found = typing.get_args(found)[0] if isinstance(part, int) else typing.get_type_hints(found)[part]
    return found


def line_of(path: Path, key: str) -> str:
    """Where a key stands in a task file, for messages: `tasks/shoes.toml:12 (data.labels)`.

    Args:
        path: a task file.
        key: `section.name`.
    """
    section, _, name = key.rpartition(".")
    table = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        header = re.match(r"\s*\[+([^\]]+)\]+", line)
        table = header.group(1).strip() if header else table
        if table == section and re.match(rf"\s*{re.escape(name)}\s*=", line):
            return f"{short(path)}:{number} ({key})"
    return f"{short(path)} ({key}, not set there)"


def short(path: Path) -> str:
    """A path as a message shows it: below the project relative to it."""
    return str(path.relative_to(PROJECT_ROOT)) if path.is_relative_to(PROJECT_ROOT) else str(path)
