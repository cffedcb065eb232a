"""The kernels in C compute what those in PyTorch do, and step back where they cannot."""

import ctypes
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import kansym
from kansym import bspline, kernels
from kansym.edge import EdgeShape
from kansym.jacobian import node_jacobian
from kansym.kernels import NumericEdges, build, calls, library, native, native_network, reference
from kansym.network import Network

pytestmark = pytest.mark.skipif(
    kernels.load().library is None, reason=f"no native kernels: {kernels.load().reason}"
)

TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-4}
BATCHES = [1, 63, 64, 65, 128, 129, 300]
OUTPUTS = [1, 2, 3, 5, 8, 9, 17, 33, 64, 83]  # tiles of 1, 2, 4 and 8 vectors, and what is left
GRIDS = [1, 2, 5, 20, 40]  # the search for an interval changes at 32
DTYPES = [torch.float64, torch.float32]

# (dtype, k, grid, base, outside, is_uneven, n_in, n_out, batch): every value of each appears often
# and next to many values of the others, for their counts have few common factors.
CASES = [
    (
        DTYPES[i % 5 % 2],
        1 + i % 7,
        GRIDS[(i + i // 5) % 5],
        list(calls.BASES)[(i + i // 7) % 4],
        list(calls.OUTSIDE)[(i // 3) % 5],
        i % 3 == 0,
        (3, 1, 7, 2)[i % 11 % 4],
        OUTPUTS[(i + i // 10) % 10],
        BATCHES[(i + i // 7) % 7],
    )
    for i in range(105)
]
RULES = [(base, outside) for base in calls.BASES for outside in calls.OUTSIDE]


def make_knots(n_in, grid, k, dtype, generator, is_uneven=True):
    """A grid for every input, each with its ends; uneven: widths from 1 to 1000."""
    widths = torch.ones(n_in, grid, dtype=torch.float64)
    if is_uneven:
        widths = 10 ** (3 * torch.rand(n_in, grid, generator=generator, dtype=torch.float64))
    breaks = torch.cumsum(torch.cat([torch.zeros(n_in, 1), widths], 1), 1)
    shift = torch.rand(n_in, 1, generator=generator, dtype=torch.float64)
    breaks = 2 * breaks / breaks[:, -1:] - 1 + shift
    return bspline.extend(breaks.to(dtype), k)


def make_edges(
    generator,
    n_in=3,
    n_out=2,
    grid=5,
    k=3,
    base="silu",
    outside="linear",
    dtype=torch.float64,
    is_uneven=True,
    share=0.8,
):
    """Edges of which about `share` are numeric; with several inputs, the first is not used."""
    shape = EdgeShape(make_knots(n_in, grid, k, dtype, generator, is_uneven), k, base, outside)
    coef = torch.randn(n_out, n_in, grid + k, generator=generator, dtype=dtype)
    base_weight = torch.randn(n_out, n_in, generator=generator, dtype=dtype)
    is_numeric = torch.rand(n_out, n_in, generator=generator) < share
    is_numeric[0, -1] = share > 0
    if n_in > 1 and share < 1:
        is_numeric[:, 0] = False
    return NumericEdges(shape, coef, base_weight, is_numeric)


def make_points(generator, edges, n):
    """Inside, outside near and far, at breaks and at the ends."""
    low, high = bspline.grid_range(edges.shape.knots, edges.shape.k)
    share = torch.rand(n, len(low), generator=generator, dtype=torch.float64)
    x = (low + (high - low) * (2 * share - 0.5)).to(low)
    breaks = edges.shape.knots[:, edges.shape.k : edges.shape.knots.shape[1] - edges.shape.k]
    place = torch.randint(breaks.shape[1], (n, len(low)), generator=generator)
    at_breaks = breaks.gather(1, place.T).T
    kind = torch.randint(20, (n, len(low)), generator=generator)
    for chosen, value in ((0, low), (1, high), (2, at_breaks), (3, 30 + x), (4, -30 + x)):
        x = torch.where(kind == chosen, value, x)
    return x


def make_network(generator, width, arity=2, share=0.8, **options):
    """Splines alone, some off, with units of its own."""
    network = Network(width, mult_arity=arity, **options)
    for l, layer in enumerate(network.kan_layers):
        with torch.no_grad():
            layer.coef += 0.3 * torch.randn(layer.coef.shape, generator=generator).to(layer.coef)
        layer.mask &= torch.rand(layer.mask.shape, generator=generator) < share
        layer.mask[0, 0] = True
        layer.mask[:, 0] |= network.is_left_out(l)  # no network for the kernels otherwise
    for name in ("input_shift", "input_scale", "output_shift", "output_scale"):
        buffer = getattr(network, name)
        buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return network


def tracked(edges):
    return edges._replace(
        coef=edges.coef.clone().requires_grad_(),
        base_weight=edges.base_weight.clone().requires_grad_(),
    )


def value_and_gradients(function, x, edges, generator):
    """A value and its gradients by x, coef and base_weight, for an upstream gradient."""
    x, edges = x.clone().requires_grad_(), tracked(edges)
    value = function(x, edges)
    upstream = torch.randn(value.shape, generator=generator, dtype=value.dtype)
    inputs = (x, edges.coef, edges.base_weight)
    gradients = torch.autograd.grad(value, inputs, upstream, materialize_grads=True)
    return value.detach(), *gradients


def gradient_by_x(function, x, shape):
    x = x.clone().requires_grad_()
    value = function(x, shape)
    upstream = torch.randn(value.shape, generator=same_seed(), dtype=value.dtype)
    return torch.autograd.grad(value, x, upstream)[0]


def assert_close(actual, expected, tolerance=None):
    """To rounding, next to the largest number in `expected`; NaN where it has NaN."""
    tolerance = TOLERANCE[expected.dtype] if tolerance is None else tolerance
    finite = expected[expected.isfinite()].abs()
    scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale, equal_nan=True)


def assert_equal(actual, expected):
    for mine, its in zip(actual, expected, strict=True):
        assert torch.equal(mine, its)


def same_seed():
    return torch.Generator().manual_seed(1)


# -- the reference -------------------------------------------------------------------------------


def check_edges(edges, x):
    """Every function of single layers, and its gradients."""
    shape = edges.shape
    assert_close(native.features(x, shape), reference.features(x, shape))
    assert_close(native.slopes(x, shape), reference.slopes(x, shape))
    for name in ("features", "slopes"):
        found, expected = (
            gradient_by_x(getattr(module, name), x, shape) for module in (native, reference)
        )
        assert_close(found, expected)
    for name in ("forward", "edge_values", "edge_slopes"):
        mine, its = getattr(native, name), getattr(reference, name)
        assert_close(mine(x, edges), its(x, edges))  # without gradients another road is taken
        found = value_and_gradients(mine, x, edges, same_seed())
        for one, other in zip(found, value_and_gradients(its, x, edges, same_seed()), strict=True):
            assert_close(one, other)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layers_equal_the_reference(case, generator):
    dtype, k, grid, base, outside, is_uneven, n_in, n_out, n = case
    edges = make_edges(generator, n_in, n_out, grid, k, base, outside, dtype, is_uneven)
    check_edges(edges, make_points(generator, edges, n))


@pytest.mark.parametrize(("base", "outside"), RULES)
@pytest.mark.parametrize("n_out", [1, 9])
def test_every_base_under_every_rule_equals_the_reference(n_out, base, outside, generator):
    for k in range(1, calls.MAX_DEGREE + 1):
        edges = make_edges(generator, 2, n_out, k=k, base=base, outside=outside, share=1)
        check_edges(edges, make_points(generator, edges, 70))


@pytest.mark.parametrize("grid", [31, 32, 33, 34, 63, 64, 65])
def test_every_point_of_a_fine_grid_is_in_its_interval(grid, generator):
    edges = make_edges(generator, 2, 1, grid, 2, share=1)
    breaks = edges.shape.knots[:, 2:-2]
    middle = (breaks[:, 1:] + breaks[:, :-1]) / 2
    x = torch.cat([breaks, middle, breaks.nextafter(breaks - 1), breaks.nextafter(breaks + 1)], 1)
    assert_close(native.features(x.T, edges.shape), reference.features(x.T, edges.shape))


@pytest.mark.parametrize("n_in", [1, 40])  # more inputs than a slab of weights holds
@pytest.mark.parametrize("grid", [3, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_inputs_and_outputs_equal_the_reference(dtype, grid, n_in, generator):
    edges = make_edges(generator, n_in, 83, grid, dtype=dtype)
    check_edges(edges, make_points(generator, edges, 130))


@pytest.mark.parametrize("n_out", [1, 3, 20])
def test_masks_may_turn_everything_off(n_out, generator):
    edges = make_edges(generator, 3, n_out, share=0)
    x = make_points(generator, edges, 5)
    for name in ("forward", "edge_values", "edge_slopes"):
        assert not getattr(native, name)(x, edges).any()
    for name in ("forward", "edge_values"):
        gradients = value_and_gradients(getattr(native, name), x, edges, generator)[1:]
        assert not any(gradient.any() for gradient in gradients)
        z = x.clone().requires_grad_()
        y = getattr(native, name)(z, edges).sum() + (0 * z).sum()
        (by_x,) = torch.autograd.grad(y, z, create_graph=True)
        assert not by_x.any()


WIDTHS = {
    "one layer": ([3, 2], 2),
    "products": ([3, [2, 1], [1, 2], 2], 2),
    "triple products": ([3, [1, 2], [2, 1]], 3),
    "only products": ([2, [0, 2], [0, 1]], 2),
    "deep": ([2, 3, 3, 3, 2], 2),
    "wide": ([4, 19, [9, 3], 1], 3),
    "wide, then narrow": ([5, 40, 1], 2),
}
NETWORKS = [
    (name, 1 + i % 7, list(calls.BASES)[(i + i // 7) % 4], list(calls.OUTSIDE)[i % 5], dtype, n)
    for i, (name, dtype, n) in enumerate(
        (name, dtype, n) for name in WIDTHS for dtype in DTYPES for n in (1, 64, 129)
    )
]


def loss_by_autograd(network, x, target, weight):
    """What `network_loss` computes, with the reference for every layer."""
    layers, h = [tracked(edges) for edges in network.layers], x
    for edges, n_sum, n_product in zip(layers, network.n_sum, network.n_product, strict=True):
        s = reference.forward(h, edges)
        factors = s[:, n_sum:].unflatten(1, (n_product, network.arity)) if n_product else None
        h = s if factors is None else torch.cat([s[:, :n_sum], factors.prod(2)], 1)
    squares = (h - target) ** 2
    loss = (squares if weight is None else weight[:, None] * squares).sum()
    inputs = [tensor for edges in layers for tensor in (edges.coef, edges.base_weight)]
    gradients = torch.autograd.grad(loss, inputs, materialize_grads=True)
    return loss.detach(), h.detach(), gradients


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_networks_equal_autograd(case, generator):
    name, k, base, outside, dtype, n = case
    width, arity = WIDTHS[name]
    made = make_network(generator, width, arity, k=k, base=base, outside=outside, dtype=dtype)
    network = made.numeric_network
    x = 2 * torch.randn(n, made.n_in, generator=generator, dtype=dtype)
    target = torch.randn(n, made.n_out, generator=generator, dtype=dtype)
    for weight in (None, torch.rand(n, generator=generator, dtype=dtype)):
        loss, gradients = kernels.NativeNetwork(network).loss(x, target, weight)
        expected, h, by_weights = loss_by_autograd(network, x, target, weight)
        # In deep networks rounding of one layer is steepened by the next.
        tolerance = 100 * TOLERANCE[dtype]
        assert loss == pytest.approx(float(expected), rel=tolerance)
        for one, other in zip([t for g in gradients for t in g], by_weights, strict=True):
            assert_close(one, other, tolerance)
    assert_close(kernels.NativeNetwork(network).jacobian(x)[0], h, tolerance)


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("base", ["silu", "zero"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_network_jacobian_equals_the_one_by_layers(dtype, base, name, generator, monkeypatch):
    width, arity = WIDTHS[name]
    network = make_network(generator, width, arity, base=base, dtype=dtype)
    x = 2 * torch.randn(66, network.n_in, generator=generator, dtype=dtype)
    found = node_jacobian(network, x)
    monkeypatch.setattr(kernels, "supports_network", lambda *_: False)
    monkeypatch.setattr(kernels, "supports", lambda *_: False)
    for one, other in zip(found, node_jacobian(network, x), strict=True):
        assert_close(one, other, 100 * TOLERANCE[dtype])


def test_layers_of_a_network_may_differ_in_grid_base_and_rule(generator):
    network = make_network(generator, [2, 3, 1]).numeric_network
    first = make_edges(generator, 2, 3, 40, base="tanh", outside="reflect")
    network = network._replace(layers=[first, network.layers[1]])
    x = torch.randn(70, 2, generator=generator, dtype=torch.float64)
    target = torch.zeros(70, 1, dtype=torch.float64)
    loss, gradients = kernels.NativeNetwork(network).loss(x, target)
    expected, _, by_weights = loss_by_autograd(network, x, target, None)
    assert loss == pytest.approx(float(expected), rel=1e-10)
    for one, other in zip([t for g in gradients for t in g], by_weights, strict=True):
        assert_close(one, other)


# -- every level ---------------------------------------------------------------------------------

_loaded = kernels.load().library
LEVELS = [n for n in build.levels() if _loaded is not None and n <= _loaded.kansym_cpu_level()]


def use_level(monkeypatch, level):
    path = build.TARGET / build.library_name(level)
    if not path.exists():
        pytest.skip(f"{path.name} was not compiled")
    found = library.Kernels(library._declared(ctypes.CDLL(str(path))), level, "a test")
    monkeypatch.setattr(calls, "load", lambda: found)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", CASES[::4], ids=str)
def test_every_level_of_the_cpu_equals_the_reference(case, level, generator, monkeypatch):
    use_level(monkeypatch, level)
    dtype, k, grid, base, outside, is_uneven, n_in, n_out, n = case
    edges = make_edges(generator, n_in, n_out, grid, k, base, outside, dtype, is_uneven)
    check_edges(edges, make_points(generator, edges, n))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n_out", OUTPUTS)
def test_every_level_takes_any_number_of_outputs(n_out, level, generator, monkeypatch):
    use_level(monkeypatch, level)
    for dtype in DTYPES:
        edges = make_edges(generator, 4, n_out, k=5, dtype=dtype)
        check_edges(edges, make_points(generator, edges, 129))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_level_trains_networks(dtype, name, level, generator, monkeypatch):
    use_level(monkeypatch, level)
    test_networks_equal_autograd((name, 4, "silu", "linear", dtype, 129), generator)


# -- beyond the reference ------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(1, calls.MAX_DEGREE + 1))
@pytest.mark.parametrize("outside", calls.OUTSIDE)
def test_the_splines_sum_to_one(outside, k, generator):
    edges = make_edges(generator, grid=20, k=k, outside=outside)
    x = make_points(generator, edges, 200)
    total = native.features(x, edges.shape)[:, :-1].sum(1)
    slope = native.slopes(x, edges.shape)[:, :-1].sum(1)
    assert_close(total, torch.ones_like(total))
    steepest = native.slopes(x, edges.shape).abs().max()
    assert slope.abs().max() < 1e-12 * steepest


def check_gradients(function, *inputs):
    with torch.random.fork_rng():  # they draw directions
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("outside", calls.OUTSIDE)
@pytest.mark.parametrize(
    ("name", "n_out"), [("forward", 2), ("forward", 9), ("edge_values", 2), ("edge_slopes", 2)]
)
def test_gradients_of_first_and_second_order(name, outside, n_out, generator):
    # Degree 5, and away from breaks: differences then are those of a polynomial.
    edges = make_edges(generator, 2, n_out, 2, 5, "tanh", outside, is_uneven=False)

    def function(x, coef, base_weight):
        return getattr(kernels, name)(x, edges._replace(coef=coef, base_weight=base_weight))

    x = (0.1 + 0.3 * torch.rand(2, 2, generator=generator, dtype=torch.float64)).requires_grad_()
    inputs = (x, *tracked(edges)[1:3])
    check_gradients(function, *inputs)


@pytest.mark.parametrize("derivative", ["features", "slopes"])
def test_gradients_of_features(derivative, generator):
    shape = make_edges(generator, 2, k=5).shape
    x = torch.rand(3, 2, generator=generator, dtype=torch.float64).requires_grad_()
    check_gradients(lambda x: getattr(kernels, derivative)(x, shape), x)


@pytest.mark.parametrize("n_out", [1, 3, 20])
@pytest.mark.parametrize("outside", calls.OUTSIDE)
@pytest.mark.parametrize("k", [1, 3, 6])
def test_nan_stays_in_its_row_and_reaches_all_it_should(k, outside, n_out, generator):
    edges = make_edges(generator, 3, n_out, k=k, outside=outside)
    edges.is_numeric[:, 1:] = True
    x = make_points(generator, edges, 70)
    clean = native.forward(x, edges)
    x[:, 0] = torch.nan  # not used
    x[5, 1] = x[66, 2] = torch.nan
    y = native.forward(x, edges)
    bad = torch.zeros(70, dtype=torch.bool)
    bad[[5, 66]] = True
    assert y[bad].isnan().all()
    assert torch.equal(y[~bad], clean[~bad])
    values, slopes = native.edge_values(x, edges), native.edge_slopes(x, edges)
    for found in (values, slopes):
        assert found.isfinite().sum() == found.numel() - 2 * n_out
    assert values[5, :, 1].isnan().all()
    assert values[66, :, 2].isnan().all()
    # The gradient by the input, too, is lost in these rows only.
    x.requires_grad_()
    by_x = torch.autograd.grad(native.forward(x, edges).sum(), x)[0]
    assert torch.equal(by_x.isfinite().all(1), ~bad)
    assert not by_x[:, 0].any()


def test_an_edge_that_is_off_is_0_even_for_nan(generator):
    edges = make_edges(generator, share=1)
    edges.is_numeric[1, 2] = False
    x = torch.full((2, 3), torch.nan, dtype=torch.float64)
    for name in ("edge_values", "edge_slopes"):
        found = getattr(native, name)(x, edges)
        assert not found[:, 1, 2].any()
        assert found.isnan().sum() == 2 * 5


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, 1e300, -1e300, 1e10, -1e10])
@pytest.mark.parametrize("outside", calls.OUTSIDE)
@pytest.mark.parametrize("base", calls.BASES)
def test_huge_inputs_end_as_in_the_reference(base, outside, value, generator):
    for n_out, dtype in ((1, torch.float64), (3, torch.float32), (20, torch.float64)):
        edges = make_edges(generator, 2, n_out, base=base, outside=outside, dtype=dtype, share=1)
        x = make_points(generator, edges, 9)
        clean, largest = native.forward(x, edges), torch.finfo(dtype).max / 10
        x[4, 1] = min(max(value, -largest), largest) if math.isfinite(value) else value
        found, expected = native.forward(x, edges), reference.forward(x, edges)
        rest = torch.arange(9) != 4
        assert torch.equal(found[rest], clean[rest])
        assert torch.equal(found[4].isfinite(), expected[4].isfinite())
        if outside not in ("reflect", "periodic"):  # where rounding has lost the phase
            finite = expected[4].isfinite()
            assert_close(found[4][finite], expected[4][finite])


@pytest.mark.parametrize("n_out", [2, 20])
def test_nothing_that_was_given_changes(n_out, generator):
    edges = tracked(make_edges(generator, 3, n_out))
    x = make_points(generator, edges, 70).requires_grad_()
    given = [x, edges.shape.knots, *edges[1:]]
    before = [tensor.detach().clone() for tensor in given]
    for name in ("forward", "edge_values", "edge_slopes"):
        getattr(kernels, name)(x, edges).sum().backward()
    with torch.no_grad():
        kernels.features(x, edges.shape)
        kernels.slopes(x, edges.shape)
        network = kernels.NumericNetwork([edges], [n_out], [0], 2)
        target, weight = torch.ones(70, n_out, dtype=x.dtype), torch.ones(70, dtype=x.dtype)
        kernels.NativeNetwork(network).loss(x, target, weight)
        kernels.NativeNetwork(network).jacobian(x)
    assert_equal([tensor.detach() for tensor in given], before)
    assert bool((target == 1).all())
    assert bool((weight == 1).all())


@pytest.mark.parametrize("n_out", [2, 20])
def test_memory_in_any_order_is_fine(n_out, generator):
    edges = make_edges(generator, 3, n_out)
    x = make_points(generator, edges, 70)
    strided = torch.stack([x, x + 1], 2)[..., 0].T.contiguous().T
    scattered = NumericEdges(
        edges.shape._replace(knots=edges.shape.knots.T.contiguous().T),
        torch.stack([edges.coef, edges.coef], 3)[..., 0],
        edges.base_weight.T.contiguous().T,
        edges.is_numeric.T.contiguous().T,
    )
    assert not any(t.is_contiguous() for t in (strided, scattered.shape.knots, *scattered[1:]))
    for name in ("forward", "edge_values", "edge_slopes"):
        function = getattr(kernels, name)
        assert torch.equal(function(strided, scattered), function(x, edges))
        assert_equal(
            value_and_gradients(function, strided, scattered, same_seed()),
            value_and_gradients(function, x, edges, same_seed()),
        )
    # An upstream gradient that is expanded has no memory of its own.
    found = [z.clone().requires_grad_() for z in (x, strided)]
    for z in found:
        kernels.forward(z, edges).sum().backward()
    assert torch.equal(found[0].grad, found[1].grad)
    network, other = (kernels.NumericNetwork([e], [n_out], [0], 2) for e in (edges, scattered))
    target = torch.randn(n_out, 70, generator=generator, dtype=torch.float64).T
    weight = torch.rand(70, 2, generator=generator, dtype=torch.float64)[:, 0]
    loss, gradients = kernels.NativeNetwork(network).loss(
        x, target.contiguous(), weight.contiguous()
    )
    same, same_gradients = kernels.NativeNetwork(other).loss(strided, target, weight)
    assert loss == same
    assert_equal(gradients[0], same_gradients[0])


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 2), (1, 2)])
@pytest.mark.parametrize("name", ["forward", "edge_values", "edge_slopes"])
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_may_be_asked_of_some(create_graph, name, which, generator):
    edges = make_edges(generator)
    x = make_points(generator, edges, 10)
    found = []
    for module in (native, reference):
        inputs = [t.clone() for t in (x, edges.coef, edges.base_weight)]
        for at in which:
            inputs[at].requires_grad_()
        y = getattr(module, name)(inputs[0], edges._replace(coef=inputs[1], base_weight=inputs[2]))
        asked = [inputs[at] for at in which]
        found.append(
            torch.autograd.grad(
                (y**2).sum(), asked, create_graph=create_graph, materialize_grads=True
            )
        )
    for one, other in zip(*found, strict=True):
        assert_close(one.detach(), other.detach())


@pytest.mark.parametrize("n_out", [2, 20])
def test_no_rows_are_fine(n_out, generator):
    edges = make_edges(generator, 3, n_out)
    check_edges(edges, torch.zeros(0, 3, dtype=torch.float64))
    network = kernels.NumericNetwork([edges], [n_out], [0], 2)
    x, target = torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, n_out, dtype=torch.float64)
    loss, gradients = kernels.NativeNetwork(network).loss(x, target)
    assert loss == 0
    assert not any(t.any() for t in gradients[0])
    h, jacobian = kernels.NativeNetwork(network).jacobian(x)
    assert h.shape == (0, n_out)
    assert jacobian.shape[:2] == (0, n_out)


@pytest.mark.parametrize("n_out", [2, 5, 20])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_a_call_left_in_memory_reaches_no_other(dtype, n_out, generator):
    """The memory of a call is the next one's: fill it with NaN, and see none come out."""
    wide = make_edges(generator, 1, 100_000, 1, share=1)  # next to nothing but weights
    left = torch.full((1, 1), torch.nan, dtype=torch.float64)
    edges = make_edges(generator, 3, n_out, dtype=dtype)
    last = make_edges(generator, n_out, n_out, dtype=dtype)
    network = kernels.NumericNetwork([edges, last], [n_out, n_out], [0, 0], 2)
    x, target = make_points(generator, edges, 70), torch.zeros(70, n_out, dtype=dtype)

    def run(weights):
        results = []
        for call in (
            lambda: [torch.tensor(kernels.NativeNetwork(network).loss(x, target)[0])],
            lambda: [t for g in kernels.NativeNetwork(network).loss(x, target)[1] for t in g],
            lambda: kernels.NativeNetwork(network).jacobian(x),
            lambda: value_and_gradients(kernels.forward, x, edges, same_seed()),
            lambda: value_and_gradients(kernels.edge_values, x, edges, same_seed()),
            lambda: [kernels.features(x, edges.shape), kernels.slopes(x, edges.shape)],
        ):
            kernels.forward(left, weights)
            results += call()
        return results

    nan = wide._replace(coef=wide.coef * torch.nan, base_weight=wide.base_weight * torch.nan)
    assert_equal(run(nan), run(wide))


def make_jobs(generator):
    """Calls of very different sizes: the memory of one is used again by the next."""
    jobs = []
    for i, (n_out, grid, dtype, n) in enumerate(
        (n_out, grid, dtype, n)
        for n_out in (1, 33)
        for grid in (2, 40)
        for dtype in DTYPES
        for n in (3, 200)
    ):
        edges = make_edges(generator, 4, n_out, grid, 1 + i % 7, dtype=dtype)
        x = make_points(generator, edges, n)
        network = kernels.NumericNetwork([edges], [n_out], [0], 2)
        target = torch.zeros(n, n_out, dtype=dtype)
        jobs.append((x, edges, network, target))
    return jobs


def run_job(job):
    x, edges, network, target = job
    loss, gradients = kernels.NativeNetwork(network).loss(x, target)
    return [
        torch.tensor(loss),
        *gradients[0],
        *kernels.NativeNetwork(network).jacobian(x),
        *value_and_gradients(kernels.forward, x, edges, same_seed()),
        *value_and_gradients(kernels.edge_values, x, edges, same_seed()),
        kernels.features(x, edges.shape),
        kernels.slopes(x, edges.shape),
    ]


def test_calls_from_8_threads_give_the_same_bits_as_one_after_another(generator):
    jobs = make_jobs(generator)
    expected = [run_job(job) for job in jobs]
    order = torch.randperm(4 * len(jobs), generator=generator).remainder(len(jobs)).tolist()
    for at in order[: len(jobs)]:
        assert_equal(run_job(jobs[at]), expected[at])
    with ThreadPoolExecutor(8) as pool:
        for at, found in zip(order, pool.map(lambda at: run_job(jobs[at]), order), strict=True):
            assert_equal(found, expected[at])


# -- stepping back -------------------------------------------------------------------------------


@pytest.fixture
def native_is_refused(monkeypatch):
    """No call may get to C."""
    for module in (native, native_network):
        monkeypatch.setattr(module, "call", lambda *_: pytest.fail("a native kernel was called"))


def check_falls_back(edges, x):
    assert torch.equal(kernels.features(x, edges.shape), reference.features(x, edges.shape))
    assert torch.equal(kernels.slopes(x, edges.shape), reference.slopes(x, edges.shape))
    for name in ("forward", "edge_values", "edge_slopes"):
        assert torch.equal(getattr(kernels, name)(x, edges), getattr(reference, name)(x, edges))


@pytest.mark.usefixtures("native_is_refused")
@pytest.mark.parametrize("options", [{"k": 8}, {"k": 9, "grid": 2}, {"outside": "zero"}], ids=str)
def test_what_the_kernels_do_not_know_runs_in_torch(options, generator):
    edges = make_edges(generator, **options)
    check_falls_back(edges, make_points(generator, edges, 7))
    network = kernels.NumericNetwork([edges], [2], [0], 2)
    assert not kernels.supports_network(torch.zeros(1, 3, dtype=torch.float64), network)


@pytest.mark.usefixtures("native_is_refused")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_numbers_run_in_torch(dtype, generator):
    layer = Network([3, 2]).to(dtype).kan_layers[0]
    x = torch.rand(5, 3, generator=generator).to(dtype)
    check_falls_back(layer.numeric_edges, x)
    assert layer(x).dtype == dtype


@pytest.mark.usefixtures("native_is_refused")
def test_other_devices_run_in_torch(generator):
    edges = make_edges(generator)
    x = make_points(generator, edges, 7)
    elsewhere = edges.shape._replace(knots=edges.shape.knots.to("meta"))
    assert calls.supports(x, edges.shape)
    assert not calls.supports(x.to("meta"), elsewhere)


def test_layers_of_one_network_with_two_degrees_run_one_by_one(generator):
    edges = make_edges(generator, 3, 3), make_edges(generator, 3, 2, k=4)
    x = torch.zeros(2, 3, dtype=torch.float64)
    network = kernels.NumericNetwork(list(edges), [3, 2], [0, 0], 2)
    assert not kernels.supports_network(x, network)
    assert kernels.supports_network(x, network._replace(layers=[edges[0]]))


@pytest.mark.usefixtures("native_is_refused")
@pytest.mark.filterwarnings("ignore::UserWarning")  # vmap says that it is slow
@pytest.mark.parametrize("name", ["forward", "edge_values", "edge_slopes"])
def test_transforms_of_x_run_in_torch(name, generator):
    edges = make_edges(generator, outside="clamp")
    x = make_points(generator, edges, 4)
    expected = getattr(reference, name)(x, edges)
    function = getattr(kernels, name)
    assert_close(torch.func.vmap(lambda row: function(row[None], edges)[0])(x), expected)
    slopes = torch.func.jacrev(lambda x: function(x, edges))(x)
    expected = torch.autograd.functional.jacobian(lambda x: getattr(reference, name)(x, edges), x)
    assert_close(slopes, expected)


@pytest.mark.usefixtures("native_is_refused")
@pytest.mark.parametrize("name", ["forward", "edge_values", "edge_slopes"])
def test_transforms_of_the_weights_run_in_torch(name, generator):
    edges = make_edges(generator)
    x = make_points(generator, edges, 4)

    def of_weights(module):
        return lambda c, w: getattr(module, name)(x, edges._replace(coef=c, base_weight=w))

    weights = edges.coef, edges.base_weight
    found = torch.func.jacrev(of_weights(kernels), (0, 1))(*weights)
    expected = torch.autograd.functional.jacobian(of_weights(reference), weights)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


@pytest.mark.usefixtures("native_is_refused")
@pytest.mark.parametrize("place", ["knots", "coef", "base_weight"])
@pytest.mark.parametrize("kind", [torch.float32, "meta"], ids=str)
def test_weights_of_another_type_or_device_never_reach_c(kind, place, generator):
    edges = make_edges(generator)
    x = make_points(generator, edges, 4)
    if place == "knots":
        edges = edges._replace(shape=edges.shape._replace(knots=edges.shape.knots.to(kind)))
    else:
        edges = edges._replace(**{place: getattr(edges, place).to(kind)})
    network = kernels.NumericNetwork([edges], [2], [0], 2)
    assert not kernels.supports_network(x, network)
    assert kernels._for(x, *edges[:3]) is reference


@pytest.mark.usefixtures("native_is_refused")
def test_a_wrong_number_of_columns_is_refused_as_ever(generator):
    edges = make_edges(generator)
    x = torch.zeros(4, 2, dtype=torch.float64)
    for name in ("forward", "edge_values", "edge_slopes"):
        with pytest.raises(IndexError):
            getattr(kernels, name)(x, edges)
    assert not kernels.supports_network(x, kernels.NumericNetwork([edges], [2], [0], 2))


ZEROS = torch.zeros(4, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("target", "weight", "message"),
    [
        (ZEROS[:1], None, r"target must be of shape \(4, 2\) and torch.float64 .*\(1, 2\)"),
        (ZEROS[:, :1], None, r"target must be of shape \(4, 2\).* got \(4, 1\)"),
        (ZEROS.float(), None, r"target .* and torch.float32 on cpu"),
        (ZEROS, ZEROS[1:, 0], r"weight must be of shape \(4,\) .* got \(3,\)"),
        (ZEROS, ZEROS[:, 0].float(), r"weight .* torch.float32 on cpu"),
    ],
)
def test_a_network_loss_reads_nothing_but_what_fits(target, weight, message, generator):
    network = kernels.NumericNetwork([make_edges(generator)], [2], [0], 2)
    with pytest.raises(ValueError, match=message):
        kernels.NativeNetwork(network).loss(torch.zeros(4, 3, dtype=torch.float64), target, weight)


def run_python(code, **environment):
    """What the code prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(kansym.__file__).parents[1]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip(), done.stderr


SHOW = "from kansym import kernels; found = kernels.load(); print(found.name, '|', found.reason)"


def test_torch_can_be_asked_for():
    assert run_python(SHOW, KANSYM_KERNELS="torch")[0] == "torch | KANSYM_KERNELS=torch"


def test_what_the_switch_cannot_be_is_said():
    stdout, stderr = run_python(SHOW, KANSYM_KERNELS="nonsense")
    assert not stdout
    expected = "ValueError: KANSYM_KERNELS must be 'auto' or 'torch', got 'nonsense'"
    assert stderr.strip().endswith(expected)


@pytest.fixture
def load_from(monkeypatch):
    """What is found by a process whose libraries are in a folder."""

    def load(folder):
        monkeypatch.setattr(build, "TARGET", folder)
        found = library.load.__wrapped__()  # without what this process has found already
        assert (found.library is None) == (found.name == "torch")
        return found.name, found.reason

    return load


def test_a_process_without_libraries_computes(tmp_path):
    code = f"""
import pathlib, torch
from kansym.kernels import build
build.TARGET = pathlib.Path({str(tmp_path)!r})
from kansym.network import Network
print(tuple(Network([2, 1])(torch.zeros(3, 2, dtype=torch.float64)).shape))
{SHOW}
"""
    stdout, stderr = run_python(code)
    assert stdout.splitlines()[0] == "(3, 1)", stderr
    assert stdout.splitlines()[1].startswith("torch | not compiled")


def test_without_libraries_torch_is_used(tmp_path, load_from):
    name, reason = load_from(tmp_path / "none")
    assert name == "torch"
    assert reason == "not compiled; python -m kansym.kernels does it, given a C compiler"


@pytest.mark.parametrize("part", [0, 0.001, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("level", [0, kernels.load().level])
def test_a_truncated_library_is_not_used(level, part, tmp_path, load_from):
    """The system's loader would end the process over one of which a third or more is left."""
    for path in build.TARGET.glob("*.so"):
        content = path.read_bytes()
        keep = part if path.name == build.library_name(level) else 1
        (tmp_path / path.name).write_bytes(content[: int(keep * len(content))])
    name, reason = load_from(tmp_path)
    assert name == "torch"
    assert reason.startswith("cannot be loaded (")
    assert reason.endswith("python -m kansym.kernels makes them anew")


def compile_c(path, code):
    command = [*build.find_compiler(), "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=code, text=True, check=True)
    build.seal(path)


needs_compiler = pytest.mark.skipif(build.find_compiler() is None, reason="no C compiler")


@needs_compiler
def test_a_library_of_something_else_is_not_used(tmp_path, load_from):
    compile_c(tmp_path / build.library_name(0), "int nothing(void) { return 0; }")
    name, reason = load_from(tmp_path)
    assert name == "torch"
    assert "kansym_abi" in reason


@needs_compiler
def test_a_library_without_a_seal_is_not_used(tmp_path, load_from):
    path = tmp_path / build.library_name(0)
    compile_c(path, "int kansym_abi(void) { return 1; }")
    path.write_bytes(path.read_bytes()[: -build.SEAL_LENGTH])
    name, reason = load_from(tmp_path)
    assert name == "torch"
    assert f"{path} is damaged: its checksum does not match" in reason


@needs_compiler
def test_a_library_of_another_version_is_not_used(tmp_path, load_from):
    code = f"int kansym_abi(void) {{ return {library.ABI + 1}; }}"
    compile_c(tmp_path / build.library_name(0), code + "int kansym_cpu_level(void) { return 0; }")
    name, reason = load_from(tmp_path)
    assert name == "torch"
    assert "made by another version of kansym" in reason


@needs_compiler
@pytest.mark.skipif(kernels.load().level == 0, reason="this CPU has one level")
def test_one_level_of_another_version_is_not_used(tmp_path, load_from):
    level = kernels.load().level
    shutil.copy(build.TARGET / build.library_name(0), tmp_path)
    code = f"int kansym_abi(void) {{ return {library.ABI + 1}; }}"
    compile_c(tmp_path / build.library_name(level), code)
    name, reason = load_from(tmp_path)
    assert name == "torch"
    assert f"{build.library_name(level)} was made by another version of kansym" in reason


def test_the_name_is_that_of_the_level_in_use(tmp_path, load_from):
    shutil.copy(build.TARGET / build.library_name(0), tmp_path)
    name, reason = load_from(tmp_path)
    assert name == "native (baseline)"
    assert reason == f"loaded {tmp_path / build.library_name(0)}"


def test_the_number_of_the_interface_is_that_of_the_header():
    header = (build.SOURCES / "kansym.h").read_text()
    assert f"#define KANSYM_ABI {library.ABI}\n" in header


# -- building ------------------------------------------------------------------------------------


@needs_compiler
def test_build_makes_every_level_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "FLAGS", [*build.FLAGS, "-O0"])  # seconds instead of many
    made = build.build(tmp_path / "new" / "folder")
    assert [path.name for path in made] == [build.library_name(n) for n in build.levels()]
    assert sorted((tmp_path / "new" / "folder").iterdir()) == made


@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        ("/nowhere/cc", r"/nowhere/cc cannot be run: .*No such file"),
        ("no-such-compiler -O2", r"no-such-compiler cannot be run: .*No such file"),
        ("sh -c 'echo it is broken >&2; exit 3'", r"(?s)failed:\nit is broken"),
        ("cc 'not closed", r"CC cannot be read: No closing quotation"),
    ],
)
def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(
    compiler, message, tmp_path, monkeypatch
):
    monkeypatch.setenv("CC", compiler)
    old = tmp_path / build.library_name(0)
    old.write_text("of before")
    with pytest.raises(RuntimeError, match=message):
        build.build(tmp_path)
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_text() == "of before"


@needs_compiler
def test_an_empty_name_is_no_name(monkeypatch):
    monkeypatch.setenv("CC", " ")
    assert build.find_compiler() not in (None, [])


@needs_compiler
def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RuntimeError, match=r"cannot write to .*file"):
        build.build(tmp_path / "file")


def test_no_compiler_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(RuntimeError, match=r"no C compiler found \(set CC, or install gcc"):
        build.build(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_python_m_kansym_kernels_says_what_went_wrong():
    code = "import runpy; runpy.run_module('kansym.kernels', run_name='__main__')"
    stdout, stderr = run_python(code, CC="/nowhere/cc")
    assert not stdout
    expected = "kansym works without its C kernels, only slower. /nowhere/cc cannot be run"
    assert expected in stderr


# -- sums over rows ------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("outside", ["linear", "reflect"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_and_variances_are_those_of_the_reference(dtype, outside, k, generator):
    edges = make_edges(generator, 3, 4, 5, k=k, outside=outside, dtype=dtype)
    x = (1.5 * torch.randn(70, 3, generator=generator, dtype=dtype)).requires_grad_()
    coef = edges.coef.detach().clone().requires_grad_()
    base_weight = edges.base_weight.detach().clone().requires_grad_()
    edges = edges._replace(coef=coef, base_weight=base_weight)
    found = []
    for kernel in (native, reference):
        first, second = kernel.moments(x, edges.shape)
        assert first.dtype == second.dtype == torch.float64
        cov = second - first[:, :, None] * first[:, None, :]
        variances = kernel.variances(cov, edges)
        slopes = torch.autograd.grad((variances**2).sum(), (x, coef, base_weight))
        found.append([t.detach() for t in (first, second, variances, *slopes)])
    for one, other in zip(*found, strict=True):
        assert_close(one, other, 100 * TOLERANCE[dtype])


def test_variances_are_those_of_the_edges(generator):
    edges = make_edges(generator, 3, 4, 5)
    x = torch.randn(70, 3, generator=generator, dtype=torch.float64)
    first, second = kernels.moments(x, edges.shape)
    variances = kernels.variances(second - first[:, :, None] * first[:, None, :], edges)
    assert_close(variances, kernels.edge_values(x, edges).var(0, correction=0), 1e-11)


@pytest.mark.parametrize("delta", [0.0, 0.3])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_equations_are_products_of_the_jacobian(dtype, name, is_weighted, delta, generator):
    width, arity = WIDTHS[name]
    made = make_network(generator, width, arity, dtype=dtype)
    network = kernels.NativeNetwork(made.numeric_network)
    x = 2 * torch.randn(131, made.n_in, generator=generator, dtype=dtype)
    target = torch.randn(131, made.n_out, generator=generator, dtype=dtype)
    weight = torch.rand(131, generator=generator, dtype=dtype) if is_weighted else None
    h, normal, gradient, loss = network.normal(x, target, weight, delta)
    nodes, J = (t.double() for t in network.jacobian(x))
    residual = nodes - target
    cost, pull = residual**2, torch.ones_like(residual)
    if delta:
        far = residual.abs() > delta
        cost = torch.where(far, delta * (2 * residual.abs() - delta), cost)
        pull = torch.where(far, delta / residual.abs(), 1.0)
    if weight is not None:
        cost, pull = cost * weight[:, None], pull * weight[:, None]
    tolerance = 100 * TOLERANCE[dtype]
    assert_close(h, nodes.to(dtype), tolerance)
    assert loss == pytest.approx(float(cost.sum()), rel=tolerance)
    assert_close(gradient, torch.einsum("nop,no->p", J, pull * residual).to(dtype), tolerance)
    expected = torch.einsum("nop,no,noq->pq", J, pull, J)
    assert_close(normal, expected.to(dtype), tolerance)
    assert torch.equal(normal, normal.T)


def test_threads_share_the_rows_and_change_nothing_but_rounding(generator, monkeypatch):
    made = make_network(generator, [2, 3, 1], 2)
    network = kernels.NativeNetwork(made.numeric_network)
    x = torch.randn(300, 2, generator=generator, dtype=torch.float64)
    target = torch.randn(300, 1, generator=generator, dtype=torch.float64)

    def run():
        loss, gradients = network.loss(x, target)
        results = [torch.tensor(loss), *(t for g in gradients for t in g), network.nodes(x)]
        h, normal, gradient, total = network.normal(x, target)
        return [*results, *network.jacobian(x), h, normal, gradient, torch.tensor(total)]

    alone = run()
    monkeypatch.setattr(native_network, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for one, other in zip(alone, run(), strict=True):
        assert_close(one, other, 1e-11)
    for one, other in zip(run(), run(), strict=True):
        assert torch.equal(one, other)
