"""Giving an edge a function, and giving it its spline back. Both act in place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kansym.functions import get_function
from kansym.network import Network
from kansym.symbolic.candidates import Candidate, check_edge, suggest


@torch.no_grad()
def fix_symbolic(
    network: Network,
    l: int,
    i: int,
    j: int,
    name: str,
    params: Sequence[float] | None,
    X: Tensor | None,
) -> Candidate | None:
    """Make edge (l, i, j) the function c f(a x + b) + d.

    With `params` = (a, b, c, d) those are used, otherwise the best ones on X; returns the candidate
    that was fitted, or None when params were given. See `KAN.fix_symbolic`.
    """
    check_edge(network, l, i, j)
    function = get_function(name)
    if params is None:
        assert X is not None
        candidates = suggest(network, X, [(l, i, j)], [function])[l, i, j]
        if not candidates:
            raise ValueError(
                f"{name!r} cannot be real on the whole range of edge ({l}, {i}, {j}); "
                "suggest_symbolic lists the functions that can"
            )
        set_edge(network, (l, i, j), name, candidates[0].params)
        return candidates[0]
    set_edge(network, (l, i, j), name, _check_params(params))
    return None


def _check_params(params: Sequence[float]) -> list[float]:
    try:
        values = [float(p) for p in params]
    except (TypeError, ValueError):
        values = []
    if len(values) != 4 or not all(math.isfinite(v) for v in values):
        raise ValueError(f"params must be four finite numbers (a, b, c, d), got {params!r}")
    return values


@torch.no_grad()
def set_edge(
    network: Network, edge: tuple[int, int, int], name: str, params: Sequence[float]
) -> None:
    """Store a name and its constants on an edge."""
    l, i, j = edge
    layer = network.kan_layers[l]
    layer.symbolic[j, i] = name
    layer.affine[j, i] = torch.tensor(list(params), dtype=network.dtype, device=network.device)


@torch.no_grad()
def unfix_symbolic(network: Network, l: int, i: int, j: int) -> None:
    """Turn edge (l, i, j) back into a spline that follows the function it had on its grid."""
    check_edge(network, l, i, j)
    layer = network.kan_layers[l]
    if (j, i) not in layer.symbolic:
        raise ValueError(f"edge ({l}, {i}, {j}) is not symbolic; nothing to unfix")
    try:
        layer.to_spline(j, i)
    except ValueError as error:
        raise ValueError(
            f"edge ({l}, {i}, {j}) cannot become a spline: {error}; give it other params with "
            "fix_symbolic first"
        ) from error
