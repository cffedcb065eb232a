"""Rows that cannot belong to a smooth law: gross errors of a few, told from the noise of all.

A surface is laid through rows that are trusted, and a row farther from it than FAR robust standard
deviations is not trusted for the next; this is repeated until nothing changes, as in trimmed least
squares with re-entry (Rousseeuw and Leroy 1987, Robust Regression and Outlier Detection, ch. 5.4).
The standard deviation is 1.4826 times the median distance, which up to half of the rows cannot
spoil.
"""

from __future__ import annotations

import numpy as np

from kansym.discovery.surrogate import Surface

FAR = 6.0
NORMAL = 1.4826  # standard deviations per median absolute deviation of a normal distribution
ROUNDS = 6
SETTLED = 0.005  # of the rows may still change sides
MOST = 0.25  # of the rows may be outliers; more are no exceptions
LEAST_ROWS = 20
SURFACE_ROWS = 300
SURFACE_ERROR = 0.02  # of y's spread, by which a surface may miss an exact law
ROUNDING = 1e-9  # of y's size


def find_outliers(
    X: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Whether each row is an outlier, [n] bool; none where there are fewer than 20 rows, or where
    more than a quarter would be.

    X: [n, columns], y: [n], weight: [n], inverse variances up to a factor. The same seed gives the
    same rows. A surface is too smooth where a law is steep, so a row it puts out may still obey the
    law: compare with the formula afterwards (`far_from`). Errors below 2 % of y's spread stay in.
    """
    n = len(y)
    root = np.ones(n) if weight is None else np.sqrt(weight / weight.mean())
    is_out = np.zeros(n, dtype=bool)
    if n < LEAST_ROWS:
        return is_out
    order = np.random.default_rng(seed).permutation(n)
    for _ in range(ROUNDS):
        rows = order[~is_out[order]][:SURFACE_ROWS]
        if not np.ptp(y[rows]):
            break
        surface = Surface(X[rows], y[rows], None if weight is None else weight[rows])
        distance = y - surface.values(X)
        distance[rows] = surface.left_out
        found = far_from(distance * root, SURFACE_ERROR * surface.spread)
        if found.mean() > MOST:
            break
        changed, is_out = found ^ is_out, found
        if changed.mean() <= SETTLED:
            break
    return is_out


def far_from(distance: np.ndarray, floor: float) -> np.ndarray:
    """Whether each distance is more than `floor` and FAR robust standard deviations, [n] bool; one
    that is not finite is."""
    size = np.abs(distance)
    finite = size[np.isfinite(size)]
    typical = NORMAL * float(np.median(finite)) if len(finite) else 0.0
    return ~(size <= FAR * typical + floor)
