"""The search for one law: set rows aside, solve, snap, and say how far to trust the answer."""

from __future__ import annotations

import math

import numpy as np
import sympy
from sympy import Dummy

from kansym.discovery import checkpoint
from kansym.discovery.budget import Budget
from kansym.discovery.canonical import canonical
from kansym.discovery.constraints import passes, rules
from kansym.discovery.contest import Contest, Entry, complexity, evaluate, formula_bits
from kansym.discovery.dimensions import has_consistent_units
from kansym.discovery.groups import reduced
from kansym.discovery.records import Discovery, Finding, Options, Report, Table, Verdict
from kansym.discovery.reduce import Problem
from kansym.discovery.solver import Solver
from kansym.discovery.tidy import tidied
from kansym.discovery.units import UnitTable, parse_units
from kansym.discovery.verdict import FEW_NUMBERS, allowed_structure, judge, structure_left
from kansym.functions import get_library
from kansym.symbolic.constants import ConstantProblem, decimal
from kansym.symbolic.formula import Expr
from kansym.symbolic.snap import snap_expression

HELD_OUT = 0.2  # share of the rows, half of them the outermost
LEAST_ROWS = 12  # with fewer, none are held out
SEARCH_ROWS = 2000  # the search itself sees no more; constants are fitted to all
RIVAL_BITS = 10 / math.log(2)  # ten nats
STORED = 50  # formulas in a checkpoint
LEAST_NOISY_ROWS = 50
MOST_NOISE = 0.3  # of y's spread: beyond it too much could hide
FINALISTS = 8  # formulas that are snapped
WORTH = 10.0  # bits that a formula must save over the mean
LATER = 0.9  # share of the time for the search; the rest is for snapping and the verdict


def discover(table: Table, options: Options, report: Report | None = None) -> Discovery:
    """The law behind a table.

    Ctrl-C ends the search with what it has. Raises ValueError for unknown functions.
    """
    search = _Search(table, options, report)
    stopped = "done"
    try:
        search.run()
    except KeyboardInterrupt:
        stopped = "interrupted"
    return search.result(search.budget.stopped_by or stopped)


class _Search:
    def __init__(self, table: Table, options: Options, report: Report | None):
        self.options, self.report = options, report
        if table.weight is not None:
            table = table.rows(table.weight > 0)
        self.table = table
        time = options.max_time
        self.budget = Budget(None if time is None else LATER * time, options.max_candidates)
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
        self.solver = Solver(
            get_library(options.functions), self.budget, self._is_noise, options.seed, self._say
        )
        self.judged: dict[Expr, bool] = {}

    def _say(self, line: str) -> None:
        if self.report is not None:
            best = self.contest.best
            self.report(line, None if best is None else self._finding(best))
        self._store()

    def _accepts(self, expr: Expr) -> bool:
        if not expr.free_symbols:
            return True  # the mean: what is said when no formula is found
        if not passes(expr, self.rules):
            return False
        if self.units is None:
            return True
        dims = self.units.by_symbol(self.table.variables)
        return has_consistent_units(expr, dims, self.units.target)

    def _is_noise(self, contest: Contest) -> bool:
        """Whether the best formula is short and leaves nothing that a smooth model finds."""
        best = contest.best
        if best is None or len(self.rows.y) < LEAST_NOISY_ROWS or not best.expr.free_symbols:
            return False
        if (
            best.rmse > MOST_NOISE * contest.spread
            or len(best.expr.atoms(sympy.Float)) > FEW_NUMBERS
        ):
            return False
        if best.expr not in self.judged:
            residual = self.rows.y - evaluate(best.expr, self.table.variables, self.rows.X)
            saved = structure_left(self.rows.X, residual, self.options.seed)
            self.judged[best.expr] = saved <= allowed_structure(len(residual))
        return self.judged[best.expr]

    def run(self) -> None:
        self.contest.enter(_mean(self.rows), "constant")
        self._resume()
        if self.units is not None:
            self._solve_in_groups(self.units)
        self._solve_in_columns()

    def _solve_in_columns(self) -> None:
        forbidden = {
            i for i, v in enumerate(self.table.variables) if str(v) in self.options.forbidden
        }
        varies = np.flatnonzero(np.ptp(self.rows.X, axis=0) > 0)
        usable = [int(i) for i in varies if i not in forbidden]
        if usable and not self.contest.reaches(self.contest.best):
            symbols = tuple(self.table.variables[i] for i in usable)
            problem = Problem(
                self.rows.X[:, usable], self.rows.y, symbols, self.contest.noise, self.rows.weight
            )
            self.solver.solve(problem, self.contest)

    def _solve_in_groups(self, units: UnitTable) -> None:
        """Buckingham's theorem first: fewer variables, and every answer keeps the units."""
        groups = reduced(self.rows.X, self.rows.y, units)
        if not groups.monomials:
            self.contest.enter(decimal(float(groups.y.mean())) * groups.scale, "units")
            return
        symbols = tuple(Dummy(f"g{k}", real=True) for k in range(len(groups.monomials)))
        for entry in self.solver.solve(Problem(groups.X, groups.y, symbols)):
            expr = groups.restored(entry.expr, symbols)
            self.contest.enter(
                expr.xreplace(dict(zip(units.variables, self.table.variables, strict=True))),
                "units",
            )

    def _resume(self) -> None:
        path = self.options.checkpoint
        if path is not None:
            self.key = checkpoint.fingerprint(self.table, self.options)
            for expr, found_by in checkpoint.load(path, self.key, self.table.variables):
                self.contest.enter(expr, found_by)
            self._store()

    def _store(self) -> None:
        path = self.options.checkpoint
        if path is not None:
            symbols = self.table.variables
            formulas = [
                (checkpoint.to_text(e.expr, symbols), e.found_by)
                for e in self.contest.ranking[:STORED]
            ]
            checkpoint.save(path, self.key, formulas, symbols)

    # -- the answer --------------------------------------------------------------------------------

    def result(self, stopped: str) -> Discovery:
        ranking = sorted((self._finding(e) for e in self.contest.ranking), key=lambda f: f.score)
        ranking = [f for f in ranking if math.isfinite(f.loss)]
        limit = self.options.max_complexity
        constant = self._finding(self._constant())
        allowed = [f for f in ranking if limit is None or f.complexity <= limit] or [constant]
        best = allowed[0]
        is_constant = not best.expr.free_symbols or constant.score - best.score < WORTH
        if is_constant:
            chosen, rivals = constant, ()
        else:
            chosen, rivals = self._snapped(allowed)
        residual, outside = self._residuals(chosen.expr)
        verdict, reason = judge(
            self.table.X, self.table.y, residual, outside, chosen, is_constant, rivals,
            self.options.seed,
        )  # fmt: skip
        return Discovery(
            findings=_front([chosen, *allowed]),
            chosen=chosen,
            verdict=verdict,
            reason=reason,
            rivals=rivals,
            noise=0.0 if verdict is Verdict.EXACT else float(np.sqrt(np.mean(residual**2))),
            n_candidates=self.budget.n_candidates,
            seconds=self.budget.seconds,
            stopped=stopped,
        )

    def _constant(self) -> Entry:
        expr = _mean(self.rows)
        rmse = float(np.std(self.rows.y))
        return Entry(expr, rmse, self.contest.score(expr, rmse), "constant")

    def _snapped(self, ranking: list[Finding]) -> tuple[Finding, tuple[Finding, ...]]:
        """The best formula with its constants snapped, and those that come close to it."""
        close = [f for f in ranking if f.score - ranking[0].score < RIVAL_BITS][:FINALISTS]
        if self._fits_to_rounding(close[0]):
            close = close[:1]
        inner = self.table.rows(~self.held_out)
        problem = ConstantProblem(self.table.variables, inner.X, inner.y, inner.weight)
        found: list[Finding] = []
        seen: set[Expr] = set()
        for finding in close:
            expr, _ = snap_expression(canonical(finding.expr), problem, self._is_late)
            expr = tidied(expr, self.table)
            shape = expr.replace(lambda e: isinstance(e, sympy.Float), lambda e: sympy.Integer(1))
            if shape not in seen:
                seen.add(shape)
                found.append(self._finding(Entry(expr, 0.0, 0.0, finding.found_by)))
        found = sorted(found, key=lambda f: f.score)
        rivals = [f for f in found[1:] if f.score - found[0].score < RIVAL_BITS]
        return found[0], tuple(rivals)

    def _is_late(self) -> bool:
        limit = self.options.max_time
        return limit is not None and self.budget.seconds > limit

    def _fits_to_rounding(self, finding: Finding) -> bool:
        return finding.loss <= (1e-9 * self.contest.spread) ** 2

    def _residuals(self, expr: Expr) -> tuple[np.ndarray, np.ndarray]:
        error = self.table.y - evaluate(expr, self.table.variables, self.table.X)
        return error, error[self.held_out]

    def _finding(self, entry: Entry) -> Finding:
        """An entry judged on all rows, with the constants that the search's rows gave it."""
        error, outside = self._residuals(entry.expr)
        judged = outside if len(outside) else error
        loss = float(np.mean(judged**2))
        variance = float(np.var(self.table.y)) or 1.0
        rmse = float(np.sqrt(np.mean(error**2)))
        if not math.isfinite(rmse):
            return Finding(entry.expr, complexity(entry.expr), math.inf, -math.inf, math.inf)
        n = len(self.table.y)
        relative = max(rmse, self.contest.floor) / self.contest.spread
        score = n * math.log2(relative) + formula_bits(entry.expr, n)
        return Finding(
            entry.expr, complexity(entry.expr), loss, 1 - loss / variance, score, entry.found_by
        )


def _mean(rows: Table) -> Expr:
    return decimal(float(np.average(rows.y, weights=rows.weight)))


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


def _front(findings: list[Finding]) -> tuple[Finding, ...]:
    """Formulas that no simpler one beats, simplest first; the first given is always among them."""
    chosen, front = findings[0], []
    best = math.inf
    for finding in sorted(findings, key=lambda f: (f.complexity, f.loss)):
        if finding is chosen or finding.loss < 0.99 * best:
            front.append(finding)
            best = min(best, finding.loss)
    return tuple(front)
