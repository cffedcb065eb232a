"""The per-sample Jacobian of a network with respect to its free parameters, by hand.

With delta[n, o, j] = d y_o / d s_j (s_j a subnode of the layer at hand), the derivative by a spline
coefficient is delta * F[i, f, n], by an affine constant delta * d phi / d(a, b, c, d), and the
derivatives by the layer's inputs are sum_j delta[n, o, j] phi'_ji. Product nodes hand on the
product of their other factors.

Free are the coefficients of numeric edges and the affine constants of symbolic ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kansym import kernels
from kansym.layer import KANLayer
from kansym.network import Network

PARAMETERS = ("coef", "base_weight", "affine")


class FreeParameters:
    """The free parameters of a network as one vector: layer by layer, the coefficients of numeric
    edges, their base weights (unless there is no base), the constants of symbolic edges.

    Which they are is looked up once: make a new one when edges are named, pruned or regridded.
    """

    def __init__(self, network: Network):
        self.masks = [_layer_free(layer) for layer in network.kan_layers]
        self._parameters = [
            getattr(layer, name) for layer in network.kan_layers for name in PARAMETERS
        ]
        flat = [mask for masks in self.masks for mask in masks.values()]
        self._places = [torch.nonzero(mask, as_tuple=True) for mask in flat]
        self.sizes = [len(places[0]) for places in self._places]
        self.count = sum(self.sizes)
        per_layer = len(PARAMETERS)
        starts = [sum(self.sizes[: l * per_layer]) for l in range(len(self.masks))]
        self._edge_places = [
            _edge_places(layer, start)
            for layer, start in zip(network.kan_layers, starts, strict=True)
        ]

    def edge_places(self, l: int) -> Int[Tensor, "edges free"]:
        """Where the coefficients and the base weight of the numeric edges of layer l lie, edges in
        the order of `torch.nonzero(layer.is_numeric)`."""
        return self._edge_places[l]

    def pick(self, tensors: Iterable[Tensor]) -> Float[Tensor, " p"]:
        """The free entries of one tensor for each layer and parameter, in that order."""
        pairs = zip(tensors, self._places, strict=True)
        return torch.cat(
            [
                tensor.detach().reshape(-1) if len(places[0]) == tensor.numel() else tensor[places]
                for tensor, places in pairs
            ]
        )

    @torch.no_grad()
    def get(self) -> Float[Tensor, " p"]:
        return self.pick(self._parameters)

    def gradient(self) -> Float[Tensor, " p"]:
        """What `.grad` of the parameters holds; 0 where it holds nothing."""
        tensors = self._parameters
        return self.pick(torch.zeros_like(t) if t.grad is None else t.grad for t in tensors)

    def of_layers(self, gradients: Sequence[kernels.LayerGradient]) -> Float[Tensor, " p"]:
        """Gradients by the weights of every layer, for a network without symbolic edges."""
        tensors = []
        for l, (coef, base_weight) in enumerate(gradients):
            tensors += [coef, base_weight, self._parameters[3 * l + 2]]
        return self.pick(tensors)

    @torch.no_grad()
    def set(self, theta: Float[Tensor, " p"]) -> None:
        parts = theta.split(self.sizes)
        for parameter, places, part in zip(self._parameters, self._places, parts, strict=True):
            if len(part) == parameter.numel():
                parameter.copy_(part.view_as(parameter))
            elif len(part):
                parameter[places] = part


def _layer_free(layer: KANLayer) -> dict[str, Bool[Tensor, "..."]]:
    """For every parameter, which entries are free."""
    numeric, symbolic = layer.is_numeric, layer.is_symbolic
    has_base = layer.base != "zero"
    return {
        "coef": numeric[..., None].expand_as(layer.coef),
        "base_weight": numeric if has_base else torch.zeros_like(numeric),
        "affine": symbolic[..., None].expand_as(layer.affine),
    }


def _edge_places(layer: KANLayer, start: int) -> Int[Tensor, "edges free"]:
    n_edges, n_coef = int(layer.is_numeric.sum()), layer.coef.shape[2]
    device = layer.coef.device
    coef = start + torch.arange(n_edges * n_coef, device=device).unflatten(0, (n_edges, n_coef))
    if layer.base == "zero":
        return coef
    base = start + n_edges * n_coef + torch.arange(n_edges, device=device)
    return torch.cat([coef, base[:, None]], 1)


@torch.no_grad()
def jacobian(
    network: Network, x: Float[Tensor, "batch in"]
) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "batch out p"]]:
    """Outputs and their derivatives by the free parameters."""
    nodes, slopes = node_jacobian(network, x)
    scale = network.output_scale
    return nodes * scale + network.output_shift, slopes * scale[:, None]


@torch.no_grad()
def node_jacobian(
    network: Network, x: Float[Tensor, "batch in"]
) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "batch out p"]]:
    """The same in units of the output scale: the last nodes and their derivatives."""
    inside = network.scale_inputs(x)
    native = network.native_network(inside)
    if native is not None:
        return native.jacobian(inside)
    inputs, subnodes = [inside], []
    for l, layer in enumerate(network.kan_layers):
        subnodes.append(layer(inputs[-1]))
        inputs.append(network.combine(l, subnodes[-1]))

    # [batch, out, nodes]
    node = torch.eye(network.n_out, dtype=network.dtype, device=network.device)
    node = node.expand(len(inside), -1, -1)
    blocks: list[Tensor] = []
    for l in reversed(range(len(subnodes))):
        layer = network.kan_layers[l]
        delta = _through_products(network, l, node, subnodes[l])
        blocks.append(_layer_block(layer, inputs[l], delta))
        if l:
            node = torch.einsum("noj,nji->noi", delta, layer.edge_slopes(inputs[l]))
    return inputs[-1], torch.cat(blocks[::-1], 2)


def _through_products(network: Network, l: int, node: Tensor, subnodes: Tensor) -> Tensor:
    """Derivatives by the subnodes of layer l from those by the nodes of row l + 1."""
    row = network.width[l + 1]
    if not row.n_product:
        return node
    factors = network.factors(l, subnodes)
    others = torch.stack(
        [
            torch.cat([factors[..., :m], factors[..., m + 1 :]], -1).prod(-1)
            for m in range(network.mult_arity)
        ],
        -1,
    )  # [batch, product, arity]
    into = node[:, :, row.n_sum :, None] * others[:, None]
    return torch.cat([node[:, :, : row.n_sum], into.flatten(2)], 2)


def _layer_block(layer: KANLayer, x: Tensor, delta: Tensor) -> Tensor:
    """[batch, out, free parameters of the layer]."""
    numeric_out, numeric_in = torch.nonzero(layer.is_numeric, as_tuple=True)
    parts = []
    if len(numeric_in):
        values = kernels.features(x, layer.shape)[numeric_in]  # [edges, features, batch]
        spline = torch.einsum("noe,efn->noef", delta[:, :, numeric_out], values)
        parts = [spline[..., :-1].flatten(2)]
        if layer.base != "zero":
            parts.append(spline[..., -1])
    symbolic = torch.nonzero(layer.is_symbolic)
    affine = delta.new_zeros(*delta.shape[:2], len(symbolic), 4)
    place = {(int(j), int(i)): at for at, (j, i) in enumerate(symbolic)}
    for group in layer.symbolic_groups():
        edges = zip(group.out_index.tolist(), group.in_index.tolist(), strict=True)
        at = [place[pair] for pair in edges]
        gradients = layer.affine_gradients(x, group)  # [batch, group, 4]
        affine[:, :, at] = delta[:, :, group.out_index, None] * gradients[:, None]
    return torch.cat([*parts, affine.flatten(2)], 2)
