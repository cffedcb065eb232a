"""The ladder: simple forms that most laws have, each a linear fit or nearly one.

constant, linear, monomial, polynomial, quotient of polynomials, additive under a transformed
target (a product, where that is the logarithm), and a curve over a monomial.
"""

from __future__ import annotations

import numpy as np

from kansym.discovery.additive import Additive, fit_additive
from kansym.discovery.contest import Contest
from kansym.discovery.joining import join
from kansym.discovery.monomial import index_powers, monomial, power_product
from kansym.discovery.outer import IDENTITY, outers_for
from kansym.discovery.rational import polynomials, quotients
from kansym.discovery.reduce import Parts, Problem
from kansym.discovery.short import short_pairs
from kansym.discovery.symmetry import Split
from kansym.discovery.weights import root_weight
from kansym.discovery.workshop import MODELS, SHARP, Workshop
from kansym.symbolic.constants import decimal

QUOTIENT_COLUMNS = 4
SHORT_COLUMNS = 3
ROUGH = 0.01  # variance about neighbours, of y's, of a curve over a monomial


def climb(shop: Workshop, problem: Problem, contest: Contest) -> None:
    """One rung after another, until a formula reaches the data.

    Where they are noisy a simple form may do for a richer law: for the whole problem all rungs are
    climbed, and reductions tried, unless a formula without any fitted number is found.
    """
    for rung in (
        _linear, _monomials, _polynomials, _quotients, _additive, curves_over_monomials,
    ):  # fmt: skip
        shop.attempt(rung, problem, contest)
        if shop.is_done(contest, problem if problem.depth else None):
            return
        if shop.leaves_noise(contest, problem) and shop.is_plain(contest):
            return


def _linear(shop: Workshop, problem: Problem, contest: Contest) -> None:
    n, m = problem.X.shape
    if n <= m + 1:
        return
    A = np.column_stack([problem.X, np.ones(n)])
    size = np.abs(A).max(0) + 1e-300
    root = root_weight(problem.weight, n)
    coef = np.linalg.lstsq(A / size * root[:, None], problem.y * root, rcond=None)[0] / size
    terms = [decimal(c) * s for c, s in zip(coef, problem.symbols, strict=False)]
    contest.enter(sum(terms) + decimal(coef[-1]), "linear")


def _monomials(shop: Workshop, problem: Problem, contest: Contest) -> None:
    for outer in outers_for(problem.y, shop.names):
        with np.errstate(all="ignore"):
            t = outer.forward(problem.y)
        if not np.isfinite(t).all():
            continue
        for expr in monomial(problem.X, t, problem.symbols, problem.weight):
            contest.enter(outer.undone(expr, problem.y), f"monomial in {outer.name}")
            if shop.is_done(contest):
                return


def _polynomials(shop: Workshop, problem: Problem, contest: Contest) -> None:
    if {"x^2", "x^3"} <= shop.names:
        for expr in polynomials(problem.X, problem.y, problem.symbols, problem.weight):
            contest.enter(expr, "polynomial")


def _quotients(shop: Workshop, problem: Problem, contest: Contest) -> None:
    if problem.noise or "1/x" not in shop.names or problem.X.shape[1] > QUOTIENT_COLUMNS:
        return
    for outer in outers_for(problem.y, shop.names):
        if outer.name in ("y", "y^2"):
            for expr in quotients(problem.X, problem.y, problem.symbols, outer):
                contest.enter(expr, "quotient")


def _additive(shop: Workshop, problem: Problem, contest: Contest) -> None:
    for model in additive_models(shop, problem):
        if model.y_error < SHARP * contest.spread:
            name_additive(shop, problem, model, contest)
        if shop.is_done(contest):
            return


def additive_models(shop: Workshop, problem: Problem) -> list[Additive]:
    """The best few over transformations of the target, best first."""
    models = [
        fit_additive(problem.X, problem.y, outer, problem.weight)
        for outer in outers_for(problem.y, shop.names)
    ]
    fitted = [m for m in models if m is not None and np.isfinite(m.y_error)]
    return sorted(fitted, key=lambda model: model.y_error)[:MODELS]


def name_additive(shop: Workshop, problem: Problem, model: Additive, contest: Contest) -> None:
    """Names for the parts; those of log y are named as the factors of y that they are."""
    is_product = model.outer.name == "log"
    values, noise = model.parts.copy(), np.full(len(problem.symbols), model.error)
    if is_product:
        values = np.exp(values)
        noise = noise * np.sqrt(np.mean(values**2, 0))
        values[:, 0] *= np.sign(np.mean(problem.y)) * np.exp(model.constant)
    else:
        values[:, 0] += model.constant
    outer = IDENTITY if is_product else model.outer
    split = Split(outer, is_product, tuple((i,) for i in range(values.shape[1])))
    parts = [
        Problem(problem.X[:, [i]], values[:, i], (symbol,), noise[i], None, problem.depth + 1)
        for i, symbol in enumerate(problem.symbols)
    ]
    join(shop, Parts(split, problem, tuple(parts), split.blocks), contest)


def curves_over_monomials(
    shop: Workshop, problem: Problem, contest: Contest, rough: float = ROUGH
) -> None:
    for powers in index_powers(problem.X, problem.y, rough):
        u = np.exp(np.log(problem.X) @ np.array([float(p) for p in powers]))
        symbol = problem.symbols[0]
        form = power_product(problem.symbols, powers)
        for entry in shop.named(problem, u, symbol):
            contest.enter(entry.expr.xreplace({symbol: form}), "curve over a monomial")
            if shop.is_done(contest):
                return


def pairs_of_short_expressions(shop: Workshop, problem: Problem, contest: Contest) -> None:
    if problem.X.shape[1] > SHORT_COLUMNS or problem.noise:
        return
    for outer in outers_for(problem.y, shop.names):
        with np.errstate(all="ignore"):
            t = outer.forward(problem.y)
        if np.isfinite(t).all():
            for expr in short_pairs(problem.X, t, problem.symbols, shop.names):
                contest.enter(outer.undone(expr, problem.y), "pair of short expressions")
        if shop.is_done(contest):
            return
