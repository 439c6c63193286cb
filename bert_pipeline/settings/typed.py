"""The command as a user typed it, and the commands and options that messages tell to type: by make or by Python.

A hint that leaves out `OUT=` leads to another folder, and one that names `--label` is of little use to who typed
`make`. What a process was started with is kept here once, by `remembered`; every hint is written by `command`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

# Set by the Makefile for the verbs that it starts.
BY_MAKE = "BERT_PIPELINE_BY_MAKE"

_PAST = {"task": "TASK", "out": "OUT", "metadata": "METADATA"}
_TASK = {**_PAST, "data": "DATA", "span": "SPAN", "verbose": "V"}

# Each verb's options to make's variables; "" are the words behind the verb. What is not here goes into ARGS.
VARIABLES: dict[str, dict[str, str]] = {
    "pipeline": {**_TASK, "window": "WINDOW"},
    "new-task": {"name": "NAME", "data": "DATA", "out": "OUT"},
    "schema": _TASK,
    "lineage": {**_PAST, "": "VERSION"},
    "compare": {**_PAST, "": "RUNS"},
    "tensorboard": {**_PAST, "port": "PORT"},
    "report": {**_PAST, "": "RUN"},
    "rollback": {**_PAST, "to": "VERSION", "reason": "REASON"},
    "gc": {**_PAST, "keep": "KEEP", "yes": "YES"},
    "skew": {**_TASK, "csv": "CSV"},
    "label": {**_TASK, "texts": "FILE", "to": "TO"},
    "serve": {"task": "TASK", "out": "OUT", "rest_port": "REST_PORT", "grpc_port": "GRPC_PORT", "log": "LOG"},
    "monitor": {**_TASK, "labels": "LABELS", "context": "CONTEXT"},
    "predict": {
        "task": "TASK",
        "out": "OUT",
        "rest_port": "REST_PORT",
        "text": "TEXT",
        "file": "FILE",
        "id_column": "ID",
    },
}
# What goes from one command into the next: the task and its place, the window, and single settings (`--set`).
_CARRIED = ("task", "out", "data", "metadata", "window", "set")
_WITH_SETTINGS = ("pipeline", "schema", "skew", "label", "monitor")
_DEFAULTS = {"task": "shoes", "out": "out", "data": "", "metadata": "", "window": ""}
_PYTHON = "python -m bert_pipeline"


@dataclasses.dataclass(frozen=True)
class Typed:
    """What a process was started with."""

    by_make: bool = True
    verb: str = ""
    carried: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """Options that later commands need as well, and that are not at their defaults."""


_typed = Typed()  # of a notebook or a test: make's form, and nothing to carry


@contextlib.contextmanager
def remembered(arguments: argparse.Namespace, *, by_make: bool) -> Iterator[None]:
    """Keeps what was typed, for the messages of a verb while it runs.

    Args:
        arguments: the parsed command line; reads `verb` and the options that are carried, where they are there.
        by_make: the user typed `make VERB`.
    """
    global _typed
    carried = {}
    for option, default in _DEFAULTS.items():
        value = str(getattr(arguments, option, None) or default)
        if value != default and not (arguments.verb == "new-task" and option == "data"):
            carried[option] = (value,)
    if settings := tuple(getattr(arguments, "overrides", ())):
        carried["set"] = settings
    before, _typed = _typed, Typed(by_make, arguments.verb, carried)
    try:
        yield
    finally:
        _typed = before


def command(verb: str, *words: str, **options: str | None) -> str:
    """A command to type, with the task, folders and settings of this one.

    Args:
        verb: of the command line.
        words: what stands behind the verb, such as a version.
        options: further ones by name, `_` for `-`; a value of None for one that takes none. `task` stands in where
            none was typed.

    Example:
        >>> command("serve", task="toy")
        'make serve TASK=toy'
        >>> command("new-task", label="...")
        'make new-task ARGS="--label ..."'
    """
    known = VARIABLES.get(verb, _PAST if verb == "upgrade-metadata" else {})
    given: dict[str, tuple[str | None, ...]] = {option: (value,) for option, value in options.items()}
    for option in _CARRIED:
        if option in _typed.carried and (option in known or (option == "set" and verb in _WITH_SETTINGS)):
            given[option] = _typed.carried[option]
    given = {o: v for o, v in given.items() if not (o in _DEFAULTS and v == (_DEFAULTS[o],))}
    given = {option: given[option] for option in sorted(given, key=_place)}
    if not _typed.by_make or verb not in VARIABLES:
        return _by_python(verb, words, given)
    texts, rest = [], []
    for option, values in given.items():
        for value in values:
            if variable := known.get(option, ""):
                texts.append(f"{variable}={_quoted(value) if value is not None else 1}")
            else:
                rest.append(_flag(option, value))
    if words:
        texts.append(f"{known.get('', 'ARGS')}={_quoted(' '.join(words))}")
    return " ".join(["make", verb, *texts, *([_args(rest)] if rest else [])])


def _by_python(verb: str, words: tuple[str, ...], given: Mapping[str, tuple[str | None, ...]]) -> str:
    python = f".venv/bin/{_PYTHON}" if _typed.by_make else _PYTHON
    action = ("review",) if verb == "schema" else ()
    flags = [_flag(option, value) for option, values in given.items() for value in values]
    return " ".join([python, verb, *action, *map(_quoted, words), *flags])


def _place(option: str) -> tuple[int, str]:
    return (_CARRIED.index(option) if option in _CARRIED[:-1] else len(_CARRIED), "")


def _quoted(text: str) -> str:
    return shlex.quote(without_password(text))


def _flag(option: str, value: str | None) -> str:
    name = _python_name(option)
    if value is None:
        return name
    return f"{name}={_quoted(value)}" if value.startswith("-") else f"{name} {_quoted(value)}"


def _args(flags: list[str]) -> str:
    """ARGS of make, which the shell reads once more."""
    text = " ".join(flags)
    return f'ARGS="{text}"' if not re.search(r'["$`\\!]', text) else f"ARGS={shlex.quote(text)}"


def without_password(text: str) -> str:
    """An address as messages may show it: `mysql://ann:...@host/db`; any other text as it is."""
    return re.sub(r"^(\w+://[^:/]*):.*@", r"\1:...@", text, flags=re.DOTALL)


def _python_name(option: str) -> str:
    # argparse's names have dashes, those of the server and the client underscores.
    return (
        f"--{option}"
        if option in ("rest_port", "grpc_port", "id_column")
        else f"--{option.replace('_', '-')}"
    )


def name(option: str, *, verb: str = "") -> str:
    """How an option of the running verb is called where it was typed: `KEEP` or `--keep`.

    Args:
        option: its name, `_` for `-`.
        verb: instead of the running one.
    """
    variable = VARIABLES.get(verb or _typed.verb, _PAST).get(option, "") if _typed.by_make else ""
    return variable or _python_name(option)


def data() -> str:
    """How the data of a new task is called: `DATA` or `--data`."""
    return name("data", verb="new-task")


def new_name() -> str:
    """How the name of a new task is called: `NAME` or `--name`."""
    return name("name", verb="new-task")


def give(option: str, value: str | None = "...", *, verb: str = "") -> str:
    """How an option of the running verb is given: `KEEP=3`, `ARGS="--label stars"` or `--label stars`.

    Args:
        option: its name, `_` for `-`.
        value: None for an option that takes none.
        verb: instead of the running one.
    """
    if not _typed.by_make:
        return _flag(option, value)
    called = name(option, verb=verb)
    if called.startswith("--"):
        return _args([_flag(option, value)])
    return f"{called}={_quoted(value) if value is not None else 1}"


def task() -> str:
    """The task as it was typed; empty where none was."""
    return _typed.carried.get("task", ("",))[0]


def missing_run(folder: Path) -> str:
    """The sentence where nothing has run in a folder yet."""
    return (
        f"there is no {folder}: no run was made here yet; {command('pipeline')} first, or give {give('out')}"
    )
