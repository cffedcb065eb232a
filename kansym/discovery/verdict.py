"""How far a formula can be trusted: what its residual still shows, and who comes close."""

from __future__ import annotations

import math

import numpy as np
import sympy

from kansym.discovery.additive import fit_additive
from kansym.discovery.outer import IDENTITY
from kansym.discovery.records import Finding, Verdict
from kansym.discovery.surrogate import MAX_ROWS, Surface
from kansym.symbolic.formula import Expr

EXACT = 1e-9  # of y's spread: a residual below it is rounding
STRUCTURE = 0.03  # share of the residual's RMSE that a smooth model may save by chance
FEW_ROWS = 30
CLEAR_R2 = 0.9  # below it noise could hide structure that no smooth model sees
FEW_NUMBERS = 6  # fitted; a formula with more is rather an interpolation
ODD_EXPONENT = 3  # numbers that an exponent such as 2/3 counts for: noise is made of them
MUCH_NOISE = 0.12  # of y's spread, within which a formula with a fitted number may come close
PER_DECADE = 2  # fitted numbers that may stand in a law for each factor of ten less noise
LITTLE_R2 = 0.5  # of a formula that says more about y than its mean, but not what y is


def judge(
    X: np.ndarray,
    y: np.ndarray,
    residual: np.ndarray,
    held_out_residual: np.ndarray,
    chosen: Finding,
    is_constant: bool,
    rivals: tuple[Finding, ...],
    undetermined: int,
    seed: int,
    surface_rows: int = MAX_ROWS,
) -> tuple[Verdict, str]:
    """The verdict and its reason.

    residual: of the chosen formula at rows X, y. held_out_residual: at rows that its constants
    were not fitted to, the outermost among them. undetermined: fitted numbers of the formula that
    could be others without a row showing it. surface_rows: that a surface may have to find
    structure in the residual.
    """
    spread = float(np.std(y))
    if spread <= 1e-14 * float(np.abs(y).max()):
        return Verdict.EXACT, "y is the same number in every row"
    if is_constant:
        return Verdict.NONE, "no formula explains more of y than its mean"
    if undetermined:
        return Verdict.AMBIGUOUS, (
            f"{undetermined} of the formula's numbers could be others: no row shows the difference"
        )
    worst = max(float(np.sqrt(np.mean(r**2))) for r in (residual, held_out_residual) if len(r))
    if worst <= EXACT * spread and len(held_out_residual):
        return Verdict.EXACT, (
            f"the residual is {worst / spread:.0e} of y's spread, also on {len(held_out_residual)} "
            "rows, the outermost among them, that the constants were not fitted to"
        )
    saved = structure_left(X, residual, seed, surface_rows)
    r2 = 1 - float(np.mean(residual**2)) / spread**2
    if saved > allowed_structure(len(y)):
        if r2 < LITTLE_R2:
            return Verdict.NONE, (
                f"the best formula explains {max(r2, 0):.0%} of y's variance; a smooth model finds "
                "more, but no formula for it was found"
            )
        return Verdict.APPROXIMATE, (
            f"a smooth model of the residual saves {saved:.0%} of it: the formula misses something"
        )
    if rivals:
        return Verdict.AMBIGUOUS, (
            f"{len(rivals)} other formula{'s' if len(rivals) > 1 else ''} describe the data as well"
        )
    if len(y) < FEW_ROWS:
        return Verdict.AMBIGUOUS, f"{len(y)} rows are too few to rule out other formulas"
    if r2 < CLEAR_R2:
        return Verdict.AMBIGUOUS, (
            f"what is left, {1 - r2:.0%} of y's variance, looks like noise, but could hide more"
        )
    numbers, noise = fitted_numbers(chosen.expr), math.sqrt(max(1 - r2, 0.0))
    if numbers > FEW_NUMBERS:
        return Verdict.AMBIGUOUS, (
            f"with {numbers} fitted numbers the formula could be an approximation of another law"
        )
    if numbers > numbers_that_show(noise):
        return Verdict.AMBIGUOUS, (
            f"a formula with {numbers} fitted number{'s' if numbers > 1 else ''} can come close to "
            f"another law within noise of {noise:.1%}"
        )
    return Verdict.CONSISTENT, (
        "the residual shows no structure, and no other formula found comes close"
    )


def fitted_numbers(expr: Expr) -> int:
    """Decimals, and exponents that are neither whole nor halves."""
    exponents = [power.exp for power in expr.atoms(sympy.Pow) if power.exp.is_Rational]
    odd = sum(exponent.q > 2 for exponent in exponents)
    return len(expr.atoms(sympy.Float)) + ODD_EXPONENT * odd


def numbers_that_show(noise: float) -> int:
    """How many fitted numbers a law may have before it could be an approximation of another.

    noise: of y's spread. A smooth function is approximated the better the more numbers there are,
    about as well for each one more.
    """
    return int(PER_DECADE * max(math.log10(MUCH_NOISE / max(noise, 1e-15)), 0.0))


def allowed_structure(n: int) -> float:
    """What a smooth model may save of n residuals that are noise."""
    return max(STRUCTURE, 1.5 / np.sqrt(n))


def structure_left(
    X: np.ndarray, residual: np.ndarray, seed: int, surface_rows: int = MAX_ROWS
) -> float:
    """Share of the residual's RMSE that a smooth model saves when every row is left out in turn.

    A surface may find a pattern in noise; what is there shows in both halves of the rows.
    """
    size = float(np.sqrt(np.mean(residual**2)))
    if size == 0 or len(residual) < 8:
        return 0.0
    r = residual / size
    model = fit_additive(X, r, IDENTITY)
    saved = 0.0 if model is None else 1 - model.error
    order = np.random.default_rng(seed).permutation(len(r))
    halves = (order[:surface_rows], order[-surface_rows:])
    by_surface = 1.0
    for rows in halves if len(r) > surface_rows else halves[:1]:
        if by_surface > allowed_structure(len(r)):
            surface = Surface(X[rows], r[rows], twice=False)
            by_surface = min(by_surface, 1 - surface.error * surface.spread)
    return max(saved, by_surface)
