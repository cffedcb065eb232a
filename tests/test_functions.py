"""Every function of the library keeps what its record says, in all its forms."""

import math

import numpy as np
import pytest
import sympy
import torch

from kansym import functions
from kansym.functions import Domain, function_names, get_function, get_library, register_function

NAMES = function_names()
EVERY = pytest.mark.parametrize("name", NAMES)
STEPS = np.arange(-512, 513) / 128  # [-4, 4]; holds 0, -1 and 1, where domains end
HAS_CORNER = {"abs", "sign"}


@pytest.fixture(autouse=True)
def library():
    """The library is as before when a test that registers is over."""
    before = dict(functions._REGISTRY)
    yield functions._REGISTRY
    functions._REGISTRY.clear()
    functions._REGISTRY.update(before)


def inside(f, margin=0.0):
    """Points of [-4, 4] that lie, with a margin on both sides, in the domain; none is special."""
    x = torch.tensor(STEPS + 1e-3 * math.sqrt(2))
    return x[f.domain.contains(x - margin, x + margin)]


def numeric(f, x):
    return torch.tensor(f.numpy(x.numpy()))


# -- conformance ---------------------------------------------------------------------------------


@EVERY
def test_torch_numpy_and_sympy_agree(name):
    f = get_function(name)
    x = inside(f)
    assert len(x) > 100
    values = f.torch(x)
    assert values.isfinite().all()
    torch.testing.assert_close(values, numeric(f, x), rtol=1e-10, atol=1e-12)
    symbol = sympy.Symbol("x", real=True)
    expression = f.sympy(symbol)
    for n in range(0, len(x), 97):
        exact = complex(expression.subs(symbol, sympy.Float(float(x[n]), 30)).evalf(20))
        assert exact.imag == 0
        assert float(values[n]) == pytest.approx(exact.real, rel=1e-9, abs=1e-12)


@EVERY
def test_forms_agree_outside_the_domain(name):
    """Where one form has no number, the other has none: nothing is made up."""
    f = get_function(name)
    x = torch.tensor(STEPS)
    torch.testing.assert_close(f.torch(x).isfinite(), numeric(f, x).isfinite())


@EVERY
def test_derivative_is_the_derivative(name):
    f = get_function(name)
    x = inside(f, margin=0.02).requires_grad_()
    slope = f.derivative(x.detach())
    assert slope.shape == x.shape
    gradient = torch.autograd.grad((f.torch(x) + 0 * x).sum(), x)[0]
    torch.testing.assert_close(slope, gradient, rtol=1e-8, atol=1e-10)
    h = 1e-5
    difference = (f.torch(x.detach() + h) - f.torch(x.detach() - h)) / (2 * h)
    torch.testing.assert_close(slope, difference, rtol=1e-4, atol=1e-6)


@EVERY
def test_sympy_derivative_is_the_derivative(name):
    f = get_function(name)
    if name in HAS_CORNER:
        return  # SymPy's has a delta at 0
    symbol = sympy.Symbol("x", real=True)
    compiled = sympy.lambdify(symbol, sympy.diff(f.sympy(symbol), symbol), ["scipy", "numpy"])
    x = inside(f, margin=0.02)
    want = np.broadcast_to(compiled(x.numpy()), x.shape).astype(float)
    torch.testing.assert_close(f.derivative(x), torch.tensor(want), rtol=1e-9, atol=1e-11)


@EVERY
def test_derivative_without_a_slope_of_its_own(name):
    """What a registered function gets: its torch form differentiated."""
    f = get_function(name)
    bare = functions.SymbolicFunction(f.name, f.torch, f.sympy, f.complexity)
    x = inside(f, margin=0.02)
    slope = bare.derivative(x)
    assert not slope.requires_grad
    torch.testing.assert_close(slope, f.derivative(x), rtol=1e-9, atol=1e-11)
    with torch.no_grad():
        torch.testing.assert_close(bare.derivative(x), slope)


def test_derivatives_differentiate_again():
    f = register_function("mine", lambda x: torch.sin(3 * x), lambda x: sympy.sin(3 * x))
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    x = torch.linspace(-1, 1, 7, dtype=torch.float64)
    slope = f.derivative(a * x)
    torch.testing.assert_close(slope, 3 * torch.cos(3 * a * x))
    gradient = torch.autograd.grad(slope.sum(), a)[0]
    torch.testing.assert_close(gradient, (-9 * x * torch.sin(3 * a * x)).sum())


def test_derivative_of_a_constant_is_zero():
    f = register_function("mine", torch.ones_like, lambda x: sympy.Integer(1))
    x = torch.linspace(-1, 1, 7, dtype=torch.float64)
    assert torch.equal(f.derivative(x), torch.zeros_like(x))
    assert f.numpy(x.numpy()).shape == (7,)


@pytest.mark.parametrize("name", ["j0", "j1"])
def test_bessel_functions_differentiate_twice(name):
    x = torch.tensor([-2.7, -0.4, 0.0, 1e-3, 0.9, 5.0], dtype=torch.float64, requires_grad=True)
    f = get_function(name)
    assert torch.autograd.gradcheck(f.torch, x)
    away = x[x != 0].detach().requires_grad_()  # at 0 the slope is a limit, written as a case
    first = torch.autograd.grad(f.torch(away).sum(), away, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), away)[0]
    h = 1e-5
    difference = (f.derivative(away + h) - f.derivative(away - h)) / (2 * h)
    torch.testing.assert_close(second, difference.detach(), rtol=1e-6, atol=1e-8)


@EVERY
def test_domain_is_where_the_function_is_finite(name):
    """On every interval between quarters of [-4, 4]: contained if and only if no sample on it is
    infinite and no pole lies between two samples."""
    f = get_function(name)
    values = f.numpy(STEPS)
    is_bad = ~np.isfinite(values)
    with np.errstate(all="ignore"):
        jump = (np.abs(np.diff(values)) > 100) & (values[1:] * values[:-1] < 0)
    bad = np.concatenate([[0], np.cumsum(is_bad)])
    jumps = np.concatenate([[0], np.cumsum(jump)])
    first, last = np.meshgrid(np.arange(0, 1025, 32), np.arange(0, 1025, 32), indexing="ij")
    first, last = first[first <= last], last[first <= last]
    want = (bad[last + 1] == bad[first]) & (jumps[last] == jumps[first])
    got = f.domain.contains(torch.tensor(STEPS[first]), torch.tensor(STEPS[last])).numpy()
    wrong = got != want
    assert not wrong.any(), list(zip(STEPS[first[wrong]], STEPS[last[wrong]], strict=True))[:5]


@EVERY
def test_parity_is_as_claimed(name):
    f = get_function(name)
    x = torch.linspace(0.05, 3.9, 200, dtype=torch.float64)
    right, left = f.torch(x), f.torch(-x)
    both = right.isfinite() & left.isfinite()
    if not both.any():
        assert not f.has_parity
        return
    spans = [(left - sign * right)[both] for sign in (1, -1)]
    scale = right[both].abs().max()
    is_mirrored = any(bool(s.max() - s.min() < 1e-9 * (1 + scale)) for s in spans)
    assert is_mirrored == f.has_parity


def misfit(target, *columns):
    """What a least-squares combination of the columns leaves of the target, relative to it."""
    design = torch.stack([*columns, torch.ones_like(target)], 1)
    rest = target - design @ torch.linalg.lstsq(design, target[:, None]).solution[:, 0]
    return float(rest.norm() / (target - target.mean()).norm().clamp(min=1e-300))


@EVERY
def test_invariance_is_as_claimed(name):
    f = get_function(name)
    x = torch.linspace(0.1, 0.9, 50, dtype=torch.float64)
    if f.domain == Domain():
        x = x - 0.52  # on both sides of 0: else abs would be a line
    f_x = f.torch(x)

    scaled = max(misfit(f.torch(s * x), f_x) for s in (0.3, 0.5, 1.1)) < 1e-10
    shifted = max(misfit(f.torch(x + s), f_x) for s in (-0.09, 0.04, 0.09)) < 1e-10
    assert scaled == (f.invariance in ("scale", "affine"))
    assert shifted == (f.invariance in ("shift", "affine"))
    if f.invariance == "period":
        torch.testing.assert_close(f.torch(x + 2 * math.pi), f_x)
        torch.testing.assert_close(f.torch(x + math.pi), -f_x)  # half a period covers b


@EVERY
def test_keeps_the_dtype_and_the_shape(name):
    f = get_function(name)
    x = torch.full((7, 3), 0.5)
    assert f.torch(x).dtype == f.derivative(x).dtype == torch.float32
    assert f.torch(x).shape == f.derivative(x).shape == (7, 3)
    wide = f.torch(x.double())
    torch.testing.assert_close(f.torch(x).double(), wide, rtol=1e-5, atol=1e-6)
    assert f.numpy(x.numpy()).shape == (7, 3)


@EVERY
def test_complexity_orders_x_before_all(name):
    assert get_function(name).complexity >= get_function("x").complexity == 1


# -- Domain --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "low", "high", "is_inside"),
    [
        (Domain(), -1e300, 1e300, True),
        (Domain(0.0), 0, 1, True),
        (Domain(0.0, closed=False), 0, 1, False),
        (Domain(-1, 1), -1, 1, True),
        (Domain(-1, 1), -1, 1.01, False),
        (Domain(pole=2.0), 2, 3, False),
        (Domain(pole=2.0), 1, 2, False),
        (Domain(pole=2.0), 1, 3, False),
        (Domain(pole=2.0), -5, 1, True),
        (Domain(pole=1.0, period=2.0), -0.9, 0.9, True),
        (Domain(pole=1.0, period=2.0), 1.1, 2.9, True),
        (Domain(pole=1.0, period=2.0), 0.9, 1.1, False),
        (Domain(pole=1.0, period=2.0), 3.0, 3.5, False),
        (Domain(pole=1.0, period=2.0), 2.5, 3.0, False),
        (Domain(pole=1.0, period=2.0), -9, 9, False),
    ],
)
def test_domain_contains(domain, low, high, is_inside):
    low, high = torch.tensor([float(low)]), torch.tensor([float(high)])
    assert domain.contains(low, high).tolist() == [is_inside]


# -- registering ---------------------------------------------------------------------------------


def test_a_registered_function_is_in_the_library():
    mine = register_function(
        "softplus", torch.nn.functional.softplus, lambda x: sympy.log(1 + sympy.exp(x)), 4
    )
    assert get_function("softplus") is mine
    assert function_names() == (*NAMES, "softplus")
    assert mine.complexity == 4
    assert mine.domain == Domain()
    x = torch.linspace(-3, 3, 31, dtype=torch.float64)
    torch.testing.assert_close(mine.derivative(x), torch.sigmoid(x))
    np.testing.assert_allclose(mine.numpy(x.numpy()), mine.torch(x).numpy())
    again = register_function(
        "softplus", torch.nn.functional.softplus, lambda x: sympy.log(1 + sympy.exp(x)), 5
    )
    assert get_function("softplus") is again


def sqrt_outside_one(x):
    return torch.sqrt(x**2 - 1)


@pytest.mark.parametrize(
    ("form", "expression", "domain"),
    [
        (torch.log1p, lambda x: sympy.log(1 + x), Domain(-1 + 1 / 64, math.inf)),
        (torch.arccosh, sympy.acosh, Domain(1, math.inf)),
        (lambda x: torch.sqrt(2 - x), lambda x: sympy.sqrt(2 - x), Domain(-math.inf, 2)),
        (lambda x: torch.sqrt(4 - x**2), lambda x: sympy.sqrt(4 - x**2), Domain(-2, 2)),
        (lambda x: 1 / (x - 1), lambda x: 1 / (x - 1), Domain(pole=1.0)),
        (lambda x: torch.sin(3 * x), lambda x: sympy.sin(3 * x), Domain()),
        # In two pieces: one of them, since a domain is an interval.
        (sqrt_outside_one, lambda x: sympy.sqrt(x**2 - 1), Domain(1, math.inf)),
        (lambda x: 1 / (x**2 - 1), lambda x: 1 / (x**2 - 1), Domain(1 + 1 / 64, math.inf)),
        (lambda x: torch.log(x) / (x - 3), lambda x: sympy.log(x) / (x - 3), Domain(3 + 1 / 64)),
    ],
)
def test_registering_finds_the_domain(form, expression, domain):
    f = register_function("mine", form, expression)
    assert f.domain == domain
    x = inside(f)
    assert f.torch(x).isfinite().all()
    assert f.derivative(x).isfinite().all()


def test_a_given_domain_is_kept():
    f = register_function("mine", torch.log1p, lambda x: sympy.log(1 + x), domain=(-0.5, 3))
    assert f.domain == Domain(-0.5, 3)


@pytest.mark.parametrize(
    ("form", "expression", "has_parity"),
    [
        (lambda x: x**2 + x**4, lambda x: x**2 + x**4, True),
        (lambda x: torch.sin(x) + 2, lambda x: sympy.sin(x) + 2, True),
        (lambda x: 1 / x**3, lambda x: 1 / x**3, True),
        (lambda x: x**2 + x, lambda x: x**2 + x, False),
        (torch.exp, sympy.exp, False),
        (torch.sqrt, sympy.sqrt, False),
    ],
)
def test_registering_finds_the_parity(form, expression, has_parity):
    assert register_function("mine", form, expression).has_parity is has_parity


def identity(x):
    return x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", identity, identity), "name must be 1 to 40 printable characters, got ''"),
        ((None, identity, identity), "name must be 1 to 40 printable characters, got None"),
        (("a\nb", identity, identity), "name must be 1 to 40 printable"),
        (("a" * 41, identity, identity), "name must be 1 to 40 printable"),
        (("sin", torch.sin, sympy.sin), "name 'sin' is a built-in function; choose another name"),
        (("mine", identity, identity, 0), "complexity must be positive, got 0"),
        (("mine", identity, identity, -1.5), "complexity must be positive, got -1.5"),
        (("mine", identity, identity, math.nan), "complexity must be positive, got nan"),
        (
            ("mine", torch.sin, sympy.cos),
            "torch and sympy forms of 'mine' disagree, for example at",
        ),
        (("mine", torch.log, lambda x: sympy.log(-x)), "forms of 'mine' disagree"),
        (("mine", torch.sin, np.sin), "the sympy form of 'mine' cannot be evaluated"),
        (("mine", lambda x: x.sum(), identity), "must return a tensor of its argument's shape"),
        (("mine", lambda x: 1.0, identity), "must return a tensor of its argument's shape"),
        (("mine", lambda x: x * math.nan, identity), "'mine' is finite nowhere in"),
    ],
)
def test_refused_registrations(arguments, message, library):
    with pytest.raises(ValueError, match=message):
        register_function(*arguments)
    assert tuple(library) == NAMES


# -- looking up ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nearest"), [("sine", "sin"), ("sigmiod", "sigmoid"), ("sqr", "sqrt"), ("X^2", "x^2")]
)
def test_an_unknown_name_suggests_the_nearest(name, nearest):
    with pytest.raises(ValueError, match="unknown function") as error:
        get_function(name)
    assert f"unknown function '{name}'; did you mean '{nearest}'?" in str(error.value)
    assert "Add your own with register_function" in str(error.value)


def test_a_library_is_a_choice_of_functions():
    assert [f.name for f in get_library(None)] == list(NAMES)
    assert [f.name for f in get_library(["sin", "x", "sin"])] == ["sin", "x"]
    with pytest.raises(ValueError, match="lib must be a list of function names, got the string"):
        get_library("sin")
    with pytest.raises(ValueError, match="lib must name at least one function"):
        get_library([])
    with pytest.raises(ValueError, match="unknown function 'sine'"):
        get_library(["sine"])


def test_another_function_under_a_name_in_use_needs_replace():
    first = register_function("mine", torch.sin, sympy.sin)
    register_function("mine", torch.sin, sympy.sin)  # a notebook cell run twice
    with pytest.raises(
        ValueError, match=r"'mine' is registered with another function.*replace=True"
    ):
        register_function("mine", torch.cos, sympy.cos)
    assert get_function("mine").torch is first.torch
    register_function("mine", torch.cos, sympy.cos, replace=True)
    assert get_function("mine").torch is torch.cos


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda x: 1 // 0, "the torch form of 'mine' fails on a tensor"),
        (
            lambda x: torch.as_tensor(np.sin(x.numpy())),
            "the torch form of 'mine' has no derivative",
        ),
    ],
)
def test_a_torch_form_must_work_and_have_a_derivative(form, message):
    with pytest.raises(ValueError, match=message):
        register_function("mine", form, sympy.sin)


def test_a_domain_must_be_an_interval():
    with pytest.raises(ValueError, match=r"domain must be .low, high. with low < high, got .3, 1."):
        register_function("mine", torch.sin, sympy.sin, domain=(3, 1))
