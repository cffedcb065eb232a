"""Columns that hardly vary beside their size: the search sees x - c and not x.

Of x between 100,000,001 and 100,000,002 its square, its root and its logarithm are straight lines
but for rounding, and sums of their multiples cancel all digits. What a law says there it says in
terms of x - c.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import sympy

from kansym.discovery.records import Table
from kansym.symbolic.constants import decimal
from kansym.symbolic.formula import Expr

ROUNDING = 8 * np.finfo(float).eps  # a column that varies by no more is constant
TINY = np.finfo(float).tiny
HARDLY = 1e-6  # range of a column over its size; curvature of powers and logarithms is less still


def without_offsets(table: Table, kept: Collection[str] = ()) -> tuple[Table, dict[str, float]]:
    """The table with c taken from each column that hardly varies, and c by variable's name; one
    that varies by rounding alone becomes constant.

    c: in the middle of the column, rounded to a power of ten that is 10 to 100 times its range.
    kept: variables to leave as they are.
    """
    offsets = {}
    table = replace(table, X=table.X.copy())
    for variable, column in zip(table.variables, table.X.T, strict=True):
        low, high = float(column.min()), float(column.max())
        middle = low / 2 + high / 2
        if 0 < high - low <= max(ROUNDING * max(abs(low), abs(high)), TINY):
            column[:] = low
        elif str(variable) not in kept and 0 < high - low < HARDLY * abs(middle):
            unit = 10.0 ** (math.ceil(math.log10(high - low)) + 1)
            offsets[str(variable)] = round(middle / unit) * unit
    shift = np.array([offsets.get(str(variable), 0.0) for variable in table.variables])
    return replace(table, X=table.X - shift), offsets


def with_offsets(
    variables: Sequence[sympy.Symbol], offsets: Mapping[str, float]
) -> dict[sympy.Symbol, Expr]:
    """What the variables of the search stand for: x - c."""
    return {v: v - _number(offsets[str(v)]) for v in variables if str(v) in offsets}


def _number(value: float) -> Expr:
    return sympy.Integer(int(value)) if value == int(value) else decimal(value)
