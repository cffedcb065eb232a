"""A found formula as a person would write it, the same at every row of the table."""

from __future__ import annotations

import numpy as np
import sympy
from sympy import Dummy

from kansym.discovery.contest import complexity, evaluate
from kansym.discovery.records import Table
from kansym.symbolic.formula import Expr

FACTORABLE = 80  # operations of an expression that is factored
SAME = 1e-9  # of the values' size: two ways of writing differ by no more than rounding


def tidied(expr: Expr, table: Table) -> Expr:
    """The shortest of a few ways of writing the formula.

    Variables that are positive in every row are treated as such, and of |g| the sign is dropped
    where g has the same one in every row: sqrt((x - y)^2) becomes x - y or y - x.
    """
    low = table.X.min(0)
    positive = {
        v: Dummy(str(v), positive=True)
        for v, least in zip(table.variables, low, strict=True)
        if least > 0
    }
    start = expr.xreplace(positive)
    forms = [start]
    for rewrite in (
        sympy.powsimp,
        sympy.factor_terms,
        sympy.together,
        sympy.radsimp,
        _factored,
        _polynomial,
    ):
        try:
            forms.append(rewrite(start))
        except (ValueError, TypeError, ZeroDivisionError, sympy.PolynomialError):
            continue
    back = {dummy: v for v, dummy in positive.items()}
    written = [_without_abs(form.xreplace(back), table) for form in forms]
    reference = evaluate(expr, table.variables, table.X)
    same = [form for form in written if _agrees(form, reference, table)]
    return min([expr, *same], key=lambda form: (_squares_under_roots(form), complexity(form)))


def _squares_under_roots(expr: Expr) -> bool:
    """Whether a root holds the square of something, so that it hides a sign."""
    roots = [p for p in expr.atoms(sympy.Pow) if abs(p.exp) == sympy.S.Half]
    return any(
        factor.as_base_exp()[1].is_even
        for root in roots
        if _is_factorable(root)
        for factor in sympy.Mul.make_args(sympy.factor(root.base))
        if factor.free_symbols
    )


def _agrees(form: Expr, reference: np.ndarray, table: Table) -> bool:
    values = evaluate(form, table.variables, table.X)
    size = float(np.sqrt(np.mean(reference**2))) or 1.0
    return bool(np.all(np.abs(values - reference) <= SAME * size + SAME * np.abs(reference)))


def _factored(expr: Expr) -> Expr:
    """Polynomials and quotients, inside roots too, as products of factors."""
    if not _is_factorable(expr):
        return expr
    roots = expr.atoms(sympy.Pow)
    inner = {p: _root(sympy.factor(p.base), p.exp) for p in roots if not p.base.is_Symbol}
    return sympy.factor_terms(expr.xreplace(inner))


def _polynomial(expr: Expr) -> Expr:
    """The whole as a product of factors."""
    return sympy.factor(expr) if _is_factorable(expr) else expr


def _is_factorable(expr: Expr) -> bool:
    """Decimals become fractions of huge numbers, whose factors take minutes to find."""
    return expr.count_ops() <= FACTORABLE and not expr.has(sympy.Float)


def _root(base: Expr, power: Expr) -> Expr:
    """base^power with even powers drawn out of a square root as |.|."""
    if power not in (sympy.S.Half, -sympy.S.Half):
        return base**power
    outside, inside = sympy.S.One, sympy.S.One
    for factor in sympy.Mul.make_args(base):
        root, exponent = factor.as_base_exp()
        if exponent.is_Integer and exponent % 2 == 0:
            outside *= sympy.Abs(root) ** (2 * power * exponent / 2)
        else:
            inside *= factor
    if outside == 1:
        return base**power
    top, bottom = sympy.fraction(sympy.together(inside))
    return outside * (sympy.expand(top) / sympy.expand(bottom)) ** power


def _without_abs(expr: Expr, table: Table) -> Expr:
    """|g| as g or -g where g keeps its sign on all rows."""
    signs = {}
    for node in expr.atoms(sympy.Abs):
        values = evaluate(node.args[0], table.variables, table.X)
        if np.all(values >= 0):
            signs[node] = node.args[0]
        elif np.all(values <= 0):
            signs[node] = -node.args[0]
    return expr.xreplace(signs)
