"""What a scientist knows about the formula before it is found: a rule that every one must pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from sympy import Symbol

from kansym.discovery.contest import evaluate
from kansym.discovery.records import Options, Table
from kansym.errors import check_choice
from kansym.functions import SymbolicFunction, get_library
from kansym.symbolic.formula import Expr

MONOTONE = ("increasing", "decreasing")
PARITY = ("even", "odd")
MOST_FACTORS = 5  # of a whole power: higher ones are powers of powers, whatever the library has
SLACK = 1e-9  # of a slope or a difference, relative: rounding breaks no rule

# Written with one, meant with the other.
_SAME = {sympy.sin: sympy.cos, sympy.cos: sympy.sin, sympy.asin: sympy.acos, sympy.acos: sympy.asin}

Rule = Callable[[Expr], bool]


def rules(table: Table, options: Options) -> list[Rule]:
    """The rules that the options set. Raises ValueError for names that are no column and for
    unknown kinds."""
    symbols = {str(v): v for v in table.variables}
    found: list[Rule] = []
    if options.functions is not None:
        grammar = Grammar.of(get_library(options.functions))
        found.append(grammar.covers)
    required = {_column(symbols, name, "required") for name in options.required}
    forbidden = {_column(symbols, name, "forbidden") for name in options.forbidden}
    if required & forbidden:
        both = sorted(map(str, required & forbidden))
        raise ValueError(f"{both} cannot be both required and forbidden")
    inside: list[Rule] = []
    if required:
        inside += [_moves(table, column) for column in required]
    if forbidden:
        inside.append(lambda expr: not forbidden & expr.free_symbols)
    for name, kind in options.monotone.items():
        check_choice(f"monotone[{name!r}]", kind, MONOTONE)
        column = _column(symbols, name, "monotone")
        inside.append(_monotone(table, column, 1.0 if kind == "increasing" else -1.0))
    for name, kind in options.parity.items():
        check_choice(f"parity[{name!r}]", kind, PARITY)
        column = _column(symbols, name, "parity")
        inside.append(_parity(table, column, 1.0 if kind == "even" else -1.0))
    if inside:
        forms = dict(options.forms)
        found.append(lambda expr: passes(expr.xreplace(forms), inside))
    return found


def _column(symbols: Mapping[str, Symbol], name: str, argument: str) -> Symbol:
    if name not in symbols:
        raise ValueError(f"{argument} names {name!r}, which is no column; X has {list(symbols)}")
    return symbols[name]


@dataclass(frozen=True)
class Grammar:
    """What formulas of some functions are made of, beside sums, products and whole numbers.

    classes: of SymPy's functions. powers: that stand in the functions' own forms.
    """

    classes: frozenset[Any]
    powers: frozenset[Expr]

    @staticmethod
    def of(functions: Sequence[SymbolicFunction]) -> Grammar:
        """The grammar in which all the functions can be written; sin brings cos with it."""
        u = sympy.Symbol("u", real=True)
        nodes = [node for f in functions for node in sympy.preorder_traversal(f.sympy(u))]
        classes = {node.func for node in nodes if isinstance(node, sympy.Function)}
        classes |= {_SAME[c] for c in classes if c in _SAME}
        powers = {node.exp for node in nodes if isinstance(node, sympy.Pow)}
        return Grammar(frozenset(classes), frozenset({sympy.Integer(1), *powers}))

    def covers(self, expr: Expr) -> bool:
        """Whether the formula can be written in it."""
        for node in sympy.preorder_traversal(expr):
            if isinstance(node, sympy.Pow) and node.free_symbols:
                if not self._has_power(node.exp):
                    return False
            elif isinstance(node, sympy.Function) and node.func not in self.classes:
                return False
        return True

    def _has_power(self, power: Expr) -> bool:
        if {sympy.exp, sympy.log} <= self.classes:
            return True  # u^p is exp(p log u)
        if not power.is_number:
            return False
        known = [float(p) for p in self.powers if p.is_number]
        value = float(power)
        if any(abs(p * q - value) < 1e-12 for p in known for q in known):
            return True  # powers of powers: u^-2 is 1/u^2
        is_high = value.is_integer() and abs(value) > MOST_FACTORS
        return is_high and any(p >= 2 for p in known) and (value > 0 or -1.0 in known)


def _moves(table: Table, column: Symbol) -> Rule:
    """x^1e-17 holds x, and yet does not: what counts is whether it moves the formula."""
    i = table.variables.index(column)
    middle = table.X.copy()
    middle[:, i] = np.median(table.X[:, i])

    def rule(expr: Expr) -> bool:
        if column not in expr.free_symbols:
            return False
        here, there = (evaluate(expr, table.variables, X) for X in (table.X, middle))
        size = np.nanmax(np.abs(here), initial=0.0)
        return bool(np.nanmax(np.abs(here - there), initial=0.0) > SLACK * size)

    return rule


def _monotone(table: Table, column: Symbol, direction: float) -> Rule:
    def rule(expr: Expr) -> bool:
        # A jump has a slope only where it jumps, which is between the rows.
        form = sympy.diff(expr, column).replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))
        slope = evaluate(form, table.variables, table.X) * direction
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
