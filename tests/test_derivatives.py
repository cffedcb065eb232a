"""Derivatives by the inputs, and of these by the parameters, are those of the forward pass."""

import itertools

import pytest
import torch
from torch.autograd.functional import hessian

from kansym import edge
from kansym.derivatives import Jet, fields, jet, pulled_back
from kansym.functions import function_names, get_function
from kansym.jacobian import FreeParameters, jacobian
from kansym.network import Network

N, N_IN, N_OUT, EQUATIONS = 5, 3, 2, 3
WIDE = [N_IN, [2, 1], [1, 2], N_OUT]
PRODUCT_OUTPUT = [N_IN, [1, 1], [1, 1]]


def make_network(generator, width=WIDE, named=True, **options):
    """Splines, symbolic edges (one function twice), edges that are off, and units of its own."""
    network = Network(width, grid=2, k=options.pop("k", 5), **options)
    for layer in network.kan_layers:
        with torch.no_grad():
            layer.coef += 0.3 * torch.randn(layer.coef.shape, generator=generator).to(layer.coef)
            layer.affine += 0.3 * torch.rand(layer.affine.shape, generator=generator).to(layer.coef)
    first, last = network.kan_layers[0], network.kan_layers[-1]
    if named:
        first.symbolic = {(2, 0): "sin", (0, 1): "exp", (1, 2): "sin"}
        last.symbolic = {(1, 0): "x^2"}
    first.mask[0, 2] = False
    first.mask[1, 2] = False
    last.mask[0, 1] = False
    for name in ("input_shift", "input_scale", "output_shift", "output_scale"):
        buffer = getattr(network, name)
        buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return network


def make_sample(generator, reach=2.0):
    """By default also outside the grid of [-1, 1]."""
    return reach * (2 * torch.rand(N, N_IN, generator=generator, dtype=torch.float64) - 1)


def make_seeds(generator, n_out=N_OUT, n_in=N_IN):
    """Not symmetric in the two inputs: u_xy and u_yx may be asked for apart."""
    shapes = (n_out,), (n_out, n_in), (n_out, n_in, n_in)
    return Jet(
        *(
            torch.randn(N, EQUATIONS, *shape, generator=generator, dtype=torch.float64)
            for shape in shapes
        )
    )


def jet_by_autograd(network, x):
    value, first, second = network(x), [], []
    for row in x:
        first.append(torch.autograd.functional.jacobian(lambda p: network(p[None])[0], row))
        second.append(
            torch.stack(
                [hessian(lambda p, o=o: network(p[None])[0, o], row) for o in range(network.n_out)]
            )
        )
    return Jet(value.detach(), torch.stack(first), torch.stack(second))


def assert_pulled_back_equals_differences(network, x, seeds, generator, step=1e-5):
    """Along random directions, in which every parameter moves."""
    free = FreeParameters(network)
    theta, found = free.get(), pulled_back(network, x, seeds)
    for _ in range(2):
        delta = torch.randn(theta.shape, generator=generator, dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            free.set(theta + sign * step * delta)
            ends.append(told(jet(network, x), seeds))
        free.set(theta)
        expected = (ends[0] - ends[1]) / (2 * step)
        scale = float(expected.abs().max())
        torch.testing.assert_close(found @ delta, expected, rtol=1e-6, atol=1e-6 * scale)


def told(values, seeds):
    """What the seeds make of a jet, [n, equations]."""
    return (
        torch.einsum("no,neo->ne", values.value, seeds.value)
        + torch.einsum("noa,neoa->ne", values.first, seeds.first)
        + torch.einsum("noab,neoab->ne", values.second, seeds.second)
    )


def assert_jets_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("base", "outside"), list(zip(itertools.cycle(edge.BASES), edge.OUTSIDE_RULES, strict=False))
)
def test_a_jet_is_what_autograd_finds_twice(base, outside, generator):
    network = make_network(generator, base=base, outside=outside)
    x = make_sample(generator)
    assert_jets_equal(jet(network, x), jet_by_autograd(network, x))


@pytest.mark.parametrize("arity", [2, 3])
@pytest.mark.parametrize("width", [WIDE, PRODUCT_OUTPUT, [N_IN, N_OUT], [N_IN, [0, 1]]])
def test_a_jet_goes_through_sums_and_products(width, arity, generator):
    network = make_network(generator, width, named=False, mult_arity=arity)
    network.kan_layers[-1].mask[-1] = False  # a factor that is left out, where there are factors
    x = make_sample(generator)
    assert_jets_equal(jet(network, x), jet_by_autograd(network, x))


@pytest.mark.parametrize("base", ["silu", "zero"])
@pytest.mark.parametrize("arity", [2, 3])
@pytest.mark.parametrize("width", [WIDE, PRODUCT_OUTPUT, [N_IN, N_OUT]])
def test_what_is_pulled_back_equals_differences(width, arity, base, generator):
    network = make_network(generator, width, mult_arity=arity, base=base)
    x, seeds = make_sample(generator, reach=1.0), make_seeds(generator)
    assert_pulled_back_equals_differences(network, x, seeds, generator)


@pytest.mark.parametrize("outside", edge.OUTSIDE_RULES)
def test_what_is_pulled_back_equals_differences_outside_the_grid(outside, generator):
    network = make_network(generator, outside=outside)
    x, seeds = make_sample(generator), make_seeds(generator)
    assert_pulled_back_equals_differences(network, x, seeds, generator)


def test_of_values_alone_the_jacobian_comes_back(generator):
    network, x = make_network(generator), make_sample(generator)
    output, slopes = jacobian(network, x)
    one_each = torch.eye(N_OUT, dtype=torch.float64).expand(N, -1, -1)
    zeros = one_each.new_zeros(N, N_OUT, N_OUT, N_IN, N_IN)
    found = pulled_back(network, x, Jet(one_each, zeros[..., 0], zeros))
    torch.testing.assert_close(jet(network, x).value, output, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, slopes, rtol=1e-9, atol=1e-9)


def test_an_input_without_splines_may_hold_anything(generator):
    network, x = make_network(generator), make_sample(generator)
    network.kan_layers[0].mask[:, 2] = False
    before = jet(network, x)
    x[:, 2] = torch.nan
    assert_jets_equal(jet(network, x), before)
    assert torch.isfinite(pulled_back(network, x, make_seeds(generator))).all()


@pytest.mark.parametrize("name", function_names())
def test_functions_are_differentiated_three_times(name):
    f = get_function(name)
    x = torch.linspace(0.13, 0.87, 9, dtype=torch.float64)  # in every domain, at no pole
    step, found = 1e-4, f.derivatives(x, 3)
    torch.testing.assert_close(found[0], f.torch(x))
    for order in (1, 2, 3):
        ends = [f.derivatives(x + sign * step, 3)[order - 1] for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close(found[order], expected, rtol=1e-4, atol=1e-5)


def test_a_field_is_asked_by_name_or_index(generator):
    network, x = make_network(generator), make_sample(generator)
    values = jet(network, x)
    _, v = fields(values, x, ("x", "y", "t"))
    assert torch.equal(v.value, values.value[:, 1])
    assert torch.equal(v.d("t"), values.first[:, 1, 2])
    assert torch.equal(v.d("x", "t"), values.second[:, 1, 0, 2])
    assert torch.equal(v.d(0, 2), v.d("x", "t"))
    with pytest.raises(ValueError, match=r"unknown input 'z'; .*Known: x, y, t"):
        v.d("z")
    with pytest.raises(ValueError, match=r"d takes one or two inputs, got 3"):
        v.d("x", "x", "x")
    with pytest.raises(ValueError, match=r"an input of d must be an integer in 0\.\.2, got 3"):
        v.d(3)


def test_asking_changes_nothing(generator):
    network, x = make_network(generator), make_sample(generator)
    before = {name: value.clone() for name, value in network.named_parameters()}
    jet(network, x)
    pulled_back(network, x, make_seeds(generator))
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in network.parameters())
