"""The examples on accuracy: what their figures rest on, and what their pages say."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def laws():
    return example("scaling_laws")


@pytest.fixture(scope="module")
def functions():
    return example("special_functions")


def test_a_slope_is_that_of_the_power_law(laws):
    parameters = np.array([10, 20, 40, 80, 160])
    error = 3.0 * parameters**-4.0
    curve = pd.DataFrame({"parameters": parameters, "RMSE": error})
    assert laws.slope(curve, spread=1.0) == pytest.approx(-4)
    floor = pd.DataFrame({"parameters": parameters, "RMSE": np.maximum(error, error[3])})
    assert laws.slope(floor, spread=1.0) == pytest.approx(-4)  # what follows the best is left out
    assert np.isnan(laws.slope(curve, spread=10 * error[2]))  # two points are no line


def test_the_error_falls_with_the_fourth_power(laws):
    law = replace(laws.LAWS[0], grids=(20, 40, 80))
    curve = laws.kan_curve(law, [1, 1])
    assert list(curve["parameters"]) == [24, 44, 84]
    assert -6 < laws.slope(curve, spread=float(law.sample().y.std())) < -3.5


def test_a_product_node_is_a_product(laws):
    law = replace(laws.LAWS[2], grids=(3,))
    assert laws.kan_curve(law, [2, [0, 1]])["RMSE"].min() < 1e-8


def test_laws_have_networks_of_their_variables(laws):
    for law in laws.LAWS:
        assert {width[0] for width in law.widths} == {law.n_var}
        assert law.sample().X.shape == (3000, law.n_var)


def test_real_harmonics_are_those_of_the_sphere(functions):
    azimuth, polar = np.array([0.3, 2.0, 5.5]), np.array([0.2, 1.4, 2.9])
    expected = np.sqrt(15 / (32 * np.pi)) * np.sin(polar) ** 2 * np.cos(2 * azimuth)
    np.testing.assert_allclose(functions.harmonic(2, 2, azimuth, polar), expected, rtol=1e-12)


def test_special_functions_are_regular_on_their_domains(functions):
    assert len(functions.SPECIAL) == 15
    for problem in functions.SPECIAL:
        y = problem.sample(200, 0, seed=0).y
        assert 0.01 < float(y.std()) < 100, problem.name


def test_a_harmonic_is_a_product_of_two_edges(functions):
    data = functions.SPECIAL[-1].sample(500, 200, seed=0)
    model = functions.trained([2, [0, 1]], data)
    assert functions.rmse(model, data.X_test, data.y_test) < 1e-6
    assert model.prune().n_active_edges == 2


@pytest.mark.slow
def test_the_page_on_scaling_is_true(laws, tmp_path):
    table, fixed, chosen = laws.main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "scaling_laws.png",
        "scaling_laws_overfitting.png",
    ]
    slopes = table["slope"].dropna()
    assert len(slopes) == 4
    assert (slopes < -3.5).all()
    assert (table["RMSE"] < table["MLP RMSE"] / 100).all()
    assert (table["MLP / our CPU time"] > 1).all()
    assert chosen["test"] < fixed["test"].min() * 2
    past = fixed[fixed["parameters"] > laws.FEW_ROWS]
    assert (past["test"] > 10 * chosen["test"]).all()
    assert (past["train"] < past["test"] / 10).all()


@pytest.mark.slow
def test_the_page_on_special_functions_is_true(functions, tmp_path):
    table = functions.main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "special_functions.png",
        "special_functions_harmonic.png",
    ]
    assert (table["RMSE"] < table["paper"]).sum() >= 13  # 14 where the page was written
    assert (table["RMSE"] < 2 * table["paper"]).all()
    assert table["edges"].max() <= 8
    assert (table["small RMSE"] < table["paper"]).sum() >= 8  # 9
    harmonics = table[table["function"].str.startswith("sph_harm")]
    assert harmonics["RMSE"].max() < 1e-7
    assert harmonics["edges"].max() <= 4
