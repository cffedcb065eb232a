"""Values and derivatives, to the third, of any function that torch can differentiate, at rows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kansym.network import Network

MIN_ROWS = 20


@dataclass(frozen=True)
class Derivatives:
    """At n rows of m variables, in float64. second[:, i, j] is d2f/dx_i dx_j; third[:, i, j, k]
    likewise for i < j, and 0 for others; None where it was not asked for."""

    X: Float[np.ndarray, "n m"]
    values: Float[np.ndarray, " n"]
    first: Float[np.ndarray, "n m"]
    second: Float[np.ndarray, "n m m"]
    third: Float[np.ndarray, "n m m m"] | None


def in_double(function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """The function, or a copy of a module in float64: its derivatives are compared to rounding."""
    if isinstance(function, nn.Module):
        return copy.deepcopy(function).double()
    return function


def check_smooth(function: Any) -> None:
    """ValueError for a network whose splines have no second derivatives."""
    if not isinstance(function, Network) or function.k > 1:
        return
    if any(bool(layer.is_numeric.any()) for layer in function.kan_layers):
        raise ValueError(
            "hypotheses need second derivatives, and splines of degree k = 1 have none: train a "
            "model with k >= 2"
        )


def derivatives(
    function: Callable[[Tensor], Any], X: Tensor, output: int, third: bool = False
) -> Derivatives:
    """Derivatives of one output at the rows of X [n, m] where all are finite.

    Raises ValueError for a function whose outputs are no tensor [n] or [n, out], or do not depend
    on X as far as torch can see, and where fewer than 20 rows are finite.
    """
    x = X.detach().double().requires_grad_()
    with torch.enable_grad():
        y = _output(function, x, output)
        m = x.shape[1]
        first = _gradient(y, x)
        second = torch.stack([_gradient(first[:, i], x, third) for i in range(m)], 1)
        parts = [x, y, first, second]
        if third:
            rows = x.new_zeros(len(x), m, m, m)
            for i, j in combinations(range(m), 2):
                rows[:, i, j] = _gradient(second[:, i, j], x, False)
            parts.append(rows)
    finite = torch.stack([torch.isfinite(part).reshape(len(x), -1).all(1) for part in parts]).all(0)
    if int(finite.sum()) < MIN_ROWS:
        raise ValueError(
            f"X must have at least {MIN_ROWS} rows at which the function and its derivatives are "
            f"finite, got {int(finite.sum())} of {len(finite)}"
        )
    points, values, *slopes = (part[finite].detach().cpu().numpy() for part in parts)
    return Derivatives(points, values, slopes[0], slopes[1], slopes[2] if third else None)


def _output(function: Callable[[Tensor], Any], x: Tensor, output: int) -> Tensor:
    y = function(x)
    if not isinstance(y, Tensor) or y.ndim not in (1, 2) or len(y) != len(x):
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"function must return a tensor [n] or [n, outputs], got {got}")
    if y.ndim == 2:
        if not 0 <= output < y.shape[1]:
            raise ValueError(f"output must be in 0..{y.shape[1] - 1}, got {output!r}")
        y = y[:, output]
    if not y.requires_grad:
        raise ValueError(
            "function must depend on X in operations of torch, which differentiates them; this one "
            "is constant, or leaves torch on the way"
        )
    return y


def _gradient(values: Tensor, x: Tensor, again: bool = True) -> Tensor:
    """d values_n / d x_n, [n, m]; rows do not mix. again: whether it is differentiated, too."""
    if not values.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad(
        values.sum(), x, retain_graph=True, create_graph=again, materialize_grads=True
    )[0]
