"""Values, first and mixed second derivatives of the law at the rows, from the better of two
surfaces: y over x, or log |y| over log x where both are of one sign."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kansym.discovery.surrogate import MAX_ROWS, Surface

GOOD = 1e-4  # leave-one-out error below which the second surface is not tried
BY_CHANCE = 1.05  # times the noise, that the residual of the law itself may be


@dataclass(frozen=True)
class Slopes:
    """X: [n, columns], the rows used. values: [n], smoothed. first: [n, columns]. mixed(i, j): [n].

    predict: values at other rows. error: leave-one-out RMSE of the surface in units of the
    standard deviation of what it was fitted to. noise: the part of it that no surface can explain.
    """

    X: np.ndarray
    values: np.ndarray
    first: np.ndarray
    mixed: Callable[[int, int], np.ndarray]
    predict: Callable[[np.ndarray], np.ndarray]
    error: float
    noise: float

    def error_of_equals(self, times: float) -> float:
        """Error of a model that misses the law by `times` what the surface does, noise aside."""
        missed = max(self.error**2 - self.noise**2, 0.0)
        return math.sqrt((BY_CHANCE * self.noise) ** 2 + times**2 * missed)


def slopes(
    X: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
    rows: int = MAX_ROWS,
    weight: np.ndarray | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Slopes:
    """Derivatives at up to `rows` rows drawn from X [n, columns], y [n], with weights [n].

    stop: see `Surface`.
    """
    if len(y) > rows:
        picked = np.sort(rng.choice(len(y), rows, replace=False))
        X, y = X[picked], y[picked]
        weight = None if weight is None else weight[picked]
    plain = _plain(X, Surface(X, y, weight, stop))
    has_logs = np.all(X > 0) and (np.all(y > 0) or np.all(y < 0))
    if plain.error < GOOD or not has_logs or stop():
        return plain
    logs = Surface(np.log(X), np.log(np.abs(y)), weight, stop)
    return min(plain, _logarithmic(X, y, logs), key=lambda found: found.error)


def _plain(X: np.ndarray, surface: Surface) -> Slopes:
    return Slopes(
        X, surface.values(X), surface.slopes(), surface.mixed, surface.values, surface.error,
        surface.relative_noise,
    )  # fmt: skip


def _logarithmic(X: np.ndarray, y: np.ndarray, surface: Surface) -> Slopes:
    sign = float(np.sign(y[0]))
    values = sign * np.exp(surface.values(np.log(X)))
    logs = surface.slopes()

    def mixed(i: int, j: int) -> np.ndarray:
        return values / (X[:, i] * X[:, j]) * (surface.mixed(i, j) + logs[:, i] * logs[:, j])

    def predict(rows: np.ndarray) -> np.ndarray:
        return sign * np.exp(surface.values(np.log(rows)))

    first = values[:, None] * logs / X
    return Slopes(X, values, first, mixed, predict, surface.error, surface.relative_noise)
