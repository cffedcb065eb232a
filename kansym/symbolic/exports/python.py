"""Python source with nothing but the `math` module: one function of floats."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Sequence
from typing import ClassVar

from kansym.symbolic.exports.code import ATOM, Code, Parts, header, parts
from kansym.symbolic.formula import Expr, Formula

PYTHON_WORDS = frozenset([*keyword.kwlist, *keyword.softkwlist, *dir(builtins)])

_ALIKE = ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan",
          "asinh", "acosh", "atanh", "atan2", "sqrt", "erf", "erfc", "gamma", "floor")  # fmt: skip


class PythonCode(Code):
    target = "python"
    functions: ClassVar = {
        **{name: f"math.{name}" for name in _ALIKE},
        "Abs": "abs",
        "loggamma": "math.lgamma",
        "ceiling": "math.ceil",
        "sign": "_sign",
        "Max": "_larger",
        "Min": "_smaller",
    }
    helpers: ClassVar = {
        "sign": "def _sign(x):\n    return 1.0 if x > 0 else -1.0 if x < 0 else x",
        "Max": "def _larger(a, b):\n    return a if a > b or a != a else b",
        "Min": "def _smaller(a, b):\n    return a if a < b or a != a else b",
    }
    constants: ClassVar = {"pi": "math.pi", "E": "math.e"}
    nan = "math.nan"
    reserved = PYTHON_WORDS | {"math"}

    def general_power(self, base: Expr, exponent: Expr) -> tuple[str, int]:
        # Not **: a negative float to a fraction would be complex.
        return f"math.pow({self(base)}, {self(exponent)})", ATOM


def python_source(formula: Formula, name: str = "formula") -> str:
    """A function of floats, one argument per variable; several outputs come as a tuple.

    Outside the domain of the formula it raises what `math` raises: ValueError, OverflowError
    or ZeroDivisionError.
    """
    p, code = parts(formula, PythonCode, name)
    helpers = [line for used in sorted(code.used) if used in code.helpers
               for line in (*code.helpers[used].splitlines(), "", "")]  # fmt: skip
    return "\n".join(
        [
            *header(p, "#"),
            "import math",
            "",
            "",
            *helpers,
            *definition(p),
            *outputs(p.targets, p.values),
            "",
        ]
    )


def definition(p: Parts, note: str = "") -> list[str]:
    """The head of a function, its docstring and its named constants."""
    about = f"{', '.join(p.targets)} of {', '.join(p.variables) or 'nothing'}."
    lines = [about, *([note] if note else []), *p.legend]
    return [
        f"def {p.name}({', '.join(p.variables)}):",
        *docstring(lines),
        *(f"    {ident} = {value}" for ident, value in p.constants),
    ]


def outputs(targets: Sequence[str], values: Sequence[str]) -> list[str]:
    """One line for every output, and the return."""
    pairs = zip(targets, values, strict=True)
    return [*(f"    {t} = {value}" for t, value in pairs), f"    return {', '.join(targets)}"]


def docstring(lines: Sequence[str], indent: str = "    ") -> list[str]:
    """A docstring whose lines, text from outside among them, cannot end it."""
    safe = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    if len(safe) == 1:
        return [f'{indent}"""{safe[0]}"""']
    return [f'{indent}"""{safe[0]}', "", *(f"{indent}{line}" for line in safe[1:]), f'{indent}"""']
