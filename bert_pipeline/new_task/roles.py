"""What each column of a table holds; which is the text, which the label, which are slices, and why."""

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

# Share of the values that must read as dates, or as numbers, for the column to be one.
_NEARLY_ALL = 0.95
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
_DATE_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z",
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y%m%d", "%a %b %d %H:%M:%S %z %Y",
)  # fmt: skip
# Words and single marks: close to what a WordPiece tokenizer makes of common words.
_WORD = re.compile(r"\w+|[^\w\s]")
# Two columns that are read together, the shorter one first.
_PAIRS = (
    (r"(.*?)_?1", r"\1_?2"), (r"(.*?)_?a", r"\1_?b"), (r"(.+)", r"\1_b"), (r"(.+)", r"\1_pair"),
    (r"premise", r"hypothesis"), (r"title|headline|subject", r"description|body|text|content|abstract"),
    (r"question|query", r"answer|passage|sentence|context|document"),
)  # fmt: skip

# More labels than this, or fewer rows a label, and a column is taken for something else.
_MAX_LABELS, _MIN_ROWS_PER_LABEL = 500, 4
_MAX_SLICES, _MAX_SLICE_VALUES = 3, 50
# Columns that a sentence lists.
_NUM_LISTED = 12
# Why a column that the user named has its role.
_NAMED = "you named it"
# By how much the best candidate must lead for the choice to be clear; a name is worth 3.
_CLEAR = 1.0


@dataclasses.dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    num_rows: int
    num_filled: int
    counts: collections.Counter[str]
    """Of the values that are not empty."""

    mean_words: float
    """Of the values that are not empty."""

    is_date: bool
    is_number: bool

    @property
    def num_distinct(self) -> int:
        """Different values."""
        return len(self.counts)

    @property
    def entropy(self) -> float:
        """In bits, of the values' shares."""
        shares = [count / self.num_filled for count in self.counts.values()]
        return -sum(share * math.log2(share) for share in shares)


def profile(table: Table) -> list[Column]:
    """Looks at each column of a table."""
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
    """Looks no further than it must: no date takes a hundred times as long to tell as a date."""
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
    """Empty: there is none."""

    why: dict[str, str]
    """Role to reason."""


def choose(
    columns: Sequence[Column], *, text: Sequence[str] = (), label: str = "", slices: Sequence[str] = ()
) -> Roles:
    """Gives each column its role.

    Args:
        columns: of the training table.
        text: one or two columns; empty: to be found.
        label: empty: to be found.
        slices: empty: to be found.

    Raises:
        UserError: a named column is not there, or it is not clear which one is meant; names the candidates.
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
    """The label's column and why it is that."""
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
    """The text's one or two columns and why they are that."""
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
    """The columns to slice by and why they are that."""
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
    """The candidate that leads clearly, and the words for those that it was taken before."""
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
