"""The decimal constants of an expression as parameters that least squares fits to data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from scipy import optimize, stats
from sympy import Float, Symbol

from kansym.symbolic.formula import Expr
from kansym.symbolic.names import latex_name

ROUNDING = 1e-12  # residuals this small beside y are rounding, not misfit
BEYOND = 1e150  # stands for a residual that is not finite


class NamedConstant(sympy.NumberSymbol):
    """A number that has a name, as pi has: printed by its name, counted with its value."""

    name: str
    value: float

    def __new__(cls, name: str, value: float) -> NamedConstant:
        self = super().__new__(cls)
        self.name, self.value = name, float(value)
        return self

    def __getnewargs__(self) -> Any:
        return self.name, self.value

    def _hashable_content(self) -> Any:
        return self.name, self.value

    # SymPy's number symbols are one of a kind and compare by identity.
    def __eq__(self, other: object) -> bool:
        is_same = isinstance(other, NamedConstant)
        return is_same and (self.name, self.value) == (other.name, other.value)

    def __hash__(self) -> int:
        return hash((NamedConstant, self.name, self.value))

    def _as_mpf_val(self, prec: int) -> Any:
        return decimal(self.value)._as_mpf_val(prec)

    def _eval_is_positive(self) -> bool:
        return self.value > 0

    def _eval_is_negative(self) -> bool:
        return self.value < 0

    def _sympystr(self, _: Any) -> str:
        return self.name

    def _latex(self, _: Any) -> str:
        return latex_name(self.name)

    def _numpycode(self, _: Any) -> str:
        return repr(self.value)

    _sympyrepr, _pythoncode = _sympystr, _numpycode


@dataclass(frozen=True)
class Template:
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
class ConstantFit:
    """A template, and the values of its free parameters that fit best, with standard errors.

    sse: the (weighted) sum of squared residuals.
    """

    template: Template
    values: np.ndarray
    errors: np.ndarray
    sse: float

    @property
    def expr(self) -> Expr:
        """The expression with the fitted values in their places."""
        pairs = zip(self.template.free, self.values, strict=True)
        return self.template.expr.xreplace({p: decimal(v) for p, v in pairs})


def decimal(value: float) -> Any:
    """A Float with every digit of a float64."""
    return Float(value, 17)


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


class ConstantProblem:
    """The rows that the constants of an expression must fit.

    X: [n, variables]. y: [n]. weight: [n], how much each row counts; only ratios matter.
    """

    def __init__(
        self,
        variables: Sequence[Symbol],
        X: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray | None = None,
    ):
        self.variables, self.columns, self.y = list(variables), list(X.T), y
        self.root_weight = None if weight is None else np.sqrt(weight / weight.mean())
        with np.errstate(over="ignore"):
            self.floor = len(y) * (ROUNDING * np.sqrt(np.mean(y**2))) ** 2

    def compile(self, expr: Expr, parameters: Sequence[Symbol]) -> Template:
        forms = [expr, *(sympy.diff(expr, p) for p in parameters)]
        arguments = [*self.variables, *parameters]
        compiled = sympy.lambdify(arguments, forms, modules=["scipy", "numpy"], cse=True)
        return Template(expr, tuple(parameters), tuple(parameters), compiled, {})

    def replace(self, template: Template, parameter: Symbol, form: Expr, value: float) -> Template:
        """The template with one parameter replaced by the exact number `form`."""
        expr = template.expr.xreplace({parameter: form})
        free = tuple(p for p in template.free if p != parameter and expr.has(p))
        if len(free) < len(template.free) - 1:  # a vanished term takes others along
            return self.compile(expr, free)
        return Template(
            expr, free, template.slots, template.compiled, template.known | {parameter: value}
        )

    @np.errstate(all="ignore")  # a step may go where nothing is finite; the solver takes it back
    def fit(
        self, template: Template, start: np.ndarray, max_evaluations: int = 200
    ) -> ConstantFit | None:
        """Least squares from `start`; None when the template is not finite on the data there, or
        where the solver ends."""
        residual, slopes = self._functions(template)
        if not np.isfinite(residual(start)).all():
            return None
        if not template.free:
            return ConstantFit(template, start, start, float(np.sum(residual(start) ** 2)))
        result = optimize.least_squares(
            lambda p: np.nan_to_num(residual(p), nan=BEYOND, posinf=BEYOND, neginf=-BEYOND),
            start,
            slopes,  # pyright: ignore[reportArgumentType]
            method="lm" if len(self.y) >= len(start) else "trf",
            x_scale="jac",
            ftol=1e-15,
            xtol=1e-15,
            gtol=1e-15,
            max_nfev=max_evaluations,
        )
        J = slopes(result.x)
        sse = float(np.sum(residual(result.x) ** 2))
        if not np.isfinite(sse):
            return None
        variance = max(sse, self.floor) / max(1, len(self.y) - len(start))
        errors = np.sqrt(variance * np.abs(_inverse_diagonal(J)))
        return ConstantFit(template, result.x, errors, sse)

    def fit_expression(self, expr: Expr, max_evaluations: int = 200) -> ConstantFit | None:
        """`fit` of every decimal of an expression, from the values that stand there."""
        template, parameters, start = parametrise(expr)
        return self.fit(self.compile(template, parameters), start, max_evaluations)

    def values(self, fit: ConstantFit) -> np.ndarray:
        """What the fitted expression is at the rows, [n]."""
        known = fit.template.known | dict(zip(fit.template.free, fit.values, strict=True))
        with np.errstate(all="ignore"):
            rows = fit.template.compiled(*self.columns, *(known[p] for p in fit.template.slots))
        return np.broadcast_to(np.asarray(rows[0], dtype=float), self.y.shape)

    def _functions(self, template: Template) -> tuple[Callable, Callable]:
        """Residuals and their slopes as functions of the free parameters."""
        place = [template.slots.index(p) for p in template.free]
        values = np.array([template.known.get(p, np.nan) for p in template.slots])

        def evaluate(p: np.ndarray) -> list[np.ndarray]:
            values[place] = p
            with np.errstate(all="ignore"):
                rows = template.compiled(*self.columns, *values)
            return [np.broadcast_to(row, self.y.shape) for row in rows]

        def weighted(values: np.ndarray) -> np.ndarray:
            return values if self.root_weight is None else (values.T * self.root_weight).T

        def residual(p: np.ndarray) -> np.ndarray:
            return weighted(evaluate(p)[0] - self.y)

        def slopes(p: np.ndarray) -> np.ndarray:
            rows = evaluate(p)
            J = np.stack([rows[1 + n] for n in place], 1).astype(float)
            return weighted(np.nan_to_num(J, nan=0.0, posinf=BEYOND, neginf=-BEYOND))

        return residual, slopes

    def bears_out(self, free: ConstantFit, fixed: ConstantFit, significance: float) -> bool:
        """F-test of the parameters that `fixed` has less; misfit at rounding level passes."""
        if fixed.sse <= 10 * self.floor:
            return True
        freedom = len(self.y) - len(free.template.free)
        if freedom < 1 or free.sse <= 0:
            return False
        fewer = max(1, len(free.template.free) - len(fixed.template.free))
        ratio = (fixed.sse - free.sse) / fewer / (max(free.sse, self.floor) / freedom)
        return bool(ratio <= stats.f.isf(significance, fewer, freedom))


def _inverse_diagonal(J: np.ndarray) -> np.ndarray:
    """Diagonal of (J'J)^-1; huge for parameters that the data do not determine."""
    peak = np.abs(J).max(0, initial=0.0)
    size = peak * np.linalg.norm(J / np.where(peak > 0, peak, 1.0), axis=0)  # 1e200 has no square
    scale = np.where(size > 0, size, 1.0)
    _, singular, rows = np.linalg.svd(J / scale, full_matrices=False)
    inverse = 1 / np.maximum(singular, 1e-13 * (singular.max(initial=0.0) or 1.0))
    with np.errstate(over="ignore", divide="ignore"):  # infinite is the right error of such
        return np.where(size > 0, ((rows.T * inverse) ** 2).sum(1) / scale**2, np.inf)
