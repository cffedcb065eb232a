"""Solvers: objects with one method, `step`, that lowers an objective in place.

`step` returns the objective after the step where the solver knows it. `converged` says that further
steps cannot help. The loop makes a new solver when the grids moved. `state` is what a solver
remembers from step to step, a tree of numbers, tensors, lists and dicts; a new solver that is given
it to `go_on` with does what the old one would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from kansym.network import Network
from kansym.training.gradient import Gradient
from kansym.training.lm import LM
from kansym.training.objective import Objective, Value


class Solver(Protocol):
    converged: bool

    def step(self, X: Tensor, y: Tensor, weight: Tensor | None = None) -> Value | None: ...

    def state(self) -> Any: ...

    def go_on(self, state: Any) -> None: ...


class _ByGradient:
    """What LBFGS and Adam share: a gradient that is made ready once for the same rows."""

    optimizer: torch.optim.Optimizer

    def __init__(self, network: Network, objective: Objective):
        self.network, self.objective = network, objective
        self.converged = False
        self._gradient: Gradient | None = None

    def gradient(self, X: Tensor, y: Tensor, weight: Tensor | None) -> Gradient:
        if self._gradient is None or not self._gradient.is_of(X, y, weight):
            self._gradient = Gradient(self.network, self.objective, X, y, weight)
        return self._gradient

    def state(self) -> Any:
        return self.optimizer.state_dict()

    def go_on(self, state: Any) -> None:
        self.optimizer.load_state_dict(state)


class LBFGS(_ByGradient):
    """Limited-memory BFGS with a strong Wolfe line search; one step is up to 20 iterations."""

    def __init__(self, network: Network, objective: Objective, lr: float | None):
        super().__init__(network, objective)
        self.optimizer = torch.optim.LBFGS(
            network.parameters(),
            lr=1.0 if lr is None else lr,
            max_iter=20,
            history_size=20,
            tolerance_grad=1e-14,
            tolerance_change=1e-16,
            line_search_fn="strong_wolfe",
        )

    def step(self, X: Tensor, y: Tensor, weight: Tensor | None = None) -> Value | None:
        gradient = self.gradient(X, y, weight)

        def closure() -> Tensor:
            return gradient().objective

        self.optimizer.step(closure)  # pyright: ignore[reportCallIssue, reportArgumentType]


class Adam(_ByGradient):
    """Kingma and Ba 2015, arXiv:1412.6980."""

    def __init__(self, network: Network, objective: Objective, lr: float | None):
        super().__init__(network, objective)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-2 if lr is None else lr)

    def step(self, X: Tensor, y: Tensor, weight: Tensor | None = None) -> Value | None:
        self.gradient(X, y, weight)()
        self.optimizer.step()


SOLVERS: dict[str, Callable[[Network, Objective, float | None], Solver]] = {
    "LBFGS": LBFGS,
    "Adam": Adam,
    "LM": LM,
}
