"""What is wrong, or odd, with a data set: empty cells, duplicates, contradictions, leaks between splits."""

from __future__ import annotations

import collections
import dataclasses
import unicodedata
from collections.abc import Iterator

from bert_pipeline.new_task.roles import Roles
from bert_pipeline.new_task.tables import Table


@dataclasses.dataclass(frozen=True)
class Note:
    """One thing that was found."""

    sentence: str
    sample: str = ""
    """A text it is seen on; for the terminal, and never for a file that is committed."""


def without_empty_rows(table: Table, roles: Roles) -> tuple[Table, int]:
    """The table without rows that lack a text or the label, which no run accepts; and how many those were."""
    needed = [table.columns.index(name) for name in (*roles.text, roles.label)]
    rows = tuple(row for row in table.rows if all(row[i].strip() for i in needed))
    left_out = len(table.rows) - len(rows)
    kept = Table(table.columns, rows, table.told, table.readable and not left_out)
    return kept, left_out


def findings(tables: dict[str, Table], roles: Roles) -> Iterator[Note]:
    """What a person should know before training."""
    keys = {split: _keys(table, roles) for split, table in tables.items()}
    for split, labels_of in keys.items():
        num_rows = sum(sum(labels.values()) for labels in labels_of.values())
        extra = num_rows - len(labels_of)
        if extra:
            yield Note(f"{split}: {extra:,} of {num_rows:,} texts stand there more than once")
        contradicted = [key for key, labels in labels_of.items() if len(labels) > 1]
        if contradicted:
            sentence = f"{split}: {len(contradicted):,} texts stand there with different labels"
            yield Note(sentence, _shorten(contradicted[0]))
    if {"train", "eval"} <= set(keys):
        leaks = keys["train"].keys() & keys["eval"].keys()
        if leaks:
            share = len(leaks) / len(keys["eval"])
            sentence = (
                f"eval has {len(leaks):,} texts ({share:.1%}) of train: it flatters the model by so many"
            )
            yield Note(sentence, _shorten(min(leaks)))
        yield from _unknown_labels(keys)


def _unknown_labels(keys: dict[str, dict[str, collections.Counter[str]]]) -> Iterator[Note]:
    labels = {
        split: {label for counts in labels_of.values() for label in counts}
        for split, labels_of in keys.items()
    }
    missing = sorted(labels["eval"] - labels["train"])
    if missing:
        yield Note(f"train has no example of {', '.join(missing)}, which eval has: the model cannot learn it")


def _keys(table: Table, roles: Roles) -> dict[str, collections.Counter[str]]:
    """Text, without its case and spacing, to its labels."""
    text = [table.columns.index(name) for name in roles.text]
    label = table.columns.index(roles.label)
    found: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in table.rows:
        found["\x1f".join(_normal(row[i]) for i in text)][row[label]] += 1
    return dict(found)


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _shorten(key: str) -> str:
    text = key.replace("\x1f", " | ")
    return repr(text if len(text) <= 60 else text[:57] + "...")
