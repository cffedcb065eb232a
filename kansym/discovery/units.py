"""Units: which formulas make sense, and how few variables a law really has.

Only dimensions count, not scales: formulas are fitted to the columns as they are, and their
constants are free, so kilometres beside metres change a constant and nothing else. The constants
are numbers without unit; a constant with a unit (c, g, k_B) must be a column of the table.

Buckingham's theorem: a law y = f(x1, ..., xn) among units of rank r is y = M(x) F(g1, ..., gk) with
k = n - r, where M is a product of powers with the unit of y and the groups g are products of powers
without unit.

Source: Buckingham 1914, Phys. Rev. 4, 345.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, combinations, islice
from typing import Any

import numpy as np
import sympy
from sympy.polys.matrices import DomainMatrix

from kansym.arrays import as_matrix, as_targets
from kansym.errors import UnitError, suggestion
from kansym.symbolic import names as naming
from kansym.symbolic.formula import Expr, round_floats

_ORDER = ("mass", "length", "time", "current", "temperature", "substance", "luminosity")
_SYMPY_NAMES = {"amount_of_substance": "substance", "luminous_intensity": "luminosity"}
# Counted as numbers, as pint does: a radian is a ratio of lengths.
_PURE_NUMBERS = {"angle", "steradian", "information"}
_WITHOUT_UNIT = ("", "1", "-", "dimensionless")

_MAX_SUBSETS = 2000
"""Sets of columns that are looked at for the simplest groups: half a second. Ten columns have
fewer."""
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
        return Dimension(tuple((b, exact[b]) for b in _in_order(exact) if exact[b]))

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


def _in_order(bases: Iterable[str]) -> list[str]:
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


# -- reading units -------------------------------------------------------------------------------


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
        return tuple(_in_order(base for dimension in every for base, _ in dimension.powers))

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
    expression of sympy.physics.units; "1" or "" for none. Radian and bit count as numbers.

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
    try:
        # The application's registry: it knows the units that the caller defined.
        unit = pint.get_application_registry().parse_units(text)
    except Exception as error:  # whatever tokenizer, parser and arithmetic raise
        raise ValueError(
            f"the unit of {label} must be one that pint reads, such as 'm/s^2', got {text!r}"
            f" ({error or type(error).__name__}). Leave factors out: only dimensions count"
        ) from error
    return _from_pint(unit, label)


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


# -- products of powers --------------------------------------------------------------------------


@dataclass(frozen=True)
class Groups:
    """What Buckingham's theorem makes of a table: y = M(x) F(groups).

    exponents: [groups][columns], integers without common factor.
    scale: the powers of the columns in M, which has the dimension of the target.
    """

    exponents: tuple[tuple[int, ...], ...]
    scale: tuple[Fraction, ...]


def monomial(exponents: Sequence[Fraction | int], variables: Sequence[sympy.Symbol]) -> Expr:
    """The product of the variables to these powers."""
    pairs = zip(variables, exponents, strict=True)
    return sympy.Mul(*(variable ** _rational(power) for variable, power in pairs))


def dimensionless_groups(
    table: UnitTable, zeros: Collection[int] = (), negatives: Collection[int] = ()
) -> Groups:
    """The simplest groups without unit, and the simplest M: few columns first, then small powers.

    There are as many groups as columns less the rank of their dimensions. `zeros` and `negatives`
    are columns with such values: they stay out of denominators, roots and M where that can be.

    Raises ValueError when no product of powers has the dimension of the target.
    """
    vectors = [table.exponents(dimension) for dimension in table.dimensions]
    scale = _simplest_scale(vectors, table.exponents(table.target), zeros, negatives)
    if scale is None:
        raise ValueError(_missing_text(table))
    return Groups(tuple(_simplest_basis(vectors, zeros)), scale)


def _missing_text(table: UnitTable) -> str:
    present = {base for dimension in table.dimensions for base, _ in dimension.powers}
    absent = [base for base, _ in table.target.powers if base not in present]
    what = f"no column has {' or '.join(absent)}" if absent else "no product of powers has it"
    units = ", ".join(
        f"{name}: {dimension}"
        for name, dimension in zip(table.names, table.dimensions, strict=True)
    )
    return (
        f"the unit of the target {table.target_name!r} ({table.target}) must come from the columns"
        f" ({units}), and {what}. Add the constant that the law needs as a column, or leave units"
        " out"
    )


def _echelon(vectors: Sequence[Sequence[Fraction]]) -> tuple[list[list[Fraction]], tuple[int, ...]]:
    """The reduced row echelon form of the matrix with these columns, and its pivots."""
    rows = [[sympy.QQ(e.numerator, e.denominator) for e in r] for r in zip(*vectors, strict=True)]
    reduced, pivots = DomainMatrix(rows, (len(rows), len(vectors)), sympy.QQ).rref()
    exact = [[Fraction(int(e.numerator), int(e.denominator)) for e in r] for r in reduced.to_list()]
    return exact, tuple(pivots)


def _rank(vectors: Sequence[Sequence[Fraction]]) -> int:
    return len(_echelon(vectors)[1]) if vectors else 0


def _subsets(columns: Sequence[int], largest: int) -> Iterator[tuple[int, ...]]:
    """Sets of columns, small ones first, as many as can be looked at."""
    sizes = range(min(largest, len(columns)) + 1)
    every = chain.from_iterable(combinations(columns, size) for size in sizes)
    return islice(every, _MAX_SUBSETS)


def _simplest_scale(
    vectors: Sequence[Sequence[Fraction]],
    target: Sequence[Fraction],
    zeros: Collection[int],
    negatives: Collection[int],
) -> tuple[Fraction, ...] | None:
    """Powers of the columns that give `target`, on few columns, integers before fractions."""
    everywhere = [
        _scale(vectors, target, subset) for subset in _subsets(range(len(vectors)), _rank(vectors))
    ]
    # The last resort, where there are too many sets to look at.
    everywhere.append(_scale(vectors, target, tuple(range(len(vectors)))))
    found = [scale for scale in everywhere if scale is not None]

    def cost(scale: Sequence[Fraction]) -> tuple[Any, ...]:
        used = [(i, p) for i, p in enumerate(scale) if p]
        is_undefined = any(i in zeros or (i in negatives and p.denominator > 1) for i, p in used)
        n_roots = sum(p.denominator > 1 for _, p in used)
        return is_undefined, len(used), n_roots, sum(abs(p) for _, p in used)

    return min(found, key=cost, default=None)


def _scale(
    vectors: Sequence[Sequence[Fraction]], target: Sequence[Fraction], subset: Sequence[int]
) -> tuple[Fraction, ...] | None:
    """Powers of the columns of `subset` that give `target`; None where there are none."""
    rows, pivots = _echelon([*(vectors[i] for i in subset), target])
    if len(subset) in pivots:
        return None
    powers = [Fraction(0)] * len(vectors)
    for row, pivot in zip(rows, pivots, strict=False):
        powers[subset[pivot]] = row[-1]
    return tuple(powers)


def _simplest_basis(
    vectors: Sequence[Sequence[Fraction]], zeros: Collection[int]
) -> list[tuple[int, ...]]:
    """A basis of the products without unit, the simplest first.

    Taking the simplest that is independent of those taken gives the simplest basis of all (a
    matroid), and its members are circuits: sets of columns that depend, but none of whose parts do.
    """
    rank = _rank(vectors)
    circuits: list[tuple[int, ...]] = []
    supports: list[frozenset[int]] = []
    for subset in _subsets(range(len(vectors)), rank + 1):
        if subset and not any(support.issubset(subset) for support in supports):
            null = _null_vectors([vectors[i] for i in subset])
            if null:
                supports.append(frozenset(subset))
                circuits.append(_spread(null[0], subset, len(vectors)))
    # Where there were too many sets to look at, the echelon form completes the basis.
    everything = range(len(vectors))
    rest = [_spread(null, everything, len(vectors)) for null in _null_vectors(vectors)]

    def cost(powers: Sequence[int]) -> tuple[Any, ...]:
        n_used = sum(p != 0 for p in powers)
        return _divides_by(powers, zeros), n_used, sum(map(abs, powers))

    oriented = [_oriented(powers, zeros) for powers in circuits + rest]
    chosen: list[tuple[int, ...]] = []
    for powers in sorted(oriented, key=cost):
        if len(chosen) == len(vectors) - rank:
            break
        candidate = [*chosen, powers]
        if _rank([[Fraction(p) for p in vector] for vector in candidate]) == len(candidate):
            chosen.append(powers)
    return chosen


def _null_vectors(vectors: Sequence[Sequence[Fraction]]) -> list[list[Fraction]]:
    """A basis of the powers whose product has no unit, from the echelon form."""
    rows, pivots = _echelon(vectors)
    basis = []
    for free in range(len(vectors)):
        if free in pivots:
            continue
        null = [Fraction(int(i == free)) for i in range(len(vectors))]
        for row, pivot in zip(rows, pivots, strict=False):
            null[pivot] = -row[free]
        basis.append(null)
    return basis


def _spread(null: Sequence[Fraction], subset: Sequence[int], n: int) -> tuple[int, ...]:
    """Powers of a subset as integers without common factor, for all n columns."""
    # One power is 1, so that what remains has no common factor.
    common = math.lcm(*(p.denominator for p in null))
    powers = [0] * n
    for i, power in zip(subset, null, strict=True):
        powers[i] = int(power * common)
    return tuple(powers)


def _divides_by(powers: Sequence[int], zeros: Collection[int]) -> bool:
    return any(power < 0 and i in zeros for i, power in enumerate(powers))


def _oriented(powers: tuple[int, ...], zeros: Collection[int]) -> tuple[int, ...]:
    """The group or its reciprocal: no column with zeros below, else the first power positive."""
    flipped = tuple(-p for p in powers)
    first = next(p for p in powers if p)
    preferred, other = (powers, flipped) if first > 0 else (flipped, powers)
    is_mended = _divides_by(preferred, zeros) and not _divides_by(other, zeros)
    return other if is_mended else preferred


# -- reducing a table ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Reduction:
    """A table in groups without unit, and the way back.

    X [n, groups], y [n]: the values of the groups and of y / M. There may be no group: y / M is
    then a constant.
    monomials, scale: the groups and M in the symbols of the columns.
    """

    X: np.ndarray
    y: np.ndarray
    monomials: tuple[Expr, ...]
    scale: Expr
    groups: Groups

    def restored(self, expr: Expr, variables: Sequence[sympy.Symbol]) -> Expr:
        """A law for y / M in `variables`, one per group, as a law for y in the columns."""
        swap = dict(zip(variables, self.monomials, strict=True))
        return self.scale * sympy.sympify(expr).xreplace(swap)


def reduced(X: Any, y: Any, table: UnitTable) -> Reduction:
    """The rows X [n, columns], y [n] in dimensionless groups, for a search with fewer variables.

    Raises ValueError where M or a group is not a finite number, or M is 0, in some row, and when no
    product of powers has the dimension of the target.
    """
    values = as_matrix(X, n_columns=len(table.names), rule="units").cpu().numpy()
    goal = as_targets(y, len(values), 1).cpu().numpy()[:, 0]
    zeros = np.flatnonzero((values == 0).any(0)).tolist()
    negatives = np.flatnonzero((values < 0).any(0)).tolist()
    groups = dimensionless_groups(table, zeros, negatives)
    variables = table.variables
    monomials = tuple(monomial(powers, variables) for powers in groups.exponents)
    scale = monomial(groups.scale, variables)
    columns = [
        _finite(_values(values, powers), name, "a group without unit, finite")
        for powers, name in zip(groups.exponents, monomials, strict=True)
    ]
    divisor = _values(values, groups.scale)
    divisor[(divisor == 0) | np.isinf(divisor)] = np.nan
    role = f"which has the unit of {table.target_name!r}, finite and not 0"
    ratio = _finite(goal / divisor, scale, role)
    stacked = np.stack(columns, 1) if columns else np.empty((len(values), 0))
    return Reduction(stacked, ratio, monomials, scale, groups)


def _values(X: np.ndarray, powers: Sequence[Fraction | int]) -> np.ndarray:
    # Long double: h^2 and the like leave the range of float64 before they are divided by another.
    product = np.ones(len(X), dtype=np.longdouble)
    with np.errstate(all="ignore"):
        for column, power in zip(X.T, powers, strict=True):
            if power:
                exponent = np.longdouble(power.numerator) / power.denominator
                product *= column.astype(np.longdouble) ** exponent
        return product


def _finite(values: np.ndarray, name: Expr, role: str) -> np.ndarray:
    """The values as float64, if all of them are finite there."""
    with np.errstate(all="ignore"):
        narrow = values.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(narrow))
    if len(bad):
        shown = ", ".join(map(str, bad[:3])) + (", ..." if len(bad) > 3 else "")
        raise ValueError(
            f"X must make {name}, {role} in every row; it does not in {len(bad)} of {len(values)}"
            f" rows ({shown}). Drop those rows, add a column of that unit that is always positive,"
            " or search without reducing"
        )
    return narrow


# -- units of an expression ----------------------------------------------------------------------


def has_consistent_units(expr: Expr, dims: Mapping[Any, Dimension], target: Dimension) -> bool:
    """Whether the expression has units that agree and are those of the target.

    Zero has any unit. Raises ValueError for a symbol that `dims` lacks.
    """
    try:
        found = _walk(sympy.sympify(expr), dims)
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
    found = _walk(sympy.sympify(expr), dims)
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
