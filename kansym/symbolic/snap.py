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
from scipy import optimize, stats
from sympy import Float, Symbol

from kansym.symbolic.formula import Expr, Formula, is_real

WINDOW = 3.3  # standard errors within which an exact number is tried; the F-test allows no more
CHANCE = 0.01  # largest accepted probability that a random constant would snap
CHANCE_OF_WHOLE = 0.1  # the same for integers and halves, which true constants often are
RESOLUTION = 1e-10  # relative; no constant is taken to be better known than this
SIGNIFICANCE = 1e-3  # of the F-test that refuses a snap
ZERO_SIGNIFICANCE = 0.02  # a term is left out only when it is hardly noticed
ROUNDING = 1e-12  # residuals this small beside y are rounding, not misfit


@dataclass(frozen=True)
class _Exact:
    value: float
    form: Any
    level: int


@dataclass(frozen=True)
class _Template:
    """An expression in the variables and in free parameters.

    compiled(*columns, *values of slots) gives its value and its slope in every slot. A slot that is
    not free is `known`: an exact number in `expr`, so that nothing is compiled anew for it.
    """

    expr: Expr
    free: tuple[Symbol, ...]
    slots: tuple[Symbol, ...]
    compiled: Callable[..., list[Any]]
    known: dict[Symbol, float]


@dataclass(frozen=True)
class _Fit:
    """A template, and the values of its free parameters that fit best."""

    template: _Template
    values: np.ndarray
    errors: np.ndarray
    sse: float


def snap_formula(formula: Formula, X: np.ndarray, y: np.ndarray) -> Formula:
    """The formula with constants replaced where the data bear it out; the rest refitted.

    X: [n, inputs], y: [n, outputs], the data the formula was found on. Every output is treated on
    its own. `Formula.snapped` lists what was replaced.
    """
    exprs, snapped = [], list(formula.snapped)
    for o, expr in enumerate(formula.exprs):
        new, found = _snap(expr, formula.variables, X, y[:, o])
        exprs.append(new)
        snapped += found
    return formula._with(exprs, snapped)


def _snap(
    expr: Expr, variables: Sequence[Symbol], X: np.ndarray, y: np.ndarray
) -> tuple[Expr, list[tuple[float, Expr]]]:
    if not is_real(expr):
        return expr, []
    template, parameters, start = parametrise(expr)
    data = _Data(variables, X, y)
    fit = data.fit(data.compile(template, parameters), start)
    if fit is None or not parameters:
        return expr, []
    snapped: list[tuple[float, Expr]] = []
    refused: set[Symbol] = set()
    first = fit
    while (n := _best_known(fit, refused)) is not None:
        parameter, value = fit.template.free[n], float(fit.values[n])
        better = _try_exact(fit, n, data, first)
        if better is None:
            refused.add(parameter)
        else:
            fit, exact = better
            snapped.append((value, exact.form))
            refused.clear()  # with one constant less the others are better known
    decimals = {p: _float(v) for p, v in zip(fit.template.free, fit.values, strict=True)}
    return fit.template.expr.xreplace(decimals), snapped


def parametrise(expr: Expr) -> tuple[Expr, list[Symbol], np.ndarray]:
    """The expression with every decimal, occurrence by occurrence, replaced by a parameter."""
    parameters: list[Symbol] = []
    values: list[float] = []

    def walk(node: Any) -> Any:
        if isinstance(node, Float):
            parameters.append(sympy.Dummy(f"p{len(parameters)}", real=True))
            values.append(float(node))
            return parameters[-1]
        if not node.args or not node.has(Float):
            return node
        return node.func(*(walk(arg) for arg in node.args))

    return walk(expr), parameters, np.array(values)


def _float(value: float) -> Any:
    return Float(value, 17)


def _best_known(fit: _Fit, refused: set[Symbol]) -> int | None:
    """Index of the parameter to try next. Constants that may be zero come first: a term that
    vanishes makes every other constant better known."""
    left = [n for n, p in enumerate(fit.template.free) if p not in refused]
    if not left:
        return None
    return min(left, key=lambda n: (not _may_be_zero(fit, n), _relative_error(fit, n)))


def _relative_error(fit: _Fit, n: int) -> float:
    return fit.errors[n] / max(abs(fit.values[n]), 1e-300)


def _may_be_zero(fit: _Fit, n: int) -> bool:
    return abs(fit.values[n]) <= WINDOW * fit.errors[n]


class _Data:
    """The rows a formula must fit."""

    def __init__(self, variables: Sequence[Symbol], X: np.ndarray, y: np.ndarray):
        self.variables, self.columns, self.y = list(variables), list(X.T), y
        self.floor = len(y) * (ROUNDING * np.sqrt(np.mean(y**2))) ** 2

    def compile(self, expr: Expr, parameters: Sequence[Symbol]) -> _Template:
        forms = [expr, *(sympy.diff(expr, p) for p in parameters)]
        arguments = [*self.variables, *parameters]
        compiled = sympy.lambdify(arguments, forms, modules=["scipy", "numpy"], cse=True)
        return _Template(expr, tuple(parameters), tuple(parameters), compiled, {})

    def replace(self, template: _Template, parameter: Symbol, exact: _Exact) -> _Template:
        expr = template.expr.xreplace({parameter: exact.form})
        free = tuple(p for p in template.free if p != parameter and expr.has(p))
        if len(free) < len(template.free) - 1:  # a vanished term takes others along
            return self.compile(expr, free)
        known = template.known | {parameter: exact.value}
        return _Template(expr, free, template.slots, template.compiled, known)

    def fit(self, template: _Template, start: np.ndarray) -> _Fit | None:
        """Least squares from `start`; None when the template is not finite on the data."""
        residual, slopes = self._functions(template)
        if not np.isfinite(residual(start)).all():
            return None
        if not template.free:
            return _Fit(template, start, start, float(np.sum(residual(start) ** 2)))
        result = optimize.least_squares(
            lambda p: np.nan_to_num(residual(p), nan=1e150, posinf=1e150, neginf=-1e150),
            start,
            slopes,  # pyright: ignore[reportArgumentType]
            method="lm" if len(self.y) >= len(start) else "trf",
            x_scale="jac",
            ftol=1e-15,
            xtol=1e-15,
            gtol=1e-15,
            max_nfev=200,
        )
        J = slopes(result.x)
        sse = float(np.sum(residual(result.x) ** 2))
        variance = max(sse, self.floor) / max(1, len(self.y) - len(start))
        errors = np.sqrt(variance * np.abs(_inverse_diagonal(J)))
        return _Fit(template, result.x, errors, sse)

    def _functions(self, template: _Template) -> tuple[Callable, Callable]:
        """Residuals and their slopes as functions of the free parameters."""
        place = [template.slots.index(p) for p in template.free]
        values = np.array([template.known.get(p, np.nan) for p in template.slots])

        def evaluate(p: np.ndarray) -> list[np.ndarray]:
            values[place] = p
            with np.errstate(all="ignore"):
                rows = template.compiled(*self.columns, *values)
            return [np.broadcast_to(row, self.y.shape) for row in rows]

        def residual(p: np.ndarray) -> np.ndarray:
            return evaluate(p)[0] - self.y

        def slopes(p: np.ndarray) -> np.ndarray:
            rows = evaluate(p)
            J = np.stack([rows[1 + n] for n in place], 1)
            return np.nan_to_num(J.astype(float), nan=0.0, posinf=1e150, neginf=-1e150)

        return residual, slopes

    def bears_out(self, free: _Fit, snapped: _Fit, significance: float) -> bool:
        """F-test of the parameters that `snapped` has less; misfit at rounding level passes."""
        if snapped.sse <= 10 * self.floor:
            return True
        freedom = len(self.y) - len(free.template.free)
        if freedom < 1 or free.sse <= 0:
            return False
        fewer = max(1, len(free.template.free) - len(snapped.template.free))
        ratio = (snapped.sse - free.sse) / fewer / (max(free.sse, self.floor) / freedom)
        return bool(ratio <= stats.f.isf(significance, fewer, freedom))


def _inverse_diagonal(J: np.ndarray) -> np.ndarray:
    """Diagonal of (J'J)^-1; huge for parameters that the data do not determine."""
    size = np.linalg.norm(J, axis=0)
    scale = np.where(size > 0, size, 1.0)
    _, singular, rows = np.linalg.svd(J / scale, full_matrices=False)
    inverse = 1 / np.maximum(singular, 1e-13 * singular.max(initial=1e-300))
    return ((rows.T * inverse) ** 2).sum(1) / scale**2


def _try_exact(
    fit: _Fit, n: int, data: _Data, first: _Fit | None = None
) -> tuple[_Fit, _Exact] | None:
    """The first exact number near parameter n that a refit of the others bears out, against `fit`
    and against the `first` fit: many small steps must not add up to a large one."""
    parameter, value = fit.template.free[n], float(fit.values[n])
    values = dict(zip(fit.template.free, fit.values, strict=True))
    window = max(WINDOW * float(fit.errors[n]), RESOLUTION * abs(value))
    for exact in candidates(value, window):
        template = data.replace(fit.template, parameter, exact)
        if not is_real(template.expr):
            continue
        trial = data.fit(template, np.array([values[p] for p in template.free]))
        significance = ZERO_SIGNIFICANCE if exact.value == 0 else SIGNIFICANCE
        references = [fit] if first is None else [fit, first]
        if trial is not None and all(data.bears_out(r, trial, significance) for r in references):
            return trial, exact
    return None


def candidates(value: float, window: float) -> Iterator[_Exact]:
    """Exact numbers within `window` of `value`, simplest first, as far as chance allows.

    A level of the list is used only while the numbers of that level and those before it cover less
    than `CHANCE` of the neighbourhood of the value. 0 is always allowed: it is a term left out.
    """
    if abs(value) <= window:
        yield _Exact(0.0, sympy.Integer(0), 0)
    size = abs(value)
    sign = 1 if value > 0 else -1
    neighbours = 0
    for level in _levels():
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
