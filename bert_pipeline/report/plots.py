"""matplotlib's figures as the page has them: SVG whose letters are text, on white paper."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence

import matplotlib
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), darker; a plot's paper is white in the dark as well.
SERIES = ("#0072b2", "#c04f00", "#00805c", "#a8568a", "#8a6d00", "#2a8fc4", "#4d4d4d", "#7a3db8")

_WIDTH = 460.0
_POINTS_AN_INCH = 72.0
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # the same plot is the same file
    "text.parse_math": False,  # a dollar in a label or a slice is a dollar
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


@contextlib.contextmanager
def plot(*, height: float, width: float = _WIDTH) -> Iterator[tuple[Figure, io.StringIO]]:
    """A matplotlib figure to draw in, and the file that holds its SVG after the block; sizes are in points."""
    size = (width / _POINTS_AN_INCH, height / _POINTS_AN_INCH)
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's fonts draw the letters; matplotlib's own, which may lack some, only measures them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        drawn, svg = Figure(figsize=size, layout="constrained"), io.StringIO()
        yield drawn, svg
        drawn.savefig(svg, format="svg", metadata={"Date": None})


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names the rows of a plot, the first on top."""
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def short(name: str, *, letters: int = 30) -> str:
    """A name that has its place in a plot; the table beneath has all of it."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"
