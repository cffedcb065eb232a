"""Rows with noise: how they weigh, when a search may stop, and what may be claimed of them."""

import numpy as np
import pytest
import sympy

from kansym import KANRegressor
from kansym.discovery.additive import fit_additive
from kansym.discovery.contest import Contest, evaluate
from kansym.discovery.monomial import monomial
from kansym.discovery.noise import could_be_law, is_as_good_as_surface, leaves_nothing
from kansym.discovery.outer import IDENTITY
from kansym.discovery.products import fit_product
from kansym.discovery.rational import polynomials
from kansym.discovery.records import Finding, Options, Table, Verdict
from kansym.discovery.reduce import Problem, reduce_by
from kansym.discovery.search import discover
from kansym.discovery.slopes import slopes
from kansym.discovery.symmetry import Symmetry
from kansym.discovery.varying import fit_varying
from kansym.discovery.verdict import fitted_numbers, judge
from kansym.discovery.weights import in_proportion, rms, root_weight, spread
from kansym.symbolic.constants import decimal

SYMBOLS = sympy.symbols("x1:5", real=True)
x1, x2, x3, x4 = SYMBOLS
COUNTS = np.random.default_rng(0).integers(1, 4, 150)


def sampled(law, columns, rows=150, noise=0.0, low=1.0, high=3.0):
    """Rows of a law; noise: of y's spread."""
    rng = np.random.default_rng(1)
    X = rng.uniform(low, high, (rows, columns))
    y = np.array(evaluate(law, SYMBOLS[:columns], X))
    return X, y + noise * y.std() * rng.normal(size=rows)


def repeated(*arrays):
    return [np.repeat(array, COUNTS, axis=0) for array in arrays]


# -- weights --------------------------------------------------------------------------------------


def test_a_row_of_weight_two_is_two_rows():
    X, y = sampled(x1 * x2 + x1, 2, noise=0.3)
    X2, y2 = repeated(X, y)
    assert spread(y, COUNTS) == pytest.approx(np.std(y2))
    assert rms(y, COUNTS) == pytest.approx(rms(y2, None))
    assert np.mean(root_weight(COUNTS, 150) ** 2) == pytest.approx(1)
    one, two = Contest(X, y, (x1, x2), weight=COUNTS), Contest(X2, y2, (x1, x2))
    assert one.spread == pytest.approx(two.spread)
    law = decimal(0.8) * x1 * x2
    weighted, plain = one.enter(law, ""), two.enter(law, "")
    assert weighted is not None
    assert plain is not None
    assert weighted.rmse == pytest.approx(plain.rmse)


def test_linear_fits_weigh_rows_as_if_they_were_repeated():
    X, y = sampled(x1 * x2 + x1, 2, noise=0.02)
    X2, y2 = repeated(X, y)
    one, two = (
        list(polynomials(*rows, (x1, x2), weight))[-1]
        for rows, weight in (((X, y), COUNTS), ((X2, y2), None))
    )
    assert evaluate(one, (x1, x2), X) == pytest.approx(evaluate(two, (x1, x2), X), rel=1e-6)
    one, two = monomial(X, y, (x1, x2), COUNTS)[-1], monomial(X2, y2, (x1, x2))[-1]
    assert evaluate(one, (x1, x2), X) == pytest.approx(evaluate(two, (x1, x2), X), rel=1e-6)


@pytest.mark.parametrize("model", ["additive", "product", "varying"])
def test_models_look_where_the_weight_is(model):
    X, y = sampled(sympy.sin(2 * x1) + x2 if model == "additive" else sympy.exp(x1) * x2, 2)
    bad = np.arange(150) % 3 == 0
    y = y + bad * 5 * y.std() * np.random.default_rng(2).normal(size=150)
    fit = {
        "additive": lambda weight: fit_additive(X, y, IDENTITY, weight),
        "product": lambda weight: fit_product(X, y, X.copy(), weight),
        "varying": lambda weight: fit_varying(X, y, IDENTITY, 0, X[:, 1], weight),
    }[model]
    weighted, plain = fit(np.where(bad, 1e-8, 1.0)), fit(None)
    assert weighted.error < 0.01 * y.std() < plain.error


def test_rows_are_drawn_as_they_weigh():
    drawn = in_proportion(np.array([3.0, 0.0, 1.0, 0.0]), 4)
    assert drawn.tolist() == [0, 0, 0, 2]
    assert in_proportion(None, 3).tolist() == [0, 1, 2]


def test_a_division_leaves_each_row_its_share_of_the_noise():
    X, y = sampled(x1**2 * (x2 + 1), 2, noise=0.1)
    problem = Problem(X, y, (x1, x2), noise=0.3)
    reduction = reduce_by(problem, [Symmetry("power", 0, (), (), 2.0, 0.0)])
    assert reduction is not None
    assert reduction.problem.weight is not None
    weight = reduction.problem.weight
    assert weight / weight[0] == pytest.approx(X[:, 0] ** 4 / X[0, 0] ** 4)
    # An error of the smaller problem, weighted, is one of the larger divided by the size.
    residual = y - evaluate(x1**2 * (x2 + 1), (x1, x2), X)
    assert rms(residual / X[:, 0] ** 2, weight) * reduction.size == pytest.approx(
        rms(residual, None)
    )
    assert reduction.problem.noise * reduction.size == pytest.approx(0.3)


# -- monomials ------------------------------------------------------------------------------------


def test_a_monomial_is_found_where_noise_turns_signs():
    X, y = sampled(2 * x1**2 / x2**3, 2, rows=400, noise=0.1, low=0.5, high=5)
    assert (y < 0).any()
    fractions, decimals = monomial(X, y, (x1, x2))
    assert fractions.as_independent(x1, x2)[1] == x1**2 / x2**3
    assert float(fractions.as_independent(x1, x2)[0]) == pytest.approx(2, rel=0.05)
    assert len(decimals.atoms(sympy.Float)) == 3


def test_a_target_of_both_signs_is_no_monomial():
    X, y = sampled(x1 - x2, 2)
    assert monomial(X, y, (x1, x2)) == []


# -- when to stop ---------------------------------------------------------------------------------


def test_a_law_leaves_noise_and_another_formula_does_not():
    X, y = sampled(x1 * x2, 2, noise=0.05)
    contest = Contest(X, y, (x1, x2))
    law, wrong = contest.enter(x1 * x2, ""), contest.enter(decimal(1.0) * x1 + x2, "")
    assert law is not None
    assert wrong is not None
    error = slopes(X, y, np.random.default_rng(0)).error
    assert could_be_law(contest, law)
    assert is_as_good_as_surface(contest, law, error)
    assert not is_as_good_as_surface(contest, wrong, error)
    assert leaves_nothing(law.expr, (x1, x2), X, y, None, 0)
    assert not leaves_nothing(wrong.expr, (x1, x2), X, y, None, 0)
    assert not leaves_nothing(sympy.log(x1 - 2), (x1, x2), X, y, None, 0)


def test_rows_without_noise_are_not_asked_about_it():
    X, y = sampled(x1 * x2, 2)
    contest = Contest(X, y, (x1, x2))
    law = contest.enter(x1 * x2, "")
    assert law is not None
    assert not could_be_law(contest, law)


@pytest.mark.parametrize(
    "law",
    [
        x1 * (x2**2 + x3**2) / 2,
        pytest.param(x1 * x2 / (x3 - x4 + 4), marks=pytest.mark.slow),
        pytest.param(x1 * (x2 + x3 * sympy.sin(x4)), marks=pytest.mark.slow),
    ],
)
def test_a_law_is_found_in_noise(law):
    columns = len(law.free_symbols)
    X, y = sampled(law, columns, rows=400, noise=0.05)
    table = Table(X, y, SYMBOLS[:columns])
    found = discover(table, Options(max_time=None, max_candidates=1500))
    truth = evaluate(law, SYMBOLS[:columns], X)
    said = evaluate(found.chosen.expr, SYMBOLS[:columns], X)
    assert np.sqrt(np.mean((said - truth) ** 2)) < 0.02 * truth.std()
    assert found.verdict in (Verdict.CONSISTENT, Verdict.AMBIGUOUS)


# -- what may be claimed --------------------------------------------------------------------------


def test_odd_exponents_are_numbers_that_noise_makes():
    assert fitted_numbers(x1**2 / sympy.sqrt(x2)) == 0
    assert fitted_numbers(decimal(0.3) * x1) == 1
    half = sympy.Rational(1, 2)
    assert fitted_numbers(x1**half * x2 ** sympy.Rational(2, 3)) == 3


def test_a_fitted_number_within_much_noise_could_be_anything():
    X, y = sampled(x1 + x2, 2)
    noise = np.random.default_rng(5).normal(size=150) * y.std()

    def verdict(expr, level):
        chosen = Finding(expr, 3, 0.0, 1.0, 0.0)
        return judge(X, y, level * noise, level * noise[:10], chosen, False, (), 0, 0)

    assert verdict(x1 + x2, 0.1)[0] == Verdict.CONSISTENT
    assert verdict(decimal(1.01) * x1 + decimal(0.99) * x2, 0.01)[0] == Verdict.CONSISTENT
    three = decimal(1.01) * x1 + decimal(0.99) * x2 + decimal(0.01)
    assert verdict(three, 0.01)[0] == Verdict.AMBIGUOUS
    assert verdict(three, 0.001)[0] == Verdict.CONSISTENT
    said, reason = verdict(decimal(1.01) * x1 + x2, 0.1)
    assert said == Verdict.AMBIGUOUS
    assert reason.startswith("a formula with 1 fitted number can come close to another law within")


def test_a_constant_with_a_unit_survives_noise():
    """It is a column that does not vary, which steps on the columns that do have not."""
    rng = np.random.default_rng(0)
    m, v, h = rng.uniform(1, 5, (3, 200))
    energy = 0.5 * m * v**2 + 9.81 * m * h
    energy += 0.05 * energy.std() * rng.normal(size=200)
    units = {"x1": "kg", "x2": "m/s", "x3": "m", "y": "J", "g": "m/s^2"}
    est = KANRegressor(max_time=60, units=units, constants={"g": 9.81})
    est.fit(np.stack([m, v, h], 1), energy)
    assert "2 g x_{3}" in est.latex()
    assert np.allclose(est.predict(np.array([[2.0, 3.0, 4.0]])), 2 * 9.81 * 4 + 9)
