"""Laws of two variables with one of them in both parts:

    y = G(x1) F(u)  or  G(x1) + F(u),      u = x1^r x2  or  u = r x1 + x2

Slopes show it: D_1 y - r D_2 y, with D_i = x_i d/dx_i (or d/dx_i for the sum), is h(x1) y for a
product and h(x1) for a sum, so that r and a spline for h are one linear fit. G follows from h by
integration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import integrate

from kansym.discovery.additive import least_squares, spline_block
from kansym.discovery.monomial import nice_power
from kansym.discovery.products import fit_product
from kansym.discovery.slopes import Slopes
from kansym.discovery.weights import root_weight

GRID = 12
NEGLIGIBLE = 1e-3  # share of the slopes: h is then zero, and a plain symmetry says it all


@dataclass(frozen=True)
class Sheared:
    """alone: the column that stands in G, too. is_scaling: u is x1^r x2, otherwise r x1 + x2.

    log_slope: (x1, h) at the rows of the surface, for a product's G.
    """

    alone: int
    ratio: float
    is_scaling: bool
    is_product: bool
    misfit: float
    log_slope: tuple[np.ndarray, np.ndarray]

    def column(self, X: np.ndarray) -> np.ndarray:
        """u at rows X [n, 2]."""
        alone, other = X[:, self.alone], X[:, 1 - self.alone]
        return alone**self.ratio * other if self.is_scaling else self.ratio * alone + other


def sheared(slopes: Slopes, limit: float) -> list[Sheared]:
    """Forms that the slopes allow, best first."""
    found = []
    positive = bool(np.all(slopes.X > 0))
    for alone in (0, 1):
        for is_scaling in (True, False) if positive else (False,):
            for is_product in (True, False):
                form = _fitted(slopes, alone, is_scaling, is_product)
                if form is not None and form.misfit < limit:
                    found.append(form)
    return sorted(found, key=lambda form: form.misfit)


def _fitted(slopes: Slopes, alone: int, is_scaling: bool, is_product: bool) -> Sheared | None:
    x, other = slopes.X[:, alone], 1 - alone
    first, second = slopes.first[:, alone], slopes.first[:, other]
    if is_scaling:
        first, second = first * x, second * slopes.X[:, other]
    block = spline_block(x, GRID)
    columns = block * slopes.values[:, None] if is_product else block
    coef = least_squares(np.column_stack([second, columns]), first)
    size = float(np.sqrt(np.mean(first**2)))
    error = float(np.sqrt(np.mean((second * coef[0] + columns @ coef[1:] - first) ** 2)))
    ratio = nice_power(float(coef[0])) if is_scaling else coef[0]
    h = block @ coef[1:]
    share = float(np.sqrt(np.mean((columns @ coef[1:]) ** 2)))
    if not ratio or size == 0 or share < NEGLIGIBLE * size:
        return None
    return Sheared(alone, float(ratio), is_scaling, is_product, error / size, (x, h))


def product_factors(
    form: Sheared, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, float] | None:
    """G and F at rows X [n, 2], [n, 2], and the RMSE of their product."""
    at, h = form.log_slope
    order = np.argsort(at)
    at, h = at[order], h[order]
    logs = integrate.cumulative_trapezoid(h / at if form.is_scaling else h, at, initial=0.0)
    logs -= np.median(logs)
    if not np.abs(logs).max() < 50:
        return None
    G = np.exp(np.interp(X[:, form.alone], at, logs))
    u = form.column(X)
    block = spline_block(u, GRID)
    root = root_weight(weight, len(y))
    F = block @ least_squares(block * (G * root)[:, None], y * root)
    columns = np.column_stack([X[:, form.alone], u])
    fitted = fit_product(columns, y, np.column_stack([G, F]), weight)
    return None if fitted is None else (fitted.factors, fitted.error)
