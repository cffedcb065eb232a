"""Pruning: edges and nodes below a threshold go, and everything that no longer leads anywhere.

What a removed edge contributed on average goes on as a constant of an edge that stays, so that
removing an edge that is merely constant changes nothing (Liu et al. 2024, arXiv:2404.19756,
sec. 2.5.1, prunes without that).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor

from kansym import scores
from kansym.errors import EmptyNetworkError, is_number
from kansym.layer import KANLayer
from kansym.network import Network, Nodes, Trace

N = TypeVar("N", bound=Network)
Masks = list[Bool[Tensor, "out in"]]


@dataclass(frozen=True)
class Removal:
    """What pruning at a threshold takes from a network, in the network's own numbers: edges
    (l, i, j), and hidden nodes (row, index) among those with outgoing edges."""

    threshold: float
    edges: frozenset[tuple[int, int, int]]
    nodes: frozenset[tuple[int, int]]


def prune(network: N, X: Tensor, node_th: float, edge_th: float, score: str) -> N:
    """A new network without the hidden nodes whose score is below `node_th` and the edges whose
    score is below `edge_th`, both measured on X. See `KAN.prune`."""
    return prune_edges(prune_nodes(network, X, node_th, score), X, edge_th, score)


@torch.no_grad()
def prune_nodes(network: N, X: Tensor, threshold: float, score: str) -> N:
    """Remove hidden nodes below `threshold` and all their edges."""
    _check_threshold("node_th", threshold)
    trace = network.trace(X)
    low = _nodes_below(scores.node_scores(network, trace, score), threshold)
    return restrict(network, trace, _masks_without(network, low), f"node_th={threshold:g}")


@torch.no_grad()
def prune_edges(network: N, X: Tensor, threshold: float, score: str) -> N:
    """Switch off edges below `threshold`, then drop nodes that lead nowhere."""
    _check_threshold("edge_th", threshold)
    trace = network.trace(X)
    values = scores.edge_scores(network, trace, score)
    return restrict(
        network, trace, _masks_from(network, values, threshold), f"edge_th={threshold:g}"
    )


@torch.no_grad()
def removals(
    network: Network, X: Tensor, thresholds: Sequence[float], score: str
) -> tuple[Removal, ...]:
    """What `prune` with node_th = edge_th = threshold takes away, for rising thresholds; it ends
    before the first at which nothing would be left."""
    trace = network.trace(X)
    rows = scores.node_scores(network, trace, score)
    without: dict[frozenset[tuple[int, int]], tuple[Network, Trace, list[Tensor]]] = {}
    found = []
    for threshold in thresholds:
        _check_threshold("threshold", threshold)
        low = frozenset(_nodes_below(rows, threshold))
        try:
            if low not in without:
                cut = _cut(network, trace, _masks_without(network, low), "")
                after = cut.trace(X)
                without[low] = cut, after, scores.edge_scores(cut, after, score)
            cut, after, values = without[low]
            last = _cut(cut, after, _masks_from(cut, values, threshold), "")
        except EmptyNetworkError:
            break
        found.append(_removal(network, last, threshold))
    return tuple(found)


def _removal(network: Network, cut: Network, threshold: float) -> Removal:
    """How a network differs from what `_cut` left of it."""
    edges, nodes = set(), set()
    for l, (before, after) in enumerate(zip(network.kan_layers, cut.kan_layers, strict=True)):
        edges |= {(l, i, j) for j, i in torch.nonzero(before.mask & ~after.mask).tolist()}
        if l:
            gone = before.mask.any(0) & ~after.mask.any(0)
            nodes |= {(l, i) for (i,) in torch.nonzero(gone).tolist()}
    return Removal(threshold, frozenset(edges), frozenset(nodes))


def _nodes_below(rows: Sequence[Tensor], threshold: float) -> list[tuple[int, int]]:
    """Hidden nodes (row, index) with a score below the threshold."""
    return [
        (l, node)
        for l in range(1, len(rows) - 1)
        for node in torch.nonzero(rows[l] < threshold).flatten().tolist()
    ]


def _masks_without(network: Network, nodes: Iterable[tuple[int, int]]) -> Masks:
    masks = [layer.mask.clone() for layer in network.kan_layers]
    for l, node in nodes:
        masks[l - 1][network.subnodes_of_node(l - 1, node)] = False
        masks[l][:, node] = False
    return masks


def _masks_from(network: Network, values: Sequence[Tensor], threshold: float) -> Masks:
    """The edges whose score is not below the threshold."""
    masks = [
        layer.mask & (edges >= threshold)
        for layer, edges in zip(network.kan_layers, values, strict=True)
    ]
    _keep_factors(network, values, masks)
    return masks


@torch.no_grad()
def prune_inputs(network: N, X: Tensor, threshold: float, score: str) -> N:
    """Switch off every edge of inputs below `threshold`; the model still takes the same columns."""
    _check_threshold("threshold", threshold)
    trace = network.trace(X)
    masks = [layer.mask.clone() for layer in network.kan_layers]
    masks[0][:, scores.node_scores(network, trace, score)[0] < threshold] = False
    return restrict(network, trace, masks, f"threshold={threshold:g}")


def restrict(network: N, trace: Trace, masks: Masks, reason: str = "the masks given") -> N:
    """A new network with only the edges in `masks` that lie on a path from an input to an output.

    Hidden nodes without edges are dropped; inputs and outputs stay in the interface. Means of the
    removed edges are carried on as constants, also where they were the only edges of an output or
    of a factor. EmptyNetworkError when nothing is left.
    """
    return _drop_dead_nodes(_cut(network, trace, masks, reason))


def _cut(network: N, trace: Trace, masks: Masks, reason: str) -> N:
    """`restrict`, but for the nodes without edges, which stay: every node keeps its number."""
    masks = _reachable(network, masks)
    if not any(bool(mask.any()) for mask in masks):
        largest = max(float(edges.abs().mean(0).max()) for edges in trace.edges)
        raise EmptyNetworkError(
            f"pruning with {reason} leaves no path from an input to an output "
            f"(largest mean |phi| of an edge: {largest:.3g}); lower the threshold or train longer"
        )
    new = network.copy()
    for l, mask in enumerate(masks):
        _carry_means(new, trace, l, mask)
        new.kan_layers[l].mask = mask
    for node in range(new.n_out):
        if not bool(masks[-1][new.subnodes_of_node(len(masks) - 1, node)].any()):
            new.output_shift[node] += trace.nodes[-1][:, node].mean() * new.output_scale[node]
    return new


def _check_threshold(argument: str, value: float) -> None:
    if not is_number(value) or value < 0:
        raise ValueError(f"{argument} must be >= 0, got {value!r}")


def _keep_factors(network: Network, values: Sequence[Tensor], masks: Masks) -> None:
    # A factor without edges would be the constant 0 and take its whole product with it: a product
    # node that stays keeps the strongest edge of each of its factors.
    for l, mask in enumerate(masks):
        active = network.kan_layers[l].mask
        strength = torch.where(active, values[l], -1)
        for node in range(network.width[l + 1].n_sum, network.width[l + 1].total):
            subnodes = network.subnodes_of_node(l, node)
            if bool(mask[subnodes].any()):
                for s in subnodes:
                    mask[s, strength[s].argmax()] |= active[s].any()


def _reachable(network: Network, masks: Masks) -> Masks:
    """The edges of `masks` between nodes that an input reaches and that reach an output."""
    import networkx as nx  # takes a quarter of a second

    graph = nx.DiGraph()
    graph.add_edges_from(("start", (0, i)) for i in range(network.n_in))
    graph.add_edges_from(((len(masks), o), "end") for o in range(network.n_out))
    for l, mask in enumerate(masks):
        for j, i in torch.nonzero(mask).tolist():
            graph.add_edge((l, i), (l + 1, network.node_of_subnode(l, j)))
    alive = (nx.descendants(graph, "start") & nx.ancestors(graph, "end")) | {"start", "end"}
    kept = []
    for l, mask in enumerate(masks):
        kept.append(mask.clone())
        for j, i in torch.nonzero(mask).tolist():
            ends = ((l, i), (l + 1, network.node_of_subnode(l, j)))
            kept[l][j, i] = all(end in alive for end in ends)
    return kept


def _carry_means(new: Network, trace: Trace, l: int, mask: Tensor) -> None:
    layer = new.kan_layers[l]
    removed = layer.mask & ~mask
    means = torch.where(removed, trace.edges[l].mean(0), 0).sum(1)
    strength = trace.edges[l].abs().mean(0)
    for j in torch.nonzero(removed.any(1)).flatten().tolist():
        factors = new.subnodes_of_node(l, new.node_of_subnode(l, j))
        sources = mask[factors].any(0)
        if not bool(sources.any()):
            continue  # the node goes, and with it the edges that take its constant on
        if not bool(mask[j].any()):  # a factor of a product that stays: it becomes a constant
            source = int(torch.nonzero(sources)[0])
            clear_edge(layer, j, source)
            mask[j, source] = True
        strongest = int(torch.where(mask[j], strength[j], -1).argmax())
        layer.add_constant(j, strongest, float(means[j]))


def clear_edge(layer: KANLayer, j: int, i: int) -> None:
    """Make an edge the numeric constant 0, whatever it was; in place."""
    layer.symbolic.pop((j, i), None)
    layer.coef[j, i] = 0
    layer.base_weight[j, i] = 0


def _drop_dead_nodes(network: N) -> N:
    """Hidden rows reduced to the nodes that have outgoing edges."""
    masks = [layer.mask for layer in network.kan_layers]
    kept = [list(range(network.n_in))]
    for l in range(1, len(masks)):
        kept.append(torch.nonzero(masks[l].any(0)).flatten().tolist())
    kept.append(list(range(network.n_out)))
    width, layers = [network.width[0]], []
    for l, layer in enumerate(network.kan_layers):
        subnodes = [s for node in kept[l + 1] for s in network.subnodes_of_node(l, node)]
        layers.append(layer.select(subnodes, kept[l]))
        n_sum = sum(node < network.width[l + 1].n_sum for node in kept[l + 1])
        width.append(Nodes(n_sum, len(kept[l + 1]) - n_sum))
    return network.with_layers(width, layers)
