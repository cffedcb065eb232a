"""From a network whose active edges are all named to SymPy expressions.

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
from typing import Any, NamedTuple

import numpy as np
import sympy
from sympy import Float, Symbol

from kansym.arrays import as_matrix
from kansym.errors import NotSymbolicError, check_positive_int
from kansym.functions import SymbolicFunction, get_function
from kansym.network import Network
from kansym.symbolic import names as naming
from kansym.symbolic.suggest import numeric_edges

Expr = Any
"""A SymPy expression. SymPy's own annotations call sums and products of them Basic."""


TINY = 1e-6  # a term this small beside another of its sum is no leading term


class _Formula(NamedTuple):
    exprs: tuple[Expr, ...]
    variables: tuple[Symbol, ...]


class Formula(_Formula):
    """`exprs, variables = formula`: one SymPy expression per output, one symbol per input.

    names, target_names: what to print for the variables and outputs in LaTeX.
    snapped: (value, exact number) of every constant that `snap` replaced.
    """

    names: tuple[str, ...]
    target_names: tuple[str, ...]
    snapped: tuple[tuple[float, Expr], ...]

    def __new__(
        cls,
        exprs: Sequence[Expr],
        variables: Sequence[Symbol],
        names: Sequence[str] | None = None,
        target_names: Sequence[str] | None = None,
        snapped: Sequence[tuple[float, Expr]] = (),
    ) -> Formula:
        self = super().__new__(cls, tuple(exprs), tuple(variables))
        self.names = tuple(names) if names else tuple(str(v) for v in variables)
        default = [f"y{o + 1}" if len(exprs) > 1 else "y" for o in range(len(exprs))]
        self.target_names = tuple(target_names) if target_names else tuple(default)
        self.snapped = tuple(snapped)
        return self

    def evaluate(self, X: Any) -> np.ndarray:
        """Values [n, outputs] at the rows of X [n, inputs]; NaN where an expression is not real."""
        table = as_matrix(X, n_columns=len(self.variables)).double().cpu().numpy()
        columns = []
        for expr in self.exprs:
            if not is_real(expr):
                columns.append(np.full(len(table), np.nan))
                continue
            compiled = sympy.lambdify(self.variables, expr, modules=["scipy", "numpy"], cse=True)
            with np.errstate(all="ignore"):
                values = compiled(*table.T)
            columns.append(np.broadcast_to(np.asarray(values, dtype=float), (len(table),)))
        return np.stack(columns, 1)

    def rounded(self, digits: int) -> Formula:
        """Every decimal number, wherever it stands, to `digits` significant digits."""
        exprs = [round_floats(expr, digits) for expr in self.exprs]
        return self._with(exprs)

    def latex(self, digits: int | None = 4) -> str:
        """LaTeX, "y = ..." with one line per output; names are escaped."""
        shown = self if digits is None else self.rounded(digits)
        symbol_names = {
            v: naming.latex_name(name) for v, name in zip(self.variables, self.names, strict=True)
        }
        lines = [
            f"{naming.latex_name(target)} = {_latex(expr, symbol_names)}"
            for target, expr in zip(self.target_names, shown.exprs, strict=True)
        ]
        return " \\\\\n".join(lines)

    def complexity(self) -> int:
        """Number of nodes of the expression trees."""
        return sum(1 for expr in self.exprs for _ in sympy.preorder_traversal(expr))

    def _with(
        self, exprs: Sequence[Expr], snapped: Sequence[tuple[float, Expr]] | None = None
    ) -> Formula:
        kept = self.snapped if snapped is None else snapped
        return Formula(exprs, self.variables, self.names, self.target_names, kept)

    def __str__(self) -> str:
        shown = self.rounded(4)
        lines = [
            f"{target} = {expr}"
            for target, expr in zip(self.target_names, shown.exprs, strict=True)
        ]
        used = set().union(*(expr.free_symbols for expr in self.exprs))
        lines += [
            f"  where {v} is {name!r}"
            for v, name in zip(self.variables, self.names, strict=True)
            if str(v) != name and v in used
        ]
        return "\n".join(lines)


def is_real(expr: Expr) -> bool:
    """Whether no part of the expression is infinite or imaginary whatever its variables are."""
    return not expr.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I)


def _latex(expr: Expr, symbol_names: dict[Symbol, str]) -> str:
    return sympy.latex(expr, symbol_names=symbol_names, fold_short_frac=False)


def round_floats(expr: Expr, digits: int) -> Expr:
    """Every Float of the tree to `digits` significant digits."""
    check_positive_int("digits", digits)
    # Via decimal text: a binary rounding would print as 0.99998100009025.
    swap = {f: _rounded(float(f), digits) for f in expr.atoms(Float)}
    return expr.xreplace(swap)


def _rounded(value: float, digits: int) -> Any:
    text = f"{value:.{digits}g}"
    # "1.0 x" reads as if 1.0 had been measured.
    return sympy.Integer(int(float(text))) if float(text) in (1.0, -1.0) else Float(text, digits)


def network_formula(
    network: Network,
    names: Sequence[str] | None = None,
    target_names: Sequence[str] | None = None,
    simplify: bool = True,
) -> Formula:
    """Expressions for the outputs in raw units of the data; they equal the network.

    simplify=False leaves every c f(a u + b) + d as it stands in the network.
    Raises NotSymbolicError while an active edge is a spline.
    """
    missing = numeric_edges(network)
    if missing:
        raise NotSymbolicError(
            f"symbolic_formula needs every active edge fixed; still numeric: {missing}. "
            "Use fix_symbolic or auto_symbolic"
        )
    variables = naming.symbols(names, network.n_in)
    edge, product = (_normal_edge, _normal_product) if simplify else (_plain_edge, _plain_product)
    shift, scale = network.input_shift.tolist(), network.input_scale.tolist()
    row: list[Any] = [
        _linear(k, v, -k * s) for v, s, k in zip(variables, shift, scale, strict=True)
    ]
    for l, layer in enumerate(network.kan_layers):
        affine = layer.affine.tolist()
        subnodes: list[Any] = [sympy.Integer(0)] * layer.n_out
        for (j, i), name in sorted(layer.symbolic.items()):
            if bool(layer.mask[j, i]):
                subnodes[j] += edge(get_function(name), row[i], *affine[j][i])
        row = [
            product([subnodes[s] for s in network.subnodes_of_node(l, node)])
            for node in range(network.width[l + 1].total)
        ]
    offset, factor = network.output_shift.tolist(), network.output_scale.tolist()
    exprs = [_linear(k, expr, s) for expr, s, k in zip(row, offset, factor, strict=True)]
    return Formula(exprs, variables, names, target_names)


def _number(value: float) -> Any:
    """A Float, but exact 0 and +-1 as integers, so that they vanish from products and sums."""
    return sympy.Integer(int(value)) if value in (0.0, 1.0, -1.0) else Float(value, 17)


def _linear(a: float, u: Any, b: float) -> Any:
    """a u + b with a multiplied into the terms of u."""
    factor = _number(a)
    terms = [factor * term for term in sympy.Add.make_args(u)]
    return sympy.Add(*terms, _number(b))


def _plain_product(factors: Sequence[Any]) -> Any:
    return sympy.Mul(*factors)


def _normal_product(factors: Sequence[Any]) -> Any:
    """A sum node is its only factor. Of several, every leading coefficient is drawn out, so that
    one number stands before the product: 2 u * 3 v has no three constants that data determine."""
    if len(factors) == 1:
        return factors[0]
    number, others = 1.0, []
    for u in factors:
        scale = _leading(u) if u.free_symbols else float(u)
        number *= scale
        if u.free_symbols:
            others.append(_divided(u, scale))
    return _number(_near_unit(number)) * sympy.Mul(*others)


def _plain_edge(f: SymbolicFunction, u: Any, a: float, b: float, c: float, d: float) -> Any:
    return _number(c) * f.sympy(_number(a) * u + _number(b)) + _number(d)


def _normal_edge(f: SymbolicFunction, u: Any, a: float, b: float, c: float, d: float) -> Any:
    inner = _linear(a, u, b)
    if not inner.free_symbols:
        return _number(c) * f.sympy(inner) + _number(d)
    normal = _NORMAL_FORMS.get(f.name) or (_odd_or_even if f.has_parity else _as_is)
    factor, expression, shift = normal(f, inner)
    if f.invariance == "affine":
        return _linear(c * factor, expression, c * shift + d)
    return _number(c * factor) * expression + _number(c * shift + d)


# A normal form writes f(u) = factor * expression + shift.
Normal = tuple[float, Any, float]


def _as_is(f: SymbolicFunction, u: Any) -> Normal:
    return 1.0, f.sympy(u), 0.0


def _leading(u: Any) -> float:
    """The coefficient of the first term that is not a number, in a fixed order of terms; terms that
    are tiny beside another do not count, for things are divided by it."""
    terms = [t.as_coeff_Mul() for t in sympy.Add.make_args(u) if t.free_symbols]
    largest = max(abs(float(number)) for number, _ in terms)
    ordered = sorted(terms, key=lambda term: sympy.default_sort_key(term[1]))
    return next(float(number) for number, _ in ordered if abs(float(number)) >= TINY * largest)


def _divided(u: Any, scale: float) -> Any:
    """u / scale, where |scale| is that of the leading term: its coefficient becomes exactly +-1.
    Left at 1 + 2e-16 it would be a second name for a constant outside."""
    terms = []
    for term in sympy.Add.make_args(u):
        number, rest = term.as_coeff_Mul()
        terms.append(_number(_near_unit(float(number) / scale)) * rest)
    return sympy.Add(*terms)


def _near_unit(value: float) -> float:
    return math.copysign(1.0, value) if abs(abs(value) - 1) < 4e-16 else value


def _odd_or_even(f: SymbolicFunction, u: Any) -> Normal:
    """f(-u) = sign f(u) + shift, found from two values of f inside the domain."""
    if _leading(u) > 0:
        return _as_is(f, u)
    import torch

    at = torch.tensor([0.3, -0.3, 0.7, -0.7], dtype=torch.float64)
    p, m, q, n = f.torch(at).tolist()
    sign = 1.0 if math.isclose(p - m, q - n, abs_tol=1e-12) else -1.0
    return sign, f.sympy(_linear(-1.0, u, 0.0)), m - sign * p


def _power(exponent: Any) -> Callable[[SymbolicFunction, Any], Normal]:
    def normal(f: SymbolicFunction, u: Any) -> Normal:
        scale = _leading(u)
        if not f.has_parity:
            scale = abs(scale)
        return scale ** float(exponent), f.sympy(_divided(u, scale)), 0.0

    return normal


def _log(f: SymbolicFunction, u: Any) -> Normal:
    scale = abs(_leading(u))
    return 1.0, f.sympy(_divided(u, scale)), math.log(scale)


def _abs(f: SymbolicFunction, u: Any) -> Normal:
    scale = _leading(u)
    return abs(scale), f.sympy(_divided(u, scale)), 0.0


def _sign(f: SymbolicFunction, u: Any) -> Normal:
    scale = _leading(u)
    return math.copysign(1.0, scale), f.sympy(_divided(u, scale)), 0.0


def _exp(f: SymbolicFunction, u: Any) -> Normal:
    constant, rest = u.as_coeff_Add()
    if abs(float(constant)) > 500:  # e^b would leave the range of floating point
        return _as_is(f, u)
    return math.exp(float(constant)), f.sympy(rest), 0.0


def _wave(f: SymbolicFunction, u: Any) -> Normal:
    sign = 1.0
    if _leading(u) < 0:
        u = _linear(-1.0, u, 0.0)
        sign = -1.0 if f.name == "sin" else 1.0
    phase, rest = u.as_coeff_Add()
    turns = round(float(phase) / math.pi)
    if turns % 2:
        sign = -sign
    return sign, f.sympy(rest + _number(float(phase) - turns * math.pi)), 0.0


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
