"""A layer is the sum of its edges, whatever they are, and changes of form keep the function."""

import copy

import pytest
import torch
from jaxtyping import TypeCheckError

from kansym import bspline, edge
from kansym.functions import get_function
from kansym.layer import KANLayer

DEGREES = (1, 2, 3, 4, 5)
N, N_IN, N_OUT = 7, 3, 2
by_degree = pytest.mark.parametrize("k", DEGREES)
by_rule = pytest.mark.parametrize("outside", edge.OUTSIDE_RULES)


def make_layer(generator, grid=5, k=3, base="silu", outside="linear", dtype=torch.float64):
    return KANLayer(N_IN, N_OUT, grid, k, base, (-1.0, 1.0), outside, generator, dtype)


def make_mixed_layer(generator, **options):
    """Numeric, symbolic (one function twice) and switched-off edges; adaptive knots."""
    layer = make_layer(generator, **options)
    sample = torch.randn(50, N_IN, generator=generator, dtype=layer.knots.dtype)
    layer.move_grid(bspline.adaptive_breaks(sample, layer.grid, 0.1))
    layer.symbolic = {(0, 1): "sin", (1, 1): "exp", (1, 0): "sin"}
    layer.mask[0, 2] = False
    with torch.no_grad():
        layer.affine += torch.rand(layer.affine.shape, generator=generator).to(layer.affine)
    return layer


def make_sample(generator, scale=1.5, dtype=torch.float64):
    """Also outside the grid of [-1, 1]."""
    return scale * (2 * torch.rand(N, N_IN, generator=generator, dtype=dtype) - 1)


def assert_close(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# -- values --------------------------------------------------------------------------------------


@by_rule
@by_degree
def test_forward_is_the_sum_of_the_edges(k, outside, generator):
    for make in (make_layer, make_mixed_layer):
        layer, x = make(generator, k=k, outside=outside), make_sample(generator)
        assert layer(x).shape == (N, N_OUT)
        assert layer.edges(x).shape == (N, N_OUT, N_IN)
        assert_close(layer(x), layer.edges(x).sum(2))


@by_degree
def test_a_numeric_edge_is_base_plus_spline(k, generator):
    layer, x = make_layer(generator, k=k), make_sample(generator, scale=1.0)
    splines = bspline.evaluate(x, layer.knots, layer.coef, k)
    base = layer.base_weight * torch.nn.functional.silu(x)[:, None, :]
    assert_close(layer.edges(x), base + splines)


def test_a_symbolic_edge_is_its_formula(generator):
    layer, x = make_mixed_layer(generator), make_sample(generator)
    edges = layer.edges(x)
    for (j, i), name in layer.symbolic.items():
        a, b, c, d = layer.affine[j, i]
        assert_close(edges[:, j, i], c * get_function(name).torch(a * x[:, i] + b) + d)


def test_edges_that_are_off_are_zero(generator):
    layer, x = make_mixed_layer(generator), make_sample(generator)
    before = layer.edges(x)
    layer.mask[1, 0] = False  # a symbolic one
    layer.mask[0, 0] = False  # a numeric one
    after = layer.edges(x)
    assert (after[:, 1, 0] == 0).all()
    assert (after[:, 0, 0] == 0).all()
    assert torch.equal(after[:, 1, 1:], before[:, 1, 1:])
    assert_close(layer(x), after.sum(2))
    assert not layer.is_symbolic[1, 0]
    assert layer.is_symbolic[1, 1]


def test_a_layer_without_edges_is_zero(generator):
    layer, x = make_layer(generator), make_sample(generator)
    layer.mask[:] = False
    assert torch.equal(layer(x), torch.zeros(N, N_OUT).double())
    assert torch.equal(layer.edges(x), torch.zeros(N, N_OUT, N_IN).double())


@pytest.mark.parametrize("hole", [torch.nan, torch.inf])
def test_a_column_nobody_uses_may_hold_anything(hole, generator):
    layer, x = make_mixed_layer(generator), make_sample(generator)
    layer.mask[:, 2] = False
    before = layer(x)
    x[:, 2] = hole
    assert torch.equal(layer(x), before)
    layer.mask[:, 0] = False  # now only symbolic edges are left
    x[:, 0] = hole
    assert layer(x).isfinite().all()
    gradient = torch.autograd.grad(layer(x).sum(), layer.coef, allow_unused=True)[0]
    assert gradient is None or not bool(gradient.any())


@pytest.mark.parametrize("evaluate", ["edges", "edge_slopes"])
def test_edges_of_a_column_nobody_uses_are_zero(evaluate, generator):
    layer, x = make_mixed_layer(generator), make_sample(generator)
    layer.mask[:, 2] = False
    x[:, 2] = torch.nan
    values = getattr(layer, evaluate)(x)
    assert (values[:, :, 2] == 0).all()
    assert values.isfinite().all()


def test_a_function_off_its_domain_hurts_only_where_it_is(generator):
    layer, x = make_mixed_layer(generator), make_sample(generator)
    layer.symbolic[1, 0] = "log"
    x[:, 0] = -5.0
    assert layer(x)[:, 1].isnan().all()
    assert layer(x)[:, 0].isfinite().all()
    layer.mask[1, 0] = False
    assert layer(x).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(dtype, generator):
    layer = make_mixed_layer(generator, dtype=dtype)
    x = make_sample(generator, dtype=dtype)
    assert {p.dtype for p in layer.parameters()} == {dtype}
    assert layer(x).dtype == layer.edges(x).dtype == layer.edge_slopes(x).dtype == dtype
    wide = copy.deepcopy(layer).double()
    torch.testing.assert_close(layer(x).double(), wide(x.double()), rtol=1e-4, atol=1e-4)


def test_no_samples(generator):
    layer = make_mixed_layer(generator)
    nothing = torch.empty(0, N_IN, dtype=torch.float64)
    assert layer(nothing).shape == (0, N_OUT)
    assert layer.edges(nothing).shape == (0, N_OUT, N_IN)


def test_shapes_are_checked_while_testing(generator):
    with pytest.raises(TypeCheckError):
        make_layer(generator)(torch.zeros(N, dtype=torch.float64))


# -- derivatives ---------------------------------------------------------------------------------


@by_rule
@by_degree
def test_edge_slopes_are_the_gradient(k, outside, generator):
    layer = make_mixed_layer(generator, k=k, outside=outside)
    x = make_sample(generator, scale=4.0).requires_grad_()
    slopes, edges = layer.edge_slopes(x), layer.edges(x)
    assert slopes.shape == (N, N_OUT, N_IN)
    for j in range(N_OUT):
        gradient = torch.autograd.grad(edges[:, j].sum(), x, retain_graph=True)[0]
        assert_close(slopes[:, j], gradient, 1e-10)


def test_affine_gradients_are_the_gradient(generator):
    layer, x = make_mixed_layer(generator), make_sample(generator)
    edges = layer.edges(x)
    groups = layer.symbolic_groups()
    assert sorted((g.function.name, len(g.out_index)) for g in groups) == [("exp", 1), ("sin", 2)]
    for group in groups:
        got = layer.affine_gradients(x, group)
        assert got.shape == (N, len(group.out_index), 4)
        for e, (j, i) in enumerate(zip(group.out_index, group.in_index, strict=True)):
            for n in range(N):
                whole = torch.autograd.grad(edges[n, j, i], layer.affine, retain_graph=True)[0]
                assert_close(got[n, e], whole[j, i])
                whole[j, i] = 0
                assert (whole == 0).all()


@by_degree
def test_parameters_get_their_gradients(k, generator):
    layer, x = make_mixed_layer(generator, k=k), make_sample(generator)
    parameters = [layer.coef, layer.base_weight, layer.affine]

    def run(*values):
        names = ("coef", "base_weight", "affine")
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, parameters)
    layer(x).sum().backward()
    numeric = layer.is_numeric
    assert (layer.coef.grad[~numeric] == 0).all()
    assert (layer.base_weight.grad[~numeric] == 0).all()
    assert (layer.base_weight.grad[numeric] != 0).all()
    assert (layer.affine.grad[~layer.is_symbolic] == 0).all()


# -- changes that keep the function --------------------------------------------------------------


@by_rule
@pytest.mark.parametrize("times", [1, 2, 3])
@by_degree
def test_a_grid_cut_in_equal_parts_keeps_the_function(k, times, outside, generator):
    layer = make_layer(generator, k=k, outside=outside)
    inside = torch.linspace(-1, 1, 101, dtype=torch.float64)[:, None].expand(-1, N_IN)
    before = layer.edges(inside)
    ends = torch.tensor([-1.0] * N_IN).double(), torch.tensor([1.0] * N_IN).double()
    layer.move_grid(bspline.uniform_breaks(*ends, 5 * times))
    assert layer.grid == 5 * times
    assert layer.coef.shape == (N_OUT, N_IN, 5 * times + k)
    assert_close(layer.edges(inside), before, 1e-10)
    if outside != "zero":  # it fades over k intervals, and these are narrower now
        x = make_sample(generator, scale=3.0)
        reference = make_layer(torch.Generator().manual_seed(0), k=k, outside=outside)
        assert_close(layer.edges(x), reference.edges(x), 1e-9)


@by_degree
def test_a_new_knot_in_any_place_keeps_the_function(k, generator):
    """Uneven grids too: the new space holds the old one as long as its knots are kept."""
    layer = make_layer(generator, k=k)
    sample = torch.randn(60, N_IN, generator=generator, dtype=torch.float64)
    layer.move_grid(bspline.adaptive_breaks(sample, 6, 0.2))
    breaks = layer.knots[:, k:-k]
    x = bspline.sites(layer.knots, k, 7)
    before = layer.edges(x)
    halves = (breaks[:, 1:] + breaks[:, :-1]) / 2
    layer.move_grid(torch.cat([breaks, halves], 1).sort(1).values)
    assert layer.grid == 12
    assert_close(layer.edges(x), before, 1e-9)


@pytest.mark.parametrize(("k", "change"), [(1, 3e-2), (2, 5e-3), (3, 5e-4), (4, 5e-5), (5, 5e-6)])
def test_moving_a_smooth_function_changes_it_by_little(k, change, generator):
    """sin(3x) and exp(x) on 20 intervals, moved to 20 others that follow a sample."""
    layer = make_layer(generator, grid=20, k=k)
    x = torch.linspace(-1, 1, 500, dtype=torch.float64)[:, None].expand(-1, N_IN)
    target = torch.stack([torch.sin(3 * x), torch.exp(x)], 1)
    with torch.no_grad():
        layer.coef.copy_(bspline.fit_coefficients(x, target, layer.knots, k))
    before = layer.edges(x)
    sample = torch.randn(300, N_IN, generator=generator, dtype=torch.float64) / 2
    layer.move_grid(bspline.adaptive_breaks(sample.clamp(-1, 1), 20, 0.1))
    assert (layer.edges(x) - before).abs().max() < change


@by_degree
def test_moving_to_a_wider_grid_keeps_the_continuation(k, generator):
    """A straight line goes on as a straight line, inside the new grid too."""
    layer = make_layer(generator, k=k, base="zero")
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None].expand(-1, N_IN)
    near = x.clamp(-1, 1)
    line = torch.stack([2 * near + 1, -near], 1)
    with torch.no_grad():
        layer.coef.copy_(bspline.fit_coefficients(near, line, layer.knots, k))
    low, high = torch.full((N_IN,), -2.0).double(), torch.full((N_IN,), 3.0).double()
    layer.move_grid(bspline.uniform_breaks(low, high, 4))
    assert_close(layer.edges(x), torch.stack([2 * x + 1, -x], 1), 1e-9)


def test_moving_the_grid_leaves_the_rest_alone(generator):
    layer = make_mixed_layer(generator)
    before = {name: value.clone() for name, value in layer.named_parameters()}
    mask, symbolic = layer.mask.clone(), dict(layer.symbolic)
    layer.move_grid(torch.linspace(-2, 2, 9, dtype=torch.float64).expand(N_IN, 9))
    assert torch.equal(layer.base_weight, before["base_weight"])
    assert torch.equal(layer.affine, before["affine"])
    assert torch.equal(layer.mask, mask)
    assert layer.symbolic == symbolic
    assert layer.coef.requires_grad
    assert set(dict(layer.named_parameters())) == set(before)


@pytest.mark.parametrize("outside", [rule for rule in edge.OUTSIDE_RULES if rule != "zero"])
@by_degree
def test_add_constant_is_exact(k, outside, generator):
    layer = make_mixed_layer(generator, k=k, outside=outside)
    x = make_sample(generator, scale=4.0)
    before = layer.edges(x)
    layer.add_constant(0, 0, 0.75)  # numeric
    layer.add_constant(1, 0, -2.5)  # symbolic
    want = before.clone()
    want[:, 0, 0] += 0.75
    want[:, 1, 0] -= 2.5
    assert_close(layer.edges(x), want)


@pytest.mark.parametrize(
    ("outputs", "inputs"), [([1], [2, 0]), ([1, 0], [0, 1, 2]), ([0, 1], [1]), ([0], [2])]
)
def test_select_takes_edges_in_order(outputs, inputs, generator):
    layer, x = make_mixed_layer(generator), make_sample(generator)
    state = copy.deepcopy(layer.state_dict())
    part = layer.select(outputs, inputs)
    assert (part.n_out, part.n_in) == (len(outputs), len(inputs))
    assert_close(part.edges(x[:, inputs]), layer.edges(x)[:, outputs][:, :, inputs])
    assert torch.equal(part.mask, layer.mask[outputs][:, inputs])
    assert all(p.requires_grad for p in part.parameters())
    with torch.no_grad():  # shares nothing with the layer it came from
        for tensor in (*part.parameters(), part.knots):
            tensor.add_(1)
    part.symbolic.clear()
    assert_same_state(layer.state_dict(), state)


# -- state ---------------------------------------------------------------------------------------


def assert_same_state(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(actual[name], value), name
        else:
            assert actual[name] == value, name


def test_the_state_dict_holds_everything(generator):
    layer, x = make_mixed_layer(generator), make_sample(generator)
    other = make_layer(torch.Generator().manual_seed(1))
    assert not torch.equal(other(x), layer(x))
    other.load_state_dict(copy.deepcopy(layer.state_dict()))
    assert other.symbolic == layer.symbolic
    assert torch.equal(other(x), layer(x))
    assert_same_state(other.state_dict(), layer.state_dict())


def test_a_copy_is_independent(generator):
    layer, x = make_mixed_layer(generator), make_sample(generator)
    before = layer(x)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), before)
    twin.symbolic[0, 0] = "x"
    twin.mask[:] = False
    twin.add_constant(1, 1, 3.0)
    twin.move_grid(torch.linspace(-5, 5, 4, dtype=torch.float64).expand(N_IN, 4))
    assert torch.equal(layer(x), before)


def test_queries_change_nothing(generator):
    layer, x = make_mixed_layer(generator), make_sample(generator)
    state, attributes = copy.deepcopy(layer.state_dict()), dict(layer.__dict__)
    layer(x)
    layer.edges(x)
    layer.edge_slopes(x)
    for group in layer.symbolic_groups():
        layer.affine_gradients(x, group)
    assert layer.numeric_edges.coef.shape == (N_OUT, N_IN, layer.grid + layer.k)
    assert_same_state(layer.state_dict(), state)
    assert all(layer.__dict__[name] is value for name, value in attributes.items())
    assert layer.__dict__.keys() == attributes.keys()
