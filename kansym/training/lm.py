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
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from kansym.jacobian import FreeParameters
from kansym.network import Network
from kansym.training.least_squares import LeastSquares
from kansym.training.objective import Objective, Value
from kansym.training.quadratic import QuadraticModel, is_guarded, roughness_matrix

MAX_BEND = 0.75  # of a step; what bends more is not followed (Transtrum and Sethna 2012)
SMALLEST_GAIN = 1e-12  # relative fall of the objective below which a step counts as a stall
MAX_STALLS = 3
MAX_TRIES = 12  # dampings tried in one step


class Rows(Protocol):
    """What a step asks of the rows, at the network's parameters as they are: `LeastSquares`, or
    sums over parts, or equations. `nodes` are what `normal_equations` gave beside them."""

    def normal_equations(self) -> tuple[QuadraticModel, Any]: ...

    def bend(
        self, free: FreeParameters, nodes: Any, theta: Tensor, delta: Tensor
    ) -> Float[Tensor, " p"]: ...

    def loss(self) -> Tensor: ...

    def value(self) -> Value: ...

    def penalty_model(self, free: FreeParameters) -> QuadraticModel: ...

    def in_domains(self) -> bool: ...


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
        rows = self._rows
        if rows is None or not rows.is_of(X, y, weight):
            rows = self._rows = LeastSquares(self.network, self.objective, X, y, weight)
        return self.step_on(rows)

    @torch.no_grad()
    def step_on(self, rows: Rows) -> Value | None:
        """The step, on rows that may be anywhere."""
        theta = self.free.get()
        if not len(theta):
            self.converged = True
            return None
        data, nodes = rows.normal_equations()
        model = data.plus(self._prior_model(rows, theta))
        if not model.is_finite:
            nan = theta.new_tensor(math.nan)
            return Value(nan, nan, nan, None)
        diagonal = model.curvature.diagonal()
        # A parameter that moves nothing gets the damping of a faint one instead of none.
        scale = diagonal.clamp(min=1e-12 * float(diagonal.max().clamp(min=1e-300)))
        guards = is_guarded(self.network) and rows.in_domains()
        for _ in range(MAX_TRIES):
            factor = _cholesky(model.curvature + torch.diag(self.mu * scale))
            if factor is not None:
                delta = _solve(factor, -model.gradient)
                bend = _solve(factor, -rows.bend(self.free, nodes, theta, delta))
                is_slight = 2 * _norm(bend, scale) <= MAX_BEND * _norm(delta, scale)
                self.free.set(theta + delta + bend if is_slight else theta + delta)
                if not guards or rows.in_domains():
                    value = self._value(rows)
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

    def _prior_model(self, rows: Rows, theta: Tensor) -> QuadraticModel:
        """What the penalty and the smoothing prior add."""
        pull = self.roughness @ theta
        smoothing = QuadraticModel(self.roughness, pull, float(theta @ pull))
        if not self.objective.penalty.lamb:
            return smoothing
        return smoothing.plus(rows.penalty_model(self.free))

    def _value(self, rows: Rows) -> Value:
        if self.objective.penalty.lamb:
            return rows.value()
        loss = rows.loss()
        theta = self.free.get()
        roughness = theta @ self.roughness @ theta
        return Value(loss + roughness, loss, roughness, None)

    def _accept(self, gain: float, relative_fall: float) -> None:
        self.mu = max(self.mu * max(1 / 3, 1 - (2 * gain - 1) ** 3), 1e-15)
        self.growth = 2.0
        self._stalls = self._stalls + 1 if relative_fall < SMALLEST_GAIN else 0
        self.converged = self._stalls >= MAX_STALLS


def _cholesky(matrix: Tensor) -> Tensor | None:
    """The lower factor of a positive definite matrix; None for any other."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return None if int(info) or not bool(torch.isfinite(factor).all()) else factor


def _solve(factor: Tensor, right: Tensor) -> Tensor:
    return torch.cholesky_solve(right[:, None], factor)[:, 0]


def _norm(step: Tensor, scale: Tensor) -> float:
    return float((scale * step**2).sum().sqrt())
