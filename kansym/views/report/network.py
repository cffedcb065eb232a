"""The diagram of a network as SVG elements that can be asked: one for every edge and node.

Places are those of `views.layout`, in SVG units with y downwards; colours are in the style sheet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import sympy

from kansym.structure import Removal
from kansym.symbolic.formula import round_floats
from kansym.symbolic.names import read_symbol
from kansym.views.diagram import edge_alpha
from kansym.views.edge import function_of, significant
from kansym.views.layout import TAG_LIFT, Box, Layout, Words, edge_curve, edge_lines, make_layout
from kansym.views.mathml import equation
from kansym.views.report.charts import path_of
from kansym.views.report.contents import EdgeName, NetworkView
from kansym.views.text import number_text, printable, shortened

UNIT = 100.0  # SVG units to an inch

MOST_EDGES = 250

CURVE_POINTS = 40

DIGITS = 3

MARKS = {"input": 0.8, "sum": 1.0, "product": 1.0, "subnode": 0.5}  # radius, of a node's


@dataclass(frozen=True)
class EdgeMark:
    """An edge. goes: for every position of the slider "1" where pruning takes it, else "0"."""

    key: str
    lines: str
    box: tuple[float, float, float, float]
    curve: str
    opacity: float
    is_named: bool
    tag: tuple[float, float, str] | None
    goes: str
    title: str
    label: str
    formula: str
    facts: tuple[tuple[str, str], ...]
    ends: tuple[str, str, str, str]
    """Of the curve: least and greatest x, least and greatest y."""


@dataclass(frozen=True)
class NodeMark:
    kind: str
    x: float
    y: float
    radius: float
    goes: str
    title: str


@dataclass(frozen=True)
class Label:
    """The name of an input or output; index: what is set below the line."""

    x: float
    y: float
    text: str
    index: str
    title: str
    size: float
    anchor: str
    turn: float


@dataclass(frozen=True)
class Position:
    """Of the slider: a threshold, and what would go."""

    threshold: str
    text: str


@dataclass(frozen=True)
class Drawing:
    width: float
    height: float
    edges: tuple[EdgeMark, ...]
    nodes: tuple[NodeMark, ...]
    labels: tuple[Label, ...]
    links: str
    positions: tuple[Position, ...]


def drawing(view: NetworkView) -> Drawing:
    """Everything that the template needs to draw a network."""
    graph = view.graph
    layout = make_layout(graph, None, None)
    edges = tuple(_edge_mark(box, view, layout) for box in layout.boxes)
    hidden = [key for key in layout.nodes if _is_hidden(graph, key)]
    links = [
        (layout.nodes[source], layout.nodes[target])
        for source, target, kind in graph.edges(data="kind")
        if kind == "product" and target in layout.nodes
    ]
    return Drawing(
        width=_up(layout.width),
        height=_up(layout.height),
        edges=edges,
        nodes=tuple(_node_mark(graph, key, layout, view.removals) for key in layout.nodes),
        labels=tuple(_label(graph, words, layout) for words in layout.words),
        links="".join(path_of([_place(point, layout) for point in link]) for link in links),
        positions=tuple(
            Position(f"{removal.threshold:g}", going(removal, len(edges), len(hidden)))
            for removal in view.removals
        ),
    )


def going(removal: Removal, n_edges: int, n_nodes: int) -> str:
    """ "3 of 12 edges and 1 of 5 nodes would go"."""
    edges = f"{len(removal.edges)} of {n_edges} edge{'' if n_edges == 1 else 's'}"
    if not n_nodes:
        return f"{edges} would go"
    nodes = f"{len(removal.nodes)} of {n_nodes} node{'' if n_nodes == 1 else 's'}"
    return f"{edges} and {nodes} would go"


def _up(inches: float) -> float:
    return round(inches * UNIT, 1)


def _place(point: Any, layout: Layout) -> tuple[float, float]:
    return point[0] * UNIT, (layout.height - point[1]) * UNIT


def _is_hidden(graph: nx.DiGraph, key: Any) -> bool:
    node = graph.nodes[key]
    return node["kind"] in ("sum", "product") and not node["is_output"]


def _edge_mark(box: Box, view: NetworkView, layout: Layout) -> EdgeMark:
    edge = box.edge
    key = edge["l"], edge["i"], edge["j"]
    lines = [[_place(point, layout) for point in line] for line in edge_lines(box)]
    curve = edge_curve(box)
    kept = np.linspace(0, len(curve) - 1, min(CURVE_POINTS, len(curve))).round().astype(int)
    left, top = _place((box.x - box.width / 2, box.y + box.height / 2), layout)
    tag = None
    if edge["kind"] == "symbolic":
        x, y = _place((box.x, box.y + box.height / 2 + TAG_LIFT), layout)
        tag = round(x, 1), round(y, 1), _raised(shortened(printable(str(edge["function"])), 12))
    source, target = _ends(view.graph, edge)
    name = view.names.get(key)
    facts, text, formula = _described(edge, name, view.graph)
    return EdgeMark(
        key="-".join(map(str, key)),
        lines="".join(path_of(line) for line in lines),
        box=(round(left, 1), round(top, 1), _up(box.width), _up(box.height)),
        curve=path_of([_place(curve[n], layout) for n in kept]),
        opacity=round(edge_alpha(edge["score"]), 3),
        is_named=edge["kind"] == "symbolic",
        tag=tag,
        goes=_goes([key in removal.edges for removal in view.removals]),
        title=f"{source} \u2192 {target}",
        label=f"Edge {key}, {source} to {target}: {text}",
        formula=formula,
        facts=facts,
        ends=_curve_ends(edge, view.graph),
    )


def _goes(flags: Sequence[bool]) -> str:
    return "".join("1" if flag else "0" for flag in flags)


def _ends(graph: nx.DiGraph, edge: dict[str, Any]) -> tuple[str, str]:
    """What an edge joins, in words."""
    l, i, j = edge["l"], edge["i"], edge["j"]
    target = next(key for _, key, data in graph.out_edges((l, i), data=True) if data is edge)
    factor = next(iter(graph.succ[target])) if graph.nodes[target]["kind"] == "subnode" else None
    if factor is not None:
        return _node_name(graph, (l, i)), f"factor {j} of {_node_name(graph, factor)}"
    return _node_name(graph, (l, i)), _node_name(graph, target)


def _node_name(graph: nx.DiGraph, key: Any) -> str:
    node = graph.nodes[key]
    if node["label"]:
        return shortened(printable(node["label"]), 60)
    return f"node ({node['row']}, {node['index']})"


def _described(
    edge: dict[str, Any], name: EdgeName | None, graph: nx.DiGraph
) -> tuple[tuple[tuple[str, str], ...], str, str]:
    """Facts about an edge, the same as one text, and its formula as MathML."""
    score = number_text(edge["score"])
    if name is None:
        return (("function", "spline"), ("score", score)), f"spline, score {score}", ""
    r2 = "" if np.isnan(name.r2) else number_text(name.r2, 5)
    expr, variable = _function(edge, name, graph)
    formula = equation("phi", expr, {variable: str(variable)})
    kind = f"{name.function}" if name.is_kept else f"spline; nearest name: {name.function}"
    kind = printable(kind)
    facts = [("function", kind)] + ([("R² of the name", r2)] if r2 else []) + [("score", score)]
    text = f"{kind}, {expr}" + (f", R² {r2}" if r2 else "") + f", score {score}"
    return tuple(facts), text, formula


def _function(edge: dict[str, Any], name: EdgeName, graph: nx.DiGraph) -> tuple[Any, sympy.Symbol]:
    """c f(a x + b) + d; of the first layer in units of the data."""
    a, b, c, d = name.params
    x = np.asarray(edge["curve"][0])
    if edge["l"] == 0:
        node = graph.nodes[0, edge["i"]]
        b -= a * node["scale"] * node["shift"]
        a *= node["scale"]
        x = x / node["scale"] + node["shift"]
    params = significant(name.function, (a, b, c, d), x)
    variable = sympy.Symbol("x", real=True)
    return round_floats(function_of(name.function, params, variable), DIGITS), variable


def _curve_ends(edge: dict[str, Any], graph: nx.DiGraph) -> tuple[str, str, str, str]:
    x, y = (np.asarray(values, dtype=float) for values in edge["curve"])
    if edge["l"] == 0:
        node = graph.nodes[0, edge["i"]]
        x = x / node["scale"] + node["shift"]
    y = y[np.isfinite(y)]
    ends = (x.min(), x.max(), *((y.min(), y.max()) if len(y) else (np.nan, np.nan)))
    texts = [number_text(float(value)) for value in ends]
    return texts[0], texts[1], texts[2], texts[3]


def _node_mark(
    graph: nx.DiGraph, key: Any, layout: Layout, removals: Sequence[Removal]
) -> NodeMark:
    node = graph.nodes[key]
    x, y = _place(layout.nodes[key], layout)
    owner = next(iter(graph.succ[key])) if node["kind"] == "subnode" else key
    name = f"{_node_name(graph, key)}" if node["kind"] != "subnode" else "a factor"
    return NodeMark(
        kind=node["kind"],
        x=round(x, 1),
        y=round(y, 1),
        radius=round(MARKS[node["kind"]] * layout.radius * UNIT, 2),
        goes=_goes([owner in removal.nodes for removal in removals]),
        title=name,
    )


def _raised(function: str) -> str:
    """x^2 as x²; 1/x^1.5 stays."""
    return re.sub(r"\^(\d)(?![\d.])", lambda power: "⁰¹²³⁴⁵⁶⁷⁸⁹"[int(power[1])], function)


def _label(graph: nx.DiGraph, words: Words, layout: Layout) -> Label:
    x, y = _place((words.anchor[0], words.anchor[1] + words.dy), layout)
    size = words.size / 72 * UNIT
    node = graph.nodes[words.node]
    name = str(node["label"])
    symbol = read_symbol(name)
    text, index = (
        (shortened(printable(name), 18), "")
        if symbol is None or symbol.unit
        else (symbol.letter, ",".join(symbol.subscripts))
    )
    if words.va == "top" and not words.rotation:
        y += 0.8 * size
    if words.rotation == 90:  # SVG has no vertical anchor that all browsers know
        x += 0.35 * size
    anchors = {"center": "middle", "left": "start", "right": "end"}
    anchor = anchors[words.ha]
    if words.rotation == 90:
        anchor = "start" if words.va == "bottom" else "end"
    return Label(
        x=round(x, 1),
        y=round(y, 1),
        text=text,
        index=index,
        title=printable(name),
        size=round(size, 1),
        anchor=anchor,
        turn=-words.rotation,
    )
