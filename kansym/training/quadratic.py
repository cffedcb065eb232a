"""Quadratic models that Levenberg-Marquardt adds up, and the domains that a step must not leave.

Those of the penalty and of the smoothing prior are made here; the formulas stand in
`kansym.training.lm`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kansym import kernels, scores
from kansym.functions import REAL_LINE
from kansym.jacobian import PARAMETERS, FreeParameters
from kansym.layer import KANLayer, SymbolicGroup
from kansym.network import Network
from kansym.training.objective import Penalty

FAINTEST = 1e-5  # scores below this fraction of the layer's largest are held as firmly as this


class QuadraticModel(NamedTuple):
    """Half the curvature, half the gradient, and the value of an objective."""

    curvature: Float[Tensor, "p p"]
    gradient: Float[Tensor, " p"]
    value: float

    @property
    def is_finite(self) -> bool:
        parts = self.curvature.sum(), self.gradient.sum()
        return all(bool(torch.isfinite(part)) for part in parts)

    def plus(self, other: QuadraticModel) -> QuadraticModel:
        return QuadraticModel(
            self.curvature + other.curvature,
            self.gradient + other.gradient,
            self.value + other.value,
        )


def penalty_model(
    network: Network, free: FreeParameters, X: Tensor, penalty: Penalty
) -> QuadraticModel:
    """K, g and the value of the sparsity penalty."""
    with torch.enable_grad():
        if penalty.score == "std":
            rows = network.rows(X)
            pairs = list(zip(network.kan_layers, rows[:-1], strict=True))
            moments = [scores.covariance(layer, h) for layer, h in pairs]
            values = [
                scores.spread(layer, h, C) for (layer, h), C in zip(pairs, moments, strict=True)
            ]
        else:
            trace = network.trace(X)
            pairs = list(zip(network.kan_layers, trace.nodes[:-1], strict=True))
            of_layer = _second_moments if penalty.score == "mean_abs" else scores.covariance
            moments = [of_layer(layer, h.detach()) for layer, h in pairs]
            values = scores.edge_scores(network, trace, penalty.score)
        total = penalty(network, values)
        parameters = [getattr(layer, name) for layer in network.kan_layers for name in PARAMETERS]
        found = torch.autograd.grad(total, [*parameters, *values], materialize_grads=True)
    slopes, pulls = found[: len(parameters)], found[len(parameters) :]
    curvature = springs(network, free, values, pulls, moments)
    return QuadraticModel(curvature / 2, free.pick(slopes) / 2, float(total.detach()))


def springs(
    network: Network,
    free: FreeParameters,
    values: Sequence[Tensor],
    pulls: Sequence[Tensor],
    moments: Sequence[Tensor],
) -> Float[Tensor, "p p"]:
    """2 K, from the scores of the edges of every layer, dR/ds, and the moments C of the features of
    its inputs."""
    curvature = values[0].detach().new_zeros(free.count, free.count)
    for l, layer in enumerate(network.kan_layers):
        held = values[l].detach()
        held = held.clamp(min=FAINTEST * float(held.max()) + 1e-30)
        stiffness = (pulls[l].clamp(min=0) / held)[layer.is_numeric]
        inputs = torch.nonzero(layer.is_numeric)[:, 1]
        _add_blocks(
            curvature,
            free.edge_places(l),
            stiffness[:, None, None] * moments[l].detach().to(stiffness)[inputs],
        )
    return curvature


def roughness_matrix(
    network: Network, free: FreeParameters, penalty: Penalty
) -> Float[Tensor, "p p"]:
    """S of the smoothing prior theta' S theta."""
    matrix = network.output_scale.new_zeros(free.count, free.count)
    if penalty.smooth:
        for l, layer in enumerate(network.kan_layers):
            count, places = layer.coef.shape[2], free.edge_places(l)
            second = torch.diff(torch.eye(count).to(matrix), n=2, dim=0)
            block = penalty.smooth * second.T @ second
            _add_blocks(matrix, places[:, :count], block.expand(len(places), -1, -1))
    return matrix


def _add_blocks(matrix: Tensor, places: Tensor, blocks: Tensor) -> None:
    """Add blocks [edges, f, f] at the rows and columns places [edges, >= f], none of them twice."""
    size = places.shape[1]
    matrix[places[:, :, None], places[:, None, :]] += blocks[:, :size, :size]


def _second_moments(layer: KANLayer, x: Tensor) -> Float[Tensor, "in features features"]:
    return kernels.moments(x, layer.shape)[1]


@torch.no_grad()
def in_domains(network: Network, X: Tensor) -> bool:
    """Whether the range of a x + b on every symbolic edge lies within its function's domain."""
    return not is_guarded(network) or lie_within(inner_ranges(network, X))


def is_guarded(network: Network) -> bool:
    """Whether some edge bears a function whose domain is not the whole line."""
    groups = [group for layer in network.kan_layers for group in layer.symbolic_groups()]
    return any(group.function.domain != REAL_LINE for group in groups)


def inner_ranges(network: Network, X: Tensor) -> Iterator[tuple[SymbolicGroup, Tensor, Tensor]]:
    """The smallest and the largest a x + b of the symbolic edges, group by group."""
    h = network.scale_inputs(X)
    for l, layer in enumerate(network.kan_layers):
        for group in layer.symbolic_groups():
            yield group, *layer.inner_range(h, group)
        h = network.combine(l, layer(h))


def lie_within(ranges: Iterable[tuple[SymbolicGroup, Tensor, Tensor]]) -> bool:
    """Whether each range lies within the domain of its group's function."""
    return all(bool(g.function.domain.contains(low, high).all()) for g, low, high in ranges)
