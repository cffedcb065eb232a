"""Formulas on the front of error against complexity, each with its text beside it.

The right upper half of such a picture is empty: a front falls. So every formula stands to the right
of its point, and moves up, never down, until it is clear of the one below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from kansym.views.axes import BLACK, BLUE, GREY, VERMILION, count_x, place, size_of
from kansym.views.text import TITLE, extent, one_line, set_words

LABEL_SHARE = 0.6  # of the width of the Axes, for the longest formula

LABEL = 10.0  # points

OFFSET = 8.0  # points from a marker to its formula

ROUNDING = 1e-32  # of the greatest loss: less is drawn there, since 0 has no logarithm

MOST_GROWTH = 60


class _Label(NamedTuple):
    text: str
    is_math: bool
    size: float
    width: float  # inches
    height: float


def plot_pareto(
    findings: Sequence[Any],
    chosen: Any = None,
    ax: Axes | None = None,
    latex: Callable[[Any], str] | None = None,
) -> Axes:
    """Held-out loss over complexity, the chosen formula marked by a star and written above.

    findings: records with `complexity`, `loss` and `expr`, such as `Discovery.findings`; those
    whose loss is not finite are left out. chosen: one of them. latex: of an expression; by default
    SymPy's, constants to three digits. In SVG the `<title>` of a label is its full LaTeX.
    Raises ValueError when there is nothing to draw.
    """
    shown = [f for f in findings if math.isfinite(f.loss)]
    if not shown:
        raise ValueError(
            f"findings must hold a formula with a finite loss, got {len(findings)} formulas; give "
            "the search more time"
        )
    shown.sort(key=lambda f: (f.complexity, -f.loss))
    ax = place(ax)
    floor = ROUNDING * (max(f.loss for f in shown) or 1.0)
    x = np.array([f.complexity for f in shown], dtype=float)
    y = np.array([max(f.loss, floor) for f in shown])
    is_chosen = np.array([f is chosen or f == chosen for f in shown])
    ax.set_yscale("log")
    ax.plot(x, y, color=GREY, lw=1.0, ls="--", zorder=1)
    ax.plot(x[~is_chosen], y[~is_chosen], "o", color=BLUE, ms=6, label="on the front", zorder=3)
    if is_chosen.any():
        ax.plot(
            x[is_chosen], y[is_chosen], "*", color=VERMILION, mec=BLACK, mew=0.6, ms=14,
            label="chosen", zorder=3,
        )  # fmt: skip
    ax.set_xlabel("complexity (nodes of the expression)")
    ax.set_ylabel("held-out loss")
    count_x(ax)
    texts = [(latex or _plain_latex)(f.expr) for f in shown]
    if is_chosen.any():
        _set_title(ax, texts[int(np.argmax(is_chosen))])
    _place_labels(ax, x, y, texts)  # last: all else takes room from the Axes
    ax.legend(loc="lower left")
    return ax


def _plain_latex(expr: Any) -> str:
    import sympy

    from kansym.symbolic.formula import round_floats

    return sympy.latex(round_floats(expr, 3), fold_short_frac=False)


def _place_labels(ax: Axes, x: np.ndarray, y: np.ndarray, texts: Sequence[str]) -> None:
    width, height = size_of(ax)
    labels = [_label(text, LABEL_SHARE * width) for text in texts]
    _set_limits(ax, x, y, labels, width, height)
    low, high = np.log(ax.get_ylim())
    level = (np.log(y) - low) / (high - low) * height  # inches above the lower end
    placed = raised(level, [label.height for label in labels], OFFSET / 72)
    for n, label in enumerate(labels):
        note = ax.annotate(
            "", (x[n], y[n]), xytext=(OFFSET, 72 * (placed[n] - level[n])),
            textcoords="offset points", size=label.size, va="bottom", zorder=4,
        )  # fmt: skip
        set_words(note, label.text, label.is_math, texts[n])
        if placed[n] - level[n] > label.height:
            ax.annotate(
                "", (x[n], y[n]), xytext=(OFFSET, 72 * (placed[n] - level[n]) + 3),
                textcoords="offset points", zorder=2,
                arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6},
            )  # fmt: skip


def _set_title(ax: Axes, latex: str) -> None:
    text, is_math, size = one_line(latex, TITLE, size_of(ax)[0])
    set_words(ax.set_title("", size=size), text, is_math, latex)


def _label(latex: str, width: float) -> _Label:
    text, is_math, size = one_line(latex, LABEL, width)
    wide, above, below = extent(text, size, is_math)
    line = 1.2 * size / 72  # matplotlib's least height of a line
    return _Label(text, is_math, size, wide, 1.15 * max(above + below, line))


def raised(level: np.ndarray, heights: Sequence[float], gap: float) -> np.ndarray:
    """Where labels go: each at its level and `gap` / 2, or as much higher as those below it take.

    level, result: [n] inches. No two labels are nearer than the height of the lower one.
    """
    placed = np.empty(len(level))
    free = -math.inf
    for n in np.argsort(level, kind="stable"):
        placed[n] = max(level[n] + gap / 2, free)
        free = placed[n] + heights[n]
    return placed


def _set_limits(
    ax: Axes, x: np.ndarray, y: np.ndarray, labels: Sequence[_Label], width: float, height: float
) -> None:
    """Limits that leave room for all labels, to the right and above."""
    gap = OFFSET / 72
    left, right = x.min() - 0.5, x.max() + 1.0
    for _ in range(MOST_GROWTH):
        left = x.min() - 0.04 * (right - x.min())
        ends = (x - left) / (right - left) * width + gap + [label.width for label in labels]
        if ends.max() <= 0.98 * width:
            break
        right += 0.1 * (right - left)
    heights = [label.height for label in labels]
    low, high = np.log(y.min()), np.log(y.max())
    span = max(high - low, 1.0)
    low, high = low - 0.08 * span, high + 0.08 * span
    for _ in range(MOST_GROWTH):
        placed = raised((np.log(y) - low) / (high - low) * height, heights, gap)
        if (placed + heights).max() <= height:
            break
        high = low + 1.1 * (high - low)
    ax.set_xlim(left, right)
    ax.set_ylim(np.exp(low), np.exp(high))
