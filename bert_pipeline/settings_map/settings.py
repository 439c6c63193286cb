"""Every setting of a task file, read off the JSON schema that pydantic makes of them; the verb `settings`."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterator
from typing import Any

from bert_pipeline.settings import config, sections
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
    whole = config.task_type().json_schema()
    return list(_settings(sections.TaskConfig, {**whole["$defs"], "TaskConfig": whole}, prefix=""))


def _settings(cls: type, schemas: dict[str, Any], *, prefix: str) -> Iterator[Setting]:
    properties = schemas[cls.__name__]["properties"]
    for field in dataclasses.fields(cls):
        schema, key = properties[field.name], prefix + field.name
        item = schema.get("items", {})
        if "$ref" not in schema:
            meaning = " ".join(schema["description"].split())
            yield Setting(key, _type_name(schema), _default(field), meaning, tuple(schema.get("enum", ())))
        if reference := schema.get("$ref") or item.get("$ref"):
            inner = getattr(sections, reference.rpartition("/")[2])
            yield from _settings(inner, schemas, prefix=f"{key}[]." if item else f"{key}.")


def _type_name(schema: dict[str, Any]) -> str:
    """A type of JSON Schema in TOML's words."""
    if "anyOf" in schema:  # a value, or null where it is left out
        return _type_name(schema["anyOf"][0])
    if "$ref" in schema:
        return "table"
    if inner := schema.get("items"):
        return f"list of {_type_name(inner)}s"
    if inner := schema.get("additionalProperties"):
        return f"table of {_type_name(inner).partition(' ')[0]}s"
    return str(schema["type"])


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
