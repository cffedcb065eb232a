"""B-splines of any degree on one knot vector per input: pure functions of tensors.

A spline on an edge is s(x) = sum_m c_m B_{m,k}(x), with G intervals on [low, high] and G + k basis
functions. Knots are extended by k intervals on each side, so that the basis sums to one on the
whole grid (de Boor, A Practical Guide to Splines, ch. IX).

Basis values are feature-major, [in, basis, batch]: the matrix product with the coefficients then
runs over contiguous memory, and broadcasts run over the long axis.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Intervals narrower than this fraction of the range are widened: data with ties or a constant
# column must not give a division by zero in the recursion.
MIN_INTERVAL = 1e-3


def uniform_breaks(
    low: Float[Tensor, " in"], high: Float[Tensor, " in"], grid: int
) -> Float[Tensor, "in breaks"]:
    """`grid` equal intervals on [low, high] for every input."""
    steps = torch.linspace(0, 1, grid + 1, dtype=low.dtype, device=low.device)
    return low[:, None] + (high - low)[:, None] * steps


def adaptive_breaks(
    x: Float[Tensor, "batch in"],
    grid: int,
    grid_eps: float,
    minimum_width: Float[Tensor, " in"] | float = 1e-6,
) -> Float[Tensor, "in breaks"]:
    """Break points that follow the sample: grid_eps = 1 uniform, 0 quantiles, between: a mixture.

    A column whose values span less than `minimum_width` gets a grid of that width around them, and
    no interval becomes narrower than `MIN_INTERVAL` of an equal one.
    Source: Liu et al. 2024, arXiv:2404.19756, sec. 2.2 (grids follow activations); the mixture is
    pykan's grid_eps.
    """
    return breaks_by(quantiles(x, grid), grid_eps, minimum_width)


def breaks_by(
    quantiles: Float[Tensor, "in breaks"],
    grid_eps: float,
    minimum_width: Float[Tensor, " in"] | float = 1e-6,
) -> Float[Tensor, "in breaks"]:
    """The same from the quantiles at 0, 1/grid, ..., 1 of every column."""
    low, high, grid = quantiles[:, 0], quantiles[:, -1], quantiles.shape[1] - 1
    # Every interval must also be representable next to the values themselves.
    spacing = 16 * torch.finfo(low.dtype).eps * torch.maximum(low.abs(), high.abs())
    floor = torch.as_tensor(minimum_width, dtype=low.dtype, device=low.device)
    floor = torch.maximum(floor, 4 * grid * spacing)
    missing = (floor - (high - low)).clamp(min=0)
    low, high = low - missing / 2, high + missing / 2
    uniform = uniform_breaks(low, high, grid)
    widths = torch.diff(grid_eps * uniform + (1 - grid_eps) * quantiles, dim=1)
    smallest = torch.maximum(MIN_INTERVAL * (high - low) / grid, spacing)
    widths = widths.clamp(min=0) + smallest[:, None]
    widths = widths * ((high - low) / widths.sum(1))[:, None]
    inner = low[:, None] + torch.cumsum(widths, 1)[:, :-1]
    return torch.cat([low[:, None], inner, high[:, None]], 1)


def quantiles(x: Float[Tensor, "batch in"], grid: int) -> Float[Tensor, "in breaks"]:
    """Column quantiles at 0, 1/grid, ..., 1; torch.quantile refuses more than 2^24 numbers."""
    ordered = x.sort(0).values
    below, above, weight = quantile_ranks(len(x), grid)
    weight = weight.to(x)[:, None]
    return torch.lerp(ordered[below], ordered[above], weight).T


def quantile_ranks(
    n: int, grid: int
) -> tuple[Int[Tensor, " breaks"], Int[Tensor, " breaks"], Float[Tensor, " breaks"]]:
    """The two ranks, from 0, between which each quantile at 0, 1/grid, ..., 1 of n values lies, and
    the share of the upper one."""
    # In float64: float32 does not count beyond 2^24 rows.
    place = torch.linspace(0, n - 1, grid + 1, dtype=torch.float64)
    below = place.floor().long()
    return below, (below + 1).clamp(max=n - 1), place - below


def extend(breaks: Float[Tensor, "in breaks"], k: int) -> Float[Tensor, "in knots"]:
    """Knots from break points: k more on each side, spaced like the mean interval."""
    if k == 0:
        return breaks
    step = ((breaks[:, -1] - breaks[:, 0]) / (breaks.shape[1] - 1))[:, None]
    count = torch.arange(1, k + 1, dtype=breaks.dtype, device=breaks.device)
    left = breaks[:, :1] - step * count.flip(0)
    right = breaks[:, -1:] + step * count
    return torch.cat([left, breaks, right], 1)


def grid_range(
    knots: Float[Tensor, "in knots"], k: int
) -> tuple[Float[Tensor, " in"], Float[Tensor, " in"]]:
    """The ends (low, high) of the grid proper, without the k extra knots on each side."""
    return knots[:, k], knots[:, knots.shape[1] - 1 - k]


def greville(knots: Float[Tensor, "in knots"], k: int) -> Float[Tensor, "in basis"]:
    """Coefficients of the spline that is x itself: means of k knots (Greville 1967)."""
    return knots.unfold(1, k, 1).mean(2)[:, 1:-1]


def basis(
    x: Float[Tensor, "batch in"], knots: Float[Tensor, "in knots"], k: int, derivative: int = 0
) -> Float[Tensor, "in basis batch"]:
    """All basis functions (or their `derivative`-th derivatives) at x.

    Outside [low, high] the polynomials of the end intervals go on; callers decide what to do there
    (`outside`). Differentiable in x any number of times.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        return _Basis.apply(x, knots, k, derivative)[0]  # pyright: ignore[reportOptionalSubscript]
    interval, values, _ = local_basis(x.T, knots, k, derivative)
    return _dense(interval, values, knots, k)


def _dense(interval: Tensor, local: Tensor, knots: Tensor, k: int) -> Tensor:
    """Local values [in, k + 1, batch] in their places among all basis functions."""
    dense = local.new_zeros(knots.shape[0], knots.shape[1] - k - 1, local.shape[2])
    return dense.scatter_(1, _places(interval, k), local)


def _places(interval: Tensor, k: int) -> Tensor:
    offsets = torch.arange(k + 1, device=interval.device)
    return (interval - k)[:, None, :] + offsets[:, None]


class _Basis(torch.autograd.Function):
    """Keeps the slopes, which the recursion gives almost for free, so that the backward pass only
    gathers; where gradients are differentiated again, it is the next derivative of the same
    function, and so on."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, knots: Tensor, k: int, derivative: int):  # pyright: ignore[reportIncompatibleMethodOverride]
        interval, values, slopes = local_basis(x.T, knots, k, derivative)
        return _dense(interval, values, knots, k), interval, slopes

    @staticmethod
    def setup_context(ctx, inputs, output):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, knots, ctx.k, ctx.derivative = inputs
        _, interval, slopes = output
        ctx.mark_non_differentiable(interval, slopes)
        ctx.save_for_backward(x, knots, interval, slopes)

    @staticmethod
    def backward(ctx, grad: Tensor, *_: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, knots, interval, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():
            slope = basis(x, knots, ctx.k, ctx.derivative + 1)
            return torch.einsum("icn,icn->ni", grad, slope), None, None, None
        local = grad.gather(1, _places(interval, ctx.k))
        return (local * slopes).sum(1).T, None, None, None


def local_basis(
    x: Float[Tensor, "in batch"], knots: Float[Tensor, "in knots"], k: int, derivative: int = 0
) -> tuple[
    Int[Tensor, "in batch"], Float[Tensor, "in local batch"], Float[Tensor, "in local batch"]
]:
    """The index of the interval, the k + 1 basis functions that are not zero at x, and their
    slopes (of the `derivative`-th derivatives both).

    Cox-de Boor on the local triangle. A value step from degree p - 1 to p spreads N_r / width to
    its two neighbours with weights (right - x, x - left); a derivative step with (-p, p), so the
    nu-th derivative is k - nu value steps followed by nu derivative steps.
    """
    x = x.contiguous()
    inner = knots[:, k + 1 : knots.shape[1] - 1 - k].contiguous()
    interval = torch.searchsorted(inner, x, right=True) + k
    if derivative > k:
        zeros = x.new_zeros(x.shape[0], k + 1, x.shape[1])
        return interval, zeros, zeros
    offsets = torch.arange(1 - k, k + 1, device=x.device)
    around = knots.gather(1, (interval[:, None] + offsets[:, None]).flatten(1))
    around = around.unflatten(1, (2 * k, -1))  # the k knots left of x and the k right of it
    x = x[:, None]
    values, slopes = torch.ones_like(x), torch.zeros_like(x)
    for p in range(1, k + 1):
        left, right = around[:, k - p : k], around[:, k : k + p]
        share = values / (right - left)
        if p <= k - derivative:
            down, up = (right - x) * share, (x - left) * share
        else:
            down, up = -p * share, p * share
        # One more derivative takes the last value step for a derivative step.
        if p == k - derivative:
            slopes = _spread(-p * share, p * share)
        elif p > k - derivative:
            slope_share = slopes / (right - left)
            slopes = _spread(-p * slope_share, p * slope_share)
        values = _spread(down, up)
    return interval, values, slopes


def _spread(down: Tensor, up: Tensor) -> Tensor:
    middle = down[:, 1:] + up[:, :-1]
    return torch.cat([down[:, :1], middle, up[:, -1:]], 1)


def evaluate(
    x: Float[Tensor, "batch in"],
    knots: Float[Tensor, "in knots"],
    coef: Float[Tensor, "out in basis"],
    k: int,
    derivative: int = 0,
) -> Float[Tensor, "batch out in"]:
    """Spline value (or derivative) on every edge; for inspection, since it expands every edge."""
    return torch.einsum("oic,icn->noi", coef, basis(x, knots, k, derivative))


def fit_coefficients(
    x: Float[Tensor, "batch in"],
    y: Float[Tensor, "batch out in"],
    knots: Float[Tensor, "in knots"],
    k: int,
) -> Float[Tensor, "out in basis"]:
    """Least-squares coefficients of every edge's spline for the values y at x.

    Solved by singular values (`gelsd`): the default CPU driver gave different answers in identical
    calls. Where the points do not determine a coefficient, the smallest solution is taken.
    """
    design = basis(x, knots, k).transpose(1, 2).double()  # [in, batch, basis]
    target = y.permute(2, 0, 1).double()  # [in, batch, out]
    if design.is_cuda:  # no gelsd there: take the decomposition ourselves
        solution = torch.linalg.pinv(design) @ target
    else:
        solution = torch.linalg.lstsq(design, target, driver="gelsd").solution
    return solution.permute(2, 0, 1).to(y.dtype).contiguous()


def sites(knots: Float[Tensor, "in knots"], k: int, per_interval: int) -> Float[Tensor, "sites in"]:
    """Points that cover every interval of the grid evenly, ends included.

    `per_interval` > k of them determine every coefficient of a spline on these knots.
    """
    breaks = knots[:, k : knots.shape[1] - k]
    steps = torch.arange(per_interval, dtype=knots.dtype, device=knots.device) / per_interval
    inside = breaks[:, :-1, None] + torch.diff(breaks, dim=1)[:, :, None] * steps
    return torch.cat([inside.flatten(1), breaks[:, -1:]], 1).T
