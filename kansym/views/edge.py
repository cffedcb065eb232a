"""One edge: its curve over the grid, the rows it saw, and the function that describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
from matplotlib.axes import Axes

from kansym.functions import get_function
from kansym.views.axes import (
    BLACK,
    GREY,
    SHADE,
    SKY,
    VERMILION,
    finite,
    panel_below,
    place,
    size_of,
)
from kansym.views.text import name_label, one_line, set_words, tag_label

FORMULA_SIZE = 11.0  # points

CONSTANT_DIGITS = 3

NEGLIGIBLE = 1e-4  # of the range: what b and d of a formula leave out of the picture


def plot_edge(
    graph: nx.DiGraph,
    l: int,
    i: int,
    j: int,
    ax: Axes | None = None,
    suggestion: tuple[str, Sequence[float]] | None = None,
) -> Axes:
    """Draw edge (l, i, j) of the graph that `network_graph` returns; the upper Axes.

    suggestion: (name, (a, b, c, d)) of a function c f(a x + b) + d to compare the edge with; what
    it leaves is drawn below. Units are those the edge sees. Raises ValueError for an edge that is
    not on the graph.
    """
    source, edge = find_edge(graph, l, i, j)
    ax = place(ax)
    fitted = suggestion
    if fitted is None and edge["function"] is not None:
        fitted = edge["function"], edge["affine"]
    ax.axvspan(*edge["grid"], color=SHADE, lw=0, zorder=0, label="grid")
    ax.plot(*finite(*edge["grid_curve"]), color=SKY, lw=4, label="edge", zorder=3)
    x, _ = finite(*edge["sample"])
    foot = {"transform": ax.get_xaxis_transform(), "ls": "", "marker": "|", "ms": 8, "mew": 0.6}
    ax.plot(x, np.full(len(x), 0.02), color=BLACK, label="data", zorder=5, **foot)
    ax.set_ylabel(rf"$\phi_{{{l},{i},{j}}}$")
    if fitted:
        _draw_function(ax, edge, *fitted)
    below = ax
    if suggestion:
        below = panel_below(ax)
        _draw_residual(below, edge, *suggestion)
    _label_input(below, graph.nodes[source], l, i)
    ax.margins(y=0.12)  # the marks of the data stay clear of the curve
    legend = ax.legend(loc="best", ncols=2)
    if fitted:
        set_words(legend.get_texts()[-1], *tag_label(fitted[0]))
    return ax


def find_edge(graph: nx.DiGraph, l: int, i: int, j: int) -> tuple[tuple[int, int], dict]:
    """The node that edge (l, i, j) starts from, and its attributes; ValueError for none such."""
    edges = {
        (data["l"], data["i"], data["j"]): (source, data)
        for source, _, data in graph.edges(data=True)
        if data["kind"] != "product"
    }
    if (l, i, j) in edges:
        return edges[l, i, j]
    was_pruned = (l, i, j) in graph.graph["masked"]
    why = "was pruned away" if was_pruned else "is not in the network"
    raise ValueError(f"edge ({l}, {i}, {j}) {why}; choose one of {_some(sorted(edges))}")


def _some(edges: Sequence[tuple[int, int, int]], most: int = 8) -> str:
    return ", ".join(map(str, edges[:most])) + (", ..." if len(edges) > most else "")


def _draw_function(ax: Axes, edge: dict, name: str, params: Sequence[float]) -> None:
    x, _ = edge["grid_curve"]
    line = finite(x, values_of(name, params, x))
    ax.plot(*line, color=VERMILION, lw=1.8, ls=(0, (4, 2)), label="function", zorder=4)
    latex = function_latex(name, significant(name, params, x))
    text, is_math, size = one_line(latex, FORMULA_SIZE, 0.9 * size_of(ax)[0])
    set_words(ax.set_title("", size=size), text, is_math, latex)


def _draw_residual(ax: Axes, edge: dict, name: str, params: Sequence[float]) -> None:
    x, y = finite(*edge["sample"])
    ax.axhline(0.0, color=BLACK, lw=0.8, ls=":")
    ax.plot(*finite(x, y - values_of(name, params, x)), ".", color=GREY, ms=4)
    ax.set_ylabel("residual")
    ax.locator_params(axis="y", nbins=3)
    ax.ticklabel_format(axis="y", scilimits=(-2, 3))


def _label_input(ax: Axes, node: dict, l: int, i: int) -> None:
    if l:
        ax.set_xlabel(f"node $({l}, {i})$")
        return
    text, is_math = name_label(node["label"], 60)
    is_scaled = (node["shift"], node["scale"]) != (0.0, 1.0)
    shown = f"{text}, scaled" if is_scaled else text
    set_words(ax.set_xlabel(""), shown, is_math, node["label"])


def values_of(name: str, params: Sequence[float], x: np.ndarray) -> np.ndarray:
    """c f(a x + b) + d at x; NaN outside the domain of f."""
    a, b, c, d = params
    return c * get_function(name).numpy(a * np.asarray(x, dtype=float) + b) + d


def significant(
    name: str, params: Sequence[float], x: np.ndarray
) -> tuple[float, float, float, float]:
    """(a, b, c, d) with 0 for a b or d that moves nothing by a hair's breadth at the points x."""
    a, b, c, d = params
    values = finite(c * get_function(name).numpy(a * x + b))[0]
    has_b = abs(b) > NEGLIGIBLE * abs(a) * np.ptp(x)
    has_d = not len(values) or abs(d) > NEGLIGIBLE * np.ptp(values)
    return a, b if has_b else 0.0, c, d if has_d else 0.0


def function_of(name: str, params: Sequence[float], x: Any) -> Any:
    """c f(a x + b) + d as SymPy has it, constants that are 0 left out."""
    import sympy

    a, b, c, d = (sympy.Float(p) if p else sympy.Integer(0) for p in params)
    return c * get_function(name).sympy(a * x + b) + d


def function_latex(name: str, params: Sequence[float]) -> str:
    """LaTeX of c f(a x + b) + d as it stands, constants to three digits."""
    import sympy

    from kansym.symbolic.formula import round_floats

    x = sympy.Symbol("x", real=True)
    rounded = round_floats(function_of(name, params, x), CONSTANT_DIGITS)
    return sympy.latex(rounded, fold_short_frac=False)
