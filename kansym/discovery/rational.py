"""Polynomials and their quotients in several variables: T(y) = P(x) / Q(x).

P - T(y) Q = 0 is linear in all coefficients: of the smallest singular vectors, degree by degree,
the first that reaches rounding is the law, for rows without noise. Where noise hides it, only
polynomials are fitted, and terms that the fit hardly misses are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

import numpy as np
import sympy
from sympy import Symbol

from kansym.discovery.outer import Outer
from kansym.symbolic.constants import decimal
from kansym.symbolic.formula import Expr

DEGREES = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (3, 2), (2, 3), (4, 2))
POLYNOMIAL_DEGREES = (2, 3, 4, 5, 6)
SHARE = 0.5  # of the rows, that the coefficients may number
EXACT = 1e-9  # of y's spread
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


def polynomials(X: np.ndarray, y: np.ndarray, symbols: Sequence[Symbol]) -> Iterator[Expr]:
    """Least-squares polynomials of rising degree, until one is exact; terms that do not matter are
    left out. Beyond degree 2 only exact ones."""
    n, m = X.shape
    spread = float(np.std(y)) or 1.0
    for degree in POLYNOMIAL_DEGREES:
        for powers in (_separate(m, degree), monomials(m, degree)):
            if len(powers) > SHARE * n:
                continue
            coef, kept, rmse = _thinned(_values(X, powers), y, spread)
            exact = rmse <= EXACT * spread
            if exact or (degree == 2 and len(powers) < 30):
                yield _sum(coef, [powers[k] for k in kept], symbols)
            if exact:
                return


def _separate(m: int, degree: int) -> list[tuple[int, ...]]:
    """Powers of single variables."""
    return [p for p in monomials(m, degree) if sum(k > 0 for k in p) < 2]


def _thinned(A: np.ndarray, y: np.ndarray, spread: float) -> tuple[np.ndarray, list[int], float]:
    """Backward elimination by t-values; of exact fits, everything that is rounding goes at once."""
    kept = list(range(A.shape[1]))
    n = len(y)
    while True:
        size = np.sqrt((A[:, kept] ** 2).mean(0)) + 1e-300
        U, s, V = np.linalg.svd(A[:, kept] / size, full_matrices=False)
        s = np.maximum(s, 1e-14 * s[0])
        coef = V.T @ ((U.T @ y) / s)
        rmse = float(np.sqrt(np.mean((A[:, kept] / size @ coef - y) ** 2)))
        variance = rmse**2 * n / max(n - len(kept), 1)
        errors = np.sqrt(variance * ((V.T / s) ** 2).sum(1)) + SMALL * spread
        ratios = np.abs(coef) / errors
        weak = int(np.argmin(ratios))
        if len(kept) == 1 or ratios[weak] > np.sqrt(2 * np.log(n)):
            return coef / size, kept, rmse
        del kept[weak]


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
        P, Q = monomials(m, top), monomials(m, bottom)
        if len(P) + len(Q) > SHARE * n:
            continue
        A, B = _values(Z, P), _values(Z, Q)
        system = np.concatenate([A, -t[:, None] / spread * B], 1)
        size = np.sqrt((system**2).mean(0)) + 1e-300
        _, s, V = np.linalg.svd(system / size, full_matrices=False)
        if s[-1] > 1e-9 * s[0]:
            continue
        vector = V[-1] / size
        vector[np.abs(vector) * size < SMALL * np.abs(vector * size).max()] = 0.0
        p, q = vector[: len(P)] * spread, vector[len(P) :]
        with np.errstate(all="ignore"):
            error = float(np.sqrt(np.mean((A @ p / (B @ q) - t) ** 2)))
        if not error <= EXACT * spread * 100 or not np.any(q[1:]):
            continue
        p = p / np.array([np.prod(scale ** np.array(k)) for k in P])
        q = q / np.array([np.prod(scale ** np.array(k)) for k in Q])
        lead = q[np.flatnonzero(q)[0]]
        yield outer.undone(_sum(p / lead, P, symbols) / _sum(q / lead, Q, symbols), y)
        return
