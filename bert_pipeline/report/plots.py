"""matplotlib -> SVG that stands in a page: its colours are the page's, light or dark, and its ids are its own."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator

import matplotlib
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure

# Stand-ins that matplotlib draws with; in the SVG each becomes a colour of the page (report.css), so that one plot
# serves light and dark. INK is the colour of the text around the plot.
INK, FAINT, PAPER = "#010203", "#010204", "#010205"
SERIES = tuple(f"#0a0b{i:02x}" for i in range(1, 9))
_OF_PAGE = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    PAPER: "var(--paper)",
    **{color: f"var(--series-{i})" for i, color in enumerate(SERIES, start=1)},
}

# Points; a page shows it up to 1.4 times as wide, and a phone at four fifths.
WIDTH = 460.0
_POINTS_AN_INCH = 72.0

# Series are told apart by these as well: a reader may see no colours.
DASHES = ("-", "--", ":", "-.")
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "++++", "oooo", "----")

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a label or a slice is a dollar
    "font.size": 11,
    "axes.titlesize": 12,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "hatch.linewidth": 0.6,
}


class Plot:
    """A figure that is being drawn, and its SVG afterwards."""

    def __init__(self, figure: Figure) -> None:
        """Takes matplotlib's figure."""
        self.figure = figure
        self.svg = ""


@contextlib.contextmanager
def plot(name: str, *, height: float) -> Iterator[Plot]:
    """A plot of `height` points; its `svg` is there after the block.

    Args:
        name: prefix of its ids; unique in the page.
        height: in points, beside a width of `WIDTH`.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        size = (WIDTH / _POINTS_AN_INCH, height / _POINTS_AN_INCH)
        drawn = Plot(Figure(figsize=size, layout="constrained"))
        with warnings.catch_warnings():
            # The page's fonts draw the letters; matplotlib's own, which may lack some, only measures them.
            warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
            yield drawn
            file = io.StringIO()
            drawn.figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    drawn.svg = page_svg(file.getvalue(), name=name)


def page_svg(svg: str, *, name: str) -> str:
    """Matplotlib's SVG file -> an element for a page: no fonts, colours, namespaces or ids of its own.

    Args:
        svg: as matplotlib wrote it.
        name: prefix of the ids that stay because something refers to them.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'^<svg[^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg)
    svg = re.sub(r"font: ([^;\"]*?)(\d+(?:\.\d+)?px)[^;\"]*", r"font-size: \2", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for color, of_page in _OF_PAGE.items():
        svg = svg.replace(color, of_page)
    wanted = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in wanted else "", svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    return re.sub(r"\n\s*", "\n", svg).strip()


def short(name: str, *, letters: int = 30) -> str:
    """A name that has its place in a plot; the table beneath has all of it."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"
