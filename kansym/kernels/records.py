"""What the kernels work on: the numeric edges of a layer, and a network of nothing else."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from kansym.edge import EdgeShape


class NumericEdges(NamedTuple):
    """The numeric edges of one layer; all others count as zero."""

    shape: EdgeShape
    coef: Float[Tensor, "out in basis"]
    base_weight: Float[Tensor, "out in"]
    is_numeric: Bool[Tensor, "out in"]


class NumericNetwork(NamedTuple):
    """Layers of numeric edges with n_sum[l] sum and n_product[l] product nodes after layer l."""

    layers: list[NumericEdges]
    n_sum: list[int]
    n_product: list[int]
    arity: int


class LayerGradient(NamedTuple):
    coef: Float[Tensor, "out in basis"]
    base_weight: Float[Tensor, "out in"]
