"""Every setting of a task file, read off the dataclasses and their docstrings; the verb `settings`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
import typing
import warnings
from collections.abc import Iterator
from typing import Any

from bert_pipeline.settings import sections
from bert_pipeline.settings.errors import UserError


@dataclasses.dataclass(frozen=True)
class Setting:
    """One key of a task file."""

    key: str
    """As in `--set`: training.epochs; evaluation.gates[].metric for one of a list of tables."""

    type: str
    default: str
    """In TOML's notation; `required` where there is none, `not set` for None."""

    meaning: str
    """The field's docstring, in one line."""

    choices: tuple[str, ...] = ()
    """The values that it may have, where they are few."""

    @property
    def section(self) -> str:
        """The first part of the key: training; empty for `name` and `description`."""
        return self.key.partition(".")[0] if "." in self.key else ""


def all_settings() -> list[Setting]:
    """Every key, in the order of the dataclasses."""
    return list(_settings(sections.TaskConfig, prefix=""))


def _settings(cls: type, *, prefix: str) -> Iterator[Setting]:
    hints, meanings = typing.get_type_hints(cls), docstrings(cls)
    for field in dataclasses.fields(cls):
        key, hint = prefix + field.name, hints[field.name]
        item = next(iter(typing.get_args(hint)), None) if typing.get_origin(hint) is tuple else None
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from _settings(hint, prefix=f"{key}.")
            continue
        text = meanings.get(field.name, "")
        choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
        yield Setting(key, _type_name(hint), _default(field), text, choices)
        if isinstance(item, type) and dataclasses.is_dataclass(item):
            yield from _settings(item, prefix=f"{key}[].")


def docstrings(cls: type) -> dict[str, str]:
    """The strings under the fields of a dataclass, each in one line.

    Args:
        cls: a class whose source can be read.
    """
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    found: dict[str, str] = {}
    name = ""
    for node in getattr(body, "body", []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            found[name] = " ".join(str(node.value.value).split())
            name = ""
    return found


def _type_name(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        inner = args[0]
        return "list of tables" if dataclasses.is_dataclass(inner) else f"list of {_type_name(inner)}s"
    if origin is dict:
        return "table of tables" if typing.get_origin(args[1]) is dict else f"table of {_type_name(args[1])}s"
    if origin is typing.Literal:
        return "string"
    if args:  # X | None
        return _type_name(next(a for a in args if a is not type(None)))
    return {str: "string", int: "integer", float: "number", bool: "boolean"}[hint]


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return "required"
    if value is None:
        return "not set"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {json.dumps(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What `settings` is asked for."""

    word: str
    """Only keys that have it; empty: all, as the page."""


def run(request: Request) -> int:
    """Prints; returns the exit status.

    Raises:
        UserError: no key has the word.
    """
    if not request.word:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries that TFX imports; nothing to do with this page
            from bert_pipeline.settings_map import page  # it builds graphs, and so imports TFX

        print(page.as_markdown(), end="")
        return 0
    found = [setting for setting in all_settings() if request.word in setting.key]
    if not found:
        raise UserError(
            f"no setting has {request.word!r} in its key; `python -m bert_pipeline settings` lists all"
        )
    for setting in found:
        default = "required" if setting.default == "required" else f"default {setting.default}"
        print(f"{setting.key}  ({setting.type}, {default})\n    {setting.meaning}")
    return 0
