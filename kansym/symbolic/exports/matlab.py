"""MATLAB and Octave source: one function of arrays, for a file of its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from kansym.symbolic.exports.code import ATOM, Code, header, parts
from kansym.symbolic.formula import Expr, Formula

_ALIKE = ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan",
          "asinh", "acosh", "atanh", "atan2", "sqrt", "sign", "erf", "erfc", "gamma",
          "floor")  # fmt: skip
# These leave the real line where they leave their domain.
_MAY_BE_COMPLEX = {"log", "sqrt", "asin", "acos", "acosh", "atanh"}
_OWN = ("real_or_nan", "larger", "smaller", "pick")
_WORDS = """break case catch classdef continue else elseif end for function global if otherwise
    parfor persistent return spmd switch try while abs ceil gammaln besselj pi e i j eps Inf inf NaN
    nan NA ans real imag zeros size power max min isnan isequal end_try_catch endfor endfunction
    endif endswitch endwhile until unwind_protect unwind_protect_cleanup end_unwind_protect do
    properties methods events enumeration true false nargin nargout varargin varargout"""


class MatlabCode(Code):
    target = "matlab"
    functions: ClassVar = {
        **{name: name for name in _ALIKE},
        "Abs": "abs",
        "ceiling": "ceil",
        "besselj": "besselj",
        "Max": "larger",
        "Min": "smaller",
    }
    helpers: ClassVar = {
        "real_or_nan": "function y = real_or_nan(y)\n  y(imag(y) ~= 0) = NaN;\n  y = real(y);\nend",
        # Not max: it takes NaN for a missing number.
        "Max": "function y = larger(a, b)\n  y = pick(a > b | isnan(a), a, b);\nend",
        "Min": "function y = smaller(a, b)\n  y = pick(a < b | isnan(a), a, b);\nend",
        "pick": "function y = pick(condition, a, b)\n"
        "  shape = zeros(size(condition + a + b));\n"
        "  condition = (condition + shape) ~= 0;\n"
        "  a = a + shape;\n"
        "  y = b + shape;\n"
        "  y(condition) = a(condition);\n"
        "end",
    }
    constants: ClassVar = {"pi": "pi", "E": "exp(1.0)"}
    nan = "NaN"
    times, over, raised = " .* ", " ./ ", ".^"
    both, either, negation = " & ", " | ", "~"
    relations: ClassVar = {"!=": "~="}
    reserved = frozenset([*_WORDS.split(), *_ALIKE, *_OWN])

    def call(self, name: str, arguments: Sequence[str]) -> str:
        if name in ("Max", "Min"):
            self.used.add("pick")
        text = super().call(name, arguments)
        return self._real(text) if name in _MAY_BE_COMPLEX else text

    def general_power(self, base: Expr, exponent: Expr) -> tuple[str, int]:
        text, level = super().general_power(base, exponent)
        return (text, level) if base.is_nonnegative else (self._real(text), ATOM)

    def _real(self, text: str) -> str:
        self.used.add("real_or_nan")
        return f"real_or_nan({text})"

    def case(self, condition: str, value: str, otherwise: str) -> str:
        self.used.add("pick")
        return f"pick({condition}, {value}, {otherwise})"


def matlab_source(formula: Formula, name: str = "formula") -> str:
    """`function y = name(x1, x2)`, elementwise; several outputs come as several values.

    Save it as `name.m`. NaN outside the domain, where MATLAB alone would go on in complex numbers.
    """
    p, code = parts(formula, MatlabCode, name)
    outputs = p.targets[0] if len(p.targets) == 1 else f"[{', '.join(p.targets)}]"
    shape = f"zeros(size({' + '.join(p.variables) or '0'}))"
    lines = [
        f"function {outputs} = {p.name}({', '.join(p.variables)})",
        *(f"  {line}" for line in header(p, "%")),
        *(f"  {ident} = {value};" for ident, value in p.constants),
    ]
    for target, expr, value in zip(p.targets, formula.exprs, p.values, strict=True):
        whole = value if expr.free_symbols else f"{value} + {shape}"
        lines.append(f"  {target} = {whole};")
    lines += ["end", ""]
    for used in sorted(code.used & set(code.helpers)):
        lines += [code.helpers[used], ""]
    return "\n".join(lines)
