"""Whatever c f(a x + b) + d a curve is, it is found again; what is not real there is left out."""

import math

import hypothesis
import hypothesis.strategies as st
import pytest
import sympy
import torch

from kansym import functions
from kansym.affine import fit_affine, search_grid
from kansym.functions import function_names, get_function, get_library, register_function

NAMES = function_names()
EVERY = pytest.mark.parametrize("name", NAMES)
LIBRARY = get_library(NAMES)
# A short piece of a Bessel function looks like another piece of it to 1e-5; few end up there.
SELF_SIMILAR = {"j0", "j1"}


def uniform(generator, low, high, *shape):
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def draw(f, generator, n=93):
    """A random piece of f that is neither flat nor close to where f ends, in random units."""
    while True:
        middle, half = uniform(generator, -2, 2, 1), uniform(generator, 0.3, 3, 1)
        if not bool(f.domain.contains(middle - half - 0.02, middle + half + 0.02)):
            continue
        centre, reach = uniform(generator, -4, 4, 1), 10 ** uniform(generator, -1, 1, 1)
        x = centre + reach * uniform(generator, -1, 1, n)
        a = half / reach * torch.sign(uniform(generator, -1, 1, 1))
        c, d = 10 ** uniform(generator, -1, 1, 1), uniform(generator, -3, 3, 1)
        y = c * f.torch(a * (x - centre) + middle) + d
        if y.std() > 1e-3 * c:
            return x, y


def draw_many(f, generator, count):
    pairs = [draw(f, generator) for _ in range(count)]
    return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])


def values(fits, e, n, f, x):
    a, b, c, d = fits.affine[e, n]
    return c * f.torch(a * x + b) + d


def misfit(fits):
    return 1 - fits.r2


# -- recovery ------------------------------------------------------------------------------------


@EVERY
def test_random_constants_are_found_again(name, generator):
    f = get_function(name)
    x, y = draw_many(f, generator, 17)
    fits = fit_affine(x, y, [f])
    assert fits.affine.shape == (17, 1, 4)
    assert fits.r2.shape == (17, 1)
    missed = misfit(fits)[:, 0] > 1e-12
    assert int(missed.sum()) <= (2 if name in SELF_SIMILAR else 0), misfit(fits)[missed]
    assert float(misfit(fits).max()) < 1e-3


@EVERY
def test_the_constants_give_the_fit_that_r2_tells(name, generator):
    f = get_function(name)
    x, y = draw_many(f, generator, 3)
    y = y + 0.05 * y.std(1, keepdim=True) * torch.randn(y.shape, generator=generator).double()
    fits = fit_affine(x, y, [f])
    for e in range(3):
        error = values(fits, e, 0, f, x[e]) - y[e]
        r2 = 1 - (error**2).mean() / y[e].var(correction=0)
        assert float(fits.r2[e, 0]) == pytest.approx(float(r2), abs=1e-9)
        # The best (c, d): the error is orthogonal to 1 and to f.
        assert abs(float(error.mean())) < 1e-9 * float(y[e].std())
        fitted = values(fits, e, 0, f, x[e])
        assert abs(float((error * (fitted - fitted.mean())).mean())) < 1e-9 * float(y[e].var())


@EVERY
def test_noise_does_not_lead_astray(name, generator):
    f = get_function(name)
    x, y = draw_many(f, generator, 7)
    noise = 0.1 * y.std(1, keepdim=True) * torch.randn(y.shape, generator=generator).double()
    fits = fit_affine(x, y + noise, [f])
    best = 1 - noise.var(1, correction=0) / (y + noise).var(1, correction=0)
    assert bool((fits.r2[:, 0] > best - 2e-3).all()), fits.r2[:, 0] - best


def test_curves_of_different_ranges_are_fitted_as_if_alone(generator):
    chosen = [get_function(name) for name in ("sin", "x^2", "exp", "log", "gaussian", "1/x")]
    pairs = [draw(f, generator) for f in chosen[:5]]
    x, y = torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])
    together = fit_affine(x, y, chosen)
    for e in range(5):
        alone = fit_affine(x[e : e + 1], y[e : e + 1], chosen)
        torch.testing.assert_close(alone.r2[0], together.r2[e], rtol=1e-6, atol=1e-6)
        assert float(misfit(together)[e, e]) < 1e-12
        for n, f in enumerate(chosen):
            if math.isfinite(float(alone.r2[0, n])):
                torch.testing.assert_close(
                    values(alone, 0, n, f, x[e]), values(together, e, n, f, x[e]),
                    rtol=1e-3, atol=1e-3 * float(y[e].std()),
                )  # fmt: skip


def test_functions_are_fitted_as_if_alone(generator):
    x, y = draw(get_function("tanh"), generator)
    together = fit_affine(x[None], y[None], LIBRARY)
    for n, f in enumerate(LIBRARY):
        alone = fit_affine(x[None], y[None], [f])
        # Not to rounding: a wrong function may creep towards the edge of its domain for ever.
        torch.testing.assert_close(alone.r2[0, 0], together.r2[0, n], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("n", [2, 3, 5, 64, 65, 161, 2000])
def test_any_number_of_rows(n, generator):
    x = uniform(generator, 0.5, 3, n)
    y = 2 * torch.log(x) - 1
    fits = fit_affine(x[None], y[None], [get_function("log"), get_function("x")])
    assert float(misfit(fits)[0, 0]) < 1e-12
    if n == 2:  # two points are a straight line, and anything else
        assert float(misfit(fits)[0, 1]) < 1e-12


def test_the_order_of_rows_does_not_matter(generator):
    x, y = draw(get_function("sinh"), generator)
    order = torch.randperm(len(x), generator=generator)
    fits = fit_affine(torch.stack([x, x[order]]), torch.stack([y, y[order]]), LIBRARY)
    torch.testing.assert_close(fits.r2[0], fits.r2[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("place", [-0.9137, -0.2, 0.0, 0.00413, 0.771])
def test_a_jump_is_found_wherever_it_is(place):
    x = torch.linspace(-1, 1, 400, dtype=torch.float64)
    y = -3 * torch.sign(2 * x - 2 * place) + 1
    fits = fit_affine(x[None], y[None], [get_function("sign")])
    assert float(misfit(fits)[0, 0]) < 1e-12


def test_a_fast_wave_is_found():
    x = torch.linspace(-1, 1, 500, dtype=torch.float64)
    y = 0.3 * torch.sin(41.3 * x + 0.7)
    fits = fit_affine(x[None], y[None], [get_function("sin")])
    a, _, c, _ = fits.affine[0, 0].tolist()
    assert abs(a) == pytest.approx(41.3, rel=1e-9)
    assert abs(c) == pytest.approx(0.3, rel=1e-9)


# -- domain --------------------------------------------------------------------------------------


@EVERY
def test_every_fit_is_real_on_the_whole_range(name, generator):
    """Whatever the curve was, in the data units and between the rows."""
    f = get_function(name)
    curves = [draw(get_function(other), generator) for other in ("sin", "1/x^2", "log", "abs", "x")]
    x, y = torch.stack([c[0] for c in curves]), torch.stack([c[1] for c in curves])
    fits = fit_affine(x, y, [f])
    for e in range(len(curves)):
        inside = torch.linspace(0, 1, 1001, dtype=torch.float64) * (x[e].max() - x[e].min())
        inside = (inside + x[e].min()).clamp(max=x[e].max())
        fitted = values(fits, e, 0, f, inside)
        assert fitted.isfinite().all()
        assert float(fits.r2[e, 0]) <= 1
        # Neither pole nor jump hides between two rows: the curve keeps to its own values there.
        if name != "sign":
            low, high = values(fits, e, 0, f, x[e]).aminmax()
            assert fitted.min() > low - 0.2 * (high - low) - 1e-9
            assert fitted.max() < high + 0.2 * (high - low) + 1e-9


@pytest.mark.parametrize(
    ("name", "curve"),
    [
        ("1/x", lambda x: 1 / x),
        ("1/x^2", lambda x: 1 / x**2),
        ("tan", lambda x: torch.tan(2 * x)),
        ("log", lambda x: torch.log(x.abs())),
        ("sqrt", lambda x: torch.sqrt(x.abs())),
        ("1/sqrt", lambda x: torch.rsqrt(x.abs())),
        ("arctanh", lambda x: 0.5 * torch.log(((1 + 2 * x) / (1 - 2 * x)).abs())),
    ],
)
def test_a_singularity_among_the_rows_is_never_fitted(name, curve):
    """Even where all rows happen to be finite and the function across its pole fits exactly."""
    f = get_function(name)
    x = torch.linspace(-1, 1.013, 60, dtype=torch.float64)
    y = curve(x)
    assert y.isfinite().all()
    fits = fit_affine(x[None], y[None], [f])
    assert float(misfit(fits)[0, 0]) > 1e-3
    a, b, _, _ = fits.affine[0, 0].tolist()
    ends = sorted([a * float(x.min()) + b, a * float(x.max()) + b])
    assert bool(f.domain.contains(torch.tensor(ends[0]), torch.tensor(ends[1])))


@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-5])
def test_a_singularity_may_lie_close_to_the_data(gap):
    x = torch.linspace(0, 1, 300, dtype=torch.float64)
    names = ["log", "1/x", "1/sqrt", "sqrt"]
    inner = x + gap
    y = torch.stack([get_function(name).torch(2 * inner) for name in names])
    fits = fit_affine(x.expand(4, -1), y, get_library(names))
    assert float(misfit(fits).diagonal().max()) < 1e-12


@pytest.mark.parametrize("offset", [0.0, 3e3, -1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_puts_no_function_out_of_its_domain(offset, dtype, generator):
    """Curves that push the end of sqrt, arcsin, ... as close to the data as it may come."""
    z = uniform(generator, -1, 1, 4, 50)
    y = torch.stack([z[0], -z[1], (1 - z[2].abs()), z[3] ** 2])
    fits = fit_affine((offset + 40 * z).to(dtype), y, LIBRARY)
    assert fits.r2.isfinite().all(), [f.name for f, r in zip(LIBRARY, fits.r2.T, strict=True)
                                      if not r.isfinite().all()]  # fmt: skip


@EVERY
def test_the_search_starts_inside_the_domain(name):
    f = get_function(name)
    ab = search_grid(f)
    a, b = ab.T
    assert bool(f.domain.contains(b - a.abs(), b + a.abs()).all())


def test_a_domain_that_holds_no_start_of_the_grid_is_squeezed_into(generator):
    f = functions.SymbolicFunction(
        "sliver",
        lambda x: torch.log((x - 7) / (7.01 - x)),
        lambda x: x,
        3,
        functions.Domain(7.0, 7.01, closed=False),
    )
    x = uniform(generator, -2, 3, 50)
    y = f.torch(7.005 + 0.0015 * x)
    fits = fit_affine(x[None], y[None], [f])
    assert float(misfit(fits)[0, 0]) < 1e-12


# -- degenerate curves ---------------------------------------------------------------------------


def test_a_constant_curve_needs_no_function(generator):
    x = uniform(generator, -1, 2, 2, 40)
    y = torch.tensor([[3.25], [0.0]], dtype=torch.float64).expand(2, 40)
    fits = fit_affine(x, y, LIBRARY)
    for e in range(2):
        for n, f in enumerate(LIBRARY):
            assert float(fits.r2[e, n]) <= 1
            assert float(fits.affine[e, n, 2]) == 0
            torch.testing.assert_close(values(fits, e, n, f, x[e]), y[e], rtol=1e-12, atol=1e-12)


def test_a_constant_input_gives_the_mean(generator):
    x = torch.full((1, 30), 2.0, dtype=torch.float64)
    y = torch.randn(1, 30, generator=generator, dtype=torch.float64)
    fits = fit_affine(x, y, LIBRARY)
    for n, f in enumerate(LIBRARY):
        fitted = values(fits, 0, n, f, x[0])
        torch.testing.assert_close(fitted, y.mean().expand(30), rtol=1e-9, atol=1e-9)
        assert float(fits.r2[0, n]) == pytest.approx(0, abs=1e-9)


def test_gradients_are_neither_needed_nor_kept(generator):
    x, y = draw(get_function("sin"), generator)
    fits = fit_affine(x[None].requires_grad_(), y[None].requires_grad_(), LIBRARY)
    assert not fits.affine.requires_grad
    assert not fits.r2.requires_grad


def test_float32_curves_are_fitted_in_float64(generator):
    x, y = draw(get_function("gaussian"), generator)
    fits = fit_affine(x[None].float(), y[None].float(), LIBRARY)
    assert fits.affine.dtype == torch.float64
    assert bool((fits.r2 <= 1).all())
    assert float(misfit(fits)[0, NAMES.index("gaussian")]) < 1e-11


# -- units ---------------------------------------------------------------------------------------


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    name=st.sampled_from(["sin", "x^3", "exp", "log", "tanh", "gaussian", "1/x^2", "arcsin"]),
    x_unit=st.floats(-6, 6),
    y_unit=st.floats(-6, 6),
    x_offset=st.floats(-100, 100),
    y_offset=st.floats(-100, 100),
)
def test_units_do_not_matter(name, x_unit, y_unit, x_offset, y_offset):
    f = get_function(name)
    x, y = draw(f, torch.Generator().manual_seed(3))
    plain = fit_affine(x[None], y[None], LIBRARY)
    scaled_x = 10**x_unit * (x + x_offset)
    scaled_y = 10**y_unit * (y + y_offset)
    scaled = fit_affine(scaled_x[None], scaled_y[None], LIBRARY)
    assert float(misfit(scaled)[0, NAMES.index(name)]) < 1e-12
    torch.testing.assert_close(plain.r2, scaled.r2, rtol=0.01, atol=0.01)


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    centre=st.floats(-1e3, 1e3), reach=st.floats(1e-3, 1e3), n=st.integers(2, 40),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_any_range_gives_a_fit_no_worse_than_the_mean(centre, reach, n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = centre + reach * uniform(generator, -1, 1, n)
    y = torch.randn(n, generator=generator, dtype=torch.float64)
    fits = fit_affine(x[None], y[None], LIBRARY)
    assert bool((fits.r2 <= 1).all())
    assert bool((fits.r2 > -1e-9).all())
    straight = float(fits.r2[0, NAMES.index("x")])
    for name in ("x^2", "sin", "exp", "tanh"):  # a straight line to as many digits as wanted
        assert float(fits.r2[0, NAMES.index(name)]) > straight - 0.01


# -- functions of one's own ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("torch_form", "sympy_form"),
    [
        (lambda x: x * torch.exp(-x), lambda x: x * sympy.exp(-x)),
        (lambda x: x / (1 + x**2), lambda x: x / (1 + x**2)),
        (lambda x: x * torch.log(x), lambda x: x * sympy.log(x)),
    ],
)
def test_a_function_of_ones_own_is_fitted(torch_form, sympy_form, generator):
    f = register_function("own", torch_form, sympy_form)
    x, y = draw_many(f, generator, 5)
    assert float(misfit(fit_affine(x, y, [f])).max()) < 1e-12
