"""Levenberg-Marquardt: second-order training of the squared error, with or without the penalty.

A network people read has 10 to 2,000 parameters, and its loss is a sum of squares. A step solves

    (J'J / n + K + mu D) delta = -(J'r / n + g)

J the per-sample Jacobian, summed up over chunks of rows so that memory does not grow with n; D the
diagonal of J'J / n + K, so that damping is scale-free; mu follows the gain ratio (Nielsen 1999,
IMM-REP-1999-05).

g is half of the exact gradient of the sparsity penalty R, K half of a majorising curvature. R is a
function of edge scores s_e, and s_e^2 = w_e' C w_e is quadratic in the edge's weights w_e, with C
the covariance of its features (for mean_abs: the second moment). So

    dR/dw_e = (dR/ds_e / s_e) C w_e,      K_e = max(dR/ds_e, 0) / s_e C

as in reweighted least squares for a group penalty (Daubechies et al. 2010, arXiv:0807.0575): the
fainter an edge, the stiffer the spring that holds it at zero. A step is taken only when loss plus
penalty, exactly evaluated, has fallen.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kansym import kernels, scores
from kansym import jacobian as jac
from kansym.layer import KANLayer
from kansym.network import Network, Trace
from kansym.training.objective import Objective, Penalty, Value

CHUNK = 4096  # rows whose Jacobian is held at once
SMALLEST_GAIN = 1e-12  # relative fall of the objective below which a step counts as a stall
MAX_STALLS = 3
MAX_TRIES = 12  # dampings tried in one step
FAINTEST = 1e-5  # scores below this fraction of the layer's largest are held as firmly as this


class LM:
    """A solver with one method, `step`; see the module for the method."""

    def __init__(self, network: Network, objective: Objective, lr: float | None):
        self.check(objective, lr)
        self.network, self.objective = network, objective
        self.mu, self.growth = 1e-3, 2.0
        self.converged = False
        self._stalls = 0

    @staticmethod
    def check(objective: Objective, lr: float | None) -> None:
        """ValueError for what this solver cannot do."""
        if lr is not None:
            raise ValueError(f"lr has no meaning for opt='LM', got {lr!r}; leave it out")
        if not objective.is_squared:
            raise ValueError("opt='LM' minimises a squared error: use loss='mse', or opt='LBFGS'")

    @torch.no_grad()
    def step(self, X: Tensor, y: Tensor) -> Value | None:
        theta = jac.get_free(self.network)
        if not len(theta):
            self.converged = True
            return None
        normal, gradient, start = self._quadratic_model(X, y)
        curvature = normal.diagonal()
        # A parameter that moves nothing gets the damping of a faint one instead of none.
        scale = curvature.clamp(min=1e-12 * float(curvature.max().clamp(min=1e-300)))
        for _ in range(MAX_TRIES):
            delta = _solve_positive(normal + torch.diag(self.mu * scale), -gradient)
            if delta is not None:
                jac.set_free(self.network, theta + delta)
                value = self.objective(self.network, X, y)
                fall = start - float(value.objective)
                predicted = -float(delta @ (2 * gradient + normal @ delta))
                if fall > 0 and predicted > 0:
                    self._accept(fall / predicted, fall / start)
                    return value
            self.mu, self.growth = self.mu * self.growth, min(self.growth * 2, 1e3)
        jac.set_free(self.network, theta)
        self.converged = True
        return None

    def _accept(self, gain: float, relative_fall: float) -> None:
        self.mu = max(self.mu * max(1 / 3, 1 - (2 * gain - 1) ** 3), 1e-15)
        self.growth = 2.0
        self._stalls = self._stalls + 1 if relative_fall < SMALLEST_GAIN else 0
        self.converged = self._stalls >= MAX_STALLS

    def _quadratic_model(self, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
        """Half the curvature, half the gradient and the value of the objective."""
        normal, gradient, value = normal_equations(self.network, X, y)
        if self.objective.penalty.lamb:
            curvature, slope, penalty = penalty_model(self.network, X, self.objective.penalty)
            normal, gradient, value = normal + curvature, gradient + slope, value + penalty
        return normal, gradient, value


def normal_equations(network: Network, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """J'J / n, J'r / n and the mean squared residual, in units of the output scale."""
    scale = network.output_scale
    normal = gradient = torch.zeros((), dtype=X.dtype, device=X.device)
    loss = 0.0
    for rows in torch.arange(len(X), device=X.device).split(CHUNK):
        output, slopes = jac.jacobian(network, X[rows])
        J = (slopes / scale[:, None]).flatten(0, 1)
        residual = ((output - y[rows]) / scale).flatten()
        normal, gradient = normal + J.T @ J, gradient + J.T @ residual
        loss += float(residual @ residual)
    return normal / y.numel(), gradient / y.numel(), loss / y.numel()


def penalty_model(
    network: Network, X: Tensor, penalty: Penalty
) -> tuple[Float[Tensor, "p p"], Float[Tensor, " p"], float]:
    """K, g (half curvature and half gradient) and the value of the penalty."""
    with torch.enable_grad():
        trace = network.trace(X)
        values = scores.edge_scores(network, trace, penalty.score)
        total = penalty(network, values)
        names = [(layer, name) for layer in network.kan_layers for name in jac.PARAMETERS]
        parameters = [getattr(layer, name) for layer, name in names]
        found = torch.autograd.grad(total, [*parameters, *values], materialize_grads=True)
    slopes, pulls = found[: len(parameters)], found[len(parameters) :]
    masks = [mask for layer in jac.free_masks(network) for mask in layer.values()]
    gradient = torch.cat([slope[mask] for slope, mask in zip(slopes, masks, strict=True)])
    curvature = gradient.new_zeros(len(gradient), len(gradient))
    for place, block in _edge_blocks(network, trace, values, pulls, penalty.score):
        curvature[place[:, None], place] += block
    return curvature / 2, gradient / 2, float(total)


def _edge_blocks(
    network: Network, trace: Trace, values: list[Tensor], pulls: tuple[Tensor, ...], score: str
) -> list[tuple[Tensor, Tensor]]:
    """(places in the vector of free parameters, curvature) for every numeric edge."""
    blocks, start = [], 0
    for l, layer in enumerate(network.kan_layers):
        numeric = torch.nonzero(layer.is_numeric)
        moments = _moments(layer, trace.nodes[l], is_centred=score != "mean_abs")
        held = values[l].clamp(min=FAINTEST * float(values[l].max()) + 1e-30)
        weight = pulls[l].clamp(min=0) / held
        n_coef, has_base = layer.coef.shape[2], layer.base != "zero"
        for at, (j, i) in enumerate(numeric.tolist()):
            place = start + at * n_coef + torch.arange(n_coef)
            if has_base:
                place = torch.cat([place, torch.tensor([start + len(numeric) * n_coef + at])])
            size = len(place)
            blocks.append((place, weight[j, i] * moments[i, :size, :size]))
        start += len(numeric) * (n_coef + has_base) + 4 * int(layer.is_symbolic.sum())
    return blocks


def _moments(layer: KANLayer, x: Tensor, is_centred: bool) -> Float[Tensor, "in features features"]:
    """Covariance (or second moment) of the features of every input."""
    features = kernels.features(x, layer.shape)
    if is_centred:
        features = features - features.mean(2, keepdim=True)
    return features @ features.transpose(1, 2) / x.shape[0]


def _solve_positive(matrix: Tensor, right: Tensor) -> Tensor | None:
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info) or not bool(torch.isfinite(factor).all()):
        return None
    return torch.cholesky_solve(right[:, None], factor)[:, 0]
