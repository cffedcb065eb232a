"""Forms that are proposed as a whole: coefficients that vary, shears, quotients, short pairs."""

import time

import numpy as np
import pytest
import sympy

from kansym.discovery.contest import evaluate
from kansym.discovery.outer import IDENTITY, OUTERS
from kansym.discovery.rational import monomials, polynomials, quotients
from kansym.discovery.sheared import product_factors, sheared
from kansym.discovery.short import short_pairs
from kansym.discovery.slopes import slopes
from kansym.discovery.varying import coefficients, fit_varying, varying_block
from kansym.functions import get_library

SYMBOLS = x1, x2, x3 = sympy.symbols("x1:4", real=True)
NAMES = frozenset(f.name for f in get_library(None))
OUTER_OF = {outer.name: outer for outer in OUTERS}


def sampled(law, columns=2, rows=300, low=0.5, high=2.5):
    """Rows of a law and its values."""
    X = np.random.default_rng(0).uniform(low, high, (rows, columns))
    return X, np.array(evaluate(law, SYMBOLS[:columns], X))


def seen(law):
    """Its rows, its values and its slopes, as the search sees them."""
    X, y = sampled(law)
    return X, y, slopes(X, y, np.random.default_rng(0))


def error_of(expr, X, y):
    """RMSE in units of y's spread."""
    values = evaluate(expr, SYMBOLS[: X.shape[1]], X)
    return float(np.sqrt(np.mean((values - y) ** 2)) / np.std(y))


# -- straight in a function of one variable -------------------------------------------------------


@pytest.mark.parametrize("name", ["y", "log"])
@pytest.mark.parametrize("coefficient", [0, 1])
def test_a_law_straight_in_a_function_shows_that_function(coefficient, name):
    outer = OUTER_OF[name]
    X, _ = sampled(x1)
    a, b = X[:, coefficient], X[:, 1 - coefficient]
    t = np.sin(a) + (1 + a**2 / 4) * np.sqrt(1 + b**2)
    y = t if name == "y" else np.exp(t)
    start = np.sqrt(1 + b**2) + 0.1 * np.cos(4 * b)
    model = fit_varying(X, y, outer, coefficient, start)
    assert model is not None
    assert (model.coefficient, model.inner) == (coefficient, 1 - coefficient)
    assert model.error < 1e-4 * np.std(y)
    assert abs(np.corrcoef(model.values, np.sqrt(1 + b**2))[0, 1]) > 1 - 1e-6
    base, factor = coefficients(varying_block(a, len(a)), np.sqrt(1 + b**2), t, np.ones(len(t)))
    assert base == pytest.approx(np.sin(a), abs=2e-2)
    assert factor == pytest.approx(1 + a**2 / 4, abs=2e-2)


def test_a_law_that_is_not_straight_is_not_taken_for_one():
    X, y = sampled(sympy.sin(3 * x1 * x2))
    model = fit_varying(X, y, IDENTITY, 0, np.sin(3 * X[:, 1]))
    assert model is not None
    assert model.error > 0.02 * np.std(y)


def test_too_few_rows_have_no_varying_model():
    X, y = sampled(x1 * x2, rows=8)
    assert fit_varying(X, y, IDENTITY, 0, X[:, 1]) is None
    assert len(varying_block(X[:, 0], 8)) == 8


# -- one variable in both parts -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "ratio", "is_scaling", "is_product"),
    [
        (x1**2 + sympy.sin(2 * x1 + x2), 2, False, False),
        (sympy.exp(x1**2 / 4) * sympy.sin(x1 + x2 + 1), 1, False, True),
        (sympy.sin(x1) + sympy.exp(x1 * x2 / 3), 1, True, False),
        ((1 + x1**2) * sympy.sin(x2 / x1), -1, True, True),
    ],
)
def test_a_shear_is_seen_in_the_slopes(law, ratio, is_scaling, is_product):
    X, _, surface = seen(law)
    (form,) = [
        f
        for f in sheared(surface, 0.1)
        if (f.alone, f.is_scaling, f.is_product) == (0, is_scaling, is_product)
    ]
    assert form.ratio == pytest.approx(ratio, abs=0.02)
    u = X[:, 0] ** form.ratio * X[:, 1] if is_scaling else form.ratio * X[:, 0] + X[:, 1]
    assert form.column(X) == pytest.approx(u)


def test_a_plain_symmetry_is_no_shear():
    _, _, surface = seen(sympy.sin(x1 + x2))
    assert not [f for f in sheared(surface, 0.1) if not f.is_scaling and not f.is_product]


def test_the_factors_of_a_sheared_product_are_found():
    X, y, surface = seen((1 + x1**2) * sympy.exp(-x2 * x1))
    (form, *_) = [
        f for f in sheared(surface, 0.1) if f.is_product and f.is_scaling and f.alone == 0
    ]
    found = product_factors(form, X, y)
    assert found is not None
    factors, error = found
    assert error < 1e-3 * np.std(y)
    assert factors.prod(1) == pytest.approx(y, abs=0.01 * np.std(y))


# -- polynomials and quotients --------------------------------------------------------------------


def test_monomials_are_counted():
    powers = monomials(3, 4)
    assert len(powers) == len(set(powers)) == 35  # (3 + 4 over 4)
    assert powers[0] == (0, 0, 0)
    assert max(map(sum, powers)) == 4


@pytest.mark.parametrize(
    ("law", "name"),
    [
        ((x1 + 2 * x2) / (1 + x1 * x2), "y"),
        ((x1**2 - 3) / (x2 + 2.5), "y"),
        (x1 * x2 / (x1 + x2), "y"),
        (sympy.sqrt((x1 + x2) / (1 + x1)), "y^2"),
    ],
)
def test_quotients_are_exact(law, name):
    X, y = sampled(law, rows=60)
    (expr,) = quotients(X, y, SYMBOLS[:2], OUTER_OF[name])
    assert error_of(expr, X, y) < 1e-9
    further, truth = sampled(law, low=3, high=5)
    assert error_of(expr, further, truth) < 1e-7


def test_what_is_no_quotient_has_none():
    X, y = sampled(sympy.sin(3 * x1) * sympy.exp(x2))
    assert list(quotients(X, y, SYMBOLS[:2], IDENTITY)) == []


def test_a_polynomial_keeps_what_matters():
    law = 2 * x1**3 * x2 - x3**2 + 1.5
    X, y = sampled(law, 3)
    *_, best = polynomials(X, y, SYMBOLS)
    assert error_of(best, X, y) < 1e-9
    assert len(best.args) == 3
    noisy = y + 0.1 * np.random.default_rng(1).normal(size=len(y))
    assert all(len(expr.args) < 12 for expr in polynomials(X, noisy, SYMBOLS))


def test_polynomials_of_a_wide_table_are_few():
    X = np.random.default_rng(0).normal(size=(400, 60))
    symbols = sympy.symbols("x1:61", real=True)
    started = time.process_time()
    found = list(polynomials(X, X[:, 7] ** 3 - X[:, 8], symbols))
    assert time.process_time() - started < 60  # all monomials of degree 6 would be 90 million
    assert found[-1].free_symbols == {symbols[7], symbols[8]}


# -- pairs of short expressions -------------------------------------------------------------------


@pytest.mark.parametrize(
    "law",
    [
        3 * sympy.sin(x1 + x2) - x1 * x2**2,
        sympy.exp(-x1) * sympy.cos(x2) + x1**2,
        2 * sympy.log(x1**2 + x2**2) * x1 + sympy.sin(x2),
    ],
)
def test_twenty_rows_are_enough_for_two_short_expressions(law):
    X, y = sampled(law, rows=20)
    (best, *_) = short_pairs(X, y, SYMBOLS[:2], NAMES)
    assert error_of(best, X, y) < 1e-9


def test_short_expressions_keep_to_the_functions_allowed():
    X, y = sampled(sympy.sin(x1) + x2, rows=40)
    found = list(short_pairs(X, y, SYMBOLS[:2], frozenset({"exp"})))
    assert found
    assert not any(expr.has(sympy.sin, sympy.cos, sympy.log) for expr in found)
    assert list(short_pairs(X, np.ones(40), SYMBOLS[:2], NAMES)) == []
