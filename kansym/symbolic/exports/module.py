"""A formula as a `torch.nn.Module`, its decimal constants fixed or learnable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, cast

import sympy
import torch
from torch import Tensor, nn

from kansym.errors import ExportError
from kansym.functions import get_function
from kansym.symbolic.constants import decimal, parametrise
from kansym.symbolic.exports.code import in_few_functions
from kansym.symbolic.formula import Expr, Formula

_UNARY: dict[Any, Callable[[Tensor], Tensor]] = {
    sympy.exp: torch.exp, sympy.log: torch.log, sympy.sin: torch.sin, sympy.cos: torch.cos,
    sympy.tan: torch.tan, sympy.sinh: torch.sinh, sympy.cosh: torch.cosh, sympy.tanh: torch.tanh,
    sympy.asin: torch.asin, sympy.acos: torch.acos, sympy.atan: torch.atan,
    sympy.asinh: torch.asinh, sympy.acosh: torch.acosh, sympy.atanh: torch.atanh,
    sympy.Abs: torch.abs, sympy.sign: torch.sign, sympy.erf: torch.erf, sympy.erfc: torch.erfc,
    sympy.floor: torch.floor, sympy.ceiling: torch.ceil, sympy.loggamma: torch.lgamma,
}  # fmt: skip
_SEVERAL: dict[Any, Callable[[Tensor, Tensor], Tensor]] = {
    sympy.Add: torch.add,
    sympy.Mul: torch.mul,
    sympy.Max: torch.maximum,
    sympy.Min: torch.minimum,
}


class FormulaModule(nn.Module):
    """X [..., variables] -> [..., outputs].

    constants: the decimals of the formula in order, a parameter where they are learnable. Numbers
    that are exact, such as 1/2 and pi, stay as they are. `formula` reads the constants back.
    """

    constants: Tensor

    def __init__(self, formula: Formula, learnable: bool = False):
        super().__init__()
        self._formula = formula
        self._exprs: list[Expr] = []
        self._slots: list[Any] = []
        starts: list[float] = []
        for expr in formula.exprs:
            template, slots, values = parametrise(in_few_functions(expr))
            self._exprs.append(template)
            self._slots += slots
            starts += values.tolist()
            _check(template)
        values = torch.tensor(starts, dtype=torch.float64)
        if learnable:
            self.constants = nn.Parameter(values)
        else:
            self.register_buffer("constants", values)

    @property
    def formula(self) -> Formula:
        """The formula with the constants as they are now."""
        values = dict(zip(self._slots, map(decimal, self.constants.tolist()), strict=True))
        return self._formula._with([expr.xreplace(values) for expr in self._exprs])

    def forward(self, X: Tensor) -> Tensor:
        n = len(self._formula.variables)
        if X.shape[-1] != n:
            raise ValueError(f"X must have {n} columns, got shape {tuple(X.shape)}")
        known = dict(zip(self._formula.variables, X.unbind(-1), strict=True))
        known |= dict(zip(self._slots, self.constants.to(X.dtype).unbind(), strict=True))
        shape = X.shape[:-1]
        values = [_evaluate(expr, known, X).broadcast_to(shape) for expr in self._exprs]
        return torch.stack(values, -1)


def _check(expr: Expr) -> None:
    """Raises ExportError for a part that torch has no form for."""
    variables = sorted(expr.free_symbols, key=str)
    _evaluate(expr, dict.fromkeys(variables, torch.tensor(0.5)), torch.zeros(1))


def _evaluate(expr: Expr, known: dict[Any, Tensor], like: Tensor) -> Tensor:
    if expr in known:
        return known[expr]
    if expr.is_number:
        return like.new_tensor(float(expr))
    if isinstance(expr, sympy.Pow):
        return _power(expr, known, like)
    if isinstance(expr, sympy.Piecewise):
        value = like.new_tensor(math.nan)
        for case, condition in reversed(cast("Sequence[Any]", expr.args)):
            holds = _condition(condition, known, like)
            value = torch.where(holds, _evaluate(case, known, like), value)
        return value
    if isinstance(expr, sympy.besselj) and expr.args[0] in (0, 1):
        # torch's own are off by 4e-7 in float64.
        return get_function(f"j{expr.args[0]}").torch(_evaluate(expr.args[1], known, like))
    arguments = [_evaluate(arg, known, like) for arg in expr.args]
    if type(expr) in _SEVERAL:
        return reduce(_SEVERAL[type(expr)], arguments)
    if type(expr) in _UNARY and len(arguments) == 1:
        return _UNARY[type(expr)](arguments[0])
    raise ExportError(
        f"torch has no function {type(expr).__name__}, needed for {expr}; rewrite it with "
        "functions that torch has, or evaluate the formula with NumPy"
    )


def _power(expr: Expr, known: dict[Any, Tensor], like: Tensor) -> Tensor:
    base = _evaluate(expr.base, known, like)
    if expr.exp == sympy.Rational(1, 2):
        return torch.sqrt(base)
    if expr.exp.is_number:
        power = float(expr.exp)
        return base ** (int(power) if power.is_integer() else power)
    return base ** _evaluate(expr.exp, known, like)


def _condition(expr: Any, known: dict[Any, Tensor], like: Tensor) -> Tensor:
    if expr in (sympy.true, sympy.false):
        return like.new_tensor(bool(expr), dtype=torch.bool)
    if expr.is_Relational:
        sides: Sequence[Tensor] = [_evaluate(arg, known, like) for arg in expr.args]
        compare = {"<": torch.lt, "<=": torch.le, ">": torch.gt, ">=": torch.ge,
                   "==": torch.eq, "!=": torch.ne}  # fmt: skip
        return compare[expr.rel_op](*sides)
    parts = [_condition(arg, known, like) for arg in expr.args]
    if isinstance(expr, sympy.Not):
        return ~parts[0]
    if isinstance(expr, (sympy.And, sympy.Or)):
        join = torch.logical_and if isinstance(expr, sympy.And) else torch.logical_or
        return reduce(join, parts)
    raise ExportError(f"torch has no condition {expr}")
