"""What smooth surfaces say of a law: its slopes, its symmetries, and how it falls into parts."""

import numpy as np
import pytest
import sympy

from kansym.discovery.contest import evaluate
from kansym.discovery.reduce import Problem, reduce_by, split_by
from kansym.discovery.slopes import slopes
from kansym.discovery.surrogate import Surface
from kansym.discovery.symmetry import reach, splits, symmetries, tolerance

ROWS = 200
SYMBOLS = sympy.symbols("x1:5", real=True)
x1, x2, x3, x4 = SYMBOLS


def sampled(law, columns, low=0.5, high=2.5, seed=0):
    """Rows of a law and its values."""
    X = np.random.default_rng(seed).uniform(low, high, (ROWS, columns))
    return X, np.array(evaluate(law, SYMBOLS[:columns], X))


def seen(law, columns, **box):
    """Its slopes, as the search sees them."""
    return slopes(*sampled(law, columns, **box), np.random.default_rng(0))


# -- surfaces -------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [sympy.sin(x1) * x2 + x3**2, x1 * x2 / x3, sympy.exp(x1 - x2) + x3])
def test_values_slopes_and_mixed_slopes_are_those_of_the_law(law):
    surface = seen(law, 3)
    variables = SYMBOLS[:3]
    spread = np.std(surface.values)
    truth = evaluate(law, variables, surface.X)
    assert np.sqrt(np.mean((surface.values - truth) ** 2)) < 1e-3 * spread
    assert surface.predict(surface.X) == pytest.approx(surface.values)
    for i, v in enumerate(variables):
        error = surface.first[:, i] - evaluate(sympy.diff(law, v), variables, surface.X)
        assert np.sqrt(np.mean(error**2)) < 0.01 * spread
    for i, j in ((0, 1), (0, 2), (1, 2)):
        slope = sympy.diff(law, variables[i], variables[j])
        error = surface.mixed(i, j) - evaluate(slope, variables, surface.X)
        assert np.sqrt(np.mean(error**2)) < 0.05 * spread


def test_slopes_of_a_surface_are_its_own():
    X, y = sampled(sympy.sin(x1) * x2, 2)
    surface = Surface(X, y)
    for i in range(2):
        step = np.eye(2)[i] * 1e-5
        numeric = (surface.values(X + step) - surface.values(X - step)) / 2e-5
        assert surface.slopes()[:, i] == pytest.approx(numeric, abs=1e-4)


def test_leave_one_out_is_a_fit_without_the_row():
    X, y = sampled(sympy.sin(3 * x1) * x2, 2)
    y = y + 0.1 * np.random.default_rng(1).normal(size=ROWS)
    surface = Surface(X, y)
    squares = (surface.Z[:, None] - surface.Z) ** 2 @ surface.weights
    noise = (surface.noise / surface.spread) ** 2
    K = surface._s2 * np.exp(-0.5 * squares)
    others = np.arange(ROWS) != 7
    inverse = np.linalg.inv(K[np.ix_(others, others)] + noise * np.eye(ROWS - 1))
    without = K[7, others] @ inverse @ surface.t[others] * surface.spread + surface.mean
    assert surface.left_out[7] == pytest.approx(y[7] - without, rel=1e-3)
    assert surface.noise == pytest.approx(0.1, rel=0.3)


def test_a_surface_whose_time_is_over_ends_where_it_is():
    X, y = sampled(sympy.sin(x1) * x2, 2)
    asked = []

    def stop():
        asked.append(None)
        return len(asked) > 2

    stopped = Surface(X, y, stop=stop)
    assert len(asked) == 3
    assert Surface(X, y).error < stopped.error < 1


def test_rows_count_as_they_weigh():
    rng = np.random.default_rng(5)
    X = rng.uniform(-1, 1, (120, 2))
    truth = np.sin(2 * X[:, 0]) + X[:, 1]
    bad = np.arange(120) % 2 == 0
    y = truth + np.where(bad, 1.0, 1e-3) * rng.normal(size=120)
    weight = np.where(bad, 1.0, 1e6)
    weighted, plain = Surface(X, y, weight), Surface(X, y)
    error, as_equals = (np.std(surface.values(X) - truth) for surface in (weighted, plain))
    assert error < 0.1 * as_equals


def test_a_column_that_does_nothing_is_noticed():
    assert reach(seen(x1 * x2, 3))[2] < 1e-3 < reach(seen(x1 * x2, 3))[:2].min()


# -- symmetries -----------------------------------------------------------------------------------

LAWS = [
    ("power", x1**2 * sympy.exp(x2) / (1 + x2 + x3), 3, {0}),
    ("scaling", sympy.sin(x1 * x2) + x3, 3, {0, 1}),
    ("scaling", sympy.exp(-x1 / x2) + x3**2, 3, {0, 1}),
    ("shift", sympy.sin(x1 - x2) + x3, 3, {0, 1}),
    ("rotation", sympy.exp(-sympy.sqrt(x1**2 + x2**2)) + x3, 3, {0, 1}),
    ("triple", sympy.sin(x1 * x2) + sympy.exp(-(x1**2) * x3), 3, {0, 1, 2}),
]


@pytest.mark.parametrize(("kind", "law", "columns", "involved"), LAWS)
def test_a_symmetry_is_found(kind, law, columns, involved):
    found = symmetries(seen(law, columns))
    assert any(s.kind == kind and s.columns == involved for s in found)


def test_a_law_without_symmetry_has_none():
    law = sympy.sin(x1 + x2**2) + sympy.exp(x1 * x2 / 3) * x3 + x3**2 * x1
    surface = seen(law, 3)
    assert symmetries(surface) == []
    assert tolerance(surface) < 0.15


@pytest.mark.parametrize(("kind", "law", "columns", "involved"), LAWS[:5])
def test_a_reduced_problem_is_the_same_law(kind, law, columns, involved):
    X, y = sampled(law, columns)
    surface = slopes(X, y, np.random.default_rng(0))
    (symmetry, *_) = [s for s in symmetries(surface) if s.kind == kind and s.columns == involved]
    reduction = reduce_by(Problem(X, y, SYMBOLS[:columns]), [symmetry])
    assert reduction is not None
    smaller = reduction.problem
    assert smaller.X.shape[1] == columns - 1
    # A formula for the smaller problem, lifted, is that formula of the larger one's columns.
    z = smaller.symbols[0]
    lifted = evaluate(reduction.lift(z), SYMBOLS[:columns], X)
    scale = evaluate(reduction.lift(sympy.Integer(1)), SYMBOLS[:columns], X)
    assert lifted == pytest.approx(smaller.X[:, 0] * scale)
    assert smaller.y * scale == pytest.approx(y)


# -- splits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "columns", "kind", "blocks"),
    [
        (sympy.sin(x1) + x2**2 + sympy.exp(x3), 3, "sum", ((0,), (1,), (2,))),
        (sympy.sin(x1 * x2) + x3 * x4, 4, "sum", ((0, 1), (2, 3))),
        (sympy.sin(2 * x1) * (x2**2 - x2), 2, "product", ((0,), (1,))),
        (sympy.sqrt(sympy.sin(x1) + x2**2), 2, "sum in y^2", ((0,), (1,))),
        (1 / (sympy.sin(x1) + x2**2), 2, "sum in 1/y", ((0,), (1,))),
    ],
)
def test_a_law_falls_into_its_parts(law, columns, kind, blocks):
    assert (kind, blocks) in [(s.kind, s.blocks) for s in splits(seen(law, columns))]


def test_a_product_with_a_shift_is_found():
    found = splits(seen(sympy.sin(2 * x1) * (x2**2 + 1) + 5, 2))
    assert any(s.kind == "product" and s.shift == pytest.approx(5, abs=0.05) for s in found)


def test_a_law_that_holds_together_has_no_parts():
    assert splits(seen(sympy.sin(3 * x1 * x2) + x1, 2)) == []


def test_parts_are_read_off_the_surface():
    law = sympy.sin(x1) + x2**2
    X, y = sampled(law, 2)
    surface = slopes(X, y, np.random.default_rng(0))
    (split, *_) = (s for s in splits(surface) if s.kind == "sum")
    parts = split_by(Problem(X, y, SYMBOLS[:2]), split, surface)
    assert parts is not None
    for part, form in zip(parts.problems, (sympy.sin(x1), x2**2), strict=True):
        truth = evaluate(form, part.symbols, part.X)
        assert part.y - part.y.mean() == pytest.approx(truth - truth.mean(), abs=0.02)
    assert parts.join([sympy.sin(x1), x2**2]) == law
    rest = parts.remainder([sympy.sin(x1)], 1)
    assert rest is not None
    assert rest.y == pytest.approx(rest.X[:, 0] ** 2)
