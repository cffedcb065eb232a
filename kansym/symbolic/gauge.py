"""One way of writing among many: the constants of a named network, tidied without changing it.

A hidden node may be scaled and shifted at will as long as its outgoing edges undo it, and so may
the argument of a power or an exponential. The choice made here reads best:

    a hidden sum node   its first incoming edge has c = 1, none has a constant d
    a product node      the first incoming edge of each factor has c = 1
    x                   a = 1, b = 0
    powers, log, abs    a = 1, or -1 where the function knows only half of the line
    exp                 b = 0
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from kansym.functions import SymbolicFunction, get_function
from kansym.network import Network

Affine = tuple[float, float, float, float]


@torch.no_grad()
def tidy(network: Network) -> None:
    """Rewrite the constants of symbolic edges in place; the function stays, to rounding."""
    layers = network.kan_layers
    for l, layer in enumerate(layers):
        for j, i in layer.symbolic:
            f = get_function(layer.symbolic[j, i])
            layer.affine[j, i] = layer.affine.new_tensor(_normal(f, *layer.affine[j, i].tolist()))
        if l + 1 < len(layers):
            for node in range(network.width[l + 1].total):
                _standardise_node(network, l, node)


def _standardise_node(network: Network, l: int, node: int) -> None:
    """Scale and shift a node of row l + 1 whose edges are all symbolic."""
    before, after = network.kan_layers[l], network.kan_layers[l + 1]
    subnodes = network.subnodes_of_node(l, node)
    if bool(before.is_numeric[subnodes].any() | after.is_numeric[:, node].any()):
        return
    outgoing = after.mask[:, node]
    for s in subnodes:
        incoming = before.mask[s]
        if not bool(incoming.any()):  # nothing to scale
            continue
        scale = before.affine[s, incoming, 2][:1].clone()
        if not bool(torch.isfinite(1 / scale).all()):
            continue
        if len(subnodes) == 1:
            shift = before.affine[s, incoming, 3].sum()
            before.affine[s, incoming, 3] = 0
            after.affine[outgoing, node, 1] += after.affine[outgoing, node, 0] * shift
        before.affine[s, incoming, 2:] /= scale
        after.affine[outgoing, node, 0] *= scale


def _normal(f: SymbolicFunction, a: float, b: float, c: float, d: float) -> Affine:
    """c f(a x + b) + d with what f's invariance makes redundant taken out of a and b."""
    if f.invariance == "affine":
        return 1.0, 0.0, c * a, c * b + d
    if f.invariance == "shift":
        normal = (a, 0.0, *_absorbed(f, c, d, lambda u: u + b))
    elif f.invariance == "scale" and a:
        scale = a if f.has_parity else abs(a)
        normal = (a / scale, b / scale, *_absorbed(f, c, d, lambda u: scale * u))
    else:
        return a, b, c, d
    return normal if all(map(math.isfinite, normal)) else (a, b, c, d)


def _absorbed(
    f: SymbolicFunction, c: float, d: float, inner: Callable[[float], float]
) -> tuple[float, float]:
    """c k and c m + d, where f(inner(u)) = k f(u) + m, from the values at u = 1 and 2."""
    at = torch.tensor([1.0, 2.0, inner(1.0), inner(2.0)], dtype=torch.float64)
    one, two, inner_one, inner_two = f.torch(at).tolist()
    if one == two:  # sign: k alone
        return c * inner_one / one, d
    k = (inner_two - inner_one) / (two - one)
    return c * k, c * (inner_one - k * one) + d
