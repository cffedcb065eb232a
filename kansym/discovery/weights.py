"""Means over rows that do not all count the same.

weight: [n], inverse variances of the rows up to a factor; None where all are equal.
"""

from __future__ import annotations

import numpy as np


def root_weight(weight: np.ndarray | None, n: int) -> np.ndarray:
    """What rows are multiplied by in a least-squares fit, [n]; the mean square is 1."""
    return np.ones(n) if weight is None else np.sqrt(weight / weight.mean())


def in_proportion(weight: np.ndarray | None, n: int) -> np.ndarray:
    """n rows drawn so that each stands there as often as it weighs, for fits without weights."""
    if weight is None:
        return np.arange(n)
    total = np.cumsum(weight)
    return np.searchsorted(total, (np.arange(n) + 0.5) / n * total[-1])


def rms(values: np.ndarray, weight: np.ndarray | None) -> float:
    """Root of the weighted mean square; infinite where a square is."""
    with np.errstate(over="ignore"):
        return float(np.sqrt(np.average(values**2, weights=weight)))


def spread(y: np.ndarray, weight: np.ndarray | None) -> float:
    """Standard deviation."""
    return rms(y - np.average(y, weights=weight), weight)
