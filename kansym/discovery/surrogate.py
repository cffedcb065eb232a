"""A smooth surface through scattered rows, with the slopes that betray a law's structure.

Gaussian process regression (Rasmussen and Williams 2006, ch. 2 and 5): covariance

    k(x, x') = s^2 exp(-1/2 sum_i w_i (x_i - x'_i)^2)  +  noise on the diagonal

with one weight w_i per column, chosen by the marginal likelihood. Of 500 noiseless rows of physical
laws in up to nine columns it gives values to 1e-2 .. 1e-6 and first slopes to a few times that, in
half a second: tests of structure need slopes at every row, long before a network of splines of
the right shape is known.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, optimize

MAX_ROWS = 500
ITERATIONS = 60
JITTER = 1e-10  # of the covariance's diagonal, relative to s^2
LEAST_NOISE, MOST_NOISE = -26.0, 2.0  # log variance, of a target of variance one


class Surface:
    """The surface through rows X [n, columns], y [n]; slopes are those at these rows.

    left_out: residual of every row when it is left out, [n]. error: their RMSE, relative to y's
    standard deviation.
    noise: standard deviation of y about the surface, as the likelihood has it, in units of y.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray):
        self.X, self.y = X, y
        self.center, self.scale = X.mean(0), np.where(np.ptp(X, 0) > 0, X.std(0), 1.0)
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
            K[eye, eye] += noise + JITTER * s2
            try:
                lower = linalg.cholesky(K, lower=True, overwrite_a=True, check_finite=False)
            except linalg.LinAlgError:
                return 1e25, np.zeros_like(p)
            inverse = _inverse(lower)
            a = inverse @ self.t
            loss = 0.5 * self.t @ a + np.log(np.diag(lower)).sum()
            W = 0.5 * (inverse - np.outer(a, a))
            WK = (W * K0).ravel()
            trace = np.trace(W)
            slopes = [-0.5 * w * (flat @ WK), [WK.sum() + JITTER * s2 * trace], [noise * trace]]
            return float(loss), np.concatenate(slopes)

        start = np.concatenate([np.full(m, -2.0 - 0.6 * np.log(m)), [3.0], [-9.0]])
        bounds = [(-18.0, 8.0)] * m + [(-4.0, 14.0), (LEAST_NOISE, MOST_NOISE)]
        result = optimize.minimize(
            likelihood, start, jac=True, method="L-BFGS-B", bounds=bounds,
            options={"maxiter": ITERATIONS},
        )  # fmt: skip
        self.weights = np.exp(result.x[:m])
        s2, noise = np.exp(result.x[m]), np.exp(result.x[m + 1])
        self._s2, self.noise = s2, self.spread * float(np.sqrt(noise))
        self._K0 = s2 * np.exp(-0.5 * (self.weights @ flat)).reshape(n, n)
        K = self._K0 + (noise + JITTER * s2) * np.eye(n)
        inverse = _inverse(linalg.cholesky(K, lower=True))
        self._a = inverse @ self.t
        self.left_out = self._a / np.diag(inverse) * self.spread
        self.error = float(np.sqrt(np.mean(self.left_out**2))) / self.spread

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
