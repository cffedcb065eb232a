"""Julia source: one function of numbers, to be broadcast with a dot."""

from __future__ import annotations

from typing import ClassVar

from kansym.symbolic.exports.code import Code, header, parts
from kansym.symbolic.exports.python import outputs
from kansym.symbolic.formula import Formula

_ALIKE = ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan",
          "asinh", "acosh", "atanh", "sqrt", "sign", "floor")  # fmt: skip
_SPECIAL = {"erf": "erf", "erfc": "erfc", "gamma": "gamma", "loggamma": "loggamma",
            "besselj": "besselj"}  # fmt: skip
_WORDS = """baremodule begin break catch const continue do else elseif end export false finally for
    function global if import let local macro module quote return struct true try using while
    abstract mutable primitive type where in isa outer abs max min ceil pi im e one zero Inf NaN
    missing nothing Int Float64 Float32 Bool String Array Base Core Main"""


class JuliaCode(Code):
    target = "julia"
    functions: ClassVar = {
        **{name: name for name in _ALIKE},
        **_SPECIAL,
        "Abs": "abs",
        "ceiling": "ceil",
        "Max": "max",
        "Min": "min",
        "atan2": "atan",
    }
    constants: ClassVar = {"pi": "pi", "E": "2.718281828459045"}
    nan = "NaN"
    raised = "^"
    both, either, negation = " && ", " || ", "!"
    reserved = frozenset([*_WORDS.split(), *_ALIKE, *_SPECIAL])

    def case(self, condition: str, value: str, otherwise: str) -> str:
        return f"({condition} ? {value} : {otherwise})"


def julia_source(formula: Formula, name: str = "formula") -> str:
    """A function of numbers; `name.(x1, x2)` takes arrays. Several outputs come as a tuple.

    Outside the domain of the formula Julia raises a DomainError. erf, gamma and Bessel functions
    are those of the package SpecialFunctions.
    """
    p, code = parts(formula, JuliaCode, name)
    special = sorted(code.used & set(_SPECIAL))
    return "\n".join(
        [
            *header(p, "#"),
            *[f"using SpecialFunctions: {', '.join(special)}"] * bool(special),
            "",
            f"function {p.name}({', '.join(p.variables)})",
            *(f"    {ident} = {value}" for ident, value in p.constants),
            *outputs(p.targets, p.values),
            "end",
            "",
        ]
    )
