"""The Jacobian by hand is the derivative of the forward pass by everything that is free."""

import pytest
import torch

from kansym import edge
from kansym.jacobian import PARAMETERS, FreeParameters, jacobian
from kansym.network import Network

N, N_IN, N_OUT = 7, 3, 2
WIDE = [N_IN, [2, 1], [1, 2], N_OUT]
PRODUCT_OUTPUT = [N_IN, [1, 1], [1, 1]]


def make_network(generator, width=WIDE, **options):
    """Splines, symbolic edges (one function twice), edges that are off, and units of its own."""
    network = Network(width, grid=2, k=options.pop("k", 3), **options)
    for layer in network.kan_layers:
        with torch.no_grad():
            layer.coef += 0.3 * torch.randn(layer.coef.shape, generator=generator).to(layer.coef)
            layer.affine += 0.3 * torch.rand(layer.affine.shape, generator=generator).to(layer.coef)
    first, last = network.kan_layers[0], network.kan_layers[-1]
    first.symbolic = {(2, 0): "sin", (0, 1): "exp", (1, 2): "sin"}
    first.mask[0, 2] = False
    first.mask[1, 2] = False  # one of the named ones
    last.symbolic = {(1, 0): "x^2"}
    last.mask[0, 1] = False
    for name in ("input_shift", "input_scale", "output_shift", "output_scale"):
        buffer = getattr(network, name)
        buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return network


def make_sample(generator, dtype=torch.float64):
    """Also outside the grid of [-1, 1]."""
    return 2 * (2 * torch.rand(N, N_IN, generator=generator, dtype=dtype) - 1)


def by_autograd(network, x):
    """Outputs as a function of the free parameters, differentiated by PyTorch."""
    masks = FreeParameters(network).masks

    def outputs(theta):
        parameters, start = {}, 0
        for l, layer in enumerate(network.kan_layers):
            for name in PARAMETERS:
                mask = masks[l][name]
                count = int(mask.sum())
                old = getattr(layer, name).detach()
                new = old.masked_scatter(mask, theta[start : start + count])
                parameters[f"layers.{l}.{name}"] = new
                start += count
        return torch.func.functional_call(network, parameters, (x,))

    return torch.func.jacrev(outputs, chunk_size=1)(FreeParameters(network).get())


def by_differences(network, x, step=1e-6):
    theta, columns = FreeParameters(network).get(), []
    for p in range(len(theta)):
        ends = []
        for sign in (1, -1):
            moved = theta.clone()
            moved[p] += sign * step
            FreeParameters(network).set(moved)
            ends.append(network(x).detach())
        columns.append((ends[0] - ends[1]) / (2 * step))
    FreeParameters(network).set(theta)
    return torch.stack(columns, 2)


@pytest.mark.parametrize("named", [True, False])
def test_factors_that_are_left_out(named, generator):
    network = make_network(generator, mult_arity=3)
    network.kan_layers[0].mask[3] = False
    network.kan_layers[1].mask[5:] = False
    if not named:
        for layer in network.kan_layers:
            layer.symbolic.clear()
    x = make_sample(generator)
    output, slopes = jacobian(network, x)
    torch.testing.assert_close(output, network(x).detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes, by_autograd(network, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("outside", edge.OUTSIDE_RULES)
@pytest.mark.parametrize("base", edge.BASES)
def test_equals_autograd_for_every_kind_of_edge(base, outside, generator):
    network = make_network(generator, base=base, outside=outside)
    x = make_sample(generator)
    output, slopes = jacobian(network, x)
    assert slopes.shape == (N, N_OUT, len(FreeParameters(network).get()))
    torch.testing.assert_close(output, network(x).detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes, by_autograd(network, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("arity", [2, 3, 4])
@pytest.mark.parametrize("width", [WIDE, PRODUCT_OUTPUT, [N_IN, N_OUT]])
def test_equals_autograd_through_sums_and_products(width, arity, k, generator):
    network = make_network(generator, width, k=k, mult_arity=arity)
    x = make_sample(generator)
    slopes = jacobian(network, x)[1]
    torch.testing.assert_close(slopes, by_autograd(network, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("arity", [2, 3])
def test_equals_finite_differences(arity, generator):
    network = make_network(generator, PRODUCT_OUTPUT, mult_arity=arity)
    x = make_sample(generator)
    slopes = jacobian(network, x)[1]
    # Central differences with steps of 1e-6 are good to about 1e-9 of values of order 10.
    torch.testing.assert_close(slopes, by_differences(network, x), rtol=1e-6, atol=1e-7)


def test_a_factor_that_is_zero_divides_nothing(generator):
    network = make_network(generator, mult_arity=3)
    with torch.no_grad():
        first = network.kan_layers[0]
        first.mask[3] = False  # one factor of the product is 0 for every row
    x = make_sample(generator)
    slopes = jacobian(network, x)[1]
    assert torch.isfinite(slopes).all()
    torch.testing.assert_close(slopes, by_autograd(network, x), rtol=1e-9, atol=1e-9)


def test_free_are_splines_that_are_on_and_constants_of_names_that_are_on(generator):
    network = make_network(generator)
    first = FreeParameters(network).masks[0]
    layer = network.kan_layers[0]
    for name in PARAMETERS:
        assert first[name].shape == getattr(layer, name).shape
    assert first["coef"][1, 0].all()
    assert first["base_weight"][1, 0]
    assert not first["affine"][1, 0].any()
    assert first["affine"][2, 0].all()
    assert not first["coef"][2, 0].any()
    assert not first["base_weight"][2, 0]
    for name in PARAMETERS:  # off, once with a name and once without
        assert not first[name][1, 2].any()
        assert not first[name][0, 2].any()


def test_without_a_base_function_its_weight_is_not_free(generator):
    masks = FreeParameters(make_network(generator, base="zero")).masks
    assert not any(layer["base_weight"].any() for layer in masks)


def test_set_free_writes_what_get_free_reads_and_nothing_else(generator):
    network = make_network(generator)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    theta = torch.randn(
        FreeParameters(network).get().shape, generator=generator, dtype=torch.float64
    )
    FreeParameters(network).set(theta)
    assert torch.equal(FreeParameters(network).get(), theta)
    for l, masks in enumerate(FreeParameters(network).masks):
        for name, mask in masks.items():
            now = getattr(network.kan_layers[l], name).detach()
            assert torch.equal(now[~mask], before[f"layers.{l}.{name}"][~mask])
            assert (now[mask] != before[f"layers.{l}.{name}"][mask]).all()


def test_float32_stays_float32(generator):
    network = make_network(generator, dtype=torch.float32)
    x = make_sample(generator, torch.float32)
    output, slopes = jacobian(network, x)
    assert output.dtype == slopes.dtype == FreeParameters(network).get().dtype == torch.float32
    torch.testing.assert_close(slopes, by_autograd(network, x), rtol=1e-3, atol=1e-3)


def test_asking_changes_nothing(generator):
    network, x = make_network(generator), make_sample(generator)
    before = {name: value.clone() for name, value in network.named_parameters()}
    jacobian(network, x)
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name])
        assert value.grad is None
