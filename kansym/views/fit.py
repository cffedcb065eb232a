"""Predicted against observed, and what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kansym.views.axes import BLACK, BLUE, MANY_POINTS, finite, panel_below, place
from kansym.views.text import name_label, set_words


def plot_fit(observed: Any, predicted: Any, ax: Axes | None = None, name: str = "") -> Axes:
    """Observed values over predicted ones with the line on which both are equal, and residuals
    (observed - predicted) below; the upper Axes.

    observed, predicted: [n]. Rows in which one is not finite are left out and counted. name: of
    the target. Raises ValueError when the lengths differ or no row is left.
    """
    y, prediction = (np.asarray(values, dtype=float) for values in (observed, predicted))
    if y.ndim != 1 or y.shape != prediction.shape:
        raise ValueError(
            f"observed and predicted must be [n] and equally long, got {y.shape} and "
            f"{prediction.shape}; draw one output at a time"
        )
    x, y = finite(prediction, y)
    if not len(x):
        raise ValueError(
            "observed and predicted must have a row in which both are finite, got none"
        )
    ax = place(ax, 1.2)
    size, alpha = (14, 0.7) if len(x) <= 500 else (5, 0.4)
    points = {"s": size, "alpha": alpha, "color": BLUE, "lw": 0, "rasterized": len(x) > MANY_POINTS}
    ax.scatter(x, y, **points)
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    ax.plot(ends, ends, color=BLACK, lw=1.2, ls="--", label="predicted = observed")
    short, is_math = name_label(name, 40)
    set_words(ax.set_ylabel(""), f"observed {short}".strip(), is_math, f"observed {name}".strip())
    ax.text(0.98, 0.04, summary(y, x, len(prediction)), transform=ax.transAxes, ha="right")
    ax.legend(loc="upper left")
    below = panel_below(ax)
    below.scatter(x, y - x, **points)
    below.axhline(0.0, color=BLACK, lw=1.2, ls="--")
    below.set_ylabel("residual")
    below.locator_params(axis="y", nbins=4)
    below.ticklabel_format(axis="y", scilimits=(-2, 3))
    label = below.set_xlabel("")
    set_words(label, f"predicted {short}".strip(), is_math, f"predicted {name}".strip())
    return ax


def summary(observed: np.ndarray, predicted: np.ndarray, n_rows: int) -> str:
    """Rows, RMSE and R2, and how many of `n_rows` rows were left out."""
    mse = float(np.mean((observed - predicted) ** 2))
    variance = float(np.var(observed))
    parts = [f"{len(observed)} rows", f"RMSE {mse**0.5:.3g}"]
    if variance > 0:
        parts.append(f"$R^2$ {1 - mse / variance:.4g}")
    if n_rows > len(observed):
        parts.append(f"{n_rows - len(observed)} not finite")
    return ", ".join(parts)
