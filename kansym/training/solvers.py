"""Solvers: objects with one method, `step`, that lowers an objective in place.

`step(X, y)` returns the objective's value before the step, in the sense of its solver, and
`converged` says that further steps cannot help. The loop makes a new solver when the grids moved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from kansym import jacobian as jac
from kansym.network import Network
from kansym.training.objective import Objective, Value


class Solver(Protocol):
    converged: bool

    def step(self, X: Tensor, y: Tensor) -> Value: ...


class LBFGS:
    """Limited-memory BFGS with a strong Wolfe line search; one step is up to 20 iterations."""

    def __init__(self, network: Network, objective: Objective, lr: float | None):
        self.network, self.objective = network, objective
        self.optimizer = torch.optim.LBFGS(
            network.parameters(),
            lr=1.0 if lr is None else lr,
            max_iter=20,
            history_size=20,
            tolerance_grad=1e-14,
            tolerance_change=1e-16,
            line_search_fn="strong_wolfe",
        )
        self.converged = False

    def step(self, X: Tensor, y: Tensor) -> Value:
        first: list[Value] = []

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            value = self.objective(self.network, X, y)
            value.objective.backward()
            first.append(value)
            return value.objective

        self.optimizer.step(closure)  # pyright: ignore[reportArgumentType]
        return first[0]


class Adam:
    """Kingma and Ba 2015, arXiv:1412.6980."""

    def __init__(self, network: Network, objective: Objective, lr: float | None):
        self.network, self.objective = network, objective
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-2 if lr is None else lr)
        self.converged = False

    def step(self, X: Tensor, y: Tensor) -> Value:
        self.optimizer.zero_grad()
        value = self.objective(self.network, X, y)
        value.objective.backward()
        self.optimizer.step()
        return value


class LM:
    """Levenberg-Marquardt on the squared error: no penalty, no other loss.

    Solves (J'J + mu diag(J'J)) delta = -J'r; mu follows the gain ratio (Nielsen 1999, IMM-REP
    1999-05). Scale-free: the damping of a parameter is in units of its own curvature.
    """

    chunk = 4096  # rows whose Jacobian is held at once
    smallest_gain = 1e-12  # relative fall of the loss below which the solver has converged

    def __init__(self, network: Network, objective: Objective, lr: float | None):
        if lr is not None:
            raise ValueError(f"lr has no meaning for opt='LM', got {lr!r}; leave it out")
        if not objective.is_squared or objective.penalty.lamb:
            raise ValueError(
                "opt='LM' minimises the squared error alone: use loss='mse' and lamb=0, "
                "or opt='LBFGS'"
            )
        self.network, self.objective = network, objective
        self.mu, self.growth = 1e-3, 2.0
        self.converged = False
        self._stalled = 0

    @torch.no_grad()
    def step(self, X: Tensor, y: Tensor) -> Value:
        theta = jac.get_free(self.network)
        start = self._value(X, y)
        if not len(theta):
            self.converged = True
            return start
        normal, gradient, loss = self._normal_equations(X, y)
        curvature = normal.diagonal()
        # A parameter that moves nothing gets the damping of a faint one instead of none.
        scale = curvature.clamp(min=1e-12 * float(curvature.max().clamp(min=1e-300)))
        for _ in range(12):
            delta = _solve_positive(normal + torch.diag(self.mu * scale), -gradient)
            if delta is not None:
                jac.set_free(self.network, theta + delta)
                new = float(self._value(X, y).loss)
                predicted = -float(delta @ (2 * gradient + normal @ delta))
                if new < loss and predicted > 0:
                    self._accept((loss - new) / predicted, (loss - new) / loss)
                    return start
            self.mu, self.growth = self.mu * self.growth, min(self.growth * 2, 1e3)
        jac.set_free(self.network, theta)
        self.converged = True
        return start

    def _accept(self, gain: float, fall: float) -> None:
        self.mu = max(self.mu * max(1 / 3, 1 - (2 * gain - 1) ** 3), 1e-15)
        self.growth = 2.0
        self._stalled = self._stalled + 1 if fall < self.smallest_gain else 0
        self.converged = self._stalled >= 3

    def _value(self, X: Tensor, y: Tensor) -> Value:
        return self.objective(self.network, X, y)

    def _normal_equations(self, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
        """J'J, J'r and the mean squared residual, accumulated over chunks of rows."""
        scale = self.network.output_scale
        normal = gradient = torch.zeros((), dtype=X.dtype, device=X.device)
        loss = 0.0
        for rows in torch.arange(len(X), device=X.device).split(self.chunk):
            output, slopes = jac.jacobian(self.network, X[rows])
            J = (slopes / scale[:, None]).flatten(0, 1)
            residual = ((output - y[rows]) / scale).flatten()
            normal, gradient = normal + J.T @ J, gradient + J.T @ residual
            loss += float(residual @ residual)
        count = y.numel()
        return normal / count, gradient / count, loss / count


def _solve_positive(matrix: Tensor, right: Tensor) -> Tensor | None:
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info) or not bool(torch.isfinite(factor).all()):
        return None
    return torch.cholesky_solve(right[:, None], factor)[:, 0]


SOLVERS: dict[str, Callable[[Network, Objective, float | None], Solver]] = {
    "LBFGS": LBFGS,
    "Adam": Adam,
    "LM": LM,
}
