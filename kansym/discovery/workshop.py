"""What every step of the search shares: functions, budget, report, and the way to recurse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeVar

import numpy as np
from sympy import Symbol

from kansym.discovery.budget import Budget
from kansym.discovery.contest import Contest, Entry
from kansym.discovery.curves import name_curve
from kansym.discovery.journal import Journal
from kansym.discovery.noise import could_be_law, is_as_good_as_surface, leaves_nothing
from kansym.discovery.reduce import Problem
from kansym.discovery.slopes import Slopes, slopes
from kansym.discovery.surrogate import MAX_ROWS
from kansym.discovery.verdict import fitted_numbers
from kansym.functions import SymbolicFunction
from kansym.symbolic.constants import ConstantProblem
from kansym.symbolic.formula import Expr
from kansym.symbolic.snap import snap_expression

NAMES = 10  # of a curve that enter the larger contest
COMBINATIONS = 8  # of names of several parts
SHARP = 1e-3  # error of a model, of y's spread, below which it is taken for the law
AS_GOOD = 1.5  # times the error of the surface: a model that good is taken for it, too
CURVE_ERROR = 0.3  # of a model of curves, of y's spread, above which it is none
MODELS = 2  # of one kind whose curves are named


Rows = tuple[tuple[Symbol, ...], np.ndarray, np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Workshop:
    """functions: that a formula may use. solver: what solves a smaller problem, see `solver.solve`.

    all_rows: variables, X, y and weight of a contest with the rows that it was not shown, if any.
    rows: that a surface is laid through, at most. report: called with a line about each step.
    journal: of finished steps, where they are kept.
    """

    functions: Sequence[SymbolicFunction]
    budget: Budget
    solver: Callable[[Workshop, Problem, Contest | None, float | None], list[Entry]]
    all_rows: Callable[[Contest], Rows | None] = lambda contest: None
    seed: int = 0
    rows: int = MAX_ROWS
    report: Callable[[str], None] = lambda line: None
    journal: Journal | None = None
    surfaces: dict[tuple[int, int], tuple[Problem, Slopes]] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(f.name for f in self.functions)

    def solve(
        self, problem: Problem, contest: Contest | None = None, expected: float | None = None
    ) -> list[Entry]:
        """Formulas for a problem, best first; see `solver.solve`."""
        return self.solver(self, problem, contest, expected)

    def contest(self, problem: Problem) -> Contest:
        """An empty contest on the problem's rows."""
        return Contest(
            problem.X, problem.y, problem.symbols, problem.noise, problem.weight, self.budget
        )

    def attempt(
        self, step: Callable[..., None], problem: Problem, contest: Contest, *arguments: Any
    ) -> None:
        """One step of a search; where its linear algebra fails, it has found nothing."""

        def action() -> None:
            try:
                step(self, problem, contest, *arguments)
            except np.linalg.LinAlgError as error:
                self.report(f"{step.__name__.strip('_')} came to nothing: {error}")

        self.step(step.__name__, problem, contest, action)

    def step(
        self, name: str, problem: Problem, contest: Contest, action: Callable[[], None]
    ) -> None:
        """Do what only enters formulas into the contest, unless the journal says what it left."""
        if self.journal is None:
            action()
        else:
            self.journal.step(name, problem, contest, action)

    def is_done(self, contest: Contest, problem: Problem | None = None) -> bool:
        """Whether to stop: nothing is left of the budget, or of the data. Given the problem, also
        where what is left of it is noise."""
        if self.budget.is_over or contest.reaches(contest.best):
            return True
        return problem is not None and self.leaves_noise(contest, problem)

    def leaves_noise(self, contest: Contest, problem: Problem) -> bool:
        """Whether the best formula is short and leaves nothing that a smooth model finds."""
        best = contest.best
        if best is None or not could_be_law(contest, best):
            return False
        if best.expr not in contest.judged:
            is_near = is_as_good_as_surface(contest, best, self.surface(problem).error)
            contest.judged[best.expr] = is_near and self._leaves_nothing(contest, best.expr)
        return contest.judged[best.expr]

    def _leaves_nothing(self, contest: Contest, expr: Expr) -> bool:
        rows = self.all_rows(contest) or (contest.variables, contest.X, contest.y, contest.weight)
        return leaves_nothing(expr, *rows, self.seed)

    def is_plain(self, contest: Contest) -> bool:
        """Whether all numbers of the best formula snap to exact ones."""
        best = contest.best
        if best is None:
            return False
        # On the contest's columns: the best formula may use more of them than a problem does.
        rows = ConstantProblem(contest.variables, contest.X, contest.y, contest.weight)
        return not fitted_numbers(snap_expression(best.expr, rows, self.budget.has_ended)[0])

    def surface(self, problem: Problem) -> Slopes:
        """The smooth surface through the problem's rows, laid once."""
        key = (id(problem), self.rows)
        if key not in self.surfaces:
            rng = np.random.default_rng([self.seed, problem.depth, problem.X.shape[1]])
            stop = self.budget.has_ended
            found = slopes(problem.X, problem.y, rng, self.rows, problem.weight, stop)
            self.surfaces[key] = (problem, found)  # the problem, so that its id stays its own
        return self.surfaces[key][1]

    def named(self, problem: Problem, u: np.ndarray, symbol: Symbol) -> list[Entry]:
        """Names for the problem's y as a curve over u."""
        return name_curve(
            u, problem.y, symbol, self.functions, problem.noise, NAMES, problem.weight, self.budget
        )

    def snapped(self, part: Problem, entry: Entry) -> Expr:
        """A formula for a part, its constants snapped as far as the part's noise allows."""
        rows = ConstantProblem(part.symbols, part.X, part.y, part.weight)
        return snap_expression(entry.expr, rows, self.budget.has_ended)[0]


T = TypeVar("T")


def combinations_of(named: Sequence[Sequence[T]]) -> list[tuple[T, ...]]:
    """One item of each list, those of high rank first."""
    if any(not items for items in named):
        return []
    ranks = product(*(range(len(items)) for items in named))
    best = sorted(ranks, key=lambda places: (sum(places), places))[:COMBINATIONS]
    return [tuple(e[p] for e, p in zip(named, places, strict=True)) for places in best]
