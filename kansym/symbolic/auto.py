"""Naming every edge of a network: one at a time, the surest first, everything else refitted.

After each name the rest of the network (splines and constants) is trained again by
Levenberg-Marquardt, so that later edges are seen more clearly. Where several functions describe an
edge about equally well, a beam of networks goes on, and the fit of the whole network decides:

    log2 (relative RMSE of the network) + total complexity      (lower is better)

A name whose a and b are both searched for is a little more complex than one with a single constant:
noise must not decide between x^2 and cos(0.3 x).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from kansym.datasets import Dataset
from kansym.errors import NonFiniteWarning
from kansym.functions import SymbolicFunction, get_function
from kansym.network import Network
from kansym.symbolic.fix import set_edge
from kansym.symbolic.gauge import tidy
from kansym.symbolic.suggest import Candidate, Edge, charged_complexity, numeric_edges, suggest
from kansym.training import FitOptions, StepRecord, train

N = TypeVar("N", bound=Network)

BEAM = 4  # networks that go on after each name
MARGIN = 4.0  # candidates within so many units of the best score are tried
NEARLY_STRAIGHT = 0.99  # R2 above which "x" is tried even where another name fits far better
REFIT_STEPS = 30
POLISH_STEPS = 200
SECOND_CONSTANT = 0.25  # complexity of a name with both a and b
RMSE_FLOOR = 1e-12  # relative; below it two networks are equally exact


@dataclass(frozen=True)
class AutoStep:
    """One edge that was named, with what was chosen. r2 is of the edge when it was named."""

    edge: Edge
    name: str
    r2: float


@dataclass(frozen=True)
class _State:
    network: Network
    steps: tuple[AutoStep, ...]
    score: float


def auto_symbolic(
    network: N,
    X: Tensor,
    y: Tensor | None,
    library: Sequence[SymbolicFunction],
    max_time: float | None = None,
) -> tuple[N, tuple[AutoStep, ...]]:
    """A network with every active edge named, and the names in the order they were given.

    Without `y` nothing is refitted and every edge takes its best candidate. After `max_time`
    seconds the beam shrinks to the best network, which is then named to the end.
    """
    started = time.perf_counter()
    breadth = BEAM if y is not None else 1
    beam = [_State(network.copy(), (), math.inf)]
    while any(numeric_edges(state.network) for state in beam):
        if max_time is not None and time.perf_counter() - started > max_time:
            breadth, beam = 1, beam[:1]
        grown = [new for state in beam for new in _name_surest(state, X, y, library, breadth)]
        beam = sorted(grown, key=lambda state: state.score)[:breadth]
        beam = _without_duplicates(beam)
    if y is not None:
        beam = [_rated(state.network, state.steps, X, y, POLISH_STEPS) for state in beam]
    best = min(beam, key=lambda state: state.score)
    tidy(best.network)
    return best.network, best.steps  # pyright: ignore[reportReturnType]


def _name_surest(
    state: _State,
    X: Tensor,
    y: Tensor | None,
    library: Sequence[SymbolicFunction],
    breadth: int,
) -> list[_State]:
    """The networks, at most `breadth`, that follow from naming the edge whose best candidate fits
    best."""
    table = suggest(state.network, X, numeric_edges(state.network), library)
    if not table:
        return [state]
    nameless = [edge for edge, candidates in table.items() if not candidates]
    if nameless:
        raise ValueError(
            f"no function in lib is real on the whole range of edge {nameless[0]}; "
            "give a larger lib, for instance one with 'x'"
        )
    surest = max(table, key=lambda edge: table[edge][0].r2)
    rivals = _rivals(table[surest], breadth)
    return [_named(state, surest, candidate, X, y) for candidate in rivals]


def _rivals(candidates: Sequence[Candidate], breadth: int) -> list[Candidate]:
    """At most `breadth` candidates close to the best, one of each family: sin and cos can do
    exactly the same. A straight line is always worth a try where it nearly fits: of two splines in
    a chain each may carry a bend that the other takes back."""
    families: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.score <= candidates[0].score + MARGIN:
            families.setdefault(get_function(candidate.name).family, candidate)
    close = list(families.values())[:breadth]
    lines = [c for c in candidates if c.name == "x" and c.r2 > NEARLY_STRAIGHT and c not in close]
    return [*close[: breadth - len(lines)], *lines] if breadth > 1 else close


def _named(state: _State, edge: Edge, candidate: Candidate, X: Tensor, y: Tensor | None) -> _State:
    network = state.network.copy()
    set_edge(network, edge, candidate.name, candidate.params)
    steps = (*state.steps, AutoStep(edge, candidate.name, candidate.r2))
    if y is None:
        return _State(network, steps, state.score)
    return _rated(network, steps, X, y, REFIT_STEPS)


def _rated(
    network: Network, steps: tuple[AutoStep, ...], X: Tensor, y: Tensor, refit: int
) -> _State:
    callbacks = (_Stall(),) if refit == REFIT_STEPS else ()
    options = FitOptions(opt="LM", steps=refit, update_grid=False, callbacks=callbacks)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", NonFiniteWarning
        )  # a candidate may fail: it then ranks last
        history = train(network, Dataset(X, y), options)
    if history.stopped == "interrupted":
        raise KeyboardInterrupt
    return _State(network, steps, network_score(network, X, y))


class _Stall:
    """Ends a refit that gains less than 1 % in four steps: it only has to rank the candidates."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def __call__(self, network: Network, record: StepRecord) -> bool:
        self.losses.append(record.train_loss)
        return len(self.losses) > 4 and self.losses[-1] > 0.99 * self.losses[-5]


@torch.no_grad()
def network_score(network: Network, X: Tensor, y: Tensor) -> float:
    """log2 of the RMSE relative to y's spread, plus the complexities of the named edges on X."""
    return log_rmse(network, X, y) + network_complexity(network, X)


@torch.no_grad()
def log_rmse(network: Network, X: Tensor, y: Tensor) -> float:
    """log2 of the RMSE relative to y's spread; inf where the network is not finite on X."""
    error = network(X) - y
    spread = y.std(0, correction=0)
    relative = error / torch.where(spread > 0, spread, 1.0)
    rmse = float((relative**2).mean().sqrt())
    return math.log2(max(rmse, RMSE_FLOOR)) if math.isfinite(rmse) else math.inf


@torch.no_grad()
def network_complexity(network: Network, X: Tensor) -> float:
    """Sum of the complexities of the named edges, as they are used on X."""
    total = 0.0
    for l, nodes in zip(network.kan_layers, network.trace(X).nodes, strict=False):
        low, high = nodes.amin(0), nodes.amax(0)
        mid, half = ((high + low) / 2).tolist(), ((high - low) / 2).tolist()
        for (j, i), name in l.symbolic.items():
            if bool(l.mask[j, i]):
                f = get_function(name)
                a, b = l.affine[j, i, :2].tolist()
                total += charged_complexity(f, a, b, half[i], mid[i])
                total += SECOND_CONSTANT if f.invariance in (None, "period") else 0.0
    return total


def _without_duplicates(states: list[_State]) -> list[_State]:
    """Only the best of several networks with the same names on the same edges."""
    seen: dict[frozenset[tuple[Edge, str]], _State] = {}
    for state in states:
        seen.setdefault(frozenset((step.edge, step.name) for step in state.steps), state)
    return list(seen.values())
