"""Which of many columns matter."""

from __future__ import annotations

import numpy as np

from kansym.discovery.additive import fit_additive
from kansym.discovery.outer import IDENTITY
from kansym.discovery.surrogate import Surface

MOST = 12  # columns that the search can handle at once
ROWS = 300
BY_THEMSELVES = 4  # columns that explain most alone, always kept


def relevant_columns(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Indices of at most `MOST` columns of X [n, columns], in their order.

    A smooth surface over all columns has a weight for each, which is next to nothing for those
    that y does not follow, alone or together with others. Columns that explain y best by
    themselves are kept in any case.
    """
    n, m = X.shape
    if m <= MOST:
        return list(range(m))
    rows = rng.choice(n, min(n, ROWS), replace=False)
    surface = Surface(X[rows], y[rows])
    moves = np.sqrt(np.mean(surface.slopes() ** 2, 0)) * X[rows].std(0)
    alone = np.array([_error(X[:, i], y) for i in range(m)])
    kept = set(np.argsort(alone)[:BY_THEMSELVES].tolist())
    for i in np.argsort(-moves).tolist():
        if len(kept) < MOST:
            kept.add(i)
    return sorted(kept)


def _error(x: np.ndarray, y: np.ndarray) -> float:
    model = fit_additive(x[:, None], y, IDENTITY)
    return np.inf if model is None else model.error
