"""Finer grids for a trained network (Liu et al. 2024, arXiv:2404.19756, sec. 2.4)."""

from __future__ import annotations

from typing import TypeVar

from kansym.errors import check_grid
from kansym.network import Network
from kansym.training.grids import refine_grids

N = TypeVar("N", bound=Network)


def refine(network: N, grid: int) -> N:
    """A new network with `grid` intervals on every edge, on the same ranges; see `refine_grids`."""
    check_grid("grid", grid)
    new = network.copy()
    refine_grids(new, grid)
    return new
