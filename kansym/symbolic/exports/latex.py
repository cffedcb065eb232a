"""LaTeX: formulas line by line, as an `align`, and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sympy
from sympy import Symbol

from kansym.symbolic import names as naming
from kansym.symbolic.formula import Expr, Formula


class FrontRow(NamedTuple):
    """A formula of one output on a Pareto front, as `latex_table` shows it."""

    complexity: int
    loss: float
    r2: float
    formula: Formula


def latex(formula: Formula, digits: int | None = 4) -> str:
    """LaTeX for maths mode, "y = ..." with one line per output; names are escaped.

    digits: of decimal constants, None for all.
    """
    return " \\\\\n".join(f"{target} = {value}" for target, value in _sides(formula, digits))


def latex_align(formula: Formula, digits: int | None = 4) -> str:
    """An `align` environment (amsmath) with one numbered line per output."""
    lines = " \\\\\n".join(f"  {target} &= {value}" for target, value in _sides(formula, digits))
    return f"\\begin{{align}}\n{lines}\n\\end{{align}}"


def latex_table(front: Iterable[FrontRow], digits: int = 4) -> str:
    """A `tabular` of a Pareto front with the rules of booktabs."""
    lines = [
        rf"{row.complexity} & {_number(row.loss)} & {row.r2:.6g} & "
        rf"${latex(row.formula, digits)}$ \\"
        for row in front
    ]
    head = r"complexity & loss & $R^2$ & formula \\"
    rows = [r"\toprule", head, r"\midrule", *lines, r"\bottomrule"]
    return "\n".join([r"\begin{tabular}{rrrl}", *rows, r"\end{tabular}"])


def _sides(formula: Formula, digits: int | None) -> list[tuple[str, str]]:
    """Left and right side of every output's equation."""
    shown = formula if digits is None else formula.rounded(digits)
    pairs = zip(formula.variables, formula.names, strict=True)
    symbol_names = {v: naming.latex_name(name) for v, name in pairs}
    return [
        (naming.latex_name(target), _latex(expr, symbol_names))
        for target, expr in zip(shown.target_names, shown.exprs, strict=True)
    ]


def _latex(expr: Expr, symbol_names: dict[Symbol, str]) -> str:
    # A product of words set side by side would read as one word.
    names = (symbol_names.get(symbol, "") for symbol in expr.free_symbols)
    dot = "dot" if any(map(naming.has_words, names)) else None
    return sympy.latex(expr, symbol_names=symbol_names, fold_short_frac=False, mul_symbol=dot)


def _number(value: float) -> str:
    base, _, power = f"{value:.3g}".partition("e")
    return rf"${base} \times 10^{{{int(power)}}}$" if power else base
