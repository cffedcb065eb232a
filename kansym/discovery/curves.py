"""Names for one curve v(u): from single functions of the library to chains and rationals.

    single    c f(a u + b) + d, c f(a u)           every f of the library
    power     c u^p + d                            any real p
    poly      sum_k c_k u^k                        up to degree 8, terms that matter only
    rational  P(u) / Q(u)                          linear least squares for P - v Q = 0
    chain     u^-p T^-1(c f(a u + b) + d)          T of `outer`, p a small power
    pair      c1 e1(u) + c2 e2(u) + d              short expressions, see `short`

All are proposals; a contest on the curve fits their constants and ranks them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import sympy
import torch
from sympy import Symbol

from kansym.affine import fit_affine
from kansym.discovery.budget import Budget
from kansym.discovery.contest import Contest, Entry
from kansym.discovery.outer import outers_for
from kansym.discovery.short import short_pairs
from kansym.discovery.weights import in_proportion
from kansym.functions import SymbolicFunction, get_function
from kansym.symbolic.constants import decimal
from kansym.symbolic.formula import Expr
from kansym.symbolic.normal_form import normal_edge

SINGLES = 8  # functions of the library that enter the contest
ANCHORED = 5  # forms without offset that enter the contest
RATES = 24  # that are tried inside them
UNEXPLAINED = 1e-14  # below it two fits are equally exact
MAX_DEGREE = 8
RATIONAL_DEGREES = [
    (p, q) for total in range(2, 11) for p, q in product(range(7), range(1, 5)) if p + q == total
]
CHAIN_FUNCTIONS = ("x", "x^2", "exp", "log", "sin", "sqrt", "1/x", "1/x^2", "cosh")
CHAIN_POWERS = (0, 1, -1, 2, -2, 3, -3)
CHAIN_POINTS = 64
CHAINS = 6  # that enter the contest
PLAIN = 3  # decimals: a curve met by a name with more may have a better one
MATTERS = 1e-9  # of v's spread: a smaller term of a noiseless polynomial is rounding


def name_curve(
    u: np.ndarray,
    v: np.ndarray,
    symbol: Symbol,
    functions: Sequence[SymbolicFunction],
    noise: float = 0.0,
    top: int = 4,
    weight: np.ndarray | None = None,
    budget: Budget | None = None,
) -> list[Entry]:
    """Formulas for v(u) in `symbol`, best first.

    u, v: [n]. noise: standard deviation of v's error. top: how many.
    """
    contest = Contest(u[:, None], v, (symbol,), noise, weight, budget)
    size = float(np.abs(v).max())
    if not np.isfinite(size) or np.ptp(v) <= 1e-13 * size:
        contest.enter(decimal(float(np.mean(v))), "constant")
        return contest.ranking[:top]
    contest.enter(_line(u, v, symbol), "line")
    n_distinct = len(np.unique(u))
    if n_distinct <= 2 or contest.reaches(contest.best):
        return contest.ranking[:top]
    rows = in_proportion(weight, len(u))
    u, v = u[rows], v[rows]
    names = frozenset(f.name for f in functions)
    steps = [
        _singles(u, v, symbol, functions),
        _through_zero(u, v, symbol, functions),
        _powers(u, v, symbol),
    ]
    if n_distinct > 3 and {"x^2", "x^3"} <= names:
        steps.append(_polynomials(u, v, symbol, contest))
        if "1/x" in names:
            steps.append(_rationals(u, v, symbol, contest))
    for proposals in steps:
        for found_by, expr in proposals:
            contest.enter(expr, found_by)
    for more in (_chains, _pairs):
        best = contest.best
        is_plain = best is not None and len(best.expr.atoms(sympy.Float)) <= PLAIN
        if not (contest.reaches(best) and is_plain):
            for found_by, expr in more(u, v, symbol, names):
                contest.enter(expr, found_by)
    return contest.ranking[:top]


Proposals = Iterator[tuple[str, Expr]]


def _line(u: np.ndarray, v: np.ndarray, symbol: Symbol) -> Expr:
    slope, offset = np.polyfit(u, v, 1)
    return decimal(slope) * symbol + decimal(offset)


def _singles(
    u: np.ndarray, v: np.ndarray, symbol: Symbol, functions: Sequence[SymbolicFunction]
) -> Proposals:
    x, y = (torch.tensor(values)[None] for values in (u, v))
    fits = fit_affine(x, y, functions)
    unexplained = np.maximum(1 - fits.r2[0].numpy(), UNEXPLAINED)
    bits = 0.5 * len(u) * np.log2(unexplained) + np.array([f.complexity for f in functions])
    # One of each family: sin and cos are the same edge.
    families: set[str] = set()
    for n in np.argsort(bits):
        f = functions[n]
        if np.isfinite(bits[n]) and f.family not in families and len(families) < SINGLES:
            families.add(f.family)
            yield "single", normal_edge(f, symbol, *fits.affine[0, n].tolist())


def _through_zero(
    u: np.ndarray, v: np.ndarray, symbol: Symbol, functions: Sequence[SymbolicFunction]
) -> Proposals:
    """c f(a u): what noise cannot tell from more numbers."""
    rates = np.logspace(-1, 1.2, RATES) / np.abs(u).max()
    rates = torch.as_tensor(np.concatenate([rates, -rates]))[:, None]
    x, y = torch.tensor(u), torch.tensor(v)
    found = []
    for f in functions:
        values = f.torch(rates * x)
        with np.errstate(all="ignore"):
            c = (values @ y) / (values**2).sum(1)
            error = ((c[:, None] * values - y) ** 2).mean(1)
        error = torch.where(torch.isfinite(error), error, torch.inf)
        best = int(error.argmin())
        bits = 0.5 * len(u) * float(torch.log2(error[best].clamp(min=1e-300))) + f.complexity
        if np.isfinite(bits):
            found.append((bits, f, float(rates[best]), float(c[best])))
    found.sort(key=lambda item: item[0])
    for _, f, a, c in found[:ANCHORED]:
        yield "through zero", normal_edge(f, symbol, a, 0.0, c, 0.0)


def _powers(u: np.ndarray, v: np.ndarray, symbol: Symbol) -> Proposals:
    """c u^p, and c u^p + d from a few p."""
    if u.min() <= 0:
        return
    if np.all(v > 0) or np.all(v < 0):
        p, offset = np.polyfit(np.log(u), np.log(np.abs(v)), 1)
        if abs(offset) < 300:
            sign = 1.0 if v[0] > 0 else -1.0
            yield "power", decimal(sign * np.exp(offset)) * symbol ** decimal(p)
    for p in (-1.5, 0.5, 1.5, 2.5):
        slope, offset = np.polyfit(u**p, v, 1)
        yield "power", decimal(slope) * symbol ** decimal(p) + decimal(offset)


def _polynomials(u: np.ndarray, v: np.ndarray, symbol: Symbol, contest: Contest) -> Proposals:
    """Rising degrees until one reaches the data or the rows no longer tell."""
    n = len(u)
    for degree in range(2, min(MAX_DEGREE, n - 2, len(np.unique(u)) - 2) + 1):
        coef, rmse = _least_squares(np.vander(u, degree + 1, increasing=True), v)
        exact = rmse <= contest.floor * 1.05
        if degree <= 4 or exact:
            yield "poly", _polynomial(_thinned(u, v, coef, contest), symbol)
        if exact:
            return


def _least_squares(A: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, float]:
    size = np.sqrt((A**2).mean(0))
    size[size == 0] = 1.0
    coef = np.linalg.lstsq(A / size, v, rcond=None)[0]
    rmse = float(np.sqrt(np.mean((A / size @ coef - v) ** 2)))
    return coef / size, rmse


def _thinned(u: np.ndarray, v: np.ndarray, coef: np.ndarray, contest: Contest) -> np.ndarray:
    """The coefficients without terms that the fit does not need, the smallest first."""
    n, kept = len(u), list(range(len(coef)))
    A = np.vander(u, len(coef), increasing=True)
    _, full = _least_squares(A, v)
    while len(kept) > 1:
        trials = [[k for k in kept if k != drop] for drop in kept]
        errors = [_least_squares(A[:, trial], v)[1] for trial in trials]
        best = int(np.argmin(errors))
        allowed = max(contest.floor * 1.05, full * (1 + 3.0 / n), MATTERS * contest.spread)
        if errors[best] > allowed:
            break
        kept = trials[best]
    thin = np.zeros_like(coef)
    thin[kept] = _least_squares(A[:, kept], v)[0]
    return thin


def _polynomial(coef: np.ndarray, symbol: Symbol) -> Expr:
    return sympy.Add(*(decimal(c) * symbol**k for k, c in enumerate(coef) if c != 0))


def _rationals(u: np.ndarray, v: np.ndarray, symbol: Symbol, contest: Contest) -> Proposals:
    """P / Q of rising total degree: the first that reaches the data, and the best of few terms.

    P(u) - v Q(u) = 0 has a least-squares solution by the smallest singular vector; each is weighted
    once more by the 1 / Q it found.
    """
    best: tuple[float, Expr] | None = None
    for p, q in RATIONAL_DEGREES:
        if p + q + 1 >= len(u) - 1:
            continue
        found = _rational(u, v, symbol, p, q)
        if found is None:
            continue
        rmse, expr = found
        if rmse <= max(contest.floor * 1.05, 1e-9 * contest.spread):
            yield "rational", expr
            return
        if p + q <= 3 and (best is None or rmse < 0.5 * best[0]):
            best = found
    if best is not None:
        yield "rational", best[1]


def _rational(
    u: np.ndarray, v: np.ndarray, symbol: Symbol, p: int, q: int
) -> tuple[float, Expr] | None:
    P, Q = np.vander(u, p + 1, increasing=True), np.vander(u, q + 1, increasing=True)
    weight = np.ones(len(u))
    coef = np.zeros(p + q + 2)
    for _ in range(3):
        A = np.concatenate([P, -v[:, None] * Q], 1) * weight[:, None]
        size = np.sqrt((A**2).sum(0))
        size[size == 0] = 1.0
        coef = np.linalg.svd(A / size)[2][-1] / size
        denominator = Q @ coef[p + 1 :]
        if not np.abs(denominator).min() > 1e-9 * np.abs(denominator).max():
            return None
        weight = 1 / np.abs(denominator)
        weight /= weight.max()
    denominator = Q @ coef[p + 1 :]
    if not (np.all(denominator > 0) or np.all(denominator < 0)):
        return None  # a pole among the data
    rmse = float(np.sqrt(np.mean((P @ coef[: p + 1] / denominator - v) ** 2)))
    top, bottom = coef[: p + 1], coef[p + 1 :]
    small = 1e-8
    top = np.where(np.abs(top) * np.abs(P).max(0) < small * np.abs(P @ top).max(), 0.0, top)
    bottom = np.where(
        np.abs(bottom) * np.abs(Q).max(0) < small * np.abs(denominator).max(), 0.0, bottom
    )
    lead = bottom[np.flatnonzero(bottom)[-1]]
    if not np.flatnonzero(bottom)[-1]:
        return None  # a polynomial
    numerator = _polynomial(top / lead, symbol)
    # The leading coefficient of Q stays 1: one number less that the data do not determine.
    terms = [decimal(c) * symbol**k for k, c in enumerate(bottom[:-1] / lead) if c != 0]
    degree = int(np.flatnonzero(bottom)[-1])
    terms = [decimal(bottom[k] / lead) * symbol**k for k in range(degree) if bottom[k] != 0] + [
        symbol**degree
    ]
    return rmse, numerator / sympy.Add(*terms)


def _chains(u: np.ndarray, v: np.ndarray, symbol: Symbol, names: frozenset[str]) -> Proposals:
    """f on v undone by an outer function, perhaps after a power of u was drawn out."""
    order = np.argsort(u)
    picked = order[np.linspace(0, len(u) - 1, min(len(u), CHAIN_POINTS)).astype(int)]
    x, y = u[picked], v[picked]
    powers = CHAIN_POWERS if np.all(u != 0) else (0,)
    functions = [get_function(name) for name in CHAIN_FUNCTIONS if name in names]
    plans, curves = [], []
    for p in powers:
        drawn, whole = y * x ** float(p), v * u ** float(p)
        for outer in outers_for(whole, names):
            t = outer.forward(drawn)
            if (outer.name, p) != ("y", 0) and np.isfinite(t).all() and np.ptp(t) > 0:
                plans.append((outer, p, whole))
                curves.append(t)
    if not plans or not functions:
        return
    X = torch.as_tensor(np.tile(x, (len(curves), 1)))
    fits = fit_affine(X, torch.as_tensor(np.stack(curves)), functions)
    ranked = []
    for e, (outer, p, whole) in enumerate(plans):
        for n, f in enumerate(functions):
            if not fits.r2[e, n] > 0.9:
                continue
            a, b, c, d = fits.affine[e, n].tolist()
            with np.errstate(all="ignore"):
                inner = c * f.torch(torch.as_tensor(a * u + b)).numpy() + d
                values = outer.backward(inner, whole) * u ** float(-p)
            error = float(np.sqrt(np.mean((values - v) ** 2)))
            if np.isfinite(error):
                ranked.append((error, abs(p), len(ranked), (outer, p, whole, f, (a, b, c, d))))
    ranked.sort(key=lambda item: item[:3])
    for _, _, _, (outer, p, whole, f, affine) in ranked[:CHAINS]:
        yield "chain", outer.undone(normal_edge(f, symbol, *affine), whole) * symbol ** (-p)


def _pairs(u: np.ndarray, v: np.ndarray, symbol: Symbol, names: frozenset[str]) -> Proposals:
    for expr in short_pairs(u[:, None], v, (symbol,), names):
        yield "pair", expr
