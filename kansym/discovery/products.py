"""Products of splines: y = prod_i g_i(x_i), signs and zeros included.

Alternating least squares: with all factors but one held, the one is a linear fit. From a start near
the truth, read off a smooth surface, it converges in a few rounds; from a random one it stalls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kansym.discovery.additive import GRIDS, ROWS_PER_COEFFICIENT, least_squares, spline_block
from kansym.discovery.weights import rms, root_weight

ROUNDS = 40
GAIN = 0.99  # of the error, below which a round goes on


@dataclass(frozen=True)
class Product:
    """factors: g_i at the rows, [n, columns]. error: RMSE, in units of y."""

    factors: np.ndarray
    error: float


def fit_product(
    X: np.ndarray, y: np.ndarray, factors: np.ndarray, weight: np.ndarray | None = None
) -> Product | None:
    """Splines for the factors from a start [n, columns], on the finest grid the rows allow."""
    grids = [g for g in GRIDS if X.shape[1] * (g + 6) * ROWS_PER_COEFFICIENT <= len(y)]
    if not grids:
        return None
    blocks = [spline_block(column, grids[-1]) for column in X.T]
    root = root_weight(weight, len(y))
    best = Product(factors, rms(factors.prod(1) - y, weight))
    for _ in range(ROUNDS):
        factors = best.factors.copy()
        for i, block in enumerate(blocks):
            others = np.delete(factors, i, 1).prod(1)
            factors[:, i] = block @ least_squares(block * (others * root)[:, None], y * root)
            size = float(np.sqrt(np.mean(factors[:, i] ** 2)))
            if i < len(blocks) - 1 and size > 0:
                factors[:, i] /= size
        error = rms(factors.prod(1) - y, weight)
        if not error < best.error:
            break
        gained = error < GAIN * best.error
        best = Product(factors, error)
        if not gained:
            break
    return best
