"""X and y times 1e-30 to 1e30, or moved by 1e8: R2 within 0.01, the formula in raw units is right.

Every column alone, all, y alone, all in opposite directions; offsets of one column, of all, of y.
"""

import numpy as np
import pytest

from kansym import KAN, KANClassifier, KANRegressor, find_formula
from kansym.pipeline import Recipe

X = np.random.default_rng(0).uniform(1, 2, (60, 2))


def law(x1, x2):
    return 3 * x1 * x2**2


FACTORS = {"both": (1, 1, 0), "x1": (1, 0, 0), "x2": (0, 1, 0), "y": (0, 0, 1), "all": (1, -1, -1)}
SCALES = {
    f"{name} 1e{power}": np.array([10.0 ** (power * way) for way in ways])
    for power in (-30, -20, -10, 10, 20, 30)
    for name, ways in FACTORS.items()
}
OFFSETS = {
    "x1": (1e8, 0, 0),
    "x2": (0, -1e8, 0),
    "both": (1e8, -1e8, 0),
    "y": (0, 0, 1e8),
    "all": (1e8, 1e8, -1e8),
}


def r2(y, prediction):
    """Of units of y in which no square overflows."""
    unit = np.abs(y).max()
    error = np.mean(((np.ravel(prediction) - y) / unit) ** 2)
    return 1 - error / np.var(y / unit)


def scaled(scales):
    return X * scales[:2], law(*X.T) * scales[2]


def moved(offsets):
    return X + offsets[:2], law(*X.T) + offsets[2]


def network_for(table, y):
    model = KAN([2, 3, 1], grid=3, seed=0)
    model.fit((table, y), steps=15, progress=False)
    return model


UNSCALED = r2(law(*X.T), network_for(*scaled(np.ones(3))).predict(X))


@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES.keys())
def test_a_network_of_scaled_data(scales):
    table, y = scaled(scales)
    model = network_for(table, y)
    assert r2(y, model.predict(table)) == pytest.approx(UNSCALED, abs=0.01)
    for edge in ((0, 0, 0), (1, 0, 0)):
        found = model.suggest_symbolic(*edge, lib=["x", "x^2"], topk=1)
        assert np.isfinite(found[["R2", "a", "b", "c", "d"]].to_numpy(dtype=float)).all()


@pytest.mark.parametrize("offsets", OFFSETS.values(), ids=OFFSETS.keys())
def test_a_network_of_moved_data(offsets):
    table, y = moved(offsets)
    assert r2(y, network_for(table, y).predict(table)) == pytest.approx(UNSCALED, abs=0.01)


@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES.keys())
def test_a_formula_of_scaled_data(scales):
    table, y = scaled(scales)
    model = KANRegressor(max_time=20).fit(table, y)
    assert model.exact_
    assert np.allclose(model.formula_.evaluate(table)[:, 0] / y, 1, atol=1e-9)
    x1, x2 = model.formula_.variables
    constant, power = model.sympy().as_independent(x1, x2)
    assert power == x1 * x2**2
    assert float(constant) == pytest.approx(3 * scales[2] / scales[0] / scales[1] ** 2, rel=1e-9)


@pytest.mark.parametrize("offsets", OFFSETS.values(), ids=OFFSETS.keys())
def test_a_formula_of_moved_data(offsets):
    """Digits are lost with an offset: the law is the same to what is left of them."""
    table, y = moved(offsets)
    model = KANRegressor(max_time=None, max_candidates=40).fit(table, y)
    values = model.formula_.evaluate(table)
    assert r2(y, values) == pytest.approx(1, abs=0.01)
    constant, rest = model.sympy().expand().as_coefficients_dict(), model.formula_.variables
    slope = constant[rest[0] * rest[1] ** 2]
    assert float(slope) == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize("name", ["both 1e-30", "x1 1e30", "all 1e30", "x2 1e-10"])
def test_log_odds_of_scaled_data(name):
    table, y = scaled(SCALES[name])
    labels = y > np.median(y)
    model = KANClassifier(max_time=None, max_candidates=10).fit(table, labels)
    plain = KANClassifier(max_time=None, max_candidates=10).fit(X, labels)
    assert model.score(table, labels) == pytest.approx(plain.score(X, labels), abs=0.05)
    assert np.isfinite(model.predict_proba(table)).all()


@pytest.mark.parametrize("name", ["both 1e-30", "y 1e30", "all 1e30"])
def test_a_named_network_of_scaled_data(name):
    """x1 + x2 squared, from one layer: constants come back in raw units."""
    scales = SCALES[name]
    table, y = X * scales[:2], (2 * X[:, 0] + X[:, 1] ** 2) * scales[2]
    recipe = Recipe(restarts=1, steps=20, grid=3, refined_grid=5)
    result = find_formula((table, y), [2, 1], lib=["x", "x^2"], recipe=recipe)
    assert result.r2[0] > 0.99
    assert np.allclose(result.formula.evaluate(table)[:, 0] / y, 1, atol=1e-6)
