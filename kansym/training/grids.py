"""Grids that follow the activations, and finer ones.

Source: Liu et al. 2024, arXiv:2404.19756, sec. 2.2 and 2.4.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kansym import bspline
from kansym.network import Network

# Splines divide by powers of their intervals: below this, even float32 would overflow.
SMALLEST_SPREAD = 1e-30
MARGIN_GAPS = 4  # mean gaps between values that a grid reaches beyond them
MAX_MARGIN = 0.01  # of the range


def is_grid_step(step: int, count: int, stop: int) -> bool:
    """Whether step `step` is one of `count` grid updates spread evenly over steps [0, stop)."""
    if count <= 0 or step >= stop:
        return False
    return step * count // stop != (step - 1) * count // stop


@torch.no_grad()
def update_grids(network: Network, X: Tensor) -> None:
    """Move every layer's grid to the range and density of its inputs on X, in place.

    The splines are refitted to the functions they were. A layer whose inputs are not all finite
    keeps its grid: the loss of such a network says the rest.
    """
    h = network.scale_inputs(X)
    for l, layer in enumerate(network.kan_layers):
        if bool(layer.is_numeric.any()) and bool(torch.isfinite(h).all()):
            layer.move_grid(covering_breaks(h, layer.grid, network.grid_eps))
        h = network.combine(l, layer(h))


def covering_breaks(
    h: Float[Tensor, "n in"], grid: int, grid_eps: float
) -> Float[Tensor, "in breaks"]:
    """Break points for the inputs h of a layer, finite all. Ranges narrower than 1e-6 of the widest
    (a constant column, a dead node) get a grid of that width."""
    return breaks_by_quantiles(bspline.quantiles(h, grid), len(h), grid_eps)


def breaks_by_quantiles(
    quantiles: Float[Tensor, "in breaks"], n: int, grid_eps: float
) -> Float[Tensor, "in breaks"]:
    """The same from the quantiles of n rows at 0, 1/grid, ..., 1."""
    spread = float((quantiles[:, -1] - quantiles[:, 0]).max())
    narrowest = 1e-6 * (spread if spread > SMALLEST_SPREAD else 1.0)
    return _with_margin(bspline.breaks_by(quantiles, grid_eps, narrowest), n)


def _with_margin(breaks: Tensor, n: int) -> Tensor:
    """End intervals that reach a little beyond the sample.

    Of n uniform values the largest lies on average 1/n of the range short of the end. Other rows
    from the same range then still meet the polynomial, not the straight line outside the grid: on
    exp(sin(pi x) + y^2) with 100 intervals that error was a hundred times all others.
    """
    margin = min(MARGIN_GAPS / n, MAX_MARGIN) * (breaks[:, -1] - breaks[:, 0])
    breaks = breaks.clone()
    breaks[:, 0] -= margin
    breaks[:, -1] += margin
    return breaks


@torch.no_grad()
def refine_grids(network: Network, grid: int) -> None:
    """Give every edge `grid` intervals on the same range, in place.

    The function is kept exactly when `grid` is a multiple of the old number, otherwise to the
    accuracy of a least-squares fit.
    """
    for layer in network.kan_layers:
        breaks = layer.knots[:, layer.k : layer.knots.shape[1] - layer.k]
        layer.move_grid(_resampled(breaks, grid))


def _resampled(breaks: Tensor, grid: int) -> Tensor:
    """`grid` intervals that follow the density of the old break points."""
    old = breaks.shape[1] - 1
    position = torch.linspace(0, old, grid + 1, dtype=breaks.dtype, device=breaks.device)
    left = position.floor().long().clamp(max=old - 1)
    share = position - left
    return breaks[:, left] * (1 - share) + breaks[:, left + 1] * share
