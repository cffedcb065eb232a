"""Splines in the place of functions, and noise on them: a network to be trained again from nearby.

Source of the verb: Liu et al. 2024, arXiv:2408.10205, sec. 4.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from kansym import bspline
from kansym.errors import check_index, check_seed, is_number, shown
from kansym.layer import KANLayer
from kansym.network import Network

N = TypeVar("N", bound=Network)
Edge = tuple[int, int, int]


@torch.no_grad()
def perturb(
    network: N, size: float, edges: Iterable[Sequence[int]] | str | None = None, seed: int = 0
) -> N:
    """A new network in which `edges` are splines that follow what they were, with noise.

    size: >= 0, of the noise on their coefficients: its standard deviation, in units of how much the
    layer's active edges vary over their grids (root mean square of their standard deviations); 0
    gives splines back and adds nothing.
    edges: (l, i, j); by default all active ones. "all" are those that are off, too, as splines of
    noise alone, but for edges into factors that their products leave out.

    Raises ValueError for bad arguments, and for a function that is nowhere real on its grid.
    """
    if not is_number(size) or size < 0:
        raise ValueError(f"size must be a number >= 0, got {shown(size)}")
    chosen = _chosen(network, edges)
    generator = torch.Generator().manual_seed(check_seed("seed", seed))
    new = network.copy()
    scales = [float(size) * _variation(layer) for layer in network.kan_layers]
    for l, i, j in chosen:
        layer = new.kan_layers[l]
        _make_numeric(layer, (l, i, j))
        noise = torch.randn(layer.coef.shape[2], generator=generator, dtype=torch.float64)
        layer.coef[j, i] += scales[l] * noise.to(layer.coef)
    return new


def _chosen(network: Network, edges: Iterable[Sequence[int]] | str | None) -> list[Edge]:
    """The edges, sorted, each once."""
    if edges is None or edges == "all":
        found = []
        for l, layer in enumerate(network.kan_layers):
            mask = layer.mask if edges is None else _openable(network, l)
            found += [(l, i, j) for j, i in torch.nonzero(mask).tolist()]
        return found
    if isinstance(edges, str) or not isinstance(edges, Iterable):
        raise ValueError(f'edges must be a list of (l, i, j), "all" or None, got {shown(edges)}')
    found = set()
    for edge in edges:
        if not isinstance(edge, Sequence) or len(edge) != 3:
            raise ValueError(f"edges must be (l, i, j) each, got {shown(edge)}")
        l = check_index("l", edge[0], len(network.layers))
        layer = network.kan_layers[l]
        i = check_index("i", edge[1], layer.n_in)
        j = check_index("j", edge[2], layer.n_out)
        if not bool(_openable(network, l)[j, i]):
            raise ValueError(
                f"edge ({l}, {i}, {j}) ends in a factor that its product leaves out; noise there "
                "would take the place of the product. widen makes product nodes"
            )
        found.add((l, i, j))
    return sorted(found)


def _openable(network: Network, l: int) -> Tensor:
    """The edges of layer l that are on, or whose being switched on as 0 changes nothing."""
    layer = network.kan_layers[l]
    is_open = layer.mask.any(1)
    is_open[: network.width[l + 1].n_sum] = True
    return is_open[:, None].expand_as(layer.mask)


def _variation(layer: KANLayer) -> float:
    """Root mean square of the standard deviations of the active edges over their grids; 1 where
    none varies."""
    values = layer.edges(bspline.sites(layer.knots, layer.k, 4))
    values = values[:, layer.mask]
    values = values[torch.isfinite(values).all(1)]
    size = float(values.var(0, correction=0).mean() ** 0.5) if values.numel() else 0.0
    return size or 1.0


def _make_numeric(layer: KANLayer, edge: Edge) -> None:
    l, i, j = edge
    if not bool(layer.mask[j, i]):
        layer.symbolic.pop((j, i), None)
        layer.coef[j, i] = 0
        layer.base_weight[j, i] = 0
        layer.mask[j, i] = True
    elif (j, i) in layer.symbolic:
        try:
            layer.to_spline(j, i)
        except ValueError as error:
            raise ValueError(f"edge ({l}, {i}, {j}) cannot become a spline: {error}") from error
