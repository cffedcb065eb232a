"""How an edge or a product is written in a formula: its normal form.

An edge c f(a u + b) + d is written in a normal form while the expression is built, so that its
constants are the ones a reader expects and each is determined by the data:

    powers, abs       (a u + b)^p  ->  a^p (u + b/a)^p     log  ->  log(u + b/a) + log a
    exp               exp(u + b)   ->  e^b exp(u)
    sin, cos          a phase in (-pi/2, pi/2], a positive leading coefficient
    even and odd f    a positive leading coefficient
    sums              numbers are multiplied through; inner sums are never expanded
    products          one number in front, a leading coefficient of 1 in every factor
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import sympy
from sympy import Float

from kansym.functions import SymbolicFunction

TINY = 1e-6  # a term this small beside another of its sum is no leading term


def number(value: float) -> Any:
    """A Float, but exact 0 and +-1 as integers, so that they vanish from products and sums."""
    return sympy.Integer(int(value)) if value in (0.0, 1.0, -1.0) else Float(value, 17)


def linear(a: float, u: Any, b: float) -> Any:
    """a u + b with a multiplied into the terms of u."""
    factor = number(a)
    terms = [factor * term for term in sympy.Add.make_args(u)]
    return sympy.Add(*terms, number(b))


def plain_product(factors: Sequence[Any]) -> Any:
    return sympy.Mul(*factors)


def normal_product(factors: Sequence[Any]) -> Any:
    """A sum node is its only factor. Of several, every leading coefficient is drawn out, so that
    one number stands before the product: 2 u * 3 v has no three constants that data determine."""
    if len(factors) == 1:
        return factors[0]
    coefficient, others = 1.0, []
    for u in factors:
        scale = leading_coefficient(u) if u.free_symbols else float(u)
        coefficient *= scale
        if u.free_symbols:
            others.append(_divided(u, scale))
    return number(_near_unit(coefficient)) * sympy.Mul(*others)


def plain_edge(f: SymbolicFunction, u: Any, a: float, b: float, c: float, d: float) -> Any:
    return number(c) * f.sympy(number(a) * u + number(b)) + number(d)


def normal_edge(f: SymbolicFunction, u: Any, a: float, b: float, c: float, d: float) -> Any:
    inner = linear(a, u, b)
    if not inner.free_symbols:
        return number(c) * f.sympy(inner) + number(d)
    normal = _NORMAL_FORMS.get(f.name) or (_odd_or_even if f.has_parity else _as_is)
    factor, expression, shift = normal(f, inner)
    if f.invariance == "affine":
        return linear(c * factor, expression, c * shift + d)
    return number(c * factor) * expression + number(c * shift + d)


# A normal form writes f(u) = factor * expression + shift.
Normal = tuple[float, Any, float]


def _as_is(f: SymbolicFunction, u: Any) -> Normal:
    return 1.0, f.sympy(u), 0.0


def leading_coefficient(u: Any) -> float:
    """The coefficient of the first term that is not a number, in a fixed order of terms; terms that
    are tiny beside another do not count, for things are divided by it."""
    terms = [t.as_coeff_Mul() for t in sympy.Add.make_args(u) if t.free_symbols]
    largest = max(abs(float(factor)) for factor, _ in terms)
    ordered = sorted(terms, key=lambda term: sympy.default_sort_key(term[1]))
    return next(float(factor) for factor, _ in ordered if abs(float(factor)) >= TINY * largest)


def _divided(u: Any, scale: float) -> Any:
    """u / scale, where |scale| is that of the leading term: its coefficient becomes exactly +-1.
    Left at 1 + 2e-16 it would be a second name for a constant outside."""
    terms = []
    for term in sympy.Add.make_args(u):
        factor, rest = term.as_coeff_Mul()
        terms.append(number(_near_unit(float(factor) / scale)) * rest)
    return sympy.Add(*terms)


def _near_unit(value: float) -> float:
    return math.copysign(1.0, value) if abs(abs(value) - 1) < 4e-16 else value


def _odd_or_even(f: SymbolicFunction, u: Any) -> Normal:
    """f(-u) = sign f(u) + shift, found from two values of f inside the domain."""
    if leading_coefficient(u) > 0:
        return _as_is(f, u)
    import torch

    at = torch.tensor([0.3, -0.3, 0.7, -0.7], dtype=torch.float64)
    p, m, q, n = f.torch(at).tolist()
    sign = 1.0 if math.isclose(p - m, q - n, abs_tol=1e-12) else -1.0
    return sign, f.sympy(linear(-1.0, u, 0.0)), m - sign * p


def _power(exponent: Any) -> Callable[[SymbolicFunction, Any], Normal]:
    def normal(f: SymbolicFunction, u: Any) -> Normal:
        scale = leading_coefficient(u)
        if not f.has_parity:
            scale = abs(scale)
        try:
            factor = scale ** float(exponent)
        except OverflowError:
            return _as_is(f, u)
        return factor, f.sympy(_divided(u, scale)), 0.0

    return normal


def _log(f: SymbolicFunction, u: Any) -> Normal:
    scale = abs(leading_coefficient(u))
    return 1.0, f.sympy(_divided(u, scale)), math.log(scale)


def _abs(f: SymbolicFunction, u: Any) -> Normal:
    scale = leading_coefficient(u)
    return abs(scale), f.sympy(_divided(u, scale)), 0.0


def _sign(f: SymbolicFunction, u: Any) -> Normal:
    scale = leading_coefficient(u)
    return math.copysign(1.0, scale), f.sympy(_divided(u, scale)), 0.0


def _exp(f: SymbolicFunction, u: Any) -> Normal:
    constant, rest = u.as_coeff_Add()
    if abs(float(constant)) > 500:  # e^b would leave the range of floating point
        return _as_is(f, u)
    return math.exp(float(constant)), f.sympy(rest), 0.0


def _wave(f: SymbolicFunction, u: Any) -> Normal:
    sign = 1.0
    if leading_coefficient(u) < 0:
        u = linear(-1.0, u, 0.0)
        sign = -1.0 if f.name == "sin" else 1.0
    phase, rest = u.as_coeff_Add()
    turns = round(float(phase) / math.pi)
    if turns % 2:
        sign = -sign
    return sign, f.sympy(rest + number(float(phase) - turns * math.pi)), 0.0


_NORMAL_FORMS: dict[str, Callable[[SymbolicFunction, Any], Normal]] = {
    "x": lambda f, u: (1.0, u, 0.0),
    "exp": _exp,
    "log": _log,
    "sin": _wave,
    "cos": _wave,
    "abs": _abs,
    "sign": _sign,
    "sqrt": _power(sympy.Rational(1, 2)),
    "1/sqrt": _power(sympy.Rational(-1, 2)),
    "x^1.5": _power(sympy.Rational(3, 2)),
    "1/x": _power(sympy.Integer(-1)),
    **{f"x^{n}": _power(sympy.Integer(n)) for n in (2, 3, 4, 5)},
    **{f"1/x^{n}": _power(sympy.Integer(-n)) for n in (2, 3, 4)},
}
