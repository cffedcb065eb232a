"""What each rule promises outside the grid, and that every slope is the slope."""

import itertools

import pytest
import torch

from kansym import bspline, edge

DEGREES = (1, 2, 3, 4, 5)
KINDS = ("uniform", "adaptive")
N, N_IN, GRID = 7, 3, 6
CASES = list(itertools.product(edge.OUTSIDE_RULES, DEGREES, KINDS))
ALL = pytest.mark.parametrize(("outside", "k", "kind"), CASES)


def make_shape(outside, k, kind, base="silu", dtype=torch.float64):
    low = torch.tensor([-1.0, 0.5, -3.0], dtype=dtype)
    high = torch.tensor([1.0, 1.0, 4.0], dtype=dtype)
    breaks = bspline.uniform_breaks(low, high, GRID)
    if kind == "adaptive":
        steps = ((breaks - low[:, None]) / (high - low)[:, None]) ** 1.5
        breaks = low[:, None] + (high - low)[:, None] * steps
    return edge.EdgeShape(bspline.extend(breaks, k), k, base, outside)


def place(shape, at):
    """Points by their place on the grid: 0 is its low end, 1 its high end."""
    low, high = bspline.grid_range(shape.knots, shape.k)
    at = torch.as_tensor(at, dtype=shape.knots.dtype)[:, None]
    return low + at * (high - low)


def ends(shape):
    return torch.stack(bspline.grid_range(shape.knots, shape.k))


def inside_features(x, shape):
    base = edge.BASES[shape.base].value(x).T[:, None]
    return torch.cat([bspline.basis(x, shape.knots, shape.k), base], 1)


def inside_slopes(x, shape):
    base = edge.BASES[shape.base].slope(x).T[:, None]
    return torch.cat([bspline.basis(x, shape.knots, shape.k, 1), base], 1)


def autograd_slopes(x, shape):
    """dF/dx by autograd, one feature at a time."""
    x = x.clone().requires_grad_()
    values = edge.features(x, shape)
    columns = [
        torch.autograd.grad(values[:, f].sum(), x, retain_graph=True)[0].T
        for f in range(values.shape[1])
    ]
    return torch.stack(columns, 1)


def assert_close(actual, expected, tolerance=1e-11):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


INSIDE = (0.0, 0.05, 0.21, 0.52, 0.77, 0.98, 1.0)
BEYOND = (-2.3, -1.6, -0.4, -0.01, 1.01, 1.3, 2.45)


@ALL
@pytest.mark.parametrize("base", edge.BASES)
def test_rules_agree_inside(outside, k, kind, base):
    shape = make_shape(outside, k, kind, base)
    x = place(shape, INSIDE)
    values = edge.features(x, shape)
    assert values.shape == (N_IN, GRID + k + 1, N)
    assert_close(values, inside_features(x, shape))
    interior = x[1:-1]
    assert_close(edge.slopes(interior, shape), inside_slopes(interior, shape))


@ALL
@pytest.mark.parametrize("base", edge.BASES)
def test_slopes_are_the_gradient(outside, k, kind, base):
    shape = make_shape(outside, k, kind, base)
    x = place(shape, INSIDE + BEYOND)
    assert_close(edge.slopes(x, shape), autograd_slopes(x, shape))


@pytest.mark.parametrize("k", DEGREES)
@pytest.mark.parametrize("outside", edge.OUTSIDE_RULES)
def test_gradcheck(outside, k, generator):
    shape = make_shape(outside, k, "adaptive")
    x = place(shape, (-0.23, 0.12, 0.88, 1.07)).requires_grad_()
    # One edge for each input: its coefficients times the features, as in a layer.
    weights = torch.randn(N_IN, GRID + k + 1, generator=generator, dtype=torch.float64)

    def values(x):
        return torch.einsum("if,ifn->ni", weights, edge.features(x, shape))

    def slopes(x):
        return torch.einsum("if,ifn->ni", weights, edge.slopes(x, shape))

    assert torch.autograd.gradcheck(values, x)
    if k > 1:
        assert torch.autograd.gradcheck(slopes, x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("outside", "k", "kind"),
    [case for case in CASES if case[:2] != ("zero", 1)],  # a broken line has a corner there
)
def test_gradient_at_the_ends_is_the_full_one(outside, k, kind):
    """A sample point on the end of the grid, where a clamp would pass on half of the gradient."""
    shape = make_shape(outside, k, kind)
    at_ends = ends(shape)
    assert_close(autograd_slopes(at_ends, shape), inside_slopes(at_ends, shape))
    assert_close(edge.slopes(at_ends, shape), inside_slopes(at_ends, shape))


@pytest.mark.parametrize(
    ("outside", "k", "kind"),
    [case for case in CASES if case[0] != "periodic"],  # wrapped, the two ends meet: a jump
)
def test_continuous_at_the_ends(outside, k, kind):
    shape = make_shape(outside, k, kind)
    near = edge.features(place(shape, (-1e-9, 1 + 1e-9)), shape)
    torch.testing.assert_close(near, edge.features(ends(shape), shape), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_linear_goes_on_along_the_tangent(k, kind):
    shape = make_shape("linear", k, kind)
    x = place(shape, BEYOND)
    end = torch.where(x < ends(shape)[0], ends(shape)[0], ends(shape)[1])
    slope = inside_slopes(end, shape)
    assert_close(
        edge.features(x, shape), inside_features(end, shape) + (x - end).T[:, None] * slope
    )
    assert_close(edge.slopes(x, shape), slope)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_clamp_keeps_the_value(k, kind):
    shape = make_shape("clamp", k, kind)
    values = edge.features(place(shape, BEYOND), shape)
    low, high = inside_features(ends(shape), shape).unbind(2)
    for n, at in enumerate(BEYOND):
        assert_close(values[:, :, n], low if at < 0 else high)
    assert (edge.slopes(place(shape, BEYOND), shape) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_base_goes_on_alone(k, kind):
    shape, clamped = make_shape("base", k, kind), make_shape("clamp", k, kind)
    x = place(shape, BEYOND)
    assert_close(edge.features(x, shape)[:, :-1], edge.features(x, clamped)[:, :-1])
    assert_close(edge.features(x, shape)[:, -1], torch.nn.functional.silu(x).T)
    assert (edge.slopes(x, shape)[:, :-1] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_zero_fades_out_over_k_intervals(k, kind):
    shape = make_shape("zero", k, kind)
    reach = k / GRID
    far = place(shape, (-30.0, -reach - 0.2, -reach, 1 + reach, 1 + reach + 0.2, 30.0))
    assert edge.features(far, shape)[:, :-1].abs().max() < 1e-12
    assert edge.slopes(far[[0, 1, 4, 5]], shape)[:, :-1].abs().max() < 1e-12
    assert_close(edge.features(far, shape)[:, -1], torch.nn.functional.silu(far).T)
    # Between the grid and there: the basis functions of the extra knots, nothing else.
    steps = torch.linspace(-reach, 1 + reach, 301, dtype=torch.float64)
    x = place(shape, steps)
    values = edge.features(x, shape)[:, :-1]
    assert (values > -1e-12).all()
    assert (values.sum(1) < 1 + 1e-12).all()
    largest_step = torch.diff(values, dim=2).abs().max()
    finest = torch.diff(ends(shape), dim=0)[0] / torch.diff(shape.knots).amin(1)
    assert largest_step <= k * finest.max() * (steps[1] - steps[0]) + 1e-9  # |B'| <= k / width


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_reflect_is_symmetric_about_the_ends(k, kind):
    shape = make_shape("reflect", k, kind)
    at = torch.tensor(INSIDE, dtype=torch.float64)
    values = edge.features(place(shape, at), shape)
    for mirrored in (-at, 2 - at, at + 2, at - 2, at + 40):
        assert_close(edge.features(place(shape, mirrored), shape), values)
    inner = at[1:-1]
    slopes = edge.slopes(place(shape, inner), shape)
    assert_close(edge.slopes(place(shape, -inner), shape), -slopes)
    assert_close(edge.slopes(place(shape, inner + 2), shape), slopes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_periodic_repeats(k, kind):
    shape = make_shape("periodic", k, kind)
    inner = torch.tensor(INSIDE[1:-1], dtype=torch.float64)
    for turns in (-20, -1, 1, 2):
        moved = place(shape, inner + turns)
        assert_close(edge.features(moved, shape), edge.features(place(shape, inner), shape))
        assert_close(edge.slopes(moved, shape), edge.slopes(place(shape, inner), shape))


@pytest.mark.parametrize("base", edge.BASES)
def test_bases_come_with_three_derivatives(base):
    x = torch.linspace(-5, 5, 31, dtype=torch.float64).requires_grad_()
    forms = edge.BASES[base]
    assert len(forms) == 4
    for form, slope in itertools.pairwise(forms):
        gradient = torch.autograd.grad((form(x) + 0 * x).sum(), x)[0]
        assert_close(slope(x), gradient)


@ALL
def test_float32_is_float64_rounded(outside, k, kind):
    narrow = make_shape(outside, k, kind, dtype=torch.float32)
    shape = narrow._replace(knots=narrow.knots.double())
    x = place(narrow, (-0.9, -0.3, 0.1, 0.4, 0.9, 1.1, 1.7))
    values, slopes = edge.features(x, narrow), edge.slopes(x, narrow)
    assert values.dtype == slopes.dtype == torch.float32
    exact, exact_slopes = edge.features(x.double(), shape), edge.slopes(x.double(), shape)
    torch.testing.assert_close(values.double(), exact, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(slopes.double(), exact_slopes, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("outside", edge.OUTSIDE_RULES)
def test_far_away_is_finite(outside):
    shape = make_shape(outside, 3, "adaptive")
    x = place(shape, (-1e8, 1e8))
    assert edge.features(x, shape).isfinite().all()
    assert edge.slopes(x, shape).isfinite().all()


@pytest.mark.parametrize("outside", edge.OUTSIDE_RULES)
def test_no_samples(outside):
    shape = make_shape(outside, 3, "uniform")
    nothing = torch.empty(0, N_IN, dtype=torch.float64)
    assert edge.features(nothing, shape).shape == (N_IN, GRID + 4, 0)
    assert edge.slopes(nothing, shape).shape == (N_IN, GRID + 4, 0)
