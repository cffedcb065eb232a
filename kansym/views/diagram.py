"""The diagram of a network, in one Axes (Liu et al. 2024, arXiv:2404.19756, fig. 2.4).

Inputs are at the bottom, outputs at the top. Every edge runs through a small box that shows its
curve, and fades with its score: alpha = tanh(beta * score). The boxes of a layer stand side by
side, grouped by input node; where they would be too narrow to read, in two staggered ranks.

The layout is made in inches, at the size the network needs. An Axes of another size gets the same
layout, scaled as a whole and then stretched, which can push things apart but never together.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import TextToPath

from kansym.views.graph import NodeKey

Point = tuple[float, float]

INK, PALE = "#222222", "#8a8a8a"
SYMBOLIC, SYMBOLIC_FILL = "#0072B2", "#d6e9f5"  # Okabe and Ito's blue; dark when printed in grey
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

# Inches.
SLOT, LEAST_SLOT = 0.5, 0.14  # room for one box: wanted, and the least before a page is left
LEAST_WIDTH, PAGE_WIDTH, MOST_WIDTH = 3.0, 7.0, 12.0
GROUP_GAP = 0.5  # between the boxes of two nodes, in slots
BOX, NARROW_BOX, TALL_BOX = 0.46, 0.24, 0.34  # largest; staggered below; higher than wide below
RANK_GAP = 0.08
EDGE = 0.1  # margin of the figure
NODE = 0.075  # radius
FACTOR_DROP, FACTOR_STEP = 0.36, 0.36  # from a product node down to its factors, and between them
LABEL_GAP = 0.13
TAG_HEIGHT, TAG_LIFT = 0.14, 0.035
DOTS = 0.4
# Points.
LABEL, LEAST_LABEL = 9.0, 6.0
TAG, LEAST_TAG = 7.5, 5.0
FORMULA, LEAST_FORMULA = 12.0, 8.0
TITLE, LEAST_TITLE = 11.0, 8.0

LABEL_CHARACTERS = 18
FORMULA_LINES, HEADING_LINES = 3, 6
MOST_LATEX = 800
MATH_FONT = "stix"
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
    layout = _layout(graph, title, formula)
    if ax is None:
        ax = _new_axes(layout)
    dpi = ax.figure.dpi
    width, height = ax.bbox.width / dpi, ax.bbox.height / dpi
    scale = min(width / layout.width, height / layout.height, LARGEST_SCALE)
    layout = _stretched(layout, width / scale, height / scale)
    _prepare(ax, layout)
    _draw_edges(ax, layout, beta, scale)
    _draw_nodes(ax, graph, layout, scale)
    for words in layout.words:
        _draw_words(ax, words, scale)
    return ax


def edge_alpha(score: float, beta: float = 3.0) -> float:
    """tanh(beta * score), but never below FAINTEST; a score that is NaN counts as 0."""
    return FAINTEST if math.isnan(score) else max(math.tanh(beta * score), FAINTEST)


# Layout


@dataclass(frozen=True)
class Box:
    """One edge: the place of its curve, and of the nodes it joins."""

    x: float
    y: float
    width: float
    height: float
    tag: float
    """Height kept free above the box for the name of a function."""
    room: float
    """Width free for that name."""
    start: Point
    end: Point
    other_rank: float | None
    """y of the rank of boxes that the edge's line has to pass, straight up, between two boxes."""
    edge: dict[str, Any]
    """The attributes of the edge in the graph."""


@dataclass(frozen=True)
class Words:
    """A piece of text: an anchor that moves with the layout, and a fixed distance from it."""

    anchor: Point
    dy: float
    text: str
    size: float
    is_math: bool = False
    color: str = INK
    alpha: float = 1.0
    rotation: float = 0.0
    ha: str = "center"
    va: str = "baseline"


@dataclass(frozen=True)
class Layout:
    """Everything's place, in inches from the lower left corner."""

    width: float
    height: float
    nodes: dict[NodeKey, Point]
    radius: float
    boxes: tuple[Box, ...]
    words: tuple[Words, ...]


class _Row(NamedTuple):
    """The drawn nodes of a row, their x, and the room above them for one box."""

    keys: list[NodeKey]
    x: list[float]
    slot: float


class _Rank(NamedTuple):
    """The boxes of a layer: their size, and whether they stand in two staggered ranks."""

    width: float
    height: float
    tag: float
    is_staggered: bool

    @property
    def step(self) -> float:
        """From one rank up to the other."""
        return self.height + self.tag + RANK_GAP if self.is_staggered else 0.0

    @property
    def total(self) -> float:
        return self.step + self.height + self.tag


class _Labels(NamedTuple):
    """The names along a row, how they are turned, and the room they take."""

    texts: list[tuple[str, bool]]
    size: float
    rotation: float
    height: float
    left: float
    right: float


def _layout(graph: nx.DiGraph, title: str | None, formula: str | None) -> Layout:
    keys = _drawn_nodes(graph)
    inner = _inner_width(graph, keys)
    rows = [_place_row(graph, row, inner) for row in keys]
    below, above = (_labels(graph, row, inner, is_top) for row, is_top in _ends(rows))
    left = EDGE + max(below.left, above.left)
    width = left + inner + max(below.right, above.right) + EDGE
    rows = [row._replace(x=[x + left for x in row.x]) for row in rows]

    nodes: dict[NodeKey, Point] = {}
    boxes: list[Box] = []
    y = EDGE + below.height
    _set_row(nodes, graph, rows[0], y)
    for row, after in pairwise(rows):
        rank = _rank(graph, row)
        low, high = _gaps(graph, row, inner)
        first = y + low + rank.height / 2
        y += low + rank.total + high + _drop(graph, after)
        _set_row(nodes, graph, after, y)
        boxes += _place_boxes(graph, row, rank, first, nodes)
    y += above.height
    heading = _heading(title, formula, width - 2 * EDGE)
    height = y + EDGE + sum(line.below + line.above for line in heading)
    words = [
        *_label_words(graph, rows[0], below, nodes, is_top=False),
        *_label_words(graph, rows[-1], above, nodes, is_top=True),
        *_heading_words(heading, (width / 2, height)),
    ]
    distance = min((row.slot for row in rows if len(row.keys) > 1), default=math.inf)
    return Layout(width, height, nodes, min(NODE, 0.35 * distance), tuple(boxes), tuple(words))


def _ends(rows: list[_Row]) -> tuple[tuple[_Row, bool], tuple[_Row, bool]]:
    return (rows[0], False), (rows[-1], True)


def _drawn_nodes(graph: nx.DiGraph) -> list[list[NodeKey]]:
    """The nodes of every row, in order; hidden nodes that no edge reaches or leaves stay away."""
    rows: list[list[NodeKey]] = [[] for _ in range(graph.graph["n_rows"])]
    for key, node in graph.nodes.items():
        is_end = node["kind"] == "input" or node["is_output"]
        if node["kind"] != "subnode" and (is_end or _is_joined(graph, key)):
            rows[node["row"]].append(key)
    return rows


def _is_joined(graph: nx.DiGraph, key: NodeKey) -> bool:
    heads = [key, *_factors(graph, key)]
    return graph.out_degree(key) > 0 or any(
        graph.nodes[source]["kind"] != "subnode" for head in heads for source in graph.pred[head]
    )


def _factors(graph: nx.DiGraph, key: NodeKey) -> list[NodeKey]:
    return list(graph.pred[key]) if graph.nodes[key]["kind"] == "product" else []


def _slots(graph: nx.DiGraph, key: NodeKey) -> int:
    return max(1, graph.out_degree(key), len(_factors(graph, key)))


def _row_slots(graph: nx.DiGraph, keys: list[NodeKey]) -> float:
    return sum(_slots(graph, key) for key in keys) + GROUP_GAP * len(keys)


def _inner_width(graph: nx.DiGraph, rows: list[list[NodeKey]]) -> float:
    """Half an inch for every box up to the width of a page, and more only when they get tiny."""
    slots = max(_row_slots(graph, row) for row in rows)
    wanted = max(min(SLOT * slots, PAGE_WIDTH), LEAST_SLOT * slots)
    return min(max(wanted, LEAST_WIDTH), MOST_WIDTH)


def _place_row(graph: nx.DiGraph, keys: list[NodeKey], width: float) -> _Row:
    """Every node in the middle of its boxes, which share the width evenly."""
    slot = width / _row_slots(graph, keys) if keys else width
    x, left = [], 0.0
    for key in keys:
        span = slot * (_slots(graph, key) + GROUP_GAP)
        x.append(left + span / 2)
        left += span
    return _Row(keys, x, slot)


def _set_row(nodes: dict[NodeKey, Point], graph: nx.DiGraph, row: _Row, y: float) -> None:
    for key, x in zip(row.keys, row.x, strict=True):
        nodes[key] = (x, y)
        factors = _factors(graph, key)
        for n, factor in enumerate(factors):
            offset = (n - (len(factors) - 1) / 2) * min(FACTOR_STEP, 0.8 * row.slot)
            nodes[factor] = (x + offset, y - FACTOR_DROP)


def _drop(graph: nx.DiGraph, row: _Row) -> float:
    return FACTOR_DROP if any(_factors(graph, key) for key in row.keys) else 0.0


def _rank(graph: nx.DiGraph, row: _Row) -> _Rank:
    edges = [edge for key in row.keys for edge in graph.succ[key].values()]
    tag = TAG_HEIGHT if any(edge["kind"] == "symbolic" for edge in edges) else 0.0
    width = min(BOX, 0.82 * row.slot)
    is_staggered = width < NARROW_BOX and len(edges) > 2
    if is_staggered:
        width = min(BOX, 1.5 * row.slot)
    height = width if width > TALL_BOX else min(1.5 * width, TALL_BOX)
    return _Rank(width, height, tag, is_staggered)


def _gaps(graph: nx.DiGraph, row: _Row, width: float) -> tuple[float, float]:
    """Free height below and above the boxes: wide fans of lines need more of it."""
    fan = row.slot * max((graph.out_degree(key) for key in row.keys), default=0)
    return min(max(0.25 * fan, 0.28), 0.6), min(max(0.08 * width, 0.38), 0.9)


def _place_boxes(
    graph: nx.DiGraph, row: _Row, rank: _Rank, first: float, nodes: dict[NodeKey, Point]
) -> list[Box]:
    boxes: list[Box] = []
    for key, x in zip(row.keys, row.x, strict=True):
        targets = sorted(graph.succ[key].items(), key=lambda item: item[1]["j"])
        for n, (target, edge) in enumerate(targets):
            # The parity runs on over the whole layer: neighbours never share a rank.
            is_upper = rank.is_staggered and len(boxes) % 2 == 1
            other = None
            if rank.is_staggered:
                other = first if is_upper else first + rank.step
            boxes.append(
                Box(
                    x=x + (n - (len(targets) - 1) / 2) * row.slot,
                    y=first + rank.step if is_upper else first,
                    width=rank.width,
                    height=rank.height,
                    tag=rank.tag if edge["kind"] == "symbolic" else 0.0,
                    room=row.slot * (1.85 if rank.is_staggered else 0.95),
                    start=nodes[key],
                    end=nodes[target],
                    other_rank=other,
                    edge=edge,
                )
            )
    return boxes


def _stretched(layout: Layout, width: float, height: float) -> Layout:
    """The layout on a larger page: distances grow, boxes and letters do not."""

    def move(point: Point) -> Point:
        return point[0] * width / layout.width, point[1] * height / layout.height

    def move_box(box: Box) -> Box:
        x, y = move((box.x, box.y))
        other = None if box.other_rank is None else move((0.0, box.other_rank))[1]
        start, end = move(box.start), move(box.end)
        return replace(box, x=x, y=y, start=start, end=end, other_rank=other)

    return replace(
        layout,
        width=width,
        height=height,
        nodes={key: move(point) for key, point in layout.nodes.items()},
        boxes=tuple(move_box(box) for box in layout.boxes),
        words=tuple(replace(words, anchor=move(words.anchor)) for words in layout.words),
    )


# Text


class _Line(NamedTuple):
    """A line above the diagram, with the height it takes above and below its baseline."""

    text: str
    size: float
    is_math: bool
    above: float
    below: float


_MEASURE = TextToPath()


def _extent(text: str, size: float, is_math: bool = False) -> tuple[float, float, float]:
    """Width, height above the baseline and depth below it, in inches.

    Raises ValueError when mathtext cannot read the text.
    """
    font = FontProperties(size=size, math_fontfamily=MATH_FONT)
    width, height, depth = _MEASURE.get_text_width_height_descent(text, font, is_math)
    return float(width) / 72, float(height - depth) / 72, float(depth) / 72


def _drawable(text: str) -> str:
    """The text on one line, with a box for what the fonts in use cannot draw."""
    families = rcParams["font.family"]
    fonts = _fonts(tuple([families] if isinstance(families, str) else families))
    missing = "□" if _has_glyph(fonts, "□") else "?"
    spaced = re.sub(r"\s+", " ", text).strip()
    return "".join(c if c.isprintable() and _has_glyph(fonts, c) else missing for c in spaced)


@lru_cache(maxsize=8)
def _fonts(families: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(findfont(FontProperties(family=[family]))) for family in families)


@lru_cache(maxsize=4096)
def _has_glyph(fonts: tuple[str, ...], character: str) -> bool:
    return any(get_font(path).get_char_index(ord(character)) for path in fonts)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _fitted(text: str, size: float, least: float, width: float) -> tuple[str, float]:
    """The text and a size at which it is at most `width` wide; cut when `least` is too large."""
    text = _shortened(_drawable(text), 300)
    natural = _extent(text, size)[0]
    if natural <= width:
        return text, size
    if natural * least / size <= width:
        return text, size * width / natural
    length = len(text)
    while length > 1 and _extent(_shortened(text, length), least)[0] > width:
        length -= 1
    return _shortened(text, length), least


def _label(node: dict[str, Any]) -> tuple[str, bool]:
    """A name that was given as it stands, x1 as mathematics."""
    if node["default_name"]:
        letter, number = node["label"][:1], node["label"][1:]
        return (f"${letter}_{{{number}}}$" if number else f"${letter}$"), True
    return _shortened(_drawable(node["label"]), LABEL_CHARACTERS), False


def _labels(graph: nx.DiGraph, row: _Row, width: float, is_top: bool) -> _Labels:
    """Names side by side where they fit, else aslant, else upright."""
    texts = [_label(graph.nodes[key]) for key in row.keys]
    widths = [_extent(text, LABEL, is_math)[0] for text, is_math in texts]
    line = 1.3 * LABEL / 72
    ends = [(x - w / 2, x + w / 2) for x, w in zip(row.x, widths, strict=True)]
    gaps = [right[0] - left[1] for left, right in pairwise(ends)]
    if min(gaps, default=1.0) > 0.08 and ends[0][0] >= 0 and ends[-1][1] <= width:
        return _Labels(texts, LABEL, 0.0, line + LABEL_GAP, 0.0, 0.0)
    step = min((b - a for a, b in pairwise(row.x)), default=width)
    if step > math.sqrt(2) * line:
        reach = math.sqrt(0.5)
        if is_top:
            right = max(x + w * reach + line / 2 for x, w in zip(row.x, widths, strict=True))
            left = width
        else:
            left = min(x - w * reach - line / 2 for x, w in zip(row.x, widths, strict=True))
            right = 0.0
        tall = max(widths) * reach + line
        margin = max(0.0, -left) if not is_top else 0.0
        return _Labels(texts, LABEL, 45.0, tall + LABEL_GAP, margin, max(0.0, right - width))
    size = min(LABEL, max(LEAST_LABEL, step * 72 / 1.3))
    return _Labels(texts, size, 90.0, max(widths) * size / LABEL + LABEL_GAP, 0.0, 0.0)


def _label_words(
    graph: nx.DiGraph, row: _Row, labels: _Labels, nodes: dict[NodeKey, Point], is_top: bool
) -> list[Words]:
    if labels.rotation == 45:
        ha, va = ("left", "baseline") if is_top else ("right", "top")
    else:
        ha, va = "center", "bottom" if is_top else "top"
    return [
        Words(
            nodes[key],
            LABEL_GAP if is_top else -LABEL_GAP,
            text,
            labels.size,
            is_math,
            color=INK if graph.degree(key) else PALE,
            rotation=labels.rotation,
            ha=ha,
            va=va,
        )
        for key, (text, is_math) in zip(row.keys, labels.texts, strict=True)
    ]


def _tag(name: str, room: float) -> tuple[str, bool, float]:
    """The name of a function for print, whether it is mathematics, and its size."""
    power = re.fullmatch(r"(1/)?x\^([0-9.]+)", name)
    if not power:
        text, size = _fitted(name, TAG, LEAST_TAG, room)
        return text, False, size
    text = f"${power[1] or ''}x^{{{power[2]}}}$"
    return text, True, max(TAG * min(1.0, room / _extent(text, TAG, True)[0]), LEAST_TAG)


def _heading(title: str | None, formula: str | None, width: float) -> list[_Line]:
    lines = []
    if title:
        text, size = _fitted(title, TITLE, LEAST_TITLE, width)
        lines.append(_line(text, size, False))
    for part in (formula or "").splitlines():
        if part.strip():
            lines += _formula_lines(part.strip().strip("$"), width)
    return (
        lines if len(lines) <= HEADING_LINES else [*lines[:HEADING_LINES], _line("…", LABEL, False)]
    )


def _line(text: str, size: float, is_math: bool) -> _Line:
    _, above, below = _extent(text, size, is_math)
    return _Line(text, size, is_math, max(above, size / 72), below + 0.35 * size / 72)


def _heading_words(lines: list[_Line], top: Point) -> list[Words]:
    words, y = [], -EDGE
    for line in lines:
        y -= line.above
        words.append(Words(top, y, line.text, line.size, line.is_math))
        y -= line.below
    return words


def _formula_lines(latex: str, width: float) -> list[_Line]:
    """The formula on one line, or smaller, or broken between terms, or cut; plain text at worst."""
    terms = _terms(latex)
    lengths = list(accumulate(len(term) for term in terms))
    kept = terms[: bisect_right(lengths, MOST_LATEX)]  # mathtext reads 2 characters a millisecond
    try:
        widths = [_extent(f"${term}$", FORMULA, True)[0] for term in kept]
    except ValueError:
        widths = []
    room = 0.96 * width * FORMULA / LEAST_FORMULA  # terms set apart are a little narrower
    if not widths or max(widths) > room:
        return [_line(*_fitted(latex, LABEL, LEAST_LABEL, width), False)]
    if len(kept) == len(terms) and sum(widths) <= room:
        return [_line(f"${latex}$", FORMULA * min(1.0, 0.96 * width / sum(widths)), True)]
    return [_line(f"${line}$", LEAST_FORMULA, True) for line in _broken(terms, widths, room)]


def _terms(latex: str) -> list[str]:
    """The formula cut before every + and - that stands outside all brackets."""
    cuts, depth = [0], 0
    for match in re.finditer(r"\\left\b|\\right\b|\\.|[{(\[]|[})\]]|(?<=\s)[+-](?=\s)", latex):
        token = match[0]
        if token in ("\\left", "{", "(", "["):
            depth += 1
        elif token in ("\\right", "}", ")", "]"):
            depth -= 1
        elif token in "+-" and depth == 0:
            cuts.append(match.start())
    return [latex[a:b] for a, b in pairwise([*cuts, len(latex)])]


def _broken(terms: list[str], widths: list[float], room: float) -> list[str]:
    """Terms on at most FORMULA_LINES lines; dots where some are left out."""
    lines, used = [""], 0.0
    for n, (term, width) in enumerate(zip(terms, widths, strict=False)):
        is_last_line = len(lines) == FORMULA_LINES
        # On the last line there must be room for dots, unless nothing comes after this term.
        reserve = DOTS if is_last_line and n + 1 < len(terms) else 0.0
        if used + width + reserve > room and used:
            if is_last_line:
                return [*lines[:-1], lines[-1] + r" + \ldots"]
            lines.append("")
            used = 0.0
        lines[-1] += term
        used += width
    return lines if len(widths) == len(terms) else [*lines[:-1], lines[-1] + r" + \ldots"]


# Ink


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
    lines = [line for box in boxes for line in _lines(box)]
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
    curves = [_curve(box) for box in boxes]
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


def _lines(box: Box) -> tuple[list[Point], list[Point]]:
    """From the start node to the box, and from the box to the end node."""
    low, high = box.y - box.height / 2, box.y + box.height / 2 + box.tag
    to, off = [box.start, (box.x, low)], [(box.x, high), box.end]
    if box.other_rank is not None and box.other_rank < box.y:
        to.insert(1, (box.x, box.other_rank - box.height / 2))
    elif box.other_rank is not None:
        off.insert(1, (box.x, box.other_rank + box.height / 2))
    return to, off


def _outline(box: Box) -> list[Point]:
    w, h = box.width / 2, box.height / 2
    return [(box.x + sx * w, box.y + sy * h) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def _curve(box: Box) -> np.ndarray:
    """The edge's curve, filling its box; a gap where it is not finite."""
    x, y = (_unit(np.asarray(values, dtype=float)) for values in box.edge["curve"])
    inset = 0.8
    return np.column_stack(
        [box.x + (x - 0.5) * inset * box.width, box.y + (y - 0.5) * inset * box.height]
    )


def _unit(values: np.ndarray) -> np.ndarray:
    """Values mapped to [0, 1]; 0.5 throughout when they do not vary beyond rounding."""
    values = np.where(np.isfinite(values), values, np.nan)
    if np.isnan(values).all():
        return values
    scaled = values / max(np.nanmax(np.abs(values)), np.finfo(float).tiny)  # 1e308 has no range
    low, high = np.nanmin(scaled), np.nanmax(scaled)
    if high - low < 1e-9:
        return np.where(np.isnan(values), np.nan, 0.5)
    return (scaled - low) / (high - low)


def _draw_tags(ax: Axes, boxes: Sequence[Box], alpha: np.ndarray, scale: float) -> None:
    """The name of its function above every symbolic edge."""
    for box, strength in zip(boxes, alpha, strict=True):
        if box.edge["kind"] == "symbolic":
            text, is_math, size = _tag(box.edge["function"], box.room)
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
