"""One way of writing a formula's constants, so that each is determined by the data.

(c u + d v)^p w   ->  c^p (u + d/c v)^p w      numbers are drawn out of the factors of a product
exp(u + d) w      ->  e^d exp(u) w
log(c u + d v)    ->  log(u + d/c v) + log c   where it stands in a sum
c (u + d) + e     ->  c u + (c d + e)          numbers are multiplied into sums of sums
"""

from __future__ import annotations

import math

import sympy
from sympy import Add, Float, Mul, Pow, exp, log

from kansym.symbolic.constants import decimal
from kansym.symbolic.formula import Expr
from kansym.symbolic.normal_form import leading_coefficient

LARGEST = 300.0  # exponent of e that still is a number


def canonical(expr: Expr) -> Expr:
    """The same function with numbers gathered; an expression without decimals stays as it is."""
    if not expr.args or not expr.has(Float):
        return expr
    expr = expr.func(*(canonical(arg) for arg in expr.args))
    if isinstance(expr, Mul):
        return _product(expr)
    if isinstance(expr, Add):
        return _sum(expr)
    return expr


def _product(expr: Expr) -> Expr:
    number, factors = 1.0, []
    symbols = [arg for arg in expr.args if arg.free_symbols]
    if len(symbols) == 1 and isinstance(symbols[0], Add):
        coefficient = Mul(*(arg for arg in expr.args if not arg.free_symbols))
        return Add(*(coefficient * term for term in symbols[0].args))
    exact = Mul(*(arg for arg in expr.args if not arg.free_symbols and not arg.has(Float)))
    for arg in expr.args:
        if not arg.free_symbols:
            number *= float(arg) if arg.has(Float) else 1.0
            continue
        scale, rest = _scaled(arg)
        number *= scale
        factors.append(rest)
    if not math.isfinite(number) or number == 0:
        return expr
    front = decimal(number) if number != 1.0 else sympy.Integer(1)
    return Mul(front, exact, *factors)


def _scaled(factor: Expr) -> tuple[float, Expr]:
    """A factor of a product as number * rest."""
    if isinstance(factor, exp) and isinstance(factor.args[0], Add):
        number, rest = factor.args[0].as_coeff_Add()
        if isinstance(number, Float) and abs(float(number)) < LARGEST:
            return math.exp(float(number)), exp(rest)
    base, power = (factor.base, factor.exp) if isinstance(factor, Pow) else (factor, sympy.S.One)
    if isinstance(base, Add) and power.is_number and base.has(Float):
        lead = _leading(base)
        if lead is not None and not power.is_Integer:
            lead = abs(lead)
        if lead is not None and lead not in (0.0, 1.0):
            drawn = lead ** float(power)
            if math.isfinite(drawn) and drawn != 0:
                return drawn, _divided(base, lead) ** power
    return 1.0, factor


def _sum(expr: Expr) -> Expr:
    terms, shift = [], 0.0
    for term in expr.args:
        coefficient, rest = term.as_coeff_Mul()
        if isinstance(rest, log) and isinstance(rest.args[0], Add) and rest.has(Float):
            lead = _leading(rest.args[0])
            if lead not in (None, 0.0, 1.0):
                shift += float(coefficient) * math.log(abs(lead))
                rest = log(_divided(rest.args[0], abs(lead)))
        terms.append(coefficient * rest)
    return Add(*terms, decimal(shift)) if shift else Add(*terms)


def _leading(total: Expr) -> float | None:
    terms = [term for term in total.args if term.free_symbols]
    if not terms or any(not t.as_coeff_Mul()[0].is_real for t in terms):
        return None
    return leading_coefficient(total)


def _divided(total: Expr, lead: float) -> Expr:
    terms = []
    for term in total.args:
        coefficient, rest = term.as_coeff_Mul()
        value = float(coefficient) / lead
        unit = math.copysign(1.0, value) if abs(abs(value) - 1) < 4e-16 else value
        terms.append((sympy.Integer(int(unit)) if unit in (1.0, -1.0) else decimal(unit)) * rest)
    return Add(*terms)
