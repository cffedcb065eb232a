"""Finer grids for a trained network (Liu et al. 2024, arXiv:2404.19756, sec. 2.4)."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from kansym.errors import check_positive_int
from kansym.layer import KANLayer
from kansym.network import Network

N = TypeVar("N", bound=Network)


@torch.no_grad()
def refine(network: N, grid: int) -> N:
    """A new network with `grid` intervals on every edge, on the same ranges.

    The function is kept exactly when `grid` is a multiple of the old number, otherwise to the
    accuracy of a least-squares fit.
    """
    check_positive_int("grid", grid)
    new = network.copy()
    for layer in new.kan_layers:
        layer.move_grid(_resampled(_breaks(layer), grid))
    return new


def _breaks(layer: KANLayer) -> Tensor:
    return layer.knots[:, layer.k : layer.knots.shape[1] - layer.k]


def _resampled(breaks: Tensor, grid: int) -> Tensor:
    """`grid` intervals that follow the density of the old break points."""
    old = breaks.shape[1] - 1
    position = torch.linspace(0, old, grid + 1, dtype=breaks.dtype, device=breaks.device)
    left = position.floor().long().clamp(max=old - 1)
    share = position - left
    return breaks[:, left] * (1 - share) + breaks[:, left + 1] * share
