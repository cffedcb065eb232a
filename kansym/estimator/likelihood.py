"""Maximum likelihood of class labels: log-odds of every class against the first.

    P(class k | x) = exp f_k(x) / sum over l of exp f_l(x),      f_0 = 0

fitted by Fisher scoring with Levenberg-Marquardt damping. A prior worth a fraction of a row keeps
the log-odds of classes that can be separated perfectly finite,

    objective = sum_i w_i (- log P(y_i | x_i)) + (r/2) weighted mean of |f|^2 + theta' S theta / 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

Model = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""theta [p] -> log-odds [n, classes - 1] and their slopes [n, classes - 1, p]."""

PRIOR_ROWS = 0.05  # r: shrinks the log-odds of 300 rows by a hundredth
FIRST_DAMPING, LARGEST_DAMPING = 1e-6, 1e8
MAX_STEPS = 60


@dataclass(frozen=True)
class Labels:
    """codes: class of each row, 0 to n_classes - 1. weight: how often each row counts."""

    codes: np.ndarray
    weight: np.ndarray
    n_classes: int

    def rows(self, which: np.ndarray) -> Labels:
        """The rows that an index or mask picks."""
        return Labels(self.codes[which], self.weight[which], self.n_classes)

    def mean(self, values: np.ndarray) -> float:
        """Weighted mean over the rows."""
        return float(np.average(values, weights=self.weight))

    def standard_error(self, values: np.ndarray) -> float:
        """Of that mean."""
        spread = np.average((values - self.mean(values)) ** 2, weights=self.weight)
        return float(np.sqrt(spread / self.weight.sum()))


@dataclass(frozen=True)
class Fitted:
    """Parameters, the objective there and its curvature (the inverse of their covariance)."""

    theta: np.ndarray
    objective: float
    curvature: np.ndarray


def with_reference(logits: np.ndarray) -> np.ndarray:
    """Log-odds of all classes, the first one's 0: [n, classes]."""
    return np.column_stack([np.zeros(len(logits)), logits])


def probabilities(logits: np.ndarray) -> np.ndarray:
    """[n, classes] from log-odds [n, classes - 1]."""
    full = with_reference(logits)
    return np.exp(full - np.logaddexp.reduce(full, axis=1)[:, None])


def row_losses(logits: np.ndarray, labels: Labels) -> np.ndarray:
    """- log P(own class) of every row, [n]; infinite where the log-odds are not finite."""
    full = with_reference(logits)
    finite = np.isfinite(full).all(axis=1)
    full[~finite] = 0.0
    losses = np.logaddexp.reduce(full, axis=1) - full[np.arange(len(full)), labels.codes]
    return np.where(finite, losses, np.inf)


def maximise(
    model: Model,
    start: np.ndarray,
    labels: Labels,
    prior: np.ndarray | None = None,
    tolerance: float = 1e-10,
) -> Fitted | None:
    """The parameters of highest likelihood, from `start`; None where the log-odds are not finite
    there. prior: S, [p, p]. tolerance: relative decrease of the objective in the last step."""
    theta, damping = start, FIRST_DAMPING
    logits, slopes = model(theta)
    value = _objective(logits, theta, labels, prior)
    if not np.isfinite(value):
        return None
    curvature = np.zeros((len(theta), len(theta)))
    for _ in range(MAX_STEPS):
        gradient, curvature = _derivatives(logits, slopes, theta, labels, prior)
        while damping < LARGEST_DAMPING:
            trial = theta - _solve(curvature, gradient, damping)
            new_logits, new_slopes = model(trial)
            new = _objective(new_logits, trial, labels, prior)
            if new < value and np.isfinite(new_slopes).all():
                break
            damping *= 10
        else:
            break
        gain, theta, value = value - new, trial, new
        logits, slopes, damping = new_logits, new_slopes, max(damping / 10, 1e-12)
        if gain < tolerance * (1 + abs(value)):
            break
    return Fitted(theta, value, curvature)


def _objective(
    logits: np.ndarray, theta: np.ndarray, labels: Labels, prior: np.ndarray | None
) -> float:
    if not np.isfinite(logits).all():
        return np.inf
    held = 0.5 * PRIOR_ROWS * labels.mean((logits**2).sum(1))
    smooth = 0.0 if prior is None else 0.5 * float(theta @ prior @ theta)
    return float(labels.weight @ row_losses(logits, labels)) + held + smooth


def _derivatives(
    logits: np.ndarray,
    slopes: np.ndarray,
    theta: np.ndarray,
    labels: Labels,
    prior: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and expected curvature of the objective."""
    p = probabilities(logits)[:, 1:]
    n, k = p.shape
    hit = labels.codes[:, None] == np.arange(1, k + 1)
    w = labels.weight[:, None]
    share = PRIOR_ROWS * w / labels.weight.sum()
    pull = w * (p - hit) + share * logits
    between = w[:, :, None] * (p[:, :, None] * np.eye(k) - p[:, :, None] * p[:, None, :])
    between += share[:, :, None] * np.eye(k)
    flat = slopes.reshape(n * k, -1)
    gradient = flat.T @ pull.ravel()
    curvature = flat.T @ (between @ slopes).reshape(n * k, -1)
    if prior is not None:
        gradient, curvature = gradient + prior @ theta, curvature + prior
    return gradient, curvature


def _solve(curvature: np.ndarray, gradient: np.ndarray, damping: float) -> np.ndarray:
    size = curvature.diagonal()
    unit = np.sqrt(np.where(size > 0, size, 1.0))
    held = curvature / unit / unit[:, None] + damping * np.eye(len(unit))
    try:
        return linalg.solve(held, gradient / unit, assume_a="pos") / unit
    except linalg.LinAlgError:  # the damping is below rounding
        return np.linalg.lstsq(held, gradient / unit, rcond=1e-12)[0] / unit
