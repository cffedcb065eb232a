"""Formulas fitted to the same rows, ranked by the bits it takes to write down what they say.

    score = n/2 log2 (mean squared error / variance of y) + bits of the formula      (lower wins)

A decimal costs what its precision is worth, 1/2 log2 n (Rissanen 1983); every operator, function
and variable a few bits. An error below the noise that y is known to have counts as the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy
from sympy import Symbol

from kansym.discovery.budget import Budget
from kansym.discovery.weights import rms, spread
from kansym.symbolic.constants import ConstantFit, ConstantProblem
from kansym.symbolic.formula import Expr, is_real

NODE_BITS = 3.0
EXACT = 1e-10  # of y's spread: an RMSE below it is rounding
MAX_NODES = 250  # larger expressions are not formulas
DIGITS = 7  # of a fingerprint, in units of y's spread


def complexity(expr: Expr) -> int:
    """Number of nodes of the expression tree."""
    return sum(1 for _ in sympy.preorder_traversal(expr))


def formula_bits(expr: Expr, n: int) -> float:
    """Bits to write down the expression, its decimals as precise as n rows can tell."""
    total = 0.0
    for node in sympy.preorder_traversal(expr):
        if isinstance(node, sympy.Float):
            total += 0.5 * math.log2(max(n, 4)) + NODE_BITS
        elif isinstance(node, sympy.Rational):
            total += 1 + math.log2(1 + abs(int(node.p))) + math.log2(int(node.q))
        else:
            total += NODE_BITS
    return total


@dataclass(frozen=True)
class Entry:
    """A formula with its constants fitted. rmse: in units of y."""

    expr: Expr
    rmse: float
    score: float
    found_by: str


class Contest:
    """The formulas tried on some rows so far.

    noise: standard deviation of y's error, as far as it is known. A formula whose RMSE is no
    larger, or rounding, `reaches` the data. accepts: a rule that every formula must pass.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        variables: tuple[Symbol, ...],
        noise: float = 0.0,
        weight: np.ndarray | None = None,
        budget: Budget | None = None,
        accepts: Callable[[Expr], bool] = lambda expr: True,
    ):
        self.budget, self.accepts = budget or Budget(), accepts
        self.X, self.y, self.variables, self.weight = X, y, variables, weight
        self.problem = ConstantProblem(variables, X, y, weight)
        self.spread = spread(y, weight) or abs(float(y[0])) or 1.0
        self.noise = noise
        self.entries: dict[bytes, Entry] = {}
        self.judged: dict[Expr, bool] = {}  # whether what a formula leaves is noise

    @property
    def floor(self) -> float:
        """RMSE below which two formulas fit equally well."""
        size = rms(self.y, self.weight)
        return max(self.noise, EXACT * self.spread, 1e-13 * size)

    def enter(
        self, expr: Expr, found_by: str, max_evaluations: int = 60, late: bool = False
    ) -> Entry | None:
        """Fit the constants and rank the formula; None when it is not finite on the rows, or when
        the budget is spent. late: also then, for what was found before."""
        if (self.budget.is_over and not late) or not is_real(expr) or complexity(expr) > MAX_NODES:
            return None
        self.budget.n_candidates += 1
        try:
            fit = self.problem.fit_expression(expr, max_evaluations)
        except (TypeError, ValueError, NameError, OverflowError, ZeroDivisionError):
            return None  # no NumPy form, or a constant beyond floating point
        if fit is None or not np.isfinite(fit.sse):
            return None
        if not self.accepts(fit.expr):
            return None
        rmse = math.sqrt(fit.sse / len(self.y))
        entry = Entry(fit.expr, rmse, self.score(fit.expr, rmse), found_by)
        key = self._fingerprint(fit)
        old = self.entries.get(key)
        if old is None or entry.score < old.score:
            self.entries[key] = entry
        return entry

    def score(self, expr: Expr, rmse: float) -> float:
        n = len(self.y)
        relative = math.hypot(rmse, self.floor) / self.spread
        return n * math.log2(max(relative, 1e-300)) + formula_bits(expr, n)

    def _fingerprint(self, fit: ConstantFit) -> bytes:
        """The same for formulas that are the same function on these rows, to a few digits."""
        rows = np.linspace(0, len(self.y) - 1, min(len(self.y), 16)).astype(int)
        values = self.problem.values(fit)[rows] / self.spread
        return np.round(values, DIGITS).tobytes()

    @property
    def ranking(self) -> list[Entry]:
        """Best first."""
        return sorted(self.entries.values(), key=lambda entry: entry.score)

    @property
    def best(self) -> Entry | None:
        return min(self.entries.values(), key=lambda entry: entry.score, default=None)

    def reaches(self, entry: Entry | None, slack: float = 1.0) -> bool:
        """Whether what the formula leaves is no more than noise or rounding."""
        return entry is not None and entry.rmse <= slack * self.floor * 1.05


def evaluate(expr: Expr, variables: tuple[Symbol, ...], X: np.ndarray) -> np.ndarray:
    """Values at rows X [n, variables]; NaN where the expression is not real."""
    compiled = sympy.lambdify(variables, expr, modules=["scipy", "numpy"], cse=True)
    with np.errstate(all="ignore"):
        values = np.asarray(compiled(*X.T))
    values = np.where(np.imag(values) == 0, np.real(values), np.nan)
    return np.broadcast_to(values.astype(float), (len(X),))
