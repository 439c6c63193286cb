"""Writes the task file of a new task, each choice with its reason beside it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from bert_pipeline.judging import power
from bert_pipeline.judging.comparisons import DEFAULT_CONFIDENCE
from bert_pipeline.new_task.roles import Roles
from bert_pipeline.new_task.settings import Settings

# A line that is longer is written one value a line.
_WIDTH = 110
_ENCODER = (
    "[encoder]",
    'handle = "all-MiniLM-L6-v2"  # small and fast; any BERT of TF Hub, Kaggle or Hugging Face will do',
    'pooling = "mean"',
)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the data lies."""

    path: str
    """`data.path`."""

    data_format: str
    """`data.format`."""

    files: Mapping[str, str]
    """`data.files`."""

    origin: str
    """Where it came from, for the header."""


def task_text(
    name: str, *, today: date, place: Place, roles: Roles, settings: Settings, notes: Sequence[str]
) -> str:
    """The text of a task file.

    Args:
        name: of the task.
        today: for the header.
        place: of the data.
        roles: of the columns.
        settings: the rest.
        notes: what was found in the data, for the header.
    """
    sections = [
        _header(name, origin=place.origin, today=today, notes=notes),
        [f"name = {_value(name)}", f"description = {_value(f'{roles.label} of {roles.text[0]}')}"],
        _data(place, roles=roles, settings=settings),
        ["[text]", f"max_seq_length = {settings.max_seq_length}  # {settings.why['max_seq_length']}"],
        list(_ENCODER),
        _training(settings),
        _evaluation(roles, settings),
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _header(name: str, *, origin: str, today: date, notes: Sequence[str]) -> list[str]:
    lines = [
        f"# Made by `new-task` on {today.isoformat()} from {_comment(origin)}; yours to edit.",
        "#",
        f"#   make pipeline TASK={name}",
    ]
    if notes:
        lines += ["#", "# Found in the data:", *(f"#   {_comment(note)}" for note in notes)]
    return lines


def _data(place: Place, *, roles: Roles, settings: Settings) -> list[str]:
    files = ", ".join(f"{split} = {_value(file)}" for split, file in place.files.items())
    lines = [
        "[data]",
        f"path = {_value(place.path)}",
        f"text = {_value(list(roles.text))}  # {_comment(roles.why['text'])}",
        f"label = {_value(roles.label)}  # {_comment(roles.why['label'])}",
        *_list("labels", settings.labels),
        f"files = {{ {files} }}",
    ]
    if place.data_format != "csv":
        lines.append(f"format = {_value(place.data_format)}")
    if set(place.files) == {"all"}:
        lines.append("hash_buckets = { train = 4, eval = 1 }  # a fifth of the rows, by a hash, is held out")
    if any("{SPAN}" in file for file in place.files.values()):
        lines.append("span = 0  # the newest")
    if settings.label_shares:
        shares = ", ".join(f"{_value(label)} = {share}" for label, share in settings.label_shares.items())
        lines.append(f"label_shares = {{ {shares} }}  # {_comment(settings.why['label_shares'])}")
    else:
        lines.append(f"# label_shares: {_comment(settings.why['label_shares'])}")
    return lines


def _training(settings: Settings) -> list[str]:
    lines = [
        f"[training]  # {settings.why['training']}",
        f"epochs = {settings.epochs}",
        f"batch_size = {settings.batch_size}",
        f"learning_rate = {settings.learning_rate:g}",
    ]
    if settings.class_weights != "none":
        lines.append(
            f'class_weights = "{settings.class_weights}"  # the rarest label is ten times rarer than an even share'
        )
    return lines


def _evaluation(roles: Roles, settings: Settings) -> list[str]:
    lines: list[str] = []
    if roles.slices:
        lines += [
            "[evaluation]",
            f"slices = {_value(list(roles.slices))}  # {_comment(roles.why['slices'])}",
            "",
        ]
    return [
        *lines,
        "[[evaluation.gates]]",
        'metric = "macro_f1"',
        f"min = {settings.macro_f1_floor}  # above one answer for all; raise it to just under the first run's",
        f"max_drop = 0.02  # below the model in service, where chance does not explain it: {_seen(settings)}",
    ]


def _seen(settings: Settings) -> str:
    """What the gate on a drop sees, on as many eval texts as this set has."""
    level = 1 - DEFAULT_CONFIDENCE
    # Supposed, as in `make error-rates`: one of the two models alone is right on 15 % of the texts.
    different = round(0.15 * settings.num_eval)
    smallest = power.smallest_share_drop(settings.num_eval, different, level=level, allowed=0.02)
    if math.isinf(smallest):
        return f"{settings.num_eval:,} eval texts see no drop"
    return f"{settings.num_eval:,} eval texts see one of {smallest:.2f} four times in five"


def _comment(text: str) -> str:
    """A text that a user's names are part of, for a comment: one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _list(key: str, values: Sequence[str]) -> Iterator[str]:
    line = f"{key} = {_value(list(values))}"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"{key} = ["
    yield from (f"  {_value(value)}," for value in values)
    yield "]"


def _value(value: str | list[str]) -> str:
    """A string or a list of strings as TOML; JSON's notation of them is TOML's, too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
