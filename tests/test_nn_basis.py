"""Every basis behind KANLinear keeps the same promises."""

import copy
import pickle

import pytest
import torch

from kansym import edge
from kansym.nn import BASES, KANLinear

RULES = ("linear", "clamp", "base", "reflect", "periodic")
ALL = pytest.mark.parametrize("basis", BASES)


@pytest.fixture
def layer(generator):
    def make(basis="bspline", n_in=3, n_out=2, dtype=torch.float64, **options):
        return KANLinear(
            n_in, n_out, 4, 3, basis=basis, dtype=dtype, generator=generator, **options
        ).eval()

    return make


def inputs(generator, rows=7, n_in=3, scale=2.0, dtype=torch.float64):
    return scale * (2 * torch.rand(rows, n_in, generator=generator, dtype=dtype) - 1)


@ALL
def test_a_layer_is_the_sum_of_weights_times_features(basis, layer, generator):
    model, x = layer(basis), inputs(generator)
    weights = torch.cat([model.coef, model.base_weight[..., None]], 2)
    assert model.coef.shape == (2, 3, model.basis.n_coef)
    want = torch.einsum("oif,ifn->no", weights, model.basis.features(x))
    torch.testing.assert_close(model(x), want)


@ALL
@pytest.mark.parametrize("options", [{}, {"groups": 3}, {"standalone_scale": True}])
def test_gradients_are_right(basis, options, layer, generator):
    model, x = layer(basis, **options), inputs(generator, 3).requires_grad_()
    names, weights = zip(*model.named_parameters(), strict=True)

    def run(x, *weights):
        return torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *weights))


@ALL
def test_gradients_can_be_differentiated(basis, layer, generator):
    x = inputs(generator, 3, scale=0.9).requires_grad_()
    with torch.random.fork_rng():  # the check draws directions from it
        assert torch.autograd.gradgradcheck(layer(basis), (x,))


@ALL
@pytest.mark.parametrize("outside", RULES)
def test_slopes_are_those_of_autograd(basis, outside, layer, generator):
    functions = layer(basis, outside=outside).basis
    x = inputs(generator).requires_grad_()
    found, values = functions.slopes(x), functions.features(x)
    for m in range(values.shape[1]):
        (want,) = torch.autograd.grad(values[:, m].sum(), x, retain_graph=True)
        torch.testing.assert_close(found[:, m].T, want)


@ALL
@pytest.mark.parametrize("outside", ["linear", "clamp", "base", "reflect"])
def test_nothing_jumps_at_the_ends(basis, outside, layer):
    functions = layer(basis, outside=outside, grid_range=(-1.0, 2.0)).basis
    for end in (-1.0, 2.0):
        near = torch.tensor([[end - 1e-9], [end + 1e-9]], dtype=torch.float64).expand(2, 3)
        below, above = functions.features(near).unbind(2)
        torch.testing.assert_close(below, above, atol=1e-6, rtol=0)


@ALL
def test_beyond_the_grid_functions_go_straight_on(basis, layer):
    functions = layer(basis).basis
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)[:, None].expand(3, 3)
    assert torch.diff(functions.features(x), n=2).abs().max() < 1e-12


@ALL
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_any_dtype(basis, dtype, layer, generator):
    model, x = layer(basis), inputs(generator, scale=0.9)
    want = model(x)
    found = copy.deepcopy(model).to(dtype)(x.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), want, atol=20 * torch.finfo(dtype).eps, rtol=0)


@ALL
def test_copies_are_equal(basis, layer, generator):
    model, x = layer(basis, range="adaptive").train(), inputs(generator)
    model(x)
    model.eval()
    other = layer(basis, range="adaptive", grid_range=(0.0, 5.0))
    other.load_state_dict(model.state_dict())
    for twin in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))
        assert twin.range_report().batches == 1


@ALL
def test_export_gives_the_same_for_any_number_of_rows(basis, generator):
    model = KANLinear(3, 2, basis=basis, generator=generator).eval()
    rows = {0: torch.export.Dim("rows")}
    x = inputs(generator, 5, dtype=torch.float32)
    program = torch.export.export(model, (x,), dynamic_shapes=(rows,)).module()
    x = inputs(generator, 11, dtype=torch.float32)
    torch.testing.assert_close(program(x), model(x))


# -- another grid ---------------------------------------------------------------------------------


def re_expressed(model, low, high):
    """The model on another grid."""
    model = copy.deepcopy(model)
    rows = model.basis.rows
    full = [torch.full((rows,), end, dtype=torch.float64) for end in (low, high)]
    with torch.no_grad():
        matrix = model.basis.move(*full)
        model.coef.copy_(torch.einsum("...ic,idc->...id", model.coef, matrix))
    return model


@torch.no_grad()
def largest_change(model, moved, first, last):
    x = torch.linspace(first, last, 101, dtype=torch.float64)[:, None].expand(101, 3)
    return float((model(x) - moved(x)).abs().max())


@pytest.mark.parametrize("groups", [None, 3, 1])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_a_shift_by_whole_intervals_keeps_splines(k, groups, generator):
    model = KANLinear(3, 2, 4, k, groups=groups, generator=generator, dtype=torch.float64).eval()
    assert largest_change(model, re_expressed(model, -0.5, 1.5), -0.5, 1.0) < 1e-12
    assert largest_change(model, re_expressed(model, -2.0, 0.0), -1.0, 0.0) < 1e-12
    assert largest_change(model, re_expressed(model, -0.4, 1.6), -0.4, 1.0) > 1e-4


def test_a_shifted_spline_goes_on_straight(generator):
    # Without a base, the continuation is a line, which splines reproduce.
    model = KANLinear(3, 2, 4, base="zero", generator=generator, dtype=torch.float64).eval()
    for shift in (0.5, 1.0, 4.0):
        moved = re_expressed(model, -1.0 + shift, 1.0 + shift)
        assert largest_change(model, moved, 2.0, 3.0 + shift) < 1.0
        x = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64).expand(3, 3) + shift
        bend = torch.diff(moved.eval()(x), n=2, dim=0).abs().max()
        assert bend < (1e-12 if shift == 4.0 else 1.0)


@pytest.mark.parametrize("ends", [(-1.0, 0.0), (-0.5, 0.5), (0.25, 0.75)])
def test_halved_intervals_keep_splines(ends, layer):
    model = layer()
    assert largest_change(model, re_expressed(model, *ends), *ends) < 1e-12


@pytest.mark.parametrize("ends", [(-0.3, 0.8), (-3.0, 7.0)])
def test_rational_functions_stay_on_any_grid(ends, layer):
    model = layer("rational")
    assert largest_change(model, re_expressed(model, *ends), -0.3, 0.8) < 1e-10


def test_polynomials_stay_on_a_smaller_grid(layer):
    model = layer("chebyshev")
    assert largest_change(model, re_expressed(model, -0.3, 0.8), -0.3, 0.8) < 1e-10


@ALL
def test_a_smooth_function_survives_a_wider_grid(basis, layer):
    model = layer(basis)
    z = torch.linspace(-1, 1, 60, dtype=torch.float64)[:, None].expand(60, 3)
    features = model.basis.sampled(z).transpose(1, 2)
    line = torch.linalg.lstsq(features, (0.5 + z.T)[..., None]).solution[..., 0]
    with torch.no_grad():
        model.coef.copy_(line.expand(2, -1, -1))
        model.base_weight.zero_()
    if basis == "rbf":  # Gaussians of another width reproduce no line
        assert largest_change(model, re_expressed(model, -1.5, 1.3), -1.0, 1.0) < 0.3
    else:
        assert largest_change(model, re_expressed(model, -1.5, 1.3), -1.0, 1.0) < 1e-2


def test_splines_are_those_of_edge(layer, generator):
    model, x = layer(), inputs(generator)
    shape = model.basis.shape_for(torch.float64)
    torch.testing.assert_close(model.basis.features(x), edge.features(x, shape))
