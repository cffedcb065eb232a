"""Formulas of log-odds: their constants fitted to labels, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from sympy import Symbol

from kansym.estimator.likelihood import Labels, maximise, row_losses
from kansym.estimator.logits import splits
from kansym.symbolic.constants import decimal, parametrise
from kansym.symbolic.formula import Expr, is_real


@dataclass(frozen=True)
class LogOdds:
    """An expression with every coefficient of its sum, and every decimal, as a parameter.

    compiled(*columns, *parameters) gives its value and its slope in every parameter.
    """

    expr: Expr
    parameters: tuple[Symbol, ...]
    start: np.ndarray
    compiled: Callable[..., list[Any]]

    def with_values(self, values: np.ndarray) -> Expr:
        """The expression with numbers in the places of its parameters."""
        pairs = zip(self.parameters, values, strict=True)
        return self.expr.xreplace({p: decimal(v) for p, v in pairs})


def log_odds(expr: Expr, variables: Sequence[Symbol]) -> LogOdds:
    """An expression made free: b + sum a_t term_t. What the search took for exact was exact for
    splines, and need not be for labels."""
    parameters = [sympy.Dummy("b", real=True)]
    start, total = [0.0], parameters[0]
    for term in sympy.Add.make_args(expr):
        factor, rest = term.as_coeff_Mul()
        if rest == 1:
            start[0] += float(factor)
            continue
        inner, inner_parameters, values = parametrise(rest)
        slope = sympy.Dummy("a", real=True)
        total = total + slope * inner
        parameters += [slope, *inner_parameters]
        start += [float(factor), *values.tolist()]
    forms = [total, *(_slope(total, p) for p in parameters)]
    compiled = sympy.lambdify(
        [*variables, *parameters], forms, modules=["scipy", "numpy"], cse=True
    )
    return LogOdds(total, tuple(parameters), np.array(start), compiled)


def _slope(expr: Expr, parameter: Symbol) -> Expr:
    """Of a step the slope is 0: its place cannot be learned from it."""
    return sympy.diff(expr, parameter).replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))


class LabelProblem:
    """The labelled rows that log-odds must fit, and the parts they are judged by.

    X: [n, variables]. folds: number of the part that each row belongs to, [n].
    """

    def __init__(
        self, variables: Sequence[Symbol], X: np.ndarray, labels: Labels, folds: np.ndarray
    ):
        self.variables, self.X, self.labels, self.folds = variables, X, labels, folds
        self._known: dict[Expr, LogOdds | None] = {}

    def free(self, expr: Expr) -> LogOdds | None:
        """`log_odds`, worked out once; None for an expression that is not real."""
        if expr not in self._known:
            self._known[expr] = log_odds(expr, self.variables) if is_real(expr) else None
        return self._known[expr]

    def held_out(self, exprs: Sequence[Expr]) -> np.ndarray:
        """- log P(own class) of rows that the constants were not fitted to, [n]; infinite where
        the expressions cannot be fitted or are not finite."""
        losses = np.full(len(self.X), np.inf)
        for fitted, judged in splits(self.folds):
            values = self._fit(exprs, fitted)
            if values is None:
                return np.full(len(self.X), np.inf)
            forms = [self.free(expr) for expr in exprs]
            logits, _ = _evaluate(forms, self.X[judged], values)
            losses[judged] = row_losses(logits, self.labels.rows(judged))
        return losses

    def fit(self, exprs: Sequence[Expr]) -> list[Expr] | None:
        """The expressions, one per class but the first, with constants of highest likelihood."""
        values = self._fit(exprs, np.ones(len(self.X), dtype=bool))
        if values is None:
            return None
        forms = [self.free(expr) for expr in exprs]
        parts = np.split(values, np.cumsum([len(f.parameters) for f in forms if f])[:-1])
        return [f.with_values(part) for f, part in zip(forms, parts, strict=True) if f]

    def _fit(self, exprs: Sequence[Expr], rows: np.ndarray) -> np.ndarray | None:
        forms = [self.free(expr) for expr in exprs]
        if any(form is None for form in forms):
            return None
        start = np.concatenate([form.start for form in forms if form])
        X, labels = self.X[rows], self.labels.rows(rows)
        fitted = maximise(lambda theta: _evaluate(forms, X, theta), start, labels)
        return None if fitted is None else fitted.theta


def _evaluate(
    forms: Sequence[LogOdds | None], X: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds [n, forms] and their slopes [n, forms, p]."""
    n, at = len(X), 0
    logits = np.empty((n, len(forms)))
    slopes = np.zeros((n, len(forms), len(theta)))
    for f, form in enumerate(forms):
        assert form is not None
        count = len(form.parameters)
        with np.errstate(all="ignore"):
            rows = form.compiled(*X.T, *theta[at : at + count])
        logits[:, f] = rows[0]
        for p, row in enumerate(rows[1:]):
            slopes[:, f, at + p] = row
        at += count
    return logits, slopes
