"""The arithmetic of numeric edges, by the fastest means at hand.

Every function here has a form in PyTorch (`reference`) and one in C (`native`); each call goes to
the native one where that can run it: on the CPU, for degrees up to 7, and when the library was
compiled. `load` says which is in use and why; KANSYM_KERNELS=torch switches the native ones off.
"""

from __future__ import annotations

from types import ModuleType

from jaxtyping import Float
from torch import Tensor

from kansym.edge import EdgeShape
from kansym.kernels import native, reference
from kansym.kernels.calls import supports, supports_edges, supports_network
from kansym.kernels.library import Kernels, load
from kansym.kernels.native_network import NativeNetwork
from kansym.kernels.records import LayerGradient, NumericEdges, NumericNetwork

__all__ = [
    "Kernels",
    "LayerGradient",
    "NativeNetwork",
    "NumericEdges",
    "NumericNetwork",
    "edge_slopes",
    "edge_values",
    "features",
    "forward",
    "load",
    "moments",
    "slopes",
    "supports_network",
    "variances",
]


def features(x: Float[Tensor, "batch in"], shape: EdgeShape) -> Float[Tensor, "in features batch"]:
    """F(x), see `kansym.edge`. Differentiable in x."""
    return _for(x, shape).features(x, shape)


def slopes(x: Float[Tensor, "batch in"], shape: EdgeShape) -> Float[Tensor, "in features batch"]:
    """dF/dx. Differentiable in x."""
    return _for(x, shape).slopes(x, shape)


def moments(
    x: Float[Tensor, "batch in"], shape: EdgeShape
) -> tuple[Float[Tensor, "in features"], Float[Tensor, "in features features"]]:
    """Means of F and of F F' over the batch, in float64. Differentiable in x."""
    return _for(x, shape).moments(x, shape)


def variances(
    cov: Float[Tensor, "in features features"], edges: NumericEdges
) -> Float[Tensor, "out in"]:
    """w' C w of every numeric edge with C = `cov`, 0 for others. Differentiable in all three."""
    is_native = cov.is_cpu and supports_edges(edges.coef.dtype, edges)
    return (native if is_native else reference).variances(cov, edges)


def forward(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out"]:
    """The sum of the numeric edges into each output. Differentiable in x and the weights."""
    return _for(x, *edges[:3]).forward(x, edges)


def edge_values(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out in"]:
    """phi(x) of every edge, 0 where it is not numeric. Differentiable in x and the weights."""
    return _for(x, *edges[:3]).edge_values(x, edges)


def edge_slopes(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out in"]:
    """d phi / dx of every edge. Differentiable in x and the weights."""
    return _for(x, *edges[:3]).edge_slopes(x, edges)


def _for(x: Tensor, shape: EdgeShape, *weights: Tensor) -> ModuleType:
    return native if supports(x, shape, *weights) else reference
