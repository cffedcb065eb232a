"""Exact quantiles of rows in parts, by selection in several passes.

Every wanted value is known to lie in an interval whose ends are values themselves; it is cut into
cells, one pass counts each cell and notes its smallest and its largest value, and the cell with the
wanted rank is the next interval, until its ends agree. With C cells an interval, 10^7 different
values take about 1 + log 10^7 / log C passes, values with many ties fewer.
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kansym import bspline
from kansym.network import Network
from kansym.partitions import Part, Partitions, largest
from kansym.training.grids import breaks_by_quantiles

CELLS = 12_288  # of one column in one pass, for all its ranks together
FEWEST_CELLS = 16  # of one rank


@torch.no_grad()
def update_grids_by_parts(network: Network, parts: Partitions) -> None:
    """As `kansym.training.grids.update_grids`, to the same bits whenever the inputs of a layer have
    the same bits."""
    for l, layer in enumerate(network.kan_layers):
        if not bool(layer.is_numeric.any()):
            continue
        quantiles = layer_quantiles(network, l, parts)
        if bool(torch.isfinite(quantiles).all()):
            layer.move_grid(breaks_by_quantiles(quantiles, parts.n, network.grid_eps))


@torch.no_grad()
def layer_quantiles(network: Network, l: int, parts: Partitions) -> Float[Tensor, "in breaks"]:
    """Quantiles at 0, 1/grid, ..., 1 of every input of layer l; NaN or inf where an input has them.

    With uniform grids (grid_eps = 1) only the ends count, and the others are evenly spaced.
    """
    bare, grid = network.bare(), network.kan_layers[l].grid
    ends = parts.reduce(partial(_ends, bare, l), largest)
    low, high = -ends[0], ends[1]
    if network.grid_eps == 1 or not bool((low.isfinite() & high.isfinite()).all()):
        return bspline.uniform_breaks(low, high, grid)
    below, above, weight = bspline.quantile_ranks(parts.n, grid)
    ranks, place = torch.unique(torch.cat([below, above]), return_inverse=True)
    values = _select(bare, l, parts, low, high, ranks.to(low.device))
    lower, upper = values[:, place].chunk(2, 1)
    return torch.lerp(lower, upper, weight.to(lower))


def _select(
    network: Network,
    l: int,
    parts: Partitions,
    low: Float[Tensor, " in"],
    high: Float[Tensor, " in"],
    ranks: Int[Tensor, " ranks"],
) -> Float[Tensor, "in ranks"]:
    """The values with these ranks, from 0, among the inputs of layer l."""
    count = max(FEWEST_CELLS, CELLS // len(ranks))
    low, high = (end[:, None].repeat(1, len(ranks)) for end in (low, high))
    below = torch.zeros_like(low, dtype=torch.long)  # values that are less than low
    share = torch.linspace(0, 1, count + 1).to(low)
    while bool((low < high).any()):
        # Halves never overflow; the last cell is that of the highest value alone.
        marks = low[..., None] * (1 - share) + high[..., None] * share
        marks = marks.clamp(low[..., None], high[..., None]).cummax(-1).values
        marks[..., 0], marks[..., -1] = low, high
        counts, smallest, biggest = parts.reduce(partial(_cells, network, l, marks), _merged_cells)
        reached = below[..., None] + counts.cumsum(-1)
        cell = (reached > ranks[:, None]).long().argmax(-1, keepdim=True)
        below = (reached - counts).gather(-1, cell)[..., 0]
        low, high = smallest.gather(-1, cell)[..., 0], biggest.gather(-1, cell)[..., 0]
    return low


def _inputs(network: Network, l: int, X: Tensor) -> Float[Tensor, "n in"]:
    h = network.scale_inputs(X)
    for before in range(l):
        h = network.combine(before, network.kan_layers[before](h))
    return h


@torch.no_grad()
def _ends(network: Network, l: int, part: Part) -> tuple[Tensor, Tensor]:
    h = _inputs(network, l, part.X)
    return -h.amin(0), h.amax(0)


@torch.no_grad()
def _cells(
    network: Network, l: int, marks: Float[Tensor, "in ranks marks"], part: Part
) -> tuple[Tensor, Tensor, Tensor]:
    """How many values lie in [mark, next mark), their smallest and their largest; the last cell is
    that of the last mark alone."""
    ordered = _inputs(network, l, part.X).T.contiguous().sort(1).values
    flat = marks.flatten(1)
    start = torch.searchsorted(ordered, flat).view_as(marks)
    stop = torch.searchsorted(ordered, marks[..., -1].contiguous(), right=True)
    stop = torch.cat([start[..., 1:], stop[..., None]], -1)
    counts = stop - start
    last = ordered.shape[1] - 1
    first_value = ordered.gather(1, start.clamp(max=last).flatten(1)).view_as(marks)
    last_value = ordered.gather(1, (stop - 1).clamp(min=0).flatten(1)).view_as(marks)
    is_empty = counts == 0
    return (
        counts,
        first_value.masked_fill(is_empty, torch.inf),
        last_value.masked_fill(is_empty, -torch.inf),
    )


def _merged_cells(
    a: tuple[Tensor, Tensor, Tensor], b: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    return a[0] + b[0], torch.minimum(a[1], b[1]), torch.maximum(a[2], b[2])
