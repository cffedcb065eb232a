"""Monomials: y = c prod_i x_i^p_i, and functions of one: y = phi(prod_i x_i^p_i)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import sympy
from sympy import Symbol

from kansym.discovery.weights import rms, root_weight
from kansym.symbolic.constants import decimal
from kansym.symbolic.formula import Expr

MAX_DENOMINATOR = 4
NEAR = 0.02  # of an exponent to the fraction it is taken for
SCORINGS = 10
AGREED = 0.5  # share of |y| whose sign must be the monomial's
INDEX_COLUMNS = 5  # exponents of more columns are not enumerated
INDEX_POWERS = (-2, -1, 0, 1, 2)


def nice_power(p: float, near: float = NEAR) -> Fraction | None:
    """The fraction with a small denominator near p, if any."""
    nearest = Fraction(p).limit_denominator(MAX_DENOMINATOR)
    return nearest if abs(p - nearest) <= near * max(1.0, abs(p)) else None


def as_rational(p: Fraction) -> Expr:
    return sympy.Rational(p.numerator, p.denominator)


def power_product(symbols: Sequence[Expr], powers: Sequence[Fraction]) -> Expr:
    """prod_i symbols_i ^ powers_i."""
    factors = (s ** as_rational(p) for s, p in zip(symbols, powers, strict=True))
    return sympy.Mul(*factors)


def monomial(
    X: np.ndarray, y: np.ndarray, symbols: Sequence[Symbol], weight: np.ndarray | None = None
) -> list[Expr]:
    """The log-linear fit with its exponents as they come and as fractions; none where it is no
    candidate: a column that is not of one sign may only stand in a whole power."""
    if np.any(y == 0) or np.any(X == 0) or len(y) < X.shape[1] + 2:
        return []
    root = root_weight(weight, len(y))
    A = np.column_stack([np.ones(len(y)), np.log(np.abs(X))])
    # Weighted by y^2: an error of y counts the same in every row.
    size = np.minimum(np.abs(y), 1e6 * np.median(np.abs(y))) * root
    coef = np.linalg.lstsq(A * size[:, None], np.log(np.abs(y)) * size, rcond=None)[0]
    coef = _with_log_link(A, y, root, coef)
    if not abs(coef[0]) < 300:
        return []
    forms: list[Expr] = []
    fractions = [nice_power(p, 0.1) or Fraction(0) for p in coef[1:]]
    signs = np.sign(y)
    for i, p in enumerate(fractions):
        if p.denominator == 1 and p.numerator % 2:
            signs = signs * np.sign(X[:, i])
        elif p.denominator > 1 and np.any(X[:, i] < 0):
            return []
    agreed = float(signs @ np.abs(y))  # noise turns the sign of small values
    if abs(agreed) < AGREED * np.abs(y).sum():
        return []
    c = decimal(float(np.sign(agreed) * np.exp(coef[0])))
    forms.append(c * power_product(symbols, fractions))
    if np.all(X > 0):
        powers = [s ** decimal(p) for s, p in zip(symbols, coef[1:], strict=True)]
        forms.append(c * sympy.Mul(*powers))
    return forms


def _with_log_link(A: np.ndarray, y: np.ndarray, root: np.ndarray, coef: np.ndarray) -> np.ndarray:
    """Coefficients for which exp(A coef) is closest to |y| itself, from those closest to log |y|:
    logarithms of noisy values are biased. Scoring of a log link (McCullagh and Nelder 1989, 2.5).
    """
    y, best = np.abs(y), np.inf
    kept = coef
    for _ in range(SCORINGS):
        with np.errstate(all="ignore"):
            values = np.exp(A @ coef)
            error = rms((y - values) * root, None)
        if not error < best:
            break
        best, kept = error, coef
        size = values * root
        step = np.linalg.lstsq(A * size[:, None], (y - values) * root, rcond=None)[0]
        coef = coef + step
    return kept


def index_powers(
    X: np.ndarray, y: np.ndarray, rough: float, top: int = 2
) -> list[tuple[Fraction, ...]]:
    """Exponents for which y is nearly a curve over prod x_i^p_i, best first.

    rough: variance of a row about its neighbours, of y's variance, above which it is no curve.

    All small whole exponents are tried: sorted by the product, neighbouring rows of a curve have
    nearly the same y (von Neumann 1941). It needs no slopes, so oscillations do not matter.
    """
    m = X.shape[1]
    if not 2 <= m <= INDEX_COLUMNS or np.any(X <= 0) or len(y) < 30:
        return []
    logs = np.log(X)
    found = []
    for powers in product(INDEX_POWERS, repeat=m):
        first = next((p for p in powers if p), 0)
        if first <= 0 or sum(p != 0 for p in powers) < 2:
            continue  # u and 1 / u are the same curve; single columns are other rungs' work
        if np.gcd.reduce(powers) > 1:
            continue
        order = np.argsort(logs @ np.array(powers, float))
        ratio = float(np.mean(np.diff(y[order]) ** 2) / (2 * np.var(y)))
        found.append((ratio, powers))
    found.sort()
    return [tuple(map(Fraction, powers)) for ratio, powers in found[:top] if ratio < rough]
