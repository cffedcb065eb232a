"""Units of the columns of a table, as pint or SymPy writes them, read as dimensions."""

from __future__ import annotations

import decimal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy

from kansym.discovery.dimensions import DIMENSIONLESS, Dimension, in_order, units_of
from kansym.errors import suggestion
from kansym.symbolic import names as naming

MAX_LENGTH = 200  # of a unit's text
MAX_POWER = 100
PUNCTUATION = frozenset("_ */^().+-%‰°·⋅×'⁻\t\n")  # beside letters and digits, in a unit's text
_WITHOUT_UNIT = ("", "1", "-", "dimensionless")


@dataclass(frozen=True)
class UnitTable:
    """The dimension of every column and of the target."""

    names: tuple[str, ...]
    dimensions: tuple[Dimension, ...]
    target_name: str
    target: Dimension

    @property
    def bases(self) -> tuple[str, ...]:
        """The base dimensions that occur, the target's included."""
        every = (*self.dimensions, self.target)
        return tuple(in_order(base for dimension in every for base, _ in dimension.powers))

    @property
    def variables(self) -> tuple[sympy.Symbol, ...]:
        """One symbol per column, as in `Formula.variables` for these names."""
        return naming.symbols(self.names, len(self.names))

    def exponents(self, dimension: Dimension) -> list[Fraction]:
        """The powers of `bases` in one dimension."""
        powers = dict(dimension.powers)
        return [powers.get(base, Fraction(0)) for base in self.bases]

    def by_symbol(self, variables: Sequence[sympy.Symbol] | None = None) -> dict[Any, Dimension]:
        """{symbol: dimension}, for `units_of`; `variables` are the symbols in column order."""
        return dict(zip(variables or self.variables, self.dimensions, strict=True))


def parse_units(
    units: Mapping[str, Any] | Sequence[Any], names: Sequence[str], target: str
) -> UnitTable:
    """The dimensions of a table's columns `names` and of its target.

    units: {name: unit} for every column and the target, or a list in the order of the columns with
    the target last. A unit is text that pint reads ("m/s^2"), a pint unit or quantity, or an
    expression of sympy.physics.units, or a `Dimension`; "1" or "" for none. Radian and bit count
    as numbers.

    Raises ValueError for a unit that is missing or cannot be read, and for a scale whose zero is
    not zero (degC, dB): products and powers of such values mean nothing.
    """
    names = naming.check_names(names, len(names))
    labels = [*(f"column {name!r}" for name in names), f"target {target!r}"]
    given = _in_columns(units, names, target)
    for label, unit in zip(labels, given, strict=True):
        if unit is None:
            raise ValueError(
                f"units must name every column and the target, got none for {label}; write '1' for"
                " a quantity without unit, or leave units out altogether"
            )
    found = [parse_unit(unit, label) for label, unit in zip(labels, given, strict=True)]
    return UnitTable(tuple(names), tuple(found[:-1]), target, found[-1])


def _in_columns(units: Any, names: Sequence[str], target: str) -> list[Any]:
    """The unit of every column and, last, of the target; None where there is none."""
    known = [*names, target]
    if isinstance(units, Mapping):
        if len(set(known)) < len(known):
            raise ValueError(
                f"units must be a list where a name appears twice, got a mapping for {known}"
            )
        for name in units:
            if name not in known:
                raise ValueError(f"units has the unknown name {name!r};{suggestion(name, known)}")
        return [units.get(name) for name in known]
    if isinstance(units, str) or not isinstance(units, Sequence):
        raise ValueError(f"units must be a mapping from names or a list, got {units!r}")
    if len(units) != len(known):
        raise ValueError(
            f"units must have {len(known)} entries, those of the columns and last the target's, got"
            f" {len(units)}"
        )
    return list(units)


def parse_unit(unit: Any, label: str = "a quantity") -> Dimension:
    """The dimension of one unit, as in `parse_units`; `label` says in messages whose it is."""
    found = _dimension_of(unit, label)
    if any(abs(power) > MAX_POWER for _, power in found.powers):
        raise ValueError(f"the unit of {label} must have powers up to {MAX_POWER}, got {found}")
    return found


def _dimension_of(unit: Any, label: str) -> Dimension:
    if isinstance(unit, Dimension):
        return unit
    if isinstance(unit, str):
        return DIMENSIONLESS if unit.strip() in _WITHOUT_UNIT else _from_text(unit, label)
    if hasattr(unit, "dimensionality"):
        return _from_pint(unit, label)
    try:
        return units_of(sympy.sympify(unit, strict=True), {})
    except (sympy.SympifyError, ValueError) as error:
        raise ValueError(
            f"the unit of {label} must be text such as 'm/s^2', a pint unit or an expression of"
            f" sympy.physics.units, got {unit!r} ({error})"
        ) from error


def _from_text(text: str, label: str) -> Dimension:
    try:
        import pint
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the unit of {label} is text, {text!r}, and reading it needs pint: pip install"
            " 'kansym[units]', or give units of sympy.physics.units"
        ) from error
    # The application's registry: it knows the units that the caller defined.
    registry: Any = pint.get_application_registry()
    try:
        _check_text(text, registry)
        unit = registry.parse_units(text)
    except Exception as error:  # whatever tokenizer, parser and arithmetic raise
        why = f"{error or type(error).__name__!s:.100}"
        raise ValueError(
            f"the unit of {label} must be one that pint reads, such as 'm/s^2', got {text!r:.60}"
            f" ({why}). Leave factors out: only dimensions count"
        ) from error
    return _from_pint(unit, label)


def _check_text(text: str, registry: Any) -> None:
    """ValueError for text that pint would misread or never be done with."""
    from pint.util import ParserHelper

    if len(text) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    if strange := sorted({c for c in text if not c.isalnum()} - PUNCTUATION):
        raise ValueError(f"{strange[0]!r} has no place in it")
    for preprocess in registry.preprocessors:
        text = preprocess(text)
    # In decimals that overflow first: pint works 9**9**9**9 out in whole numbers.
    with decimal.localcontext(decimal.Context(Emax=300, Emin=-300)):
        parsed = ParserHelper.from_string(text, decimal.Decimal)
        if any(abs(power) > MAX_POWER for power in parsed.values()):
            raise ValueError(f"a power larger than {MAX_POWER}")


def _from_pint(unit: Any, label: str) -> Dimension:
    if _has_offset(unit):
        raise ValueError(
            f"the unit of {label} must be one whose zero means none, got {str(unit)!r}; convert"
            " the column (temperatures to kelvin, decibels to ratios), or write delta_degC for a"
            " difference of temperatures"
        )
    return Dimension.of({base.strip("[]"): p for base, p in unit.dimensionality.items()})


def _has_offset(unit: Any) -> bool:
    import pint

    try:
        return bool((0.0 * unit).to_root_units().magnitude != 0)
    except pint.errors.OffsetUnitCalculusError:
        return True
    except OverflowError:  # of a power of a large multiple, such as km**120
        return False
