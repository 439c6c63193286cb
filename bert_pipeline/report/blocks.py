"""What a page is made of: sections of text, lists, tables, plots and quoted texts; no HTML here."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, TypeAlias

from bert_pipeline.judging.sentences import in_table

Cell: TypeAlias = str


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclasses.dataclass(frozen=True)
class List:
    """Sentences, one below the other."""

    items: tuple[str, ...]
    kind: ClassVar[str] = "list"


@dataclasses.dataclass(frozen=True)
class Pre:
    """Text whose line ends matter."""

    text: str
    label: str
    """What it is, for a screen reader."""
    kind: ClassVar[str] = "pre"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose first column heads its rows."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False
    """Shown on demand only."""
    words: bool = False
    """Its cells are words, which stand to the left; else they are numbers."""
    kind: ClassVar[str] = "table"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A plot with what it says in words and its numbers."""

    name: str
    """Unique in the page; the prefix of its ids."""
    svg: str
    """Safe markup of ours."""
    finding: str
    """What one sees in it, in words; the text for who cannot see it."""
    numbers: Table | None = None
    kind: ClassVar[str] = "figure"


@dataclasses.dataclass(frozen=True)
class Quote:
    """One example of the data."""

    title: str
    texts: tuple[tuple[str, str], ...]
    """Name of the column and text."""
    facts: tuple[tuple[str, str], ...]
    """Names and values of what is known of it."""
    kind: ClassVar[str] = "quote"


Block: TypeAlias = Text | List | Pre | Table | Figure | Quote


@dataclasses.dataclass(frozen=True)
class Part:
    """A piece of a section with a heading of its own."""

    title: str
    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the page; an empty one says why it is."""

    id: str
    title: str
    blocks: tuple[Block, ...] = ()
    parts: tuple[Part, ...] = ()


def share(value: float | None) -> str:
    """0.12345 -> `12.3 %`; None and NaN: `-`."""
    return "-" if value is None or value != value else f"{value:.1%}".replace("%", " %")


number = in_table


def count(value: float) -> str:
    """1234 -> `1,234`."""
    return f"{value:,.0f}"
