"""Candidates for the function on an edge, best first. A query: nothing is changed.

    score = log2 sqrt(1 - R2) + complexity      (lower is better)

A function one unit more complex must halve the error: over a short range many functions agree to
many digits, so that R2 alone cannot decide. A candidate that has become its own Taylor polynomial
(a -> 0, or its vertex far outside the data) is charged as one unit more complex than it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kansym.affine import AffineFits, fit_affine
from kansym.errors import as_int, check_index, check_positive_int
from kansym.functions import SymbolicFunction, get_function
from kansym.network import Network, Trace
from kansym.threads import one_thread_if_small

Edge = tuple[int, int, int]

R2_FLOOR = 1e-14  # below this two fits are equally exact
FAINT_RATE = 0.1  # |a| times half the range: sin, tanh, ... bend no more than a cubic below it
FAR_VERTEX = 10.0  # distance of the vertex in half ranges: x^2, log, ... are nearly straight there


@dataclass(frozen=True)
class Candidate:
    """y = c f(a x + b) + d for one edge; x in the units of the layer's input."""

    name: str
    r2: float
    complexity: float
    a: float
    b: float
    c: float
    d: float
    score: float

    @property
    def params(self) -> tuple[float, float, float, float]:
        return self.a, self.b, self.c, self.d


def check_edge(network: Network, l: int, i: int, j: int) -> None:
    """ValueError unless (l, i, j) is an active edge of the network."""
    limits = [("l (layer)", l, len(network.layers))]
    layer_index = as_int(l)
    if layer_index is not None and 0 <= layer_index < len(network.layers):
        layer = network.kan_layers[layer_index]
        limits += [("i (input node)", i, layer.n_in), ("j (output node)", j, layer.n_out)]
    for name, index, limit in limits:
        check_index(name, index, limit)
    if not bool(network.kan_layers[l].mask[j, i]):
        raise ValueError(f"edge ({l}, {i}, {j}) was pruned away; choose an active edge")


def numeric_edges(network: Network) -> list[Edge]:
    """(l, i, j) of the active edges that are still splines."""
    return _edges(network, "is_numeric")


def active_edges(network: Network) -> list[Edge]:
    """(l, i, j) of all active edges."""
    return _edges(network, "mask")


def _edges(network: Network, which: str) -> list[Edge]:
    return [
        (l, i, j)
        for l, layer in enumerate(network.kan_layers)
        for j, i in torch.nonzero(getattr(layer, which)).tolist()
    ]


def suggest(
    network: Network, X: Tensor, edges: Sequence[Edge], library: Sequence[SymbolicFunction]
) -> dict[Edge, list[Candidate]]:
    """Candidates for every edge, lowest score first; functions that cannot be real on the edge's
    whole range are left out. R2 is over all samples in X."""
    return suggest_each([network], X, [edges], library)[0]


@torch.no_grad()
def suggest_each(
    networks: Sequence[Network],
    X: Tensor,
    edges: Sequence[Sequence[Edge]],
    library: Sequence[SymbolicFunction],
) -> list[dict[Edge, list[Candidate]]]:
    """`suggest` for the given edges of each network; all curves are fitted together."""
    check_positive_int("the number of samples in X", len(X), 2)
    samples = [
        edge_samples(network.trace(X), places)
        for network, places in zip(networks, edges, strict=True)
        if places
    ]
    if not samples:
        return [{} for _ in networks]
    x, y = (torch.cat(parts) for parts in zip(*samples, strict=True))
    with one_thread_if_small(x.numel() * len(library)):
        fits = fit_affine(x, y, library)
    lists = iter(_ranked(x, fits, library))
    return [{place: next(lists) for place in places} for places in edges]


def _ranked(
    x: Tensor, fits: AffineFits, library: Sequence[SymbolicFunction]
) -> list[list[Candidate]]:
    low, high = x.aminmax(dim=1)
    half, mid = ((high - low) / 2).tolist(), ((high + low) / 2).tolist()
    affine, r2 = fits.affine.tolist(), fits.r2.tolist()
    ranked = []
    for e in range(len(x)):
        candidates = [
            _candidate(f, affine[e][n], r2[e][n], half[e], mid[e])
            for n, f in enumerate(library)
            if math.isfinite(r2[e][n])
        ]
        # Equally good: sin and cos, say. The one with the smaller phase reads more easily.
        ranked.append(sorted(candidates, key=lambda c: (round(c.score, 3), _phase(c))))
    return ranked


def edge_samples(trace: Trace, edges: Sequence[Edge]) -> tuple[Tensor, Tensor]:
    """Inputs and values of the edges on the trace's sample, both [edges, batch]."""
    x = torch.stack([trace.nodes[l][:, i] for l, i, _ in edges])
    y = torch.stack([trace.edges[l][:, j, i] for l, i, j in edges])
    return x, y


def _candidate(
    f: SymbolicFunction, params: list[float], r2: float, half: float, mid: float
) -> Candidate:
    a, b, c, d = params
    score = 0.5 * math.log2(max(1 - r2, R2_FLOOR)) + charged_complexity(f, a, b, half, mid)
    return Candidate(f.name, r2, float(f.complexity), a, b, c, d, score)


def _phase(candidate: Candidate) -> float:
    """Size of b; of a wave, how far it is from half a period."""
    is_wave = get_function(candidate.name).invariance == "period"
    return abs(math.remainder(candidate.b, math.pi) if is_wave else candidate.b)


def charged_complexity(f: SymbolicFunction, a: float, b: float, half: float, mid: float) -> float:
    """Complexity of f(a x + b) on mid - half .. mid + half: one more than that of f where it has
    become its own Taylor polynomial."""
    return f.complexity + (1.0 if _is_taylor_like(f, a, b, half, mid) else 0.0)


def _is_taylor_like(f: SymbolicFunction, a: float, b: float, half: float, mid: float) -> bool:
    if f.invariance == "affine":
        return False
    if f.invariance == "scale":
        return abs(a * mid + b) > FAR_VERTEX * abs(a) * half
    return abs(a) * half < FAINT_RATE
