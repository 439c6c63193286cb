"""Chooses training settings from the size and lengths of a data set, and writes the task file with reasons."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from bert_pipeline.judging import power
from bert_pipeline.judging.comparisons import DEFAULT_CONFIDENCE
from bert_pipeline.new_task.roles import Roles, words
from bert_pipeline.new_task.tables import Table

# WordPiece tokens per word or mark: 1.25 covers noisy text in the vocabulary of bert-base-uncased.
_TOKENS_PER_WORD = 1.25
_LENGTHS = (32, 64, 96, 128, 192, 256, 384, 512)
# Share of the texts that must fit without truncation.
_FITTING = 0.99
_MAX_SAMPLE = 5000
# Training speed of the default encoder in tokens/s, float32 on two EPYC vCPUs: 72 shoe reviews of 37 tokens on average.
# From this many minutes on, a note gives the expected time.
_TOKENS_A_SECOND = 2_700
_LONG_MINUTES = 15

# `data.hash_buckets` of a data set without splits.
_EVAL_SHARE = 0.2

# Maximum difference of a label's share between splits for writing an expected share.
_SHARE_DIFFERENCE = 0.07
# Longer lines are split to one value per line.
_WIDTH = 110
_ENCODER = (
    "[encoder]",
    'handle = "all-MiniLM-L6-v2"  # small and fast; any BERT of TF Hub, Kaggle or Hugging Face will do',
    'pooling = "mean"',
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the task file except the columns."""

    labels: tuple[str, ...]
    label_shares: dict[str, float]
    """Empty to skip the check."""

    max_seq_length: int
    epochs: int
    batch_size: int
    learning_rate: float
    num_tokens: int
    """Approximate training tokens over all epochs."""

    num_eval: int
    """Approximate number of eval texts for the gates."""

    macro_f1_floor: float
    class_weights: str
    why: dict[str, str]

    @property
    def long_training(self) -> str:
        """A note if training takes long without a GPU, else empty."""
        minutes = self.num_tokens / _TOKENS_A_SECOND / 60
        if minutes < _LONG_MINUTES:
            return ""
        return (
            f"training reads about {self.num_tokens / 1e6:.1f} million tokens: some {minutes:.0f} minutes on two CPU "
            f"cores; a smaller text.max_seq_length than {self.max_seq_length} or fewer training.epochs shorten it"
        )


def choose_settings(tables: dict[str, Table], roles: Roles) -> Settings:
    """Chooses settings; sizes and rates follow the shipped tasks (data/README.md has their scores).

    Args:
        tables: by split.
        roles: of the columns.
    """
    counts = {split: table.counts(roles.label) for split, table in tables.items()}
    main = counts.get("train") or counts["all"]
    labels = sorted(set().union(*counts.values()), key=_label_key)
    num_rows = main.total()
    lengths = _lengths(tables.get("train") or tables["all"], roles)
    length, length_why = _max_seq_length(lengths)
    epochs, batch_size, rate, training_why = _rates(num_rows, num_labels=len(labels))
    rarest = min(main.values()) / num_rows
    imbalanced = rarest * len(labels) < 0.1
    shares, shares_why = _shares(counts, main, labels)
    return Settings(
        labels=tuple(labels),
        label_shares=shares,
        max_seq_length=length,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=rate,
        num_tokens=round(epochs * num_rows * sum(min(n, length) for n in lengths) / len(lengths)),
        num_eval=counts["eval"].total() if "eval" in counts else round(num_rows * _EVAL_SHARE),
        macro_f1_floor=round(1 / len(labels) + 0.05, 2),
        class_weights="balanced" if imbalanced else "none",
        why={"max_seq_length": length_why, "training": training_why, "label_shares": shares_why},
    )


def _label_key(label: str) -> tuple[bool, float, str]:
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (False, number, label) if math.isfinite(number) else (True, 0.0, label)


def _lengths(table: Table, roles: Roles) -> list[float]:
    """Approximate token counts of a sample of the examples, special tokens included, in ascending order."""
    indices = [table.columns.index(name) for name in roles.text]
    step = max(1, len(table.rows) // _MAX_SAMPLE)
    return sorted(
        sum(len(words(row[i])) for i in indices) * _TOKENS_PER_WORD + 1 + len(indices)
        for row in table.rows[::step]
    )


def _max_seq_length(lengths: Sequence[float]) -> tuple[int, str]:
    wanted = lengths[min(int(len(lengths) * _FITTING), len(lengths) - 1)]
    length = next((n for n in _LENGTHS if n >= wanted), _LENGTHS[-1])
    cut = sum(n > length for n in lengths) / len(lengths)
    median = lengths[len(lengths) // 2]
    return (
        length,
        f"about {median:.0f} tokens in the middle, {wanted:.0f} at the 99th percentile; {cut:.1%} are cut",
    )


def _rates(num_rows: int, *, num_labels: int) -> tuple[int, int, float, str]:
    """Epochs, batch size, learning rate."""
    if num_labels > 20:
        return 5, 32, 2e-4, f"{num_labels} labels want more steps and a higher rate"
    if num_rows < 2_500:
        return 4, 16, 1e-4, "few examples: small batches, more epochs"
    if num_rows < 6_000:
        return 4, 32, 5e-5, "some thousand examples"
    return 2, 32, 5e-5, "many examples: two epochs do"


def _shares(
    counts: dict[str, collections.Counter[str]], main: collections.Counter[str], labels: Sequence[str]
) -> tuple[dict[str, float], str]:
    if len(labels) > 20:
        return {}, "too many labels to bound each one's share"
    shares = {label: round(main[label] / main.total(), 3) for label in labels}
    for split, found in counts.items():
        for label in labels:
            difference = abs(found[label] / found.total() - shares[label])
            if difference > _SHARE_DIFFERENCE:
                return {}, f"the share of {label!r} differs by {difference:.2f} in {split}: not bounded"
    return shares, "as in the data; a run stops when one lies 0.15 off"


@dataclasses.dataclass(frozen=True)
class Place:
    """Location of the data."""

    path: str
    """`data.path`."""

    data_format: str
    """`data.format`."""

    files: Mapping[str, str]
    """`data.files`."""

    origin: str
    """Origin, for the header."""


def task_text(
    name: str, *, today: date, place: Place, roles: Roles, settings: Settings, notes: Sequence[str]
) -> str:
    """The text of a task file.

    Args:
        name: of the task.
        today: for the header.
        place: of the data.
        roles: of the columns.
        settings: the other settings.
        notes: findings in the data, for the header.
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
        *_entry("labels", settings.labels),
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
    """The smallest drop that the gate detects on this number of eval texts."""
    level = 1 - DEFAULT_CONFIDENCE
    # Assumed, as in `make error-rates`: only one of the two models is correct on 15 % of the texts.
    different = round(0.15 * settings.num_eval)
    smallest = power.smallest_share_drop(settings.num_eval, different, level=level, allowed=0.02)
    if math.isinf(smallest):
        return f"{settings.num_eval:,} eval texts see no drop"
    return f"{settings.num_eval:,} eval texts see one of {smallest:.2f} four times in five"


def _comment(text: str) -> str:
    """Makes a text with user-provided names safe for a comment: one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _entry(key: str, values: Sequence[str]) -> Iterator[str]:
    line = f"{key} = {_value(list(values))}"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"{key} = ["
    yield from (f"  {_value(value)}," for value in values)
    yield "]"


def _value(value: str | list[str]) -> str:
    """A string or a list of strings as TOML, which has the same notation as JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
