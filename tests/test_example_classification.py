"""Formulas that tell classes apart: the quick truths behind the example, and its figures."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import sympy

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "classification.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def test_one_label_in_about_twelve_is_on_the_wrong_side(script):
    X, y = script["two_sides"](20_000, seed=3)
    wrong = (y == "below") != (X["v"] < script["curve"](X["u"]))
    assert wrong.mean() == pytest.approx(0.085, abs=0.01)


def test_scores_of_the_truth_are_the_best(script):
    rng = np.random.default_rng(0)
    p = rng.uniform(size=5000)
    y = rng.uniform(size=5000) < p
    right, shifted = script["scores"](y, p), script["scores"](y, 0.2 + 0.6 * p)
    assert right["accuracy"] == pytest.approx(0.75, abs=0.02)
    assert right["log-loss"] < shifted["log-loss"]


def test_tumours_have_names_that_formulas_can_bear(script):
    X, y = script["tumours"]()
    assert X.shape == (569, 30)
    assert all(name.isidentifier() for name in X)
    assert dict(zip(*np.unique(y, return_counts=True), strict=True)) == {
        "benign": 357,
        "malignant": 212,
    }


@pytest.mark.slow
def test_the_figures_are_those_of_the_page(script, tmp_path):
    border, table = script["main"](tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "classification_border.png",
        "classification_tumours.png",
    ]
    assert border.loc["found", "log-loss"] < border.loc["truth", "log-loss"] + 0.003
    assert table.loc["formula", "accuracy"] > 0.94
    assert table.loc["formula", "AUC"] > 0.98
    assert table.loc["formula", "log-loss"] < 0.13
    assert table.loc["formula", "size"] < 20
    assert table.loc["logistic regression", "accuracy"] > 0.96


@pytest.mark.slow
def test_the_border_is_the_curve(script):
    model, _ = script["find_border"]()
    u, v = model.formula_.variables
    assert model.sympy().free_symbols == {u, v}
    border = sympy.solve(model.sympy(), v)
    assert len(border) == 1
    line = np.linspace(-0.9, 0.9, 50)
    assert np.abs(sympy.lambdify(u, border[0])(line) - script["curve"](line)).max() < 0.1
