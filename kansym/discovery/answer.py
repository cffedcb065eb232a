"""From the formulas of a contest to an answer: judged on all rows, snapped, ranked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import sympy

from kansym.discovery.canonical import canonical
from kansym.discovery.contest import Contest, Entry, complexity, evaluate, formula_bits
from kansym.discovery.networks import SplineNetwork
from kansym.discovery.records import Discovery, Finding, Options, Table, Verdict
from kansym.discovery.surrogate import MAX_ROWS
from kansym.discovery.tidy import tidied
from kansym.discovery.verdict import EXACT, judge
from kansym.symbolic.constants import ConstantProblem, decimal
from kansym.symbolic.formula import Expr
from kansym.symbolic.snap import snap_expression

RIVAL_BITS = 10 / math.log(2)  # ten nats
FINALISTS = 8  # formulas that are snapped
WORTH = 10.0  # bits that a formula must save over the mean
BETTER = 0.99  # of the loss of a simpler formula, that one on the front must get below
JUDGING = 4.0  # seconds; with fewer left, surfaces through the residual have half the rows
NO_TERM = 2e-3  # of the F-test that keeps a term: about what its bits are worth
UNKNOWN = 0.5  # relative standard error of a number that the data do not determine


@dataclass(frozen=True)
class Answer:
    """What is needed to answer.

    held_out: rows that the contest did not see, [n]. seconds_left: of the user's time.
    """

    table: Table
    held_out: np.ndarray
    contest: Contest
    options: Options
    seconds_left: Callable[[], float]

    def is_late(self) -> bool:
        return self.seconds_left() <= 0

    def discovery(self, network: SplineNetwork | None, stopped: str) -> Discovery:
        """The answer; of the budget's seconds, those until now are reported."""
        ranking = sorted((self.finding(e) for e in self.contest.ranking), key=lambda f: f.score)
        limit = self.options.max_complexity
        constant = self.finding(self._constant())
        allowed = [
            f for f in ranking if math.isfinite(f.loss) and (limit is None or f.complexity <= limit)
        ] or [constant]
        is_constant = not allowed[0].expr.free_symbols or constant.score - allowed[0].score < WORTH
        chosen, rivals = (constant, ()) if is_constant else self._snapped(allowed)
        residual = self.residual(chosen.expr)
        rows = MAX_ROWS if self.seconds_left() > JUDGING else MAX_ROWS // 2
        verdict, reason = judge(
            self.table.X, self.table.y, residual, residual[self.held_out], chosen, is_constant,
            rivals, self._undetermined(chosen), self.options.seed, rows,
        )  # fmt: skip
        if verdict is not Verdict.EXACT and not is_constant:
            chosen = self._refitted(chosen)
        rmse = float(np.sqrt(np.mean(residual**2)))
        return Discovery(
            findings=_front([chosen, *allowed]),
            chosen=chosen,
            verdict=verdict,
            reason=reason,
            rivals=rivals,
            noise=0.0 if verdict is Verdict.EXACT else rmse,
            splines_rmse=float("nan") if network is None else network.rmse,
            network=None if network is None else network.model,
            n_candidates=self.contest.budget.n_candidates,
            seconds=self.contest.budget.seconds,
            stopped=stopped,
        )

    def finding(self, entry: Entry) -> Finding:
        """An entry judged on all rows, with the constants that the contest's rows gave it."""
        error = self.residual(entry.expr)
        weight = np.ones(len(error)) if self.table.weight is None else self.table.weight
        judged = self.held_out if self.held_out.any() else np.ones(len(error), dtype=bool)
        loss = float(np.average(error[judged] ** 2, weights=weight[judged]))
        mse = float(np.average(error**2, weights=weight))
        size = complexity(entry.expr)
        if not math.isfinite(mse):
            return Finding(entry.expr, size, math.inf, -math.inf, math.inf, entry.found_by)
        n = len(error)
        relative = max(math.sqrt(mse), self.contest.floor) / self.contest.spread
        score = n * math.log2(relative) + formula_bits(entry.expr, n)
        variance = float(np.var(self.table.y)) or 1.0
        return Finding(entry.expr, size, loss, 1 - loss / variance, score, entry.found_by)

    def residual(self, expr: Expr) -> np.ndarray:
        """y less the formula, at every row."""
        return self.table.y - evaluate(expr, self.table.variables, self.table.X)

    def _constant(self) -> Entry:
        expr = mean_of(self.table.rows(~self.held_out))
        return Entry(expr, self.contest.spread, 0.0, "constant")

    def _snapped(self, ranking: Sequence[Finding]) -> tuple[Finding, tuple[Finding, ...]]:
        """The best formula with its constants snapped, and those that come close to it."""
        close = [f for f in ranking if f.score - ranking[0].score < RIVAL_BITS][:FINALISTS]
        if close[0].loss <= (EXACT * self.contest.spread) ** 2:
            close = close[:1]  # a law that holds to rounding needs no rival
        problem = self._problem(self.table.rows(~self.held_out))
        found: dict[Expr, Finding] = {}
        for finding in close:
            expr, _ = snap_expression(
                canonical(finding.expr), problem, self.is_late, zero_significance=NO_TERM
            )
            expr = expr if self.is_late() else tidied(expr, self.table)
            if not self.contest.accepts(expr):
                expr = finding.expr
            snapped = self.finding(Entry(expr, 0.0, 0.0, finding.found_by))
            found.setdefault(_shape(snapped.expr), snapped)
        best, *others = sorted(found.values(), key=lambda f: f.score)
        return best, tuple(f for f in others if f.score - best.score < RIVAL_BITS)

    def _refitted(self, finding: Finding) -> Finding:
        """Its constants fitted to all rows; what was measured on held-out rows stays."""
        fit = self._problem(self.table).fit_expression(finding.expr)
        return finding if fit is None else replace(finding, expr=fit.expr)

    def _undetermined(self, finding: Finding) -> int:
        """How many of its numbers have a standard error as large as themselves, or nearly so."""
        fit = self._problem(self.table).fit_expression(finding.expr)
        if fit is None:
            return 0
        return int(np.sum(fit.errors > UNKNOWN * np.abs(fit.values)))

    def _problem(self, rows: Table) -> ConstantProblem:
        return ConstantProblem(rows.variables, rows.X, rows.y, rows.weight)


def mean_of(rows: Table) -> Expr:
    """The mean of y as a formula."""
    return decimal(float(np.average(rows.y, weights=rows.weight)))


def _shape(expr: Expr) -> Expr:
    """The formula without its fitted numbers."""
    return expr.replace(lambda e: isinstance(e, sympy.Float), lambda e: sympy.Integer(1))


def _front(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Formulas that no simpler one beats, simplest first; the first given is always among them."""
    chosen, front = findings[0], []
    best = math.inf
    for finding in sorted(findings, key=lambda f: (f.complexity, f.loss)):
        if finding is chosen or finding.loss < BETTER * best:
            front.append(finding)
            best = min(best, finding.loss)
    return tuple(front)
