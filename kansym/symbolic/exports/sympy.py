"""SymPy source: Python that builds the expressions again, digit by digit."""

from __future__ import annotations

import re
from typing import Any

import sympy
from sympy.core.function import AppliedUndef
from sympy.printing.str import StrPrinter

from kansym.errors import ExportError, shown
from kansym.symbolic.exports.identifiers import identifiers, quoted
from kansym.symbolic.exports.python import PYTHON_WORDS
from kansym.symbolic.formula import Formula


class _Printer(StrPrinter):
    """SymPy's own text, with identifiers for symbols and exact numbers."""

    def __init__(self, names: dict[Any, str]):
        super().__init__()
        self.names = names

    def _print_Symbol(self, expr: Any) -> str:
        return self.names[expr]

    def _print_Float(self, expr: Any) -> str:
        return sympy.srepr(expr)

    def _print_Rational(self, expr: Any) -> str:
        return f"Rational({expr.p}, {expr.q})"

    def _print_NamedConstant(self, expr: Any) -> str:
        return sympy.srepr(expr.evalf(17))

    def _print_Relational(self, expr: Any) -> str:
        return f"{type(expr).__name__}({self._print(expr.lhs)}, {self._print(expr.rhs)})"


def sympy_source(formula: Formula) -> str:
    """A .py that leaves `variables` and `exprs`, equal to the formula's (sums and products
    that were held back are worked out); a known constant is left as its value."""
    free = set().union(*(expr.free_symbols for expr in formula.exprs)) - set(formula.variables)
    if free:
        raise ExportError(f"{sorted(map(str, free))} are no variables of the formula")
    # Its name would stand in the source as it is, whatever it says.
    if undefined := set().union(*(expr.atoms(AppliedUndef) for expr in formula.exprs)):
        raise ExportError(f"sympy has no function {shown(min(str(f.func) for f in undefined))}")
    headers = [*formula.names, *formula.target_names]
    taken = PYTHON_WORDS | frozenset(dir(sympy)) | {"variables", "exprs"}
    found = identifiers(headers, taken, folds_case=False)
    names = dict(zip(formula.variables, found, strict=False))
    printer = _Printer(names)
    texts = [
        sympy.srepr(expr) if expr.is_Integer else printer.doprint(expr) for expr in formula.exprs
    ]
    known = set(dir(sympy))
    words = sorted({w for t in texts for w in re.findall(r"[A-Za-z_]\w*", t)} & known)
    targets = found[len(formula.names) :]
    legend = [
        f"# {ident} = {quoted(name)}"
        for ident, name in zip(found, headers, strict=True)
        if ident != name
    ]
    return "\n".join(
        [
            "# Written by kansym.",
            *legend,
            f"from sympy import {', '.join(sorted({*words, 'Symbol'}))}",
            "",
            *(f"{names[v]} = {sympy.srepr(v)}" for v in formula.variables),
            f"variables = ({''.join(f'{names[v]}, ' for v in formula.variables)})",
            "",
            *(f"{target} = {text}" for target, text in zip(targets, texts, strict=True)),
            f"exprs = ({''.join(f'{target}, ' for target in targets)})",
            "",
        ]
    )
