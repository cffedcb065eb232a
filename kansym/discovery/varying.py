"""Laws of two variables that are straight in a function of one of them:

    T(y) = A0(x1) + A1(x1) C(x2)

with A0, A1 and C splines, by alternating least squares: given C, the coefficients are a linear fit,
and the other way round. The start for C is a slice of the smooth surface, which it is up to scale
and shift wherever the law has this form. (Varying-coefficient models: Hastie and Tibshirani 1993,
J. R. Stat. Soc. B 55, 757.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kansym.discovery.additive import GRIDS, ROWS_PER_COEFFICIENT, least_squares, spline_block
from kansym.discovery.outer import Outer
from kansym.discovery.weights import rms, root_weight

ROUNDS = 25
GAIN = 0.98


@dataclass(frozen=True)
class Varying:
    """coefficient, inner: which column A0 and A1, and which C depends on. values: C at the rows.

    error: RMSE of y, to first order.
    """

    outer: Outer
    coefficient: int
    inner: int
    values: np.ndarray
    error: float


def fit_varying(
    X: np.ndarray,
    y: np.ndarray,
    outer: Outer,
    coefficient: int,
    slice_values: np.ndarray,
    weight: np.ndarray | None = None,
) -> Varying | None:
    """From a first guess of C at the rows; None when there are too few rows."""
    blocks = [_block(X[:, i], len(y)) for i in (coefficient, 1 - coefficient)]
    if any(block is None for block in blocks):
        return None
    A, B = (block for block in blocks if block is not None)
    with np.errstate(all="ignore"):
        t, slope = outer.forward(y), np.abs(outer.slope(y))
    C, best = _standardised(slice_values), np.inf
    found, root = C, root_weight(weight, len(y))
    for _ in range(ROUNDS):
        A0, A1 = coefficients(A, C, t, root)
        C = _standardised(B @ least_squares(B * (A1 * root)[:, None], (t - A0) * root))
        A0, A1 = coefficients(A, C, t, root)
        error = rms((A0 + A1 * C - t) / np.maximum(slope, 1e-300), weight)
        if not error < best:
            break
        gained, best, found = error < GAIN * best, error, C
        if not gained:
            break
    return Varying(outer, coefficient, 1 - coefficient, found, best)


def varying_block(x: np.ndarray, n: int) -> np.ndarray:
    """Splines for the coefficients; at least the coarsest."""
    block = _block(x, n)
    return spline_block(x, GRIDS[0]) if block is None else block


def coefficients(
    A: np.ndarray, C: np.ndarray, t: np.ndarray, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A0 and A1 at the rows for given C; root: of the rows' weights."""
    rows = np.concatenate([A, A * C[:, None]], 1)
    coef = least_squares(rows * root[:, None], t * root)
    half = A.shape[1]
    return A @ coef[:half], A @ coef[half:]


def _block(x: np.ndarray, n: int) -> np.ndarray | None:
    grids = [g for g in GRIDS if 3 * (g + 6) * ROWS_PER_COEFFICIENT <= n]
    return spline_block(x, grids[-1]) if grids else None


def _standardised(C: np.ndarray) -> np.ndarray:
    return (C - C.mean()) / (float(C.std()) or 1.0)
