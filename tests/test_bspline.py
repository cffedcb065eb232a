"""Splines are SciPy's splines, in every degree and on every grid."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from jaxtyping import TypeCheckError
from scipy.interpolate import BSpline

from kansym import bspline

DEGREES = (1, 2, 3, 4, 5)
KINDS = ("uniform", "adaptive")
N, N_IN, N_OUT = 7, 3, 2


def make_knots(kind, k, generator, grid=6, dtype=torch.float64):
    """Knots of three inputs with different ranges."""
    if kind == "uniform":
        low = torch.tensor([-1.0, 0.5, -40.0], dtype=dtype)
        breaks = bspline.uniform_breaks(low, low + torch.tensor([2.0, 0.1, 70.0]).to(dtype), grid)
    else:
        sample = torch.randn(50, N_IN, generator=generator, dtype=dtype)
        breaks = bspline.adaptive_breaks(sample, grid, 0.1)
    return bspline.extend(breaks, k)


def points_in(knots, k, generator, n=N):
    """Random points of the grid, its ends included."""
    low, high = bspline.grid_range(knots, k)
    inside = torch.rand(n - 2, knots.shape[0], generator=generator, dtype=knots.dtype)
    return torch.cat([low[None], low + inside * (high - low), high[None]])


def scipy_basis(x, knots, k, derivative=0):
    columns = []
    for column, t in zip(x.T.numpy(), knots.numpy(), strict=True):
        spline = BSpline(t, np.eye(len(t) - k - 1), k)
        columns.append(spline(column, nu=derivative).T)
    return torch.tensor(np.stack(columns))  # [in, basis, batch]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_basis_and_its_derivatives_are_scipys(k, kind, generator):
    knots = make_knots(kind, k, generator)
    width = torch.diff(torch.stack(bspline.grid_range(knots, k)), dim=0)
    x = points_in(knots, k, generator, n=40)
    x = torch.cat([x, knots[:, k:-k].T, x + 0.1 * width, x - 0.1 * width])  # knots; outside too
    for derivative in range(k + 1):
        got = bspline.basis(x, knots, k, derivative)
        want = scipy_basis(x, knots, k, derivative)
        assert got.shape == (N_IN, 6 + k, len(x))
        # A value is of order one; a derivative is known relative to the largest.
        scale = want.abs().amax((1, 2), keepdim=True).clamp(min=1)
        assert ((got - want) / scale).abs().max() < 1e-12


@pytest.mark.parametrize("k", DEGREES)
def test_derivatives_beyond_the_degree_vanish(k, generator):
    knots = make_knots("adaptive", k, generator)
    x = points_in(knots, k, generator)
    assert torch.equal(bspline.basis(x, knots, k, k + 1), torch.zeros(N_IN, 6 + k, N).double())


@pytest.mark.parametrize("grid", [1, 2, 5, 30])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_basis_sums_to_one_and_is_local(k, kind, grid, generator):
    knots = make_knots(kind, k, generator, grid)
    x = points_in(knots, k, generator, n=50)
    values = bspline.basis(x, knots, k)
    torch.testing.assert_close(values.sum(1), torch.ones(N_IN, 50).double(), rtol=0, atol=1e-13)
    assert (values > -1e-15).all()
    for m in range(grid + k):  # B_m lives on [t_m, t_(m+k+1)] only
        past_first, past_last = x.T - knots[:, m, None], x.T - knots[:, m + k + 1, None]
        beyond = (past_first < 0) | (past_last > 0)
        assert (values[:, m][beyond] == 0).all()
    assert ((values != 0).sum(1) <= k + 1).all()


@pytest.mark.parametrize("k", DEGREES)
def test_local_basis_is_the_nonzero_part_of_basis(k, generator):
    knots = make_knots("adaptive", k, generator)
    x = points_in(knots, k, generator)
    interval, local, slopes = bspline.local_basis(x.T, knots, k)
    dense, dense_slopes = bspline.basis(x, knots, k), bspline.basis(x, knots, k, 1)
    assert local.shape == slopes.shape == (N_IN, k + 1, N)
    for i in range(N_IN):
        for n in range(N):
            first = int(interval[i, n]) - k
            assert torch.equal(dense[i, first : first + k + 1, n], local[i, :, n])
            assert torch.equal(dense_slopes[i, first : first + k + 1, n], slopes[i, :, n])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_gradients(k, kind, generator):
    knots = make_knots(kind, k, generator, grid=3)
    low, high = bspline.grid_range(knots, k)
    # Away from the knots: there the k-th derivative jumps.
    sites = bspline.sites(knots, k, 1)
    x = ((sites[:-1] + sites[1:]) / 2 - low) / (high - low)
    x.requires_grad_()
    knots = (knots - low[:, None]) / (high - low)[:, None]
    assert torch.autograd.gradcheck(lambda x: bspline.basis(x, knots, k), x)
    if k > 1:  # of a broken line, the numeric second derivative is noise
        with torch.random.fork_rng():  # gradgradcheck draws from the global state
            assert torch.autograd.gradgradcheck(lambda x: bspline.basis(x, knots, k), x, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_fit_recovers_the_coefficients(k, kind, dtype, generator):
    knots = make_knots(kind, k, generator, dtype=dtype)
    coef = torch.randn(N_OUT, N_IN, 6 + k, generator=generator, dtype=dtype)
    x = bspline.sites(knots, k, 2 * k + 1)
    y = bspline.evaluate(x, knots, coef, k)
    assert y.shape == (len(x), N_OUT, N_IN)
    found = bspline.fit_coefficients(x, y, knots, k)
    assert found.dtype == dtype
    tolerance = 1e-10 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(found, coef, rtol=0, atol=tolerance)


def test_fit_of_too_few_points_is_the_smallest_solution(generator):
    knots = make_knots("uniform", 3, generator)
    x = points_in(knots, 3, generator, n=4)
    y = torch.randn(4, N_OUT, N_IN, generator=generator, dtype=torch.float64)
    coef = bspline.fit_coefficients(x, y, knots, 3)
    torch.testing.assert_close(bspline.evaluate(x, knots, coef, 3), y)
    design = bspline.basis(x, knots, 3).transpose(1, 2)
    want = torch.linalg.pinv(design) @ y.permute(2, 0, 1)
    torch.testing.assert_close(coef, want.permute(2, 0, 1))


def test_fit_answers_the_same_every_time(generator):
    knots = make_knots("adaptive", 3, generator, grid=20, dtype=torch.float32)
    x = points_in(knots, 3, generator, n=15)
    y = torch.randn(15, N_OUT, N_IN, generator=generator)
    answers = [bspline.fit_coefficients(x, y, knots, 3) for _ in range(10)]
    assert all(torch.equal(answers[0], other) for other in answers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_evaluate_is_the_sum_of_the_terms(k, kind, generator):
    knots = make_knots(kind, k, generator)
    x = points_in(knots, k, generator)
    coef = torch.randn(N_OUT, N_IN, 6 + k, generator=generator, dtype=torch.float64)
    for derivative in (0, 1):
        got = bspline.evaluate(x, knots, coef, k, derivative)
        for j in range(N_OUT):
            for i in range(N_IN):
                spline = BSpline(knots[i].numpy(), coef[j, i].numpy(), k)
                want = spline(x[:, i].numpy(), nu=derivative)
                np.testing.assert_allclose(got[:, j, i].numpy(), want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEGREES)
def test_float32_is_float64_rounded(k, kind, generator):
    knots = make_knots(kind, k, generator, dtype=torch.float32)
    x = points_in(knots, k, generator)
    values = bspline.basis(x, knots, k)
    assert values.dtype == torch.float32
    exact = bspline.basis(x.double(), knots.double(), k)
    torch.testing.assert_close(values.double(), exact, rtol=0, atol=2e-5)


@pytest.mark.parametrize("k", [0, *DEGREES])
def test_extend_adds_k_mean_intervals_on_each_side(k, generator):
    breaks = bspline.adaptive_breaks(torch.rand(30, N_IN, generator=generator), 6, 0.2)
    knots = bspline.extend(breaks, k)
    assert knots.shape == (N_IN, 7 + 2 * k)
    assert torch.equal(knots[:, k : k + 7], breaks)
    low, high = bspline.grid_range(knots, k)
    assert torch.equal(low, breaks[:, 0])
    assert torch.equal(high, breaks[:, -1])
    step = ((high - low) / 6)[:, None]
    outer = torch.cat([torch.diff(knots[:, : k + 1]), torch.diff(knots[:, k + 6 :])], 1)
    torch.testing.assert_close(outer, step.expand(N_IN, 2 * k))


@pytest.mark.parametrize("k", DEGREES)
def test_sites_cover_every_interval(k, generator):
    knots = make_knots("adaptive", k, generator)
    x = bspline.sites(knots, k, 4)
    assert x.shape == (6 * 4 + 1, N_IN)
    assert (torch.diff(x, dim=0) > 0).all()
    torch.testing.assert_close(x[::4], knots[:, k:-k].T, rtol=0, atol=0)


def test_uniform_breaks_are_equal():
    low, high = torch.tensor([-1.0, 0.0, 5.0]), torch.tensor([1.0, 3.0, 6.0])
    breaks = bspline.uniform_breaks(low, high, 4)
    torch.testing.assert_close(torch.diff(breaks), ((high - low) / 4)[:, None].expand(3, 4))
    assert torch.equal(breaks[:, 0], low)
    assert torch.equal(breaks[:, -1], high)


def test_grid_eps_one_is_uniform_and_zero_follows_the_quantiles(generator):
    x = torch.randn(500, N_IN, generator=generator, dtype=torch.float64) ** 3
    uniform = bspline.adaptive_breaks(x, 5, 1.0)
    torch.testing.assert_close(uniform, bspline.uniform_breaks(x.amin(0), x.amax(0), 5))
    adaptive = bspline.adaptive_breaks(x, 5, 0.0)
    quantiles = torch.tensor(np.quantile(x.numpy(), np.linspace(0, 1, 6), axis=0).T)
    # Not the quantiles themselves: no interval gets narrower than a thousandth of an equal one.
    width = (x.amax(0) - x.amin(0))[:, None]
    assert ((adaptive - quantiles).abs() <= bspline.MIN_INTERVAL * width).all()
    half = bspline.adaptive_breaks(x, 5, 0.5)
    torch.testing.assert_close(half, (uniform + adaptive) / 2)


@pytest.mark.parametrize("grid_eps", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("grid", [1, 5, 50, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "column",
    [
        [0.0] * 7,
        [3.0] * 7,
        [-1e6] * 7,
        [1e6 + 1e-12 * n for n in range(7)],
        [1e6] * 6 + [1e6 + 100],
        [1e6] * 6 + [1e6 + 1e-6],
        [0.0] * 6 + [1.0],
        [-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        [1.0, 2.0],
        [5.0],
        [1e-30, 2e-30],
        [-1e30, 1e30],
    ],
)
def test_breaks_increase_whatever_the_column(column, dtype, grid, grid_eps):
    x = torch.tensor(column, dtype=torch.float64).to(dtype)[:, None]
    breaks = bspline.adaptive_breaks(x, grid, grid_eps)
    assert breaks.shape == (1, grid + 1)
    assert breaks.dtype == dtype
    assert (torch.diff(breaks) > 0).all()
    assert (breaks[:, 0] <= x.amin()).all()
    assert (breaks[:, -1] >= x.amax()).all()
    values = bspline.basis(x, bspline.extend(breaks, 3), 3)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-3
    assert (values.sum(1) - 1).abs().max() < tolerance


@given(
    st.lists(st.floats(-(2.0**40), 2.0**40, width=32), min_size=1, max_size=30),
    st.integers(1, 40),
    st.floats(0, 1),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_breaks_increase_and_contain_the_sample(column, grid, grid_eps, dtype):
    x = torch.tensor(column, dtype=dtype)[:, None]
    breaks = bspline.adaptive_breaks(x, grid, grid_eps)
    assert (torch.diff(breaks) > 0).all()
    assert breaks[0, 0] <= x.amin()
    assert breaks[0, -1] >= x.amax()


def test_minimum_width_may_differ_by_column():
    x = torch.tensor([[0.0, 0.0], [0.1, 0.1]])
    breaks = bspline.adaptive_breaks(x, 4, 1.0, torch.tensor([1.0, 1e-6]))
    torch.testing.assert_close(breaks[:, 0], torch.tensor([-0.45, 0.0]))
    torch.testing.assert_close(breaks[:, -1], torch.tensor([0.55, 0.1]))


def test_breaks_of_a_large_sample():
    """torch.quantile refuses more than 2^24 numbers."""
    x = torch.arange(2**24 + 1, dtype=torch.float32)[:, None] / 2**24
    breaks = bspline.adaptive_breaks(x, 4, 0.0)
    torch.testing.assert_close(breaks, torch.linspace(0, 1, 5)[None], rtol=0, atol=1e-3)


def test_shapes_are_checked_while_testing(generator):
    knots = make_knots("uniform", 3, generator)
    with pytest.raises(TypeCheckError):
        bspline.basis(torch.zeros(N, N_IN + 1, dtype=torch.float64), knots, 3)
    with pytest.raises(TypeCheckError):
        bspline.basis(torch.zeros(N, dtype=torch.float64), knots, 3)
