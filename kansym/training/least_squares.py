"""The data side of Levenberg-Marquardt: residuals, normal equations and what is pulled back by J.

By the kernels for networks of splines; by the Jacobian of `kansym.jacobian`, in chunks of rows, for
all others. Everything is in units of the output scale.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kansym.jacobian import FreeParameters, node_jacobian
from kansym.network import Network
from kansym.training.gradient import loss_and_gradient
from kansym.training.objective import Objective, Value
from kansym.training.quadratic import QuadraticModel, in_domains, penalty_model

CHUNK = 4096  # rows whose Jacobian is held at once
DIFFERENCE = 0.1  # of a step, for second derivatives along it
BLOCK = 96  # columns of J'J that are computed at once: half of a symmetric matrix is enough


class LeastSquares:
    """A network and the rows it is to follow.

    What the kernels need is looked up once: parameters may change in place, the structure may not.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        X: Float[Tensor, "n in"],
        y: Float[Tensor, "n out"],
        weight: Float[Tensor, " n"] | None = None,
    ):
        self.network, self.objective = network, objective
        self.X, self.y, self.weight = X, y, weight
        self.inside = network.scale_inputs(X)
        self.target = ((y - network.output_shift) / network.output_scale).to(self.inside)
        self.row_weight = None if weight is None else weight.to(self.inside)
        native = network.native_network(self.inside)
        self._native = native if native is not None and native.is_live else None

    def is_of(self, X: Tensor, y: Tensor, weight: Tensor | None) -> bool:
        """Whether it was made for these rows."""
        return X is self.X and y is self.y and weight is self.weight

    @torch.no_grad()
    def nodes(self) -> Float[Tensor, "n out"]:
        """The last nodes."""
        return (
            self.network.nodes(self.X) if self._native is None else self._native.nodes(self.inside)
        )

    def loss_at(self, nodes: Float[Tensor, "n out"]) -> Tensor:
        """The loss when the last nodes are these."""
        each = self.objective.of_residuals(nodes - self.target)
        return each.mean() if self.row_weight is None else (each.mean(1) * self.row_weight).mean()

    @torch.no_grad()
    def normal_equations(self) -> tuple[QuadraticModel, Float[Tensor, "n out"]]:
        """J'WJ / n, J'Wr / n and the loss, with the last nodes they were made at."""
        if self._native is None:
            return self._by_chunks()
        delta = self.objective.delta if self.objective.name == "huber" else 0.0
        nodes, normal, gradient, loss = self._native.normal(
            self.inside, self.target, self.row_weight, delta
        )
        n = self.target.numel()
        return QuadraticModel(normal / n, gradient / n, loss / n), nodes

    def _by_chunks(self) -> tuple[QuadraticModel, Float[Tensor, "n out"]]:
        normal = gradient = None
        loss, outputs = 0.0, []
        for start in range(0, len(self.X), CHUNK):
            rows = slice(start, start + CHUNK)
            nodes, slopes = node_jacobian(self.network, self.X[rows])
            outputs.append(nodes)
            J, residual = slopes.flatten(0, 1), nodes - self.target[rows]
            cost, pull = self.objective.of_residuals(residual), self._pull(residual, rows)
            if self.row_weight is not None:
                cost = cost * self.row_weight[rows, None]
            loss += float(cost.sum())
            pulled = J if pull is None else J * pull.flatten()[:, None]
            if normal is None or gradient is None:
                normal, gradient = J.new_zeros(J.shape[1], J.shape[1]), J.new_zeros(J.shape[1])
            gradient += pulled.T @ residual.flatten()
            _add_lower_product(normal, pulled, J)
        assert normal is not None
        assert gradient is not None
        normal = normal.tril() + normal.tril(-1).T
        n = self.target.numel()
        return QuadraticModel(normal / n, gradient / n, loss / n), torch.cat(outputs)

    def _pull(self, residual: Tensor, rows: slice) -> Tensor | None:
        """The diagonal of W; None for ones."""
        pull = self.objective.pull(residual)
        if self.row_weight is None:
            return pull
        by_row = self.row_weight[rows, None].expand_as(residual)
        return by_row if pull is None else by_row * pull

    def pull_back(
        self, free: FreeParameters, nodes: Float[Tensor, "n out"], values: Float[Tensor, "n out"]
    ) -> Float[Tensor, " p"]:
        """J'W values / n at the current parameters, whose last nodes are `nodes`."""
        pull = self.objective.pull(nodes - self.target)
        values = values if pull is None else pull * values
        # The gradient of the mean of w (h - (h - v))^2 is 2 J'W v / n.
        if self._native is not None:
            share = self.inside.new_full((len(self.X),), 0.5 / self.target.numel())
            share = share if self.row_weight is None else share * self.row_weight
            _, gradients = self._native.loss(self.inside, nodes - values, share)
            return free.of_layers(gradients)
        scale, shift = self.network.output_scale, self.network.output_shift
        loss_and_gradient(
            self.network, self.X, (nodes - values) * scale + shift, weight=self.weight
        )
        return free.gradient() / 2

    @torch.no_grad()
    def bend(
        self,
        free: FreeParameters,
        nodes: Float[Tensor, "n out"] | None,
        theta: Float[Tensor, " p"],
        delta: Float[Tensor, " p"],
    ) -> Float[Tensor, " p"]:
        """J'W r'' / 2 n, with r'' the second derivative of the residuals along delta, by
        differences; the step bends by its image under the inverse of the damped curvature. nodes:
        at theta, if known."""
        nodes = self.nodes() if nodes is None else nodes
        ends = []
        for t in (DIFFERENCE, -DIFFERENCE):
            free.set(theta + t * delta)
            ends.append(self.nodes())
        free.set(theta)
        second = (ends[0] - 2 * nodes + ends[1]) / DIFFERENCE**2
        return self.pull_back(free, nodes, second) / 2

    def loss(self) -> Tensor:
        """The loss at the current parameters."""
        return self.loss_at(self.nodes())

    def value(self) -> Value:
        """The objective at the current parameters."""
        return self.objective(self.network, self.X, self.y, self.weight)

    def penalty_model(self, free: FreeParameters) -> QuadraticModel:
        return penalty_model(self.network, free, self.X, self.objective.penalty)

    def in_domains(self) -> bool:
        return in_domains(self.network, self.X)


def _add_lower_product(normal: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left' right, which is symmetric, to the lower triangle of `normal`."""
    for start in range(0, len(normal), BLOCK):
        columns = slice(start, start + BLOCK)
        normal[start:, columns].addmm_(left[:, start:].T, right[:, columns])
