"""C source (C99): one function of doubles for each output."""

from __future__ import annotations

from typing import ClassVar

from kansym.symbolic.exports.code import ATOM, Code, function_names, header, parts
from kansym.symbolic.formula import Expr, Formula

MOST_FACTORS = 4  # x^4 is written x*x*x*x

_ALIKE = ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan",
          "asinh", "acosh", "atanh", "atan2", "sqrt", "erf", "erfc", "floor")  # fmt: skip
_KEYWORDS = """auto break case char const continue default do double else enum extern float for goto
    if inline int long register restrict return short signed sizeof static struct switch typedef
    union unsigned void volatile while asm typeof bool true false alignas alignof class new delete
    template this try catch namespace private public protected operator virtual friend using"""
# What math.h declares, with the suffixes f and l; POSIX adds Bessel functions and signgam.
_MATH = """acos asin atan atan2 cos sin tan acosh asinh atanh cosh sinh tanh exp exp2 expm1 frexp
    ilogb ldexp log log10 log1p log2 logb modf scalbn scalbln cbrt fabs hypot pow sqrt erf erfc
    lgamma tgamma ceil floor nearbyint rint lrint llrint round lround llround trunc fmod remainder
    remquo copysign nan nextafter nexttoward fdim fmax fmin fma j0 j1 jn gamma scalb drem
    significand exp10 pow10 sincos finite isinf isnan"""
_MACROS = "NAN INFINITY HUGE_VAL isfinite isnormal signbit fpclassify signgam main errno linux unix"


class CCode(Code):
    target = "c"
    functions: ClassVar = {
        **{name: name for name in _ALIKE},
        "Abs": "fabs",
        "ceiling": "ceil",
        "gamma": "tgamma",
        "loggamma": "lgamma",
        "besselj": "jn",
        "sign": "sign_of",
        "Max": "larger",
        "Min": "smaller",
    }
    helpers: ClassVar = {
        "sign": "double sign_of(double x) { return x > 0 ? 1.0 : x < 0 ? -1.0 : x; }",
        # Not fmax: it takes NaN for a missing number.
        "Max": "double larger(double a, double b) { return a > b || a != a ? a : b; }",
        "Min": "double smaller(double a, double b) { return a < b || a != a ? a : b; }",
    }
    constants: ClassVar = {"pi": "3.14159265358979323846", "E": "2.71828182845904523536"}
    nan = "NAN"
    both, either, negation = " && ", " || ", "!"
    reserved = frozenset(
        [*_KEYWORDS.split(), *_MACROS.split(), "sign_of", "larger", "smaller"]
        + [name + end for name in _MATH.split() for end in ("", "f", "l")]
    )

    def whole_power(self, base: Expr, n: int) -> tuple[str, int]:
        if base in self.names and n <= MOST_FACTORS:
            return f"({'*'.join([self.names[base]] * n)})", ATOM
        return f"pow({self(base)}, {n}.0)", ATOM

    def general_power(self, base: Expr, exponent: Expr) -> tuple[str, int]:
        return f"pow({self(base)}, {self(exponent)})", ATOM

    def bessel(self, order: int, x: str) -> str:
        return f"j{order}({x})" if order < 2 else f"jn({order}, {x})"

    def case(self, condition: str, value: str, otherwise: str) -> str:
        return f"({condition} ? {value} : {otherwise})"


def c_source(formula: Formula, name: str = "formula") -> str:
    """`double name(double x1, ...)`, or `name_<target>` for each of several outputs.

    NaN outside the domain, as math.h gives it; link with -lm. Bessel functions are those of POSIX.
    """
    p, code = parts(formula, CCode, name)
    # Without the macro, -std=c99 hides j0, and an undeclared function returns an int.
    posix = ["#define _XOPEN_SOURCE 600"] * ("besselj" in code.used)
    lines = [*header(p, "//"), *posix, "#include <math.h>", ""]
    lines += [f"static {code.helpers[used]}\n" for used in sorted(code.used & set(code.helpers))]
    arguments = ", ".join(f"double {v}" for v in p.variables) or "void"
    for function, value in zip(function_names(p, CCode), p.values, strict=True):
        lines += [
            f"double {function}({arguments})",
            "{",
            *(f"    const double {ident} = {number};" for ident, number in p.constants),
            f"    return {value};",
            "}",
            "",
        ]
    return "\n".join(lines)
