"""Dimensions as products of powers, and the dimension of an expression: which formulas make sense.

Only dimensions count, not scales: formulas are fitted to the columns as they are, and their
constants are free, so kilometres beside metres change a constant and nothing else. The constants
are numbers without unit; a constant with a unit (c, g, k_B) must be a column of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy

from kansym.errors import UnitError
from kansym.symbolic.formula import Expr, round_floats

_ORDER = ("mass", "length", "time", "current", "temperature", "substance", "luminosity")
_SYMPY_NAMES = {"amount_of_substance": "substance", "luminous_intensity": "luminosity"}
# Counted as numbers, as pint does: a radian is a ratio of lengths.
_PURE_NUMBERS = {"angle", "steradian", "information"}
_TOLERANCE = 1e-6
"""How far a fitted power may be from the fraction it stands for."""


# -- dimensions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dimension:
    """A product of powers of base dimensions; `powers` has no zeros and a fixed order."""

    powers: tuple[tuple[str, Fraction], ...] = ()

    @staticmethod
    def of(powers: Mapping[str, Any]) -> Dimension:
        """From {"length": 1, "time": -2}: ints, floats, fractions or SymPy numbers."""
        exact = {base: _fraction(power) for base, power in powers.items()}
        return Dimension(tuple((b, exact[b]) for b in in_order(exact) if exact[b]))

    @property
    def is_dimensionless(self) -> bool:
        return not self.powers

    def __mul__(self, other: Dimension) -> Dimension:
        powers = dict(self.powers)
        for base, power in other.powers:
            powers[base] = powers.get(base, Fraction(0)) + power
        return Dimension.of(powers)

    def __pow__(self, exponent: Fraction | int) -> Dimension:
        return Dimension.of({base: power * exponent for base, power in self.powers})

    def __str__(self) -> str:
        above = "*".join(_power_text(b, p) for b, p in self.powers if p > 0)
        below = [_power_text(b, -p) for b, p in self.powers if p < 0]
        return "/".join([above or "1", *below]) if self.powers else "dimensionless"


DIMENSIONLESS = Dimension()


def in_order(bases: Iterable[str]) -> list[str]:
    """The base dimensions once each, in the order in which units are written."""
    place = {base: i for i, base in enumerate(_ORDER)}
    return sorted(set(bases), key=lambda base: (place.get(base, len(place)), base))


def _power_text(base: str, power: Fraction) -> str:
    if power == 1:
        return base
    return f"{base}^{power}" if power.denominator == 1 else f"{base}^({power})"


def _fraction(number: Any) -> Fraction:
    """An exact power; a decimal becomes the simple fraction it is within `_TOLERANCE` of."""
    if isinstance(number, (int, Fraction)):
        return Fraction(number)
    if isinstance(number, sympy.Rational):
        return Fraction(int(number.p), int(number.q))
    value = float(number)
    simple = Fraction(value).limit_denominator(24)
    is_near = abs(value - simple) <= _TOLERANCE * max(1.0, abs(value))
    return simple if is_near else Fraction(value).limit_denominator(10**6)


# -- units of an expression ----------------------------------------------------------------------


def has_consistent_units(expr: Expr, dims: Mapping[Any, Dimension], target: Dimension) -> bool:
    """Whether the expression has units that agree and are those of the target.

    Zero has any unit. Raises ValueError for a symbol that `dims` lacks.
    """
    try:
        found = _walk(sympy.sympify(expr, strict=True), dims)
    except UnitError:
        return False
    return found is None or found == target


def units_of(expr: Expr, dims: Mapping[Any, Dimension]) -> Dimension:
    """The dimension of an expression whose numbers have no unit and whose symbols have `dims`.

    Quantities of sympy.physics.units have their own. log(a) - log(b) and a^k b^-k count as
    functions of a/b. Powers within 1e-6 of a simple fraction are taken for it.

    Raises UnitError naming the part that adds or compares different units, gives sin, exp or a
    varying power something with a unit; ValueError for a symbol that `dims` lacks.
    """
    found = _walk(sympy.sympify(expr, strict=True), dims)
    return DIMENSIONLESS if found is None else found


def _walk(expr: Expr, dims: Mapping[Any, Dimension]) -> Dimension | None:
    """The dimension of an expression; None for zero, which has every one."""
    if expr.is_number:
        return None if expr.is_zero else DIMENSIONLESS
    if expr.is_Symbol:
        if expr not in dims:
            known = ", ".join(map(str, dims)) or "none"
            raise ValueError(f"every symbol must have a unit, got none for {expr}. Known: {known}")
        return dims[expr]
    if expr.is_Add:
        return _sum(expr, dims)
    if expr.is_Mul or expr.is_Pow:
        return _product(expr, dims)
    if isinstance(expr, sympy.Abs):
        return _walk(expr.args[0], dims)
    if isinstance(expr, (sympy.Max, sympy.Min)):
        return _agreed(expr, "compares", [(arg, _walk(arg, dims)) for arg in expr.args])
    if isinstance(expr, (sympy.sign, sympy.Heaviside)):  # the same in any unit
        _walk(expr.args[0], dims)
        return DIMENSIONLESS
    if isinstance(expr, sympy.atan2):
        _agreed(expr, "compares", [(arg, _walk(arg, dims)) for arg in expr.args])
        return DIMENSIONLESS
    if isinstance(expr, sympy.Piecewise):
        return _piecewise(expr, dims)
    if isinstance(expr, sympy.Function):
        for argument in expr.args:
            _check_dimensionless(argument, expr, "the argument", dims)
        return DIMENSIONLESS
    return _quantity(expr)


def _sum(expr: Expr, dims: Mapping[Any, Dimension]) -> Dimension | None:
    parts: list[tuple[Expr, Dimension | None]] = []
    shifts: dict[str, list[Expr]] = {}
    logs: list[Expr] = []
    for term in expr.args:
        log = next((f for f in sympy.Mul.make_args(term) if _is_log_of_unit(f, dims)), None)
        if log is None:
            parts.append((term, _walk(term, dims)))
            continue
        # In other units u becomes s u, and c log(u) becomes c log(u) + c log(s): that must cancel.
        factor = term / log
        parts.append((term, _walk(factor, dims)))
        logs.append(log)
        for base, power in _dimension(log.args[0], dims).powers:
            shifts.setdefault(base, []).append(factor * _rational(power))
    if any(_collected(pieces) for pieces in shifts.values()):
        _check_dimensionless(logs[0].args[0], logs[0], "the argument", dims)  # raises
    return _agreed(expr, "adds", parts)


def _is_log_of_unit(factor: Expr, dims: Mapping[Any, Dimension]) -> bool:
    is_log = isinstance(factor, sympy.log)
    return is_log and not _dimension(factor.args[0], dims).is_dimensionless


def _product(expr: Expr, dims: Mapping[Any, Dimension]) -> Dimension:
    total = DIMENSIONLESS
    varying: dict[str, list[Expr]] = {}
    culprit: Expr = expr
    for factor in sympy.Mul.make_args(expr):
        base, exponent = factor.args if factor.is_Pow else (factor, sympy.S.One)
        unit = _dimension(base, dims)
        if not exponent.is_number:
            _check_dimensionless(exponent, factor, "the exponent", dims)
            culprit = culprit if unit.is_dimensionless else factor
            for name, power in unit.powers:
                varying.setdefault(name, []).append(exponent * _rational(power))
        elif unit.is_dimensionless:
            continue
        elif exponent.is_real:
            total = total * unit ** _fraction(exponent)
        else:
            raise UnitError(f"the exponent of {_show(base)} ({unit}) must be real", factor)
    for name, pieces in varying.items():
        powers = _collected(pieces)
        constant = powers.pop(sympy.S.One, 0)
        if powers:
            raise UnitError(
                f"a power that varies must be one of a quantity without unit, got {_show(culprit)}"
                f" with {_dimension(culprit.base, dims)}",
                culprit,
            )
        total = total * Dimension.of({name: constant})
    return total


def _collected(pieces: Sequence[Expr]) -> dict[Expr, Any]:
    """The sum of the pieces as {factor: number}, without what cancels to within `_TOLERANCE`."""
    largest = max(abs(c) for piece in pieces for c in _coefficients(piece).values())
    total = _coefficients(sympy.Add(*pieces))
    return {factor: c for factor, c in total.items() if abs(c) > _TOLERANCE * largest}


def _coefficients(expr: Expr) -> dict[Expr, Any]:
    return dict(sympy.expand(expr).as_coefficients_dict())


def _rational(power: Fraction | int) -> Expr:
    return sympy.Rational(power.numerator, power.denominator)


def _piecewise(expr: Expr, dims: Mapping[Any, Dimension]) -> Dimension | None:
    for _, condition in expr.args:
        for relation in condition.atoms(sympy.core.relational.Relational):
            _agreed(relation, "compares", [(side, _walk(side, dims)) for side in relation.args])
    return _agreed(expr, "joins", [(branch, _walk(branch, dims)) for branch, _ in expr.args])


def _agreed(
    expr: Expr, verb: str, parts: Sequence[tuple[Expr, Dimension | None]]
) -> Dimension | None:
    """The one dimension of all parts, or a UnitError with the first two that differ."""
    known = [(part, dimension) for part, dimension in parts if dimension is not None]
    for part, dimension in known[1:]:
        first, expected = known[0]
        if dimension != expected:
            raise UnitError(
                f"{_show(expr)} {verb} different units: {_show(first)} has {expected},"
                f" {_show(part)} has {dimension}",
                expr,
            )
    return known[0][1] if known else None


def _check_dimensionless(part: Expr, whole: Expr, role: str, dims: Mapping[Any, Dimension]) -> None:
    found = _dimension(part, dims)
    if not found.is_dimensionless:
        raise UnitError(
            f"{role} in {_show(whole)} must have no unit, got {_show(part)} with {found}", whole
        )


def _dimension(expr: Expr, dims: Mapping[Any, Dimension]) -> Dimension:
    return _walk(expr, dims) or DIMENSIONLESS


def _show(expr: Expr) -> str:
    return str(round_floats(expr, 4))


def _quantity(expr: Expr) -> Dimension:
    """The dimension of a SymPy quantity, prefix or dimension; UnitError for any other node."""
    from sympy.physics import units
    from sympy.physics.units.prefixes import Prefix
    from sympy.physics.units.systems.si import SI, dimsys_SI

    if isinstance(expr, Prefix):
        return DIMENSIONLESS
    if not isinstance(expr, (units.Quantity, units.Dimension)):
        raise UnitError(f"{_show(expr)} has no unit that is known", expr)
    own = SI.get_quantity_dimension(expr) if isinstance(expr, units.Quantity) else expr
    powers = {str(base.name): p for base, p in dimsys_SI.get_dimensional_dependencies(own).items()}
    return Dimension.of(
        {_SYMPY_NAMES.get(base, base): p for base, p in powers.items() if base not in _PURE_NUMBERS}
    )
