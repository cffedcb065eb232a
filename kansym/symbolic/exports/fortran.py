"""Fortran source (free form, Fortran 2008): a module with one elemental function per output."""

from __future__ import annotations

import re
from typing import ClassVar

from kansym.errors import ExportError
from kansym.symbolic.exports.code import Code, function_names, header, parts
from kansym.symbolic.formula import Formula

MAX_LINE = 132
MAX_CONTINUATIONS = 255

_ALIKE = ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan",
          "asinh", "acosh", "atanh", "atan2", "sqrt", "erf", "erfc", "gamma")  # fmt: skip
_OWN = ("dp", "sign_of", "larger", "smaller", "floor_of", "ceiling_of", "not_a_number")
_WORDS = """abs aimag aint anint ceiling
    char cmplx conjg dble dim dprod floor iachar ichar int log10
    log_gamma bessel_j0 bessel_j1 bessel_jn bessel_y0 bessel_y1 bessel_yn max merge min mod modulo
    nint real sign hypot erfc_scaled kind size shape sum product transpose matmul epsilon huge tiny
    if then else elseif end endif do while call continue cycle exit goto go to function subroutine
    module program contains use only implicit none integer logical character complex double
    precision type class parameter intent in out inout result pure elemental recursive return stop
    public private save data common dimension allocatable allocate deallocate pointer target
    optional external intrinsic interface procedure select case default where forall elsewhere
    block associate critical concurrent enum entry equivalence namelist format print read write
    open close inquire backspace rewind endfile include include_line value volatile"""


def _helper(name: str, arguments: str, value: str) -> str:
    return (
        f"  elemental function {name}({arguments}) result(r)\n"
        f"    real(dp), intent(in) :: {arguments}\n"
        f"    real(dp) :: r\n"
        f"    r = {value}\n"
        f"  end function {name}"
    )


class FortranCode(Code):
    target = "fortran"
    functions: ClassVar = {
        **{name: name for name in _ALIKE},
        "Abs": "abs",
        "loggamma": "log_gamma",
        "besselj": "bessel_jn",
        "sign": "sign_of",
        "Max": "larger",
        "Min": "smaller",
        "floor": "floor_of",
        "ceiling": "ceiling_of",
    }
    helpers: ClassVar = {
        # Fortran's own sign(1, x) is 1 at 0, its max may forget NaN, its floor is an integer.
        "sign": _helper("sign_of", "x", "merge(sign(1.0_dp, x), x, x < 0 .or. x > 0)"),
        "Max": _helper("larger", "a, b", "merge(a, b, a > b .or. a /= a)"),
        "Min": _helper("smaller", "a, b", "merge(a, b, a < b .or. a /= a)"),
        "floor": _helper("floor_of", "x", "aint(x) - merge(1.0_dp, 0.0_dp, aint(x) > x)"),
        "ceiling": _helper("ceiling_of", "x", "aint(x) + merge(1.0_dp, 0.0_dp, aint(x) < x)"),
    }
    constants: ClassVar = {"pi": "3.14159265358979323846_dp", "E": "2.71828182845904523536_dp"}
    nan = "not_a_number"
    both, either, negation = " .and. ", " .or. ", ".not. "
    relations: ClassVar = {"!=": "/="}
    folds_case = True
    reserved = frozenset([*_WORDS.split(), *_ALIKE, *_OWN])

    def literal(self, value: float) -> str:
        return f"{value!r}_dp"

    def bessel(self, order: int, x: str) -> str:
        return f"bessel_j{order}({x})" if order < 2 else super().bessel(order, x)

    def case(self, condition: str, value: str, otherwise: str) -> str:
        self.used |= {"nan"} if otherwise == self.nan else set()
        return f"merge({value}, {otherwise}, {condition})"


def fortran_source(formula: Formula, name: str = "formula") -> str:
    """Module `name_module` with `name(x1, ...)`, or `name_<target>` for each of several outputs;
    double precision, elemental, so that arrays are taken as well."""
    p, code = parts(formula, FortranCode, name, reserved=frozenset([f"{name}_module"]))
    functions = function_names(p, FortranCode)
    arithmetic = ["  use, intrinsic :: ieee_arithmetic, only: ieee_value, ieee_quiet_nan"]
    lines = [
        *header(p, "!"),
        f"module {p.name}_module",
        "  implicit none",
        "  private",
        f"  public :: {', '.join(functions)}",
        "  integer, parameter :: dp = kind(1.0d0)",
        *(f"  real(dp), parameter :: {ident} = {value}" for ident, value in p.constants),
        "contains",
    ]
    if "nan" in code.used:
        lines.insert(lines.index("  implicit none"), arithmetic[0])
    arguments = ", ".join(p.variables)
    declared = [f"    real(dp), intent(in) :: {arguments}"] if p.variables else []
    for function, target, value in zip(functions, p.targets, p.values, strict=True):
        lines += [
            f"  {'elemental' if p.variables else 'pure'} function {function}({arguments}) "
            f"result({target})",
            *declared,
            f"    real(dp) :: {target}",
            *(
                [
                    f"    real(dp) :: {code.nan}",
                    f"    {code.nan} = ieee_value(1.0_dp, ieee_quiet_nan)",
                ]
                if code.nan in value
                else []
            ),
            f"    {target} = {value}",
            f"  end function {function}",
            "",
        ]
    for used in sorted(code.used & set(code.helpers)):
        lines += [*code.helpers[used].splitlines(), ""]
    lines += [f"end module {p.name}_module", ""]
    return "\n".join(part for line in lines for part in _continued(line))


def _continued(line: str) -> list[str]:
    """The line cut into lines of at most 132 characters; a comment is short enough already."""
    pieces, indent = [], "      "
    while len(line) > MAX_LINE and not line.lstrip().startswith("!"):
        head = line[: MAX_LINE - 2]
        spaces = [m.start() for m in re.finditer(r"(?<=\S) ", head)]
        cut = spaces[-1] if spaces and spaces[-1] > MAX_LINE // 2 else len(head)
        pieces.append(f"{line[:cut]} &")
        # With & in front, even a number may go on in the next line.
        line = f"{indent}&{line[cut:]}"
    if len(pieces) > MAX_CONTINUATIONS:
        raise ExportError(
            f"fortran takes statements of up to {MAX_CONTINUATIONS + 1} lines; this formula needs "
            f"{len(pieces) + 1}. Use rounded(digits) or another target"
        )
    return [*pieces, line]
