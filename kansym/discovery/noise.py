"""Whether what a formula leaves of the rows is noise, so that a search may stop."""

from __future__ import annotations

import numpy as np
import sympy

from kansym.discovery.contest import Contest, Entry, evaluate
from kansym.discovery.verdict import (
    FEW_NUMBERS,
    allowed_structure,
    fitted_numbers,
    structure_left,
)
from kansym.discovery.weights import root_weight
from kansym.symbolic.formula import Expr

LEAST_ROWS = 50
NO_WORSE = 1.15  # times the error of a smooth surface, that a law's residual may be
LEAST_NOISE = 2e-3  # of y's spread: below it rows are taken to be as exact as a formula can be
MOST_NOISE = 0.3  # of y's spread: beyond it too much could hide


def could_be_law(contest: Contest, entry: Entry) -> bool:
    """Whether a formula is short enough, and near enough to the rows, to be asked about."""
    return (
        len(contest.y) >= LEAST_ROWS
        and bool(entry.expr.free_symbols)
        and fitted_numbers(entry.expr) <= FEW_NUMBERS
        and LEAST_NOISE < entry.rmse / contest.spread < MOST_NOISE
    )


def is_as_good_as_surface(contest: Contest, entry: Entry, surface_error: float) -> bool:
    """surface_error: leave-one-out RMSE of a surface through the rows, of y's spread."""
    return entry.rmse / contest.spread <= NO_WORSE * surface_error


def leaves_nothing(
    expr: Expr,
    variables: tuple[sympy.Symbol, ...],
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
    seed: int,
) -> bool:
    """Whether a smooth model finds nothing in the residual of a formula at rows X, y."""
    residual = (y - evaluate(expr, variables, X)) * root_weight(weight, len(y))
    if not np.isfinite(residual).all():
        return False
    return structure_left(X, residual, seed) <= allowed_structure(len(y))
