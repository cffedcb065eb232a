"""How much an edge, a node or a feature matters, measured on a sample.

    mean_abs     A_ji = mean |phi_ji(x_i)|  (Liu et al. 2024, arXiv:2404.19756, eq. 2.17)
    std          A_ji = standard deviation of phi_ji(x_i)
    attribution  share of the outputs' variation that flows through the edge, from the output back

Attribution (after Liu et al. 2024, arXiv:2408.10205, sec. 4.1): an output has score 1; an edge gets
its subnode's score times std(phi) / std(subnode); a node the sum over its outgoing edges. It is
taken per output and the largest is kept: averaged over many outputs every edge would look dead.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kansym import kernels
from kansym.errors import check_choice
from kansym.layer import KANLayer
from kansym.network import Network, Trace

SCORES = ("mean_abs", "std", "attribution")

# A subnode whose values differ by no more than so many roundings of its edges is a constant.
ROUNDINGS = 64


def edge_scores(network: Network, trace: Trace, kind: str) -> list[Float[Tensor, "out in"]]:
    """A score >= 0 for every edge, layer by layer; 0 where an edge is off."""
    check_choice("score", kind, SCORES)
    if kind == "attribution":
        return attribution(network, trace)[0]
    return [_size(values, kind) for values in trace.edges]


def covariance(layer: KANLayer, x: Tensor) -> Float[Tensor, "in features features"]:
    """Covariance of the features of a numeric edge from each input, in float64."""
    first, second = kernels.moments(x, layer.shape)
    return second - first[:, :, None] * first[:, None, :]


def spread(
    layer: KANLayer, x: Tensor, cov: Float[Tensor, "in features features"] | None = None
) -> Float[Tensor, "out in"]:
    """Standard deviation of every edge, from the covariance of its features: w' C w.

    The values of the edges, [batch, out, in], are never written down: for 512 inputs, 512 outputs
    and 1,024 rows that is what makes an exact penalty affordable.
    """
    cov = covariance(layer, x) if cov is None else cov
    values = safe_sqrt(kernels.variances(cov, layer.numeric_edges))
    for group in layer.symbolic_groups():
        sizes = _std(layer.symbolic_values(x, group))
        values = values.index_put((group.out_index, group.in_index), sizes)
    return values


def attribution(
    network: Network, trace: Trace
) -> tuple[list[Float[Tensor, "out in"]], list[Float[Tensor, " nodes"]]]:
    """Attribution scores of the edges of every layer and of the nodes of every row."""
    width = network.width
    node = torch.eye(network.n_out, dtype=network.dtype, device=network.device)  # [output, node]
    edges: list[Tensor] = []
    nodes = [node.amax(0)]
    for l in reversed(range(len(trace.edges))):
        owner = [network.node_of_subnode(l, s) for s in range(trace.subnodes[l].shape[1])]
        share = _shares(trace.edges[l], trace.subnodes[l])
        flow = node[:, owner, None] * share  # [output, out, in]
        node = flow.sum(1)
        edges.append(flow.amax(0))
        nodes.append(node.amax(0))
    assert len(nodes) == len(width)
    return edges[::-1], nodes[::-1]


def node_scores(
    network: Network, trace: Trace, kind: str, edges: Sequence[Tensor] | None = None
) -> list[Float[Tensor, " nodes"]]:
    """A score for every node of every row.

    For mean_abs and std: min(largest incoming, largest outgoing edge score), the rule of Liu et al.
    2024, arXiv:2404.19756, sec. 2.5.1; inputs have only outgoing edges and outputs only incoming.
    A product has its own values instead of incoming edges: a factor may well be a constant.
    """
    if kind == "attribution":
        return attribution(network, trace)[1]
    edges = edge_scores(network, trace, kind) if edges is None else edges
    rows = [edges[0].amax(0)]
    for l, scores in enumerate(edges):
        n_sum = network.width[l + 1].n_sum
        products = _size(trace.nodes[l + 1], kind)[n_sum:]
        row = torch.cat([scores[:n_sum].amax(1), products])
        if l + 1 < len(edges):
            row = torch.minimum(row, edges[l + 1].amax(0))
        rows.append(row)
    return rows


def entropy(values: Tensor) -> Tensor:
    """- sum p log p of p = values / sum(values): 0 when one edge has it all (Liu et al. 2024,
    arXiv:2404.19756, eq. 2.19)."""
    # The floor keeps the gradient finite for an edge whose score is exactly zero.
    share = values / values.sum().clamp(min=1e-30) + 1e-14
    return -(share * share.log()).sum()


def feature_scores(network: Network, trace: Trace) -> Float[Tensor, " in"]:
    """Attribution of the outputs to each input."""
    return attribution(network, trace)[1][0]


def _size(values: Tensor, kind: str) -> Tensor:
    return values.abs().mean(0) if kind == "mean_abs" else _std(values)


def _shares(edges: Tensor, subnodes: Tensor) -> Float[Tensor, "out in"]:
    """std(phi) / std(subnode); a subnode that is constant up to rounding has no shares to give."""
    spread = _std(subnodes)
    rounding = ROUNDINGS * torch.finfo(edges.dtype).eps * edges.detach().abs().amax((0, 2))
    varies = spread > rounding
    share = _std(edges) / torch.where(varies, spread, 1.0)[:, None]
    return torch.where(varies[:, None], share, 0.0)


def _std(values: Tensor) -> Tensor:
    return safe_sqrt(values.var(0, correction=0))


def safe_sqrt(variance: Tensor) -> Tensor:
    """The square root with slope 0 at 0 and below."""
    # The slope of a square root is infinite at 0: an edge that is off must not give NaN gradients.
    positive = variance > 0
    return torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)
