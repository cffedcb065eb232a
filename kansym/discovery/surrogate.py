"""A smooth surface through scattered rows, with the slopes that betray a law's structure.

Gaussian process regression (Rasmussen and Williams 2006, ch. 2 and 5): covariance

    k(x, x') = s^2 exp(-1/2 sum_i w_i (x_i - x'_i)^2)  +  noise on the diagonal

with one weight w_i per column, chosen by the marginal likelihood; the noise of a row is divided by
its weight. Of 500 noiseless rows of physical
laws in up to nine columns it gives values to 1e-2 .. 1e-6 and first slopes to a few times that, in
half a second: tests of structure need slopes at every row, long before a network of splines of
the right shape is known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import linalg, optimize

from kansym.discovery.weights import rms, spread

MAX_ROWS = 500
ITERATIONS = 60
JITTER = 1e-10  # of the covariance's diagonal, relative to s^2
LEAST_NOISE, MOST_NOISE = -26.0, 2.0  # log variance, of a target of variance one
FIRST_NOISE, NOISY = -9.0, -2.0  # where the likelihood is climbed from, and once more
ALL_NOISE = -0.5  # log variance above which the surface explains next to nothing
ROUGH = 5.0  # log weight of a column, above which neighbouring rows know nothing of each other
MOST_UNEQUAL = 1e4  # how far a row's weight may be from the mean, either way


class Surface:
    """The surface through rows X [n, columns], y [n]; slopes are those at these rows.

    weight: [n], inverse variances of the rows up to a factor, or None for equal ones.
    stop: asked between steps of the climb, which may end where it is. twice: whether to climb once
    more from elsewhere, should the first climb end where rows know nothing of each other.
    left_out: residual of every row when it is left out, [n]. error: their RMSE, relative to y's
    standard deviation, both weighted.
    noise: standard deviation of y about the surface at a row of mean weight, as the likelihood has
    it, in units of y.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray | None = None,
        stop: Callable[[], bool] = lambda: False,
        twice: bool = True,
    ):
        self.X, self.y, self._stop, self._twice = X, y, stop, twice
        self.weight = np.ones(len(y)) if weight is None else weight / weight.mean()
        self.variance = 1 / np.clip(self.weight, 1 / MOST_UNEQUAL, MOST_UNEQUAL)
        deviation = X.std(0)  # 0 of denormals, too
        varies = (np.ptp(X, 0) > 0) & (deviation > 0)
        self.center, self.scale = X.mean(0), np.where(varies, deviation, 1.0)
        self.mean, self.spread = float(y.mean()), float(y.std()) or 1.0
        self.Z = (X - self.center) / self.scale
        self.t = (y - self.mean) / self.spread
        self._fit()

    def _fit(self) -> None:
        n, m = self.Z.shape
        squares = (self.Z.T[:, :, None] - self.Z.T[:, None, :]) ** 2  # [m, n, n]
        flat = squares.reshape(m, -1)
        eye = np.arange(n)

        def likelihood(p: np.ndarray) -> tuple[float, np.ndarray]:
            w, s2, noise = np.exp(p[:m]), np.exp(p[m]), np.exp(p[m + 1])
            K0 = s2 * np.exp(-0.5 * (w @ flat)).reshape(n, n)
            K = K0.copy()
            K[eye, eye] += noise * self.variance + JITTER * s2
            try:
                lower = linalg.cholesky(K, lower=True, overwrite_a=True, check_finite=False)
            except linalg.LinAlgError:
                return 1e25, np.zeros_like(p)
            inverse = _inverse(lower)
            a = inverse @ self.t
            loss = 0.5 * self.t @ a + np.log(np.diag(lower)).sum()
            W = 0.5 * (inverse - np.outer(a, a))
            WK = (W * K0).ravel()
            diagonal = np.diag(W)
            slopes = [
                -0.5 * w * (flat @ WK),
                [WK.sum() + JITTER * s2 * diagonal.sum()],
                [noise * (diagonal @ self.variance)],
            ]
            return float(loss), np.concatenate(slopes)

        bounds = [(-18.0, 8.0)] * m + [(-4.0, 14.0), (LEAST_NOISE, MOST_NOISE)]

        def pause(intermediate_result: optimize.OptimizeResult) -> None:
            if self._stop():
                raise StopIteration

        def climbed(noise: float) -> optimize.OptimizeResult:
            start = np.concatenate([np.full(m, -2.0 - 0.6 * np.log(m)), [3.0], [noise]])
            return optimize.minimize(
                likelihood, start, jac=True, method="L-BFGS-B", bounds=bounds,
                options={"maxiter": ITERATIONS}, callback=pause,
            )  # fmt: skip

        result = climbed(FIRST_NOISE)
        if self._twice and (result.x[:m].max() > ROUGH or result.x[m + 1] > ALL_NOISE):
            result = min(result, climbed(NOISY), key=lambda found: found.fun)
        self.weights = np.exp(result.x[:m])
        s2, noise = np.exp(result.x[m]), np.exp(result.x[m + 1])
        self._s2, self.noise = s2, self.spread * float(np.sqrt(noise))
        self._K0 = s2 * np.exp(-0.5 * (self.weights @ flat)).reshape(n, n)
        K = self._K0 + np.diag(noise * self.variance + JITTER * s2)
        inverse = _inverse(linalg.cholesky(K, lower=True))
        self._a = inverse @ self.t
        self.left_out = self._a / np.diag(inverse) * self.spread
        self.error = rms(self.left_out, self.weight) / (spread(self.y, self.weight) or 1.0)

    @property
    def relative_noise(self) -> float:
        """The noise, in the units of `error`."""
        return self.noise / (spread(self.y, self.weight) or 1.0)

    def values(self, X: np.ndarray) -> np.ndarray:
        """The surface at rows X [k, columns], [k]."""
        Z = (X - self.center) / self.scale
        root = np.sqrt(self.weights)
        A, B = Z * root, self.Z * root
        distance = (A**2).sum(1)[:, None] + (B**2).sum(1) - 2 * A @ B.T
        return self._s2 * np.exp(-0.5 * np.maximum(distance, 0.0)) @ self._a * self.spread + (
            self.mean
        )

    def slopes(self) -> np.ndarray:
        """dy/dx_i at every row, [n, columns]."""
        Ka = self._K0 * self._a
        first = -(self.Z * Ka.sum(1)[:, None] - Ka @ self.Z) * self.weights
        return first * self.spread / self.scale

    def mixed(self, i: int, j: int) -> np.ndarray:
        """d2y / dx_i dx_j at every row, [n], for i != j."""
        Ka = self._K0 * self._a
        zi, zj = self.Z[:, i], self.Z[:, j]
        # sum_n a_n K (z_i - z_in) (z_j - z_jn), expanded so that only n x n products are made
        total = zi * zj * Ka.sum(1) - zi * (Ka @ zj) - zj * (Ka @ zi) + Ka @ (zi * zj)
        weight = self.weights[i] * self.weights[j]
        return total * weight * self.spread / (self.scale[i] * self.scale[j])


def _inverse(lower: np.ndarray) -> np.ndarray:
    inverse = linalg.cho_solve((lower, True), np.eye(len(lower)), check_finite=False)
    return 0.5 * (inverse + inverse.T)
