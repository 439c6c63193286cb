"""Whether the first record of a table names its columns, judged by the types and lengths of all columns together."""

from __future__ import annotations

import collections
import itertools
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "category",
    "target",
    "sentiment",
    "intent",
    "topic",
    "y",
    "gold",
    "answer",
)
TEXT_NAMES = (
    "text", "sentence", "review", "comment", "message", "body", "content", "tweet", "question", "utterance",
    "document", "description", "title", "headline", "premise", "query", "abstract", "sms",
)  # fmt: skip
# Other names that headers often have.
_OTHER_NAMES = (
    "id", "uid", "index", "stars", "rating", "score", "polarity", "emotion", "tag", "tags", "date", "day", "time",
    "timestamp", "created", "user", "author", "name", "url", "lang", "language", "source", "channel", "split",
)  # fmt: skip
# Points of evidence for a header, summed over the columns. From _SURE on it is one, from -_SURE on it is none.
_SURE = 2.0
_NUMBER = re.compile(r"[-+]?(\d[\d.,]*|\.\d+)(e[-+]?\d+)?%?", re.IGNORECASE)
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*")
# Records that are looked at.
_MAX_RECORDS = 5000
# Share of the cells that must be of a type for the column to be of it.
_NEARLY_ALL = 0.95


def has_header(records: Sequence[Sequence[str]], *, path: Path) -> bool:
    """Whether the first of some records is a header.

    Raises:
        UserError: it may be either; shows both readings and the option that settles it.
    """
    first, rest = records[0], records[1 : _MAX_RECORDS + 1]
    if not rest:
        return True
    points = sum(_points(cell, [record[i] for record in rest], place=i) for i, cell in enumerate(first))
    if abs(points) >= _SURE:
        return points > 0
    shown = ", ".join(repr(cell if len(cell) <= 40 else cell[:37] + "...") for cell in first)
    raise UserError(
        f"{typed.data()}: {path}: the first record ({shown}) may name the columns or be a row of them; say which: "
        f"{typed.give('header', 'yes')} (columns of these names) or {typed.give('header', 'no')} (a row; the "
        "columns are then column_1, column_2, ...)"
    )


def _points(cell: str, column: Sequence[str], *, place: int) -> float:
    """Evidence of one column: above 0 for a header, below 0 for a row."""
    cell, filled = cell.strip(), [value.strip() for value in column if value.strip()]
    if not cell:
        # What DataFrame.to_csv() writes over its index; or a column that holds nothing at all.
        return 3.0 if place == 0 and _counts_up(filled) else 0.0
    named = 3.0 * is_named(cell, (*LABEL_NAMES, *TEXT_NAMES, *_OTHER_NAMES))
    if not filled:
        return named
    kind, rest_kind = _kind(cell), _kind_of_all(filled)
    if rest_kind:
        return named + (-3.0 if kind == rest_kind else 2.0)
    return named + (1.5 if kind else _text_points(cell, filled))


def _text_points(cell: str, filled: Sequence[str]) -> float:
    counts = collections.Counter(filled)
    if cell in counts:
        return -2.5
    words = statistics.mean(len(value.split()) for value in filled)
    if len(counts) > 0.5 * len(filled) and words >= 3:  # texts, mostly different
        if len(cell.split()) >= 0.5 * words:
            return -2.0
        return 1.5 if len(cell.split()) <= 2 else 0.0
    # Values that come again and again, and this one never.
    return 2.0 if len(filled) >= 20 and min(counts.values()) >= 2 else 1.0


def _kind(cell: str) -> str:
    return "number" if _NUMBER.fullmatch(cell) else "date" if _DATE.fullmatch(cell) else ""


def _kind_of_all(filled: Sequence[str]) -> str:
    kind, count = collections.Counter(map(_kind, filled)).most_common(1)[0]
    return kind if count >= _NEARLY_ALL * len(filled) else ""


def _counts_up(filled: Sequence[str]) -> bool:
    """0, 1, 2, ... or from 1 on, as an index is; rows may be missing."""
    numbers = [int(value) for value in filled if value.isdecimal()]
    return len(numbers) == len(filled) > 0 and all(a < b for a, b in itertools.pairwise(numbers))


def named_columns(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[int], list[str]]:
    """The places of the columns that have a name, and a word on each that was left out for lack of one.

    A column without a name is left out where it is an index or holds nothing; else it stays, and has none.
    """
    kept, told = [], []
    for i, name in enumerate(columns):
        filled = [row[i] for row in rows if row[i].strip()]
        if name.strip():
            kept.append(i)
        elif not filled:
            told.append(f"column {i + 1}, empty and without a name, left out")
        else:
            what = "an index" if _counts_up(filled) else f"such as {filled[0][:20]!r}"
            told.append(f"column {i + 1}, without a name ({what}), left out")
    return kept, told


def is_named(name: str, names: Sequence[str]) -> float:
    """1 for such a name, 0.5 where one of its parts is: `review_text`."""
    name = name.strip().lower()
    parts = re.split(r"[^a-z]+", name)
    return 1.0 if name in names else 0.5 if set(parts) & set(names) else 0.0
