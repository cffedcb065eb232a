"""The law behind rows: the ladder first, then reductions to smaller problems.

A smooth surface through the rows gives slopes; slopes show symmetries, which make one variable of
two, and splits, which make two problems of one. Every smaller problem is solved in the same way,
and what is found for it, put back, enters the contest of the larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from kansym.discovery.additive import fit_additive
from kansym.discovery.contest import Contest, Entry
from kansym.discovery.joining import join
from kansym.discovery.ladder import (
    additive_models,
    climb,
    curves_over_monomials,
    name_additive,
    pairs_of_short_expressions,
)
from kansym.discovery.outer import IDENTITY
from kansym.discovery.reduce import Problem, Reduction, reduce_by, split_by, without_columns
from kansym.discovery.slopes import Slopes
from kansym.discovery.symmetry import FAINT, Split, Symmetry, reach, splits, symmetries
from kansym.discovery.tangled import one_in_both_parts, straight_in_a_function
from kansym.discovery.workshop import AS_GOOD, CURVE_ERROR, SHARP, Workshop
from kansym.symbolic.constants import decimal

MAX_DEPTH = 8
MAX_SPLITS = 4
MAX_DOUBTFUL = 4
SLACK = 2.0
SMALL_TABLE = 100  # rows: short expressions are tried before slopes
LEAST_ROWS = 12  # for a surface
CURVE_ROWS = 20  # for splines to tell whether rows are a curve
SURE = 0.1  # misfit of symmetries that are used together before any other
WORSE = 4.0  # times the error of the surface before a reduction: then it was none
ANY_SURFACE = 0.02  # error of a surface that is never too bad


def solve(
    shop: Workshop,
    problem: Problem,
    contest: Contest | None = None,
    expected: float | None = None,
) -> list[Entry]:
    """Formulas in the problem's symbols, best first.

    contest: where to enter them. expected: the most that the RMSE of a surface may be, in units of
    y, if the reduction that led here was right; when it is more, little is tried.
    """
    if contest is None:
        contest = shop.contest(problem)
    contest.enter(decimal(float(np.mean(problem.y))), "constant")
    m = problem.X.shape[1]
    if m == 1:
        shop.attempt(_name_curve, problem, contest, expected)
    elif m > 1:
        climb(shop, problem, contest)
        steps = [
            (_reduce, problem, contest, expected),
            (pairs_of_short_expressions, problem, contest),
        ]
        for step, *arguments in steps if len(problem.y) >= SMALL_TABLE else reversed(steps):
            if not shop.is_done(contest, problem):
                shop.attempt(step, *arguments)
    return contest.ranking


def _name_curve(shop: Workshop, problem: Problem, contest: Contest, expected: float | None) -> None:
    u, v = problem.X[:, 0], problem.y
    if expected is not None and len(v) >= CURVE_ROWS:
        model = fit_additive(problem.X, v, IDENTITY, problem.weight)
        limit = max(expected, CURVE_ERROR * contest.spread)
        if model is not None and model.error > limit:
            return
    for entry in shop.named(problem, u, problem.symbols[0]):
        contest.enter(entry.expr, entry.found_by)


def _reduce(shop: Workshop, problem: Problem, contest: Contest, expected: float | None) -> None:
    if len(problem.y) < LEAST_ROWS or problem.depth >= MAX_DEPTH:
        return
    surface = shop.surface(problem)
    shop.report(f"surface over {problem.X.shape[1]} variables: error {surface.error:.1e}")
    error = surface.error * contest.spread
    if expected is not None and error > max(expected, ANY_SURFACE * contest.spread):
        return
    idle = np.flatnonzero(reach(surface) < FAINT).tolist()
    if idle and len(idle) < problem.X.shape[1]:
        _follow(shop, without_columns(problem, idle), contest, surface)
        return
    found = symmetries(surface)
    plans = _plans(found)
    for plan in plans[:1]:
        move = partial(_try, shop, problem, plan, contest, surface)
        shop.step("try", problem, contest, move)
        if shop.is_done(contest, problem):
            return
    for step in (_as_good_as_the_surface, straight_in_a_function, one_in_both_parts):
        move = partial(step, shop, problem, surface, contest)
        shop.step(step.__name__, problem, contest, move)
        if shop.is_done(contest, problem):
            return
    # The surest first; a split rests on second slopes, which are twice as uncertain.
    moves: list[tuple[float, Callable[[], None]]] = [
        (max(s.misfit for s in plan), partial(_try, shop, problem, plan, contest, surface))
        for plan in [*plans[1:], *_doubtful(surface, found)]
    ]
    moves += [
        (split.misfit / 2, partial(_split, shop, problem, split, surface, contest))
        for split in splits(surface, shop.names)[:MAX_SPLITS]
    ]
    for _, move in sorted(moves, key=lambda move: move[0]):
        shop.step("move", problem, contest, move)
        if shop.is_done(contest, problem):
            return


def _as_good_as_the_surface(
    shop: Workshop, problem: Problem, surface: Slopes, contest: Contest
) -> None:
    """Rungs of the ladder that miss the rows by no more than the surface does."""
    limit = surface.error_of_equals(AS_GOOD)
    for model in additive_models(shop, problem)[:1]:
        if SHARP <= model.y_error / contest.spread < limit:
            name_additive(shop, problem, model, contest)
    if surface.error > SHARP:
        curves_over_monomials(shop, problem, contest, limit**2)


def _split(
    shop: Workshop, problem: Problem, split: Split, surface: Slopes, contest: Contest
) -> None:
    parts = split_by(problem, split, surface)
    if parts is not None:
        join(shop, parts, contest)


def _try(
    shop: Workshop,
    problem: Problem,
    symmetry_set: Sequence[Symmetry],
    contest: Contest,
    surface: Slopes,
) -> None:
    reduction = reduce_by(problem, symmetry_set)
    if reduction is not None:
        _follow(shop, reduction, contest, surface)


def _follow(shop: Workshop, reduction: Reduction, contest: Contest, surface: Slopes) -> None:
    shop.report(f"{reduction.kind}: {reduction.problem.X.shape[1]} variables left")
    expected = surface.error_of_equals(WORSE) * contest.spread / reduction.size
    for entry in shop.solve(reduction.problem, expected=expected)[:3]:
        contest.enter(reduction.lift(entry.expr), reduction.kind, late=True)
        if contest.reaches(contest.best):
            return


def _doubtful(surface: Slopes, found: Sequence[Symmetry]) -> list[list[Symmetry]]:
    """Symmetries that only slopes of twice the uncertainty allow, each alone, the best few."""
    known = {(s.kind, s.columns) for s in found}
    more = [s for s in symmetries(surface, SLACK) if (s.kind, s.columns) not in known]
    return [[s] for s in sorted(more, key=lambda s: s.misfit)[:MAX_DOUBTFUL]]


def _plans(found: Sequence[Symmetry]) -> list[list[Symmetry]]:
    """Which symmetries to use together: all that draw nothing but powers out, then fewer."""
    powers = [s for s in found if s.kind == "power"]
    pure = [s for s in found if s.kind not in ("power", "triple") and s.power == 0]
    sure = [s for s in [*powers, *pure] if s.misfit < SURE]
    drawn = [s for s in found if s.kind != "power" and (s.power or s.kind == "triple")]
    plans = [sure] if 0 < len(sure) < len(powers) + len(pure) else []
    plans += [[*powers, *pure]] if powers or pure else []
    if powers and pure:
        plans += [pure, powers]
    kinds = list(dict.fromkeys(s.kind for s in pure))
    if len(kinds) > 1:
        plans += [[s for s in pure if s.kind == kind] for kind in kinds]
    plans += [[s] for s in drawn[:4]]
    return plans
