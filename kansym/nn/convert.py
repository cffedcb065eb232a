"""From a stack of layers to a network that can be pruned and named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from kansym.network import Network
from kansym.nn.basis import BSplineBasis
from kansym.nn.linear import KANLinear
from kansym.nn.normalise import Normaliser

N = TypeVar("N", bound=Network)


def to_kan(
    *layers: nn.Module | Iterable[nn.Module],
    cls: type[N] = Network,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> N:
    """A network with the outputs of a stack of layers, weights copied; nothing is shared.

    layers: `nn.Sequential`, lists or layers, in order: normalisers that cut nothing first, if any,
    then `KANLinear` with B-splines and without groups. `nn.Identity` and `nn.Dropout` are passed
    over, and `DistributedDataParallel` and `DataParallel` are opened. cls: `KAN` for all the verbs.
    options: of cls, but for width, grid, k, base and outside.

    Raises ValueError for a layer that has no counterpart, naming it.
    """
    affine, splines = _sorted(list(_flat(layers)))
    width = [splines[0].in_features, *(layer.out_features for layer in splines)]
    for position, layer in enumerate(splines[1:], start=1):
        if layer.in_features != width[position]:
            raise ValueError(
                f"layers must follow on each other: KANLinear({layer.extra_repr()}) takes "
                f"{layer.in_features} values and is given {width[position]}"
            )
    first = splines[0]
    network = cls(width, first.grid, first.k, dtype=dtype, **options)
    network.to(first.coef.device)
    with torch.no_grad():
        for part, layer in zip(network.kan_layers, splines, strict=True):
            _copy(part, layer, dtype)
        network.input_shift, network.input_scale = _joined(affine, network.input_shift)
    return network


def _flat(layers: Iterable[Any]) -> Iterator[nn.Module]:
    for layer in layers:
        if isinstance(layer, (nn.Sequential, nn.ModuleList, list, tuple)):
            yield from _flat(layer)
        elif isinstance(layer, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            yield from _flat([layer.module])
        elif not isinstance(layer, (nn.Identity, nn.Dropout)):
            yield layer


def _sorted(layers: list[nn.Module]) -> tuple[list[Normaliser], list[KANLinear]]:
    affine: list[Normaliser] = []
    splines: list[KANLinear] = []
    for position, layer in enumerate(layers):
        if isinstance(layer, KANLinear):
            splines.append(_checked(position, layer))
        elif isinstance(layer, Normaliser) and not splines and layer.limits is None:
            affine.append(layer)
        elif isinstance(layer, Normaliser):
            _refuse(position, layer, "only normalisers before the first layer, that cut nothing, "
                    "have a place; use ZScore or MinMax there")  # fmt: skip
        else:
            _refuse(position, layer, "use KANLinear in its place, or convert the layers around it")
    if not splines:
        raise ValueError("layers must hold at least one KANLinear")
    return affine, splines


def _checked(position: int, layer: KANLinear) -> KANLinear:
    if not isinstance(layer.basis, BSplineBasis):
        _refuse(position, layer, "its edges are no B-splines; train one with basis='bspline'")
    if layer.groups is not None:
        _refuse(position, layer, "its edges share functions; train one with groups=None")
    return layer


def _refuse(position: int, layer: nn.Module, reason: str) -> None:
    raise ValueError(f"layer {position}, {layer!r}, cannot become part of a KAN: {reason}")


def _copy(part: Any, layer: KANLinear, dtype: torch.dtype) -> None:
    """What `KANLayer` holds, from a `KANLinear`."""
    coef, base_weight = layer._edge_weights(dtype)
    part.k, part.base, part.outside = layer.k, layer.base, layer.outside
    part.coef, part.base_weight = nn.Parameter(coef.clone()), nn.Parameter(base_weight.clone())
    assert isinstance(layer.basis, BSplineBasis)
    part.knots = layer.basis.shape_for(dtype).knots.clone()


def _joined(affine: list[Normaliser], like: Tensor) -> tuple[Tensor, Tensor]:
    """(x - shift) * factor of maps one after another."""
    shift, factor = torch.zeros_like(like), torch.ones_like(like)
    for layer in affine:
        if layer.features != len(like):
            raise ValueError(f"{layer!r} must have {len(like)} features, as the first layer")
        next_shift, next_factor = (part.to(like) for part in layer.shift_and_factor())
        shift, factor = shift + next_shift / factor, factor * next_factor
    return shift, factor
