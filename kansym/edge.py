"""The features of a numeric edge, inside and outside its grid.

    phi(x) = sum_m c_m B_m(x) + w_b b(x) = [c, w_b] . F(x),   F(x) = [B_1(x), ..., B_{G+k}(x), b(x)]

(Liu et al. 2024, arXiv:2404.19756, eq. 2.10, with one scale: spline and scale are not told apart.)
An edge is linear in F, so least squares, Jacobians and penalties need only F and its slope. A rule
says what F is outside [low, high]:

    linear    F goes on along its tangent: value and slope continue (default)
    clamp     F keeps its value at the end of the grid
    base      the spline part keeps its value at the end, b(x) goes on
    zero      the spline part fades out over k more intervals, b(x) goes on (pykan's rule)
    reflect   x is mirrored back into the grid
    periodic  x is wrapped round into the grid
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kansym import bspline

OUTSIDE_RULES = ("linear", "zero", "clamp", "reflect", "periodic", "base")


class Base(NamedTuple):
    """A base function b with its first three derivatives, elementwise on tensors."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    second: Callable[[Tensor], Tensor]
    third: Callable[[Tensor], Tensor]


def _silu_slope(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


def _silu_second(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def _silu_third(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    slope = s * (1 - s)
    return slope * (3 * (1 - 2 * s) + x * (1 - 6 * slope))


def _tanh_slope(x: Tensor) -> Tensor:
    return 1 - torch.tanh(x) ** 2


def _tanh_second(x: Tensor) -> Tensor:
    return -2 * torch.tanh(x) * _tanh_slope(x)


def _tanh_third(x: Tensor) -> Tensor:
    return (4 - 6 * _tanh_slope(x)) * _tanh_slope(x)


_zero = torch.zeros_like

BASES: dict[str, Base] = {
    "silu": Base(F.silu, _silu_slope, _silu_second, _silu_third),
    "identity": Base(lambda x: x, torch.ones_like, _zero, _zero),
    "tanh": Base(torch.tanh, _tanh_slope, _tanh_second, _tanh_third),
    "zero": Base(_zero, _zero, _zero, _zero),
}


class EdgeShape(NamedTuple):
    """What fixes the features of the edges of one layer: everything but the coefficients."""

    knots: Float[Tensor, "in knots"]
    k: int
    base: str
    outside: str


def features(x: Float[Tensor, "batch in"], shape: EdgeShape) -> Float[Tensor, "in features batch"]:
    """F(x) with the rule for x outside the grid applied. Differentiable in x."""
    if shape.outside == "zero":
        return _stack(_fading_basis(x, shape, 0), _base(x, shape, 0))
    inner, _ = _fold(x, shape)
    spline = bspline.basis(inner, shape.knots, shape.k)
    if shape.outside == "base":
        return _stack(spline, _base(x, shape, 0))
    value = _stack(spline, _base(inner, shape, 0))
    return _with_tangents(value, x - inner, inner, shape) if shape.outside == "linear" else value


def _with_tangents(value: Tensor, beyond: Tensor, inner: Tensor, shape: EdgeShape) -> Tensor:
    """F continued by beyond * dF/dx; slopes are computed only for rows that need them."""
    if torch.compiler.is_compiling() or beyond.is_meta or _is_wrapped(beyond):
        # No shapes that depend on values.
        return value + beyond.T[:, None, :] * _inside_derivative(inner, shape, 1)
    rows = torch.nonzero((beyond != 0).any(1)).flatten()
    if not len(rows):
        return value
    tangents = beyond[rows].T[:, None, :] * _inside_derivative(inner[rows], shape, 1)
    return value.index_add(2, rows, tangents)


def _is_wrapped(x: Tensor) -> bool:
    """Whether x is inside of vmap or another transform of functions."""
    return torch._C._functorch.is_functorch_wrapped_tensor(x)  # pyright: ignore[reportAttributeAccessIssue]


def slopes(x: Float[Tensor, "batch in"], shape: EdgeShape) -> Float[Tensor, "in features batch"]:
    """dF/dx, of the same shape as F: what an analytic Jacobian needs."""
    return derivatives(x, shape, 1)


def derivatives(
    x: Float[Tensor, "batch in"], shape: EdgeShape, order: int
) -> Float[Tensor, "in features batch"]:
    """The `order`-th derivative of F, 1 to 3, with the rule for x outside the grid applied."""
    if shape.outside == "zero":
        return _stack(_fading_basis(x, shape, order), _base(x, shape, order))
    inner, direction = _fold(x, shape)
    if shape.outside == "linear" and order == 1:
        return _inside_derivative(inner, shape, order)
    turn = (direction**order).T[:, None, :]
    if shape.outside == "base":
        spline = bspline.basis(inner, shape.knots, shape.k, order)
        return _stack(turn * spline, _base(x, shape, order))
    return turn * _inside_derivative(inner, shape, order)


def _fold(x: Tensor, shape: EdgeShape) -> tuple[Tensor, Tensor]:
    return fold(x, *bspline.grid_range(shape.knots, shape.k), shape.outside)


def fold(
    x: Float[Tensor, "batch in"], low: Float[Tensor, " in"], high: Float[Tensor, " in"], rule: str
) -> tuple[Float[Tensor, "batch in"], Float[Tensor, "batch in"]]:
    """The point of the grid that stands for x by any rule but "zero", and d(point)/dx."""
    width = high - low
    if rule == "periodic":
        is_inside = (x >= low) & (x <= high)
        return torch.where(is_inside, x, low + torch.remainder(x - low, width)), torch.ones_like(x)
    if rule == "reflect":
        phase = torch.remainder(x - low, 2 * width)
        rising = phase <= width
        return low + torch.where(rising, phase, 2 * width - phase), 2 * rising.to(x.dtype) - 1
    inner = _clip(x, low, high)
    return inner, (inner == x).to(x.dtype)


def _clip(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    # Not torch.maximum: at a tie it passes on half of the gradient, and the ends of an adaptive
    # grid are sample points.
    return torch.where(x < low, low, torch.where(x > high, high, x))


def _inside_derivative(inner: Tensor, shape: EdgeShape, order: int) -> Tensor:
    spline = bspline.basis(inner, shape.knots, shape.k, order)
    return _stack(spline, _base(inner, shape, order))


def _fading_basis(x: Tensor, shape: EdgeShape, derivative: int) -> Tensor:
    """The basis on a grid longer by k + 1 intervals on each side, of which only the functions of
    the grid proper are kept: they reach k intervals out and are zero from there on."""
    k, pad = shape.k, 1
    breaks = bspline.extend(shape.knots, pad)
    wide = bspline.extend(breaks, k)
    low, high = breaks[:, 0], breaks[:, -1]
    values = bspline.basis(_clip(x, low, high), wide, k, derivative)
    count = shape.knots.shape[1] - k - 1
    return values[:, k + pad : k + pad + count]


def _base(x: Tensor, shape: EdgeShape, derivative: int) -> Tensor:
    return BASES[shape.base][derivative](x)


def _stack(spline: Tensor, base: Tensor) -> Tensor:
    return torch.cat([spline, base.T[:, None, :]], 1)
