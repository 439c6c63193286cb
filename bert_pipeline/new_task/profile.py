"""What a column of a table holds: how filled, how varied, how long, a date or not."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime

from bert_pipeline.new_task.tables import Table

# Share of the values that must read as dates, or as numbers, for the column to be one.
_NEARLY_ALL = 0.95
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
_DATE_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z",
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y%m%d", "%a %b %d %H:%M:%S %z %Y",
)  # fmt: skip
# Words and single marks: close to what a WordPiece tokenizer makes of common words.
_WORD = re.compile(r"\w+|[^\w\s]")


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
    return [_column(name, [row[i] for row in table.rows]) for i, name in enumerate(table.columns)]


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
