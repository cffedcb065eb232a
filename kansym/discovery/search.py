"""The search for one law: set rows aside, solve, snap, and say how far to trust the answer."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from sympy import Dummy

from kansym.discovery import checkpoint
from kansym.discovery.answer import Answer, mean_of
from kansym.discovery.budget import Budget
from kansym.discovery.constraints import passes, rules
from kansym.discovery.contest import Contest
from kansym.discovery.dimensions import has_consistent_units
from kansym.discovery.groups import RowsError, reduced
from kansym.discovery.journal import Journal
from kansym.discovery.networks import (
    LEAST_SECONDS,
    SplineNetwork,
    best_network,
)
from kansym.discovery.records import Discovery, Finding, Options, Report, Table
from kansym.discovery.reduce import Problem
from kansym.discovery.screening import relevant_columns
from kansym.discovery.solver import solve
from kansym.discovery.surrogate import MAX_ROWS
from kansym.discovery.units import UnitTable, parse_units
from kansym.discovery.workshop import Rows, Workshop
from kansym.functions import get_library
from kansym.symbolic.constants import decimal
from kansym.symbolic.formula import Expr

HELD_OUT = 0.2  # share of the rows, half of them the outermost
LEAST_ROWS = 12  # with fewer, none are held out
SEARCH_ROWS = 2000  # the search itself sees no more; constants are fitted to all
FINER = 2  # times the rows of a surface, when the first search found no law
FINER_SECONDS = 5.0  # that must be left for it
SOLVING, LATER = 0.7, 0.9  # shares of the time after which the search, and networks, must end


def discover(table: Table, options: Options, report: Report | None = None) -> Discovery:
    """The law behind a table.

    Ctrl-C ends the search with what it has. Raises ValueError for unknown functions.
    """
    search = _Search(table, options, report)
    stopped = "done"
    try:
        # A trial that overflows is not finite, and refused for that; nobody need be warned of it.
        with np.errstate(over="ignore"):
            search.run()
    except KeyboardInterrupt:
        stopped = "interrupted"
    if search.journal is not None:
        search.journal.store()
    return search.result(search.budget.stopped_by or stopped)


def concluded(table: Table, options: Options, best: Finding) -> Discovery:
    """The answer of a search that was interrupted elsewhere, with this as its best formula.

    `max_time` of the options is for judging it.
    """
    search = _Search(table, replace(options, checkpoint=None), None)
    search.contest.enter(mean_of(search.rows), "constant")
    search.contest.enter(best.expr, best.found_by)
    return search.result("interrupted")


class _Search:
    def __init__(self, table: Table, options: Options, report: Report | None):
        self.options, self.report = options, report
        if table.weight is not None:
            table = table.rows(table.weight > 0)
        self.table = table
        time = options.max_time
        self.budget = Budget(None if time is None else SOLVING * time, options.max_candidates)
        self.network: SplineNetwork | None = None
        rng = np.random.default_rng([options.seed, 1])
        self.held_out = _held_out(table, rng)
        inner = np.flatnonzero(~self.held_out)
        if len(inner) > SEARCH_ROWS:
            inner = np.sort(rng.choice(inner, SEARCH_ROWS, replace=False))
        self.rows = table.rows(inner)
        self.contest = Contest(
            self.rows.X, self.rows.y, table.variables, options.noise or 0.0, self.rows.weight,
            self.budget, self._accepts,
        )  # fmt: skip
        self.rules = rules(table, options)
        self.units = None
        if options.units is not None:
            names = [str(v) for v in table.variables]
            self.units = parse_units(options.units, names, options.target_name)
        self.journal: Journal | None = None
        if options.checkpoint is not None:
            key = checkpoint.fingerprint(table, options)
            self.journal = Journal(self.budget, options.checkpoint / "search.json", key)
        self.shop = Workshop(
            get_library(options.functions),
            self.budget,
            solve,
            self._all_rows,
            options.seed,
            report=self._say,
            journal=self.journal,
        )
        self.is_found = False

    def _say(self, line: str) -> None:
        if self.report is not None:
            best = self.contest.best
            self.report(line, None if best is None else self._answer().finding(best))

    def _accepts(self, expr: Expr) -> bool:
        if not expr.free_symbols:
            return True  # the mean: what is said when no formula is found
        if not passes(expr, self.rules):
            return False
        if self.units is None:
            return True
        dims = self.units.by_symbol(self.table.variables)
        return has_consistent_units(expr, dims, self.units.target)

    def _all_rows(self, contest: Contest) -> Rows | None:
        """Of the whole table, for its contest: those held out show where a formula goes astray."""
        table = self.table
        if contest is not self.contest:
            return None
        return table.variables, table.X, table.y, table.weight

    def run(self) -> None:
        self.contest.enter(mean_of(self.rows), "constant")
        if self.units is not None:
            self._solve_in_groups(self.units)
        self._solve_in_columns()
        if not self.is_found:
            self._train_networks()

    def _solve_in_columns(self) -> None:
        forbidden = {
            i for i, v in enumerate(self.table.variables) if str(v) in self.options.forbidden
        }
        varies = np.flatnonzero(np.ptp(self.rows.X, axis=0) > 0)
        usable = np.array([i for i in varies if i not in forbidden], dtype=int)
        self.is_found = self.contest.reaches(self.contest.best)
        if not len(usable) or self.is_found:
            return
        rng = np.random.default_rng([self.options.seed, 3])
        columns = usable[relevant_columns(self.rows.X[:, usable], self.rows.y, rng)]
        symbols = tuple(self.table.variables[i] for i in columns)
        problem = Problem(
            self.rows.X[:, columns], self.rows.y, symbols, self.contest.noise,
            self.rows.weight,
        )  # fmt: skip
        self.shop.solve(problem, self.contest)
        has_time = self.budget.seconds_left > FINER_SECONDS
        is_done = self.shop.is_done(self.contest, problem)
        if has_time and len(self.rows.y) > MAX_ROWS and not is_done:
            self._say("once more with finer surfaces")
            replace(self.shop, rows=FINER * MAX_ROWS).solve(problem, self.contest)
        best = self.contest.best
        self.is_found = self.contest.reaches(best) or self.shop.leaves_noise(self.contest, problem)

    def _train_networks(self) -> None:
        """Splines where formulas fail: they say what can be predicted, and from what."""
        total = self.options.max_time
        self.budget.extend_to(None if total is None else LATER * total)
        if self.options.forbidden:
            return  # a network would use what it is forbidden to
        if self.budget.is_over or self.budget.seconds_left < LEAST_SECONDS:
            return
        held_out = self.table.rows(self.held_out)
        seed, jobs = self.options.seed, self.options.n_jobs
        training = Budget(self.budget.seconds_left if total else None)
        self.network = best_network(
            self.rows, held_out, seed, jobs, training, self.options.checkpoint
        )
        if self.network is not None:
            self._say(f"spline network {self.network.model.width}: RMSE {self.network.rmse:.3g}")

    def _solve_in_groups(self, units: UnitTable) -> None:
        """Buckingham's theorem first: fewer variables, and every answer keeps the units."""
        try:
            groups = reduced(self.rows.X, self.rows.y, units)
        except RowsError:
            return  # zeros or signs that no product of powers can take: the rules still hold
        if not groups.monomials:
            self.contest.enter(decimal(float(groups.y.mean())) * groups.scale, "units")
            return
        symbols = tuple(Dummy(f"g{k}", real=True) for k in range(len(groups.monomials)))
        for entry in self.shop.solve(Problem(groups.X, groups.y, symbols)):
            expr = groups.restored(entry.expr, symbols)
            self.contest.enter(
                expr.xreplace(dict(zip(units.variables, self.table.variables, strict=True))),
                "units",
            )

    def result(self, stopped: str) -> Discovery:
        return self._answer().discovery(self.network, stopped)

    def _answer(self) -> Answer:
        return Answer(self.table, self.held_out, self.contest, self.options, self._seconds_left)

    def _seconds_left(self) -> float:
        limit = self.options.max_time
        return math.inf if limit is None else limit - self.budget.seconds


def _held_out(table: Table, rng: np.random.Generator) -> np.ndarray:
    """Which rows the search does not see: the outermost, and as many at random."""
    n = len(table.y)
    held_out = np.zeros(n, dtype=bool)
    if n < LEAST_ROWS:
        return held_out
    spread = table.X.std(0)
    Z = (table.X - table.X.mean(0)) / np.where(spread > 0, spread, 1.0)
    half = max(1, round(HELD_OUT / 2 * n))
    held_out[np.argsort(-(Z**2).sum(1), kind="stable")[:half]] = True
    held_out[rng.choice(np.flatnonzero(~held_out), half, replace=False)] = True
    return held_out
