"""The canvas of figures: one look for all of them, SVG that is the same bytes for the same input.

Colours are told apart by colour-blind readers (Okabe & Ito 2008); lines differ in their strokes too. Text stays text:
it scales, can be searched, and takes the font of the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STROKES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
GREY = "#595959"  # 7:1 on white
MAX_POINTS = 1500  # of a scatter plot: 100 kB of SVG; more would hide each other
MAX_CORNERS = 400  # of a curve

Array = NDArray[np.float64]


def draw_figure(draw: Callable[[Any], None], *, size: tuple[float, float] = (5.6, 3.8), grid: bool = True) -> str:
    """Let `draw` fill the axes of a new figure of `size` inches."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {
        "svg.hashsalt": "graphline",  # the ids of clip paths would be random
        "svg.fonttype": "none",
        "text.parse_math": False,  # a `$` in the name of a target is a dollar
        "font.size": 11.0,
        "axes.grid": grid,
        "axes.axisbelow": True,
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.fontsize": 9.5,
        "legend.framealpha": 0.85,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        text = io.StringIO()
        # no date, no creator: the same picture is the same bytes
        nothing = {key: None for key in ("Date", "Creator", "Format", "Type")}
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return bare_svg(text.getvalue())


def bare_svg(svg: str) -> str:
    """Leave out what stands before the element `svg`: a declaration and a document type with an outside address."""
    return svg[svg.index("<svg") :].strip() + "\n"


def scatter(axes: Any, x: Array, y: Array) -> None:
    shown = np.arange(len(x))
    label = f"{len(x):,} rows"
    if len(x) > MAX_POINTS:
        shown = np.random.default_rng(0).choice(len(x), MAX_POINTS, replace=False)
        label = f"{MAX_POINTS:,} of {len(x):,} rows"
    axes.plot(x[shown], y[shown], "o", color=COLORS[0], markersize=4, alpha=0.45, markeredgewidth=0, label=label)


def thin(x: Array, y: Array) -> tuple[Array, Array]:
    if len(x) <= MAX_CORNERS:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, MAX_CORNERS).astype(np.intp))
    return x[kept], y[kept]


def shorten(text: object, width: int) -> str:
    """One line of at most `width` printable characters."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", str(text)).split())
    return line if len(line) <= width else line[: width - 1] + "…"
