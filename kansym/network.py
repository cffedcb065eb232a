"""A network of KAN layers with sum and product nodes.

Layer l maps node values h_l to subnode values s_l = sum_i phi_l,j,i(h_l,i); the first n_sum
subnodes are nodes themselves, and each following run of `mult_arity` subnodes is multiplied into
one product node (Liu et al. 2024, arXiv:2408.10205, sec. 2.1). A factor without active edges is
left out of its product, so that products of two and of five factors fit into one network; a node
without any edges, sum or product, is 0. The first layer sees (x - input_shift) * input_scale, and
outputs are h_L * output_scale + output_shift.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kansym import edge, kernels
from kansym.errors import check_choice, check_grid, check_positive_int, check_seed, is_number
from kansym.layer import KANLayer


class Nodes(NamedTuple):
    """How many sum and product nodes a row of the network has."""

    n_sum: int
    n_product: int = 0

    @property
    def total(self) -> int:
        return self.n_sum + self.n_product


@dataclass(frozen=True)
class Trace:
    """The activations of one pass.

    nodes[l]: values of the nodes of row l, [batch, n_l], row 0 the (scaled) inputs.
    edges[l]: values of the edges of layer l, [batch, out, in], zero where an edge is off.
    subnodes[l]: values that layer l adds up, [batch, out], before products are taken.
    """

    nodes: tuple[Tensor, ...]
    edges: tuple[Tensor, ...]
    subnodes: tuple[Tensor, ...]


class Network(nn.Module):
    """See `KAN` for the arguments."""

    input_shift: Tensor
    input_scale: Tensor
    output_shift: Tensor
    output_scale: Tensor

    def __init__(
        self,
        width: Sequence[int | Sequence[int]],
        grid: int = 5,
        k: int = 3,
        *,
        mult_arity: int = 2,
        base: str = "silu",
        grid_range: tuple[float, float] = (-1.0, 1.0),
        grid_eps: float = 0.02,
        outside: str = "linear",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.width = parse_width(width)
        self.mult_arity = check_positive_int("mult_arity", mult_arity, 2)
        grid = check_grid("grid", grid)
        k = check_positive_int("k", k)
        check_choice("base", base, edge.BASES)
        check_choice("outside", outside, edge.OUTSIDE_RULES)
        low, high = parse_range(grid_range)
        if not is_number(grid_eps) or not 0 <= grid_eps <= 1:
            raise ValueError(f"grid_eps must be a number in [0, 1], got {grid_eps!r}")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype!r}")
        self.grid_eps = float(grid_eps)
        generator = torch.Generator().manual_seed(check_seed("seed", seed))
        self.layers = nn.ModuleList(
            KANLayer(
                before.total,
                self._n_subnodes(after),
                grid,
                k,
                base,
                (low, high),
                outside,
                generator,
                dtype,
            )
            for before, after in zip(self.width[:-1], self.width[1:], strict=True)
        )
        self.register_buffer("input_shift", torch.zeros(self.n_in, dtype=dtype))
        self.register_buffer("input_scale", torch.ones(self.n_in, dtype=dtype))
        self.register_buffer("output_shift", torch.zeros(self.n_out, dtype=dtype))
        self.register_buffer("output_scale", torch.ones(self.n_out, dtype=dtype))
        try:
            self.to(device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device must be one that torch has here, got {device!r}") from error

    def _n_subnodes(self, nodes: Nodes) -> int:
        return nodes.n_sum + self.mult_arity * nodes.n_product

    @property
    def n_in(self) -> int:
        return self.width[0].total

    @property
    def n_out(self) -> int:
        return self.width[-1].total

    @property
    def k(self) -> int:
        return self.kan_layers[0].k

    @property
    def grid(self) -> int:
        """Number of grid intervals of the first layer."""
        return self.kan_layers[0].grid

    @property
    def kan_layers(self) -> list[KANLayer]:
        return list(self.layers)  # pyright: ignore[reportReturnType]

    @property
    def dtype(self) -> torch.dtype:
        return self.input_shift.dtype

    @property
    def device(self) -> torch.device:
        return self.input_shift.device

    @property
    def n_active_edges(self) -> int:
        return sum(int(layer.mask.sum()) for layer in self.kan_layers)

    def forward(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        return self.nodes(x) * self.output_scale + self.output_shift

    def nodes(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        """The last nodes: the outputs in units of the output scale."""
        h = self.scale_inputs(x)
        native = None if torch.is_grad_enabled() else self.native_network(h)
        if native is not None:
            return native.nodes(h)
        return self._rows_from(h)[-1]

    def rows(self, x: Float[Tensor, "batch in"]) -> list[Float[Tensor, "batch nodes"]]:
        """Values of the nodes of every row, row 0 the scaled inputs."""
        return self._rows_from(self.scale_inputs(x))

    def _rows_from(self, h: Tensor) -> list[Tensor]:
        rows = [h]
        for l, layer in enumerate(self.kan_layers):
            rows.append(self.combine(l, layer(rows[-1])))
        return rows

    @property
    def numeric_network(self) -> kernels.NumericNetwork | None:
        """What lies between scaled inputs and the last nodes, as the kernels take it; None when an
        edge is symbolic, or a factor is left out: the kernels multiply all."""
        if any(layer.symbolic for layer in self.kan_layers):
            return None
        if any(bool(self.is_left_out(l).any()) for l in range(len(self.layers))):
            return None
        return kernels.NumericNetwork(
            [layer.numeric_edges for layer in self.kan_layers],
            [nodes.n_sum for nodes in self.width[1:]],
            [nodes.n_product for nodes in self.width[1:]],
            self.mult_arity,
        )

    def native_network(self, h: Float[Tensor, "batch in"]) -> kernels.NativeNetwork | None:
        """The same made ready for scaled inputs h; None when the kernels cannot run it."""
        numeric = self.numeric_network
        if numeric is None or not kernels.supports_network(h, numeric):
            return None
        return kernels.NativeNetwork(numeric)

    def trace(self, x: Float[Tensor, "batch in"]) -> Trace:
        """The activations for x; nothing is stored on the model."""
        nodes, edges, subnodes = [self.scale_inputs(x)], [], []
        for l, layer in enumerate(self.kan_layers):
            edges.append(layer.edges(nodes[-1]))
            subnodes.append(edges[-1].sum(2))
            nodes.append(self.combine(l, subnodes[-1]))
        return Trace(tuple(nodes), tuple(edges), tuple(subnodes))

    def scale_inputs(self, x: Tensor) -> Tensor:
        """x in the units of the first layer."""
        if not isinstance(x, Tensor) or x.is_complex():
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(
                f"X must be a tensor of real numbers, got {got}; predict takes arrays and frames"
            )
        if x.ndim != 2 or x.shape[1] != self.n_in:
            raise ValueError(
                f"X must have {self.n_in} columns (width[0]), got shape {tuple(x.shape)}"
            )
        return (x.to(self.dtype) - self.input_shift) * self.input_scale

    def combine(self, l: int, s: Float[Tensor, "batch sub"]) -> Float[Tensor, "batch nodes"]:
        """Node values of row l + 1 from the subnode values of layer l."""
        nodes = self.width[l + 1]
        if not nodes.n_product:
            return s
        return torch.cat([s[:, : nodes.n_sum], self.factors(l, s).prod(2)], 1)

    def factors(
        self, l: int, s: Float[Tensor, "batch sub"]
    ) -> Float[Tensor, "batch products arity"]:
        """What the products of row l + 1 multiply: 1 for a factor that is left out."""
        nodes = self.width[l + 1]
        present = torch.where(self.is_left_out(l), 1.0, s)[:, nodes.n_sum :]
        return present.unflatten(1, (nodes.n_product, self.mult_arity))

    def is_left_out(self, l: int) -> Bool[Tensor, " sub"]:
        """Subnodes of layer l that are factors without active edges, beside others with some."""
        nodes, reached = self.width[l + 1], self.kan_layers[l].mask.any(1)
        left_out = torch.zeros_like(reached)
        if nodes.n_product:
            factors = reached[nodes.n_sum :].unflatten(0, (nodes.n_product, self.mult_arity))
            left_out[nodes.n_sum :] = (~factors & factors.any(1, keepdim=True)).flatten()
        return left_out

    def node_of_subnode(self, l: int, sub: int) -> int:
        """Index in row l + 1 of the node that subnode `sub` of layer l belongs to."""
        n_sum = self.width[l + 1].n_sum
        return sub if sub < n_sum else n_sum + (sub - n_sum) // self.mult_arity

    def subnodes_of_node(self, l: int, node: int) -> list[int]:
        """Indices of the subnodes of layer l that node `node` of row l + 1 is made of."""
        n_sum = self.width[l + 1].n_sum
        if node < n_sum:
            return [node]
        first = n_sum + (node - n_sum) * self.mult_arity
        return list(range(first, first + self.mult_arity))

    def copy(self) -> Self:
        """An independent copy."""
        return copy.deepcopy(self)

    def bare(self) -> Network:
        """The network without what a subclass keeps beside it, such as a sample, to be sent to
        another process; parameters are shared."""
        new = object.__new__(Network)
        nn.Module.__init__(new)
        new._modules, new._buffers = dict(self._modules), dict(self._buffers)
        new.width, new.mult_arity, new.grid_eps = self.width, self.mult_arity, self.grid_eps
        return new

    def with_layers(self, width: Sequence[Nodes], layers: Sequence[KANLayer]) -> Self:
        """A copy with other layers between other rows; the input and output rows stay as wide."""
        new = copy.copy(self)
        new._modules = dict(self._modules)
        new._buffers = {name: b.clone() for name, b in self._buffers.items() if b is not None}
        new.width = tuple(width)
        new.layers = nn.ModuleList(layers)
        return new


def parse_range(ends: Sequence[float]) -> tuple[float, float]:
    """(low, high) as finite numbers; ValueError when they are not, or not in this order."""
    if isinstance(ends, Sequence) and len(ends) == 2 and all(is_number(end) for end in ends):
        low, high = float(ends[0]), float(ends[1])
        if low < high:
            return low, high
    raise ValueError(f"grid_range must be (low, high), finite, with low < high, got {ends!r}")


def parse_width(width: Sequence[int | Sequence[int]]) -> tuple[Nodes, ...]:
    """[2, [3, 1], 1] as rows of (sum, product) nodes; ValueError when a row makes no sense."""
    if hasattr(width, "tolist"):  # a NumPy array
        width = width.tolist()  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(width, (str, bytes)) or not isinstance(width, Sequence) or len(width) < 2:
        raise ValueError(f"width must list at least an input and an output row, got {width!r}")
    rows = []
    for position, entry in enumerate(width):
        parts = [entry] if not isinstance(entry, Sequence) else list(entry)
        if not 1 <= len(parts) <= 2:
            raise ValueError(f"width[{position}] must be n or [n_sum, n_product], got {entry!r}")
        counts = [check_positive_int(f"width[{position}]", n, 0) for n in parts]
        row = Nodes(*counts)
        if row.total == 0:
            raise ValueError(f"width[{position}] must have at least one node, got {entry!r}")
        rows.append(row)
    if rows[0].n_product:
        raise ValueError(f"width[0] is the inputs and has no product nodes, got {width[0]!r}")
    return tuple(rows)
