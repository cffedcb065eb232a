"""A layer of edges: phi_ji from input i to output j, summed over i.

Every edge is one of three: off (not in `mask`), symbolic (c f(a x + b) + d, named in `symbolic`),
or numeric (base plus spline, see `edge`; evaluated by `kernels`). It is evaluated only as what it
is; tensors of edges are [out, in].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kansym import bspline, edge, kernels
from kansym.functions import SymbolicFunction, get_function

# Spline coefficients start as noise of this size: near zero, as in the paper, yet not equal, so
# that the edges of a node can take different roads.
SPLINE_NOISE = 0.1


class SymbolicGroup(NamedTuple):
    """The symbolic edges of a layer that share a function."""

    function: SymbolicFunction
    out_index: Tensor
    in_index: Tensor


class KANLayer(nn.Module):
    """Edges from n_in inputs to n_out outputs.

    Parameters (learnable): coef [out, in, G + k], base_weight [out, in], affine [out, in, 4] with
    (a, b, c, d) of symbolic edges. Buffers: knots [in, G + 2k + 1], mask [out, in].
    """

    coef: nn.Parameter
    base_weight: nn.Parameter
    affine: nn.Parameter
    knots: Tensor
    mask: Tensor

    def __init__(
        self,
        n_in: int,
        n_out: int,
        grid: int,
        k: int,
        base: str,
        grid_range: tuple[float, float],
        outside: str,
        generator: torch.Generator,
        dtype: torch.dtype,
    ):
        super().__init__()
        low = torch.full((n_in,), grid_range[0], dtype=dtype)
        high = torch.full((n_in,), grid_range[1], dtype=dtype)
        knots = bspline.extend(bspline.uniform_breaks(low, high, grid), k)
        self.k, self.base, self.outside = k, base, outside
        self.symbolic: dict[tuple[int, int], str] = {}  # (out, in) -> name of the function
        self.register_buffer("knots", knots)
        self.register_buffer("mask", torch.ones(n_out, n_in, dtype=torch.bool))
        noise = torch.randn(n_out, n_in, grid + k, generator=generator, dtype=dtype)
        self.coef = nn.Parameter(SPLINE_NOISE * noise / n_in**0.5)
        # Xavier (Glorot and Bengio 2010): keeps the variance of a sum over n_in edges.
        base_noise = torch.randn(n_out, n_in, generator=generator, dtype=dtype)
        self.base_weight = nn.Parameter(base_noise * (2 / (n_in + n_out)) ** 0.5)
        identity = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=dtype)
        self.affine = nn.Parameter(identity.repeat(n_out, n_in, 1))

    @property
    def n_out(self) -> int:
        return self.mask.shape[0]

    @property
    def n_in(self) -> int:
        return self.mask.shape[1]

    @property
    def grid(self) -> int:
        """Number of grid intervals G."""
        return self.knots.shape[1] - 2 * self.k - 1

    @property
    def shape(self) -> edge.EdgeShape:
        return edge.EdgeShape(self.knots, self.k, self.base, self.outside)

    @property
    def is_symbolic(self) -> Bool[Tensor, "out in"]:
        """Active edges that carry a function."""
        fixed = torch.zeros_like(self.mask)
        for j, i in self.symbolic:
            fixed[j, i] = True
        return fixed & self.mask

    @property
    def is_numeric(self) -> Bool[Tensor, "out in"]:
        """Active edges that are splines."""
        return self.mask & ~self.is_symbolic if self.symbolic else self.mask

    @property
    def numeric_edges(self) -> kernels.NumericEdges:
        """The numeric edges with their weights, as the kernels take them."""
        return kernels.NumericEdges(self.shape, self.coef, self.base_weight, self.is_numeric)

    def symbolic_groups(self) -> list[SymbolicGroup]:
        """Active symbolic edges, grouped by function so that each is evaluated once."""
        places: dict[str, list[tuple[int, int]]] = {}
        for (j, i), name in self.symbolic.items():
            if self.mask[j, i]:
                places.setdefault(name, []).append((j, i))
        device = self.mask.device
        return [
            SymbolicGroup(get_function(name), *torch.tensor(edges, device=device).T)
            for name, edges in places.items()
        ]

    def forward(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        """Sum of the edges that end in each output."""
        total = kernels.forward(x, self.numeric_edges)
        for group in self.symbolic_groups():
            total = total.index_add(1, group.out_index, self.symbolic_values(x, group))
        return total

    def edges(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out in"]:
        """Every edge on its own; zero where an edge is off."""
        values = kernels.edge_values(x, self.numeric_edges)
        for group in self.symbolic_groups():
            values = _put(values, group, self.symbolic_values(x, group))
        return values

    def edge_slopes(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out in"]:
        """d phi / dx of every edge."""
        slopes = kernels.edge_slopes(x, self.numeric_edges)
        for group in self.symbolic_groups():
            slopes = _put(slopes, group, self._symbolic_slopes(x, group))
        return slopes

    def symbolic_values(self, x: Tensor, group: SymbolicGroup) -> Float[Tensor, "batch group"]:
        """The symbolic edges of a group."""
        a, b, c, d = self.affine[group.out_index, group.in_index].T
        return c * group.function.torch(a * x[:, group.in_index] + b) + d

    def _symbolic_slopes(self, x: Tensor, group: SymbolicGroup) -> Float[Tensor, "batch group"]:
        a, b, c, _ = self.affine[group.out_index, group.in_index].T
        return c * a * group.function.derivative(a * x[:, group.in_index] + b)

    def inner_range(
        self, x: Float[Tensor, "batch in"], group: SymbolicGroup
    ) -> tuple[Float[Tensor, " group"], Float[Tensor, " group"]]:
        """The smallest and the largest a x + b of the symbolic edges of a group."""
        a, b, _, _ = self.affine[group.out_index, group.in_index].T
        inner = a * x[:, group.in_index] + b
        return inner.amin(0), inner.amax(0)

    def affine_gradients(
        self, x: Float[Tensor, "batch in"], group: SymbolicGroup
    ) -> Float[Tensor, "batch group 4"]:
        """d phi / d(a, b, c, d) of the symbolic edges of a group."""
        a, b, c, _ = self.affine[group.out_index, group.in_index].T
        inputs = x[:, group.in_index]
        inner = a * inputs + b
        through = c * group.function.derivative(inner)
        value = group.function.torch(inner)
        return torch.stack([through * inputs, through, value, torch.ones_like(value)], 2)

    @torch.no_grad()
    def move_grid(self, breaks: Float[Tensor, "in breaks"]) -> None:
        """Put the splines on other break points, keeping their functions.

        The new coefficients are the least-squares fit to what the old function (its continuation
        outside the old grid included) leaves to the spline, at 4(k + 1) points in every new
        interval: exact when the new spline space contains the old one.
        """
        knots = bspline.extend(breaks.to(self.knots), self.k)
        points = bspline.sites(knots, self.k, 4 * (self.k + 1))
        old = torch.cat([self.coef, self.base_weight[..., None]], 2)
        values = torch.einsum("oif,ifn->noi", old, edge.features(points, self.shape))
        values = values - self.base_weight * edge.BASES[self.base].value(points)[:, None]
        self.coef = nn.Parameter(bspline.fit_coefficients(points, values, knots, self.k))
        self.knots = knots

    @torch.no_grad()
    def to_spline(self, j: int, i: int) -> None:
        """Give a symbolic edge a spline that follows the function it had on its grid, in place.
        ValueError when the function is nowhere real there."""
        points = bspline.sites(self.knots, self.k, 4 * (self.k + 1))
        values = self.edges(points)[:, j, i]
        finite = torch.isfinite(values)  # the grid may reach beyond the function's domain
        if not bool(finite.any()):
            raise ValueError(f"{self.symbolic[j, i]!r} is nowhere real on its grid")
        self.coef[j, i] = bspline.fit_coefficients(
            points[finite][:, i : i + 1],
            values[finite][:, None, None],
            self.knots[i : i + 1],
            self.k,
        )[0, 0]
        self.base_weight[j, i] = 0
        del self.symbolic[j, i]

    @torch.no_grad()
    def add_constant(self, j: int, i: int, value: float) -> None:
        """Add a constant to an active edge: exact wherever the spline does not fade out, since the
        basis sums to one."""
        if (j, i) in self.symbolic:
            self.affine[j, i, 3] += value
        else:
            self.coef[j, i] += value

    def select(self, outputs: list[int], inputs: list[int]) -> KANLayer:
        """A new layer with only these outputs and inputs, in this order."""
        new = object.__new__(KANLayer)
        nn.Module.__init__(new)
        new.k, new.base, new.outside = self.k, self.base, self.outside
        new.symbolic = {
            (outputs.index(j), inputs.index(i)): name
            for (j, i), name in self.symbolic.items()
            if j in outputs and i in inputs
        }
        new.register_buffer("knots", self.knots[inputs].clone())
        new.register_buffer("mask", self.mask[outputs][:, inputs].clone())
        for name in ("coef", "base_weight", "affine"):
            old = getattr(self, name).detach()
            setattr(new, name, nn.Parameter(old[outputs][:, inputs].contiguous()))
        return new

    def get_extra_state(self) -> dict[str, Any]:
        """The names of symbolic edges belong to the state dict."""
        return {"symbolic": [[j, i, name] for (j, i), name in sorted(self.symbolic.items())]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.symbolic = {(j, i): name for j, i, name in state["symbolic"]}


def _put(edges: Tensor, group: SymbolicGroup, values: Tensor) -> Float[Tensor, "batch out in"]:
    """`edges` with the values [batch, group] of a group in their places."""
    rows = torch.arange(len(edges), device=edges.device)[:, None]
    return edges.index_put((rows, group.out_index, group.in_index), values)
