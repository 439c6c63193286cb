"""The parts of a page (text, tables, plots, quotes) and their rendering as one self-contained HTML file."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from typing import ClassVar, TypeAlias

import jinja2

from bert_pipeline.report.source import Source


@dataclasses.dataclass(frozen=True)
class Pre:
    """Preformatted text."""

    text: str
    label: str
    """Label for a screen reader."""
    kind: ClassVar[str] = "pre"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose first column is the row header."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False
    """Whether it is collapsed at first."""
    words: bool = False
    """Whether its cells are words, aligned left, or numbers."""
    kind: ClassVar[str] = "table"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A plot with its finding in words and its numbers."""

    svg: str
    """The SVG written by matplotlib."""
    finding: str
    """The finding in words; also the alternative text."""
    numbers: Table
    kind: ClassVar[str] = "figure"

    @property
    def address(self) -> str:
        """The plot as a data URI, so its ids and styles stay out of the page."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"


@dataclasses.dataclass(frozen=True)
class Quote:
    """One example of the data."""

    title: str
    texts: tuple[tuple[str, str], ...]
    """Name of the column and text."""
    facts: tuple[tuple[str, str], ...]
    """Names and values of its facts."""
    kind: ClassVar[str] = "quote"


# A str is a paragraph; several are a list.
Block: TypeAlias = str | tuple[str, ...] | Pre | Table | Figure | Quote


@dataclasses.dataclass(frozen=True)
class Part:
    """A subsection with a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the page; an empty one states why."""

    id: str
    title: str
    blocks: tuple[Block, ...] = ()
    parts: tuple[Part, ...] = ()


def share(value: float | None) -> str:
    """0.12345 -> `12.3 %`; None and NaN: `-`."""
    return "-" if value is None or value != value else f"{value:.1%}".replace("%", " %")


def number(value: float | None) -> str:
    """0.12345 -> `0.123`; None and NaN: `-`."""
    return "-" if value is None or value != value else f"{value:.3f}"


def count(value: float) -> str:
    """1234 -> `1,234`."""
    return f"{value:,.0f}"


def environment() -> jinja2.Environment:
    """Loads the templates beside this file; escapes HTML but not Markdown, and raises on undefined names."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("bert_pipeline.report"),
        autoescape=jinja2.select_autoescape(("html.j2", "html")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )


def as_html(source: Source, headline: str, sections: Sequence[Section]) -> str:
    """The page.

    Args:
        source: of the run.
        headline: one word for the outcome of the run.
        sections: of the page, in order.
    """
    template = environment().get_template("report.html.j2")
    return template.render(
        headline=headline,
        task=source.history.task,
        description=source.settings.get("description", ""),
        run=source.run.number,
        when=source.run.name[:16].replace("T", " "),
        sections=sections,
    )
