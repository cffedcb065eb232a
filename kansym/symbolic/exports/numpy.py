"""NumPy source: one function of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from kansym.symbolic.exports.code import Code, Parts, header, parts
from kansym.symbolic.exports.python import PYTHON_WORDS, definition, outputs
from kansym.symbolic.formula import Formula

_ALIKE = ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sqrt", "sign", "floor")


class ArrayCode(Code):
    """What NumPy and JAX have in common."""

    target = "arrays"
    functions: ClassVar = {}
    module = ""
    nan = "nan"

    def case(self, condition: str, value: str, otherwise: str) -> str:
        return f"{self.module}.where({condition}, {value}, {otherwise})"

    def joined(self, is_and: bool, parts: Sequence[str]) -> str:
        return f"({(' & ' if is_and else ' | ').join(parts)})"


def array_functions(module: str) -> dict[str, str]:
    """The functions that NumPy and JAX name alike."""
    arcs = {f"a{f}": f"arc{f}" for f in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")}
    others = {"Abs": "abs", "ceiling": "ceil", "Max": "maximum", "Min": "minimum"}
    table = {name: name for name in _ALIKE} | arcs | others
    return {name: f"{module}.{own}" for name, own in table.items()}


class NumpyCode(ArrayCode):
    target = "numpy"
    module = "np"
    functions: ClassVar = {
        **array_functions("np"),
        "erf": "special.erf",
        "erfc": "special.erfc",
        "gamma": "special.gamma",
        "loggamma": "special.gammaln",
        "besselj": "special.jv",
    }
    constants: ClassVar = {"pi": "np.pi", "E": "np.e"}
    nan = "np.nan"
    negation = "~"
    reserved = PYTHON_WORDS | {"np", "special"}

    def bessel(self, order: int, x: str) -> str:
        return f"special.j{order}({x})" if order < 2 else super().bessel(order, x)


def numpy_source(formula: Formula, name: str = "formula") -> str:
    """A function of arrays that broadcast, one argument per variable; several outputs come as a
    tuple. NaN, with NumPy's warnings, outside the domain. erf, gamma and Bessel functions import
    SciPy."""
    p, code = parts(formula, NumpyCode, name)
    needs_scipy = any(code.functions[used].startswith("special.") for used in code.used)
    return "\n".join(
        [
            *header(p, "#"),
            "import numpy as np",
            *["from scipy import special"] * needs_scipy,
            "",
            "",
            *definition(p, "Arrays broadcast; NaN outside the domain."),
            *array_body(formula, p, "np"),
            "",
        ]
    )


def array_body(formula: Formula, p: Parts, module: str) -> list[str]:
    """Arguments as arrays of floats, then the values, constant ones in the arrays' shape."""
    lines = [f"    {v} = {module}.asarray({v}, dtype=float)" for v in p.variables]
    shape = f"{module}.broadcast_shapes({', '.join(f'{v}.shape' for v in p.variables)})"
    values = [
        value if expr.free_symbols else f"{module}.full({shape}, {value})"
        for expr, value in zip(formula.exprs, p.values, strict=True)
    ]
    return [*lines, *outputs(p.targets, values)]
