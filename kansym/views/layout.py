"""Where everything of a diagram goes, in inches, before anything is drawn.

The boxes of a layer stand side by side, grouped by input node; where they would be too narrow to
read, in two staggered ranks. A layout is made for the width of the page where there is one, with
letters of the size they are read in. A network that needs more width is scaled as a whole; its
letters are larger by as much, and names of functions that would have no room are left out. On a
larger page distances are stretched, which can push things apart but never together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import networkx as nx
import numpy as np

from kansym.views.graph import NodeKey
from kansym.views.text import (
    LABEL,
    LEAST_LABEL,
    LEAST_TAG,
    TAG,
    Line,
    extent,
    fit_tag,
    heading_lines,
    name_label,
    points,
)

Point = tuple[float, float]

INK, PALE = "ink", "pale"  # what a diagram's palette calls its colours

# Inches.
SLOT, LEAST_SLOT = 0.5, 0.14  # room for one box: wanted, and the least before a page is left

LEAST_WIDTH, PAGE_WIDTH, MOST_WIDTH = 3.0, 7.0, 12.0

GROUP_GAP = 0.5  # between the boxes of two nodes, in slots

INSET = 0.8  # of a box, for its curve

BOX, NARROW_BOX, TALL_BOX = 0.46, 0.24, 0.34  # largest; staggered below; higher than wide below

RANK_GAP = 0.08

EDGE = 0.1  # margin of the figure

NODE = 0.075  # radius

FACTOR_DROP, FACTOR_STEP = 0.36, 0.36  # from a product node down to its factors, and between them

LABEL_GAP = 0.13

HINTED = 1.15  # small letters of a bitmap are set wider than their curves are

READABLE = 0.7  # of the size of letters: to this they shrink with the rest where a page is small

TAG_HEIGHT, TAG_LIFT = 0.14, 0.035

SIDE_BY_SIDE, STAGGERED = 0.95, 1.85  # room for the name of a function, in slots

LABEL_CHARACTERS = 18


@dataclass(frozen=True)
class Box:
    """One edge: the place of its curve, and of the nodes it joins."""

    x: float
    y: float
    width: float
    height: float
    tag: float
    """Height kept free above the box for the name of a function."""
    start: Point
    end: Point
    words: tuple[str, bool, float] | None
    """That name, whether it is mathematics, and its size; None where it has no room."""
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
    node: NodeKey | None = None
    """Of whom this is the label."""
    whole: str | None = None
    """All of a text that may have been cut."""


@dataclass(frozen=True)
class Layout:
    """Everything's place, in inches from the lower left corner."""

    width: float
    height: float
    nodes: dict[NodeKey, Point]
    radius: float
    boxes: tuple[Box, ...]
    words: tuple[Words, ...]
    zoom: float = 1.0
    """How much larger letters are here than they shall look."""


@dataclass(frozen=True)
class _Page:
    """inner: the width for nodes and boxes. zoom: how much larger letters must be than they shall
    look, because the whole is scaled down by that much."""

    inner: float
    zoom: float

    def letters(self, size: float) -> float:
        """Points for a text of `size` points at matplotlib's own font size."""
        return points(size) * self.zoom


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
    gap: float
    height: float
    left: float
    right: float


def make_layout(
    graph: nx.DiGraph,
    title: str | None,
    formula: str | None,
    page_width: float | None = None,
    zoom: float = 1.0,
) -> Layout:
    """page_width: inches; None for as many as the network needs. zoom: at least so much larger are
    letters than they shall look, because the whole will be scaled down by that much."""
    keys = _drawn_nodes(graph)
    least, natural = _inner_widths(graph, keys)
    page = _Page(natural, 1.0)
    if page_width is not None:
        page = _page(page_width - 2 * EDGE, least, natural, zoom)
    rows, below, above = _rows_and_labels(graph, keys, page)
    if page_width is not None:  # names that hang over want room, too
        over = max(below.left, above.left) + max(below.right, above.right)
        page = _page(page_width - 2 * EDGE - over / page.zoom, least, natural, zoom)
        rows, below, above = _rows_and_labels(graph, keys, page)
    inner = page.inner
    left = EDGE + max(below.left, above.left)
    width = left + inner + max(below.right, above.right) + EDGE
    rows = [row._replace(x=[x + left for x in row.x]) for row in rows]

    nodes: dict[NodeKey, Point] = {}
    boxes: list[Box] = []
    y = EDGE + below.height
    _set_row(nodes, graph, rows[0], y)
    for row, after in pairwise(rows):
        rank = _rank(graph, row, page)
        low, high = _gaps(graph, row, inner)
        first = y + low + rank.height / 2
        y += low + rank.total + high + _drop(graph, after)
        _set_row(nodes, graph, after, y)
        boxes += _place_boxes(graph, row, rank, first, nodes, page)
    y += above.height
    heading = heading_lines(title, formula, width - 2 * EDGE, page.letters(1.0))
    height = y + EDGE + sum(line.below + line.above for line in heading)
    words = [
        *_label_words(graph, rows[0], below, nodes, is_top=False),
        *_label_words(graph, rows[-1], above, nodes, is_top=True),
        *_heading_words(heading, (width / 2, height)),
    ]
    distance = min((row.slot for row in rows if len(row.keys) > 1), default=math.inf)
    radius = min(NODE * page.zoom, 0.35 * distance)
    return Layout(width, height, nodes, radius, tuple(boxes), tuple(words), page.zoom)


def _page(inner: float, least: float, natural: float, zoom: float) -> _Page:
    """The page for nodes and boxes on `inner` inches."""
    inner = max(inner, 1.0)
    return _Page(min(max(zoom * inner, least), natural), max(zoom, READABLE * least / inner))


def _rows_and_labels(
    graph: nx.DiGraph, keys: list[list[NodeKey]], page: _Page
) -> tuple[list[_Row], _Labels, _Labels]:
    """The rows, and the names below the first and above the last."""
    rows = [_place_row(graph, row, page.inner) for row in keys]
    below, above = (_labels(graph, row, page, is_top) for row, is_top in _ends(rows))
    return rows, below, above


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


def _inner_widths(graph: nx.DiGraph, rows: list[list[NodeKey]]) -> tuple[float, float]:
    """The least width that shows every box, and the one wanted: half an inch for every box up to
    the width of a page, and more only when they get tiny."""
    slots = max(_row_slots(graph, row) for row in rows)
    least = min(LEAST_SLOT * slots, MOST_WIDTH)
    return least, max(least, min(SLOT * slots, PAGE_WIDTH), LEAST_WIDTH)


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


def _rank(graph: nx.DiGraph, row: _Row, page: _Page) -> _Rank:
    edges = [edge for key in row.keys for edge in graph.succ[key].values()]
    names = {edge["function"] for edge in edges if edge["kind"] == "symbolic"}
    has_room = all(_tag(name, SIDE_BY_SIDE * row.slot, page) for name in names)
    is_staggered = len(edges) > 2 and (0.82 * row.slot < NARROW_BOX or not has_room)
    room = row.slot * (STAGGERED if is_staggered else SIDE_BY_SIDE)
    is_tagged = any(_tag(name, room, page) for name in names)
    tag = TAG_HEIGHT * page.letters(1.0) if is_tagged else 0.0
    width = min(BOX, 0.82 * row.slot)
    if is_staggered:
        width = min(BOX, 1.5 * row.slot)
    height = width if width > TALL_BOX else min(1.5 * width, TALL_BOX)
    return _Rank(width, height, tag, is_staggered)


def _tag(name: str, room: float, page: _Page) -> tuple[str, bool, float] | None:
    """The name of a function as it stands above its box, None where it would not fit."""
    return fit_tag(name, room, page.letters(TAG), page.letters(LEAST_TAG))


def _gaps(graph: nx.DiGraph, row: _Row, width: float) -> tuple[float, float]:
    """Free height below and above the boxes: wide fans of lines need more of it."""
    fan = row.slot * max((graph.out_degree(key) for key in row.keys), default=0)
    return min(max(0.25 * fan, 0.28), 0.6), min(max(0.08 * width, 0.38), 0.9)


def _place_boxes(
    graph: nx.DiGraph,
    row: _Row,
    rank: _Rank,
    first: float,
    nodes: dict[NodeKey, Point],
    page: _Page,
) -> list[Box]:
    boxes: list[Box] = []
    room = row.slot * (STAGGERED if rank.is_staggered else SIDE_BY_SIDE)
    for key, x in zip(row.keys, row.x, strict=True):
        targets = sorted(graph.succ[key].items(), key=lambda item: item[1]["j"])
        for n, (target, edge) in enumerate(targets):
            # The parity runs on over the whole layer: neighbours never share a rank.
            is_upper = rank.is_staggered and len(boxes) % 2 == 1
            other = None
            if rank.is_staggered:
                other = first if is_upper else first + rank.step
            words = _tag(edge["function"], room, page) if edge["kind"] == "symbolic" else None
            boxes.append(
                Box(
                    x=x + (n - (len(targets) - 1) / 2) * row.slot,
                    y=first + rank.step if is_upper else first,
                    width=rank.width,
                    height=rank.height,
                    tag=rank.tag if words else 0.0,
                    words=words,
                    start=nodes[key],
                    end=nodes[target],
                    other_rank=other,
                    edge=edge,
                )
            )
    return boxes


def edge_lines(box: Box) -> tuple[list[Point], list[Point]]:
    """From the start node to the box, and from the box to the end node."""
    low, high = box.y - box.height / 2, box.y + box.height / 2 + box.tag
    to, off = [box.start, (box.x, low)], [(box.x, high), box.end]
    if box.other_rank is not None and box.other_rank < box.y:
        to.insert(1, (box.x, box.other_rank - box.height / 2))
    elif box.other_rank is not None:
        off.insert(1, (box.x, box.other_rank + box.height / 2))
    return to, off


def edge_curve(box: Box) -> np.ndarray:
    """The edge's curve, filling its box; a gap where it is not finite."""
    x, y = (_unit(np.asarray(values, dtype=float)) for values in box.edge["curve"])
    return np.column_stack(
        [box.x + (x - 0.5) * INSET * box.width, box.y + (y - 0.5) * INSET * box.height]
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


def stretched(layout: Layout, width: float, height: float) -> Layout:
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


def _labels(graph: nx.DiGraph, row: _Row, page: _Page, is_top: bool) -> _Labels:
    """Names side by side where they fit, else aslant, else upright."""
    size, width, room = page.letters(LABEL), page.inner, LABEL_GAP * page.zoom
    texts = [name_label(graph.nodes[key]["label"], LABEL_CHARACTERS) for key in row.keys]
    widths = [extent(text, size, is_math)[0] for text, is_math in texts]
    line = 1.3 * size / 72
    ends = [(x - w / 2, x + w / 2) for x, w in zip(row.x, widths, strict=True)]
    gaps = [right[0] - left[1] for left, right in pairwise(ends)]
    if min(gaps, default=1.0) > 0.08 and ends[0][0] >= 0 and ends[-1][1] <= width:
        return _Labels(texts, size, 0.0, room, line + room, 0.0, 0.0)
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
        return _Labels(texts, size, 45.0, room, tall + room, margin, max(0.0, right - width))
    upright = min(size, max(page.letters(LEAST_LABEL), step * 72 / 1.3))
    tall = max(widths) * upright / size * HINTED
    return _Labels(texts, upright, 90.0, room, tall + room, 0.0, 0.0)


def _label_words(
    graph: nx.DiGraph, row: _Row, labels: _Labels, nodes: dict[NodeKey, Point], is_top: bool
) -> list[Words]:
    # A turned text is placed by its own ends: it is aligned first and turned then.
    if labels.rotation == 45:
        ha, va = ("left", "baseline") if is_top else ("right", "top")
    elif labels.rotation == 90:
        ha, va = ("left", "center") if is_top else ("right", "center")
    else:
        ha, va = "center", "bottom" if is_top else "top"
    return [
        Words(
            nodes[key],
            labels.gap if is_top else -labels.gap,
            text,
            labels.size,
            is_math,
            color=INK if graph.degree(key) else PALE,
            rotation=labels.rotation,
            ha=ha,
            va=va,
            node=key,
            whole=graph.nodes[key]["label"],
        )
        for key, (text, is_math) in zip(row.keys, labels.texts, strict=True)
    ]


def _heading_words(lines: list[Line], top: Point) -> list[Words]:
    words, y = [], -EDGE
    for line in lines:
        y -= line.above
        words.append(Words(top, y, line.text, line.size, line.is_math))
        y -= line.below
    return words
