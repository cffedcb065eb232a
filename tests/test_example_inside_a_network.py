"""A layer of splines inside a network: what becomes of inputs that leave its grid."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from kansym import KAN, OutsideGridWarning
from kansym.nn import KANLinear

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "inside_a_network.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def slopes_of_splines(outside):
    """Largest gradient of the coefficients from inputs far outside of the grid."""
    generator = torch.Generator().manual_seed(0)
    layer = KANLinear(2, 1, outside=outside, generator=generator)
    x = 5 + torch.rand(50, 2, generator=generator)
    with pytest.warns(OutsideGridWarning, match="100% of a training batch"):
        layer(x).square().sum().backward()
    return float(layer.coef.grad.abs().max())


def test_outside_of_the_grid_the_rule_zero_teaches_splines_nothing():
    assert slopes_of_splines("zero") == 0
    assert slopes_of_splines("linear") > 0.1


def test_a_few_steps_tell_the_variants_apart(script):
    done = script["compare"](["fixed grid, rule zero", "adaptive grid"], seeds=[0], steps=100)
    table, watched = done.table, done.watched
    assert table.loc["fixed grid, rule zero", "outside"] > 0.5
    assert table.loc["adaptive grid", "outside"] < 0.2
    assert list(table["warned"]) == ["1 of 1", "0 of 1"]
    grid = watched["adaptive grid"].grid
    inputs = watched["adaptive grid"].inputs
    assert (grid[1:, 0] < inputs[1:, 1]).all()
    assert (grid[1:, 1] > inputs[1:, 1]).all()
    assert np.array_equal(watched["fixed grid, rule zero"].grid, np.tile([-1.0, 1.0], (100, 1)))


def test_a_layer_is_read_with_its_normaliser(script):
    X, y = script["sample"](300, seed=0)
    net = script["build"]("ZScore before it")
    net(X)
    net.eval()
    with torch.no_grad():
        hidden = net[0](X)
        expected = net(X)
    model = KAN.from_layers(*net[1:], X=hidden, y=y)
    assert torch.allclose(model(hidden), expected)


@pytest.mark.slow
def test_the_figures_are_those_of_the_page(script, tmp_path, capsys):
    table = script["main"](tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["inside_a_network.png"]
    error = table["test RMSE"]
    assert error["fixed grid, rule zero"] > 0.4
    assert error["wide fixed grid"] > 0.4
    assert error["adaptive grid"] < 0.15
    assert error["ZScore before it"] < 0.25
    assert "sin(" in capsys.readouterr().out
