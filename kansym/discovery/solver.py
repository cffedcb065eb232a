"""The law behind rows: a ladder of simple forms, then reductions to smaller problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TypeVar

import numpy as np
from sympy import Symbol

from kansym.discovery.additive import Additive, fit_additive
from kansym.discovery.budget import Budget
from kansym.discovery.canonical import canonical
from kansym.discovery.contest import Contest, Entry, evaluate
from kansym.discovery.curves import name_curve
from kansym.discovery.monomial import index_powers, monomial, power_product
from kansym.discovery.outer import IDENTITY, outers_for
from kansym.discovery.rational import polynomials, quotients
from kansym.discovery.reduce import (
    Parts,
    Problem,
    Reduction,
    reduce_by,
    shear_by,
    sheared_parts,
    split_by,
    without_columns,
)
from kansym.discovery.sheared import sheared
from kansym.discovery.short import short_pairs
from kansym.discovery.slopes import Slopes, slopes
from kansym.discovery.symmetry import FAINT, Split, Symmetry, reach, splits, symmetries, tolerance
from kansym.discovery.varying import Varying, coefficients, fit_varying, varying_block
from kansym.functions import SymbolicFunction
from kansym.symbolic.constants import ConstantProblem, decimal
from kansym.symbolic.formula import Expr
from kansym.symbolic.snap import snap_expression

MAX_DEPTH = 8
MAX_SPLITS = 4
QUOTIENT_COLUMNS = 4
SHORT_COLUMNS = 3
SMALL_TABLE = 100  # rows: short expressions are tried before slopes
LEAST_ROWS = 12  # for a surface
NAMES = 10  # of a curve that enter the larger contest
NAMED_MODELS = 2  # additive models whose parts are named
ROUGH = 0.01  # variance about neighbours, of y's, of a curve over a monomial
SHARP = 1e-3  # error of an additive model, of y's spread, below which it is taken for the law
AS_GOOD = 1.5  # times the error of the surface: an additive model that good is taken for it, too
COMBINATIONS = 8  # of names of several parts
UNSEEN = 3.0  # times the misfit of a sum of curves, which each of them may be off
ROUNDING = 1e-10  # of a target's spread
REMAINDERS = 2  # combinations of names for all parts but one, whose remainder is solved
WORSE = 4.0  # times the error of the surface before a reduction: then it was none
CURVE_ERROR = 0.3  # of a curve over one variable, of y's spread


@dataclass(frozen=True)
class Solver:
    """Searches with the given functions until a formula reaches the data or the budget is spent.

    is_noise: whether what the best formula of the whole problem leaves is nothing but noise.
    """

    functions: Sequence[SymbolicFunction]
    budget: Budget
    is_noise: Callable[[Contest], bool] = lambda contest: False
    seed: int = 0
    report: Callable[[str], None] = lambda line: None

    @property
    def names(self) -> frozenset[str]:
        return frozenset(f.name for f in self.functions)

    def solve(
        self, problem: Problem, contest: Contest | None = None, expected: float | None = None
    ) -> list[Entry]:
        """Formulas in the problem's symbols, best first.

        contest: where to enter them. expected: error of the surface of the problem this one was
        reduced from; when the surface here is much worse, the reduction was wrong and [] returned.
        """
        if contest is None:
            contest = self._contest(problem)
        m = problem.X.shape[1]
        contest.enter(decimal(float(np.mean(problem.y))), "constant")
        if m == 1:
            self._name_curve(problem, contest, expected)
        elif m > 1:
            self._ladder(problem, contest)
            steps = [
                partial(self._reduce, problem, contest, expected),
                partial(self._short, problem, contest),
            ]
            for step in steps if len(problem.y) >= SMALL_TABLE else reversed(steps):
                if not self._is_done(contest, problem):
                    step()
        return contest.ranking

    def _contest(self, problem: Problem) -> Contest:
        return Contest(
            problem.X, problem.y, problem.symbols, problem.noise, problem.weight, self.budget
        )

    def _is_done(self, contest: Contest, problem: Problem | None = None) -> bool:
        """Whether to stop: nothing is left of the budget, or of the data. Given the problem at the
        root, also where what is left of it is noise."""
        if self.budget.is_over or contest.reaches(contest.best):
            return True
        if problem is None or problem.depth > 0:
            return False
        return self.is_noise(contest)

    # -- one variable ------------------------------------------------------------------------------

    def _name_curve(self, problem: Problem, contest: Contest, expected: float | None) -> None:
        u, v = problem.X[:, 0], problem.y
        if expected is not None and len(v) >= 20:
            model = fit_additive(problem.X, v, IDENTITY)
            limit = max(WORSE * expected, CURVE_ERROR)
            if model is not None and model.error > limit * contest.spread:
                return
        for entry in self._named(problem, u, problem.symbols[0], problem.weight):
            contest.enter(entry.expr, entry.found_by)

    def _named(
        self, problem: Problem, u: np.ndarray, symbol: Symbol, weight: np.ndarray | None
    ) -> list[Entry]:
        return name_curve(
            u, problem.y, symbol, self.functions, problem.noise, NAMES, weight, True, self.budget
        )

    # -- the ladder --------------------------------------------------------------------------------

    def _ladder(self, problem: Problem, contest: Contest) -> None:
        for rung in (
            self._linear, self._monomials, self._polynomials, self._quotients, self._additive,
            self._index,
        ):  # fmt: skip
            rung(problem, contest)
            if self._is_done(contest):
                return

    def _linear(self, problem: Problem, contest: Contest) -> None:
        n, m = problem.X.shape
        if n <= m + 1:
            return
        A = np.column_stack([problem.X, np.ones(n)])
        size = np.abs(A).max(0) + 1e-300
        coef = np.linalg.lstsq(A / size, problem.y, rcond=None)[0] / size
        terms = [decimal(c) * s for c, s in zip(coef, problem.symbols, strict=False)]
        contest.enter(sum(terms) + decimal(coef[-1]), "linear")

    def _monomials(self, problem: Problem, contest: Contest) -> None:
        for outer in outers_for(problem.y, self.names):
            with np.errstate(all="ignore"):
                t = outer.forward(problem.y)
            if not np.isfinite(t).all():
                continue
            for expr in monomial(problem.X, t, problem.symbols):
                contest.enter(outer.undone(expr, problem.y), f"monomial in {outer.name}")
                if self._is_done(contest):
                    return

    def _polynomials(self, problem: Problem, contest: Contest) -> None:
        if {"x^2", "x^3"} <= self.names:
            for expr in polynomials(problem.X, problem.y, problem.symbols):
                contest.enter(expr, "polynomial")

    def _quotients(self, problem: Problem, contest: Contest) -> None:
        if problem.noise or "1/x" not in self.names or problem.X.shape[1] > QUOTIENT_COLUMNS:
            return
        for outer in outers_for(problem.y, self.names):
            if outer.name in ("y", "y^2"):
                for expr in quotients(problem.X, problem.y, problem.symbols, outer):
                    contest.enter(expr, "quotient")

    def _additive(self, problem: Problem, contest: Contest) -> None:
        for model in self._additive_models(problem):
            if model.y_error < SHARP * contest.spread:
                self._name_additive(problem, model, contest)
            if self._is_done(contest):
                return

    def _additive_models(self, problem: Problem) -> list[Additive]:
        """The best few over transformations of the target, best first."""
        models = [fit_additive(problem.X, problem.y, o) for o in outers_for(problem.y, self.names)]
        fitted = [m for m in models if m is not None and np.isfinite(m.y_error)]
        return sorted(fitted, key=lambda model: model.y_error)[:NAMED_MODELS]

    def _name_additive(self, problem: Problem, model: Additive, contest: Contest) -> None:
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
        self._join(Parts(split, problem, tuple(parts), split.blocks), contest)

    def _index(self, problem: Problem, contest: Contest, rough: float = ROUGH) -> None:
        for powers in index_powers(problem.X, problem.y, rough):
            u = np.exp(np.log(problem.X) @ np.array([float(p) for p in powers]))
            symbol = problem.symbols[0]
            form = power_product(problem.symbols, powers)
            for entry in self._named(problem, u, symbol, None):
                contest.enter(entry.expr.xreplace({symbol: form}), "curve over a monomial")
                if self._is_done(contest):
                    return

    def _short(self, problem: Problem, contest: Contest) -> None:
        if problem.X.shape[1] > SHORT_COLUMNS or problem.noise:
            return
        for outer in outers_for(problem.y, self.names):
            with np.errstate(all="ignore"):
                t = outer.forward(problem.y)
            if np.isfinite(t).all():
                for expr in short_pairs(problem.X, t, problem.symbols, self.names):
                    contest.enter(outer.undone(expr, problem.y), "pair of short expressions")
            if self._is_done(contest):
                return

    # -- reductions --------------------------------------------------------------------------------

    def _reduce(self, problem: Problem, contest: Contest, expected: float | None) -> None:
        if len(problem.y) < LEAST_ROWS or problem.depth >= MAX_DEPTH:
            return
        rng = np.random.default_rng([self.seed, problem.depth, problem.X.shape[1]])
        surface = slopes(problem.X, problem.y, rng)
        self.report(f"surface over {problem.X.shape[1]} variables: error {surface.error:.1e}")
        if expected is not None and surface.error > max(WORSE * expected, 0.02):
            return
        for model in self._additive_models(problem)[:1]:
            error = model.y_error / contest.spread
            if SHARP <= error < AS_GOOD * surface.error:
                self._name_additive(problem, model, contest)
        if surface.error > SHARP:
            self._index(problem, contest, AS_GOOD * surface.error**2)
        if self._is_done(contest):
            return
        idle = np.flatnonzero(reach(surface) < FAINT).tolist()
        if idle and len(idle) < problem.X.shape[1]:
            self._follow(without_columns(problem, idle), contest, surface)
            return
        found = symmetries(surface)
        plans = _plans(found)
        for plan in plans[:1]:
            self._try(problem, plan, contest, surface)
            if self._is_done(contest, problem):
                return
        for step in (self._varying, self._sheared):
            step(problem, surface, contest)
            if self._is_done(contest, problem):
                return
        # The surest first; a split rests on second slopes, which are twice as uncertain.
        moves: list[tuple[float, Callable[[], None]]] = [
            (max(s.misfit for s in plan), partial(self._try, problem, plan, contest, surface))
            for plan in plans[1:]
        ]
        moves += [
            (split.misfit / 2, partial(self._split, problem, split, surface, contest))
            for split in splits(surface, self.names)[:MAX_SPLITS]
        ]
        for _, move in sorted(moves, key=lambda move: move[0]):
            move()
            if self._is_done(contest, problem):
                return

    def _split(self, problem: Problem, split: Split, surface: Slopes, contest: Contest) -> None:
        parts = split_by(problem, split, surface)
        if parts is not None:
            self._join(parts, contest)

    def _sheared(self, problem: Problem, surface: Slopes, contest: Contest) -> None:
        """Laws of two variables in which one stands in both parts."""
        if problem.X.shape[1] != 2:
            return
        for form in sheared(surface, 2 * tolerance(surface))[:NAMED_MODELS]:
            reduction = shear_by(problem, form)
            if reduction is None:
                continue
            child, limit = reduction.problem, CURVE_ERROR * contest.spread
            inner = self._contest(child)
            parts = sheared_parts(child, form, problem) if form.is_product else None
            if parts is not None and parts[1] < limit:
                self._join(parts[0], inner)
            elif not form.is_product:
                model = fit_additive(child.X, child.y, IDENTITY)
                if model is not None and model.y_error < limit:
                    self._name_additive(child, model, inner)
            for entry in inner.ranking[:3]:
                contest.enter(reduction.lift(entry.expr), "one variable in both parts")
            if self._is_done(contest):
                return

    def _varying(self, problem: Problem, surface: Slopes, contest: Contest) -> None:
        """T(y) = A0(x1) + A1(x1) C(x2), both ways round; the best few are named, C first."""
        if problem.X.shape[1] != 2:
            return
        models = []
        middle = np.argsort(((surface.X - surface.X.mean(0)) ** 2 / surface.X.var(0)).sum(1))
        for outer in outers_for(problem.y, self.names):
            for coefficient in (0, 1):
                rows = problem.X.copy()
                rows[:, coefficient] = surface.X[middle[0], coefficient]
                values = surface.predict(rows)
                if outer.accepts(values):
                    start = outer.forward(values)
                    model = fit_varying(problem.X, problem.y, outer, coefficient, start)
                    if model is not None and np.isfinite(model.error):
                        models.append(model)
        limit = max(SHARP, AS_GOOD * surface.error) * contest.spread
        for model in sorted(models, key=lambda model: model.error)[:NAMED_MODELS]:
            if model.error < limit and not self._is_done(contest):
                self._name_varying(problem, model, contest)

    def _name_varying(self, problem: Problem, model: Varying, contest: Contest) -> None:
        i, j = model.coefficient, model.inner
        noise = model.error / contest.spread
        depth = problem.depth + 1
        inner = Problem(problem.X[:, [j]], model.values, (problem.symbols[j],), noise, None, depth)
        t = model.outer.forward(problem.y)
        A = varying_block(problem.X[:, i], len(t))
        for entry in self.solve(inner)[:REMAINDERS]:
            C = canonical(self._snapped(inner, entry)).as_independent(*inner.symbols)[1]
            C = C.as_independent(*inner.symbols, as_Add=False)[1]
            values = evaluate(C, inner.symbols, inner.X)
            named, parts = [], coefficients(A, values, t)
            misfit = float(np.sqrt(np.mean((parts[0] + parts[1] * values - t) ** 2)))
            noise = max(UNSEEN * misfit, ROUNDING * float(np.std(t)))
            for part in parts:
                rest = Problem(problem.X[:, [i]], part, (problem.symbols[i],), noise, None, depth)
                named.append(self.solve(rest)[:3])
            for A0, A1 in _combinations(named):
                whole = model.outer.undone(A0.expr + A1.expr * C, problem.y)
                contest.enter(whole, "straight in a function")
                if self._is_done(contest):
                    return

    def _try(
        self,
        problem: Problem,
        symmetry_set: Sequence[Symmetry],
        contest: Contest,
        surface: Slopes,
    ) -> None:
        reduction = reduce_by(problem, symmetry_set)
        if reduction is not None:
            self._follow(reduction, contest, surface)

    def _follow(self, reduction: Reduction, contest: Contest, surface: Slopes) -> None:
        self.report(f"{reduction.kind}: {reduction.problem.X.shape[1]} variables left")
        for entry in self.solve(reduction.problem, expected=surface.error)[:3]:
            contest.enter(reduction.lift(entry.expr), reduction.kind)
            if contest.reaches(contest.best):
                return

    def _join(self, parts: Parts, contest: Contest) -> None:
        """Names for all parts as the model shows them; then for each in turn, the largest first,
        for what the others' names leave of the rows: with those right, it is known exactly."""
        sizes = [p.X.shape[1] for p in parts.problems]
        self.report(f"{parts.split.kind} of {sizes} variables")
        named: list[list[Entry]] = []
        for part in parts.problems[:-1] if sizes[-1] > 1 else parts.problems:
            named.append(self.solve(part)[:3])
            if not named[-1]:
                return
        if sizes[-1] == 1:
            for entries in _combinations(named):
                contest.enter(parts.join([e.expr for e in entries]), parts.split.kind)
                if self._is_done(contest):
                    return
        known = [
            [self._known(parts.split, part, entry) for entry in entries]
            for part, entries in zip(parts.problems, named, strict=False)
        ]
        for last in reversed(range(len(sizes))):
            if sizes[last] == max(sizes):
                self._name_remainder(parts, known, last, contest)
            if self._is_done(contest):
                return

    def _name_remainder(
        self, parts: Parts, known: Sequence[Sequence[Expr]], last: int, contest: Contest
    ) -> None:
        others = [exprs for n, exprs in enumerate(known) if n != last]
        for exprs in _combinations(others)[:REMAINDERS]:
            rest = parts.remainder(exprs, last)
            if rest is None:
                continue
            for entry in self.solve(rest)[:3]:
                contest.enter(parts.join([*exprs, entry.expr]), parts.split.kind)
                if self._is_done(contest):
                    return

    def _known(self, split: Split, part: Problem, entry: Entry) -> Expr:
        """A part's name, snapped; of a sum, without its constant: it belongs to the whole."""
        expr = self._snapped(part, entry)
        return expr if split.is_product else expr.as_coeff_Add()[1]

    def _snapped(self, part: Problem, entry: Entry) -> Expr:
        rows = ConstantProblem(part.symbols, part.X, part.y, part.weight)
        return snap_expression(entry.expr, rows, lambda: self.budget.is_over)[0]


T = TypeVar("T")


def _combinations(named: Sequence[Sequence[T]]) -> list[tuple[T, ...]]:
    """One item of each list, those of high rank first."""
    if any(not items for items in named):
        return []
    ranks = product(*(range(len(items)) for items in named))
    best = sorted(ranks, key=lambda places: (sum(places), places))[:COMBINATIONS]
    return [tuple(e[p] for e, p in zip(named, places, strict=True)) for places in best]


def _plans(found: Sequence[Symmetry]) -> list[list[Symmetry]]:
    """Which symmetries to use together: all that draw nothing but powers out, then fewer."""
    powers = [s for s in found if s.kind == "power"]
    pure = [s for s in found if s.kind not in ("power", "triple") and s.power == 0]
    drawn = [s for s in found if s.kind != "power" and (s.power or s.kind == "triple")]
    plans = [[*powers, *pure]] if powers or pure else []
    if powers and pure:
        plans += [pure, powers]
    kinds = list(dict.fromkeys(s.kind for s in pure))
    if len(kinds) > 1:
        plans += [[s for s in pure if s.kind == kind] for kind in kinds]
    plans += [[s] for s in drawn[:4]]
    return plans
