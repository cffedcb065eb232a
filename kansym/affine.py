"""The best a, b, c, d of y = c f(a x + b) + d, for many curves and many functions at once.

Given (a, b) the best (c, d) are a straight-line fit (variable projection, Golub and Pereyra 1973),
so only (a, b) is searched:

1. x becomes z in [-1, 1], so that ranges do not matter.
2. A grid of (a, b) for each function, made from its invariance and kept only where the whole range
   lies inside its domain: a singularity may be close to the data, never among them. The values of f
   on the grid are tabulated once, at fixed nodes to which every sample is transferred.
3. From the best grid point of each of a few regions, damped Gauss-Newton in float64 on a condensed
   sample, ever fewer starts on ever more points; the winner goes on over the whole sample, and the
   functions that fit a curve best until they move no more.

All curves, functions and starts advance together; a function costs two calls per iteration.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kansym.functions import SymbolicFunction

NODES = 64  # fixed points at which the functions of the grid are tabulated
N_STARTS = 12  # of 400 random pieces of Bessel functions 8 starts lose 14, 12 lose 10, 16 lose 4


class _Round(NamedTuple):
    """The best `starts` of each function go `iterations` steps on `points` of the sample."""

    starts: int
    points: int
    iterations: int


ROUNDS = (_Round(N_STARTS, 64, 8), _Round(3, 160, 8))
WHOLE_ITERATIONS = 12
LAST_ITERATIONS = 40
N_FINALISTS = 5  # functions per curve that are polished to the last digit
NEARER = 0.9  # share of its way to the end of the domain that a step may go
ROUNDING = 1e-14  # of a and b, which must not carry an end of the range out of the domain
ROWS_AT_ONCE = 4096  # of all curves: what an iteration touches stays in the processor's cache
SETTLED = 1e-7  # relative gain of a step below which a function has found its place


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
    at_once = max(1, ROWS_AT_ONCE // max(x.shape[1], ROWS_AT_ONCE // 8))
    pairs = zip(x.split(at_once), y.split(at_once), strict=True)
    affine, r2 = zip(*(_fit_curves(*pair, functions) for pair in pairs), strict=True)
    return AffineFits(torch.cat(affine), torch.cat(r2))


def _fit_curves(x: Tensor, y: Tensor, functions: Sequence[SymbolicFunction]) -> AffineFits:
    rounding = torch.finfo(x.dtype).eps
    order = x.argsort(1)
    x, y = x.gather(1, order).double(), y.gather(1, order).double()
    low, high = x[:, :1], x[:, -1:]
    half = torch.where(high > low, (high - low) / 2, 1.0)
    mid = (high + low) / 2
    mean, spread = y.mean(1, keepdim=True), y.std(1, correction=0, keepdim=True)
    varies = spread > 8 * rounding * y.abs().amax(1, keepdim=True)
    unit = torch.where(varies, spread, 1.0)
    # What rounding in data units may do to a x + b must not carry a row out of the domain.
    reach = 1 + 8 * rounding * (1 + mid.abs() / half)

    target = torch.where(varies, (y - mean) / unit, 0.0)
    best = _search((x - mid) / half, target, functions, reach)
    a = best.ab[..., 0] / half
    b = best.ab[..., 1] - a * mid
    c, d = best.cd[..., 0] * unit, best.cd[..., 1] * unit + mean
    affine = torch.stack([a, b, c, d], 2)
    misfit = _misfit(x, y, affine, functions) / torch.where(varies, spread**2, math.inf)
    is_real = torch.isfinite(best.loss) & torch.isfinite(misfit)
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
    a, b, c, d = affine.transpose(0, 1)[..., None].unbind(2)  # each [functions, edges, 1]
    values = _each(functions, a * x + b, lambda f, u: f.torch(u))
    return ((c * values + d - y) ** 2).mean(2).T


class _Point(NamedTuple):
    """Where the search stands, and what the next step follows from."""

    ab: Float[Tensor, "functions edges *starts 2"]
    loss: Float[Tensor, "functions edges *starts"]  # of the best straight line from f to the target
    cd: Float[Tensor, "functions edges *starts 2"]  # that line
    gram: Float[Tensor, "functions edges *starts 3"]  # aa, ab, bb of J'J, (c, d) projected out
    right: Float[Tensor, "functions edges *starts 2"]  # J'r

    def where(self, better: Tensor, old: _Point) -> _Point:
        """This point where `better` [functions, edges, starts], the old one elsewhere."""
        pairs = zip(self, old, strict=True)
        return _Point(*(torch.where(_expand(better, new), new, was) for new, was in pairs))

    def of_functions(self, which: Tensor) -> _Point:
        return _Point(*(part[which] for part in self))

    def put(self, which: Tensor, other: _Point) -> None:
        """Overwrite some of the functions with their points in `other`."""
        for part, new in zip(self, other, strict=True):
            part[which] = new

    def best_starts(self, count: int) -> _Point:
        """The `count` starts with the lowest loss of every function and edge."""
        count = min(count, self.loss.shape[2])
        best = self.loss.topk(count, 2, largest=False).indices
        return _Point(*(part.take_along_dim(_expand(best, part), 2) for part in self))


def _expand(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim))


def _search(
    z: Float[Tensor, "edges n"],
    target: Float[Tensor, "edges n"],
    functions: Sequence[SymbolicFunction],
    reach: Float[Tensor, "edges 1"],
) -> _Point:
    """The best points, [edges, functions, ...]."""
    ab = _starts(z, target, functions)
    for starts, points, iterations in ROUNDS:
        problem = _Problem(_condensed(z, points), _condensed(target, points), functions, reach)
        ab = _descend(problem, problem.start(ab).best_starts(starts), iterations).ab
    problem = _Problem(z, target, functions, reach)
    best = _descend(problem, problem.start(ab).best_starts(1), WHOLE_ITERATIONS)
    last = best.loss[..., 0].topk(min(N_FINALISTS, len(functions)), 0, largest=False).indices
    last = last.unique()
    best.put(last, _descend(problem.of_functions(last), best.of_functions(last), LAST_ITERATIONS))
    return _Point(*(part[:, :, 0].transpose(0, 1) for part in best))


def _condensed(values: Float[Tensor, "edges n"], count: int) -> Float[Tensor, "edges points"]:
    """Means of runs of the sorted sample: nothing is thrown away, and noise averages out. The ends
    stay themselves, for a singularity may lie right beside them."""
    n = values.shape[1]
    if n <= count:
        return values
    ends = torch.linspace(1, n - 1, count - 1, device=values.device).round().long()
    total = values.cumsum(1)[:, ends - 1]
    means = total.diff(dim=1) / ends.diff()
    return torch.cat([values[:, :1], means, values[:, -1:]], 1)


def _each(
    functions: Sequence[SymbolicFunction],
    inner: Float[Tensor, "functions *rest"],
    form: Callable[[SymbolicFunction, Tensor], Tensor],
) -> Float[Tensor, "functions *rest"]:
    return torch.stack([form(f, u) for f, u in zip(functions, inner, strict=True)])


class _Problem:
    """Curves against functions; (a, b) has shape [functions, edges, starts, 2] throughout."""

    def __init__(
        self, z: Tensor, target: Tensor, functions: Sequence[SymbolicFunction], reach: Tensor
    ):
        self.z, self.functions, self.reach = z[:, None], functions, reach
        self.mean = target.mean(1)[:, None]
        self.target = target[:, None] - self.mean[..., None]
        free = [
            (f.invariance not in ("scale", "affine"), f.invariance not in ("shift", "affine"))
            for f in functions
        ]
        self.is_free = torch.tensor(free, device=z.device)[:, None, None]

    def of_functions(self, which: Tensor) -> _Problem:
        part = copy.copy(self)
        part.functions = [self.functions[n] for n in which.tolist()]
        part.is_free = self.is_free[which]
        return part

    def start(self, ab: Tensor) -> _Point:
        """The point at (a, b); of infinite loss unless the whole range lies in the domain."""
        low, high = self.smooth_range(ab)
        here = self.at(ab)
        return here._replace(loss=torch.where((low < high)[..., 0], here.loss, math.inf))

    def at(self, ab: Tensor) -> _Point:
        """Project (c, d) out of the misfit at (a, b): J = [c f' z, c f', f, 1]."""
        inner = torch.addcmul(ab[..., 1:], ab[..., :1], self.z)
        n = inner.shape[-1]
        pairs = list(zip(self.functions, inner, strict=True))
        value = torch.stack([f.torch(u) for f, u in pairs])
        slope = torch.stack([f.derivative(u) for f, u in pairs])
        slope.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        mean = value.mean(-1)
        value -= mean[..., None]
        size = _dot(value, value)
        # Of a curve that is flat to nine digits only rounding could be fitted.
        usable = size > 1e-18 * (n * mean**2 + size)
        size = torch.where(usable, size, 1.0)
        c = torch.where(usable, _dot(value, self.target) / size, 0.0)
        residual = torch.addcmul(-self.target, c[..., None], value)
        loss = _dot(residual, residual) / n
        loss = torch.where(torch.isfinite(loss), loss, math.inf)
        # Project out what (c, d) would take up: the 1 by centring, f by one Gram-Schmidt step.
        columns = (slope * self.z, slope)
        for column in columns:
            column -= column.mean(-1, keepdim=True)
            column.addcmul_((_dot(column, value) / size)[..., None], value, value=-1)
        gram = [_dot(u, v) for u, v in combinations_with_replacement(columns, 2)]
        right = torch.stack([_dot(column, residual) for column in columns], -1)
        gram = torch.stack(gram, -1) * (c**2)[..., None]
        cd = torch.stack([c, self.mean - c * mean], -1)
        return _Point(ab, loss, cd, gram, right * c[..., None])

    def smooth_range(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """The ends, [functions, edges, starts, 1], of the part of the domain that a z + b is in;
        nan where it is in none."""
        ends = self._ends(ab)
        parts = [
            f.domain.part_around(*u.aminmax(dim=-1, keepdim=True))
            for f, u in zip(self.functions, ends, strict=True)
        ]
        low, high = zip(*parts, strict=True)
        return torch.stack(low), torch.stack(high)

    def _ends(self, ab: Tensor) -> Float[Tensor, "functions edges starts 2"]:
        """The images of both ends of the range, moved out a little."""
        reach = torch.stack([-self.reach, self.reach], -1)
        return ab[..., :1] * reach + ab[..., 1:]

    def inside(self, ab: Tensor, step: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """ab + step, but neither end of the range comes closer to an end of the domain than by
        NEARER of its way."""
        old_ends, ends = self._ends(ab), self._ends(ab + step)
        rounding = ROUNDING * (old_ends.abs() + ab[..., :1].abs())
        least = torch.maximum(NEARER * low + (1 - NEARER) * old_ends, low + rounding)
        most = torch.minimum(NEARER * high + (1 - NEARER) * old_ends, high - rounding)
        left, right = ends.clamp(least, most).unbind(-1)
        both = torch.stack([(right - left) / (2 * self.reach), (right + left) / 2], -1)
        shift = step[..., 1:].clamp(
            (least - old_ends).amax(-1, keepdim=True), (most - old_ends).amin(-1, keepdim=True)
        )
        moved = torch.where(
            self.is_free.all(-1, keepdim=True),
            both,
            torch.cat([ab[..., :1], ab[..., 1:] + shift], -1),
        )
        is_inside = ((ends >= least) & (ends <= most)).all(-1, keepdim=True)
        return torch.where(is_inside, ab + step, moved)


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return torch.linalg.vecdot(u, v)


def _descend(problem: _Problem, here: _Point, iterations: int) -> _Point:
    """Damped Gauss-Newton on (a, b); a function whose starts have all settled is left alone."""
    low, high = problem.smooth_range(here.ab)
    best = _Point(*(part.clone() for part in here))
    mu = torch.full_like(here.loss, 1e-3)
    moving = torch.arange(len(mu), device=mu.device)
    for _ in range(iterations):
        step = _step(here, problem.is_free, mu)
        trial = problem.at(problem.inside(here.ab, step, low, high))
        better = trial.loss < here.loss
        moves = torch.where(better, trial.loss < (1 - SETTLED) * here.loss, mu < 1e3)
        moves &= torch.isfinite(here.loss) & (step != 0).any(-1)
        here = trial.where(better, here)
        mu = torch.where(better, mu / 5, mu * 4).clamp(1e-12, 1e8)
        going = moves.flatten(1).any(1).nonzero()[:, 0]
        if len(going) == len(moving):
            continue
        best.put(moving, here)
        if not len(going):
            return best
        here, moving, problem = here.of_functions(going), moving[going], problem.of_functions(going)
        mu, low, high = mu[going], low[going], high[going]
    best.put(moving, here)
    return best


def _step(here: _Point, is_free: Tensor, mu: Tensor) -> Float[Tensor, "functions edges starts 2"]:
    """-(J'J + mu diag J'J)^-1 J'r; a locked constant leaves a 1 x 1 system."""
    (g11, g12, g22), (r1, r2) = here.gram.unbind(-1), here.right.unbind(-1)
    g11, g22 = g11 * (1 + mu) + 1e-300, g22 * (1 + mu) + 1e-300
    determinant = g11 * g22 - g12**2
    determinant = torch.where(determinant > 0, determinant, math.inf)
    both = torch.stack([g22 * r1 - g12 * r2, g11 * r2 - g12 * r1], -1) / determinant[..., None]
    alone = torch.stack([r1 / g11, r2 / g22], -1)
    step = torch.where(is_free.all(-1, keepdim=True), both, alone)
    return torch.where(is_free, -step, 0.0)


def _starts(
    z: Float[Tensor, "edges n"],
    target: Float[Tensor, "edges n"],
    functions: Sequence[SymbolicFunction],
) -> Float[Tensor, "functions edges starts 2"]:
    """The best point of each of N_STARTS stretches of every function's grid."""
    weights = torch.stack([_node_weights(*curve) for curve in zip(z, target, strict=True)], -1)
    return torch.stack(
        [_jumps(z, target) if f.name == "sign" else _grid_starts(weights, f) for f in functions]
    )


def _node_weights(z: Tensor, target: Tensor) -> Float[Tensor, "nodes 2"]:
    """Share of the sample, and of the sum of its targets, that falls to every node: each row is
    divided between the two nodes beside it."""
    place = (z + 1) * (NODES - 1) / 2
    left = place.floor().clamp(0, NODES - 2).long()
    right_share = place - left
    rows = torch.stack([torch.ones_like(target), target], 1) / len(z)
    weights = z.new_zeros(NODES, 2)
    weights.index_add_(0, left, (1 - right_share)[:, None] * rows)
    return weights.index_add_(0, left + 1, right_share[:, None] * rows)


def _grid_starts(
    weights: Float[Tensor, "nodes 2 edges"], f: SymbolicFunction
) -> Float[Tensor, "edges starts 2"]:
    grid, values, squares = (part.to(weights.device) for part in _tabulated(f))
    mean, with_target = (values @ weights.flatten(1)).unflatten(1, (2, -1)).unbind(1)
    variance = squares @ weights[:, 0] - mean**2
    covariance = with_target - mean * weights[:, 1].sum(0)
    explained = covariance**2 / variance.clamp(min=1e-15)  # [points, edges]
    best, offset = [], 0
    for stretch in explained.tensor_split(min(N_STARTS, len(grid))):
        best.append(stretch.argmax(0) + offset)
        offset += len(stretch)
    best += [best[-1]] * (N_STARTS - len(best))
    return grid[torch.stack(best, 1)]


@lru_cache(maxsize=256)
def _tabulated(f: SymbolicFunction) -> tuple[Tensor, Tensor, Tensor]:
    """The grid [points, 2] of f, its values [points, nodes] there, shifted and scaled to
    [-1, 1], and their squares."""
    grid = search_grid(f)
    nodes = torch.linspace(-1, 1, NODES, dtype=torch.float64)
    values = f.torch(grid[:, :1] * nodes + grid[:, 1:])
    values = torch.nan_to_num(
        values - values.mean(1, keepdim=True), nan=0.0, posinf=0.0, neginf=0.0
    )
    values = values / values.abs().amax(1, keepdim=True).clamp(min=1e-300)
    return grid, values, values**2


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
