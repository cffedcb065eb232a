"""Snapping: decimal constants of a formula that are really 3, 1/2, pi, e, ...

The decimals of an expression are freed and refitted to the data, which gives each a standard error.
The best known goes first: exact numbers within its error are tried, simplest first, and one is kept
when a refit of all the others bears it out (F-test) and when a number of that simplicity would
hardly lie so close by chance. How rich the list of exact numbers may be therefore follows from how
well the data determine the constant: a long list meets a third of all random constants at a
relative precision of 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sympy
from sympy import Symbol

from kansym.symbolic.constants import ConstantFit, ConstantProblem, NamedConstant
from kansym.symbolic.formula import Expr, Formula, is_real

WINDOW = 3.3  # standard errors within which an exact number is tried; the F-test allows no more
CHANCE = 0.01  # largest accepted probability that a random constant would snap
CHANCE_OF_WHOLE = 0.1  # the same for integers and halves, which true constants often are
RESOLUTION = 1e-10  # relative; no constant is taken to be better known than this
SIGNIFICANCE = 1e-3  # of the F-test that refuses a snap
ZERO_SIGNIFICANCE = 0.02  # a term is left out only when it is hardly noticed


@dataclass(frozen=True)
class _Exact:
    value: float
    form: Any
    level: int


def snap_formula(
    formula: Formula, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None
) -> Formula:
    """The formula with constants replaced where the data bear it out; the rest refitted.

    X: [n, inputs], y: [n, outputs], the data the formula was found on; weight: [n], how much each
    row counts. Every output is treated on its own. `Formula.snapped` lists what was replaced.
    """
    exprs, snapped = [], list(formula.snapped)
    for o, expr in enumerate(formula.exprs):
        new, found = snap_expression(expr, ConstantProblem(formula.variables, X, y[:, o], weight))
        exprs.append(new)
        snapped += found
    return formula._with(exprs, snapped)


def snap_expression(
    expr: Expr,
    data: ConstantProblem,
    is_late: Callable[[], bool] = lambda: False,
    known: Sequence[NamedConstant] = (),
    zero_significance: float = ZERO_SIGNIFICANCE,
) -> tuple[Expr, list[tuple[float, Expr]]]:
    """One expression with its constants snapped, and (value, exact number) of each.

    is_late: asked before each; where it says so, what is done by then is returned.
    known: constants of the user's own, tried in the place of the usual exact numbers.
    zero_significance: of the F-test that keeps a term: the larger, the more terms stay.
    """
    levels = _multiples(tuple(known)) if known else _levels()
    if not is_real(expr):
        return expr, []
    fit = data.fit_expression(expr)
    if fit is None or not fit.template.free:
        return expr, []
    snapped: list[tuple[float, Expr]] = []
    refused: set[Symbol] = set()
    first = fit
    while not is_late() and (n := _best_known(fit, refused)) is not None:
        parameter, value = fit.template.free[n], float(fit.values[n])
        better = _try_exact(fit, n, data, first, levels, zero_significance)
        if better is None:
            refused.add(parameter)
        else:
            fit, exact = better
            snapped.append((value, exact.form))
            refused.clear()  # with one constant less the others are better known
    return fit.expr, snapped


def _best_known(fit: ConstantFit, refused: set[Symbol]) -> int | None:
    """Index of the parameter to try next. Constants that may be zero come first: a term that
    vanishes makes every other constant better known."""
    left = [n for n, p in enumerate(fit.template.free) if p not in refused]
    if not left:
        return None
    return min(left, key=lambda n: (not _may_be_zero(fit, n), _relative_error(fit, n)))


def _relative_error(fit: ConstantFit, n: int) -> float:
    return fit.errors[n] / max(abs(fit.values[n]), 1e-300)


def _may_be_zero(fit: ConstantFit, n: int) -> bool:
    return abs(fit.values[n]) <= WINDOW * fit.errors[n]


def _try_exact(
    fit: ConstantFit,
    n: int,
    data: ConstantProblem,
    first: ConstantFit | None = None,
    levels: Sequence[Sequence[_Exact]] | None = None,
    zero_significance: float = ZERO_SIGNIFICANCE,
) -> tuple[ConstantFit, _Exact] | None:
    """The first exact number near parameter n that a refit of the others bears out, against `fit`
    and against the `first` fit: many small steps must not add up to a large one."""
    parameter, value = fit.template.free[n], float(fit.values[n])
    values = dict(zip(fit.template.free, fit.values, strict=True))
    window = max(WINDOW * float(fit.errors[n]), RESOLUTION * abs(value))
    for exact in candidates(value, window, levels):
        template = data.replace(fit.template, parameter, exact.form, exact.value)
        if not is_real(template.expr):
            continue
        trial = data.fit(template, np.array([values[p] for p in template.free]))
        significance = zero_significance if exact.value == 0 else SIGNIFICANCE
        references = [fit] if first is None else [fit, first]
        if trial is not None and all(data.bears_out(r, trial, significance) for r in references):
            return trial, exact
    return None


def candidates(
    value: float, window: float, levels: Sequence[Sequence[_Exact]] | None = None
) -> Iterator[_Exact]:
    """Exact numbers within `window` of `value`, simplest first, as far as chance allows.

    A level of the list is used only while the numbers of that level and those before it cover less
    than `CHANCE` of the neighbourhood of the value. 0 is always allowed: it is a term left out.
    """
    if abs(value) <= window:
        yield _Exact(0.0, sympy.Integer(0), 0)
    size = abs(value)
    sign = 1 if value > 0 else -1
    neighbours = 0
    for level in _levels() if levels is None else levels:
        neighbours += sum(0.5 * size <= exact.value <= 2 * size for exact in level)
        covered = neighbours * 2 * window / max(1.5 * size, 1e-300)
        if covered > (CHANCE_OF_WHOLE if level[0].level == 1 else CHANCE):
            return
        near = [exact for exact in level if abs(exact.value - size) <= window]
        for exact in sorted(near, key=lambda exact: abs(exact.value - size)):
            yield _Exact(sign * exact.value, sign * exact.form, exact.level)


@lru_cache(maxsize=1)
def _levels() -> tuple[list[_Exact], ...]:
    """Exact positive numbers, simplest level first; each level repeats none of those before."""
    rational, pi, e, root = sympy.Rational, sympy.pi, sympy.E, sympy.sqrt
    whole = [sympy.Integer(n) for n in (*range(1, 21), 24, 25, 30, 32, 50, 60, 64, 100, 1000)]
    halves = [rational(n, 2) for n in range(1, 20, 2)]
    famous = [pi, 2 * pi, pi / 2, pi / 4, 1 / pi, e, 1 / e, root(2), 1 / root(2), root(3)]
    thirds = [rational(p, q) for q in (3, 4) for p in range(1, 2 * q)]
    fractions = [rational(p, q) for q in (5, 6, 8, 10) for p in range(1, 3 * q)]
    simple = [3 * pi, 4 * pi, pi / 3, pi / 6, 1 / (2 * pi), root(5), root(pi), root(2 * pi)]
    roots = [root(n) * m for n in (2, 3, 5, pi, 2 * pi) for m in (1, rational(1, 2))]
    roots += [1 / root(n) for n in (2, 3, 5, pi, 2 * pi)]
    fine = [rational(p, q) for q in (7, 9, 12, 15, 16, 20, 25, 100) for p in range(1, q)]
    circle = [rational(p, q) * pi for q in (1, 2, 3, 4, 6, 8) for p in range(1, 13)]
    circle += [1 / (n * pi) for n in (2, 3, 4, 6, 8)] + [pi**2, e**2, 1 / pi**2, sympy.exp(-2)]
    logs = [sympy.log(n) for n in (2, 3, 5, 10)] + [1 / sympy.log(n) for n in (2, 10)]
    seen: set[float] = set()
    levels = []
    groups = [whole + halves, famous + thirds, fractions + simple, roots + fine, circle + logs]
    for number, group in enumerate(groups, 1):
        level = []
        for form in group:
            key = round(float(form), 12)
            if key not in seen:
                seen.add(key)
                level.append(_Exact(float(form), form, number))
        levels.append(level)
    return tuple(levels)


def _multiples(known: tuple[NamedConstant, ...]) -> tuple[list[_Exact], ...]:
    """Constants of the user's own with simple factors: as they are, then multiples of their powers.

    Positive as `_levels` are: for a constant below zero its opposite.
    """
    rational, pi = sympy.Rational, sympy.pi
    plain = [sympy.Integer(1), sympy.Integer(2), rational(1, 2)]
    factors = [*plain, sympy.Integer(3), sympy.Integer(4), rational(1, 3), rational(2, 3)]
    factors += [rational(3, 2), rational(1, 4), rational(3, 4), pi, 2 * pi, 4 * pi]
    factors += [1 / pi, 1 / (2 * pi), 1 / (4 * pi)]
    powers = [sympy.Integer(p) for p in (-1, 2, -2)] + [rational(1, 2), rational(-1, 2)]
    sizes = [c if c.value > 0 else -c for c in known if c.value]
    first = [f * c for c in sizes for f in plain]
    then = [f * c**p for c in sizes for p in [sympy.Integer(1), *powers] for f in factors]
    return tuple(
        [_Exact(float(form), form, number) for form in group if form not in first or number == 1]
        for number, group in enumerate((first, then), 1)
    )
