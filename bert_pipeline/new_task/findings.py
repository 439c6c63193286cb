"""Problems of a data set: empty cells, duplicates, contradictions, leaks between splits."""

from __future__ import annotations

import collections
import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Sequence

from bert_pipeline.data import table_files
from bert_pipeline.new_task.roles import Roles
from bert_pipeline.new_task.tables import Table
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

# Common markers of missing values; as labels they would become a separate class.
_MISSING = {"nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nil", "-", "?"}


@dataclasses.dataclass(frozen=True)
class Note:
    """One finding."""

    sentence: str
    sample: str = ""
    """A sample text; only for the terminal, never for a committed file."""


def merged_labels(tables: dict[str, Table], label: str) -> dict[str, Table]:
    """Merges labels that differ only in case, blanks or notation to their most common spelling."""
    counts = sum((table.counts(label) for table in tables.values()), collections.Counter[str]())
    spelling = {
        variant: " ".join(variants.most_common(1)[0][0].split())
        for variants in _variants(counts).values()
        for variant in variants
    }
    merged = {}
    for split, table in tables.items():
        place = table.columns.index(label)
        merged[split] = table.with_rows(
            (*row[:place], spelling.get(row[place], ""), *row[place + 1 :]) for row in table.rows
        )
    return merged


def without_labels(tables: dict[str, Table], label: str, dropped: Sequence[str]) -> dict[str, Table]:
    """Drops the rows of some labels.

    Raises:
        UserError: no row has one of these labels.
    """
    for value in dropped:
        if not any(table.counts(label)[value] for table in tables.values()):
            raise UserError(f"{typed.give('drop_label', value)}: no row has this label in column {label}")
    return {
        split: table.with_rows(
            row for row, value in zip(table.rows, table.column(label), strict=True) if value not in dropped
        )
        for split, table in tables.items()
    }


def _variants(counts: collections.Counter[str]) -> dict[str, collections.Counter[str]]:
    """Spellings of each label with counts, which differ in case, blanks, Unicode form or as 1 and 1.0."""
    variants: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for label, count in counts.items():
        key = _normal(label)
        if re.fullmatch(r"[-+]?\d+\.0+", key):
            key = key.partition(".")[0]
        variants[key][label] += count
    return dict(variants)


def label_notes(tables: dict[str, Table], label: str) -> Iterator[Note]:
    """Findings on the labels, each with the option that resolves it.

    Raises:
        UserError: eval has only hidden labels.
    """
    by_split = {split: table.counts(label) for split, table in tables.items()}
    counts = sum(by_split.values(), collections.Counter[str]())
    merge = typed.give("merge_labels", None)
    for variants in _variants(counts).values():
        if len(variants) > 1:
            listed = ", ".join(f"{spelling!r} ({count:,})" for spelling, count in variants.most_common(6))
            yield Note(
                f"labels that differ only in case, blanks or notation: {listed}; {merge} makes one of them"
            )
        elif _is_untidy(next(iter(variants))):
            listed = f"{next(iter(variants))!r} ({variants.total():,})"
            yield Note(f"a label with blanks or line breaks in or around it: {listed}; {merge} tidies it")
    for value, count in sorted(counts.items()):
        if value.strip().casefold() in _MISSING:
            yield Note(
                f"label {value!r} ({count:,}) reads like a missing value; {typed.give('drop_label', value)} leaves its "
                "rows out"
            )
    eval_counts = by_split.get("eval", collections.Counter())
    if (len(eval_counts) == 1 and len(counts) > 2) or set(eval_counts) == {"-1"}:
        only = next(iter(eval_counts))
        raise UserError(
            f"{typed.data()}: every row of eval has the label {only!r}, as a test set with hidden labels does; give "
            "the train "
            "file alone, of which a part is held out, or another eval file"
        )
    if counts["-1"] and "1" not in counts:
        yield Note(
            f"label '-1' ({counts['-1']:,}) is what data sets write for a hidden label; "
            f"{typed.give('drop_label', '-1')} leaves its rows out"
        )
    main = by_split.get("train") or by_split["all"]
    once = sorted(value for value, count in main.items() if count == 1)
    if once:
        listed = ", ".join(repr(value) for value in once[:6]) + (", ..." if len(once) > 6 else "")
        have = "labels have" if len(once) > 1 else "label has"
        yield Note(
            f"{len(once):,} {have} one example only ({listed}), from which nothing is learned; add examples, or leave "
            f"out with {typed.give('drop_label')}"
        )


def _is_untidy(label: str) -> bool:
    return label != " ".join(label.split(" ")).strip() or any(not c.isprintable() for c in label)


def without_empty_rows(table: Table, roles: Roles) -> tuple[Table, int]:
    """Drops rows without a text or the label, which no run accepts; returns the table and their number."""
    needed = [table.columns.index(name) for name in (*roles.text, roles.label)]
    kept = table.with_rows(r for r in table.rows if not any(table_files.is_blank(r[i]) for i in needed))
    return kept, len(table.rows) - len(kept.rows)


def findings(tables: dict[str, Table], roles: Roles) -> Iterator[Note]:
    """Findings to review before training."""
    keys = {split: _keys(table, roles) for split, table in tables.items()}
    for split, labels_of in keys.items():
        num_rows = sum(sum(labels.values()) for labels in labels_of.values())
        extra = num_rows - len(labels_of)
        if extra and split == "all":
            yield Note(
                f"{extra:,} of {num_rows:,} texts occur more than once; copies of a text go to the same side "
                "of the split"
            )
        elif extra:
            yield Note(f"{split}: {extra:,} of {num_rows:,} texts occur more than once")
        contradicted = [key for key, labels in labels_of.items() if len(labels) > 1]
        if contradicted:
            sentence = f"{split}: {len(contradicted):,} texts occur with different labels"
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
    found: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for label, *texts in zip(*map(table.column, (roles.label, *roles.text)), strict=True):
        found["\x1f".join(map(_normal, texts))][label] += 1
    return dict(found)


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _shorten(key: str) -> str:
    text = key.replace("\x1f", " | ")
    return repr(text if len(text) <= 60 else text[:57] + "...")
