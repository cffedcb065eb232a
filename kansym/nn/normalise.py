"""Normalisers: affine maps of each feature to where grids lie, with running statistics.

[..., features] to the same shape, elementwise. In training mode each batch is taken into the
statistics first, and the result is that of the statistics so far; in eval mode they stand still.
Values that are not finite pass through and are left out of the statistics; a feature without spread
is only centred. `inverse` goes back, and `expressions` are the same maps in SymPy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kansym.errors import check_positive_int, is_number

if TYPE_CHECKING:
    import sympy

CLIP_ROUNDS = 5


class Normaliser(nn.Module, ABC):
    """y = (x - shift) * factor for every feature."""

    def __init__(self, features: int):
        super().__init__()
        self.features = check_positive_int("features", features)

    @abstractmethod
    def shift_and_factor(self) -> tuple[Float[Tensor, " features"], Float[Tensor, " features"]]:
        """The map as it is now."""

    def take_in(self, x: Float[Tensor, "batch features"]) -> None:
        """Update the statistics with a batch of at least one row."""

    @property
    def limits(self) -> tuple[float, float] | None:
        """What the result is cut to; None where it is not."""
        return None

    def forward(self, x: Float[Tensor, "... features"]) -> Float[Tensor, "... features"]:
        self._check(x)
        if self.training and x.numel():
            with torch.no_grad():
                self.take_in(x.detach().reshape(-1, self.features))
        shift, factor = self.shift_and_factor()
        y = (x - shift.to(x.dtype)) * factor.to(x.dtype)
        return y if self.limits is None else y.clamp(*self.limits)

    def inverse(self, y: Float[Tensor, "... features"]) -> Float[Tensor, "... features"]:
        """x with forward(x) = y; the nearest one where values were cut."""
        self._check(y)
        shift, factor = self.shift_and_factor()
        return y / factor.to(y.dtype) + shift.to(y.dtype)

    def expressions(self, symbols: Sequence[sympy.Expr]) -> list[sympy.Expr]:
        """The result for each feature, given SymPy expressions of the inputs."""
        import sympy

        if len(symbols) != self.features:
            raise ValueError(f"symbols must be {self.features} (features), got {len(symbols)}")
        shift, factor = (part.detach().tolist() for part in self.shift_and_factor())
        mapped = [f * (v - s) for v, s, f in zip(symbols, shift, factor, strict=True)]
        if self.limits is None:
            return mapped
        low, high = self.limits
        return [sympy.Min(sympy.Max(expr, low), high) for expr in mapped]

    def extra_repr(self) -> str:
        return str(self.features)

    def _check(self, x: Tensor) -> None:
        if x.ndim == 0 or x.shape[-1] != self.features:
            raise ValueError(
                f"input must have {self.features} values in its last dimension (features), "
                f"got shape {tuple(x.shape)}"
            )


class ZScore(Normaliser):
    """(x - mean) / std over all training rows so far, or with `momentum` in (0, 1] over a running
    average of batches. Buffers: mean, var [features], count [features]."""

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(
        self,
        features: int,
        momentum: float | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(features)
        if momentum is not None and not (is_number(momentum) and 0 < momentum <= 1):
            raise ValueError(f"momentum must be None or in (0, 1], got {momentum!r}")
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(features, device=device, dtype=dtype))
        self.register_buffer("var", torch.ones(features, device=device, dtype=dtype))
        self.register_buffer("count", torch.zeros(features, device=device, dtype=torch.float64))

    def take_in(self, x: Float[Tensor, "batch features"]) -> None:
        wide = x.double()
        self._merge(wide, torch.isfinite(wide))

    def _merge(self, x: Tensor, counts: Tensor) -> None:
        """Mean and variance of the union (Chan et al. 1983, doi:10.2307/2683386)."""
        n, mean, var = _moments(x, counts)
        total = self.count + n
        share = n / total.clamp(min=1)
        if self.momentum is not None:
            share = torch.where(self.count > 0, self.momentum * (n > 0), share)
        old_mean, old_var = self.mean.double(), torch.where(self.count > 0, self.var.double(), 0.0)
        step = mean - old_mean
        new_var = old_var + share * (var - old_var) + share * (1 - share) * step**2
        self.var.copy_(torch.where(total > 0, new_var, self.var.double()))
        self.mean.copy_(old_mean + share * step)
        self.count.copy_(total)

    def shift_and_factor(self) -> tuple[Tensor, Tensor]:
        rounding = torch.finfo(self.var.dtype).eps * self.mean.abs()
        std = self.var.sqrt()
        varies = std > rounding
        return self.mean, torch.where(varies, 1 / torch.where(varies, std, 1.0), 1.0)


def _moments(x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number, mean and variance of the values that count, by column."""
    n = counts.sum(0).to(x.dtype)
    mean = torch.where(counts, x, 0.0).sum(0) / n.clamp(min=1)
    return n, mean, torch.where(counts, x - mean, 0.0).square().sum(0) / n.clamp(min=1)


class SigmaClip(ZScore):
    """(x - mean) / (sigmas * std), cut to [-1, 1]; mean and std leave out what is cut.

    sigmas: > 0. Within a batch, values beyond sigmas * std of those left are taken out up to five
    times over, so that outliers neither move the range nor leave it.
    """

    def __init__(
        self, features: int, sigmas: float = 3.0, momentum: float | None = None, **options: Any
    ):
        super().__init__(features, momentum, **options)
        if not is_number(sigmas) or sigmas <= 0:
            raise ValueError(f"sigmas must be a number > 0, got {sigmas!r}")
        self.sigmas = float(sigmas)

    def take_in(self, x: Float[Tensor, "batch features"]) -> None:
        wide = x.double()
        counts = torch.isfinite(wide)
        for _ in range(CLIP_ROUNDS):
            _, mean, var = _moments(wide, counts)
            near = (wide - mean).abs() <= self.sigmas * var.sqrt()
            # A cut of less than one sigma may leave nobody.
            counts = torch.where((counts & near).any(0), counts & near, counts)
        self._merge(wide, counts)

    def shift_and_factor(self) -> tuple[Tensor, Tensor]:
        shift, factor = super().shift_and_factor()
        return shift, factor / self.sigmas

    @property
    def limits(self) -> tuple[float, float]:
        return -1.0, 1.0


class MinMax(Normaliser):
    """The smallest and largest value so far to `low` and `high`. Buffers: smallest, largest
    [features]; the identity before any data."""

    smallest: Tensor
    largest: Tensor

    def __init__(
        self,
        features: int,
        low: float = -1.0,
        high: float = 1.0,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(features)
        if not (is_number(low) and is_number(high) and low < high):
            raise ValueError(f"low must be below high, both finite, got {low!r} and {high!r}")
        self.low, self.high = float(low), float(high)
        full = torch.full((features,), torch.inf, device=device, dtype=dtype)
        self.register_buffer("smallest", full)
        self.register_buffer("largest", -full)

    def take_in(self, x: Float[Tensor, "batch features"]) -> None:
        is_finite = torch.isfinite(x)
        smallest = torch.where(is_finite, x, torch.inf).amin(0).to(self.smallest)
        largest = torch.where(is_finite, x, -torch.inf).amax(0).to(self.largest)
        self.smallest.copy_(torch.minimum(self.smallest, smallest))
        self.largest.copy_(torch.maximum(self.largest, largest))

    def shift_and_factor(self) -> tuple[Tensor, Tensor]:
        is_known = self.smallest <= self.largest
        half = self.largest / 2 - self.smallest / 2  # halves first: the difference may overflow
        varies = is_known & (half > torch.finfo(half.dtype).tiny)
        factor = torch.where(varies, (self.high - self.low) / 2 / torch.where(varies, half, 1), 1)
        middle = self.smallest / 2 + self.largest / 2 - (self.low + self.high) / 2 / factor
        return torch.where(is_known, middle, 0.0), factor


class Affine(Normaliser):
    """x * weight + bias with learned weight and bias [features], 1 and 0 at first."""

    def __init__(
        self,
        features: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(features)
        self.weight = nn.Parameter(torch.ones(features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(features, device=device, dtype=dtype))

    def forward(self, x: Float[Tensor, "... features"]) -> Float[Tensor, "... features"]:
        self._check(x)
        return x * self.weight.to(x.dtype) + self.bias.to(x.dtype)

    def shift_and_factor(self) -> tuple[Tensor, Tensor]:
        return -self.bias / self.weight, self.weight
