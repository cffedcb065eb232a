"""What the pictures with axes share: colours, a place to draw, and panels below it.

Colours are Okabe and Ito's, told apart by colour-blind readers; whatever must be told apart differs
in line or marker as well, so that a picture printed in grey says the same.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, SKY, VERMILION, GREEN = "#0072B2", "#56B4E9", "#D55E00", "#009E73"
BLACK, GREY, SHADE = "#000000", "#6e6e6e", "#e9e9e9"

GAP = 0.04  # between a panel and the one below it, in heights of both

MANY_POINTS = 5000  # more of them are a bitmap, also in SVG and PDF


class Picture(Figure):
    """A Figure that pyplot does not know, and that a notebook shows all the same."""

    def _repr_png_(self) -> bytes:
        target = io.BytesIO()
        self.savefig(target, format="png")
        return target.getvalue()


def new_figure(**options: Any) -> Picture:
    """A Picture with a canvas; options are those of a Figure."""
    figure = Picture(**options)
    FigureCanvasAgg(figure)
    return figure


def place(ax: Axes | None, height: float = 1.0, least: float = 0.0) -> Axes:
    """`ax`, or the Axes of a new Figure that pyplot does not know, of the size that rcParams say,
    `height` times as high and at least `least` inches. ValueError for anything else."""
    if ax is None:
        figure = new_figure(layout="constrained")
        figure.set_figheight(max(figure.get_figheight() * height, least))
        return figure.add_subplot()
    if not isinstance(ax, Axes):
        raise ValueError(
            f"ax must be a matplotlib Axes, or None for a new one, got {type(ax).__name__}; of a "
            "Figure, pass figure.add_subplot()"
        )
    return ax


def panel_below(ax: Axes, share: float = 0.28) -> Axes:
    """An Axes below `ax` with the same x; together they take the room that `ax` had.

    share: of that room, for the new one.
    """
    spec = ax.get_subplotspec()
    if spec is not None:
        upper, lower = spec.subgridspec(2, 1, height_ratios=(1 - share, share), hspace=2 * GAP)
        ax.set_subplotspec(upper)
        panel = ax.figure.add_subplot(lower, sharex=ax)
    else:
        box = ax.get_position()
        low, high = share - GAP / 2, share + GAP / 2
        ax.set_position((box.x0, box.y0 + high * box.height, box.width, (1 - high) * box.height))
        panel = ax.figure.add_axes((box.x0, box.y0, box.width, low * box.height), sharex=ax)
    ax.tick_params(labelbottom=False)
    ax.set_xlabel("")
    return panel


def size_of(ax: Axes) -> tuple[float, float]:
    """Width and height of the Axes in inches, once the figure's layout has been worked out."""
    ax.figure.canvas.figure.draw_without_rendering()
    box = ax.get_window_extent()
    return float(box.width / ax.figure.dpi), float(box.height / ax.figure.dpi)


def count_x(ax: Axes) -> None:
    """Ticks of x at whole numbers."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def finite(*columns: Any) -> tuple[np.ndarray, ...]:
    """The columns, [n] each, without the rows in which one is not finite."""
    table = np.array([np.asarray(column, dtype=float) for column in columns])
    return tuple(table[:, np.isfinite(table).all(0)])
