"""The functions that edges are made of, one set per input, behind one small protocol.

    phi_ji(x) = w_b,ji b(x) + sum_m c_ji,m B_i,m(x) = [c_ji, w_b,ji] . F_i(x)

    bspline    kansym's B-splines (Liu et al. 2024, arXiv:2404.19756): `grid` intervals of degree k
    rbf        Gaussians on grid + k equidistant centres (Li 2024, arXiv:2405.06721, fast-kan)
    chebyshev  polynomials T_0 ... T_{grid+k-1} (SS et al. 2024, arXiv:2405.07200)
    rational   z^j / (1 + |q_0 + q_1 z + ...|), j <= grid, q of degree grid - 1: the safe Pade unit
               of GR-KAN (Yang and Wang 2024, arXiv:2409.10594; 5/4 for grid = 5)

A basis has a grid [low, high] for each of its rows: a row is an input, or a group of inputs that
share a function. Outside it follows a rule of `kansym.edge`; all but the B-splines lack "zero".
All but they work in z = 2 (x - low) / (high - low) - 1; a rational unit has a q for every row.

To add a basis: subclass `UnitBasis`, write `values` and `derivatives`, put it into `BASES`; the
conformance tests then run over it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kansym import bspline, edge, kernels
from kansym.edge import EdgeShape
from kansym.nn import parallel

SITES = 4  # times the number of functions: points that determine a re-expression
ALIGNED = 1e-3  # of an interval: grids whose breaks agree so well are the same lattice


class Basis(nn.Module, ABC):
    """n_coef functions and a base function on every input.

    rows: of the grid; in_features is a multiple of it, and inputs that lie next to each other share
    a row.
    """

    n_coef: int
    intervals: int | None = None
    """Of a grid that moves exactly by whole intervals; None where there is nothing like it."""
    rules: tuple[str, ...] = tuple(rule for rule in edge.OUTSIDE_RULES if rule != "zero")

    def __init__(self, in_features: int, rows: int, base: str, outside: str):
        super().__init__()
        self.in_features, self.rows = in_features, rows
        self.base, self.outside = base, outside

    @property
    @abstractmethod
    def ends(self) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
        """(low, high) of the grid."""

    @abstractmethod
    def features(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "in features batch"]:
        """F(x): n_coef functions, the base function last. Differentiable in x."""

    @abstractmethod
    def slopes(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "in features batch"]:
        """dF/dx."""

    @abstractmethod
    def sampled(self, points: Float[Tensor, "points rows"]) -> Float[Tensor, "rows basis points"]:
        """The functions without the base at points of each row, in float64."""

    @abstractmethod
    def put(self, low: Float[Tensor, " rows"], high: Float[Tensor, " rows"]) -> None:
        """Set the grid, in place, coefficients aside."""

    def combine(
        self,
        x: Float[Tensor, "batch in"],
        coef: Float[Tensor, "out in basis"],
        base_weight: Float[Tensor, "out in"],
    ) -> Float[Tensor, "batch out"]:
        """The sum of the edges into each output: one matrix product, no [batch, out, in]."""
        weights = torch.cat([coef, base_weight[..., None]], 2)
        return (weights.flatten(1) @ self.features(x).flatten(0, 1)).T

    @torch.no_grad()
    def move(
        self, low: Float[Tensor, " rows"], high: Float[Tensor, " rows"]
    ) -> Float[Tensor, "rows basis basis"]:
        """Set the grid, in place, and return R: R c are the coefficients there, in float64.

        Least squares at evenly spread points of the new grid for what the old functions were, with
        their continuation: exact where the old functions are in the span of the new ones.
        """
        points = spread_points(low, high, SITES * self.n_coef)
        old = self.sampled(points)
        self.put(low, high)
        design = self.sampled(points).transpose(1, 2)
        return torch.linalg.lstsq(design, old.transpose(1, 2), driver="gels").solution

    def per_input(self, of_rows: Tensor) -> Tensor:
        """[rows, ...] as [in, ...]."""
        times = self.in_features // self.rows
        return of_rows if times == 1 else of_rows.repeat_interleave(times, 0)

    def extra_repr(self) -> str:
        return f"n_coef={self.n_coef}, rows={self.rows}"


def spread_points(
    low: Float[Tensor, " rows"], high: Float[Tensor, " rows"], count: int
) -> Float[Tensor, "points rows"]:
    """Evenly spread points of every row, ends included, in float64."""
    low, high = low.double(), high.double()
    steps = torch.linspace(0, 1, count, dtype=torch.float64, device=low.device)
    return low + (high - low) * steps[:, None]


class BSplineBasis(Basis):
    """Buffer: knots [rows, G + 2k + 1]. Evaluated by `kansym.kernels`, as in `KANLayer`.

    A move by whole intervals keeps the coefficients that stay and continues the function at the
    other end along its tangent; one to an interval halved n times, inside the old grid, inserts
    knots. Both are exact on what the two grids share. Any other is least squares.
    """

    knots: Tensor
    is_numeric: Tensor
    rules = edge.OUTSIDE_RULES

    def __init__(self, in_features: int, rows: int, out: int, grid: int, k: int, **options: Any):
        dtype, device = options.pop("dtype"), options.pop("device")
        low, high = options.pop("grid_range")
        super().__init__(in_features, rows, **options)
        self.n_coef, self.intervals, self.k = grid + k, grid, k
        ends = torch.tensor([low, high], dtype=dtype, device=device).expand(rows, 2)
        self.register_buffer("knots", _uniform_knots(ends[:, 0], ends[:, 1], grid, k))
        every = torch.ones(out, in_features, dtype=torch.bool, device=device)
        self.register_buffer("is_numeric", every, persistent=False)

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        return bspline.grid_range(self.knots, self.k)

    def shape_for(self, dtype: torch.dtype) -> EdgeShape:
        """What `kansym.kernels` need beside the coefficients."""
        knots = self.knots
        if knots.dtype.itemsize < 4:
            # Rounded to 16 bits, knots no longer are equidistant, and may coincide.
            low, high = (end.to(dtype) for end in self.ends)
            knots = _uniform_knots(low, high, self.n_coef - self.k, self.k)
        return EdgeShape(self.per_input(knots.to(dtype)), self.k, self.base, self.outside)

    def features(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "in features batch"]:
        return kernels.features(x, self.shape_for(x.dtype))

    def slopes(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "in features batch"]:
        return kernels.slopes(x, self.shape_for(x.dtype))

    def combine(self, x: Tensor, coef: Tensor, base_weight: Tensor) -> Float[Tensor, "batch out"]:
        edges = kernels.NumericEdges(self.shape_for(x.dtype), coef, base_weight, self.is_numeric)
        return kernels.forward(x, edges)

    def sampled(self, points: Float[Tensor, "points rows"]) -> Float[Tensor, "rows basis points"]:
        shape = EdgeShape(self.knots.double(), self.k, "zero", self.outside)
        return edge.features(points.double(), shape)[:, :-1]

    def put(self, low: Tensor, high: Tensor) -> None:
        old_low, old_high = self.ends
        # Rows that stay do so to the last bit: ends computed from knots are rounded again.
        moves = ((low != old_low) | (high != old_high))[:, None]
        knots = _uniform_knots(low, high, self.n_coef - self.k, self.k)
        self.knots.copy_(torch.where(moves, knots, self.knots))

    @torch.no_grad()
    def move(self, low: Tensor, high: Tensor) -> Float[Tensor, "rows basis basis"]:
        grid = self.n_coef - self.k
        old_low, old_high = (end.double() for end in self.ends)
        step = (old_high - old_low) / grid
        places = (low.double() - old_low) / step
        same = ((high.double() - low.double()) / step - grid).abs() < ALIGNED
        shifts = torch.where(same & ((places - places.round()).abs() < ALIGNED), places.round(), 0)
        shifted = self._shifted(shifts.long(), step)
        fitted = super().move(low, high)
        return torch.where((shifts != 0)[:, None, None], shifted, fitted)

    def _shifted(self, shifts: Tensor, step: Tensor) -> Float[Tensor, "rows basis basis"]:
        """R for a move by `shifts` intervals. Coefficients without a predecessor are the values of
        the continuation at their Greville abscissae: splines reproduce straight lines."""
        low, _ = self.ends
        index = torch.arange(self.n_coef, device=low.device)
        source = index + shifts[:, None]  # [rows, basis]
        kept = (source >= 0) & (source < self.n_coef)
        middle = low.double()[:, None] + (source - (self.k - 1) / 2) * step[:, None]
        continued = self.sampled(middle.T).transpose(1, 2)  # [rows, new, old]
        return torch.where(kept[..., None], (source[..., None] == index).double(), continued)


def _uniform_knots(low: Tensor, high: Tensor, grid: int, k: int) -> Float[Tensor, "rows knots"]:
    return bspline.extend(bspline.uniform_breaks(low, high, grid), k)


class UnitBasis(Basis):
    """Functions of z in [-1, 1]. Buffers: low, high [rows]."""

    low: Tensor
    high: Tensor

    def __init__(self, in_features: int, rows: int, out: int, grid: int, k: int, **options: Any):
        dtype, device = options.pop("dtype"), options.pop("device")
        low, high = options.pop("grid_range")
        super().__init__(in_features, rows, **options)
        self.n_coef = grid + k
        self.register_buffer("low", torch.full((rows,), low, dtype=dtype, device=device))
        self.register_buffer("high", torch.full((rows,), high, dtype=dtype, device=device))

    @abstractmethod
    def values(self, z: Float[Tensor, "n batch"]) -> Float[Tensor, "n basis batch"]:
        """n is the number of inputs or of rows."""

    @abstractmethod
    def derivatives(self, z: Float[Tensor, "n batch"]) -> Float[Tensor, "n basis batch"]:
        """Of `values`, by z. Differentiable in z."""

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        return self.low, self.high

    def put(self, low: Tensor, high: Tensor) -> None:
        self.low.copy_(low)
        self.high.copy_(high)

    def features(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "in features batch"]:
        low, high = self._input_ends(x.dtype)
        inner, _ = edge.fold(x, low, high, self.outside)
        value = self._inside(inner, low, high)
        if self.outside == "linear":
            return value + (x - inner).T[:, None] * self._inside_slope(inner, low, high)
        if self.outside == "base":
            value = torch.cat([value[:, :-1], edge.BASES[self.base].value(x).T[:, None]], 1)
        return value

    def slopes(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "in features batch"]:
        low, high = self._input_ends(x.dtype)
        inner, direction = edge.fold(x, low, high, self.outside)
        slope = self._inside_slope(inner, low, high)
        if self.outside == "linear":
            return slope
        turned = direction.T[:, None] * slope
        if self.outside == "base":
            turned = torch.cat([turned[:, :-1], edge.BASES[self.base].slope(x).T[:, None]], 1)
        return turned

    def sampled(self, points: Float[Tensor, "points rows"]) -> Float[Tensor, "rows basis points"]:
        points, low, high = points.double(), self.low.double(), self.high.double()
        inner, _ = edge.fold(points, low, high, self.outside)
        z, scale = _unit(inner, low, high)
        value = self.values(z)
        if self.outside == "linear":
            tangent = scale[:, None, None] * self.derivatives(z)
            value = value + (points - inner).T[:, None] * tangent
        return value

    def _input_ends(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        low, high = (self.per_input(end.to(dtype)) for end in self.ends)
        return low, high

    def _inside(self, inner: Tensor, low: Tensor, high: Tensor) -> Tensor:
        z, _ = _unit(inner, low, high)
        return torch.cat([self.values(z), edge.BASES[self.base].value(inner).T[:, None]], 1)

    def _inside_slope(self, inner: Tensor, low: Tensor, high: Tensor) -> Tensor:
        z, scale = _unit(inner, low, high)
        base = edge.BASES[self.base].slope(inner).T[:, None]
        return torch.cat([scale[:, None, None] * self.derivatives(z), base], 1)


def _unit(x: Tensor, low: Tensor, high: Tensor) -> tuple[Float[Tensor, "n batch"], Tensor]:
    """z [n, batch] of x [batch, n], and dz/dx [n]."""
    scale = 2 / (high - low)
    return ((x - low) * scale - 1).T, scale


class GaussianBasis(UnitBasis):
    """exp(-((z - centre) / spacing)^2), the spacing being that of the centres."""

    def values(self, z: Float[Tensor, "n batch"]) -> Float[Tensor, "n basis batch"]:
        return torch.exp(-(self._distance(z) ** 2))

    def derivatives(self, z: Float[Tensor, "n batch"]) -> Float[Tensor, "n basis batch"]:
        distance = self._distance(z)
        return -2 / self._spacing * distance * torch.exp(-(distance**2))

    @property
    def _spacing(self) -> float:
        return 2 / max(self.n_coef - 1, 1)

    def _distance(self, z: Tensor) -> Tensor:
        centres = torch.linspace(-1, 1, self.n_coef, dtype=z.dtype, device=z.device)
        return (z[:, None] - centres[:, None]) / self._spacing


class ChebyshevBasis(UnitBasis):
    """T_n by T_{n+1} = 2 z T_n - T_{n-1}; T_n' = n U_{n-1}."""

    def values(self, z: Float[Tensor, "n batch"]) -> Float[Tensor, "n basis batch"]:
        return torch.stack(_chebyshev(z, z, self.n_coef), 1)

    def derivatives(self, z: Float[Tensor, "n batch"]) -> Float[Tensor, "n basis batch"]:
        second = _chebyshev(z, 2 * z, self.n_coef)
        slopes = [n * u for n, u in enumerate(second[:-1], start=1)]
        return torch.stack([torch.zeros_like(z), *slopes], 1)


def _chebyshev(z: Tensor, first: Tensor, count: int) -> list[Tensor]:
    found = [torch.ones_like(z), first]
    while len(found) < count:
        found.append(2 * z * found[-1] - found[-2])
    return found[:count]


class RationalBasis(UnitBasis):
    """Parameter: denominator [rows, grid], the coefficients q. The numerators are linear.

    A move substitutes z in both polynomials: exact everywhere.
    """

    denominator: nn.Parameter

    def __init__(self, in_features: int, rows: int, out: int, grid: int, k: int, **options: Any):
        dtype, device = options["dtype"], options["device"]
        super().__init__(in_features, rows, out, grid, k, **options)
        self.n_coef = grid + 1
        self.denominator = nn.Parameter(torch.empty(rows, grid, dtype=dtype, device=device))

    def reset(self, generator: torch.Generator | None) -> None:
        # |q| has no slope at q = 0: a denominator that starts there would stay there.
        nn.init.normal_(self.denominator, std=0.1, generator=generator)

    def values(self, z: Float[Tensor, "n batch"]) -> Float[Tensor, "n basis batch"]:
        powers, _ = _powers(z, self.n_coef)
        q, _ = self._polynomial(z)
        return powers / (1 + q.abs())[:, None]

    def derivatives(self, z: Float[Tensor, "n batch"]) -> Float[Tensor, "n basis batch"]:
        powers, slopes = _powers(z, self.n_coef)
        q, slope = self._polynomial(z)
        below = (1 + q.abs())[:, None]
        return slopes / below - powers * (q.sign() * slope)[:, None] / below**2

    def _polynomial(self, z: Tensor) -> tuple[Tensor, Tensor]:
        powers, slopes = _powers(z, self.denominator.shape[1])
        q = parallel.whole(self.denominator).to(z.dtype)
        q = q if len(q) == len(z) else self.per_input(q)
        return (q[..., None] * powers).sum(1), (q[..., None] * slopes).sum(1)

    @torch.no_grad()
    def move(self, low: Tensor, high: Tensor) -> Float[Tensor, "rows basis basis"]:
        old_low, old_high, low, high = (end.double() for end in (*self.ends, low, high))
        # z = a z' + b
        a = (high - low) / (old_high - old_low)
        b = (low + high - old_low - old_high) / (old_high - old_low)
        below = _substitution(a, b, self.denominator.shape[1])
        q = torch.einsum("rmn,rn->rm", below, parallel.whole(self.denominator).double())
        parallel.assign(self.denominator, q)
        self.put(low, high)
        return _substitution(a, b, self.n_coef)


def _powers(z: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """z^0 ... and their derivatives, [n, count, batch]."""
    powers = [torch.ones_like(z)]
    for _ in range(count - 1):
        powers.append(powers[-1] * z)
    slopes = [torch.zeros_like(z), *(n * p for n, p in enumerate(powers[:-1], start=1))]
    return torch.stack(powers, 1), torch.stack(slopes[:count], 1)


def _substitution(a: Tensor, b: Tensor, count: int) -> Float[Tensor, "rows power power"]:
    """Column n: the coefficients of (a z + b)^n."""
    found = a.new_zeros(len(a), count, count)
    found[:, 0, 0] = 1
    for n in range(1, count):
        found[:, :, n] = b[:, None] * found[:, :, n - 1]
        found[:, 1:, n] += a[:, None] * found[:, :-1, n - 1]
    return found


BASES: dict[str, type[BSplineBasis] | type[UnitBasis]] = {
    "bspline": BSplineBasis,
    "rbf": GaussianBasis,
    "chebyshev": ChebyshevBasis,
    "rational": RationalBasis,
}
