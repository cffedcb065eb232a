"""The side of the data: what the loop asks of rows, in memory or in parts, and of equations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from kansym.datasets import Dataset
from kansym.network import Network
from kansym.partitions import Part, Partitions
from kansym.training.equations import System
from kansym.training.grids import update_grids
from kansym.training.least_squares import LeastSquares
from kansym.training.lm import LM, Rows
from kansym.training.objective import Metric, Objective, Value
from kansym.training.quantiles import update_grids_by_parts
from kansym.training.residuals import ResidualSquares
from kansym.training.solvers import Solver
from kansym.training.summed import SummedLeastSquares


class Side(Protocol):
    """n: rows."""

    @property
    def n(self) -> int: ...

    @property
    def has_test(self) -> bool: ...

    def n_residuals(self, network: Network) -> int:
        """How many residuals the loss is made of; those of weight 0 do not count."""
        ...

    def rows(self, network: Network, objective: Objective) -> Rows: ...

    def value(self, network: Network, objective: Objective) -> Value: ...

    def step(
        self, solver: Solver, objective: Objective, size: int | None, generator: torch.Generator
    ) -> Value | None:
        """One step of the solver; the objective on all rows after it, where that is known."""
        ...

    def move_grids(self, network: Network) -> None: ...

    def judge(
        self, network: Network, objective: Objective, metrics: Mapping[str, Metric]
    ) -> tuple[float | None, dict[str, float]]:
        """The loss on the test part, None without one; the metrics there, or on all rows."""
        ...


Data = Dataset | Partitions | System


def side_of(data: Data) -> Side:
    if isinstance(data, System):
        return AtPoints(data)
    return InParts(data) if isinstance(data, Partitions) else InMemory(data)


class InMemory:
    """Rows that are tensors."""

    def __init__(self, data: Dataset):
        self.data, self.n = data, len(data.X)
        self.has_test = data.X_test is not None

    def n_residuals(self, network: Network) -> int:
        weight = self.data.weight
        n_counting = self.n if weight is None else int((weight > 0).sum())
        return n_counting * network.n_out

    def rows(self, network: Network, objective: Objective) -> LeastSquares:
        return LeastSquares(network, objective, self.data.X, self.data.y, self.data.weight)

    def value(self, network: Network, objective: Objective) -> Value:
        return objective(network, self.data.X, self.data.y, self.data.weight)

    def step(
        self, solver: Solver, objective: Objective, size: int | None, generator: torch.Generator
    ) -> Value | None:
        X, y, weight = self.data.X, self.data.y, self.data.weight
        if size is None or size >= self.n:
            return solver.step(X, y, weight)
        rows = torch.randperm(self.n, generator=generator)[:size].to(X.device)
        solver.step(X[rows], y[rows], None if weight is None else weight[rows])
        return None

    def move_grids(self, network: Network) -> None:
        update_grids(network, self.data.X)

    def judge(
        self, network: Network, objective: Objective, metrics: Mapping[str, Metric]
    ) -> tuple[float | None, dict[str, float]]:
        X, y = self.data.X_test, self.data.y_test
        if X is None or y is None:
            X, y = self.data.X, self.data.y
        if not (self.has_test or metrics):
            return None, {}
        prediction = network(X)
        found = {
            name: _number(f"metrics[{name!r}]", f(prediction, y)) for name, f in metrics.items()
        }
        return float(objective.loss(network, prediction, y)) if self.has_test else None, found


class InParts:
    """Rows in parts, of which sums are taken."""

    def __init__(self, data: Partitions):
        self.data, self.n = data, data.n
        self.has_test = data.test is not None

    def n_residuals(self, network: Network) -> int:
        return self.data.n_counting * network.n_out

    def rows(self, network: Network, objective: Objective) -> SummedLeastSquares:
        return SummedLeastSquares(network, objective, self.data)

    def value(self, network: Network, objective: Objective) -> Value:
        return self.rows(network, objective).value()

    def step(
        self, solver: Solver, objective: Objective, size: int | None, generator: torch.Generator
    ) -> Value | None:
        assert isinstance(solver, LM)  # see `FitOptions.check_for_parts`
        return solver.step_on(self.rows(solver.network, objective))

    def move_grids(self, network: Network) -> None:
        update_grids_by_parts(network, self.data)

    def judge(
        self, network: Network, objective: Objective, metrics: Mapping[str, Metric]
    ) -> tuple[float | None, dict[str, float]]:
        test = self.data.test
        if test is None:
            return None, {}
        (total,) = test.sum(partial(_loss, network.bare(), objective))
        return float(total) / test.n, {}


class AtPoints:
    """Equations, which hold at points."""

    def __init__(self, system: System):
        self.system, self.n = system, len(system.points)
        self.has_test = False

    def n_residuals(self, network: Network) -> int:
        return self.system.n_residuals

    def rows(self, network: Network, objective: Objective) -> ResidualSquares:
        return ResidualSquares(network, objective, self.system)

    def value(self, network: Network, objective: Objective) -> Value:
        return self.rows(network, objective).value()

    def step(
        self, solver: Solver, objective: Objective, size: int | None, generator: torch.Generator
    ) -> Value | None:
        assert isinstance(solver, LM)
        return solver.step_on(self.rows(solver.network, objective))

    def move_grids(self, network: Network) -> None:
        update_grids(network, self.system.points)

    def judge(
        self, network: Network, objective: Objective, metrics: Mapping[str, Metric]
    ) -> tuple[float | None, dict[str, float]]:
        """No test part; the mean square of every equation."""
        return None, self.rows(network, objective).mean_squares()


@torch.no_grad()
def _loss(network: Network, objective: Objective, part: Part) -> tuple[Tensor]:
    return (objective.loss(network, network(part.X), part.y) * len(part.X),)


def _number(what: str, value: object) -> float:
    try:
        return float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, RuntimeError) as error:
        kind = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ValueError(f"{what} must return one number, got {kind}") from error
