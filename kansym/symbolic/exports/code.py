"""From expressions to the text of a programming language.

`Code` walks an expression and knows only what it lists: numbers, variables, sums, products, powers,
comparisons, cases, and the functions its language has. Anything else is an ExportError, so that no
export is silently wrong. A language is a subclass: a table of functions and a few methods.

Numbers are floats with every digit, so that no division is one of integers; a part without
variables that is no rational or pi is written as its value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, cast

import sympy
from sympy import Add, Float, Integer, Mul, NumberSymbol, Pow, Rational, Symbol

from kansym.errors import ExportError
from kansym.symbolic.constants import NamedConstant
from kansym.symbolic.exports.identifiers import identifiers, quoted
from kansym.symbolic.formula import Expr, Formula, is_real

SUM, PRODUCT, POWER, ATOM = range(4)

_LARGEST_EXACT = 2**53  # integers up to here are floats


class Code:
    """Writes expressions in one language.

    functions: SymPy's class name -> the function here. helpers: those of them that the language
    lacks, with their source; `used` collects what an export must bring or import.
    """

    target: ClassVar[str]
    functions: ClassVar[Mapping[str, str]]
    helpers: ClassVar[Mapping[str, str]] = {}
    reserved: ClassVar[frozenset[str]] = frozenset()
    folds_case: ClassVar[bool] = False
    constants: ClassVar[Mapping[str, str]] = {}
    nan: ClassVar[str] = "nan"
    times: ClassVar[str] = "*"
    over: ClassVar[str] = "/"
    raised: ClassVar[str] = "**"
    both: ClassVar[str] = " and "
    either: ClassVar[str] = " or "
    negation: ClassVar[str] = "not "
    relations: ClassVar[Mapping[str, str]] = {}

    def __init__(self, names: Mapping[Any, str]):
        self.names = names
        self.used: set[str] = set()

    def __call__(self, expr: Expr) -> str:
        return self.text(expr, SUM)

    def text(self, expr: Expr, level: int) -> str:
        """The expression in brackets unless it binds at least as strongly as `level`."""
        text, own = self._parts(expr)
        return text if own >= level else f"({text})"

    def _parts(self, expr: Expr) -> tuple[str, int]:
        if expr in self.names:
            return self.names[expr], ATOM
        if isinstance(expr, Symbol):
            raise ExportError(
                f"{expr} is no variable of the formula: its variables are {tuple(self.names)}"
            )
        if isinstance(expr, (Integer, Rational, Float, NumberSymbol)):
            return self._number(expr)
        if expr.is_number and isinstance(expr, (Pow, sympy.Function)):
            return self._number(Float(_value(expr), 17))
        if isinstance(expr, Add):
            return self._sum(expr), SUM
        if isinstance(expr, Mul):
            return self._product(expr)
        if isinstance(expr, Pow):
            return self._power(expr.base, expr.exp)
        if isinstance(expr, sympy.Piecewise):
            return self._piecewise(expr.args), ATOM
        return self._function(expr), ATOM

    # -- numbers ----------------------------------------------------------------------------------

    def _number(self, expr: Expr) -> tuple[str, int]:
        if str(expr) in self.constants and not isinstance(expr, NamedConstant):
            return self.constants[str(expr)], ATOM
        if expr.is_negative:
            return f"-{self.text(-expr, PRODUCT)}", SUM
        if isinstance(expr, Rational) and expr.q != 1 and max(expr.p, expr.q) <= _LARGEST_EXACT:
            return f"{self.literal(float(expr.p))}{self.over}{self.literal(float(expr.q))}", PRODUCT
        return self.literal(_value(expr)), ATOM

    def literal(self, value: float) -> str:
        """A number that is not negative; the shortest text with every digit."""
        return repr(value)

    # -- arithmetic -------------------------------------------------------------------------------

    def _sum(self, expr: Expr) -> str:
        first, *others = expr.as_ordered_terms()
        text = self.text(first, SUM)
        for term in others:
            if term.as_coeff_Mul()[0].is_negative:
                text += f" - {self.text(-term, PRODUCT)}"
            else:
                text += f" + {self.text(term, PRODUCT)}"
        return text

    def _product(self, expr: Expr) -> tuple[str, int]:
        if expr.as_coeff_Mul()[0].is_negative:
            return f"-{self.text(-expr, PRODUCT)}", SUM
        above: list[Any] = []
        below: list[Any] = []
        for part in cast("Sequence[Any]", Mul.make_args(expr)):
            if _is_divisor(part):
                below.append(Pow(part.base, -part.exp))
            elif isinstance(part, Rational) and max(part.p, part.q) <= _LARGEST_EXACT:
                above += [Integer(part.p)] * (part.p != 1)
                below += [Integer(part.q)] * (part.q != 1)
            else:
                above.append(part)
        text = self.times.join(self.text(part, POWER) for part in above) or self.literal(1.0)
        if not below:
            return text, PRODUCT
        under = self.times.join(self.text(part, POWER) for part in below)
        return f"{text}{self.over}{under if len(below) == 1 else f'({under})'}", PRODUCT

    def _power(self, base: Expr, exponent: Expr) -> tuple[str, int]:
        exponent = _whole(exponent)
        if exponent.is_number and exponent.is_negative:
            one = self.literal(1.0)
            return f"{one}{self.over}{self.text(Pow(base, -exponent), POWER)}", PRODUCT
        if exponent == Rational(1, 2):
            return self.call("sqrt", [self(base)]), ATOM
        if isinstance(exponent, Integer):
            return self.whole_power(base, int(exponent))
        return self.general_power(base, self.exponent(exponent))

    def exponent(self, exponent: Expr) -> Expr:
        """3/2 as 1.5, which is exact."""
        is_binary = isinstance(exponent, Rational) and exponent.q & (exponent.q - 1) == 0
        return Float(float(exponent), 17) if is_binary else exponent

    def whole_power(self, base: Expr, n: int) -> tuple[str, int]:
        return f"{self.text(base, ATOM)}{self.raised}{n}", POWER

    def general_power(self, base: Expr, exponent: Expr) -> tuple[str, int]:
        return f"{self.text(base, ATOM)}{self.raised}{self.text(exponent, ATOM)}", POWER

    # -- functions --------------------------------------------------------------------------------

    def _function(self, expr: Expr) -> str:
        name = type(expr).__name__
        if name not in self.functions or getattr(sympy, name, None) is not type(expr):
            raise _missing(self.target, expr)
        if name == "besselj":
            return self._bessel(expr)
        arguments = [self(arg) for arg in expr.args]
        if name in ("Max", "Min"):
            return reduce(lambda a, b: self.call(name, [a, b]), arguments)
        return self.call(name, arguments)

    def call(self, name: str, arguments: Sequence[str]) -> str:
        """A function of this language, by SymPy's name."""
        self.used.add(name)
        return f"{self.functions[name]}({', '.join(arguments)})"

    def _bessel(self, expr: Expr) -> str:
        order, x = expr.args
        if not isinstance(order, Integer) or not 0 <= order <= 99:
            raise ExportError(
                f"{self.target} writes besselj of whole orders from 0 to 99 only, got {expr}; "
                "export to 'sympy' instead"
            )
        self.used.add("besselj")
        return self.bessel(int(order), self(x))

    def bessel(self, order: int, x: str) -> str:
        return f"{self.functions['besselj']}({order}, {x})"

    # -- cases ------------------------------------------------------------------------------------

    def _piecewise(self, cases: Sequence[Any]) -> str:
        *first, (value, condition) = cases
        last = self(value) if condition == True else None  # noqa: E712 - SymPy's true is no bool
        rest = self.nan if last is None else last
        for value, condition in reversed(first if last is not None else list(cases)):
            rest = self.case(self.condition(condition), self(value), rest)
        return rest

    def case(self, condition: str, value: str, otherwise: str) -> str:
        """`value` where the condition holds, elsewhere `otherwise`."""
        return f"({value} if {condition} else {otherwise})"

    def condition(self, expr: Any) -> str:
        """A comparison, or several joined, in brackets."""
        if expr.is_Relational:
            sign = self.relations.get(expr.rel_op, expr.rel_op)
            return f"({self(expr.lhs)} {sign} {self(expr.rhs)})"
        if isinstance(expr, (sympy.And, sympy.Or)):
            parts = [self.condition(arg) for arg in sorted(expr.args, key=str)]
            return self.joined(isinstance(expr, sympy.And), parts)
        if isinstance(expr, sympy.Not):
            return f"({self.negation}{self.condition(expr.args[0])})"
        raise _missing(self.target, expr)

    def joined(self, is_and: bool, parts: Sequence[str]) -> str:
        return f"({(self.both if is_and else self.either).join(parts)})"


def _is_divisor(part: Expr) -> bool:
    return isinstance(part, Pow) and bool(part.exp.is_number) and bool(part.exp.is_negative)


def _whole(exponent: Expr) -> Expr:
    """2.0 as 2: a negative number to a power of floats is not real everywhere."""
    is_whole = isinstance(exponent, Float) and float(exponent).is_integer()
    return Integer(int(exponent)) if is_whole else exponent


def _value(expr: Expr) -> float:
    try:
        value = float(expr)
    except (TypeError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ExportError(f"the constant {expr} is no finite real number that a float64 can hold")
    return value


def _missing(target: str, expr: Expr) -> ExportError:
    name = type(expr).__name__
    others = sorted(code.target for code in _languages(Code) if name in code.functions)
    way = f"export to {' or '.join(map(repr, [*others, 'sympy']))}"
    return ExportError(
        f"{target} has no function {name}, needed for {expr}; {way}, or rewrite it with functions "
        "that the target has"
    )


_RECIPROCALS = {
    sympy.cot: sympy.tan, sympy.sec: sympy.cos, sympy.csc: sympy.sin,
    sympy.coth: sympy.tanh, sympy.sech: sympy.cosh, sympy.csch: sympy.sinh,
}  # fmt: skip


def in_few_functions(expr: Expr) -> Expr:
    """The expression without functions that no language needs to have: cot, sec, Heaviside, ...

    Raises ExportError for one that is not real.
    """
    if not is_real(expr):
        raise ExportError(f"the formula {expr} is not real; there is nothing to compute")
    for function, inverse in _RECIPROCALS.items():
        expr = expr.replace(function, lambda u, inverse=inverse: 1 / inverse(u))
    return expr.replace(sympy.Heaviside, _step)


def _step(u: Expr, middle: Expr = sympy.S.Half) -> Expr:
    return sympy.Piecewise((0, u < 0), (middle, sympy.Eq(u, 0)), (1, u > 0))


def _languages(code: type[Code]) -> Iterator[type[Code]]:
    for language in code.__subclasses__():
        yield language
        yield from _languages(language)


@dataclass(frozen=True)
class Parts:
    """What a source file is made of.

    name: of the function. variables, targets: identifiers. constants: (identifier, value as text)
    of the named constants in use. values: one expression per output, as text. legend: lines for a
    comment that say which name every identifier stands for.
    """

    name: str
    variables: tuple[str, ...]
    targets: tuple[str, ...]
    constants: tuple[tuple[str, str], ...]
    values: tuple[str, ...]
    legend: tuple[str, ...]


def parts(
    formula: Formula,
    language: type[Code],
    name: str,
    also: Mapping[Any, str] | None = None,
    reserved: frozenset[str] = frozenset(),
) -> tuple[Parts, Code]:
    """The formula in a language, and the writer with what it used.

    also: further symbols with what stands for them. reserved: further names that are taken.
    """
    check_name(name, language)
    exprs = [in_few_functions(expr) for expr in formula.exprs]
    named = sorted(set().union(*(e.atoms(NamedConstant) for e in formula.exprs)), key=str)
    headers = [*formula.names, *formula.target_names, *(c.name for c in named)]
    taken = language.reserved | set(language.helpers) | {name} | reserved
    found = identifiers(headers, taken, language.folds_case)
    n, m = len(formula.names), len(formula.target_names)
    variables, targets, constants = found[:n], found[n : n + m], found[n + m :]
    names: dict[Any, str] = dict(zip(formula.variables, variables, strict=True))
    names |= dict(zip(named, constants, strict=True)) | dict(also or {})
    code = language(names)
    values = tuple(code(expr) for expr in exprs)
    numbers = tuple(
        (ident, f"-{code.literal(-c.value)}" if c.value < 0 else code.literal(c.value))
        for ident, c in zip(constants, named, strict=True)
    )
    legend = tuple(
        f"{ident} = {quoted(header)}"
        for ident, header in zip(found, headers, strict=True)
        if ident != header
    )
    return Parts(name, variables, targets, numbers, values, legend), code


def check_name(name: str, language: type[Code]) -> None:
    """Raises ValueError for a name of a function that the language would not take."""
    is_plain = isinstance(name, str) and re.fullmatch("[A-Za-z][A-Za-z0-9_]{0,30}", name)
    if not is_plain or name.casefold() in {word.casefold() for word in language.reserved}:
        raise ValueError(
            f"name must be a plain identifier of at most 31 letters, digits and underscores that "
            f"{language.target} does not use itself, got {name!r}"
        )


def function_names(p: Parts, language: type[Code]) -> tuple[str, ...]:
    """A name for the function of every output: the name itself where there is only one."""
    if len(p.targets) == 1:
        return (p.name,)
    taken = {*p.variables, *p.targets, *language.reserved, *(ident for ident, _ in p.constants)}
    wanted = [f"{p.name}_{target}" for target in p.targets]
    return identifiers(wanted, taken, language.folds_case)


def header(p: Parts, comment: str, *lines: str) -> list[str]:
    """A comment with what the file is and the legend."""
    return [f"{comment} {line}" for line in ("Written by kansym.", *lines, *p.legend)]
