"""Excel formulas: one for each output, with a cell for every variable."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from kansym.errors import ExportError, suggestion
from kansym.symbolic.constants import NamedConstant
from kansym.symbolic.exports.code import ATOM, Code, in_few_functions
from kansym.symbolic.formula import Expr, Formula
from kansym.symbolic.names import cell_text

MAX_LENGTH = 8192  # characters of a formula that Excel takes
_CELL = re.compile(r"(?:(?:[A-Za-z_]\w*|'[^'\[\]:?*/\\]+')!)?\$?[A-Z]{1,3}\$?[1-9][0-9]{0,6}")

_ALIKE = ("exp", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan",
          "asinh", "acosh", "atanh", "sqrt", "sign", "erf", "erfc", "gamma", "Abs", "Max",
          "Min")  # fmt: skip


class ExcelCode(Code):
    target = "excel"
    functions: ClassVar = {
        **{name: name.upper() for name in _ALIKE},
        "log": "LN",
        "loggamma": "GAMMALN",
        "besselj": "BESSELJ",
        "atan2": "ATAN2",
        "floor": "INT",
        "ceiling": "-INT",
    }
    constants: ClassVar = {"pi": "PI()", "E": "EXP(1)"}
    nan = "NA()"
    relations: ClassVar = {"==": "=", "!=": "<>"}

    def literal(self, value: float) -> str:
        text = repr(value).upper()
        return text.removesuffix(".0")

    def call(self, name: str, arguments: Sequence[str]) -> str:
        if name == "ceiling":
            return f"(-INT(-({arguments[0]})))"
        # Excel takes the abscissa first.
        ordered = reversed(arguments) if name == "atan2" else arguments
        return super().call(name, list(ordered))

    # POWER, not ^: Excel reads -A2^2 as (-A2)^2.
    def whole_power(self, base: Expr, n: int) -> tuple[str, int]:
        return f"POWER({self(base)}, {n})", ATOM

    def general_power(self, base: Expr, exponent: Expr) -> tuple[str, int]:
        return f"POWER({self(base)}, {self(exponent)})", ATOM

    def bessel(self, order: int, x: str) -> str:
        return f"BESSELJ({x}, {order})"

    def case(self, condition: str, value: str, otherwise: str) -> str:
        return f"IF({condition}, {value}, {otherwise})"

    def joined(self, is_and: bool, parts: Sequence[str]) -> str:
        return f"{'AND' if is_and else 'OR'}({', '.join(parts)})"

    def condition(self, expr: Expr) -> str:
        text = super().condition(expr)
        return text.replace("(not ", "NOT(", 1) if text.startswith("(not ") else text


def excel_formula(
    formula: Formula, cells: Mapping[str, str] | None = None, header: bool = False
) -> str:
    """`=SIN(A2)+...`, one line per output; for English function names and decimal points.

    cells: {name of a variable: cell}, "B2", "$B$2" or "Sheet1!B2"; by default A2, B2, ... header:
    two lines separated by tabs to be pasted at A1: the names, and beneath them one empty cell for
    each variable and the formulas. A name that Excel would read as a formula gets an apostrophe.

    Excel keeps 15 digits of a constant. Raises ExportError for formulas longer than 8,192
    characters, ValueError for cells that are none.
    """
    if header and cells is not None:
        raise ValueError("header=True lays out the cells itself; leave out cells")
    places = _cells(formula, cells)
    named = set().union(*(expr.atoms(NamedConstant) for expr in formula.exprs))
    code = ExcelCode(dict(zip(formula.variables, places, strict=True)))
    texts = []
    for expr in map(in_few_functions, formula.exprs):
        text = "=" + code(expr.xreplace({c: c.evalf(17) for c in named}))
        if len(text) > MAX_LENGTH:
            raise ExportError(
                f"excel takes formulas of up to {MAX_LENGTH} characters; this has {len(text)}. "
                "Use rounded(digits) or another target"
            )
        texts.append(text)
    if not header:
        return "\n".join(texts)
    titles = [cell_text(name) for name in (*formula.names, *formula.target_names)]
    return "\t".join(titles) + "\n" + "\t".join(["" for _ in formula.variables] + texts)


def _cells(formula: Formula, cells: Mapping[str, str] | None) -> list[str]:
    if cells is None:
        return [f"{_column(i)}2" for i in range(len(formula.variables))]
    unknown = [name for name in cells if name not in formula.names]
    if unknown:
        raise ValueError(f"unknown variable {unknown[0]!r};{suggestion(unknown[0], formula.names)}")
    missing = [name for name in formula.names if name not in cells]
    if missing:
        raise ValueError(f"cells must give every variable a cell; {missing} have none")
    places = [cells[name] for name in formula.names]
    for place in places:
        if not isinstance(place, str) or not _CELL.fullmatch(place):
            raise ValueError(f"a cell must read like B2, $B$2 or Sheet1!B2, got {place!r}")
    return places


def _column(index: int) -> str:
    """0 is A, 25 is Z, 26 is AA."""
    letters, index = "", index + 1
    while index:
        index, letter = divmod(index - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters
