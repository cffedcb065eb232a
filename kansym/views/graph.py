"""A network as a graph: everything that a picture of it shows, as data.

Node (row, index) is node `index` of that row, row 0 the inputs. The factors of a product node are
nodes of their own, ("sub", l, j), so that a reader sees what is multiplied; those without active
edges are left out of the product, and here. Edge attributes use the
public indices (l, i, j): layer, input node, output subnode, as in `layer.mask[j, i]`.

    graph n_rows; masked: (l, i, j) of the edges that are switched off
    node  kind "input" | "sum" | "product" | "subnode", is_output, row, index, label,
          score; of an input also shift and scale: the first layer sees scale * (x - shift)
    edge  kind "spline" | "symbolic", l, i, j, function, affine (a, b, c, d), score,
          curve (x, y) over the range of X, grid (low, high), grid_curve (x, y) over grid and X,
          sample (x, y) at rows of X
    edge  kind "product", from a factor to its product node
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import networkx as nx
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kansym import bspline
from kansym.errors import check_positive_int
from kansym.layer import KANLayer
from kansym.network import Network

NodeKey = tuple[int, int] | tuple[str, int, int]


@torch.no_grad()
def network_graph(
    network: Network,
    X: Float[Tensor, "batch in"],
    scores: Sequence[Tensor],
    feature_names: Sequence[str] | None = None,
    target_names: Sequence[str] | None = None,
    curve_points: int = 100,
    sample_rows: int = 400,
    node_scores: Sequence[Tensor] | None = None,
) -> nx.DiGraph:
    """The network as a directed graph; the network is not changed.

    scores: for every layer the scores of its edges, [out, in], not negative.
    curve_points: points of each curve, spread evenly over the range the edge's input takes on X,
    in the units the edge sees (the first layer sees scaled inputs).
    sample_rows: at most so many rows of X are kept on every edge, spread evenly over X.
    node_scores: for every row of nodes their scores; NaN without.

    Raises ValueError when X is empty, or the names or scores do not match the network.
    """
    _check(network, X, scores, curve_points)
    graph = nx.DiGraph(n_rows=len(network.width), masked=_masked(network))
    inputs = node_names("feature_names", feature_names, network.n_in, "x")
    targets = node_names("target_names", target_names, network.n_out, "y")
    _add_nodes(graph, network)
    last = len(network.width) - 1
    for row, names in ((0, inputs), (last, targets)):
        for index, name in enumerate(names):
            graph.nodes[row, index].update(label=name)
    for index, (shift, scale) in enumerate(
        zip(network.input_shift.tolist(), network.input_scale.tolist(), strict=True)
    ):
        graph.nodes[0, index].update(shift=shift, scale=scale)
    for row, values in enumerate(node_scores or ()):
        for index, value in enumerate(values.tolist()):
            graph.nodes[row, index]["score"] = value
    h = network.scale_inputs(X.to(network.device))
    kept = torch.linspace(0, len(h) - 1, min(sample_rows, len(h)), device=h.device).long()
    for l, layer in enumerate(network.kan_layers):
        for i, j, attributes in _edges(layer, h, curve_points, kept, scores[l]):
            graph.add_edge((l, i), target_key(network, l, j), l=l, i=i, j=j, **attributes)
        h = network.combine(l, layer(h))
    return graph


def target_key(network: Network, l: int, j: int) -> NodeKey:
    """The graph node in which the edges of subnode j of layer l end."""
    return (l + 1, j) if j < network.width[l + 1].n_sum else ("sub", l, j)


def _check(network: Network, X: Tensor, scores: Sequence[Tensor], curve_points: int) -> None:
    if len(X) == 0:
        raise ValueError("X must have at least one row to show the range of an edge, got none")
    check_positive_int("curve_points", curve_points, 2)
    shapes = [tuple(layer.mask.shape) for layer in network.kan_layers]
    got = [tuple(score.shape) for score in scores]
    if got != shapes:
        raise ValueError(f"scores must be [out, in] for every layer, {shapes}, got {got}")


def node_names(argument: str, names: Sequence[str] | None, count: int, letter: str) -> list[str]:
    """The names given, or x1, x2, ... and y; ValueError for another number of them."""
    if not names:
        return (
            [letter] if letter == "y" and count == 1 else [f"{letter}{n + 1}" for n in range(count)]
        )
    if isinstance(names, str) or len(names) != count:
        raise ValueError(f"{argument} must be a list of {count} names, got {names!r}")
    return [str(name) for name in names]


def _add_nodes(graph: nx.DiGraph, network: Network) -> None:
    last = len(network.width) - 1
    for row, nodes in enumerate(network.width):
        left_out = network.is_left_out(row - 1).tolist() if row else []
        for index in range(nodes.total):
            kind = "input" if row == 0 else "sum" if index < nodes.n_sum else "product"
            _add_node(graph, (row, index), kind, row, index, is_output=row == last)
            if kind == "product":
                for j in network.subnodes_of_node(row - 1, index):
                    if not left_out[j]:
                        _add_node(graph, ("sub", row - 1, j), "subnode", row, j)
                        graph.add_edge(("sub", row - 1, j), (row, index), kind="product")


def _add_node(
    graph: nx.DiGraph, key: NodeKey, kind: str, row: int, index: int, is_output: bool = False
) -> None:
    graph.add_node(
        key, kind=kind, row=row, index=index, is_output=is_output, label="",
        score=math.nan,
    )  # fmt: skip


def _masked(network: Network) -> tuple[tuple[int, int, int], ...]:
    return tuple(
        (l, i, j)
        for l, layer in enumerate(network.kan_layers)
        for j, i in (~layer.mask).nonzero().tolist()
    )


def _ends(h: Tensor) -> tuple[Float[Tensor, " in"], Float[Tensor, " in"]]:
    """Per column, the least and the greatest finite value; 0 where there is none."""
    finite = torch.isfinite(h)
    low = torch.where(finite, h, torch.inf).amin(0)
    high = torch.where(finite, h, -torch.inf).amax(0)
    seen = finite.any(0)
    return torch.where(seen, low, 0), torch.where(seen, high, 0)


def _even_points(low: Tensor, high: Tensor, count: int) -> Float[Tensor, "points in"]:
    t = torch.linspace(0, 1, count, dtype=low.dtype, device=low.device)[:, None]
    # lerp meets both ends exactly: one rounding past the end may leave a function's domain.
    return torch.lerp(low, high, t)


def _edges(
    layer: KANLayer, h: Tensor, curve_points: int, kept: Tensor, scores: Tensor
) -> Iterator[tuple[int, int, dict]]:
    """(i, j, attributes) of the active edges."""
    low, high = _ends(h)
    grid_low, grid_high = bspline.grid_range(layer.knots, layer.k)
    wide = torch.minimum(low, grid_low), torch.maximum(high, grid_high)
    curve = _pairs(layer, _even_points(low, high, curve_points))
    grid_curve = _pairs(layer, _even_points(*wide, curve_points))
    sample = _pairs(layer, h[kept])
    values, ends = scores.tolist(), list(zip(grid_low.tolist(), grid_high.tolist(), strict=True))
    for j, i in layer.mask.nonzero().tolist():
        name = layer.symbolic.get((j, i))
        yield (
            i,
            j,
            {
                "kind": "spline" if name is None else "symbolic",
                "function": name,
                "affine": None if name is None else tuple(layer.affine[j, i].tolist()),
                "score": float(values[j][i]),
                "grid": ends[i],
                "curve": (curve[0][i], curve[1][j, i]),
                "grid_curve": (grid_curve[0][i], grid_curve[1][j, i]),
                "sample": (sample[0][i], sample[1][j, i]),
            },
        )


def _pairs(layer: KANLayer, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [in, points] and the edges' values there, [out, in, points]."""
    return x.T.cpu().numpy(), layer.edges(x).permute(1, 2, 0).cpu().numpy()
