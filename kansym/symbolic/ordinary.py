"""Formulas from outside: only such as SymPy can work out at once.

SymPy evaluates what numbers come to while a formula is read: 9**9**9**9, or the sign of
exp(exp(exp(9))) - 1, would keep it busy for ever. What it asks of tanh(tanh(...(x**y))) takes three
times as long for every tanh more. Checked after every step, nothing that is not ordinary reaches
the next one.
"""

from __future__ import annotations

import sympy

from kansym.symbolic.formula import Expr

LARGEST = 10**300
MAX_DEPTH = 10  # of a number's tree
MAX_FUNCTIONS = 5  # inside each other
LARGEST_POWER = 1000
LARGEST_ORDER = 10  # of a Bessel function
MAX_BITS = 10_000  # of what a power of numbers comes to


def check_ordinary(expr: Expr) -> Expr:
    """The expression, whose parts have passed. ValueError when it is a number that is not real or
    larger than 1e300 or nested deeply, a power above 1000, or a Bessel function of an order above
    10."""
    if expr.is_number:
        _check_number(expr)
    elif expr.is_Pow and expr.exp.is_Number and abs(expr.exp) > LARGEST_POWER:
        raise ValueError(f"a power larger than {LARGEST_POWER}")
    elif isinstance(expr, sympy.besselj):
        _check_order(expr)
    return expr


def check_argument(expr: Expr) -> Expr:
    """What a function is to be applied to; ValueError when 5 functions are inside each other there.

    Before it is applied: the time is spent while it is."""
    if _functions(expr) >= MAX_FUNCTIONS:
        raise ValueError(f"more than {MAX_FUNCTIONS} functions inside each other")
    return expr


def check_power(base: Expr, power: Expr) -> None:
    """ValueError when SymPy, which works powers of numbers out, is not done with it at once."""
    if not power.is_number:
        return
    if abs(float(power)) > LARGEST_POWER:
        raise ValueError(f"a power larger than {LARGEST_POWER}")
    whole = [abs(int(n)) for q in base.atoms(sympy.Rational) for n in (q.p, q.q)]
    bits = max(whole, default=1).bit_length() * abs(float(power))
    if base.is_number and bits > MAX_BITS:
        raise ValueError(f"a power of numbers with more than {MAX_BITS} bits")


def _check_number(expr: Expr) -> None:
    if isinstance(expr, sympy.besselj):
        _check_order(expr)
    if _depth(expr) > MAX_DEPTH:
        raise ValueError("a number that is nested too deeply")
    value = expr if expr.is_Rational else sympy.N(expr)
    if not (value.is_Rational or value.is_Float) or abs(value) > LARGEST:
        raise ValueError("a number that is not real or larger than 1e300")


def _depth(expr: Expr) -> int:
    return 1 + max(map(_depth, expr.args), default=-1)


def _functions(expr: Expr) -> int:
    return isinstance(expr, sympy.Function) + max(map(_functions, expr.args), default=0)


def _check_order(bessel: Expr) -> None:
    order = bessel.order
    if not (order.is_Integer and abs(order) <= LARGEST_ORDER):
        raise ValueError(f"a Bessel function of an order that is no integer up to {LARGEST_ORDER}")
