"""Layers in C (core/kansym.h), called through ctypes.

First derivatives are native too. Where a gradient is to be differentiated again, the backward pass
is that of the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kansym.edge import EdgeShape
from kansym.kernels import reference
from kansym.kernels.calls import call, gradient_struct, layer_struct, zero_gradient
from kansym.kernels.library import GradientStruct
from kansym.kernels.records import NumericEdges


def features(x: Float[Tensor, "batch in"], shape: EdgeShape) -> Float[Tensor, "in features batch"]:
    if _is_tracked(x):
        return _Features.apply(x, shape)  # pyright: ignore[reportReturnType]
    return _run_features(x, shape, 0)


def slopes(x: Float[Tensor, "batch in"], shape: EdgeShape) -> Float[Tensor, "in features batch"]:
    # Differentiating slopes takes second derivatives, which only the reference has.
    return reference.slopes(x, shape) if _is_tracked(x) else _run_features(x, shape, 1)


def moments(
    x: Float[Tensor, "batch in"], shape: EdgeShape
) -> tuple[Float[Tensor, "in features"], Float[Tensor, "in features features"]]:
    if _is_tracked(x):
        return _Moments.apply(x, shape)  # pyright: ignore[reportReturnType]
    return _run_moments(x, shape)


def variances(
    cov: Float[Tensor, "in features features"], edges: NumericEdges
) -> Float[Tensor, "out in"]:
    if not _is_tracked(cov, edges.coef, edges.base_weight):
        return _run_variances(cov, edges)
    return _Variances.apply(cov, edges.coef, edges.base_weight, edges)  # pyright: ignore[reportReturnType]


def forward(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out"]:
    return _apply(_Forward, x, edges)


def edge_values(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out in"]:
    return _apply(_EdgeValues, x, edges)


def edge_slopes(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out in"]:
    if _is_tracked(x, edges.coef, edges.base_weight):
        return reference.edge_slopes(x, edges)
    return _run_edges(x, edges, 1)


# -- without gradients ---------------------------------------------------------------------------


def _run_features(x: Tensor, shape: EdgeShape, derivative: int) -> Tensor:
    x = x.detach().contiguous()
    struct, _held = layer_struct(shape, 1)
    n_in, n_knots = shape.knots.shape
    found = x.new_empty(n_in, n_knots - shape.k, len(x))
    places = [None, found.data_ptr()] if derivative else [found.data_ptr(), None]
    call("features", x, struct, len(x), x.data_ptr(), *places)
    return found


def _run_moments(x: Tensor, shape: EdgeShape) -> tuple[Tensor, Tensor]:
    x = x.detach().contiguous()
    struct, _held = layer_struct(shape, 1)
    n_in, n_knots = shape.knots.shape
    first = x.new_empty(n_in, n_knots - shape.k, dtype=torch.float64)
    second = x.new_empty(*first.shape, first.shape[1], dtype=torch.float64)
    call("moments", x, struct, len(x), x.data_ptr(), first.data_ptr(), second.data_ptr())
    return first / len(x), second / len(x)


def _run_variances(cov: Tensor, edges: NumericEdges) -> Tensor:
    cov = cov.detach().double().contiguous()
    struct, _held = layer_struct(edges.shape, len(edges.is_numeric), edges)
    found = torch.empty_like(edges.base_weight, memory_format=torch.contiguous_format)
    call("variances", found, struct, cov.data_ptr(), found.data_ptr(), None, GradientStruct())
    return found


def _run_forward(x: Tensor, edges: NumericEdges) -> Tensor:
    x = x.detach().contiguous()
    struct, _held = layer_struct(edges.shape, len(edges.is_numeric), edges)
    y = x.new_empty(len(x), struct.n_out)
    call("forward", x, struct, len(x), x.data_ptr(), y.data_ptr())
    return y


def _run_edges(x: Tensor, edges: NumericEdges, derivative: int) -> Tensor:
    x = x.detach().contiguous()
    struct, _held = layer_struct(edges.shape, len(edges.is_numeric), edges)
    found = x.new_empty(len(x), *edges.is_numeric.shape)
    places = [None, found.data_ptr()] if derivative else [found.data_ptr(), None]
    call("edges", x, struct, len(x), x.data_ptr(), *places)
    return found


# -- gradients ------------------------------------------------------------------------------------


def _is_tracked(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _apply(function: type[_LayerFunction], x: Tensor, edges: NumericEdges) -> Tensor:
    if not _is_tracked(x, edges.coef, edges.base_weight):
        return function.run(x, edges)
    return function.apply(x, edges.coef, edges.base_weight, edges)  # pyright: ignore[reportReturnType]


def _by_reference(
    y: Tensor, inputs: tuple[Tensor, ...], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of y = reference(inputs) that can be differentiated again; None for constants."""
    if not y.requires_grad:  # no edge is numeric
        return (None,) * len(inputs)
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    found = iter(
        torch.autograd.grad(y, wanted, gradient, create_graph=True, materialize_grads=True)
    )
    return tuple(next(found) if tensor.requires_grad else None for tensor in inputs)


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, shape: EdgeShape) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, shape.knots)
        ctx.shape = shape._replace(knots=None)
        return _run_features(x, shape, 0)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, knots = ctx.saved_tensors
        shape = ctx.shape._replace(knots=knots)
        if torch.is_grad_enabled():
            return torch.einsum("ifn,ifn->ni", gradient, reference.slopes(x, shape)), None
        x, gradient = x.contiguous(), gradient.contiguous()
        struct, _held = layer_struct(shape, 1)
        found = torch.empty_like(x)
        call(
            "features_backward", x, struct, len(x), x.data_ptr(), gradient.data_ptr(),
            found.data_ptr(),
        )  # fmt: skip
        return found, None


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, shape: EdgeShape) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, shape.knots)
        ctx.shape = shape._replace(knots=None)
        return _run_moments(x, shape)

    @staticmethod
    def backward(ctx, by_first: Tensor, by_second: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, knots = ctx.saved_tensors
        shape = ctx.shape._replace(knots=knots)
        if torch.is_grad_enabled():
            found = reference.moments(x, shape)
            return *torch.autograd.grad(found, x, (by_first, by_second), create_graph=True), None
        x = x.contiguous()
        by_first = (by_first / len(x)).contiguous()
        by_second = ((by_second + by_second.transpose(1, 2)) / (2 * len(x))).contiguous()
        struct, _held = layer_struct(shape, 1)
        found = torch.empty_like(x)
        call(
            "moments_backward", x, struct, len(x), x.data_ptr(), by_first.data_ptr(),
            by_second.data_ptr(), found.data_ptr(),
        )  # fmt: skip
        return found, None


class _Variances(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, cov: Tensor, coef: Tensor, base_weight: Tensor, edges: NumericEdges
    ) -> Tensor:
        ctx.save_for_backward(cov, coef, base_weight, edges.shape.knots, edges.is_numeric)
        ctx.shape = edges.shape._replace(knots=None)
        return _run_variances(cov, edges)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        cov, coef, base_weight, knots, is_numeric = ctx.saved_tensors
        edges = NumericEdges(ctx.shape._replace(knots=knots), coef, base_weight, is_numeric)
        if torch.is_grad_enabled():
            y = reference.variances(cov, edges)
            return *_by_reference(y, (cov, coef, base_weight), gradient), None
        gradient, wide = gradient.contiguous(), cov.double().contiguous()
        struct, _held = layer_struct(edges.shape, len(is_numeric), edges)
        found = zero_gradient(edges)
        call(
            "variances", gradient, struct, wide.data_ptr(), None, gradient.data_ptr(),
            gradient_struct(found),
        )  # fmt: skip
        by_cov = None
        if ctx.needs_input_grad[0]:
            weights = reference.weights(edges).transpose(0, 1)  # [in, out, features]
            by_cov = ((gradient.T[..., None] * weights).transpose(1, 2) @ weights).to(cov)
        return by_cov, found.coef, found.base_weight, None


class _LayerFunction(torch.autograd.Function):
    """A function of x and the weights of a layer, with a kernel for its gradient."""

    run: Callable[[Tensor, NumericEdges], Tensor]
    reference: Callable[[Tensor, NumericEdges], Tensor]
    kernel: str

    @classmethod
    def save(cls, ctx: Any, x: Tensor, coef: Tensor, base_weight: Tensor, edges: NumericEdges):
        shape = edges.shape
        ctx.save_for_backward(x, coef, base_weight, shape.knots, edges.is_numeric)
        ctx.shape = shape._replace(knots=None)
        return cls.run(x, edges)

    @classmethod
    def gradients(cls, ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, coef, base_weight, knots, is_numeric = ctx.saved_tensors
        edges = NumericEdges(ctx.shape._replace(knots=knots), coef, base_weight, is_numeric)
        if torch.is_grad_enabled():
            y = cls.reference(x, edges)
            return *_by_reference(y, (x, coef, base_weight), gradient), None
        x, gradient = x.contiguous(), gradient.contiguous()
        struct, _held = layer_struct(edges.shape, len(is_numeric), edges)
        weights = zero_gradient(edges)
        by_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        call(
            cls.kernel, x, struct, len(x), x.data_ptr(), gradient.data_ptr(),
            None if by_x is None else by_x.data_ptr(), gradient_struct(weights),
        )  # fmt: skip
        return by_x, weights.coef, weights.base_weight, None


class _Forward(_LayerFunction):
    run, reference, kernel = staticmethod(_run_forward), staticmethod(reference.forward), "backward"

    @staticmethod
    def forward(ctx, *arguments: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Forward.save(ctx, *arguments)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Forward.gradients(ctx, gradient)


class _EdgeValues(_LayerFunction):
    run = staticmethod(lambda x, edges: _run_edges(x, edges, 0))
    reference, kernel = staticmethod(reference.edge_values), "edges_backward"

    @staticmethod
    def forward(ctx, *arguments: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _EdgeValues.save(ctx, *arguments)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _EdgeValues.gradients(ctx, gradient)
