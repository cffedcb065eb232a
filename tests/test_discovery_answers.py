"""From many columns to those that matter, and from formulas found to the answer given."""

import math

import numpy as np
import pytest
import sympy

from kansym.discovery.answer import Answer
from kansym.discovery.budget import Budget
from kansym.discovery.contest import Contest, complexity, evaluate
from kansym.discovery.networks import best_network, shapes
from kansym.discovery.records import Options, Table, Verdict
from kansym.discovery.screening import MOST, relevant_columns
from kansym.discovery.tidy import tidied
from kansym.symbolic.constants import decimal

SYMBOLS = x, y = sympy.symbols("x y", real=True)


def table_of(law, rows=100, low=(0.5, 0.5), high=(2.5, 2.5), noise=0.0):
    rng = np.random.default_rng(0)
    X = rng.uniform(low, high, (rows, 2))
    values = np.array(evaluate(law, SYMBOLS, X)) + noise * rng.normal(size=rows)
    return Table(X, values, SYMBOLS)


# -- tidy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ((2, 0), (3, 1), x - y),
        ((0, 2), (1, 3), y - x),
        ((0, 0), (1, 1), sympy.Abs(x - y)),
    ],
)
def test_a_square_under_a_root_is_what_it_is_in_all_rows(low, high, expected):
    messy = sympy.sqrt(x**2 - 2 * x * y + y**2)
    assert sympy.simplify(tidied(messy, table_of(x, low=low, high=high)) - expected) == 0


@pytest.mark.parametrize(
    "expr",
    [
        sympy.sqrt(x**2 + 2 * x * y + y**2) * sympy.exp(x),
        (x**2 - y**2) / (x + y) + sympy.sin(x) * 2.5,
        sympy.sqrt(x * y) / sympy.sqrt(x) - 1.25 * sympy.sqrt(y**3),
        sympy.log(x) + sympy.cos(x / y) ** 2,
        1 / (1 / x + 1 / y),
    ],
)
def test_a_tidy_formula_is_shorter_and_the_same(expr):
    table = table_of(x)
    tidy = tidied(expr, table)
    assert complexity(tidy) <= complexity(expr)
    assert evaluate(tidy, SYMBOLS, table.X) == pytest.approx(evaluate(expr, SYMBOLS, table.X))
    assert tidy.free_symbols <= set(SYMBOLS)


# -- screening ------------------------------------------------------------------------------------


def test_the_two_columns_of_a_hundred_that_matter_are_kept():
    X = np.random.default_rng(0).uniform(-1, 1, (300, 100))
    kept = relevant_columns(X, np.sin(2 * X[:, 17]) * X[:, 63], np.random.default_rng(0))
    assert {17, 63} <= set(kept)
    assert len(kept) == MOST
    assert kept == sorted(kept)


def test_a_narrow_table_keeps_all_columns():
    X = np.ones((5, MOST))
    assert relevant_columns(X, np.arange(5.0), np.random.default_rng(0)) == list(range(MOST))


# -- spline networks ------------------------------------------------------------------------------


def test_a_spline_network_predicts_rows_held_out():
    table = table_of(sympy.sin(x) * y, rows=120)
    rows = np.arange(120) < 100
    network = best_network(table.rows(rows), table.rows(~rows), 0, None, Budget(6.0))
    assert network is not None
    assert network.rmse < 0.1 * np.std(table.y)
    error = network.model.predict(table.X[~rows])[:, 0] - table.y[~rows]
    assert np.sqrt(np.mean(np.asarray(error) ** 2)) == pytest.approx(network.rmse)


def test_few_rows_have_no_spline_network():
    table = table_of(x * y, rows=40)
    few = table.rows(np.arange(40) < 30)
    assert best_network(few, table.rows(np.arange(40) >= 30), 0, None, Budget(5.0)) is None
    assert best_network(table, table.rows(np.zeros(40, dtype=bool)), 0, None, Budget(5.0)) is None
    assert all(width[0] == 3 and width[-1] == 1 for width in shapes(3))


# -- answers --------------------------------------------------------------------------------------


def answered(table, *exprs):
    """The answer to a contest of these formulas, a fifth of the rows held out."""
    held_out = np.arange(len(table.y)) % 5 == 0
    rows = table.rows(~held_out)
    contest = Contest(rows.X, rows.y, table.variables)
    for expr in exprs:
        contest.enter(expr, "test")
    return Answer(table, held_out, contest, Options(), lambda: math.inf).discovery(None, "done")


def test_a_law_is_exact_with_its_constants_snapped():
    found = answered(table_of(2 * x + y / 3), decimal(1.9) * x + decimal(0.4) * y)
    assert found.chosen.expr == 2 * x + y / 3
    assert (found.verdict, found.noise, found.stopped) == (Verdict.EXACT, 0.0, "done")


def test_numbers_that_no_row_determines_are_doubted():
    """A step between two rows: where it lies, and how steep it is, no row says."""
    X = np.column_stack([np.r_[np.linspace(0, 1, 50), np.linspace(2, 3, 50)], np.zeros(100)])
    table = Table(X, np.where(X[:, 0] < 1.5, 0.0, 2.0), SYMBOLS)
    step = decimal(1.0) * sympy.tanh(decimal(70.3) * x - decimal(105.1)) + decimal(1.0)
    found = answered(table, step)
    assert np.sqrt(found.chosen.loss) < 1e-12
    assert found.verdict == Verdict.AMBIGUOUS
    assert "no row shows the difference" in found.reason


def test_formulas_that_fit_alike_are_rivals():
    table = table_of(x + y, noise=0.3)
    found = answered(table, decimal(1.0) * x + decimal(1.0) * y, decimal(3.0) * sympy.sqrt(x + y))
    assert found.verdict in (Verdict.AMBIGUOUS, Verdict.CONSISTENT)
    assert found.noise == pytest.approx(0.3, rel=0.2)
    assert found.chosen in found.findings


def test_what_beats_no_mean_is_the_mean():
    table = Table(table_of(x).X, np.random.default_rng(3).normal(size=100), SYMBOLS)
    found = answered(table, decimal(1.0) * x + decimal(1.0) * y)
    assert found.verdict == Verdict.NONE
    assert found.chosen.expr.is_number
