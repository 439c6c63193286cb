"""Finds the text, label and slice columns of a table, with reasons."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime

from bert_pipeline.new_task.tables import LABEL_NAMES, TEXT_NAMES, Table, is_named
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

# Minimum share of values that parse as dates or numbers for a column of that type.
_NEARLY_ALL = 0.95
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
_DATE_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z",
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y%m%d", "%a %b %d %H:%M:%S %z %Y",
)  # fmt: skip
# Words and single marks: close to WordPiece tokens of common words.
_WORD = re.compile(r"\w+|[^\w\s]")
# Column pairs that form a pair of texts, the shorter one first.
_PAIRS = (
    (r"(.*?)_?1", r"\1_?2"), (r"(.*?)_?a", r"\1_?b"), (r"(.+)", r"\1_b"), (r"(.+)", r"\1_pair"),
    (r"premise", r"hypothesis"), (r"title|headline|subject", r"description|body|text|content|abstract"),
    (r"question|query", r"answer|passage|sentence|context|document"),
)  # fmt: skip

# A column with more labels than this, or fewer rows per label, is not the label.
_MAX_LABELS, _MIN_ROWS_PER_LABEL = 500, 4
_MAX_SLICES, _MAX_SLICE_VALUES = 3, 50
# Number of columns to list in a message.
_NUM_LISTED = 12
# Reason for a column that the user named.
_NAMED = "you named it"
# Minimum lead of the best candidate for a clear choice; a matching name scores 3.
_CLEAR = 1.0


@dataclasses.dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    num_rows: int
    num_filled: int
    counts: collections.Counter[str]
    """Counts of the non-empty values."""

    mean_words: float
    """Mean number of words in the non-empty values."""

    is_date: bool
    is_number: bool

    @property
    def num_distinct(self) -> int:
        """Number of distinct values."""
        return len(self.counts)

    @property
    def entropy(self) -> float:
        """Entropy of the values in bits."""
        shares = [count / self.num_filled for count in self.counts.values()]
        return -sum(share * math.log2(share) for share in shares)


def profile(table: Table) -> list[Column]:
    """Computes statistics of each column of a table."""
    return [_column(name, table.column(name)) for name in table.columns]


def _column(name: str, cells: Sequence[str]) -> Column:
    filled = [cell.strip() for cell in cells if cell.strip()]
    counts = collections.Counter(filled)
    looked_at = filled[:2000]
    return Column(
        name=name,
        num_rows=len(cells),
        num_filled=len(filled),
        counts=counts,
        mean_words=sum(len(words(cell)) for cell in looked_at) / max(len(looked_at), 1),
        is_date=_nearly_all(looked_at, _is_date),
        is_number=_nearly_all(looked_at, lambda cell: bool(_NUMBER.fullmatch(cell))),
    )


def words(text: str) -> list[str]:
    """Words and marks.

    >>> words("Don't!")
    ['Don', "'", 't', '!']
    """
    return _WORD.findall(text)


def _nearly_all(cells: Sequence[str], is_so: Callable[[str], bool]) -> bool:
    """Stops early: rejecting a non-date takes a hundred times as long as parsing a date."""
    others = 0
    for cell in cells:
        others += not is_so(cell)
        if others and (len(cells) - others) / len(cells) < _NEARLY_ALL:
            return False
    return bool(cells)


def _is_date(cell: str) -> bool:
    return any(_reads_as(cell, form) for form in _DATE_FORMATS) if 8 <= len(cell) <= 40 else False


def _reads_as(cell: str, form: str) -> bool:
    try:
        datetime.strptime(cell, form)
    except ValueError:
        return False
    return True


@dataclasses.dataclass(frozen=True)
class Roles:
    """The columns of a task."""

    text: tuple[str, ...]
    label: str
    slices: tuple[str, ...]
    date: str
    """Empty if there is none."""

    why: dict[str, str]
    """Role to reason."""


def choose(
    columns: Sequence[Column], *, text: Sequence[str] = (), label: str = "", slices: Sequence[str] = ()
) -> Roles:
    """Gives each column its role.

    Args:
        columns: of the training table.
        text: one or two columns; empty to detect.
        label: empty to detect.
        slices: empty to detect.

    Raises:
        UserError: a named column does not exist, or the choice is ambiguous; names the candidates.
    """
    by_name = {column.name: column for column in columns}
    for option, names in (("text", text), ("label", [label] if label else []), ("slice", slices)):
        for name in names:
            if name not in by_name:
                raise UserError(
                    f"{typed.name(option)}: there is no column {name!r}; there are {', '.join(by_name)}"
                )
    free = [column for column in columns if column.name not in text]
    label, label_why = (label, _NAMED) if label else _find_label(free)
    free = [column for column in columns if column.name != label]
    chosen, text_why = (tuple(text), _NAMED) if text else _find_text(free)
    rest = [column for column in free if column.name not in chosen]
    found, slices_why = (tuple(slices), "you named them") if slices else _find_slices(rest)
    date = next((column.name for column in rest if column.is_date), "")
    return Roles(chosen, label, found, date, {"text": text_why, "label": label_why, "slices": slices_why})


def _find_label(columns: Sequence[Column]) -> tuple[str, str]:
    """The label column and the reason."""
    none = "no column looks like a label (few values, each often, short); name it with"
    best, before = _pick(columns, _may_be_label, _label_score, option="label", none=none)
    return best.name, f"{best.num_distinct} values" + (f"{before} by its name" if before else "")


def _may_be_label(column: Column) -> bool:
    most = min(_MAX_LABELS, column.num_filled // _MIN_ROWS_PER_LABEL)
    return (
        2 <= column.num_distinct <= most
        and column.mean_words <= 8
        and not column.is_date
        and not (column.is_number and any("." in value for value in column.counts))
    )


def _label_score(column: Column) -> float:
    is_the_label = 2.0 * (
        column.name.lower() in ("label", "labels")
    )  # before a `category` or `class` beside it
    return 3.0 * is_named(column.name, LABEL_NAMES) + is_the_label + 0.5 * (column.num_distinct <= 20)


def _find_text(columns: Sequence[Column]) -> tuple[tuple[str, ...], str]:
    """The one or two text columns and the reason."""
    pair = _find_pair([column.name for column in columns if _may_be_text(column)])
    if pair:
        return pair, "two columns whose names say that they belong together"
    none = "no column looks like text (several words, mostly different); name it with"
    best, before = _pick(columns, _may_be_text, _text_score, option="text", none=none)
    return (best.name,), f"{best.mean_words:.0f} words on average{before}"


def _may_be_text(column: Column) -> bool:
    is_varied = column.mean_words >= 3 and column.num_distinct > 0.3 * column.num_filled
    return is_varied and not column.is_date and not column.is_number


def _text_score(column: Column) -> float:
    return 3.0 * is_named(column.name, TEXT_NAMES) + math.log2(max(column.mean_words, 1))


def _find_pair(names: Sequence[str]) -> tuple[str, str] | None:
    for first_pattern, second_pattern in _PAIRS:
        for first in names:
            match = re.fullmatch(first_pattern, first, re.IGNORECASE)
            if match is None:
                continue
            wanted = second_pattern
            if match.groups():
                wanted = wanted.replace(r"\1", re.escape(match.group(1)))
            for second in names:
                if second != first and re.fullmatch(wanted, second, re.IGNORECASE):
                    return first, second
    return None


def _find_slices(columns: Sequence[Column]) -> tuple[tuple[str, ...], str]:
    """The slice columns and the reason."""
    found = [
        column
        for column in columns
        if 2 <= column.num_distinct <= min(_MAX_SLICE_VALUES, column.num_filled // 10)
        and column.num_filled >= 0.9 * column.num_rows
        and column.mean_words <= 6
        and not column.is_date
    ]
    found.sort(key=lambda column: -column.entropy)
    if not found:
        return (), "no other column has few values"
    shown = found[:_MAX_SLICES]
    return tuple(column.name for column in shown), f"few values each, filled: {_list(shown)}"


def _pick(
    columns: Sequence[Column],
    may_be: Callable[[Column], bool],
    score: Callable[[Column], float],
    *,
    option: str,
    none: str,
) -> tuple[Column, str]:
    """The clear best candidate, and the words for the candidates behind it."""
    ranked = sorted(filter(may_be, columns), key=score, reverse=True)
    if not ranked:
        raise UserError(f"{none} {typed.give(option)}. Columns: {_list(columns)}")
    tied = [column for column in ranked if score(ranked[0]) - score(column) < _CLEAR]
    if len(tied) > 1:
        raise UserError(
            f"it is not clear which column {option} is; name one of {_list(tied)} with {typed.give(option)}"
        )
    others = [column for column in columns if may_be(column) and column is not ranked[0]]
    return ranked[0], f"; before {_list(others)}" if others else ""


def _list(columns: Sequence[Column]) -> str:
    listed = [f"{c.name} ({c.num_distinct} values, {c.mean_words:.0f} words)" for c in columns[:_NUM_LISTED]]
    more = [f"and {len(columns) - _NUM_LISTED:,} more"] if len(columns) > _NUM_LISTED else []
    return ", ".join([*listed, *more])
