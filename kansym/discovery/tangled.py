"""Laws of two variables that no symmetry makes simpler: both in one term, yet of a known form."""

from __future__ import annotations

import numpy as np

from kansym.discovery.additive import fit_additive
from kansym.discovery.canonical import canonical
from kansym.discovery.contest import Contest, evaluate
from kansym.discovery.joining import join
from kansym.discovery.ladder import name_additive
from kansym.discovery.outer import IDENTITY, outers_for
from kansym.discovery.reduce import Problem, shear_by, sheared_parts
from kansym.discovery.sheared import sheared
from kansym.discovery.slopes import Slopes
from kansym.discovery.symmetry import tolerance
from kansym.discovery.varying import Varying, coefficients, fit_varying, varying_block
from kansym.discovery.weights import rms, root_weight
from kansym.discovery.workshop import (
    AS_GOOD,
    CURVE_ERROR,
    MODELS,
    SHARP,
    Workshop,
    combinations_of,
)

INNER_NAMES = 2  # for C, with which A0 and A1 are named
UNSEEN = 3.0  # times the misfit of a sum of curves, which each of them may be off
ROUNDING = 1e-10  # of a target's spread


def straight_in_a_function(
    shop: Workshop, problem: Problem, surface: Slopes, contest: Contest
) -> None:
    """T(y) = A0(x1) + A1(x1) C(x2), both ways round; the best few are named, C first."""
    if problem.X.shape[1] != 2:
        return
    models = []
    middle = np.argsort(((surface.X - surface.X.mean(0)) ** 2 / surface.X.var(0)).sum(1))
    for outer in outers_for(problem.y, shop.names):
        for coefficient in (0, 1):
            rows = problem.X.copy()
            rows[:, coefficient] = surface.X[middle[0], coefficient]
            values = surface.predict(rows)
            if outer.accepts(values):
                start = outer.forward(values)
                model = fit_varying(problem.X, problem.y, outer, coefficient, start, problem.weight)
                if model is not None and np.isfinite(model.error):
                    models.append(model)
    limit = max(SHARP, surface.error_of_equals(AS_GOOD)) * contest.spread
    for model in sorted(models, key=lambda model: model.error)[:MODELS]:
        if model.error < limit and not shop.is_done(contest):
            _name_varying(shop, problem, model, contest)


def _name_varying(shop: Workshop, problem: Problem, model: Varying, contest: Contest) -> None:
    i, j = model.coefficient, model.inner
    noise = model.error / contest.spread
    depth = problem.depth + 1
    weight = problem.weight
    inner = Problem(problem.X[:, [j]], model.values, (problem.symbols[j],), noise, None, depth)
    t = model.outer.forward(problem.y)
    A = varying_block(problem.X[:, i], len(t))
    for entry in shop.solve(inner)[:INNER_NAMES]:
        C = canonical(shop.snapped(inner, entry)).as_independent(*inner.symbols)[1]
        C = C.as_independent(*inner.symbols, as_Add=False)[1]
        values = evaluate(C, inner.symbols, inner.X)
        named, parts = [], coefficients(A, values, t, root_weight(weight, len(t)))
        misfit = rms(parts[0] + parts[1] * values - t, weight)
        noise = max(UNSEEN * misfit, ROUNDING * float(np.std(t)))
        for part in parts:
            rest = Problem(problem.X[:, [i]], part, (problem.symbols[i],), noise, None, depth)
            named.append(shop.solve(rest)[:3])
        for A0, A1 in combinations_of(named):
            whole = model.outer.undone(A0.expr + A1.expr * C, problem.y)
            contest.enter(whole, "straight in a function", late=True)
            if shop.is_done(contest):
                return


def one_in_both_parts(shop: Workshop, problem: Problem, surface: Slopes, contest: Contest) -> None:
    """Laws of two variables in which one stands in both parts."""
    if problem.X.shape[1] != 2:
        return
    for form in sheared(surface, 2 * tolerance(surface))[:MODELS]:
        reduction = shear_by(problem, form)
        if reduction is None:
            continue
        child, limit = reduction.problem, CURVE_ERROR * contest.spread
        inner = shop.contest(child)
        parts = sheared_parts(child, form, problem) if form.is_product else None
        if parts is not None and parts[1] < limit:
            join(shop, parts[0], inner)
        elif not form.is_product:
            model = fit_additive(child.X, child.y, IDENTITY, child.weight)
            if model is not None and model.y_error < limit:
                name_additive(shop, child, model, inner)
        for entry in inner.ranking[:3]:
            contest.enter(reduction.lift(entry.expr), "one variable in both parts", late=True)
        if shop.is_done(contest):
            return
