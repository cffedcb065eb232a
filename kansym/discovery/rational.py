"""Polynomials and their quotients in several variables: T(y) = P(x) / Q(x).

P - T(y) Q = 0 is linear in all coefficients: of the smallest singular vectors, degree by degree,
the first that reaches rounding is the law, for rows without noise. Where noise hides it, only
polynomials are fitted, and terms that the fit hardly misses are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

import numpy as np
import sympy
from sympy import Symbol

from kansym.discovery.outer import Outer
from kansym.discovery.weights import root_weight
from kansym.symbolic.constants import decimal
from kansym.symbolic.formula import Expr

DEGREES = (
    (1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (3, 0), (2, 2), (3, 1), (4, 0), (3, 2), (2, 3), (4, 2),
)  # fmt: skip
POLYNOMIAL_DEGREES = (2, 3, 4, 5, 6)
SHARE = 0.75  # of the rows, that the coefficients of an exact fit may number
FEW = 0.2  # of the rows, that those of one with noise may
MOST_TERMS = 250
EXACT = 1e-9  # of y's spread
NULL = 1e-9  # of the largest singular value
SMALL = 1e-8  # a term this small beside the others is rounding


def monomials(m: int, degree: int) -> list[tuple[int, ...]]:
    """Exponents of all monomials in m variables up to a total degree, the constant first."""
    found = []
    for total in range(degree + 1):
        for chosen in combinations_with_replacement(range(m), total):
            found.append(tuple(chosen.count(i) for i in range(m)))
    return found


def _values(X: np.ndarray, powers: Sequence[tuple[int, ...]]) -> np.ndarray:
    return np.stack([np.prod(X ** np.array(p), axis=1) for p in powers], 1)


def _sum(coef: np.ndarray, powers: Sequence[tuple[int, ...]], symbols: Sequence[Symbol]) -> Expr:
    terms = []
    for c, p in zip(coef, powers, strict=True):
        if c != 0:
            factor = sympy.Integer(1) if c == 1 else decimal(c)
            terms.append(factor * sympy.Mul(*(s**k for s, k in zip(symbols, p, strict=True))))
    return sympy.Add(*terms)


def polynomials(
    X: np.ndarray, y: np.ndarray, symbols: Sequence[Symbol], weight: np.ndarray | None = None
) -> Iterator[Expr]:
    """Least-squares polynomials of rising degree, until one is exact; terms that do not matter are
    left out. Beyond degree 2 only exact ones."""
    n, m = X.shape
    spread = float(np.std(y)) or 1.0
    root = root_weight(weight, n)
    y = y * root
    for degree in POLYNOMIAL_DEGREES:
        most = min(SHARE * n, MOST_TERMS)
        forms = [_separate(m, degree)] if m * degree < most else []
        if math.comb(m + degree, degree) <= most:
            forms.append(monomials(m, degree))
        for powers in forms:
            A = _values(X, powers) * root[:, None]
            coef, errors, rmse = _fitted(A, y)
            exact = rmse <= EXACT * spread
            if not exact and (degree > 2 or len(powers) > FEW * n):
                continue
            kept = np.arange(len(powers))
            while len(kept) > 1:  # backward elimination, of exact fits all rounding at once
                ratios = np.abs(coef) / (errors + SMALL * spread / _size(A[:, kept]))
                weak = ratios < np.sqrt(2 * np.log(n))
                if not weak.any():
                    break
                kept = kept[~weak] if exact else np.delete(kept, int(np.argmin(ratios)))
                coef, errors, rmse = _fitted(A[:, kept], y)
            yield _sum(coef, [powers[k] for k in kept], symbols)
            if exact:
                return


def _separate(m: int, degree: int) -> list[tuple[int, ...]]:
    """Powers of single variables."""
    alone = [tuple(k * (i == j) for j in range(m)) for i in range(m) for k in range(1, degree + 1)]
    return [(0,) * m, *alone]


def _size(A: np.ndarray) -> np.ndarray:
    size = np.sqrt((A**2).mean(0))
    return np.where(size > 0, size, 1.0)


def _fitted(A: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients of the columns of A, their standard errors, and the RMSE."""
    size = _size(A)
    U, s, V = np.linalg.svd(A / size, full_matrices=False)
    s = np.maximum(s, 1e-14 * s[0])
    coef = V.T @ ((U.T @ y) / s)
    rmse = float(np.sqrt(np.mean((A / size @ coef - y) ** 2)))
    variance = rmse**2 * len(y) / max(len(y) - A.shape[1], 1)
    return coef / size, np.sqrt(variance * ((V.T / s) ** 2).sum(1)) / size, rmse


def quotients(
    X: np.ndarray, y: np.ndarray, symbols: Sequence[Symbol], outer: Outer
) -> Iterator[Expr]:
    """P / Q of the lowest degrees that T(y) is, if any."""
    n, m = X.shape
    t = outer.forward(y)
    spread = float(np.std(t)) or 1.0
    scale = np.abs(X).max(0)
    Z = X / scale
    for top, bottom in DEGREES:
        if math.comb(m + top, top) + math.comb(m + bottom, bottom) > SHARE * n:
            continue
        P, Q = monomials(m, top), monomials(m, bottom)
        A, B = _values(Z, P), _values(Z, Q)
        system = np.concatenate([A, -t[:, None] / spread * B], 1)
        size = _size(system)
        _, s, V = np.linalg.svd(system / size, full_matrices=False)
        if s[-1] > NULL * s[0] or s[-2] <= NULL * s[0]:
            continue  # none, or several that differ by common factors
        vector = V[-1] / size
        vector[np.abs(vector) * size < SMALL * np.abs(vector * size).max()] = 0.0
        p, q = vector[: len(P)] * spread, vector[len(P) :]
        with np.errstate(all="ignore"):
            error = float(np.sqrt(np.mean((A @ p / (B @ q) - t) ** 2)))
        if not error <= EXACT * spread * 100 or (outer.name == "y" and not np.any(q[1:])):
            continue
        p = p / np.array([np.prod(scale ** np.array(k)) for k in P])
        q = q / np.array([np.prod(scale ** np.array(k)) for k in Q])
        lead = q[np.flatnonzero(q)[0]]
        yield outer.undone(_sum(p / lead, P, symbols) / _sum(q / lead, Q, symbols), y)
        return
