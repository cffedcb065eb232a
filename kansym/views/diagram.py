"""The diagram of a network, in one Axes (Liu et al. 2024, arXiv:2404.19756, fig. 2.4).

Inputs are at the bottom, outputs at the top. Every edge runs through a small box that shows its
curve, and fades with its score: alpha = tanh(beta * score).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from kansym.views.axes import BLUE
from kansym.views.layout import (
    INK,
    TAG_LIFT,
    Box,
    Layout,
    Point,
    Words,
    edge_curve,
    edge_lines,
    make_layout,
    stretched,
)
from kansym.views.text import MATH_FONT, fit_tag

SYMBOLIC, SYMBOLIC_FILL = BLUE, "#d6e9f5"  # dark when printed in grey

FAINTEST = 0.05
"""Alpha of an edge with score 0: it is part of the model, so a trace of it stays."""

LEAST_TAG_ALPHA = 0.4

# kind: marker, diameter relative to a node's, fill, sign inside
MARKERS = {
    "input": ("o", 0.8, INK, None),
    "sum": ("o", 1.0, "white", "+"),
    "product": ("s", 1.0, INK, "x"),
    "subnode": ("o", 0.5, "white", None),
}

LARGEST_SCALE = 1.5


def draw(
    graph: nx.DiGraph,
    ax: Axes | None = None,
    *,
    beta: float = 3.0,
    title: str | None = None,
    formula: str | None = None,
) -> Axes:
    """Draw the graph that `network_graph` returns; the Axes, of a new Figure when `ax` is None.

    beta: how fast edges come to full strength with their score.
    title: text, drawn as it stands. formula: LaTeX, one formula a line, without dollar signs; plain
    text where mathtext cannot read it; shrunk, broken and at last cut to fit the width.

    The collections of the Axes are labelled "_lines", "_boxes", "_curves" and "_products"; boxes
    and curves are in the order of (l, i, j). A new Figure is not registered with pyplot;
    `ax.figure.savefig(path)` writes it.
    """
    if not beta >= 0:
        raise ValueError(f"beta must be a number >= 0, got {beta!r}")
    layout = make_layout(graph, title, formula)
    if ax is None:
        ax = _new_axes(layout)
    dpi = ax.figure.dpi
    width, height = ax.bbox.width / dpi, ax.bbox.height / dpi
    scale = min(width / layout.width, height / layout.height, LARGEST_SCALE)
    layout = stretched(layout, width / scale, height / scale)
    _prepare(ax, layout)
    _draw_edges(ax, layout, beta, scale)
    _draw_nodes(ax, graph, layout, scale)
    for words in layout.words:
        _draw_words(ax, words, scale)
    return ax


def edge_alpha(score: float, beta: float = 3.0) -> float:
    """tanh(beta * score), but never below FAINTEST; a score that is NaN counts as 0."""
    return FAINTEST if math.isnan(score) else max(math.tanh(beta * score), FAINTEST)


def _new_axes(layout: Layout) -> Axes:
    figure = Figure(figsize=(layout.width, layout.height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure.add_axes((0.0, 0.0, 1.0, 1.0))


def _prepare(ax: Axes, layout: Layout) -> None:
    ax.set_axis_off()
    ax.set_xlim(0, layout.width)
    ax.set_ylim(0, layout.height)
    ax.set_aspect("equal")


def _draw_edges(ax: Axes, layout: Layout, beta: float, scale: float) -> None:
    boxes = layout.boxes
    alpha = np.array([edge_alpha(box.edge["score"], beta) for box in boxes])
    symbolic = np.array([box.edge["kind"] == "symbolic" for box in boxes], dtype=bool)
    colors = np.column_stack([_pick(symbolic, SYMBOLIC, INK), alpha])
    # A box hides what is behind it, so its fill fades to white and not to nothing.
    fill = 1 - alpha[:, None] * (1 - _pick(symbolic, SYMBOLIC_FILL, "white"))
    size = min((min(1.0, box.width / 0.3) for box in boxes), default=1.0) * scale
    weight = np.where(symbolic, 1.6, 1.0) * scale
    lines = [line for box in boxes for line in edge_lines(box)]
    _add_lines(ax, "_lines", lines, colors.repeat(2, 0), 0.9 * weight.repeat(2), 1)
    outlines = PolyCollection(
        [_outline(box) for box in boxes],
        facecolors=fill,
        edgecolors=colors,
        linewidths=0.7 * weight,
        zorder=2,
        label="_boxes",
    )
    ax.add_collection(outlines, autolim=False)
    curves = [edge_curve(box) for box in boxes]
    _add_lines(ax, "_curves", curves, colors, (0.6 + 0.7 * size) * weight, 3)
    _draw_tags(ax, boxes, alpha, scale)


def _pick(where: np.ndarray, yes: str, no: str) -> np.ndarray:
    return np.where(where[:, None], to_rgb(yes), to_rgb(no))


def _add_lines(
    ax: Axes, label: str, lines: Sequence[Any], colors: Any, widths: Any, zorder: int
) -> None:
    collection = LineCollection(
        lines, colors=colors, linewidths=widths, zorder=zorder, label=label, capstyle="round"
    )
    ax.add_collection(collection, autolim=False)


def _outline(box: Box) -> list[Point]:
    w, h = box.width / 2, box.height / 2
    return [(box.x + sx * w, box.y + sy * h) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def _draw_tags(ax: Axes, boxes: Sequence[Box], alpha: np.ndarray, scale: float) -> None:
    """The name of its function above every symbolic edge."""
    for box, strength in zip(boxes, alpha, strict=True):
        if box.edge["kind"] == "symbolic":
            text, is_math, size = fit_tag(box.edge["function"], box.room)
            dy, visible = box.height / 2 + TAG_LIFT, max(float(strength), LEAST_TAG_ALPHA)
            words = Words((box.x, box.y), dy, text, size, is_math, SYMBOLIC, visible)
            _draw_words(ax, words, scale)


def _draw_nodes(ax: Axes, graph: nx.DiGraph, layout: Layout, scale: float) -> None:
    links = [
        (layout.nodes[source], layout.nodes[target])
        for source, target, kind in graph.edges(data="kind")
        if kind == "product" and target in layout.nodes
    ]
    _add_lines(ax, "_products", links, INK, 1.2 * scale, 1)
    point = 2 * 72 * layout.radius * scale  # diameter in points
    for kind, (marker, size, face, sign) in MARKERS.items():
        at = [xy for key, xy in layout.nodes.items() if graph.nodes[key]["kind"] == kind]
        if not at:
            continue
        x, y = zip(*at, strict=True)
        ax.scatter(
            x, y, (size * point) ** 2, marker=marker, facecolors=face, edgecolors=INK,
            linewidths=0.9 * scale, zorder=4, label=f"_{kind}", clip_on=False,
        )  # fmt: skip
        if sign:
            ax.scatter(
                x, y, (0.55 * point) ** 2, marker=sign, c=INK if face == "white" else "white",
                linewidths=1.1 * scale, zorder=5, label=f"_{kind}_sign", clip_on=False,
            )  # fmt: skip


def _draw_words(ax: Axes, words: Words, scale: float) -> None:
    ax.text(
        words.anchor[0],
        words.anchor[1] + words.dy,
        words.text,
        size=words.size * scale,
        color=words.color,
        alpha=words.alpha,
        rotation=words.rotation,
        rotation_mode="anchor",
        ha=words.ha,
        va=words.va,
        parse_math=words.is_math,  # a dollar sign in a name is a dollar sign
        usetex=False,
        math_fontfamily=MATH_FONT,
        zorder=6,
    )
