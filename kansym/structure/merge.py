"""Merging hidden nodes that carry the same inner function up to scale and shift.

When h_q = alpha h_p + beta on the data, node q is redundant: its outgoing edges
phi_q(alpha x + beta) are added to those of p and q is dropped. Sparse training often leaves such
copies, since two faint ones cost the L1 penalty no more than one strong one.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from kansym import bspline
from kansym.errors import is_number
from kansym.layer import KANLayer
from kansym.network import Network
from kansym.structure.prune import clear_edge, restrict

N = TypeVar("N", bound=Network)


@torch.no_grad()
def merge(network: N, X: Tensor, tolerance: float) -> N:
    """A new network in which no two sum nodes of a hidden row are collinear on X.

    Nodes p and q are collinear when 1 - corr(h_p, h_q)^2 <= tolerance. Only nodes whose outgoing
    edges are splines are merged.
    """
    if not is_number(tolerance) or not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be a number in [0, 1), got {tolerance!r}")
    new = network.copy()
    for l in range(1, len(new.layers)):
        while (pair := _collinear_pair(new, new.trace(X).nodes[l], l, tolerance)) is not None:
            new = _merge_pair(new, X, l, *pair)
    return new


def _collinear_pair(
    network: Network, nodes: Tensor, l: int, tolerance: float
) -> tuple[int, int] | None:
    """The most collinear pair (kept, dropped) of sum nodes of row l; the livelier one is kept."""
    layer = network.kan_layers[l]
    mergeable = ~layer.is_symbolic.any(0)
    mergeable[network.width[l].n_sum :] = False
    values = nodes - nodes.mean(0)
    size = values.norm(dim=0)
    mergeable &= size > 0
    unit = values / torch.where(size > 0, size, 1.0)
    r2 = (unit.T @ unit) ** 2
    r2 = torch.where(mergeable[:, None] & mergeable, r2, 0).fill_diagonal_(0)
    if not r2.numel() or float(r2.max()) < 1 - tolerance:
        return None
    p, q = divmod(int(r2.argmax()), len(r2))
    return (p, q) if size[p] >= size[q] else (q, p)


def _merge_pair(network: N, X: Tensor, l: int, p: int, q: int) -> N:
    trace = network.trace(X)
    h_p, h_q = trace.nodes[l][:, p], trace.nodes[l][:, q]
    centred = h_p - h_p.mean()
    alpha = (centred @ h_q) / (centred @ centred)
    beta = h_q.mean() - alpha * h_p.mean()
    new = network.copy()
    _add_edges(new.kan_layers[l], p, q, alpha, beta)
    masks = [layer.mask.clone() for layer in new.kan_layers]
    masks[l][:, q] = False
    # Nothing of q may be carried on as a mean: its function lives on in p.
    silent = network.copy()
    silent.kan_layers[l].coef[:, q] = 0
    silent.kan_layers[l].base_weight[:, q] = 0
    return restrict(new, silent.trace(X), masks)


def _add_edges(layer: KANLayer, p: int, q: int, alpha: Tensor, beta: Tensor) -> None:
    """Add phi_q(alpha x + beta) to the spline part of phi_p for every output of the layer."""
    points = bspline.sites(layer.knots, layer.k, 4 * (layer.k + 1))
    moved = torch.zeros_like(points)
    moved[:, q] = alpha * points[:, p] + beta
    gained = layer.edges(moved)[:, :, q]
    knots = layer.knots[p : p + 1]
    coef = bspline.fit_coefficients(points[:, p : p + 1], gained[:, :, None], knots, layer.k)
    for j in torch.nonzero(~layer.mask[:, p]).flatten().tolist():
        clear_edge(layer, j, p)
    layer.coef[:, p] += coef[:, 0]
    layer.mask[:, p] |= layer.mask[:, q]
