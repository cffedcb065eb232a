"""Outer functions: y = T^-1(t) for a simpler t.

Fits of a transformed target only propose formulas; their constants are fitted to y itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from kansym.symbolic.formula import Expr

LARGEST = 30.0  # argument of exp
NEAR_ZERO = 1e-9  # of the largest |y|: a logarithm or reciprocal that close says nothing


@dataclass(frozen=True)
class Outer:
    """A transformation T of the target, and what undoes it.

    name: of T. function: name of the library's function that undoes it, None when arithmetic does.
    forward: T on values. slope, bend: T' and T''. inverse: SymPy form of T^-1.
    accepts: whether T is real and one-to-one on these values.
    """

    name: str
    function: str | None
    forward: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    bend: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[Any, float], Expr]
    accepts: Callable[[np.ndarray], bool]
    numeric_inverse: Callable[[np.ndarray], np.ndarray]

    def backward(self, t: np.ndarray, y: np.ndarray) -> np.ndarray:
        """T^-1(t), with the sign that y has where T forgets it."""
        values = self.numeric_inverse(t)
        return -values if self.forgets_sign and float(np.mean(y)) < 0 else values

    @property
    def forgets_sign(self) -> bool:
        return self.name in ("log", "y^2", "1/y^2", "sqrt")

    def undone(self, expr: Expr, y: np.ndarray) -> Expr:
        """T^-1(expr), with the sign that y has."""
        return self.inverse(expr, -1.0 if float(np.mean(y)) < 0 else 1.0)


def _one_sign(y: np.ndarray) -> bool:
    size = np.abs(y)
    return bool((np.all(y > 0) or np.all(y < 0)) and size.min() > NEAR_ZERO * size.max())


def _no_sign_change(y: np.ndarray) -> bool:
    return bool(np.all(y >= 0) or np.all(y <= 0))


def _within(low: float, high: float) -> Callable[[np.ndarray], bool]:
    return lambda y: bool(y.min() > low and y.max() < high)


def _signed(form: Callable[[Any], Expr]) -> Callable[[Any, float], Expr]:
    return lambda t, sign: form(t) if sign > 0 else -form(t)


_HALF_PI = np.pi / 2

IDENTITY = Outer(
    "y",
    None,
    lambda y: y,
    np.ones_like,
    np.zeros_like,
    lambda t, _: t,
    lambda _: True,
    lambda t: t,
)

OUTERS: tuple[Outer, ...] = (
    IDENTITY,
    Outer(
        "log", "exp", lambda y: np.log(np.abs(y)), lambda y: 1 / y, lambda y: -1 / y**2,
        _signed(sympy.exp), _one_sign, np.exp,
    ),
    Outer(
        "1/y", "1/x", lambda y: 1 / y, lambda y: -1 / y**2, lambda y: 2 / y**3,
        lambda t, _: 1 / t, _one_sign, lambda t: 1 / t,
    ),
    Outer(
        "y^2", "sqrt", lambda y: y**2, lambda y: 2 * y, lambda y: 2 * np.ones_like(y),
        _signed(sympy.sqrt), _no_sign_change, np.sqrt,
    ),
    Outer(
        "1/y^2", "1/sqrt", lambda y: y**-2.0, lambda y: -2 * y**-3.0, lambda y: 6 * y**-4.0,
        _signed(lambda t: 1 / sympy.sqrt(t)), _one_sign, lambda t: t**-0.5,
    ),
    Outer(
        "sqrt", "x^2", lambda y: np.sqrt(np.abs(y)),
        lambda y: 0.5 * np.abs(y) ** -0.5 * np.sign(y), lambda y: -0.25 * np.abs(y) ** -1.5,
        _signed(lambda t: t**2), _no_sign_change, lambda t: t**2,
    ),
    Outer(
        "exp", "log", np.exp, np.exp, np.exp, lambda t, _: sympy.log(t),
        _within(-LARGEST, LARGEST), np.log,
    ),
    Outer(
        "sin", "arcsin", np.sin, np.cos, lambda y: -np.sin(y), lambda t, _: sympy.asin(t),
        _within(-_HALF_PI, _HALF_PI), np.arcsin,
    ),
    Outer(
        "cos", "arccos", np.cos, lambda y: -np.sin(y), lambda y: -np.cos(y),
        lambda t, _: sympy.acos(t), _within(0.0, np.pi), np.arccos,
    ),
    Outer(
        "tan", "arctan", np.tan, lambda y: 1 + np.tan(y) ** 2,
        lambda y: 2 * np.tan(y) * (1 + np.tan(y) ** 2), lambda t, _: sympy.atan(t),
        _within(-_HALF_PI + 0.01, _HALF_PI - 0.01), np.arctan,
    ),
    Outer(
        "atanh", "tanh", np.arctanh, lambda y: 1 / (1 - y**2), lambda y: 2 * y / (1 - y**2) ** 2,
        lambda t, _: sympy.tanh(t), _within(-1.0 + 1e-9, 1.0 - 1e-9), np.tanh,
    ),
)  # fmt: skip


def outers_for(y: np.ndarray, functions: frozenset[str] | None = None) -> list[Outer]:
    """Those that are real and one-to-one on y, and whose inverse the library allows."""
    return [
        outer
        for outer in OUTERS
        if outer.accepts(y)
        and (functions is None or outer.function is None or outer.function in functions)
    ]
