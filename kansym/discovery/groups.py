"""Groups without unit: how few variables a law really has.

Buckingham's theorem: a law y = f(x1, ..., xn) among units of rank r is y = M(x) F(g1, ..., gk) with
k = n - r, where M is a product of powers with the unit of y and the groups g are products of powers
without unit.

Source: Buckingham 1914, Phys. Rev. 4, 345.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, combinations, islice
from typing import Any

import numpy as np
import sympy
from sympy.polys.matrices import DomainMatrix

from kansym.arrays import as_matrix, as_targets
from kansym.discovery.units import UnitTable
from kansym.errors import visible
from kansym.symbolic.formula import Expr

_MAX_SUBSETS = 2000
"""Sets of columns that are looked at for the simplest groups: half a second. Ten columns have
fewer."""


# -- products of powers --------------------------------------------------------------------------


class RowsError(ValueError):
    """Rows that no product of powers can take: a zero, or a sign under a root."""


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
    powers = (sympy.Rational(p.numerator, p.denominator) for p in exponents)
    return sympy.Mul(*(v**p for v, p in zip(variables, powers, strict=True)))


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
        f"{visible(name)}: {dimension}"
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
class InGroups:
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
        return self.scale * sympy.sympify(expr, strict=True).xreplace(swap)


def reduced(X: Any, y: Any, table: UnitTable) -> InGroups:
    """The rows X [n, columns], y [n] in dimensionless groups, for a search with fewer variables.

    Raises RowsError where M or a group is not a finite number, or M is 0, in some row, and
    ValueError when no product of powers has the dimension of the target.
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
    return InGroups(stacked, ratio, monomials, scale, groups)


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
        raise RowsError(
            f"X must make {name}, {role} in every row; it does not in {len(bad)} of {len(values)}"
            f" rows ({shown}). Drop those rows, add a column of that unit that is always positive,"
            " or search without reducing"
        )
    return narrow
