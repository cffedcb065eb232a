"""What training lowers: a data loss plus the sparsity penalty of the paper.

    objective = loss + lamb * sum over layers (lamb_l1 L1 + lamb_entropy S + lamb_coef |c|
                                               + lamb_coefdiff |c_m+1 - c_m|)
    L1 = sum A,  S = - sum (A / L1) log(A / L1)

with A the edge scores of the layer (Liu et al. 2024, arXiv:2404.19756, sec. 2.5.1). Errors are
taken in units of the network's output scale, so that `lamb` does not depend on the units of y once
outputs are scaled. Beside it stands a smoothing prior that has nothing to do with sparsity,

    smooth * sum over numeric edges of (c_m+1 - 2 c_m + c_m-1)^2,

the difference penalty of P-splines (Eilers and Marx 1996, doi:10.1214/ss/1038425655): it says what
a coefficient is where there are no data.
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
Metric = Callable[[Tensor, Tensor], float | Tensor]
LOSSES = ("mse", "huber", "cross_entropy")
RESIDUAL_LOSSES = ("mse", "huber")


@dataclass(frozen=True)
class Penalty:
    """Weights of the penalty, all >= 0, and the score it is taken of."""

    lamb: float = 0.0
    lamb_l1: float = 1.0
    lamb_entropy: float = 2.0
    lamb_coef: float = 0.0
    lamb_coefdiff: float = 0.0
    score: str = "mean_abs"
    smooth: float = 0.0

    def __post_init__(self) -> None:
        for name in ("lamb", "lamb_l1", "lamb_entropy", "lamb_coef", "lamb_coefdiff", "smooth"):
            value = getattr(self, name)
            if not is_number(value) or value < 0:
                raise ValueError(f"{name} must be finite and >= 0, got {value!r}")
        check_choice("score", self.score, scores.SCORES)

    def __call__(self, network: Network, edges: list[Tensor]) -> Tensor:
        """lamb times the sparsity penalty, from the edge scores of every layer."""
        total = edges[0].new_zeros(())
        for layer, values in zip(network.kan_layers, edges, strict=True):
            active = values[layer.mask]
            total = total + self.lamb_l1 * active.sum()
            total = total + self.lamb_entropy * scores.entropy(active)
            if self.lamb_coef or self.lamb_coefdiff:
                coef = layer.coef[layer.is_numeric]
                total = total + self.lamb_coef * coef.abs().mean(-1).sum()
                total = total + self.lamb_coefdiff * torch.diff(coef).abs().mean(-1).sum()
        return self.lamb * total

    def roughness(self, network: Network) -> Tensor:
        """The smoothing prior."""
        total = network.output_scale.new_zeros(())
        if self.smooth:
            for layer in network.kan_layers:
                total = total + (torch.diff(layer.coef[layer.is_numeric], n=2) ** 2).sum()
        return self.smooth * total


def measured(network: Network, X: Tensor, score: str) -> tuple[Tensor, list[Tensor]]:
    """The last nodes and the edge scores of every layer, in one pass."""
    if score == "std":
        rows = network.rows(X)
        pairs = zip(network.kan_layers, rows[:-1], strict=True)
        return rows[-1], [scores.spread(layer, h) for layer, h in pairs]
    trace = network.trace(X)
    return trace.nodes[-1], scores.edge_scores(network, trace, score)


def _checked(loss: object, prediction: Tensor) -> Tensor:
    """What a loss of the user's own returned, if it can be lowered."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
        raise ValueError(f"loss must return a tensor with one number, got {got}; take the mean")
    if prediction.requires_grad and not loss.requires_grad:
        raise ValueError(
            "loss must depend on the prediction by torch's operations, got a tensor without a"
            " gradient; leave out detach, item and NumPy"
        )
    return loss.reshape(())


class Value(NamedTuple):
    """The objective and its parts: objective = loss + penalty."""

    objective: Tensor
    loss: Tensor
    penalty: Tensor
    n_edges: int | None


class Objective:
    """A loss (by name, or a callable (prediction, y) -> scalar) and a penalty.

    "mse": mean squared error. "huber": r^2 for |r| <= delta, 2 delta |r| - delta^2 beyond (Huber
    1964, doi:10.1214/aoms/1177703732): outliers pull with a constant force. Rows may carry weights
    >= 0 of mean 1 in both, and in "cross_entropy".
    """

    def __init__(self, loss: str | Loss, penalty: Penalty, delta: float = 0.1):
        self.penalty, self.delta = penalty, delta
        self._custom = loss if callable(loss) else None
        self.name = "custom" if callable(loss) else check_choice("loss", loss, LOSSES)

    @property
    def has_residuals(self) -> bool:
        """Whether the loss is a mean over residuals, as Levenberg-Marquardt needs it."""
        return self.name in RESIDUAL_LOSSES

    def __call__(
        self, network: Network, X: Tensor, y: Tensor, weight: Tensor | None = None
    ) -> Value:
        """Differentiable in the parameters of the network."""
        roughness = self.penalty.roughness(network)
        if not self.penalty.lamb:
            loss = self.loss(network, network(X), y, weight)
            return Value(loss + roughness, loss, roughness, None)
        nodes, edges = measured(network, X, self.penalty.score)
        output = nodes * network.output_scale + network.output_shift
        loss = self.loss(network, output, y, weight)
        penalty = self.penalty(network, edges) + roughness
        n_edges = int(sum((values > 1e-2).sum() for values in edges))
        return Value(loss + penalty, loss, penalty, n_edges)

    def loss(
        self, network: Network, prediction: Tensor, y: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """The data loss."""
        if self._custom is not None:
            return _checked(self._custom(prediction, y), prediction)
        if self.name == "cross_entropy":
            each = F.cross_entropy(prediction, y, reduction="none")
        else:
            each = self.of_residuals((prediction - y) / network.output_scale).mean(1)
        return each.mean() if weight is None else (weight * each).mean()

    def of_residuals(self, residuals: Tensor) -> Tensor:
        """What each residual costs."""
        if self.name == "mse":
            return residuals**2
        size = residuals.abs()
        beyond = self.delta * (2 * size - self.delta)
        return torch.where(size <= self.delta, residuals**2, beyond)

    def pull(self, residuals: Tensor) -> Tensor | None:
        """The weights that make least squares of the loss: its slope over 2 r; None for ones."""
        if self.name == "mse":
            return None
        return (self.delta / residuals.abs().clamp(min=self.delta)).to(residuals)
