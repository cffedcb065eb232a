"""Learning one stretch after another: what the rows do not reach stays, to the bit."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from kansym import KAN

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "continual_learning.py"
FIXED = {"scale": "never", "update_grid": False, "progress": False}


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def moved_coefficients(k, low, high, **options):
    """Numbers of the coefficients that a fit on [low, high] changes, and all those it may."""
    model = KAN([1, 1], grid=20, k=k, base="zero", seed=1)
    before = model.layers[0].coef.detach().clone()
    X = np.linspace(low, high, 60)[:, None]
    model.fit((X, np.cos(9 * X)), **FIXED, **options)
    moved = torch.nonzero(model.layers[0].coef[0, 0] != before[0, 0]).flatten().tolist()
    first, last = np.floor((low + 1) * 10), np.floor((high + 1) * 10)  # intervals, 0.1 wide
    return moved, list(range(int(first), int(last) + k + 1))


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("opt", ["LM", "LBFGS", "Adam"])
def test_coefficients_that_no_row_reaches_keep_every_bit(opt, k):
    moved, reached = moved_coefficients(k, -0.37, 0.21, opt=opt, steps=20, smooth=0)
    assert moved == reached


def test_the_smoothing_prior_moves_the_others():
    moved, _ = moved_coefficients(3, -0.37, 0.21, opt="LM")
    assert len(moved) == 23


def test_units_and_grid_are_those_given(script):
    model = KAN([1, 1], grid=10, base="zero", grid_range=(-1, 1), seed=0)
    knots = model.layers[0].knots.clone()
    X = script["STRETCHES"][1]
    model.fit((X, 100 * script["peaks"](X)), smooth=0, **FIXED)
    assert torch.equal(model.layers[0].knots, knots)
    assert model.input_scale.item() == model.output_scale.item() == 1
    assert model.input_shift.item() == model.output_shift.item() == 0


def test_a_kan_keeps_the_peaks_it_has_learned(script):
    errors, curves = script["learn_in_turn"](script["kan"]([1, 1], smooth=0))
    learned = np.tril(np.ones((5, 5), bool))
    assert (errors.iloc[:, :5].to_numpy()[learned] < 5e-6).all()
    assert (errors.iloc[:, :5].to_numpy()[~learned] > 0.3).all()
    assert np.abs(curves[-1] - script["peaks"](script["WHOLE"])).max() < 5e-5
    # Coefficients that reach over both ends of a stretch are learned twice, with the same result.
    assert np.abs(curves[0][:100] - curves[-1][:100]).max() < 1e-6


@pytest.mark.slow
def test_the_figures_are_those_of_the_page(script, tmp_path):
    table = script["main"](tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["continual_learning.png"]
    last = table.xs(5, level="after peak")
    assert last.loc["KAN", "all"] < 5e-6
    assert (last.loc[["KAN, smooth by default", "MLP"], "all"].between(0.2, 1)).all()
    assert last.loc["KAN [1, 2, 1]", "all"] > 1
    assert (last["peak 5"] < 0.01).all()
