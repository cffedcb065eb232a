"""Differential equations are solved on their residuals, and what is no equation is refused."""

import math

import pandas as pd
import pytest
import torch

from kansym import KAN, Equation
from kansym.jacobian import FreeParameters
from kansym.training import FitOptions, System
from kansym.training.residuals import ResidualSquares

PI = math.pi


def interval(n=40, low=0.0, high=1.0):
    return torch.linspace(low, high, n, dtype=torch.float64)[:, None]


def square(n=250, seed=1):
    """Points within the unit square, and on its edges."""
    generator = torch.Generator().manual_seed(seed)
    inside = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    t = torch.linspace(0, 1, 15, dtype=torch.float64)
    zero, one = torch.zeros_like(t), torch.ones_like(t)
    sides = [(t, zero), (t, one), (zero, t), (one, t)]
    return inside, torch.cat([torch.stack(side, 1) for side in sides])


def solution(points):
    return torch.sin(PI * points).prod(1)


def poisson(u):
    return u.d("x", "x") + u.d("y", "y") + 2 * PI**2 * solution(u.points)


def growth(u):
    return u.d("x") - u.value


def squares_of(model, system):
    objective = FitOptions(opt="LM").objective("LM")
    return ResidualSquares(model, objective, system)


def test_poisson_on_a_square():
    """Sparse, pruned to one edge for each factor, refined: an error that falls with the grid."""
    inside, edge = square()
    equations = [Equation(poisson, inside), Equation(0.0, edge, weight=100)]
    model = KAN([2, [0, 1]], grid=5, k=5, seed=0)
    model.solve(equations, 25, names=("x", "y"), lamb=1.0, progress=False)
    model = model.prune(edge_th=0.05)
    assert model.n_active_edges == 2
    history = model.solve(equations, 8, grids=(5, 10), progress=False)
    assert [score.grid for score in history.grids] == [5, 10]
    assert history.opt == "LM"
    assert set(history.best.metrics) == {"poisson", "equation 2"}
    assert model.feature_names == ("x", "y")
    other = square(seed=2)[0]
    u, x = model.field(other), other[:, 0]
    assert float(((u.value - solution(other)) ** 2).mean()) < 1e-9
    # The gradient too, which no loss asked for.
    slope = PI * torch.cos(PI * x) * torch.sin(PI * other[:, 1])
    assert float(((u.d("x") - slope) ** 2).mean()) < 1e-7


def test_a_linear_equation_with_an_initial_value():
    model = KAN([1, 1], grid=5, k=5)
    model.solve([Equation(growth, interval()), Equation(1.0, [[0.0]])], 15, names=["x"],
                progress=False)  # fmt: skip
    x = interval(33)
    torch.testing.assert_close(model.predict(x), torch.exp(x), rtol=1e-7, atol=1e-7)


def test_a_condition_on_a_slope_and_a_nonlinear_equation():
    """u'' = 2 u^3, u(0) = 1, u'(0) = -1: u = 1 / (1 + x)."""
    model = KAN([1, 1], grid=8, k=5)
    equations = [
        Equation(lambda u: u.d(0, 0) - 2 * u.value**3, interval(60)),
        Equation(lambda u: (u.value - 1, u.d("x1") + 1), [[0.0]]),
    ]
    history = model.solve(equations, 40, progress=False)
    x = interval(33)
    torch.testing.assert_close(model.predict(x), 1 / (1 + x), rtol=1e-5, atol=1e-5)
    assert set(history.best.metrics) == {"equation 1", "equation 2"}


def test_a_system_of_two_outputs():
    """u' = v, v' = -u: a field for each output, two residuals."""
    model = KAN([1, 2], grid=8, k=5)
    start = Equation(torch.tensor([[0.0, 1.0]]), [[0.0]])
    turning = Equation(lambda u, v: (u.d("t") - v.value, v.d("t") + u.value), interval(60))
    model.solve([turning, start], 20, names=["t"], progress=False)
    t = interval(33)
    expected = torch.cat([torch.sin(t), torch.cos(t)], 1)
    torch.testing.assert_close(model.predict(t), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(model.field(t, output=1).d("t", "t"), -torch.cos(t)[:, 0],
                               rtol=1e-3, atol=1e-3)  # fmt: skip


def test_units_of_the_inputs_and_of_given_values():
    """Years from 1900 on, and kelvins: the network maps both, equations are in raw units."""
    years = pd.DataFrame({"year": 1900 + 100 * interval()[:, 0].numpy()})
    values = 300 + 50 * torch.exp(-(torch.tensor(years.year) - 1900) / 40)
    model = KAN([1, 1], grid=6, k=5)
    decay = Equation(lambda u: 40 * u.d("year") + u.value - 300, years)
    model.solve([decay, Equation(values[::8], years[::8])], 30, names=["year"], progress=False)
    assert float(model.input_scale) == pytest.approx(0.02)
    assert float(model.output_shift) > 300
    u = model.field(years)
    torch.testing.assert_close(u.value, values, rtol=0, atol=1e-5)
    torch.testing.assert_close(u.d("year"), (300 - values) / 40, rtol=0, atol=1e-5)


def test_a_named_network_finds_its_constants():
    """Named edges have second derivatives too; sin(3 x) sin(3 y) becomes sin(pi x) sin(pi y)."""
    import sympy

    from kansym import Formula

    x, y = sympy.symbols("x y")
    start = Formula((sympy.sin(3 * x) * sympy.sin(3 * y),), (x, y), ("x", "y"))
    model = KAN.from_formula(start, k=5)
    inside, edge = square(80)
    model.solve([Equation(poisson, inside), Equation(0.0, edge)], 20, progress=False)
    found = model.symbolic_formula(snap=True).exprs[0]
    by_name = {str(symbol): symbol for symbol in found.free_symbols}
    difference = found - sympy.sin(sympy.pi * by_name["x"]) * sympy.sin(sympy.pi * by_name["y"])
    assert sympy.simplify(difference) == 0


def test_the_normal_equations_are_those_of_the_loss():
    inside, edge = square(20)
    model = KAN([2, 2, 1], grid=2, k=4, seed=3)

    def nonlinear(u):
        return u.value * u.d("x") - u.d("x", "y") ** 2, torch.exp(u.d("y"))

    equations = [Equation(nonlinear, inside, weight=0.3), Equation(0.5, edge, weight=7.0)]
    rows = squares_of(model, System(model, equations, ("x", "y")))
    plain, kept = rows.normal_equations()
    assert plain.value == pytest.approx(float(rows.loss()), rel=1e-12)
    free = FreeParameters(model)
    theta, delta = free.get(), torch.linspace(-1, 1, free.count, dtype=torch.float64)
    step, losses, residuals = 1e-5, [], []
    for sign in (1, -1):
        free.set(theta + sign * step * delta)
        losses.append(float(rows.loss()))
        residuals.append(rows.residuals())
    free.set(theta)
    slope = (losses[0] - losses[1]) / (2 * step)
    assert 2 * float(plain.gradient @ delta) == pytest.approx(slope, rel=1e-6)
    moved = (residuals[0] - residuals[1]) / (2 * step)
    assert float(delta @ plain.curvature @ delta) == pytest.approx(float(moved @ moved), rel=1e-6)
    # Without the Jacobian in memory the bend is made again, and the same.
    torch.testing.assert_close(
        rows.bend(free, kept, theta, delta), rows.bend(free, None, theta, delta)
    )
    assert torch.equal(free.get(), theta)


def test_the_loss_is_the_weighted_sum_of_mean_squares():
    inside, edge = square(20)
    model = KAN([2, 1], grid=2, k=4)
    system = System(model, [Equation(poisson, inside, 0.3), Equation(2.0, edge, 7.0)], ("x", "y"))
    u = model.field(inside)
    by_hand = u.second[:, 0, 0] + u.second[:, 1, 1] + 2 * PI**2 * solution(inside)
    expected = 0.3 * (by_hand**2).mean() + 7 * ((model(edge) - 2) ** 2).mean()
    assert float(squares_of(model, system).loss()) == pytest.approx(float(expected.detach()))
    assert system.n_residuals == 20 + 60


@pytest.mark.parametrize(
    ("residual", "message"),
    [
        (lambda u: u.value - u.value.mean(), "mixes points"),
        (lambda u: u.value.sum() - 1, r"must return a tensor of shape \(20,\)"),
        (lambda u: u.value.detach() - 1, "must depend on the outputs"),
        (lambda u: u.value.detach().numpy(), r"must return a tensor of shape \(20,\)"),
        (lambda u: u.first, r"must return a tensor of shape \(20,\).*got shape \(20, 2\)"),
        (lambda u: (), "must return at least one tensor, got none"),
        (lambda u: u.d("z"), "unknown input 'z'"),
        ([1.0, 2.0], "values of equation 1 must have one row for every row"),
        ("u_xx", "values of equation 1"),
    ],
)
def test_what_is_no_residual_is_refused(residual, message):
    model = KAN([2, 1], grid=2, k=4)
    with pytest.raises(ValueError, match=message):
        model.solve(Equation(residual, square(20)[0]), names=("x", "y"), progress=False)
    assert not model.is_fitted


def test_other_bad_arguments_are_refused():
    inside = square(20)[0]
    good = Equation(poisson, inside)

    def refused(message, equations=good, width=(2, 1), k=5, names=("x", "y"), **options):
        dtype = options.pop("dtype", torch.float64)
        with pytest.raises(ValueError, match=message):
            KAN(list(width), grid=2, k=k, dtype=dtype).solve(
                equations, names=names, progress=False, **options
            )

    refused(r"k must be at least 3 .*got 2; use KAN\(\.\.\., k=5\)", k=2)
    refused(r"equations need a model of float64, got torch.float32", dtype=torch.float32)
    refused("must be Equation", [poisson])
    refused("must be Equation.*got none", [])
    refused("weight of equation 1 must be a finite number > 0", Equation(0.0, inside, weight=0))
    refused("points of equation 1 must have 2 columns", Equation(0.0, inside[:, :1]))
    refused("points of equation 1", Equation(0.0, inside * torch.nan))
    refused("names must be 2 texts", names=["x"])
    refused("names must be different", names=["x", "x"])
    refused("grids must rise", grids=(10, 5))
    refused("steps must be an integer >= 1", steps=0)
    refused("lamb must be finite and >= 0", lamb=-1)


def test_a_residual_that_is_not_finite_is_taken_back():
    model = KAN([1, 1], grid=3, k=5)
    equation = Equation(lambda u: torch.log(u.value - 100), interval(10))
    with pytest.warns(RuntimeWarning, match="not finite"):
        history = model.solve(equation, 5, progress=False)
    assert history.stopped == "non-finite"


def test_the_same_seed_gives_the_same_bits():
    def once():
        model = KAN([2, 2, 1], grid=3, k=5, seed=5)
        model.solve(Equation(poisson, square(40)[0]), 4, names=("x", "y"), progress=False)
        return FreeParameters(model).get()

    assert torch.equal(once(), once())
