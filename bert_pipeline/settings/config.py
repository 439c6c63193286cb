"""Task file -> typed settings, strictly; and the paths of a run.

A task file is TOML with one table per section of `bert_task.TaskConfig`. What it may hold is
read off the dataclasses, so a field is declared in one place only.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bert_task

from bert_pipeline.settings import checks, typed
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

    task: bert_task.TaskConfig
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


def task_settings(name: str) -> bert_task.TaskConfig:
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


def _wanted(task: bert_task.TaskConfig) -> str:
    return ", ".join(task.data.files.values())


def _task_path(name: str) -> Path:
    path = Path(name) if name.endswith(".toml") else TASKS_DIR / f"{name}.toml"
    if path.is_file():
        return path.resolve()
    known = sorted(p.stem for p in TASKS_DIR.glob("*.toml"))
    raise UserError(
        f"there is no task {name!r} ({path}); known tasks: {', '.join(known)}{_did_you_mean(name, known)}"
    )


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


def parse_task(values: Mapping[str, Any], *, source: str) -> bert_task.TaskConfig:
    """Builds a task out of the tables of a TOML file.

    Args:
        values: the parsed file.
        source: name of the file, for messages.

    Raises:
        UserError: names the key, the value and the fix.
    """
    try:
        task = _build(bert_task.TaskConfig, values, prefix="")
        checks.check_task(task)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    return task


def _build(cls: type, values: Any, *, prefix: str) -> Any:
    """Builds a dataclass from a table; `prefix` is the key of that table."""
    if not isinstance(values, Mapping):
        raise UserError(f"{prefix} must be a table, and is {values!r}")
    dot = f"{prefix}." if prefix else ""
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            raise UserError(f"unknown key {dot}{key}{_hint(key, fields, prefix=dot)}")
    built = {}
    for name, field in fields.items():
        if name in values:
            built[name] = _convert(hints[name], values[name], key=dot + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"missing key {dot}{name}; every task needs it")
    return cls(**built)


def _convert(wanted: Any, value: Any, *, key: str) -> Any:
    """Checks one value against its field's type; lists become tuples."""
    origin, args = typing.get_origin(wanted), typing.get_args(wanted)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return _build(wanted, value, prefix=key)
    if origin is tuple:
        if not isinstance(value, list):
            raise UserError(f"{key} must be a list, and is {value!r}")
        return tuple(_convert(args[0], item, key=f"{key}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{key} must be a table, and is {value!r}")
        return {k: _convert(args[1], v, key=f"{key}.{k}") for k, v in value.items()}
    if origin in (types.UnionType, typing.Union):
        wanted = next(a for a in args if a is not type(None))
    return _convert_scalar(wanted, value, key=key)


def _convert_scalar(wanted: type, value: Any, *, key: str) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    names = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
    raise UserError(f"{key} must be {names[wanted]}, and is {value!r}")


def _hint(key: str, known: typing.Iterable[str], *, prefix: str = "") -> str:
    known = list(known)
    return _did_you_mean(key, known, prefix=prefix) or f"; known here: {', '.join(sorted(known))}"


def _did_you_mean(key: str, known: Sequence[str], *, prefix: str = "") -> str:
    near = nearest(key, known)
    return f"; did you mean {prefix}{near}?" if near else ""


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
