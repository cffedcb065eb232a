"""Known inner forms, such as "x1 - x2": text from outside, read without ever being run.

A form becomes one more column of the search, under a symbol of its own, and is put back into the
formulas that use it.
"""

from __future__ import annotations

import ast
import operator
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from sympy import Symbol

from kansym.errors import suggestion
from kansym.functions import function_names, get_function
from kansym.symbolic.constants import NamedConstant
from kansym.symbolic.formula import Expr, is_real
from kansym.symbolic.ordinary import check_argument, check_ordinary

MAX_LENGTH = 400  # of a form's text
MAX_POWER = 100
MAX_BASE = 10**6  # of a power of numbers, which SymPy would work out

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
# What NumPy and SymPy call them, beside the names of the library.
_OTHER_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atanh": "arctanh"}


@dataclass(frozen=True)
class Forms:
    """Forms and the symbols that stand for them."""

    exprs: tuple[Expr, ...] = ()
    symbols: tuple[Symbol, ...] = ()

    @property
    def by_symbol(self) -> dict[Symbol, Expr]:
        return dict(zip(self.symbols, self.exprs, strict=True))

    def substitute(self, expr: Expr) -> Expr:
        """The expression with every form in the place of its symbol."""
        return expr.xreplace(self.by_symbol) if self.symbols else expr

    def columns(self, variables: Sequence[Symbol], X: np.ndarray) -> np.ndarray:
        """Values of the forms, [n, forms]. Raises ValueError where one is not finite."""
        values = np.empty((len(X), len(self.exprs)))
        for f, expr in enumerate(self.exprs):
            compiled = sympy.lambdify(list(variables), expr, modules=["scipy", "numpy"])
            with np.errstate(all="ignore"):
                values[:, f] = compiled(*X.T)
            bad = np.flatnonzero(~np.isfinite(values[:, f]))
            if len(bad):
                raise ValueError(
                    f"features[{f}], {expr}, must be finite in every row; it is not in {len(bad)} "
                    f"of {len(X)} (row {bad[0]}). Drop those rows or the form"
                )
        return values


def read_forms(
    features: Sequence[str] | None,
    variables: Sequence[Symbol],
    names: Sequence[str],
    constants: Mapping[str, NamedConstant],
) -> Forms:
    """Forms from texts in the names of the columns (or v1, v2, ... for a column whose name is no
    plain identifier), numbers, + - * / **, functions of the library, and named constants.

    Raises ValueError for any other text.
    """
    if features is None:
        return Forms()
    if isinstance(features, str) or not isinstance(features, Sequence):
        raise ValueError(f"features must be a list of formulas in the columns, got {features!r}")
    known: dict[str, Any] = {"pi": sympy.pi}
    known |= constants
    known |= dict(zip(names, variables, strict=True)) | {str(v): v for v in variables}
    exprs = tuple(_Reader(f, text, known).read() for f, text in enumerate(features))
    taken = set(known)
    letter = next(c for c in ("u", "w", "form_") if not any(n.startswith(c) for n in taken))
    return Forms(exprs, tuple(Symbol(f"{letter}{f + 1}", real=True) for f in range(len(exprs))))


class _NotOrdinary(Exception):
    """A part of a form that is no ordinary number; the reader adds which form."""


class _Reader:
    """One form's text, walked node by node: whatever is not listed here is refused."""

    def __init__(self, place: int, text: Any, known: Mapping[str, Any]):
        self.label, self.text, self.known = f"features[{place}]", text, known

    def read(self) -> Expr:
        if not isinstance(self.text, str) or len(self.text) > MAX_LENGTH:
            raise ValueError(
                f"{self.label} must be text of at most {MAX_LENGTH} characters such as 'x1 - x2', "
                f"got {self.text!r:.60}"
            )
        # Python reads a look-alike of a letter as that letter.
        if "\0" in self.text or unicodedata.normalize("NFKC", self.text) != self.text:
            raise ValueError(f"{self.label} is not a formula in plain letters: {self.text!r}")
        try:
            tree = ast.parse(self.text.strip(), mode="eval")
            expr = self._walk(tree.body)
        except (SyntaxError, RecursionError, MemoryError, ArithmeticError) as error:
            raise ValueError(f"{self.label} is not a formula: {self.text!r}") from error
        except _NotOrdinary as error:
            raise ValueError(
                f"{self.label} must be a real formula in the columns, got {error} in {self.text!r}"
            ) from error
        if not expr.free_symbols or expr.is_Symbol or not is_real(expr):
            raise ValueError(
                f"{self.label} must be a real formula in the columns, more than one of them alone, "
                f"got {self.text!r}"
            )
        return expr

    def _walk(self, node: ast.expr) -> Any:
        return self._ordinary(check_ordinary, self._built(node))

    def _ordinary(self, check: Callable[[Expr], Expr], expr: Expr) -> Expr:
        try:
            return check(expr)
        except ValueError as error:
            raise _NotOrdinary(str(error)) from error

    def _built(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            whole = isinstance(node.value, int)
            return sympy.Integer(node.value) if whole else sympy.Float(node.value, 17)
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self._walk(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            return self._power(self._walk(node.left), self._walk(node.right))
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](self._walk(node.left), self._walk(node.right))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self._call(node.func.id, [self._walk(arg) for arg in node.args])
        hint = (
            "; a power is written **" if isinstance(getattr(node, "op", None), ast.BitXor) else ""
        )
        raise ValueError(
            f"{self.label} may hold columns, numbers, + - * / **, and functions of the library, "
            f"got {ast.unparse(node)!r} in {self.text!r}{hint}"
        )

    def _name(self, name: str) -> Any:
        if name in self.known:
            return self.known[name]
        known = list(self.known)
        raise ValueError(f"{self.label} has the unknown name {name!r};{suggestion(name, known)}")

    def _power(self, base: Any, power: Any) -> Any:
        is_large = power.is_number and not abs(power) <= MAX_POWER
        if is_large or (base.is_number and power.is_number and not abs(base) <= MAX_BASE):
            raise ValueError(
                f"{self.label} may raise to powers up to {MAX_POWER} (numbers up to {MAX_BASE}), "
                f"got {self.text!r}"
            )
        return base**power

    def _call(self, name: str, arguments: list[Any]) -> Any:
        name = _OTHER_NAMES.get(name, name)
        if name not in function_names():
            raise ValueError(
                f"{self.label} calls the unknown function {name!r};"
                f"{suggestion(name, function_names())}"
            )
        if len(arguments) != 1:
            raise ValueError(f"{self.label}: {name} takes one argument, got {len(arguments)}")
        return get_function(name).sympy(self._ordinary(check_argument, arguments[0]))
