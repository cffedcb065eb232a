"""Levenberg-Marquardt: second-order training of squared residuals, with or without the penalty.

A network people read has 10 to 2,000 parameters, and its loss is a sum of squares. A step solves

    (J'WJ / n + K + mu D) delta = -(J'Wr / n + g)

J the per-sample Jacobian, summed up over chunks of rows so that memory does not grow with n; W the
weights of the rows, times those that make least squares of the Huber loss; D the diagonal of
J'WJ / n + K, so that damping is scale-free; mu follows the gain ratio (Nielsen 1999,
IMM-REP-1999-05). A step is bent by geodesic acceleration (Transtrum and Sethna 2012,
arXiv:1201.5885): to an RMSE of 1e-3 on exp(sin(pi x) + y^2), [2, 5, 1], it takes 18 steps instead
of 27 from grid 5 and 38 instead of 80 from grid 3 (medians of 12 seeds).

g is half of the exact gradient of the sparsity penalty R, K half of a majorising curvature. R is a
function of edge scores s_e, and s_e^2 = w_e' C w_e is quadratic in the edge's weights w_e, with C
the covariance of its features (for mean_abs: the second moment). So

    dR/dw_e = (dR/ds_e / s_e) C w_e,      K_e = max(dR/ds_e, 0) / s_e C

as in reweighted least squares for a group penalty (Daubechies et al. 2010, arXiv:0807.0575): the
fainter an edge, the stiffer the spring that holds it at zero. A step is taken only when loss plus
penalty, exactly evaluated, has fallen, and when it leaves the functions of named edges within
their domains: a pole may be near the data, never among them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kansym import kernels, scores
from kansym.functions import REAL_LINE
from kansym.jacobian import PARAMETERS, FreeParameters
from kansym.layer import KANLayer
from kansym.network import Network
from kansym.training.least_squares import LeastSquares, QuadraticModel
from kansym.training.objective import Objective, Penalty, Value

DIFFERENCE = 0.1  # of a step, for second derivatives along it
MAX_BEND = 0.75  # of a step; what bends more is not followed (Transtrum and Sethna 2012)
SMALLEST_GAIN = 1e-12  # relative fall of the objective below which a step counts as a stall
MAX_STALLS = 3
MAX_TRIES = 12  # dampings tried in one step
FAINTEST = 1e-5  # scores below this fraction of the layer's largest are held as firmly as this


class LM:
    """A solver with one method, `step`; see the module for the method."""

    def __init__(self, network: Network, objective: Objective, lr: float | None):
        self.check(objective, lr)
        self.network, self.objective = network, objective
        self.free = FreeParameters(network)
        self.roughness = roughness_matrix(network, self.free, objective.penalty)
        self.mu, self.growth = 1e-3, 2.0
        self.converged = False
        self._stalls = 0
        self._rows: LeastSquares | None = None

    @staticmethod
    def check(objective: Objective, lr: float | None) -> None:
        """ValueError for what this solver cannot do."""
        if lr is not None:
            raise ValueError(f"lr has no meaning for opt='LM', got {lr!r}; leave it out")
        if not objective.has_residuals:
            raise ValueError(
                "opt='LM' minimises squared residuals: use loss='mse' or 'huber', or opt='LBFGS'"
            )

    @torch.no_grad()
    def step(self, X: Tensor, y: Tensor, weight: Tensor | None = None) -> Value | None:
        theta = self.free.get()
        if not len(theta):
            self.converged = True
            return None
        rows = self._rows
        if rows is None or not rows.is_of(X, y, weight):
            rows = self._rows = LeastSquares(self.network, self.objective, X, y, weight)
        data, nodes = rows.normal_equations()
        model = data.plus(self._prior_model(X, theta))
        if not model.is_finite:
            nan = theta.new_tensor(math.nan)
            return Value(nan, nan, nan, None)
        diagonal = model.curvature.diagonal()
        # A parameter that moves nothing gets the damping of a faint one instead of none.
        scale = diagonal.clamp(min=1e-12 * float(diagonal.max().clamp(min=1e-300)))
        is_guarded = in_domains(self.network, X)
        for _ in range(MAX_TRIES):
            factor = _cholesky(model.curvature + torch.diag(self.mu * scale))
            if factor is not None:
                delta = _solve(factor, -model.gradient)
                bend = _solve(factor, -self._bend(rows, nodes, theta, delta))
                is_slight = 2 * _norm(bend, scale) <= MAX_BEND * _norm(delta, scale)
                self.free.set(theta + delta + bend if is_slight else theta + delta)
                if not is_guarded or in_domains(self.network, X):
                    value = self._value(rows, X)
                    fall = model.value - float(value.objective)
                    predicted = -float(delta @ (2 * model.gradient + model.curvature @ delta))
                    if fall > 0 and predicted > 0:
                        self._accept(fall / predicted, fall / model.value)
                        return value
            self.mu, self.growth = self.mu * self.growth, min(self.growth * 2, 1e3)
        self.free.set(theta)
        self.converged = True
        return None

    def state(self) -> Any:
        return {"mu": self.mu, "growth": self.growth, "stalls": self._stalls}

    def go_on(self, state: Any) -> None:
        self.mu, self.growth, self._stalls = state["mu"], state["growth"], state["stalls"]

    def _prior_model(self, X: Tensor, theta: Tensor) -> QuadraticModel:
        """What the penalty and the smoothing prior add."""
        pull = self.roughness @ theta
        smoothing = QuadraticModel(self.roughness, pull, float(theta @ pull))
        if not self.objective.penalty.lamb:
            return smoothing
        return smoothing.plus(penalty_model(self.network, self.free, X, self.objective.penalty))

    def _bend(
        self, rows: LeastSquares, nodes: Tensor, theta: Tensor, delta: Tensor
    ) -> Float[Tensor, " p"]:
        """J'W r'' / 2, with r'' the second derivative of the residuals along delta, by
        differences; the step bends by its image under the inverse of the damped curvature."""
        ends = []
        for t in (DIFFERENCE, -DIFFERENCE):
            self.free.set(theta + t * delta)
            ends.append(rows.nodes())
        self.free.set(theta)
        second = (ends[0] - 2 * nodes + ends[1]) / DIFFERENCE**2
        return rows.pull_back(self.free, nodes, second) / 2

    def _value(self, rows: LeastSquares, X: Tensor) -> Value:
        if self.objective.penalty.lamb:
            return self.objective(self.network, X, rows.y, rows.weight)
        loss = rows.loss_at(rows.nodes())
        theta = self.free.get()
        roughness = theta @ self.roughness @ theta
        return Value(loss + roughness, loss, roughness, None)

    def _accept(self, gain: float, relative_fall: float) -> None:
        self.mu = max(self.mu * max(1 / 3, 1 - (2 * gain - 1) ** 3), 1e-15)
        self.growth = 2.0
        self._stalls = self._stalls + 1 if relative_fall < SMALLEST_GAIN else 0
        self.converged = self._stalls >= MAX_STALLS


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
    gradient = free.pick(slopes)
    curvature = gradient.new_zeros(len(gradient), len(gradient))
    for l, layer in enumerate(network.kan_layers):
        held = values[l].clamp(min=FAINTEST * float(values[l].max()) + 1e-30)
        springs = (pulls[l].clamp(min=0) / held)[layer.is_numeric]
        inputs = torch.nonzero(layer.is_numeric)[:, 1]
        _add_blocks(
            curvature,
            free.edge_places(l),
            springs[:, None, None] * moments[l].detach().to(springs)[inputs],
        )
    return QuadraticModel(curvature / 2, gradient / 2, float(total.detach()))


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
    groups = [layer.symbolic_groups() for layer in network.kan_layers]
    if all(group.function.domain == REAL_LINE for layer in groups for group in layer):
        return True
    h = network.scale_inputs(X)
    for l, layer in enumerate(network.kan_layers):
        for group in groups[l]:
            low, high = layer.inner_range(h, group)
            if not bool(group.function.domain.contains(low, high).all()):
                return False
        h = network.combine(l, layer(h))
    return True


def _cholesky(matrix: Tensor) -> Tensor | None:
    """The lower factor of a positive definite matrix; None for any other."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return None if int(info) or not bool(torch.isfinite(factor).all()) else factor


def _solve(factor: Tensor, right: Tensor) -> Tensor:
    return torch.cholesky_solve(right[:, None], factor)[:, 0]


def _norm(step: Tensor, scale: Tensor) -> float:
    return float((scale * step**2).sum().sqrt())
