"""Additive models: T(y) = sum_i g_i(x_i) with a spline for every column (Hastie and Tibshirani).

Linear least squares, so that each transformation T and grid costs milliseconds. The leave-one-out
residuals of a linear smoother, r_i / (1 - h_ii), judge them without a second fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from kansym import bspline
from kansym.discovery.outer import Outer
from kansym.discovery.weights import rms, root_weight

DEGREE = 5  # quintic: a smooth function is met to 1e-7 with a dozen intervals
GRIDS = (1, 4, 12, 24)
GRID_EPS = 0.3  # mostly quantiles: ratios of columns crowd at one end
ROWS_PER_COEFFICIENT = 2.5
RIDGE = 1e-12


@dataclass(frozen=True)
class Additive:
    """A fitted model. parts: g_i at the rows, each of mean 0, [n, columns]; constant: the rest.

    error: leave-one-out RMSE of T(y), in its own units. y_error: of y itself, to first order.
    """

    outer: Outer
    parts: np.ndarray
    constant: float
    error: float
    y_error: float


def fit_additive(
    X: np.ndarray, y: np.ndarray, outer: Outer, weight: np.ndarray | None = None
) -> Additive | None:
    """The additive model of T(y) on the grid with the least leave-one-out error; None when there
    are too few rows for the coarsest."""
    with np.errstate(all="ignore"):
        t, slope = outer.forward(y), np.abs(outer.slope(y))
    if not (np.isfinite(t).all() and np.isfinite(slope).all()):
        return None
    best: Additive | None = None
    for grid in GRIDS:
        blocks = [spline_block(column, grid) for column in X.T]
        A = np.concatenate([np.ones((len(y), 1)), *blocks], 1)
        if A.shape[1] * ROWS_PER_COEFFICIENT > len(y):
            break
        model = _solve(A, blocks, t, slope, outer, weight)
        if best is None or model.y_error < best.y_error:
            best = model
    return best


def _solve(
    A: np.ndarray,
    blocks: list[np.ndarray],
    t: np.ndarray,
    slope: np.ndarray,
    outer: Outer,
    weight: np.ndarray | None,
) -> Additive:
    # Every block's basis sums to one, as the first column does: a ridge picks one of the solutions.
    root = root_weight(weight, len(t))
    rows = A * root[:, None]
    size = np.sqrt((rows**2).mean(0)) + 1e-300
    U, s, _ = np.linalg.svd(rows / size, full_matrices=False)
    U = U[:, s > 1e-11 * s[0]]
    coef = least_squares(rows, t * root)
    residual = t - A @ coef
    leverage = np.minimum((U**2).sum(1), 1 - 1e-6)
    left_out = residual / (1 - leverage)
    parts, start = [], 1
    for block in blocks:
        part = block @ coef[start : start + block.shape[1]]
        parts.append(part - part.mean())
        start += block.shape[1]
    stacked = np.stack(parts, 1) if parts else np.zeros((len(t), 0))
    constant = float(np.mean(t - stacked.sum(1)))
    return Additive(
        outer,
        stacked,
        constant,
        rms(left_out, weight),
        rms(left_out / np.maximum(slope, 1e-300), weight),
    )


def spline_block(x: np.ndarray, grid: int) -> np.ndarray:
    """Values of the B-splines on one column, [n, basis]; of few distinct values, a column each."""
    values = np.unique(x)
    if len(values) == 1:
        return np.ones((len(x), 1))
    degree = DEGREE if len(values) > 2 * DEGREE else min(DEGREE, len(values) - 1)
    intervals = max(1, min(grid, (len(values) - degree) // 2))
    column = torch.as_tensor(np.ascontiguousarray(x))[:, None]
    knots = bspline.extend(bspline.adaptive_breaks(column, intervals, GRID_EPS), degree)
    return bspline.basis(column, knots, degree)[0].T.numpy()


def least_squares(A: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients of the columns of A; where the rows leave them open, small ones."""
    size = np.sqrt((A**2).mean(0)) + 1e-300
    U, s, V = np.linalg.svd(A / size, full_matrices=False)
    return (V.T @ ((U.T @ y) * s / (s**2 + RIDGE * s[0] ** 2))) / size
