"""Curves get their exact names, transformed targets come back, and additive models judge
themselves fairly."""

import numpy as np
import pytest
import sympy

from kansym.discovery.additive import fit_additive, spline_block
from kansym.discovery.contest import evaluate
from kansym.discovery.curves import name_curve
from kansym.discovery.monomial import index_powers, monomial, nice_power
from kansym.discovery.outer import IDENTITY, OUTERS, outers_for
from kansym.discovery.products import fit_product
from kansym.functions import get_library

u = sympy.Symbol("u", real=True)
x1, x2 = sympy.symbols("x1 x2", real=True)
OUTER_OF = {outer.name: outer for outer in OUTERS}


def named(law, low=0.3, high=2.5, functions=None, noise=0.0):
    """The best name of a curve, its values and the law's."""
    rows = np.linspace(low, high, 80)
    values = np.array(evaluate(law, (u,), rows[:, None]))
    values = values + noise * np.random.default_rng(0).normal(size=80)
    (best, *_) = name_curve(rows, values, u, get_library(functions), noise)
    return best, evaluate(best.expr, (u,), rows[:, None]), values


@pytest.mark.parametrize(
    ("law", "low", "high"),
    [
        (3 * u**4 - 2 * u + 1, 0.3, 2.5),
        (u**3 - u, -2, 2),
        ((u + 1) / (u**2 + 2), -2, 2),
        (1 / (1 + u**2), -3, 3),
        (u ** sympy.Rational(5, 2), 0.3, 2.5),
        (2 * sympy.sin(3 * u + 1) - 1, -2, 2),
        (sympy.exp(-(u**2) / 2), -2, 2),
        (1 / (sympy.exp(u) - 1), 0.3, 2.5),
        (u / (sympy.exp(u) - 1), 0.3, 2.5),
        (1 / sympy.sqrt(1 - u**2), 0.05, 0.9),
        (sympy.log(u) / u, 0.3, 2.5),
        (sympy.sin(u**2) * sympy.cos(u) - 1, 0.3, 2.5),
        (sympy.log(u + 1) + sympy.log(u**2 + 1), 0.3, 2.5),
        (sympy.sin(u) + sympy.sin(u + u**2), 0.3, 2.5),
    ],
)
def test_a_curve_gets_its_exact_name(law, low, high):
    best, values, truth = named(law, low, high)
    assert np.sqrt(np.mean((values - truth) ** 2)) < 1e-9 * np.std(truth)
    assert best.rmse < 1e-9 * np.std(truth)


def test_a_polynomial_keeps_only_terms_that_matter():
    best, _, _ = named(u**5 - 3 * u)
    assert {term.as_coeff_exponent(u)[1] for term in best.expr.as_ordered_terms()} == {1, 5}


def test_a_noisy_line_is_a_line():
    best, _, _ = named(2 * u + 1, noise=0.1)
    assert sympy.Poly(best.expr, u).degree() == 1


def test_functions_that_are_not_allowed_are_not_used():
    best, values, truth = named(sympy.sin(3 * u), functions=["x", "x^2", "exp"])
    assert not best.expr.has(sympy.sin, sympy.cos)
    assert np.sqrt(np.mean((values - truth) ** 2)) > 1e-6


@pytest.mark.parametrize("values", [np.ones(9), np.arange(9.0) % 2])
def test_a_curve_of_one_or_two_values_is_no_trouble(values):
    rows = np.arange(9.0) % 2
    (best, *_) = name_curve(rows, values, u, get_library(None))
    assert best.rmse < 1e-12


# -- outer functions ------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", OUTER_OF)
def test_an_outer_function_and_its_inverse_slope_and_bend_agree(name, sign):
    outer = OUTER_OF[name]
    y = sign * np.linspace(0.2, 0.9, 15)
    if not outer.accepts(y):
        assert (name, sign) == ("cos", -1.0)
        return
    t = outer.forward(y)
    assert outer.backward(t, y) == pytest.approx(y, rel=1e-12)
    back = evaluate(outer.undone(u, y), (u,), t[:, None])
    assert back == pytest.approx(y, rel=1e-12)
    h = 1e-6
    slope = (outer.forward(y + h) - outer.forward(y - h)) / (2 * h)
    assert outer.slope(y) == pytest.approx(slope, rel=1e-6)
    bend = (outer.slope(y + h) - outer.slope(y - h)) / (2 * h)
    assert outer.bend(y) == pytest.approx(bend, rel=1e-6, abs=1e-6)


def test_outer_functions_are_offered_where_they_can_be_undone():
    def offered(y, functions=None):
        return {outer.name for outer in outers_for(np.array(y), functions)}

    assert offered([-1.0, 2.0]) == {"y", "exp"}
    assert {"log", "1/y", "y^2", "sqrt"} <= offered([1.0, 2.0])
    assert "log" not in offered([0.0, 1.0])
    assert offered([1.0, 2.0], frozenset({"exp"})) == {"y", "log"}


# -- additive models, products, monomials ---------------------------------------------------------


def test_an_additive_model_finds_the_parts():
    X = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    parts = np.column_stack([np.sin(3 * X[:, 0]), X[:, 1] ** 3])
    model = fit_additive(X, parts.sum(1) + 2, IDENTITY)
    assert model is not None
    assert model.error < 1e-4
    assert model.parts == pytest.approx(parts - parts.mean(0), abs=1e-4)
    assert model.constant == pytest.approx(2 + parts.mean(0).sum(), abs=1e-4)


def test_an_additive_model_of_a_transformed_target():
    X = np.random.default_rng(0).uniform(0.5, 2, (300, 2))
    model = fit_additive(X, np.exp(np.sin(X[:, 0]) + X[:, 1]), OUTER_OF["log"])
    plain = fit_additive(X, np.exp(np.sin(X[:, 0]) + X[:, 1]), IDENTITY)
    assert model is not None
    assert plain is not None
    assert model.y_error < 1e-4 < plain.y_error


def test_the_error_of_an_additive_model_is_that_of_rows_left_out():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    model = fit_additive(X, y, IDENTITY)
    assert model is not None
    assert model.error > 1  # noise cannot be predicted


def test_too_few_rows_have_no_additive_model():
    assert fit_additive(np.eye(4), np.arange(4.0), IDENTITY) is None


@pytest.mark.parametrize("column", [np.ones(7), np.arange(7) % 2.0, np.linspace(0, 1, 40)])
def test_splines_sum_to_one(column):
    assert spline_block(column, 4).sum(1) == pytest.approx(np.ones(len(column)))


def test_factors_that_change_sign_are_found():
    X = np.random.default_rng(0).uniform(-1, 1, (400, 2))
    factors = np.column_stack([np.sin(2 * X[:, 0]), X[:, 1] ** 2 - 0.4])
    start = factors + 0.1 * np.cos(5 * X)
    found = fit_product(X, factors.prod(1), start)
    assert found is not None
    assert found.error < 1e-6
    assert abs(np.corrcoef(found.factors[:, 1], factors[:, 1])[0, 1]) > 1 - 1e-9


def test_monomials_have_their_powers():
    X = np.random.default_rng(0).uniform(0.5, 2, (40, 2))
    (nice, *_) = monomial(X, -3 * X[:, 0] ** 2 / np.sqrt(X[:, 1]), (x1, x2))
    assert sympy.nsimplify(nice, tolerance=1e-9) == -3 * x1**2 / sympy.sqrt(x2)
    signed = X * np.where(np.arange(40) % 2, 1, -1)[:, None]
    assert monomial(signed, np.sqrt(X[:, 0]) * X[:, 1], (x1, x2)) == []
    (odd, *_) = monomial(signed, signed[:, 0] * X[:, 1] ** 2, (x1, x2))
    assert sympy.nsimplify(odd, tolerance=1e-9) == x1 * x2**2


def test_a_curve_over_a_monomial_is_noticed():
    X = np.random.default_rng(0).uniform(0.5, 2, (1000, 3))
    t = X[:, 0] * X[:, 1] ** 2 / X[:, 2]
    assert index_powers(X, np.sin(3 * t), 0.01)[0] == (1, 2, -1)
    assert index_powers(X, np.sin(X[:, 0]) + X[:, 1], 0.01) == []


@pytest.mark.parametrize(("p", "nearest"), [(1.99, 2), (0.252, 0.25), (0.4, None), (-1.49, -1.5)])
def test_powers_near_simple_fractions_are_those(p, nearest):
    assert nice_power(p) == nearest
