"""What a scientist knows about the formula before it is found: a rule that every one must pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import sympy
from sympy import Symbol

from kansym.discovery.contest import evaluate
from kansym.discovery.records import Options, Table
from kansym.errors import check_choice
from kansym.functions import get_library
from kansym.symbolic.formula import Expr

MONOTONE = ("increasing", "decreasing")
PARITY = ("even", "odd")
SLACK = 1e-9  # of a slope or a difference, relative: rounding breaks no rule

_FUNCTION_NAMES = {
    sympy.exp: ("exp", "gaussian", "sigmoid"), sympy.log: ("log",), sympy.sin: ("sin", "cos"),
    sympy.cos: ("sin", "cos"), sympy.tan: ("tan",), sympy.tanh: ("tanh", "sigmoid"),
    sympy.sinh: ("sinh",), sympy.cosh: ("cosh",), sympy.asin: ("arcsin", "arccos"),
    sympy.acos: ("arcsin", "arccos"), sympy.atan: ("arctan",), sympy.atanh: ("arctanh",),
    sympy.Abs: ("abs",), sympy.sign: ("sign",), sympy.erf: ("erf",),
}  # fmt: skip

Rule = Callable[[Expr], bool]


def rules(table: Table, options: Options) -> list[Rule]:
    """The rules that the options set. Raises ValueError for names that are no column and for
    unknown kinds."""
    symbols = {str(v): v for v in table.variables}
    found: list[Rule] = []
    required = [_column(symbols, name, "required") for name in options.required]
    forbidden = [_column(symbols, name, "forbidden") for name in options.forbidden]
    both = set(required) & set(forbidden)
    if both:
        raise ValueError(f"{sorted(map(str, both))} cannot be both required and forbidden")
    if required:
        found.append(lambda expr: set(required) <= expr.free_symbols)
    if forbidden:
        found.append(lambda expr: not set(forbidden) & expr.free_symbols)
    if options.functions is not None:
        allowed = frozenset(f.name for f in get_library(options.functions))
        found.append(lambda expr: uses_only(expr, allowed))
    for name, kind in options.monotone.items():
        check_choice(f"monotone[{name!r}]", kind, MONOTONE)
        column = _column(symbols, name, "monotone")
        found.append(_monotone(table, column, 1.0 if kind == "increasing" else -1.0))
    for name, kind in options.parity.items():
        check_choice(f"parity[{name!r}]", kind, PARITY)
        column = _column(symbols, name, "parity")
        found.append(_parity(table, column, 1.0 if kind == "even" else -1.0))
    return found


def _column(symbols: Mapping[str, Symbol], name: str, argument: str) -> Symbol:
    if name not in symbols:
        raise ValueError(f"{argument} names {name!r}, which is no column; X has {list(symbols)}")
    return symbols[name]


def uses_only(expr: Expr, allowed: frozenset[str]) -> bool:
    """Whether sums, products and the allowed functions are all that the formula is made of.

    A power stands for the function of that name; any power is allowed beside exp and log, of which
    it is made.
    """
    for node in sympy.preorder_traversal(expr):
        if isinstance(node, sympy.Pow) and node.base.free_symbols:
            if not _allows_power(node.exp, allowed):
                return False
        elif isinstance(node, sympy.Function):
            names = _FUNCTION_NAMES.get(node.func, (str(node.func),))
            if not allowed & set(names):
                return False
    return True


def _allows_power(power: Expr, allowed: frozenset[str]) -> bool:
    if {"exp", "log"} <= allowed or not power.is_number:
        return {"exp", "log"} <= allowed
    value = abs(float(power))
    names = {0.5: "sqrt", 1.0: "x", 1.5: "x^1.5"}
    root = names.get(value) or (f"x^{value:.0f}" if value.is_integer() else None)
    if root is None or (root != "x" and root not in allowed and not _in_steps(value, allowed)):
        return False
    inverse = "1/x" if value == 1 else f"1/{root}"
    return float(power) > 0 or "1/x" in allowed or inverse in allowed


def _in_steps(value: float, allowed: frozenset[str]) -> bool:
    """Whether x^n is a product or power of allowed ones: x^6 is x^3 squared."""
    powers = [n for n in (2, 3, 4, 5) if f"x^{n}" in allowed]
    return value.is_integer() and bool(powers) and value > 5


def _monotone(table: Table, column: Symbol, direction: float) -> Rule:
    def rule(expr: Expr) -> bool:
        slope = evaluate(sympy.diff(expr, column), table.variables, table.X) * direction
        return bool(np.all(slope >= -SLACK * np.nanmax(np.abs(slope), initial=0.0)))

    return rule


def _parity(table: Table, column: Symbol, sign: float) -> Rule:
    def rule(expr: Expr) -> bool:
        here = evaluate(expr, table.variables, table.X)
        mirrored = evaluate(expr.subs(column, -column), table.variables, table.X)
        size = np.nanmax(np.abs(here), initial=0.0)
        return bool(np.all(np.abs(mirrored - sign * here) <= 1e-7 * size))

    return rule


def passes(expr: Expr, wanted: Sequence[Rule]) -> bool:
    """Whether the formula keeps every rule; a constant breaks none that it can keep."""
    return all(rule(expr) for rule in wanted)
