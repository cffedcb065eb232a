"""What Levenberg-Marquardt asks of equations: residuals, normal equations, the bend of a step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from kansym.derivatives import Jet, pulled_back
from kansym.jacobian import FreeParameters
from kansym.network import Network
from kansym.training.equations import System, Term
from kansym.training.least_squares import DIFFERENCE
from kansym.training.objective import Objective, Value, measured
from kansym.training.quadratic import QuadraticModel, in_domains, penalty_model

CHUNK = 2048  # points whose derivatives by the parameters are made at once
MOST_KEPT = 2**25  # numbers of the Jacobian that are kept for the bend; more are made again

# Rows of the Jacobian with their residuals, both times the root of their weight in the loss.
Linearised = tuple[Float[Tensor, "m p"], Float[Tensor, " m"]]


class ResidualSquares:
    """A network and the equations it is to obey; see `kansym.training.lm.Rows`."""

    def __init__(self, network: Network, objective: Objective, system: System):
        self.network, self.objective, self.system = network, objective, system

    @torch.no_grad()
    def residuals(self) -> Float[Tensor, " m"]:
        """All of them, each times the root of its weight: their squares add up to the loss."""
        found = [(term, term.residuals(self.network)) for term in self.system.terms]
        return torch.cat([_share(term, values) * values.flatten() for term, values in found])

    def mean_squares(self) -> dict[str, float]:
        """Of every equation, without its weight."""
        return {
            term.name: float((term.residuals(self.network) ** 2).mean())
            for term in self.system.terms
        }

    def _linearised(self) -> Iterator[Linearised]:
        for term in self.system.terms:
            found, seeds = term.linearised(self.network)
            for start in range(0, len(found), CHUNK):
                rows = slice(start, start + CHUNK)
                part = Jet(*(seed[rows] for seed in seeds))
                slopes = pulled_back(self.network, term.points[rows], part)
                share = _share(term, found)
                yield slopes.flatten(0, 1) * share, found[rows].flatten() * share

    @torch.no_grad()
    def normal_equations(self) -> tuple[QuadraticModel, list[Linearised] | None]:
        """J'J, J'r and the loss; with the Jacobian where it is not too large to be kept."""
        count = FreeParameters(self.network).count
        curvature = self.system.points.new_zeros(count, count)
        gradient, loss = curvature.new_zeros(count), 0.0
        is_small = self.system.n_residuals * count <= MOST_KEPT
        kept: list[Linearised] = []
        for J, residual in self._linearised():
            curvature += J.T @ J
            gradient += J.T @ residual
            loss += float(residual @ residual)
            if is_small:
                kept.append((J, residual))
        return QuadraticModel(curvature, gradient, loss), kept if is_small else None

    @torch.no_grad()
    def bend(
        self,
        free: FreeParameters,
        nodes: list[Linearised] | None,
        theta: Float[Tensor, " p"],
        delta: Float[Tensor, " p"],
    ) -> Float[Tensor, " p"]:
        """As `LeastSquares.bend`. nodes: the Jacobian at theta, if it was kept."""
        middle = self.residuals() if nodes is None else torch.cat([part for _, part in nodes])
        ends = []
        for t in (DIFFERENCE, -DIFFERENCE):
            free.set(theta + t * delta)
            ends.append(self.residuals())
        free.set(theta)
        second = (ends[0] - 2 * middle + ends[1]) / DIFFERENCE**2
        parts = self._linearised() if nodes is None else nodes
        total, start = torch.zeros_like(theta), 0
        for J, residual in parts:
            total += J.T @ second[start : start + len(residual)]
            start += len(residual)
        return total / 2

    def loss(self) -> Tensor:
        """The loss at the current parameters."""
        return (self.residuals() ** 2).sum()

    @torch.no_grad()
    def value(self) -> Value:
        """The objective at the current parameters."""
        penalty, network = self.objective.penalty, self.network
        loss, cost, n_edges = self.loss(), penalty.roughness(network), None
        if penalty.lamb:
            _, edges = measured(network, self.system.points, penalty.score)
            cost = cost + penalty(network, edges)
            n_edges = int(sum((values > 1e-2).sum() for values in edges))
        return Value(loss + cost, loss, cost, n_edges)

    def penalty_model(self, free: FreeParameters) -> QuadraticModel:
        return penalty_model(self.network, free, self.system.points, self.objective.penalty)

    def in_domains(self) -> bool:
        return in_domains(self.network, self.system.points)


def _share(term: Term, found: Tensor) -> float:
    """What residuals are multiplied with, so that their squares add up to the loss."""
    return (term.weight / found.numel()) ** 0.5
