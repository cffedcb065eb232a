"""Tidied constants describe the same function, and read as promised."""

import pytest
import torch

from kansym import KAN, function_names
from kansym.functions import get_function
from kansym.symbolic.fix import set_edge
from kansym.symbolic.gauge import tidy


def make_inputs(n_in, generator):
    return torch.rand(40, n_in, generator=generator, dtype=torch.float64) + 0.5


def named(width, names):
    """A network whose edges have these names, layer by layer and input by input."""
    model, rest = KAN(width), iter(names)
    for l, layer in enumerate(model.kan_layers):
        for i in range(layer.n_in):
            for j in range(layer.n_out):
                set_edge(model, (l, i, j), next(rest), (0.4, 0.05, -0.7, 0.3))
    return model


@pytest.mark.parametrize("name", function_names())
@pytest.mark.parametrize("params", [(0.4, 0.05, -0.7, 0.3), (-0.3, 0.9, 2.0, 0.0)])
def test_every_function_keeps_its_values(name, params, generator):
    model, X = KAN([1, 1]), make_inputs(1, generator)
    set_edge(model, (0, 0, 0), name, params)
    before = model(X).detach()
    tidy(model)
    finite = torch.isfinite(before)
    assert bool(finite.any())
    assert torch.allclose(model(X)[finite], before[finite], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["x", "x^2", "x^3", "1/x", "sqrt", "log", "abs", "sign"])
@pytest.mark.parametrize("a", [0.4, -0.4])
def test_a_redundant_rate_is_one(name, a):
    model = KAN([1, 1])
    set_edge(model, (0, 0, 0), name, (a, 1.5, -0.7, 0.3))
    tidy(model)
    function = get_function(name)
    wanted = 1.0 if function.has_parity or a > 0 else -1.0
    assert float(model.kan_layers[0].affine[0, 0, 0].detach()) == wanted


def test_an_exponential_has_no_phase():
    model = KAN([1, 1])
    set_edge(model, (0, 0, 0), "exp", (0.4, 1.5, -0.7, 0.3))
    tidy(model)
    assert model.kan_layers[0].affine[0, 0, :2].tolist() == pytest.approx([0.4, 0.0])


def test_hidden_sums_start_with_one_and_have_no_constant(generator):
    model = named([2, 2, 1], ["sin", "tanh", "x^2", "exp", "exp", "arctan"])
    X = make_inputs(2, generator)
    before = model(X).detach()
    tidy(model)
    assert torch.allclose(model(X), before, rtol=1e-12)
    first = model.kan_layers[0].affine.detach()
    assert first[:, 0, 2].tolist() == [1.0, 1.0]
    assert not first[:, :, 3].any()


def test_factors_start_with_one(generator):
    model = named([2, [1, 1], 1], ["sin", "tanh", "exp", "x^2", "sin", "arctan", "exp", "arctan"])
    X = make_inputs(2, generator)
    before = model(X).detach()
    tidy(model)
    assert torch.allclose(model(X), before, rtol=1e-12)
    assert model.kan_layers[0].affine[:, 0, 2].tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert bool(model.kan_layers[0].affine[1:, :, 3].all())  # a constant of a factor must stay


def test_nodes_next_to_a_spline_stay_as_they_are(generator):
    model = named([2, [1, 1], 1], ["sin"] * 6 + ["tanh"] * 2)
    for node in (0, 1):
        del model.kan_layers[1].symbolic[0, node]
    X = make_inputs(2, generator)
    before, affine = model(X).detach(), model.kan_layers[0].affine.detach().clone()
    tidy(model)
    assert torch.allclose(model(X), before, rtol=1e-12)
    assert torch.equal(model.kan_layers[0].affine.detach(), affine)
