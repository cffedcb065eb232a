"""What calling the library takes: whether it can run something, structs, and checks.

The kernels work on addresses. Nothing may reach them that lies elsewhere, has another type or is
shorter than they think.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kansym.edge import EdgeShape
from kansym.kernels.library import GradientStruct, LayerStruct, load
from kansym.kernels.records import LayerGradient, NumericEdges, NumericNetwork

MAX_DEGREE = 7
BASES = {"silu": 0, "identity": 1, "tanh": 2, "zero": 3}
OUTSIDE = {"linear": 0, "clamp": 1, "base": 2, "reflect": 3, "periodic": 4}
SUFFIX = {torch.float64: "f64", torch.float32: "f32"}


def supports(x: Tensor, shape: EdgeShape, *weights: Tensor) -> bool:
    """Whether the native kernels are there and can run this.

    They work on addresses: what PyTorch would convert, or refuse with a message, is left to it.
    """
    return (
        not torch.compiler.is_compiling()
        and load().library is not None
        and x.dtype in SUFFIX
        and x.ndim == 2
        and x.shape[1] == len(shape.knots)
        and all(_is_plain(tensor, x.dtype) for tensor in (x, shape.knots, *weights))
        and shape.k <= MAX_DEGREE
        and shape.base in BASES
        and shape.outside in OUTSIDE
    )


def _is_plain(tensor: Tensor, dtype: torch.dtype) -> bool:
    return (
        tensor.is_cpu
        and tensor.dtype == dtype
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # pyright: ignore[reportAttributeAccessIssue]
    )


def supports_network(x: Tensor, network: NumericNetwork) -> bool:
    """Whether a whole network can be run; all its layers must have the same degree."""
    degree = network.layers[0].shape.k
    return supports(x, network.layers[0].shape) and all(
        edges.shape.k == degree and supports_edges(x.dtype, edges) for edges in network.layers
    )


def supports_edges(dtype: torch.dtype, edges: NumericEdges) -> bool:
    """Whether inputs of this dtype could be run."""
    inputs = torch.empty(0, len(edges.shape.knots), dtype=dtype)
    return supports(inputs, edges.shape, edges.coef, edges.base_weight)


def check_like(x: Tensor, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """C would read on behind the end of an array that is too short."""
    if tensor.shape != shape or tensor.dtype != x.dtype or not tensor.is_cpu:
        raise ValueError(
            f"{name} must be of shape {shape} and {x.dtype} on the CPU, got"
            f" {tuple(tensor.shape)} and {tensor.dtype} on {tensor.device}"
        )


def call(name: str, x: Tensor, *arguments: Any) -> None:
    if getattr(load().library, f"kansym_{name}_{SUFFIX[x.dtype]}")(*arguments):
        raise MemoryError(f"no memory left for {len(x)} rows")


def layer_struct(
    shape: EdgeShape, n_out: int = 0, edges: NumericEdges | None = None
) -> tuple[LayerStruct, list[Tensor]]:
    """The struct, and the tensors it points into, which must outlive it."""
    n_in, n_knots = shape.knots.shape
    held = [shape.knots]
    if edges is not None:
        held += [edges.coef, edges.base_weight, edges.is_numeric]
    else:
        held += [held[0], held[0], torch.ones(1, n_in, dtype=torch.bool)]
    held = [tensor.detach().contiguous() for tensor in held]
    struct = LayerStruct(
        n_in, n_out, n_knots - 2 * shape.k - 1, shape.k, BASES[shape.base], OUTSIDE[shape.outside],
        *(tensor.data_ptr() for tensor in held),
    )  # fmt: skip
    return struct, held


def zero_gradient(edges: NumericEdges) -> LayerGradient:
    shape = edges.base_weight.shape
    return LayerGradient(edges.coef.new_zeros(edges.coef.shape), edges.coef.new_zeros(shape))


def gradient_struct(gradient: LayerGradient) -> GradientStruct:
    return GradientStruct(gradient.coef.data_ptr(), gradient.base_weight.data_ptr())
