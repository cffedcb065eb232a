"""From a network whose active edges are all named to SymPy expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import sympy
from sympy import Float, Symbol
from sympy.core.function import AppliedUndef

from kansym.arrays import as_matrix, column_names, columns_by_name
from kansym.errors import NotSymbolicError, check_positive_int, shown, visible
from kansym.functions import get_function
from kansym.network import Network
from kansym.symbolic import names as naming
from kansym.symbolic.candidates import numeric_edges
from kansym.symbolic.normal_form import (
    linear,
    normal_edge,
    normal_product,
    plain_edge,
    plain_product,
)

if TYPE_CHECKING:
    from kansym.symbolic.exports.module import FormulaModule

Expr = Any
"""A SymPy expression. SymPy's own annotations call sums and products of them Basic."""


class _Formula(NamedTuple):
    exprs: tuple[Expr, ...]
    variables: tuple[Symbol, ...]


class Formula(_Formula):
    """`exprs, variables = formula`: one SymPy expression per output, one symbol per input.

    names: of the variables, as a table calls its columns; target_names: of the outputs. Both are
    what is printed.
    snapped: (value, exact number) of every constant that `snap` replaced.

    Raises ValueError for text instead of an expression, which SymPy would run as code, and for a
    name that is there twice.
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
        self = super().__new__(cls, tuple(map(_expression, exprs)), tuple(variables))
        own = [str(v) for v in variables] if names is None else names
        self.names = tuple(naming.check_names(own, len(variables)))
        letter = next((name for name in ("y", "f") if name not in self.names), "output")
        default = [f"{letter}{o + 1}" if len(exprs) > 1 else letter for o in range(len(exprs))]
        own = default if target_names is None else target_names
        self.target_names = tuple(naming.check_names(own, len(exprs), "target_names"))
        self.snapped = tuple(snapped)
        return self

    def evaluate(self, X: Any) -> np.ndarray:
        """Values [n, outputs] at the rows of X [n, inputs]; NaN where an expression is not real.

        Of a frame whose columns have names those of the formula are taken, whatever their order.
        Raises ValueError for a frame that lacks one, and for what is no table of numbers.
        """
        if column_names(X) is not None:
            X = columns_by_name(X, self.names)
        table = as_matrix(X, n_columns=len(self.variables)).double().cpu().numpy()
        columns = []
        for expr in self.exprs:
            _check_names(expr, self.variables)
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
        return self.to("latex", digits=digits)

    def to(self, target: str, **options: Any) -> str:
        """The formula as text for `target`: "sympy", "latex", "align", "python", "numpy", "torch",
        "jax", "c", "fortran", "julia", "matlab", "excel", or what was added to `exports.EXPORTS`.

        options: of that export, see its function; most take `name`, of the function to write.
        Variables become identifiers, with a legend in the file's head. Raises ExportError, a
        ValueError, for a part that the target cannot say.
        """
        from kansym.symbolic.exports import export

        return export(self, target, **options)

    def module(self, learnable: bool = False) -> FormulaModule:
        """A `torch.nn.Module` from [..., variables] to [..., outputs]; learnable: the decimal
        constants are parameters, and `module.formula` reads them back."""
        from kansym.symbolic.exports.module import FormulaModule

        return FormulaModule(self, learnable)

    def _repr_latex_(self) -> str:
        lines = self.latex()
        if len(self.exprs) > 1:
            lines = rf"\begin{{array}}{{l}}{lines}\end{{array}}"
        return rf"$\displaystyle {lines}$"

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
            f"{visible(target)} = {expr}"
            for target, expr in zip(self.target_names, shown.exprs, strict=True)
        ]
        used = set().union(*(expr.free_symbols for expr in self.exprs))
        lines += [
            f"  where {v} is {name!r}"
            for v, name in zip(self.variables, self.names, strict=True)
            if str(v) != name and v in used
        ]
        return "\n".join(lines)


def _check_names(expr: Expr, variables: Sequence[Symbol]) -> None:
    """ValueError for a name that is neither a variable nor a function of SymPy: where a formula is
    compiled, it would be run as code."""
    if strange := (expr.free_symbols - set(variables)) | expr.atoms(AppliedUndef):
        raise ValueError(
            f"the formula has {shown(min(map(str, strange)))}, which is none of its variables"
            f" {tuple(variables)} and no function of SymPy"
        )


def _expression(expr: Any) -> Expr:
    """SymPy would run text as code."""
    if isinstance(expr, sympy.Basic):
        return expr
    try:
        return sympy.sympify(expr, strict=True)
    except (sympy.SympifyError, TypeError, ValueError) as error:
        raise ValueError(f"formula must hold SymPy expressions, got {shown(expr)}") from error


def is_real(expr: Expr) -> bool:
    """Whether no part of the expression is infinite or imaginary whatever its variables are."""
    return not expr.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I)


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
    edge, product = (normal_edge, normal_product) if simplify else (plain_edge, plain_product)
    shift, scale = network.input_shift.tolist(), network.input_scale.tolist()
    row: list[Any] = [linear(k, v, -k * s) for v, s, k in zip(variables, shift, scale, strict=True)]
    for l, layer in enumerate(network.kan_layers):
        affine = layer.affine.tolist()
        subnodes: list[Any] = [sympy.Integer(0)] * layer.n_out
        for (j, i), name in sorted(layer.symbolic.items()):
            if bool(layer.mask[j, i]):
                subnodes[j] += edge(get_function(name), row[i], *affine[j][i])
        left_out = network.is_left_out(l).tolist()
        row = [
            product([subnodes[s] for s in network.subnodes_of_node(l, node) if not left_out[s]])
            for node in range(network.width[l + 1].total)
        ]
    offset, factor = network.output_shift.tolist(), network.output_scale.tolist()
    exprs = [linear(k, expr, s) for expr, s, k in zip(row, offset, factor, strict=True)]
    return Formula(exprs, variables, names, target_names)
