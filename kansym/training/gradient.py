"""The objective and its gradient, by the kernel for whole networks where one can run."""

from __future__ import annotations

import torch
from torch import Tensor

from kansym.network import Network
from kansym.training.objective import Objective, Penalty, Value


class Gradient:
    """A network, an objective and rows: every call is one training step less the optimiser's part.

    Networks of splines alone with a squared error and no penalty take one call of a kernel and no
    autograd: several times faster for small networks. What that needs is looked up once, so
    parameters may change in place between calls, and nothing else may.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        X: Tensor,
        y: Tensor,
        weight: Tensor | None = None,
    ):
        self.network, self.objective = network, objective
        self.X, self.y, self.weight = X, y, weight
        self._inside = network.scale_inputs(X)
        self._native = network.native_network(self._inside) if _is_plain(objective) else None
        if self._native is not None and self._native.is_live:
            target = (y - network.output_shift) / network.output_scale
            self._target = target.to(self._inside)
            share = self._inside.new_full((len(X),), 1 / self._target.numel())
            self._share = share if weight is None else weight.to(self._inside) * share
        else:
            self._native = None

    def is_of(self, X: Tensor, y: Tensor, weight: Tensor | None) -> bool:
        """Whether it was made for these rows."""
        return X is self.X and y is self.y and weight is self.weight

    def __call__(self) -> Value:
        """The objective; its gradient replaces what `.grad` of the parameters held."""
        if self._native is None:
            self.network.zero_grad()
            with torch.enable_grad():
                value = self.objective(self.network, self.X, self.y, self.weight)
                value.objective.backward()
            return value
        total, gradients = self._native.loss(self._inside, self._target, self._share)
        for layer, gradient in zip(self.network.kan_layers, gradients, strict=True):
            layer.coef.grad, layer.base_weight.grad = gradient
            layer.affine.grad = None
        loss = self._inside.new_tensor(total)
        return Value(loss, loss, loss.new_zeros(()), None)


def _is_plain(objective: Objective) -> bool:
    penalty = objective.penalty
    return objective.name == "mse" and not penalty.lamb and not penalty.smooth


def loss_and_gradient(
    network: Network,
    X: Tensor,
    y: Tensor,
    objective: Objective | None = None,
    weight: Tensor | None = None,
) -> Value:
    """One call of `Gradient`, by default of the mean squared error, at X [n, in] and y [n, out]."""
    return Gradient(network, objective or Objective("mse", Penalty()), X, y, weight)()
