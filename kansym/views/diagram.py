"""The diagram of a network, in one Axes (Liu et al. 2024, arXiv:2404.19756, fig. 2.4).

Inputs are at the bottom, outputs at the top. Every edge runs through a small box that shows its
curve, and fades with its score: alpha = tanh(beta * score).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgb, to_rgba
from matplotlib.figure import Figure

from kansym.views.axes import BLUE, SKY, new_figure
from kansym.views.layout import (
    INK,
    READABLE,
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
from kansym.views.text import LEAST_TAG, points, set_words

PAPER, SYMBOLIC, SYMBOLIC_FILL = "paper", "symbolic", "symbolic fill"

# On light paper the blue is dark when printed in grey.
LIGHT = {INK: "#222222", "pale": "#8a8a8a", SYMBOLIC: BLUE, SYMBOLIC_FILL: "#d6e9f5"}
DARK = {INK: "#eeeeee", "pale": "#8a8a8a", SYMBOLIC: SKY, SYMBOLIC_FILL: "#12384f"}

Palette = Mapping[str, str]

FAINTEST = 0.05
"""Alpha of an edge with score 0: it is part of the model, so a trace of it stays."""

LEAST_TAG_ALPHA = 0.6

SMALLEST = 0.9  # of the least size of a tag: a smaller one cannot be read and is left out

# kind: marker, diameter relative to a node's, fill, sign inside
MARKERS = {
    "input": ("o", 0.8, INK, None),
    "sum": ("o", 1.0, PAPER, "+"),
    "product": ("s", 1.0, INK, "x"),
    "subnode": ("o", 0.5, PAPER, None),
}

LARGEST_SCALE = 1.5

MOST_ZOOM, MOST_ROUNDS = 6.0, 6  # of letters in an Axes that is too low, and tries to fit them

LINE_WIDTH = 1.5  # matplotlib's own


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

    Letters follow rcParams["font.size"], lines "lines.linewidth"; on a dark figure the colours are
    light ones.

    The collections of the Axes are labelled "_lines", "_boxes", "_curves" and "_products"; boxes
    and curves are in the order of (l, i, j). A new Figure is not registered with pyplot;
    `ax.figure.savefig(path)` writes it.
    """
    if not beta >= 0:
        raise ValueError(f"beta must be a number >= 0, got {beta!r}")
    if ax is None:
        layout, scale = make_layout(graph, title, formula), 1.0
        ax = _new_axes(layout)
    else:
        layout, scale = _layout_for(ax, graph, title, formula)
    _prepare(ax, layout)
    palette = _palette(ax.figure.canvas.figure)
    _draw_edges(ax, layout, beta, scale, palette)
    _draw_nodes(ax, graph, layout, scale, palette)
    for words in layout.words:
        _draw_words(ax, words, scale, palette)
    return ax


def _layout_for(
    ax: Axes, graph: nx.DiGraph, title: str | None, formula: str | None
) -> tuple[Layout, float]:
    """The layout that fills an Axes, and what it is scaled by. Where the Axes is too low, letters
    are made larger by as much, up to MOST_ZOOM."""
    dpi, zoom = ax.figure.dpi, 1.0
    width, height = ax.bbox.width / dpi, ax.bbox.height / dpi
    found: list[tuple[float, Layout, float]] = []
    for _ in range(MOST_ROUNDS):
        layout = make_layout(graph, title, formula, width, zoom)
        scale = min(width / layout.width, height / layout.height, LARGEST_SCALE)
        found.append((min(scale * layout.zoom, READABLE), layout, scale))
        if found[-1][0] > 0.98 * READABLE:
            break
        zoom = min(max(READABLE / scale, 1.0), MOST_ZOOM)
    _, layout, scale = max(found, key=lambda tried: tried[0])
    return stretched(layout, width / scale, height / scale), scale


def _palette(figure: Figure) -> Palette:
    """Colours for the paper that the figure is; paper that is not there counts as white."""
    *color, alpha = to_rgba(figure.get_facecolor())
    red, green, blue = (alpha * c + 1 - alpha for c in color)
    is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
    return {**(DARK if is_dark else LIGHT), PAPER: to_hex((red, green, blue))}


def edge_alpha(score: float, beta: float = 3.0) -> float:
    """tanh(beta * score), but never below FAINTEST; a score that is NaN counts as 0."""
    return FAINTEST if math.isnan(score) else max(math.tanh(beta * score), FAINTEST)


def _new_axes(layout: Layout) -> Axes:
    figure = new_figure(figsize=(layout.width, layout.height))
    return figure.add_axes((0.0, 0.0, 1.0, 1.0))


def _prepare(ax: Axes, layout: Layout) -> None:
    ax.set_axis_off()
    ax.set_xlim(0, layout.width)
    ax.set_ylim(0, layout.height)
    ax.set_aspect("equal")


def _draw_edges(ax: Axes, layout: Layout, beta: float, scale: float, palette: Palette) -> None:
    boxes = layout.boxes
    alpha = np.array([edge_alpha(box.edge["score"], beta) for box in boxes])
    symbolic = np.array([box.edge["kind"] == "symbolic" for box in boxes], dtype=bool)
    colors = np.column_stack([_pick(symbolic, palette[SYMBOLIC], palette[INK]), alpha])
    # A box hides what is behind it, so its fill fades to the paper and not to nothing.
    paper = np.array(to_rgb(palette[PAPER]))
    fill = paper + alpha[:, None] * (
        _pick(symbolic, palette[SYMBOLIC_FILL], palette[PAPER]) - paper
    )
    size = min((min(1.0, box.width / 0.3) for box in boxes), default=1.0) * scale
    weight = np.where(symbolic, 1.6, 1.0) * _line_scale(scale)
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
    _draw_tags(ax, boxes, alpha, scale, palette)


def _line_scale(scale: float) -> float:
    """How much wider lines are than where rcParams and page are matplotlib's own."""
    return scale * rcParams["lines.linewidth"] / LINE_WIDTH


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


def _draw_tags(
    ax: Axes, boxes: Sequence[Box], alpha: np.ndarray, scale: float, palette: Palette
) -> None:
    """The name of its function above every symbolic edge that has room for it."""
    for box, strength in zip(boxes, alpha, strict=True):
        if box.words and box.words[2] * scale > SMALLEST * points(LEAST_TAG):
            text, is_math, size = box.words
            dy, visible = box.height / 2 + TAG_LIFT, max(float(strength), LEAST_TAG_ALPHA)
            words = Words((box.x, box.y), dy, text, size, is_math, SYMBOLIC, visible)
            _draw_words(ax, words, scale, palette)


def _draw_nodes(
    ax: Axes, graph: nx.DiGraph, layout: Layout, scale: float, palette: Palette
) -> None:
    links = [
        (layout.nodes[source], layout.nodes[target])
        for source, target, kind in graph.edges(data="kind")
        if kind == "product" and target in layout.nodes
    ]
    ink, lines = palette[INK], _line_scale(scale)
    _add_lines(ax, "_products", links, ink, 1.2 * lines, 1)
    point = 2 * 72 * layout.radius * scale  # diameter in points
    for kind, (marker, size, face, sign) in MARKERS.items():
        at = [xy for key, xy in layout.nodes.items() if graph.nodes[key]["kind"] == kind]
        if not at:
            continue
        x, y = zip(*at, strict=True)
        ax.scatter(
            x, y, (size * point) ** 2, marker=marker, facecolors=palette[face], edgecolors=ink,
            linewidths=0.9 * lines, zorder=4, label=f"_{kind}", clip_on=False,
        )  # fmt: skip
        if sign:
            ax.scatter(
                x, y, (0.55 * point) ** 2, marker=sign, c=palette[INK if face == PAPER else PAPER],
                linewidths=1.1 * lines, zorder=5, label=f"_{kind}_sign", clip_on=False,
            )  # fmt: skip


def _draw_words(ax: Axes, words: Words, scale: float, palette: Palette) -> None:
    artist = ax.text(
        words.anchor[0],
        words.anchor[1] + words.dy,
        "",
        size=words.size * min(scale, 1.0),  # boxes may grow, letters keep the size of rcParams
        color=palette[words.color],
        alpha=words.alpha,
        rotation=words.rotation,
        rotation_mode="anchor",
        ha=words.ha,
        va=words.va,
        zorder=6,
    )
    set_words(artist, words.text, words.is_math, words.whole)
