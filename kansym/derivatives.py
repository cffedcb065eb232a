"""Values, first and second derivatives of a network by its inputs, and what moves them.

A jet (h, h_a, h_ab) holds a value with its derivatives by the inputs a, b of the network. Through
a layer s_j = sum_i phi_ji(h_i) it goes by the chain rule (Faa di Bruno's formula of order two),

    s_a  = sum_i phi'  h_a,        s_ab = sum_i phi'' h_a h_b + phi' h_ab,

and through a product node by Leibniz' rule. The derivatives of anything pointwise in the jet of
the outputs by the free parameters follow backwards, as in `kansym.jacobian`. With S, S_a, S_ab the
derivatives by the jet of a subnode, an edge is moved by

    S d phi + W1 d phi' + W2 d phi'',    W1 = sum S_a h_a + S_ab h_ab,    W2 = sum S_ab h_a h_b,

d the derivative by a parameter of the edge, and hands on S phi' + W1 phi'' + W2 phi''' to h_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kansym import edge, kernels
from kansym.errors import check_index, suggestion
from kansym.kernels.reference import weights
from kansym.layer import KANLayer, SymbolicGroup
from kansym.network import Network


class Jet(NamedTuple):
    """Nodes, or derivatives by them: value [n, ..., nodes], first [n, ..., nodes, in], second
    [n, ..., nodes, in, in]."""

    value: Tensor
    first: Tensor
    second: Tensor


@dataclass(frozen=True, eq=False)
class Field:
    """One output of a network as a function of its inputs, in raw units, at n points.

    points [n, in]; value [n]; `d` gives derivatives, also [n].
    """

    points: Float[Tensor, "n in"]
    value: Float[Tensor, " n"]
    first: Float[Tensor, "n in"]
    second: Float[Tensor, "n in in"]
    names: tuple[str, ...]

    def d(self, *inputs: str | int) -> Float[Tensor, " n"]:
        """The derivative by one input, d("t"), or by two, d("x", "x"): by name, or by index from 0.

        Raises ValueError for an input the network has not, and for more than two.
        """
        if not 1 <= len(inputs) <= 2:
            raise ValueError(f"d takes one or two inputs, got {len(inputs)}")
        at = [self._index(name) for name in inputs]
        return self.first[:, at[0]] if len(at) == 1 else self.second[:, at[0], at[1]]

    def _index(self, name: str | int) -> int:
        if not isinstance(name, str):
            return check_index("an input of d", name, len(self.names))
        if name not in self.names:
            raise ValueError(f"unknown input {name!r};{suggestion(name, self.names)}")
        return self.names.index(name)


@torch.no_grad()
def jet(network: Network, x: Float[Tensor, "n in"]) -> Jet:
    """Outputs and their derivatives by x, in raw units."""
    return _forward(network, x, 2)[0]


def fields(outputs: Jet, x: Float[Tensor, "n in"], names: Sequence[str]) -> list[Field]:
    """A field for each output of a jet."""
    value, first, second = outputs
    return [
        Field(x, value[:, o], first[:, o], second[:, o], tuple(names))
        for o in range(value.shape[1])
    ]


@torch.no_grad()
def pulled_back(
    network: Network, x: Float[Tensor, "n in"], seeds: Jet
) -> Float[Tensor, "n equations p"]:
    """Derivatives by the free parameters (see `FreeParameters`) of quantities whose derivatives by
    the jet of the outputs are `seeds`: value [n, equations, out] and so on."""
    _, inputs, layers, subnodes = _forward(network, x, 3)
    scale = network.output_scale
    node = Jet(
        seeds.value * scale, seeds.first * scale[:, None], seeds.second * scale[:, None, None]
    )
    blocks: list[Tensor] = []
    for l in reversed(range(len(layers))):
        by_sub = _through_products(network, l, node, subnodes[l])
        spread = _Spread.of(by_sub, inputs[l])
        blocks.append(layers[l].block(spread))
        if l:
            node = layers[l].through(by_sub, spread, inputs[l])
    return torch.cat(blocks[::-1], 2)


def _forward(
    network: Network, x: Tensor, order: int
) -> tuple[Jet, list[Jet], list[_LayerDerivatives], list[Jet]]:
    """The jet of the outputs; of the inputs of every layer; the layers there, up to derivatives of
    that order; their subnodes."""
    z = network.scale_inputs(x)
    n, n_in = z.shape
    h = Jet(z, torch.diag(network.input_scale).expand(n, -1, -1), z.new_zeros(n, n_in, n_in, n_in))
    inputs, layers, subnodes = [], [], []
    for l, layer in enumerate(network.kan_layers):
        inputs.append(h)
        layers.append(_LayerDerivatives(layer, h.value, order))
        subnodes.append(layers[-1].subnodes(h))
        h = _combined(network, l, subnodes[-1])
    scale, shift = network.output_scale, network.output_shift
    raw = Jet(h.value * scale + shift, h.first * scale[:, None], h.second * scale[:, None, None])
    return raw, inputs, layers, subnodes


# -- product nodes ------------------------------------------------------------------------------


def _times(f: Jet, g: Jet) -> Jet:
    """Leibniz' rule."""
    mixed = f.first[..., :, None] * g.first[..., None, :]
    return Jet(
        f.value * g.value,
        f.first * g.value[..., None] + f.value[..., None] * g.first,
        f.second * g.value[..., None, None]
        + f.value[..., None, None] * g.second
        + mixed
        + mixed.mT,
    )


def _times_transposed(product: Jet, g: Jet) -> Jet:
    """Derivatives by f from those by f g: the transpose of f -> f g."""
    both = product.second + product.second.mT
    return Jet(
        product.value * g.value
        + (product.first * g.first).sum(-1)
        + (product.second * g.second).sum((-1, -2)),
        product.first * g.value[..., None] + (both * g.first[..., None, :]).sum(-1),
        product.second * g.value[..., None, None],
    )


def _factors(network: Network, l: int, subnodes: Jet) -> list[Jet]:
    """The m-th factors of the products of row l + 1, for every m: 1 where one is left out."""
    n_sum, left_out = network.width[l + 1].n_sum, network.is_left_out(l)
    value = torch.where(left_out, 1.0, subnodes.value)
    first = torch.where(left_out[:, None], 0.0, subnodes.first)
    second = torch.where(left_out[:, None, None], 0.0, subnodes.second)
    every = network.mult_arity
    return [
        Jet(*(part[:, n_sum + m :: every] for part in (value, first, second))) for m in range(every)
    ]


def _combined(network: Network, l: int, subnodes: Jet) -> Jet:
    """Nodes of row l + 1 from the subnodes of layer l."""
    row = network.width[l + 1]
    if not row.n_product:
        return subnodes
    product = reduce(_times, _factors(network, l, subnodes))
    pairs = zip(subnodes, product, strict=True)
    return Jet(*(torch.cat([sub[:, : row.n_sum], of], 1) for sub, of in pairs))


def _through_products(network: Network, l: int, node: Jet, subnodes: Jet) -> Jet:
    """Derivatives by the subnodes of layer l from those by the nodes of row l + 1."""
    row = network.width[l + 1]
    if not row.n_product:
        return node
    factors = _factors(network, l, subnodes)
    product = Jet(*(part[:, :, row.n_sum :] for part in node))
    by_factor = []
    for m in range(len(factors)):
        others = reduce(_times, factors[:m] + factors[m + 1 :])
        by_factor.append(_times_transposed(product, Jet(*(part[:, None] for part in others))))
    parts = []
    for sums, of_factors in zip(node, zip(*by_factor, strict=True), strict=True):
        joined = torch.stack(of_factors, 3).flatten(2, 3)  # [n, equations, products * arity, ...]
        parts.append(torch.cat([sums[:, :, : row.n_sum], joined], 2))
    return Jet(*parts)


# -- layers -------------------------------------------------------------------------------------


class _Spread(NamedTuple):
    """What phi, phi' and phi'' of an edge are worth: S [n, equations, out], W1 and W2 [n,
    equations, out, in]."""

    value: Tensor
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, by_sub: Jet, h: Jet) -> _Spread:
        half = torch.einsum("neoab,nib->neoia", by_sub.second, h.first)
        first = torch.einsum("neoa,nia->neoi", by_sub.first, h.first)
        first = first + torch.einsum("neoab,niab->neoi", by_sub.second, h.second)
        return cls(by_sub.value, first, torch.einsum("neoia,nia->neoi", half, h.first))


class _LayerDerivatives:
    """A layer at inputs [n, in]: its features and its edges, and their derivatives up to `order`,
    2 or 3."""

    def __init__(self, layer: KANLayer, x: Float[Tensor, "n in"], order: int):
        self.layer, self.x = layer, x
        numeric = layer.is_numeric
        # Inputs without a numeric edge may hold anything, and 0 * nan is nan.
        self.used = torch.nonzero(numeric.any(0)).flatten()
        self.features: list[Tensor] = []
        if len(self.used):
            shape = layer.shape._replace(knots=layer.knots[self.used])
            inside = x[:, self.used].contiguous()
            self.features = [kernels.features(inside, shape), kernels.slopes(inside, shape)]
            self.features += [edge.derivatives(inside, shape, r) for r in range(2, order + 1)]
        self.edges = [self._edges(r) for r in range(order + 1)]

    def _edges(self, order: int) -> Float[Tensor, "n out in"]:
        """The derivative of every edge; zero where an edge is off."""
        layer = self.layer
        found = self.x.new_zeros(len(self.x), layer.n_out, layer.n_in)
        if len(self.used):
            own = weights(layer.numeric_edges)[:, self.used]
            found[:, :, self.used] = torch.einsum("oif,ifn->noi", own, self.features[order])
        for group in layer.symbolic_groups():
            found[:, group.out_index, group.in_index] = _symbolic(layer, self.x, group, order)
        return found

    def subnodes(self, h: Jet) -> Jet:
        value, slope, bend = self.edges[:3]
        squares = h.first[..., :, None] * h.first[..., None, :]
        second = torch.einsum("noi,niab->noab", bend, squares)
        return Jet(
            value.sum(2),
            torch.einsum("noi,nia->noa", slope, h.first),
            second + torch.einsum("noi,niab->noab", slope, h.second),
        )

    def through(self, by_sub: Jet, spread: _Spread, h: Jet) -> Jet:
        """Derivatives by the inputs of the layer from those by its subnodes."""
        _, slope, bend, third = self.edges
        value = torch.einsum("neo,noi->nei", spread.value, slope)
        value = value + torch.einsum("neoi,noi->nei", spread.first, bend)
        value = value + torch.einsum("neoi,noi->nei", spread.second, third)
        both = by_sub.second + by_sub.second.mT
        bent = torch.einsum("neoab,noi->neiab", both, bend)
        first = torch.einsum("neoa,noi->neia", by_sub.first, slope)
        first = first + torch.einsum("neiab,nib->neia", bent, h.first)
        return Jet(value, first, torch.einsum("neoab,noi->neiab", by_sub.second, slope))

    def block(self, spread: _Spread) -> Float[Tensor, "n equations p"]:
        """Derivatives by the free parameters of the layer, in the order of `FreeParameters`."""
        out_index, in_index = torch.nonzero(self.layer.is_numeric, as_tuple=True)
        parts = []
        if len(out_index):
            place = torch.searchsorted(self.used, in_index)
            worth = (
                spread.value[:, :, out_index],
                spread.first[:, :, out_index, in_index],
                spread.second[:, :, out_index, in_index],
            )
            spline = sum(
                worth[order][..., None] * self.features[order][place].permute(2, 0, 1)[:, None]
                for order in range(3)
            )
            assert isinstance(spline, Tensor)
            parts = [spline[..., :-1].flatten(2)]
            if self.layer.base != "zero":
                parts.append(spline[..., -1])
        return torch.cat([*parts, self._affine_block(spread)], 2)

    def _affine_block(self, spread: _Spread) -> Float[Tensor, "n equations p"]:
        symbolic = torch.nonzero(self.layer.is_symbolic)
        affine = spread.value.new_zeros(*spread.value.shape[:2], len(symbolic), 4)
        place = {(int(j), int(i)): at for at, (j, i) in enumerate(symbolic)}
        for group in self.layer.symbolic_groups():
            edges = zip(group.out_index.tolist(), group.in_index.tolist(), strict=True)
            at = [place[pair] for pair in edges]
            worth = (
                spread.value[:, :, group.out_index],
                spread.first[:, :, group.out_index, group.in_index],
                spread.second[:, :, group.out_index, group.in_index],
            )
            slopes = _affine_slopes(self.layer, self.x, group)
            for share, slope in zip(worth, slopes, strict=True):
                affine[:, :, at] += share[..., None] * slope[:, None]
        return affine.flatten(2)


def _symbolic(
    layer: KANLayer, x: Tensor, group: SymbolicGroup, order: int
) -> Float[Tensor, "n group"]:
    """The `order`-th derivative of c f(a x + b) + d by x."""
    a, b, c, d = layer.affine[group.out_index, group.in_index].T
    inner = a * x[:, group.in_index] + b
    value = c * a**order * group.function.derivatives(inner, order)[order]
    return value + d if order == 0 else value


def _affine_slopes(
    layer: KANLayer, x: Tensor, group: SymbolicGroup
) -> list[Float[Tensor, "n group 4"]]:
    """The derivatives of phi, phi' and phi'' by (a, b, c, d) of the edges of a group."""
    a, b, c, _ = layer.affine[group.out_index, group.in_index].T
    at = x[:, group.in_index]
    f = group.function.derivatives(a * at + b, 3)
    found = []
    for order in range(3):
        by_b = c * a**order * f[order + 1]
        by_a = by_b * at
        if order:
            by_a = by_a + order * c * a ** (order - 1) * f[order]
        by_d = torch.ones_like(by_b) if order == 0 else torch.zeros_like(by_b)
        found.append(torch.stack([by_a, by_b, a**order * f[order], by_d], 2))
    return found
