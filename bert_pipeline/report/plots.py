"""matplotlib figures for the page: SVG with text as text, on a white background."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence

import matplotlib
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), darker; plots stay white in dark mode.
SERIES = ("#0072b2", "#c04f00", "#00805c", "#a8568a", "#8a6d00", "#2a8fc4", "#4d4d4d", "#7a3db8")

_WIDTH = 460.0
_POINTS_AN_INCH = 72.0
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # makes the file reproducible
    "text.parse_math": False,  # keeps dollar signs in labels and slices
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
    """Yields a matplotlib figure, and the file that holds its SVG after the block; sizes are in points."""
    size = (width / _POINTS_AN_INCH, height / _POINTS_AN_INCH)
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's fonts draw the text; matplotlib's own, which may lack glyphs, only measures it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        drawn, svg = Figure(figsize=size, layout="constrained"), io.StringIO()
        yield drawn, svg
        drawn.savefig(svg, format="svg", metadata={"Date": None})


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Labels the rows of a plot, first on top."""
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def short(name: str, *, letters: int = 30) -> str:
    """Shortens a name for a plot; the table below shows it in full."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"
