"""Units: an affine map before the first layer and after the last, chosen from the data.

A column that already lies within the grid range and fills at least half of it keeps its units, and
so does an output of ordinary size: constants in `suggest_symbolic` then read as they are. Any other
column is mapped onto the grid range, any other output to mean 0 and standard deviation 1. A column
that varies by no more than rounding is as good as constant, and mapped onto one point. The maps
belong to the network, so predictions and formulas are always in raw units.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kansym import bspline
from kansym.errors import check_choice
from kansym.network import Network

MODES = ("auto", "always", "never")
ROUNDING = 8  # units in the last place
ORDINARY_STD = (0.1, 10.0)
ORDINARY_MEAN = 10.0  # standard deviations


@torch.no_grad()
def choose_scaling(network: Network, X: Tensor, y: Tensor | None, mode: str) -> None:
    """Set the network's maps from the sample, in place; y is None when outputs have no units."""
    outputs = None if y is None else _output_summary(y)
    scale_by(network, (X.amin(0), X.amax(0)), outputs, mode)


def scale_by(
    network: Network,
    ends: tuple[Float[Tensor, " in"], Float[Tensor, " in"]],
    outputs: tuple[Float[Tensor, " out"], Float[Tensor, " out"], Float[Tensor, " out"]] | None,
    mode: str,
) -> None:
    """The same from what is known of the rows. ends: smallest and largest inputs. outputs: largest
    absolute value, mean and standard deviation."""
    if check_choice("scale", mode, MODES) == "never":
        return
    layer, always = network.kan_layers[0], mode == "always"
    low, high = bspline.grid_range(layer.knots, layer.k)
    network.input_shift, network.input_scale = _input_map(*ends, low, high, always)
    if outputs is not None:
        network.output_shift, network.output_scale = _output_map(*outputs, always)


def _output_summary(y: Float[Tensor, "n out"]) -> tuple[Tensor, Tensor, Tensor]:
    size = y.abs().amax(0).clamp(min=torch.finfo(y.dtype).tiny)
    unit = y / size  # squares of y itself may overflow
    return size, unit.mean(0) * size, unit.std(0, correction=0) * size


def _input_map(
    smallest: Tensor, largest: Tensor, low: Tensor, high: Tensor, always: bool
) -> tuple[Tensor, Tensor]:
    half = largest / 2 - smallest / 2  # halves first: the difference may overflow
    fits = (smallest >= low) & (largest <= high) & (half >= (high - low) / 4)
    keep = fits & (not always)
    finfo = torch.finfo(half.dtype)
    noise = ROUNDING * finfo.eps * torch.maximum(smallest.abs(), largest.abs())
    varies = half > noise.clamp(min=finfo.tiny)  # below tiny, 1 / half overflows
    scale = torch.where(varies, (high - low) / 2 / torch.where(varies, half, 1.0), 1.0)
    shift = smallest / 2 + largest / 2 - (low + high) / 2 / scale
    scale = torch.where(~varies & (half > 0), 0.0, scale)
    return torch.where(keep, 0.0, shift), torch.where(keep, 1.0, scale)


def _output_map(size: Tensor, mean: Tensor, std: Tensor, always: bool) -> tuple[Tensor, Tensor]:
    smallest, largest = ORDINARY_STD
    is_ordinary = (std >= smallest) & (std <= largest) & (mean.abs() <= ORDINARY_MEAN * std)
    keep = is_ordinary & (not always)
    scale = torch.where(std > 1e-14 * size, std, 1.0)
    return torch.where(keep, 0.0, mean), torch.where(keep, 1.0, scale)
