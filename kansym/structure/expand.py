"""Growing a network without changing what it computes: more nodes in a row, one more row.

A new node gets random functions on its incoming edges and splines that are 0 on its outgoing ones:
it adds nothing, and the first step of training already moves the outgoing ones. Were both 0,
neither would have a gradient. Trained splines, names and grids stay as they are.

Source of the verbs: Liu et al. 2024, arXiv:2408.10205, sec. 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from kansym import bspline
from kansym.errors import as_int, check_positive_int, check_seed
from kansym.layer import SPLINE_NOISE, KANLayer
from kansym.network import Network, Nodes
from kansym.training.grids import covering_breaks

N = TypeVar("N", bound=Network)


@torch.no_grad()
def widen(
    network: N, l: int, n_sum: int = 1, n_product: int = 0, X: Tensor | None = None, seed: int = 0
) -> N:
    """A new network with `n_sum` more sum nodes and `n_product` more product nodes in hidden row l,
    and the same outputs.

    They stand after the nodes of their kind, see every node of the row before, unused inputs among
    them, and lead to every node of the row after. Their incoming edges are straight lines of random
    slope with a little noise. X: rows that the grids of their outgoing edges shall cover; without,
    these lie on [-1, 1].
    """
    last = len(network.width) - 1
    if (row := as_int(l)) is None or not 0 < row < last:
        hidden = f"in 1..{last - 1}" if last > 1 else "one, and there is none; deepen makes one"
        raise ValueError(f"l must be a hidden row, {hidden}, got {l!r}")
    more = Nodes(
        check_positive_int("n_sum", n_sum, 0), check_positive_int("n_product", n_product, 0)
    )
    if not more.total:
        raise ValueError("n_sum or n_product must be at least 1, got 0 and 0")
    generator = torch.Generator().manual_seed(check_seed("seed", seed))
    old, after = network.width[row], network.width[row + 1]
    wider = Nodes(old.n_sum + more.n_sum, old.n_product + more.n_product)
    before_layer, after_layer = network.kan_layers[row - 1 : row + 1]

    nodes = _places(old.n_sum, more.n_sum, old.n_product)
    subnodes = _places(old.n_sum, more.n_sum, network.mult_arity * old.n_product)
    n_subnodes = wider.n_sum + network.mult_arity * wider.n_product
    incoming = _spread(before_layer, subnodes, n_subnodes, range(before_layer.n_in))
    outgoing = _spread(after_layer, range(after_layer.n_out), after_layer.n_out, nodes, wider.total)

    added = [s for s in range(n_subnodes) if s not in subnodes]
    incoming.mask[added] = True
    incoming.coef[added] = _random_lines(incoming, len(added), generator)
    # Into a factor that is left out, an edge that is 0 would make the product 0.
    is_open = after_layer.mask.any(1)
    is_open[: after.n_sum] = True
    new_nodes = [node for node in range(wider.total) if node not in nodes]
    outgoing.mask[:, new_nodes] = is_open[:, None]

    width = [*network.width]
    width[row] = wider
    layers = network.copy().kan_layers
    layers[row - 1 : row + 1] = incoming, outgoing
    grown = network.with_layers(width, layers)
    if X is not None:
        values = grown.rows(X)[row][:, new_nodes]
        _lay_grids(outgoing, new_nodes, values, network.grid_eps)
    return grown


@torch.no_grad()
def deepen(network: N, l: int, X: Tensor | None = None) -> N:
    """A new network with one more row of sum nodes after row l, each with the value of a node of
    row l, and the same outputs.

    The edges between nodes of the same number are the identity; the others are splines that are 0,
    to be trained. What nothing has used stays unused. After the outputs (l the last row) the grids
    cover X, or [-1, 1]. Where splines do not go on along their tangent (`outside`), the identity is
    the function "x", which holds everywhere.
    """
    last = len(network.width) - 1
    if (row := as_int(l)) is None or not 0 <= row <= last:
        raise ValueError(f"l must be a row in 0..{last}, inputs 0, got {l!r}")
    layers = network.copy().kan_layers
    count = network.width[row].total
    shape_of = layers[min(row, last - 1)]
    new = _empty_like(shape_of, count, count)
    is_used = torch.ones_like(new.mask[0])
    if row < last:
        new.knots = shape_of.knots.clone()
        is_used = shape_of.mask.any(0)
    elif X is not None:
        _lay_grids(new, list(range(count)), network.nodes(X), network.grid_eps)
    new.mask = is_used & is_used[:, None]
    for node in torch.nonzero(is_used).flatten().tolist():
        if new.outside == "linear":
            new.coef[node, node] = bspline.greville(new.knots, new.k)[node]
        else:
            new.symbolic[node, node] = "x"
    width = [*network.width[: row + 1], Nodes(count), *network.width[row + 1 :]]
    return network.with_layers(width, [*layers[:row], new, *layers[row:]])


def _places(n_before: int, n_new: int, n_after: int) -> list[int]:
    """Where the old ones stand when new ones come between the first and the others."""
    return [*range(n_before), *range(n_before + n_new, n_before + n_new + n_after)]


def _empty_like(layer: KANLayer, n_out: int, n_in: int) -> KANLayer:
    """A layer of the same kind on [-1, 1], every edge off and 0."""
    new = KANLayer(
        n_in, n_out, layer.grid, layer.k, layer.base, (-1.0, 1.0), layer.outside,
        torch.Generator(), layer.knots.dtype,
    ).to(layer.knots.device)  # fmt: skip
    new.mask[:] = False
    new.coef.zero_()
    new.base_weight.zero_()
    return new


def _spread(
    layer: KANLayer,
    outputs: Sequence[int],
    n_out: int,
    inputs: Sequence[int],
    n_in: int | None = None,
) -> KANLayer:
    """The layer with its edges at these of n_out outputs and n_in inputs; all others are off."""
    new = _empty_like(layer, n_out, layer.n_in if n_in is None else n_in)
    rows, columns = torch.tensor(outputs)[:, None], torch.tensor(inputs)
    new.knots[columns] = layer.knots
    for name in ("coef", "base_weight", "affine", "mask"):
        getattr(new, name)[rows, columns] = getattr(layer, name)
    new.symbolic = {(outputs[j], inputs[i]): name for (j, i), name in layer.symbolic.items()}
    return new


def _random_lines(
    layer: KANLayer, count: int, generator: torch.Generator
) -> Float[Tensor, "count in basis"]:
    """Coefficients of lines that end at random values on the grid, with the noise of fresh edges;
    the sum over all inputs is about 1 in size."""
    low, high = bspline.grid_range(layer.knots, layer.k)
    middle, half = (low + high) / 2, (high - low) / 2
    unit = (bspline.greville(layer.knots, layer.k) - middle[:, None]) / half[:, None]
    shape = count, *unit.shape
    slope = torch.randn(*shape[:2], 1, generator=generator, dtype=torch.float64).to(unit)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64).to(unit)
    return (slope * unit + SPLINE_NOISE * noise) / layer.n_in**0.5


def _lay_grids(layer: KANLayer, inputs: list[int], values: Tensor, grid_eps: float) -> None:
    """Grids of these inputs over the values [n, inputs], in rows where they are finite."""
    finite = values[torch.isfinite(values).all(1)]
    if len(finite):
        breaks = covering_breaks(finite, layer.grid, grid_eps)
        layer.knots[inputs] = bspline.extend(breaks, layer.k)
