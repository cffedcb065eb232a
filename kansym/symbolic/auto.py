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
from kansym.symbolic.candidates import (
    Candidate,
    Edge,
    charged_complexity,
    numeric_edges,
    suggest_each,
)
from kansym.symbolic.fix import set_edge
from kansym.symbolic.gauge import tidy
from kansym.training import FitOptions, StepRecord, train

N = TypeVar("N", bound=Network)

BEAM = 4  # networks that go on after each name
MARGIN = 4.0  # candidates within so many units of the best score are tried
NEARLY_STRAIGHT = 0.99  # R2 above which "x" is tried even where another name fits far better
REFIT_STEPS = 30
POLISH_STEPS = 200
SECOND_CONSTANT = 0.25  # complexity of a name with both a and b
RMSE_FLOOR = 1e-12  # relative; below it two networks are equally exact
EXACT = math.log2(1e-9)  # log RMSE of a network that holds to rounding


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
    log_rmse: float = math.inf
    score: float = math.inf


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
    search = _Search(X, y, library)
    start = _State(network.copy(), ())
    best = search.straight_ahead(start)
    breadth, beam = BEAM, [start]
    while best is None and any(numeric_edges(state.network) for state in beam):
        if max_time is not None and time.perf_counter() - started > max_time:
            breadth, beam = 1, beam[:1]
        beam = _without_duplicates(search.grown(beam, breadth))[:breadth]
    best = search.polished(beam if best is None else [best])
    tidy(best.network)
    return best.network, best.steps  # pyright: ignore[reportReturnType]


class _Search:
    """Names edge after edge. What was suggested and refitted once is remembered: the way straight
    ahead is also the first of a beam."""

    def __init__(self, X: Tensor, y: Tensor | None, library: Sequence[SymbolicFunction]):
        self.X, self.y, self.library = X, y, library
        self.tables: dict[tuple[AutoStep, ...], dict[Edge, list[Candidate]]] = {}
        self.states: dict[tuple[AutoStep, ...], _State] = {}

    def straight_ahead(self, state: _State) -> _State | None:
        """The network in which every edge has its best candidate; None where, of several that fit
        about as well, it is not the simplest, or where no law comes out that holds to rounding:
        such a law needs no rival."""
        while numeric_edges(state.network):
            self._suggest([state])
            edge = _surest(self.tables[state.steps])
            candidate, *rivals = _rivals(self.tables[state.steps][edge], BEAM)
            if self.y is not None and any(r.complexity < candidate.complexity for r in rivals):
                return None
            state = self._named(state, edge, candidate)
        return state if self.y is None or state.log_rmse <= EXACT else None

    def grown(self, beam: Sequence[_State], breadth: int) -> list[_State]:
        """The networks that follow from naming, in each state, the edge whose best candidate fits
        best; lowest score first."""
        self._suggest(beam)
        grown: list[_State] = []
        for state in beam:
            if not numeric_edges(state.network):
                grown.append(state)
                continue
            table = self.tables[state.steps]
            edge = _surest(table)
            grown += [self._named(state, edge, c) for c in _rivals(table[edge], breadth)]
        return sorted(grown, key=lambda state: state.score)

    def polished(self, beam: Sequence[_State]) -> _State:
        """The best state after a last refit; beside a law that holds to rounding only others do."""
        if self.y is None:
            return beam[0]
        best = _rated(beam[0].network, beam[0].steps, self.X, self.y, POLISH_STEPS)
        for state in beam[1:]:
            if best.log_rmse > EXACT or state.log_rmse <= EXACT:
                rival = _rated(state.network, state.steps, self.X, self.y, POLISH_STEPS)
                best = min(best, rival, key=lambda state: state.score)
        return best

    def _suggest(self, beam: Sequence[_State]) -> None:
        new = [state for state in beam if state.steps not in self.tables]
        networks = [state.network for state in new]
        edges = [numeric_edges(network) for network in networks]
        tables = suggest_each(networks, self.X, edges, self.library)
        self.tables.update(zip((state.steps for state in new), tables, strict=True))

    def _named(self, state: _State, edge: Edge, candidate: Candidate) -> _State:
        steps = (*state.steps, AutoStep(edge, candidate.name, candidate.r2))
        if steps not in self.states:
            network = state.network.copy()
            set_edge(network, edge, candidate.name, candidate.params)
            self.states[steps] = (
                _State(network, steps)
                if self.y is None
                else _rated(network, steps, self.X, self.y, REFIT_STEPS)
            )
        return self.states[steps]


def _surest(table: dict[Edge, list[Candidate]]) -> Edge:
    nameless = [edge for edge, candidates in table.items() if not candidates]
    if nameless:
        raise ValueError(
            f"no function in lib is real on the whole range of edge {nameless[0]}; "
            "give a larger lib, for instance one with 'x'"
        )
    return max(table, key=lambda edge: table[edge][0].r2)


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
    error = log_rmse(network, X, y)
    return _State(network, steps, error, error + network_complexity(network, X))


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
