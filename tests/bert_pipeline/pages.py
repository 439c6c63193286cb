"""Reads a report's page for tests: its outline, its tables, and what a screen reader and a browser would miss."""

from __future__ import annotations

import dataclasses
import html.parser
import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

SECTIONS = [
    "verdict", "metrics", "confusion", "probabilities", "training", "texts", "drift", "examples", "cost",
    "coverage", "lineage", "time", "settings",
]  # fmt: skip

_VOID = {"meta", "link", "br", "img", "hr", "input"}


@dataclasses.dataclass
class Page(html.parser.HTMLParser):
    """What was found while reading; `problems` is empty on a page that anybody can read."""

    text: str

    def __post_init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.ids: list[str] = []
        self.sections: list[str] = []
        self.headings: list[int] = []
        self.landmarks: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.links: list[str] = []
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(self.text)
        self._conclude()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag not in _VOID:
            self._open.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "section":
            self.sections.append(given["id"])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag in ("header", "nav", "main", "footer"):
            self.landmarks.append(tag)
        if tag == "th" and given.get("scope") not in ("col", "row"):
            self.problems.append("a head of a table without scope")
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")
        if tag in ("a", "use"):
            self.links.append(given.get("href", ""))
        if "scroll" in given.get("class", "") and given.get("tabindex") != "0":
            self.problems.append("a keyboard cannot scroll an element")
        if tag == "img" and len(given.get("alt", "")) < 20:
            self.problems.append("a plot that does not say what it shows")
        of_page = tag == "img" and given.get("src", "").startswith("data:")
        if not of_page and ("src" in given or tag in ("script", "img", "link", "iframe", "object")):
            self.problems.append(f"<{tag}> of another file")
        self.problems += [f"{key}={value}" for key, value in given.items() if key.startswith("on")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            if not self._caption:
                self.problems.append("a table without a caption")
            self.tables[self._caption] = self._rows
        if tag in self._open:
            while self._open.pop() != tag:
                self.problems.append(f"something inside <{tag}> is not closed")

    def handle_data(self, data: str) -> None:
        if "caption" in self._open:
            self._caption += data
        elif {"td", "th"} & set(self._open) and self._rows:
            self._rows[-1][-1] += data

    def _conclude(self) -> None:
        jumps = [(a, b) for a, b in zip(self.headings, self.headings[1:], strict=False) if b > a + 1]
        self.problems += [f"h{b} right after h{a}" for a, b in jumps]
        if self.headings.count(1) != 1 or self.headings[0] != 1:
            self.problems.append("not one h1")
        self.problems += [f"id {i} twice" for i in set(self.ids) if self.ids.count(i) > 1]
        inner = re.findall(r"url\(([^)]*)\)", self.text) + self.links
        self.problems += [f"{link} leads outside" for link in inner if not link.startswith("#")]
        self.problems += [f"{link} leads nowhere" for link in inner if link[1:] not in self.ids]
        self.problems += re.findall(r"@import[^;]*", self.text)

    def row(self, caption: str, head: str) -> list[str]:
        """Cells behind a row's head."""
        return next(row[1:] for row in self.tables[caption] if row[0] == head)


def screenshot(page: Path, target: Path, *flags: str) -> str:
    """Takes a picture in headless Chromium; returns what it logs."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--enable-logging=stderr", f"--user-data-dir={target.parent / 'chromium'}"]
    command += [f"--screenshot={target}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
