"""The kernels in PyTorch: any device, any degree, differentiable any number of times.

This is what the native kernels are held to, and what runs where they cannot.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from kansym import edge
from kansym.edge import EdgeShape
from kansym.kernels.records import NumericEdges


def features(x: Float[Tensor, "batch in"], shape: EdgeShape) -> Float[Tensor, "in features batch"]:
    return edge.features(x, shape)


def slopes(x: Float[Tensor, "batch in"], shape: EdgeShape) -> Float[Tensor, "in features batch"]:
    return edge.slopes(x, shape)


def moments(
    x: Float[Tensor, "batch in"], shape: EdgeShape
) -> tuple[Float[Tensor, "in features"], Float[Tensor, "in features features"]]:
    values = edge.features(x, shape).double()
    return values.mean(2), values @ values.transpose(1, 2) / len(x)


def variances(
    cov: Float[Tensor, "in features features"], edges: NumericEdges
) -> Float[Tensor, "out in"]:
    w = weights(edges).transpose(0, 1)  # [in, out, features]
    return ((w @ cov.to(w)) * w).sum(2).T


def forward(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out"]:
    # The batch never meets [out, in]: a layer of splines is one matrix product.
    if torch.compiler.is_compiling() or x.is_meta:  # shapes may not depend on values there
        x = torch.where(edges.is_numeric.any(0), x, 0)
        return (weights(edges).flatten(1) @ edge.features(x, edges.shape).flatten(0, 1)).T
    used = _used_inputs(edges)
    if not len(used):
        return x.new_zeros(len(x), len(edges.is_numeric))
    values = edge.features(x[:, used], _shape_of(edges, used))
    return (weights(edges)[:, used].flatten(1) @ values.flatten(0, 1)).T


def edge_values(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out in"]:
    return _expanded(x, edges, edge.features)


def edge_slopes(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out in"]:
    return _expanded(x, edges, edge.slopes)


def _expanded(
    x: Tensor, edges: NumericEdges, of_shape: Callable[[Tensor, EdgeShape], Tensor]
) -> Float[Tensor, "batch out in"]:
    values = x.new_zeros(len(x), *edges.is_numeric.shape)
    used = _used_inputs(edges)
    if not len(used):
        return values
    found = of_shape(x[:, used], _shape_of(edges, used))
    return values.index_copy(2, used, torch.einsum("oif,ifn->noi", weights(edges)[:, used], found))


def _used_inputs(edges: NumericEdges) -> Tensor:
    """Inputs with a numeric edge. The others are never put through a spline: they may hold
    anything, and 0 * nan is nan."""
    return torch.nonzero(edges.is_numeric.any(0)).flatten()


def _shape_of(edges: NumericEdges, inputs: Tensor) -> EdgeShape:
    return edges.shape._replace(knots=edges.shape.knots[inputs])


def weights(edges: NumericEdges) -> Float[Tensor, "out in features"]:
    """[c, w_b] of every edge, zero where the edge is not numeric."""
    joined = torch.cat([edges.coef, edges.base_weight[..., None]], 2)
    return torch.where(edges.is_numeric[..., None], joined, 0)
