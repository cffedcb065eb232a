"""What Levenberg-Marquardt asks of rows in parts: every answer is a sum over the parts.

The penalty is a function of means over all rows: of edges' sizes, and of the moments of their
features. With m those means, m_b those of one part and n_b / n its share of the rows,

    dR/dtheta = partial R / partial theta + sum_b n_b / n (partial R / partial m) . dm_b/dtheta:

one pass for m, and one for the sum, in which every part differentiates its own means alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from kansym import kernels, scores
from kansym.jacobian import PARAMETERS, FreeParameters
from kansym.layer import KANLayer, SymbolicGroup
from kansym.network import Network
from kansym.partitions import Part, Partitions, largest
from kansym.training.least_squares import LeastSquares
from kansym.training.objective import Objective, Value
from kansym.training.quadratic import QuadraticModel, inner_ranges, lie_within, springs

SCORES = ("std", "mean_abs")  # made of means over rows


class SummedLeastSquares:
    """A network and rows in parts; see `kansym.training.lm.Rows`."""

    def __init__(self, network: Network, objective: Objective, parts: Partitions):
        self.network, self.objective, self.parts = network, objective, parts

    def normal_equations(self) -> tuple[QuadraticModel, None]:
        """J'WJ / n, J'Wr / n and the loss; the last nodes stay where the rows are."""
        curvature, gradient, value = self._sum(_normal_equations)
        return QuadraticModel(curvature, gradient, float(value)), None

    def bend(
        self, free: FreeParameters, nodes: None, theta: Float[Tensor, " p"], delta: Tensor
    ) -> Float[Tensor, " p"]:
        """As `LeastSquares.bend`; the network is not touched."""
        (bend,) = self._sum(partial(_bend, theta, delta))
        return bend

    def loss(self) -> Tensor:
        """The loss at the current parameters."""
        (loss,) = self._sum(_loss)
        return loss

    @torch.no_grad()
    def value(self) -> Value:
        """The objective at the current parameters, penalty included."""
        penalty = self.objective.penalty
        roughness = penalty.roughness(self.network)
        if not penalty.lamb:
            loss = self.loss()
            return Value(loss + roughness, loss, roughness, None)
        loss, *means = self._sum(partial(_loss_and_means, penalty.score))
        edges, _ = _scores_of(self.network, means, penalty.score)
        cost = penalty(self.network, edges) + roughness
        n_edges = int(sum((values > 1e-2).sum() for values in edges))
        return Value(loss + cost, loss, cost, n_edges)

    def penalty_model(self, free: FreeParameters) -> QuadraticModel:
        """K, g and the value of the sparsity penalty, in two passes."""
        network, penalty = self.network, self.objective.penalty
        means = self._sum(partial(_means, penalty.score))
        parameters = _parameters(network)
        with torch.enable_grad():
            means = [mean.detach().requires_grad_() for mean in means]
            values, moments = _scores_of(network, means, penalty.score)
            total = penalty(network, values)
            wanted = [*parameters, *means, *values]
            found = torch.autograd.grad(total, wanted, materialize_grads=True)
        direct, found = found[: len(parameters)], found[len(parameters) :]
        by_mean, pulls = found[: len(means)], found[len(means) :]
        through = self._sum(partial(_slopes_of_means, penalty.score, by_mean))
        gradient = free.pick([a + b for a, b in zip(direct, through, strict=True)])
        curvature = springs(network, free, values, pulls, moments)
        return QuadraticModel(curvature / 2, gradient / 2, float(total.detach()))

    def in_domains(self) -> bool:
        """Whether a x + b on every symbolic edge lies within its function's domain."""
        groups = [g for layer in self.network.kan_layers for g in layer.symbolic_groups()]
        ends = self.parts.reduce(partial(_inner_ends, self.network.bare()), largest)
        return lie_within(zip(groups, (-low for low in ends[::2]), ends[1::2], strict=True))

    def _sum(self, task) -> tuple[Tensor, ...]:
        """The sum of task(rows, share) over the parts."""
        return self.parts.sum(
            partial(_on_rows, task, self.network.bare(), self.objective, self.parts.n)
        )


def _on_rows(task, network: Network, objective: Objective, n: int, part: Part):
    rows = LeastSquares(network, objective, part.X, part.y, part.weight)
    return task(rows, len(part.X) / n)


def _normal_equations(rows: LeastSquares, share: float) -> tuple[Tensor, ...]:
    model, _ = rows.normal_equations()
    curvature, gradient = share * model.curvature, share * model.gradient
    return curvature, gradient, gradient.new_tensor(share * model.value, dtype=torch.float64)


@torch.no_grad()
def _bend(theta: Tensor, delta: Tensor, rows: LeastSquares, share: float) -> tuple[Tensor]:
    # A copy: other parts may be worked on at the same time, by other threads.
    network = copy.deepcopy(rows.network)
    own = LeastSquares(network, rows.objective, rows.X, rows.y, rows.weight)
    free = FreeParameters(network)
    free.set(theta)
    return (share * own.bend(free, None, theta, delta),)


@torch.no_grad()
def _loss(rows: LeastSquares, share: float) -> tuple[Tensor]:
    return (share * rows.loss(),)


@torch.no_grad()
def _means(score: str, rows: LeastSquares, share: float) -> tuple[Tensor, ...]:
    return tuple(share * mean for mean in _means_of(rows.network, rows.X, score))


@torch.no_grad()
def _loss_and_means(score: str, rows: LeastSquares, share: float) -> tuple[Tensor, ...]:
    return (*_loss(rows, share), *_means(score, rows, share))


@torch.enable_grad()
def _slopes_of_means(
    score: str, by_mean: Sequence[Tensor], rows: LeastSquares, share: float
) -> tuple[Tensor, ...]:
    """The derivatives by the network's parameters of by_mean . (means of these rows)."""
    parameters = _parameters(rows.network)
    means = _means_of(rows.network, rows.X, score)
    total = sum((a * b).sum() for a, b in zip(by_mean, means, strict=True))
    assert isinstance(total, Tensor)
    if not total.requires_grad:  # one layer: its inputs depend on nothing
        return tuple(torch.zeros_like(parameter) for parameter in parameters)
    found = torch.autograd.grad(total, parameters, materialize_grads=True)
    return tuple(share * slope for slope in found)


@torch.no_grad()
def _inner_ends(network: Network, part: Part) -> tuple[Tensor, ...]:
    ends = []
    for _, low, high in inner_ranges(network, part.X):
        ends += [-low, high]
    return tuple(ends)


def _parameters(network: Network) -> list[Tensor]:
    return [getattr(layer, name) for layer in network.kan_layers for name in PARAMETERS]


def _means_of(network: Network, X: Tensor, score: str) -> list[Tensor]:
    """Means over rows, layer by layer, that `_scores_of` makes edge scores of."""
    means: list[Tensor] = []
    if score == "std":
        for layer, h in zip(network.kan_layers, network.rows(X)[:-1], strict=True):
            means += kernels.moments(h, layer.shape)
            for group in layer.symbolic_groups():
                # Less their constant, which only would take digits from the variance.
                values = layer.symbolic_values(h, group) - _constants(layer, group)
                means += [values.mean(0), (values**2).mean(0)]
        return means
    trace = network.trace(X)
    for layer, h, edges in zip(network.kan_layers, trace.nodes[:-1], trace.edges, strict=True):
        means += [edges.abs().mean(0), kernels.moments(h.detach(), layer.shape)[1]]
    return means


def _constants(layer: KANLayer, group: SymbolicGroup) -> Tensor:
    return layer.affine[group.out_index, group.in_index, 3]


def _scores_of(
    network: Network, means: Sequence[Tensor], score: str
) -> tuple[list[Float[Tensor, "out in"]], list[Float[Tensor, "in features features"]]]:
    """The edge scores of every layer, and the moments they are quadratic in; see `lm`."""
    left, values, moments = iter(means), [], []
    for layer in network.kan_layers:
        first, second = next(left), next(left)
        if score == "mean_abs":
            values.append(first)
            moments.append(second)
            continue
        covariance = second - first[:, :, None] * first[:, None, :]
        sizes = scores.safe_sqrt(kernels.variances(covariance, layer.numeric_edges))
        for group in layer.symbolic_groups():
            mean, square = next(left), next(left)
            size = scores.safe_sqrt(square - mean**2).to(sizes)
            sizes = sizes.index_put((group.out_index, group.in_index), size)
        values.append(sizes)
        moments.append(covariance)
    return values, moments
