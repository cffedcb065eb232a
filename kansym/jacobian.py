"""The per-sample Jacobian of a network with respect to its free parameters, by hand.

With delta[n, o, j] = d y_o / d s_j (s_j a subnode of the layer at hand), the derivative by a spline
coefficient is delta * F[i, f, n], by an affine constant delta * d phi / d(a, b, c, d), and the
derivatives by the layer's inputs are sum_j delta[n, o, j] phi'_ji. Product nodes hand on the
product of their other factors.

Free are the coefficients of numeric edges and the affine constants of symbolic ones.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kansym import kernels
from kansym.layer import KANLayer
from kansym.network import Network

PARAMETERS = ("coef", "base_weight", "affine")


def free_masks(network: Network) -> list[dict[str, Bool[Tensor, "..."]]]:
    """For every layer and parameter, which entries are free."""
    return [_layer_free(layer) for layer in network.kan_layers]


def _layer_free(layer: KANLayer) -> dict[str, Tensor]:
    numeric, symbolic = layer.is_numeric, layer.is_symbolic
    has_base = layer.base != "zero"
    return {
        "coef": numeric[..., None].expand_as(layer.coef),
        "base_weight": numeric if has_base else torch.zeros_like(numeric),
        "affine": symbolic[..., None].expand_as(layer.affine),
    }


@torch.no_grad()
def get_free(network: Network) -> Float[Tensor, " p"]:
    """The free parameters as one vector."""
    return torch.cat(
        [
            getattr(layer, name)[mask]
            for layer, masks in zip(network.kan_layers, free_masks(network), strict=True)
            for name, mask in masks.items()
        ]
    )


@torch.no_grad()
def set_free(network: Network, theta: Float[Tensor, " p"]) -> None:
    """Write a vector of the layout of `get_free` back."""
    start = 0
    for layer, masks in zip(network.kan_layers, free_masks(network), strict=True):
        for name, mask in masks.items():
            count = int(mask.sum())
            getattr(layer, name)[mask] = theta[start : start + count]
            start += count


@torch.no_grad()
def jacobian(
    network: Network, x: Float[Tensor, "batch in"]
) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "batch out p"]]:
    """Outputs and their derivatives by the free parameters, in the order of `get_free`."""
    inside = network.scale_inputs(x)
    numeric = network.numeric_network
    if numeric is not None and kernels.supports_network(inside, numeric):
        nodes, slopes = kernels.network_jacobian(numeric, inside)
        scale = network.output_scale
        return nodes * scale + network.output_shift, slopes * scale[:, None]
    return _jacobian(network, inside)


def _jacobian(network: Network, inside: Tensor) -> tuple[Tensor, Tensor]:
    inputs, subnodes = [inside], []
    for l, layer in enumerate(network.kan_layers):
        subnodes.append(layer(inputs[-1]))
        inputs.append(network.combine(l, subnodes[-1]))
    output = inputs[-1] * network.output_scale + network.output_shift

    node = torch.diag(network.output_scale).expand(len(inside), -1, -1)  # [batch, out, nodes]
    blocks: list[Tensor] = []
    for l in reversed(range(len(subnodes))):
        layer = network.kan_layers[l]
        delta = _through_products(network, l, node, subnodes[l])
        blocks.append(_layer_block(layer, inputs[l], delta))
        if l:
            node = torch.einsum("noj,nji->noi", delta, layer.edge_slopes(inputs[l]))
    return output, torch.cat(blocks[::-1], 2)


def _through_products(network: Network, l: int, node: Tensor, subnodes: Tensor) -> Tensor:
    """Derivatives by the subnodes of layer l from those by the nodes of row l + 1."""
    row = network.width[l + 1]
    if not row.n_product:
        return node
    factors = subnodes[:, row.n_sum :].unflatten(1, (row.n_product, network.mult_arity))
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
