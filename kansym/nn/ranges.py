"""The range of the inputs a layer sees, and grids that follow it.

**Running range.** Each batch gives a low and a high end for every row of the grid: 1.4 standard
deviations on each side of the mean of what is not far away, at least half of the way to its
extremes and never beyond them; below 10 rows its extremes. With its margin the grid then holds
nearly all of inputs that are evenly spread, and nine tenths of those of a bell's shape. The rest is
left to the rule outside: few intervals are better spent where the inputs are
(`benchmarks/ranges.py` has the figures). Without the half of the way, errors on Student's t were a
third, but 90 % of the digits of `benchmarks/images.py` were right instead of 96 %: most values of a
pixel at the border are alike. The running ends move towards those of the batch quickly outward and
a hundred times slower inward, as an expectile does, so that batches of one row work too; and no
batch moves them further than it could if it had left the range by one width, so that a single
outlier does little. Values that are not finite are passed over.

**Moves.** A grid stays where it is as long as the running range lies inside it and fills a fifth of
it. Else, in this order:

    shift    the range left the grid and would fit in: by whole intervals. Exact where the old and
             the new grid overlap
    grow     it does not fit: to the range and a tenth more on each side. The same number of
             functions spread over more room cannot hold what they were, so this is least squares;
             how far the functions changed on the old grid is measured and reported
    narrow   the range has shrunk: the intervals are halved, inside the old grid. Exact

That is for B-splines. Rational functions keep exactly what they were; Gaussians and polynomials go
to the range with its margin by least squares, for polynomials exact where they narrow. As a grid
that has moved has room on all sides, it does not swing back with the next batch. On the first batch
the grid goes to where the data are without regard for the functions, which are noise then.

**When.** A move changes weights, so it may not come between a forward pass and its backward pass.
It waits until the weights have been changed in place, as an optimiser does, since the last pass (or
penalty) that recorded a graph: any graph left over is void by then. Gradient accumulation and
layers used twice are safe, frozen weights stay, and passes without a graph move at once. What you
compute from the weights yourself belongs after the forward pass. Parameters keep identity and
shape. Where coefficients change place, Adam's moments do not: they belong to the neighbouring
functions for as many steps as they remember.

Compiled graphs, replicas of `DataParallel` and `functional_call` keep the running range but do not
move; call `follow_ranges(model)` every now and then there. Off the CPU, looking costs a wait for
the device and is done on every 16th batch. What a checkpoint computes again in the backward pass is
neither counted nor a reason to move.

**Several processes.** In distributed training every process takes in the rows of all, in each
training pass: ranges are the same everywhere, and those of one process that sees the whole batch.
It costs two collective calls per layer. As with `nn.SyncBatchNorm`, all processes must
make the same passes; one without rows takes part. Grids move in the same pass of all processes, and
only if all of them allow it. Under FSDP, where passes see copies of the weights, they move in
`follow_ranges(model)`, best after every step: `follow_after_steps(model, optimiser)`. With
`sync=False` nothing is said in passes: each process keeps a range of its own and moves in
`follow_ranges` alone, where they join their ranges first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kansym.nn import parallel

SPREAD = 1.4  # standard deviations on each side of the mean
CLIP, CLIP_ROUNDS = 3.0, 2  # what lies so many of them away is left out, and so again
FURTHEST = 2.0  # from the mean that a value of the batch is, in those of the end of the range
FEW = 10  # rows, below which a batch has no tails
ENOUGH = 128  # rows, evenly spread, of larger batches: all would take a third of a step's time
INWARD = 1e-2  # how much slower a range shrinks than it grows
MARGIN = 0.1  # of the range, on each side of a grid that goes to it
SPARSE = 0.2  # of a grid filled, below which it narrows
ROUNDINGS = 64  # an interval is at least so many roundings of the numbers in it
NARROWEST = 1e-12
LOOK_EVERY = 16  # batches, off the CPU


@dataclass(frozen=True)
class RangeReport:
    """What a layer has seen in training.

    seen_low, seen_high: running range per input, that of the bulk of the values; inf and -inf
    before any data. grid_low, grid_high: the grid. outside: share of each input's values
    that lay outside the grid of their time, and outside_total of all values. batches: seen. moves:
    passes in which grids moved. move_error: the largest change of the functions by a move where the
    old grid and the new overlap, root mean square, relative to their standard deviation there.
    """

    seen_low: Float[Tensor, " in"]
    seen_high: Float[Tensor, " in"]
    grid_low: Float[Tensor, " in"]
    grid_high: Float[Tensor, " in"]
    outside: Float[Tensor, " in"]
    outside_total: float
    batches: int
    moves: int
    move_error: float


class RunningRange(nn.Module):
    """Buffers: low, high [rows], outside [in] (values), seen, batches, moves, move_error."""

    low: Tensor
    high: Tensor
    outside: Tensor
    seen: Tensor
    batches: Tensor
    moves: Tensor
    move_error: Tensor

    def __init__(self, in_features: int, rows: int, momentum: float, **options):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("low", torch.full((rows,), torch.inf, **options))
        self.register_buffer("high", torch.full((rows,), -torch.inf, **options))
        device = options.get("device")
        for name, shape in (("outside", in_features), ("seen", ()), ("batches", ()), ("moves", ())):
            empty = torch.zeros(shape, dtype=torch.long, device=device)
            self.register_buffer(name, empty)
        self.register_buffer("move_error", torch.zeros((), dtype=torch.float32, device=device))

    @torch.no_grad()
    def update(
        self,
        x: Float[Tensor, "batch in"],
        low: Float[Tensor, " rows"],
        high: Float[Tensor, " rows"],
    ) -> Tensor:
        """Take in a batch; the number of its values outside [low, high]. Tensor operations only."""
        outside = self._count_outside(x, low, high)
        self._take_in(self._sample(x, 1), len(x), outside, low, high)
        return outside.sum()

    @torch.no_grad()
    def update_together(
        self,
        x: Float[Tensor, "batch in"],
        low: Float[Tensor, " rows"],
        high: Float[Tensor, " rows"],
        objects: bool,
        group: parallel.Group,
    ) -> Tensor:
        """Take in a batch that is spread over processes, some of which may have no rows of it; how
        many of them object, to whatever they agree on beside it."""
        processes = dist.get_world_size(group)
        others = torch.tensor([len(x), int(objects)], device=low.device)
        counts = torch.cat([self._count_outside(x, low, high), others])
        *_, rows, objections = parallel.summed(counts, group)
        sample = self._sample(x, processes)
        sample = parallel.gathered(sample, -(-ENOUGH // processes), group)
        self._take_in(sample, rows, counts[:-2], low, high)
        return objections

    def _count_outside(self, x: Tensor, low: Tensor, high: Tensor) -> Int[Tensor, " in"]:
        times = x.shape[1] // len(self.low)
        low, high = low.repeat_interleave(times), high.repeat_interleave(times)
        return ((x < low) | (x > high)).to(low.dtype).sum(0).long()

    def _sample(self, x: Tensor, processes: int) -> Float[Tensor, "sample in"]:
        """Rows, evenly spread, of a batch of which each process has as many."""
        stride = -(-len(x) * processes // ENOUGH)
        return x.detach()[:: max(stride, 1)].to(self.low.dtype)

    @torch.no_grad()
    def agree(self, objects: bool, group: parallel.Group) -> Tensor:
        """How many processes object."""
        return parallel.summed(torch.tensor([int(objects)], device=self.low.device), group)

    def _take_in(
        self,
        sample: Float[Tensor, "sample in"],
        count: int | Tensor,
        outside: Int[Tensor, " in"],
        low: Float[Tensor, " rows"],
        high: Float[Tensor, " rows"],
    ) -> None:
        rows = len(self.low)
        smallest, largest = _bulk(sample, count)
        smallest = smallest.unflatten(0, (rows, -1)).amin(1)
        largest = largest.unflatten(0, (rows, -1)).amax(1)
        is_new, is_seen = self.low > self.high, smallest <= largest
        reach = torch.maximum(self.high - self.low, high - low)
        near = torch.where(is_new, smallest, torch.maximum(smallest, self.low - reach))
        far = torch.where(is_new, largest, torch.minimum(largest, self.high + reach))
        down = self.momentum * torch.where(near < self.low, 1.0, INWARD)
        up = self.momentum * torch.where(far > self.high, 1.0, INWARD)
        new_low = torch.where(is_new, near, self.low + down * (near - self.low))
        new_high = torch.where(is_new, far, self.high + up * (far - self.high))
        self.low.copy_(torch.where(is_seen, new_low, self.low))
        self.high.copy_(torch.where(is_seen, new_high, self.high))
        self.outside.add_(outside)
        self.seen.add_(count)
        self.batches.add_(count > 0)

    @torch.no_grad()
    def share(self, group: parallel.Group) -> None:
        """Join the range with those of the other processes, and agree on batches and moves."""
        rows = len(self.low)
        parts = (-self.low, self.high, self.batches[None], self.moves[None])
        joined = torch.cat([part.double() for part in parts])
        dist.all_reduce(joined, dist.ReduceOp.MAX, group=group)
        self.low.copy_(-joined[:rows])
        self.high.copy_(joined[rows : 2 * rows])
        self.batches.copy_(joined[-2])
        self.moves.copy_(joined[-1])


def _bulk(
    x: Float[Tensor, "sample in"], count: int | Tensor
) -> tuple[Float[Tensor, " in"], Float[Tensor, " in"]]:
    """The ends of the bulk of each column of a sample of `count` rows; (inf, -inf) for one without
    numbers."""
    is_finite = torch.isfinite(x)
    smallest = torch.where(is_finite, x, torch.inf).amin(0)
    largest = torch.where(is_finite, x, -torch.inf).amax(0)
    if isinstance(count, int) and count < FEW:
        return smallest, largest
    x = torch.where(is_finite, x, 0)
    counts = is_finite.to(x.dtype)  # sums of booleans take ten times as long
    mean, std = _moments(x, counts)
    for _ in range(CLIP_ROUNDS):
        counts = counts * ((x - mean).abs() <= CLIP * std)
        mean, std = _moments(x, counts)
    reach = SPREAD * std
    # What a ReLU leaves is often one value but for a few: these few are the range then.
    varies = reach > 0
    if isinstance(count, Tensor):
        varies = varies & (count >= FEW)
    low, high = torch.maximum(mean - reach, smallest), torch.minimum(mean + reach, largest)
    # The same values may be rare next to a narrow bulk: straight on from there they would explode.
    low = torch.minimum(low, mean - (mean - smallest) / FURTHEST)
    high = torch.maximum(high, mean + (largest - mean) / FURTHEST)
    return torch.where(varies, low, smallest), torch.where(varies, high, largest)


def _moments(
    x: Float[Tensor, "batch in"], counts: Float[Tensor, "batch in"]
) -> tuple[Float[Tensor, " in"], Float[Tensor, " in"]]:
    """Mean and standard deviation of each column where counts is 1; 0 without values."""
    n = counts.sum(0).clamp(min=1)
    mean = (x * counts).sum(0) / n
    return mean, (((x - mean) * counts).square().sum(0) / n).sqrt()


class Target(NamedTuple):
    """Grids to go to; those that stay are in it as they are."""

    low: Float[Tensor, " rows"]
    high: Float[Tensor, " rows"]
    moves: Bool[Tensor, " rows"]


def first_target(seen: RunningRange, low: Tensor, high: Tensor) -> Target:
    """The running range with its margin; around a constant, a grid as wide as it was."""
    used = seen.high - seen.low
    is_known = used >= 0
    width = torch.where(used > 0, used * (1 + 2 * MARGIN), high - low)
    width = torch.maximum(width, _smallest_width(seen, 1))
    middle = seen.low / 2 + seen.high / 2
    new_low = torch.where(is_known, middle - width / 2, low)
    return Target(new_low, torch.where(is_known, middle + width / 2, high), is_known)


def target(seen: RunningRange, low: Tensor, high: Tensor, intervals: int | None) -> Target:
    """Where grids go by the rules of this module. intervals: of a B-spline, None for others."""
    used, width = seen.high - seen.low, high - low
    middle = seen.low / 2 + seen.high / 2
    is_known = used >= 0
    leaves = is_known & ((seen.low < low) | (seen.high > high))
    floor = _smallest_width(seen, intervals or 1)
    roomy = torch.maximum(used * (1 + 2 * MARGIN), floor)
    grown_low, grown_high = middle - roomy / 2, middle + roomy / 2
    shrinks = is_known & ~leaves & (used > 0) & (used < SPARSE * width)
    if intervals is None:
        fits = torch.zeros_like(leaves)
        shift = torch.zeros_like(low)
        narrow_low, narrow_high = torch.maximum(grown_low, low), torch.minimum(grown_high, high)
        shrinks = shrinks & (roomy < width / 2)
    else:
        step = width / intervals
        room = (intervals - 1) * step  # alignment takes up to one interval
        fits = used <= room
        shift = step * ((middle - low / 2 - high / 2) / step).round()
        halvings = torch.log2(room / roomy).floor().clamp(min=0)
        fine = step / 2**halvings
        place = ((middle - low) / fine - intervals / 2).round().clamp(min=0)
        place = torch.minimum(place, intervals * (2**halvings - 1))
        narrow_low = low + fine * place
        narrow_high = narrow_low + fine * intervals
        shrinks = shrinks & (halvings >= 1)
    new_low = torch.where(leaves, torch.where(fits, low + shift, grown_low), low)
    new_high = torch.where(leaves, torch.where(fits, high + shift, grown_high), high)
    new_low = torch.where(shrinks, narrow_low, new_low)
    new_high = torch.where(shrinks, narrow_high, new_high)
    return Target(new_low, new_high, (new_low != low) | (new_high != high))


def _smallest_width(seen: RunningRange, intervals: int) -> Tensor:
    """Of a grid whose intervals can be told apart next to the numbers themselves."""
    size = torch.maximum(seen.low.abs(), seen.high.abs())
    spacing = ROUNDINGS * torch.finfo(size.dtype).eps * size
    return (intervals * spacing).clamp(min=NARROWEST)
