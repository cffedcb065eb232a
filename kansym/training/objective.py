"""What training lowers: a data loss plus the sparsity penalty of the paper.

    objective = loss + lamb * sum over layers (lamb_l1 L1 + lamb_entropy S + lamb_coef |c|
                                               + lamb_coefdiff |c_m+1 - c_m|)
    L1 = sum A,  S = - sum (A / L1) log(A / L1)

with A the edge scores of the layer (Liu et al. 2024, arXiv:2404.19756, sec. 2.5.1). The squared
error is taken in units of the network's output scale, so that `lamb` does not depend on the units
of y once outputs are scaled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kansym import scores
from kansym.errors import check_choice, is_number
from kansym.network import Network

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {"mse": F.mse_loss, "cross_entropy": F.cross_entropy}


@dataclass(frozen=True)
class Penalty:
    """Weights of the penalty, all >= 0, and the score it is taken of."""

    lamb: float = 0.0
    lamb_l1: float = 1.0
    lamb_entropy: float = 2.0
    lamb_coef: float = 0.0
    lamb_coefdiff: float = 0.0
    score: str = "mean_abs"

    def __post_init__(self) -> None:
        for name in ("lamb", "lamb_l1", "lamb_entropy", "lamb_coef", "lamb_coefdiff"):
            value = getattr(self, name)
            if not is_number(value) or value < 0:
                raise ValueError(f"{name} must be finite and >= 0, got {value!r}")
        check_choice("score", self.score, scores.SCORES)

    def __call__(self, network: Network, edges: list[Tensor]) -> Tensor:
        """lamb times the penalty, from the edge scores of every layer."""
        total = edges[0].new_zeros(())
        for layer, values in zip(network.kan_layers, edges, strict=True):
            active = values[layer.mask]
            total = total + self.lamb_l1 * active.sum() + self.lamb_entropy * entropy(active)
            if self.lamb_coef or self.lamb_coefdiff:
                coef = layer.coef[layer.is_numeric]
                total = total + self.lamb_coef * coef.abs().mean(-1).sum()
                total = total + self.lamb_coefdiff * torch.diff(coef).abs().mean(-1).sum()
        return self.lamb * total


def entropy(values: Tensor) -> Tensor:
    """- sum p log p of p = values / sum(values): 0 when one edge has it all."""
    # The floor keeps the gradient finite for an edge whose score is exactly zero.
    share = values / values.sum().clamp(min=1e-30) + 1e-14
    return -(share * share.log()).sum()


class Value(NamedTuple):
    """The objective and its parts: objective = loss + penalty."""

    objective: Tensor
    loss: Tensor
    penalty: Tensor
    n_edges: int | None


class Objective:
    """A loss (by name or callable (prediction, y) -> scalar) and a penalty."""

    def __init__(self, loss: str | Loss, penalty: Penalty):
        self.penalty = penalty
        self.is_squared = loss == "mse"
        self._loss = loss if callable(loss) else LOSSES[check_choice("loss", loss, LOSSES)]

    def __call__(self, network: Network, X: Tensor, y: Tensor) -> Value:
        """Differentiable in the parameters of the network."""
        if not self.penalty.lamb:
            loss = self.loss(network, network(X), y)
            return Value(loss, loss, loss.new_zeros(()), None)
        trace = network.trace(X)
        output = trace.nodes[-1] * network.output_scale + network.output_shift
        loss = self.loss(network, output, y)
        edges = scores.edge_scores(network, trace, self.penalty.score)
        penalty = self.penalty(network, edges)
        n_edges = sum(int((values > 1e-2).sum()) for values in edges)
        return Value(loss + penalty, loss, penalty, n_edges)

    def loss(self, network: Network, prediction: Tensor, y: Tensor) -> Tensor:
        """The data loss, squared errors in units of the output scale."""
        if self.is_squared:
            scale = network.output_scale
            return self._loss(prediction / scale, y / scale)
        return self._loss(prediction, y)
