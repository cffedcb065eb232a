"""How much each input matters, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kansym.views.axes import BLUE, place
from kansym.views.text import name_label, set_words

MOST_BARS = 30

ROW = 0.25  # inches for a bar

NAME_LENGTH = 32


def plot_features(
    scores: Any,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
    most: int = MOST_BARS,
    label: str = "importance",
) -> Axes:
    """Horizontal bars, the greatest at the top.

    scores: [n], not negative; one that is not finite counts as 0. names: [n], or None for x1, x2,
    ... most: bars; a line says how many inputs are left out. Raises ValueError for bad arguments.
    """
    values = np.nan_to_num(np.asarray(scores, dtype=float), nan=0.0, posinf=0.0)
    if values.ndim != 1 or not len(values) or (values < 0).any():
        raise ValueError(f"scores must be [n], at least one and none negative, got {scores!r}")
    if names is not None and (isinstance(names, str) or len(names) != len(values)):
        raise ValueError(f"names must be a list of {len(values)} names, got {names!r}")
    order = np.argsort(-values, kind="stable")[:most]
    ax = place(ax, 0.5, ROW * len(order) + 1.0)
    rows = np.arange(len(order))
    bars = ax.barh(rows, values[order], height=0.7, color=BLUE)
    ax.bar_label(bars, [f"{value:.2g}" for value in values[order]], padding=3, size="small")
    shown = [str(names[n]) if names is not None else f"x{n + 1}" for n in order]
    labels = [name_label(name, NAME_LENGTH) for name in shown]
    ax.set_yticks(rows, [text for text, _ in labels])
    for tick, (text, is_math), name in zip(ax.get_yticklabels(), labels, shown, strict=True):
        set_words(tick, text, is_math, name)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_xlim(left=0)
    left_out = len(values) - len(order)
    ax.set_xlabel(f"{label}: {len(order)} of {len(values)} inputs" if left_out else label)
    return ax
