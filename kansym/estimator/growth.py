"""Sums of simple terms, grown by what labels say: formulas of log-odds without splines.

Where classes are all but separated, the log-odds of splines run off on both sides and say little of
where between they pass through zero, so that a search that follows them may find nothing. Logistic
regression needs no such guide: a sum of terms is grown by the score test (Rao 1948,
doi:10.1017/S0305004100023987), one term at a time,

    (z'r)^2 / z'Vz,      r = w (y - p),  V = w p (1 - p),

z what a term's values have that those in the sum do not. 2 ln 2 of it are worth a bit, which the
nodes of a term cost too. Terms are the columns, their squares, logarithms and products of two, the
parts of formulas that the search did find, and functions of the library near to them. Log-odds of
one class of several against the first are grown on the rows of these two (Begg and Gray 1984,
doi:10.1093/biomet/71.1.11).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import sympy
import torch
from scipy import stats
from sympy import Symbol

from kansym.affine import fit_affine
from kansym.estimator.likelihood import Labels, maximise, probabilities
from kansym.estimator.searches import count_nodes
from kansym.functions import SymbolicFunction
from kansym.symbolic.constants import decimal
from kansym.symbolic.formula import Expr

COMPLEXITY_BITS = 4.0  # of one node of an expression
MOST_TERMS = 8  # of a sum
CHANCE = 0.01  # that the first term of a sum is none
LONG = 8  # nodes of a part, from which a name for it is looked for
NEAR, MOST_NAMES = 0.95, 3  # R2 of a name, and how many a part gets
MOST_VALUES = 20_000_000  # of terms on rows at once; of more rows, evenly spaced ones are taken
MOST_PAIRED = 40  # columns; of more, products are left out


def simple_terms(variables: Sequence[Symbol], X: np.ndarray) -> list[Expr]:
    """Columns [n, variables], their squares and products, and logarithms of positive ones."""
    terms: list[Expr] = [*variables, *(v**2 for v in variables)]
    terms += [sympy.log(v) for v, x in zip(variables, X.T, strict=True) if x.min() > 0]
    if len(variables) <= MOST_PAIRED:
        terms += [a * b for a, b in combinations(variables, 2)]
    return terms


def parts(exprs: Iterable[Expr]) -> list[Expr]:
    """What sums add up, all that is of the same variables together."""
    found: dict[Expr, None] = {}
    for expr in exprs:
        of: dict[frozenset[object], Expr] = {}
        for term in sympy.Add.make_args(expr):
            of[frozenset(term.free_symbols)] = of.get(frozenset(term.free_symbols), 0) + term
        found |= dict.fromkeys(part for symbols, part in of.items() if symbols)
    return list(found)


def names(
    parts: Iterable[Expr],
    variables: Sequence[Symbol],
    X: np.ndarray,
    functions: Sequence[SymbolicFunction],
) -> list[Expr]:
    """f(a x + b) that are near to those parts of one variable that are longer than that."""
    found = []
    for part in parts:
        if len(part.free_symbols) > 1 or count_nodes(part) <= LONG:
            continue
        (v,) = part.free_symbols
        x = torch.as_tensor(X[:, list(variables).index(v)])[None]
        y = torch.as_tensor(_values([part], variables, X).T.copy())
        fits = fit_affine(x, y, functions)
        for f in torch.argsort(fits.r2[0], descending=True)[:MOST_NAMES].tolist():
            a, b = (decimal(c) for c in fits.affine[0, f, :2].tolist())
            if fits.r2[0, f] > NEAR:
                found.append(functions[f].sympy(a * v + b))
    return found


def grow(
    terms: Sequence[Expr],
    variables: Sequence[Symbol],
    X: np.ndarray,
    labels: Labels,
    k: int,
    first: Sequence[Expr] = (),
) -> list[Expr]:
    """Sums for the log-odds of class k against class 0, each of them the one before and a term.

    X: [n, variables]. first: terms that every sum has. Ends where no further term is more than
    chance, with regard to how many were tried.
    """
    everything = [*first, *terms]
    rows = np.flatnonzero((labels.codes == 0) | (labels.codes == k))
    rows = rows[:: 1 + len(rows) * len(everything) // MOST_VALUES]
    pair = Labels((labels.codes[rows] == k).astype(np.int64), labels.weight[rows], 2)
    values = _values(everything, variables, X[rows])
    with np.errstate(all="ignore"):  # a term whose squares overflow is left out
        mean = np.average(values, axis=0, weights=pair.weight)
        spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=pair.weight))
    varies = np.isfinite(spread) & (spread > 1e-12 * np.abs(mean))
    mean, spread = np.where(varies, mean, 0.0), np.where(varies, spread, 1.0)
    unit = np.where(varies, (values - mean) / spread, 0.0)
    cost = 2 * math.log(2) * COMPLEXITY_BITS * np.array([count_nodes(e) for e in everything])
    bar = stats.chi2.isf(CHANCE / max(len(terms), 1), 1)
    chosen, sums = list(range(len(first))), []
    while True:
        design = np.column_stack([np.ones(len(rows)), unit[:, chosen]])
        theta = _logistic(design, pair)
        if theta is None:
            return sums
        if chosen:
            slopes = theta[1:] / spread[chosen]
            weighted = [float(a) * everything[c] for a, c in zip(slopes, chosen, strict=True)]
            sums.append(sympy.Add(float(theta[0] - slopes @ mean[chosen]), *weighted))
        scores = _scores(unit, design, theta, pair)
        scores[[*chosen, *np.flatnonzero(~varies)]] = 0.0
        significant = np.flatnonzero(scores > bar)
        if len(chosen) == MOST_TERMS + len(first) or not len(significant):
            return sums
        chosen.append(int(significant[np.argmax(scores[significant] - cost[significant])]))


def _values(terms: Sequence[Expr], variables: Sequence[Symbol], X: np.ndarray) -> np.ndarray:
    """[n, terms]; 0 in all of the column of a term that is not finite everywhere."""
    compiled = sympy.lambdify(list(variables), list(terms), modules=["scipy", "numpy"])
    with np.errstate(all="ignore"):
        columns = [np.broadcast_to(np.asarray(v), len(X)) for v in compiled(*X.T)]
    good = [np.isrealobj(c) and bool(np.isfinite(c).all()) for c in columns]
    pairs = zip(columns, good, strict=True)
    return np.column_stack([c if is_good else np.zeros(len(X)) for c, is_good in pairs])


def _logistic(design: np.ndarray, labels: Labels) -> np.ndarray | None:
    fitted = maximise(
        lambda theta: ((design @ theta)[:, None], design[:, None, :]),
        np.zeros(design.shape[1]),
        labels,
    )
    return None if fitted is None else fitted.theta


def _scores(unit: np.ndarray, design: np.ndarray, theta: np.ndarray, labels: Labels) -> np.ndarray:
    """The statistic of every term, chi-squared with one degree of freedom where it is none."""
    p = probabilities((design @ theta)[:, None])[:, 1]
    pull = labels.weight * (labels.codes - p)
    root = np.sqrt(labels.weight * p * (1 - p))[:, None]
    known, _ = np.linalg.qr(root * design)
    rest = root * unit
    size = (rest**2).sum(0)
    left = size - ((known.T @ rest) ** 2).sum(0)
    # The pull of what the sum has already is nothing but the prior's.
    return np.where(left > 1e-6 * size, (unit.T @ pull) ** 2 / np.maximum(left, 1e-300), 0.0)
