"""Short expressions of a few variables, and the best sums of two of them, by exhaustion.

    T(y) = c1 e1(x) + c2 e2(x) + d

The last resort for small tables and tangled laws: no smooth model is needed, twenty rows are
enough, but the numbers inside e1 and e2 can only be small whole ones at the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import sympy
from sympy import Symbol

from kansym.discovery.additive import least_squares
from kansym.symbolic.constants import decimal
from kansym.symbolic.formula import Expr

FUNCTIONS = {
    "sin": (sympy.sin, np.sin), "cos": (sympy.cos, np.cos), "exp": (sympy.exp, np.exp),
    "log": (sympy.log, np.log), "sqrt": (sympy.sqrt, np.sqrt),
    "1/x": (lambda t: 1 / t, np.reciprocal), "tanh": (sympy.tanh, np.tanh),
}  # fmt: skip
PAIRS = 4  # that are proposed
ROWS = 300
LEADERS = 200  # expressions, closest to y on their own, that are paired with all others
LARGEST = 1e6


def short_pairs(
    X: np.ndarray, t: np.ndarray, symbols: Sequence[Symbol], names: frozenset[str]
) -> Iterator[Expr]:
    """The best sums of two short expressions for t [n] over X [n, columns]."""
    if len(t) > ROWS:
        rows = np.linspace(0, len(t) - 1, ROWS).astype(int)
        X, t = X[rows], t[rows]
    forms, singles = _short_expressions(X, symbols, names)
    first, second = np.triu_indices(len(forms))
    with np.errstate(all="ignore"):
        columns = np.concatenate([singles, singles[:, first] * singles[:, second]], 1)
        usable = np.flatnonzero(np.isfinite(columns).all(0) & (np.ptp(columns, axis=0) > 1e-9))
    columns = columns[:, usable]
    target = t - t.mean()
    size = float(np.sqrt(target @ target))
    if columns.shape[1] < 2 or size == 0:
        return

    def form(column: int) -> Expr:
        place = usable[column] - len(forms)
        return forms[usable[column]] if place < 0 else forms[first[place]] * forms[second[place]]

    M = columns - columns.mean(0)
    M /= np.sqrt((M**2).sum(0))
    r = M.T @ target / size
    leaders = np.argsort(-np.abs(r))[:LEADERS] if M.shape[1] > 10 * LEADERS else np.arange(len(r))
    G = M[:, leaders].T @ M
    with np.errstate(all="ignore"):
        # R2 of the best combination of columns i and j
        r2 = (r[leaders, None] ** 2 + r[None] ** 2 - 2 * r[leaders, None] * r[None] * G) / (
            1 - G**2
        )
    r2[~(np.abs(G) < 1 - 1e-10)] = -1.0
    best = np.argpartition(r2, -2 * PAIRS, axis=None)[-2 * PAIRS :]
    seen: set[frozenset[int]] = set()
    for place in best[np.argsort(-r2.ravel()[best])]:
        k, j = np.unravel_index(place, r2.shape)
        pair = frozenset((int(leaders[k]), int(j)))
        if pair in seen or len(seen) == PAIRS:
            continue
        seen.add(pair)
        i = int(leaders[k])
        c = least_squares(np.column_stack([columns[:, [i, j]], np.ones(len(t))]), t)
        yield decimal(c[0]) * form(i) + decimal(c[1]) * form(int(j)) + decimal(c[2])


def _short_expressions(
    X: np.ndarray, symbols: Sequence[Symbol], names: frozenset[str]
) -> tuple[list[Expr], np.ndarray]:
    """Powers, and functions of simple arguments, with their values [n, forms]."""
    forms: dict[Expr, np.ndarray] = {}
    with np.errstate(all="ignore"):
        inner = _arguments(X, symbols)
        for symbol, x in zip(symbols, X.T, strict=True):
            forms |= {symbol: x, symbol**2: x**2, symbol**3: x**3}
        for name, (as_sympy, as_numpy) in FUNCTIONS.items():
            if name in names:
                for expr, values in inner:
                    forms.setdefault(as_sympy(expr), as_numpy(values))
        kept = {
            form: values
            for form, values in forms.items()
            if np.isfinite(values).all()
            and np.ptp(values) > 1e-9
            and np.abs(values).max() < LARGEST
        }
    return list(kept), np.stack(list(kept.values()), 1) if kept else np.zeros((len(X), 0))


def _arguments(X: np.ndarray, symbols: Sequence[Symbol]) -> list[tuple[Expr, np.ndarray]]:
    """What functions are taken of: more of one variable, the plainest of several."""
    found: list[tuple[Expr, np.ndarray]] = []
    for s, x in zip(symbols, X.T, strict=True):
        found += [(s, x), (s**2, x**2), (-s, -x)]
        if len(symbols) < 3:
            found += [(s + 1, x + 1), (s**2 + 1, x**2 + 1)]
        if len(symbols) == 1:
            found += [(2 * s, 2 * x), (s / 2, x / 2), (s**2 + s, x**2 + x)]
    for (s, x), (z, y) in combinations(zip(symbols, X.T, strict=True), 2):
        found += [(s * z, x * y), (s + z, x + y), (s - z, x - y), (s / z, x / y), (z / s, y / x)]
        found.append((s**2 + z**2, x**2 + y**2))
    return found
