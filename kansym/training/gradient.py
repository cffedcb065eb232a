"""The objective and its gradient, by the kernel for whole networks where one can run."""

from __future__ import annotations

import torch
from torch import Tensor

from kansym.network import Network
from kansym.training.objective import Objective, Penalty, Value


def loss_and_gradient(
    network: Network,
    X: Tensor,
    y: Tensor,
    objective: Objective | None = None,
    weight: Tensor | None = None,
) -> Value:
    """The objective (by default the mean squared error) at X [n, in], y [n, out]; its gradient is
    left in `.grad` of the parameters, in place of what was there.

    A network of splines alone with a squared error and no penalty is one call of a kernel that
    needs no autograd: several times faster for small networks.
    """
    objective = objective or Objective("mse", Penalty())
    network.zero_grad()
    value = _by_kernel(network, X, y, objective, weight)
    if value is None:
        with torch.enable_grad():
            value = objective(network, X, y, weight)
            value.objective.backward()
    return value


@torch.no_grad()
def _by_kernel(
    network: Network, X: Tensor, y: Tensor, objective: Objective, weight: Tensor | None
) -> Value | None:
    penalty = objective.penalty
    if objective.name != "mse" or penalty.lamb or penalty.smooth:
        return None
    inside = network.scale_inputs(X)
    native = network.native_network(inside)
    if native is None:
        return None
    target = ((y - network.output_shift) / network.output_scale).to(inside)
    share = inside.new_full((len(X),), 1 / target.numel())
    share = share if weight is None else weight.to(inside) * share
    total, gradients = native.loss(inside, target, share)
    for layer, gradient in zip(network.kan_layers, gradients, strict=True):
        layer.coef.grad, layer.base_weight.grad = gradient
    loss = inside.new_tensor(total)
    return Value(loss, loss, loss.new_zeros(()), None)
