"""The best a, b, c, d of y = c f(a x + b) + d, for many curves and many functions at once.

Given (a, b) the best (c, d) are a straight-line fit (variable projection, Golub and Pereyra 1973),
so only (a, b) is searched:

1. x becomes z in [-1, 1], so that ranges do not matter.
2. A grid of (a, b) for each function, made from its invariance and kept only where the whole range
   lies inside its domain: a singularity may be close to the data, never among them.
3. From the best grid point of each of a few regions, damped Gauss-Newton in float64 on a thinned
   sample; the winner goes on over the whole sample, and the functions that fit a curve best until
   they move no more.

All curves, functions and starts advance together; a function costs two calls per iteration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kansym.functions import REAL_LINE, SymbolicFunction

COARSE_POINTS = 64
POLISH_POINTS = 160
N_STARTS = 8  # of 200 random pieces of a Bessel function, 4 starts lost 15, 8 lose 4
COARSE_ITERATIONS = 12
FINE_ITERATIONS = 12
LAST_ITERATIONS = 40
N_FINALISTS = 5  # functions per curve that are polished to the last digit
CHUNK = 2_000_000  # values held at once while the grid is searched


class AffineFits(NamedTuple):
    """Best constants of every (curve, function) pair.

    affine[e, f] = (a, b, c, d) in the units of x and y; r2[e, f] is the coefficient of
    determination that these constants give, -inf where the function's domain cannot hold the range
    of x.
    """

    affine: Float[Tensor, "edges functions 4"]
    r2: Float[Tensor, "edges functions"]


@torch.no_grad()
def fit_affine(
    x: Float[Tensor, "edges n"],
    y: Float[Tensor, "edges n"],
    functions: Sequence[SymbolicFunction],
) -> AffineFits:
    """Fit every function to every curve. A constant curve has r2 = 1 and c = 0."""
    rounding = torch.finfo(x.dtype).eps
    order = x.argsort(1)
    x, y = x.gather(1, order).double(), y.gather(1, order).double()
    low, high = x[:, 0], x[:, -1]
    half = torch.where(high > low, (high - low) / 2, 1.0)
    mid = (high + low) / 2
    z = (x - mid[:, None]) / half[:, None]
    mean, spread = y.mean(1), y.std(1, correction=0)
    varies = spread > 8 * rounding * y.abs().amax(1)
    unit = torch.where(varies, spread, 1.0)
    target = torch.where(varies[:, None], (y - mean[:, None]) / unit[:, None], 0.0)
    # What rounding in data units may do to a x + b must not carry a row out of the domain.
    reach = 1 + 8 * rounding * (1 + mid.abs() / half)

    coarse = _thin(z, COARSE_POINTS), _thin(target, COARSE_POINTS)
    starts = [_jumps(z, target) if f.name == "sign" else _starts(*coarse, f) for f in functions]
    problem = _Problem(_thin(z, POLISH_POINTS), _thin(target, POLISH_POINTS), functions, reach)
    ab = torch.stack(starts, 1)  # [edges, functions, starts, 2]
    ab, loss = _descend(problem, ab, COARSE_ITERATIONS)
    winner = loss.argmin(2, keepdim=True)
    ab = ab.gather(2, winner[..., None].expand(-1, -1, -1, 2))
    problem = _Problem(z, target, functions, reach)
    ab, loss = _descend(problem, ab, FINE_ITERATIONS)
    last = loss[:, :, 0].topk(min(N_FINALISTS, len(functions)), 1, largest=False).indices.unique()
    finalists = _Problem(z, target, [functions[n] for n in last.tolist()], reach)
    ab[:, last], loss[:, last] = _descend(finalists, ab[:, last], LAST_ITERATIONS)
    cd = problem.project(problem.values(ab))[1]
    a = ab[:, :, 0, 0] / half[:, None]
    b = ab[:, :, 0, 1] - a * mid[:, None]
    c = cd[:, :, 0, 0] * unit[:, None]
    d = cd[:, :, 0, 1] * unit[:, None] + mean[:, None]
    affine = torch.stack([a, b, c, d], 2)
    misfit = _misfit(x, y, affine, functions) / torch.where(varies, spread**2, math.inf)[:, None]
    is_real = torch.isfinite(loss[:, :, 0]) & torch.isfinite(misfit)
    hopeless = affine.new_tensor([1.0, 0.0, 0.0, math.nan])
    return AffineFits(
        torch.where(is_real[..., None], affine, hopeless),
        torch.where(is_real, 1 - misfit, -math.inf),
    )


def _misfit(
    x: Tensor, y: Tensor, affine: Tensor, functions: Sequence[SymbolicFunction]
) -> Float[Tensor, "edges functions"]:
    """Mean squared error in data units: of nearly flat pieces of f with huge c it is larger than
    that of the fit, which needs no c and d of limited precision."""
    errors = []
    for n, f in enumerate(functions):
        a, b, c, d = affine[:, n, :, None].unbind(1)
        errors.append(((c * f.torch(a * x + b) + d - y) ** 2).mean(1))
    return torch.stack(errors, 1)


def _thin(values: Tensor, count: int) -> Tensor:
    """About `count` columns, evenly spaced in the (sorted) sample, both ends included."""
    n = values.shape[1]
    if n <= count:
        return values
    return values[:, torch.linspace(0, n - 1, count, device=values.device).round().long()]


class _Problem:
    """Curves against functions; (a, b) has shape [edges, functions, starts, 2] throughout."""

    def __init__(
        self, z: Tensor, target: Tensor, functions: Sequence[SymbolicFunction], reach: Tensor
    ):
        self.reach = reach[:, None, None]
        self.z, self.target, self.functions = z[:, None, None], target[:, None, None], functions
        self.total = (target**2).mean(1)[:, None, None]
        free = [
            (f.invariance not in ("scale", "affine"), f.invariance != "shift") for f in functions
        ]
        self.is_free = torch.tensor(free, device=z.device)[None, :, None]
        affine = [f.invariance == "affine" for f in functions]
        self.is_free[0, torch.tensor(affine)] = False

    def inner(self, ab: Tensor) -> Tensor:
        return ab[..., :1] * self.z + ab[..., 1:]

    def _each(self, inner: Tensor, form: Callable[[SymbolicFunction, Tensor], Tensor]) -> Tensor:
        return torch.stack([form(f, inner[:, i]) for i, f in enumerate(self.functions)], 1)

    def values(self, ab: Tensor) -> Tensor:
        return self._each(self.inner(ab), lambda f, u: f.torch(u))

    def slopes(self, ab: Tensor) -> Tensor:
        return self._each(self.inner(ab), lambda f, u: f.derivative(u))

    def project(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error of the best straight line from f to the target, and its (c, d)."""
        mean = values.mean(-1, keepdim=True)
        centred = values - mean
        size = (centred**2).mean(-1)
        # Of a curve that is flat to nine digits only rounding could be fitted.
        usable = size > 1e-18 * (mean[..., 0] ** 2 + size)
        c = (centred * self.target).mean(-1) / torch.where(usable, size, 1.0)
        c = torch.where(usable, c, 0.0)
        target_mean = self.target.mean(-1)
        error = ((c[..., None] * centred + target_mean[..., None] - self.target) ** 2).mean(-1)
        error = torch.where(torch.isfinite(error), error, math.inf)
        return error, torch.stack([c, target_mean - c * mean[..., 0]], -1)

    def is_admissible(self, ab: Tensor) -> Bool[Tensor, "edges functions starts"]:
        """Whether the whole range [b - |a|, b + |a|] of a z + b lies in the function's domain."""
        a, b = ab[..., 0], ab[..., 1]
        low, high = b - a.abs() * self.reach, b + a.abs() * self.reach
        inside = torch.isfinite(a) & torch.isfinite(b)
        for n, f in enumerate(self.functions):
            if f.domain != REAL_LINE:
                inside[:, n] &= f.domain.contains(low[:, n], high[:, n])
        return inside


def _descend(problem: _Problem, ab: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Damped Gauss-Newton on (a, b) with (c, d) projected out; returns (a, b) and the loss."""
    values = problem.values(ab)
    loss, cd = problem.project(values)
    loss = torch.where(problem.is_admissible(ab), loss, math.inf)
    mu = torch.full_like(loss, 1e-3)
    for _ in range(iterations):
        step = _step(problem, ab, values, cd, mu)
        trial = ab + torch.where(problem.is_free, step, 0.0)
        trial_values = problem.values(trial)
        trial_loss, trial_cd = problem.project(trial_values)
        better = (trial_loss < loss) & problem.is_admissible(trial)
        ab = torch.where(better[..., None], trial, ab)
        values = torch.where(better[..., None], trial_values, values)
        cd = torch.where(better[..., None], trial_cd, cd)
        loss = torch.where(better, trial_loss, loss)
        mu = torch.where(better, mu / 5, mu * 4).clamp(1e-12, 1e8)
        if not bool(better.any()) and bool((mu > 1e3).all()):
            break
    return ab, loss


def _step(problem: _Problem, ab: Tensor, values: Tensor, cd: Tensor, mu: Tensor) -> Tensor:
    """The (a, b) part of a damped step in all four constants: J = [c f' z, c f', f, 1]."""
    through = cd[..., :1] * problem.slopes(ab)
    residual = cd[..., :1] * values + cd[..., 1:] - problem.target
    columns = torch.stack([through * problem.z, through], -2)
    # Project out what (c, d) would take up: the 1 by centring, f by one Gram-Schmidt step.
    columns = columns - columns.mean(-1, keepdim=True)
    centred = (values - values.mean(-1, keepdim=True))[..., None, :]
    size = (centred**2).sum(-1, keepdim=True)
    along = (columns * centred).sum(-1, keepdim=True) / torch.where(size > 0, size, 1.0)
    columns = torch.nan_to_num(columns - along * centred, nan=0.0, posinf=0.0, neginf=0.0)
    columns = torch.where(problem.is_free[..., None], columns, 0.0)
    residual = torch.nan_to_num(residual, nan=0.0, posinf=0.0, neginf=0.0)
    gram = columns @ columns.transpose(-1, -2)
    right = (columns @ residual[..., None])[..., 0]
    g11, g22, g12 = gram[..., 0, 0], gram[..., 1, 1], gram[..., 0, 1]
    g11 = g11 * (1 + mu) + 1e-300
    g22 = g22 * (1 + mu) + 1e-300
    determinant = g11 * g22 - g12**2
    determinant = torch.where(determinant > 0, determinant, math.inf)
    da = (g22 * right[..., 0] - g12 * right[..., 1]) / determinant
    db = (g11 * right[..., 1] - g12 * right[..., 0]) / determinant
    # A locked constant leaves a 1 x 1 system.
    one_a = right[..., 0] / g11
    one_b = right[..., 1] / g22
    both = problem.is_free.all(-1)
    return -torch.stack([torch.where(both, da, one_a), torch.where(both, db, one_b)], -1)


def _starts(z: Tensor, target: Tensor, f: SymbolicFunction) -> Float[Tensor, "edges starts 2"]:
    """The best admissible grid point in each of N_STARTS stretches of the function's grid."""
    grid = search_grid(f).to(z.device)
    rows = max(1, CHUNK // (z.shape[0] * z.shape[1]))
    errors = []
    for part in grid.split(rows):
        problem = _Problem(z, target, [f], z.new_ones(len(z)))
        ab = part.expand(len(z), 1, -1, -1)
        errors.append(problem.project(problem.values(ab))[0][:, 0])
    error = torch.cat(errors, 1)
    best = [
        block.argmin(1) + offset for block, offset in _blocks(error, min(N_STARTS, error.shape[1]))
    ]
    best += [best[-1]] * (N_STARTS - len(best))
    return grid[torch.stack(best, 1)]


def _jumps(z: Tensor, target: Tensor) -> Float[Tensor, "edges starts 2"]:
    """Between which two points one jump splits the sorted curves best, as in a regression tree.
    A step has no slope to follow, so this must be found outright."""
    n = z.shape[1]
    below = target.cumsum(1)[:, :-1]  # the curve has mean 0: what is above is the negative
    count = torch.arange(1, n, device=z.device)
    gain = torch.where(z[:, 1:] > z[:, :-1], below**2 / (count * (n - count)), -1.0)
    at = gain.argmax(1, keepdim=True)
    root = (z.gather(1, at) + z.gather(1, at + 1)) / 2
    return torch.stack([torch.ones_like(root), -root], 2).expand(-1, N_STARTS, -1)


def _blocks(values: Tensor, count: int) -> list[tuple[Tensor, int]]:
    blocks, offset = [], 0
    for block in values.tensor_split(count, 1):
        blocks.append((block, offset))
        offset += block.shape[1]
    return blocks


@lru_cache(maxsize=256)
def search_grid(f: SymbolicFunction) -> Float[Tensor, "points 2"]:
    """(a, b) for z in [-1, 1], ordered by a; only points whose whole range is in the domain."""
    one = torch.ones(1, dtype=torch.float64)
    if f.invariance == "affine":
        return torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    if f.invariance == "shift":
        rates = torch.logspace(-1.3, 1.6, 48, dtype=torch.float64)
        ab = torch.cartesian_prod(torch.cat([-rates.flip(0), rates]), 0 * one)
    elif f.invariance == "scale":
        beyond = 1 + torch.logspace(-6, 1, 40, dtype=torch.float64)
        inside = torch.linspace(-1, 1, 41, dtype=torch.float64)
        roots = torch.cat([-beyond.flip(0), inside, beyond])
        slopes = one if f.has_parity else torch.tensor([-1.0, 1.0], dtype=torch.float64)
        ab = torch.stack([torch.stack([s * torch.ones_like(roots), -s * roots], 1) for s in slopes])
        ab = ab.flatten(0, 1)
    elif f.invariance == "period":
        rates = torch.cat(
            [torch.logspace(-0.7, 0, 8, dtype=torch.float64), torch.arange(1.25, 50, 0.4)]
        )
        phases = torch.arange(6, dtype=torch.float64) * math.pi / 6
        ab = torch.cartesian_prod(rates, phases)
    else:
        rates = torch.logspace(-1.5, 1.5, 30, dtype=torch.float64)
        if not f.has_parity:
            rates = torch.cat([-rates.flip(0), rates])
        # Centres reach beyond the data: half of a tanh is as common as a whole one.
        centres = torch.linspace(-2.5, 2.5, 21, dtype=torch.float64)
        ab = torch.cartesian_prod(rates, centres)
        ab = torch.stack([ab[:, 0], -ab[:, 0] * ab[:, 1]], 1)
    low, high = ab[:, 1] - ab[:, 0].abs(), ab[:, 1] + ab[:, 0].abs()
    admissible = f.domain.contains(low, high)
    # A function with a small domain of its own: squeeze the range into it.
    if not bool(admissible.any()) and math.isfinite(f.domain.low) and math.isfinite(f.domain.high):
        centre, reach = (f.domain.low + f.domain.high) / 2, (f.domain.high - f.domain.low) / 2
        rates = reach * torch.linspace(0.05, 0.95, 12, dtype=torch.float64)
        ab = torch.cartesian_prod(torch.cat([-rates, rates]), centre * one)
        admissible = torch.ones(len(ab), dtype=torch.bool)
    return ab[admissible] if bool(admissible.any()) else ab[:1]
