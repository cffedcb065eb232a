"""Weights of rows, Huber's loss, the smoothing prior, and the gradients behind the solvers."""

import re

import pytest
import torch

from kansym import kernels
from kansym.datasets import Dataset
from kansym.functions import get_function
from kansym.jacobian import PARAMETERS, FreeParameters
from kansym.model import KAN
from kansym.network import Network
from kansym.training import FitOptions, Penalty, loss_and_gradient, train
from kansym.training.choice import MAX_LM_PARAMETERS, choose_opt
from kansym.training.least_squares import LeastSquares
from kansym.training.lm import LM
from kansym.training.objective import Objective
from kansym.training.quadratic import in_domains, roughness_matrix

N = 30
SMALL = [2, [2, 1], 2]


def make_network(generator, width=SMALL, **options):
    network = Network(width, grid=3, **options)
    with torch.no_grad():
        for layer in network.kan_layers:
            layer.coef += 0.5 * torch.randn(layer.coef.shape, generator=generator).to(layer.coef)
    network.kan_layers[0].mask[1, 0] = False
    for name in ("input_shift", "input_scale", "output_shift", "output_scale"):
        buffer = getattr(network, name)
        buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return network


def make_rows(generator, n_out=2, dtype=torch.float64):
    X = 2 * torch.rand(N, 2, generator=generator, dtype=dtype) - 1
    y = torch.randn(N, n_out, generator=generator, dtype=dtype)
    return X, y, 2 * torch.rand(N, generator=generator, dtype=dtype)


def gradients_of(network):
    parameters = [getattr(layer, name) for layer in network.kan_layers for name in PARAMETERS]
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]


def by_autograd(network, X, y, objective, weight=None):
    network.zero_grad()
    value = objective(network, X, y, weight)
    value.objective.backward()
    return value, gradients_of(network)


def assert_close(actual, expected, tolerance=1e-11):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# -- the gradient --------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """How often the kernel for whole networks was called."""
    seen = []
    run = kernels.NativeNetwork.loss
    monkeypatch.setattr(kernels.NativeNetwork, "loss", lambda *a: seen.append(1) or run(*a))
    return seen


OBJECTIVES = {
    "mse": Objective("mse", Penalty()),
    "huber": Objective("huber", Penalty(), 0.3),
    "sparse": Objective("mse", Penalty(0.1, score="std")),
    "smooth": Objective("mse", Penalty(smooth=0.1)),
    "custom": Objective(lambda h, y: (h - y).abs().mean(), Penalty()),
}


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("width", [SMALL, [2, 3, 2], [2, [1, 2], [0, 2]], [2, 20, 2]], ids=str)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_is_autograds(name, width, is_weighted, calls, generator):
    network = make_network(generator, width)
    X, y, weight = make_rows(generator)
    objective, weight = OBJECTIVES[name], weight if is_weighted else None
    expected, gradients = by_autograd(network, X, y, objective, weight)
    found = loss_and_gradient(network, X, y, objective, weight)
    assert_close(found.objective.detach(), expected.objective.detach())
    assert_close(found.penalty.detach(), expected.penalty.detach())
    assert_close(gradients_of(network), gradients)
    assert len(calls) == (name == "mse" and kernels.load().library is not None)


def test_named_edges_take_the_other_road(calls, generator):
    network = make_network(generator)
    network.kan_layers[0].symbolic = {(0, 0): "sin"}
    X, y, weight = make_rows(generator)
    gradients = by_autograd(network, X, y, OBJECTIVES["mse"], weight)[1]
    loss_and_gradient(network, X, y, None, weight)
    assert_close(gradients_of(network), gradients)
    assert not calls


@pytest.mark.parametrize("of_data", [torch.float32, torch.float64])
@pytest.mark.parametrize("of_network", [torch.float32, torch.float64])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_data_may_be_of_another_type_than_the_network(is_weighted, of_network, of_data, generator):
    network = make_network(generator, dtype=of_network)
    X, y, weight = make_rows(generator, dtype=of_data)
    weight = weight if is_weighted else None
    expected, gradients = by_autograd(network, X, y, OBJECTIVES["mse"], weight)
    found = loss_and_gradient(network, X, y, None, weight)
    assert float(found.loss.detach()) == pytest.approx(float(expected.loss.detach()), rel=1e-5)
    assert_close(gradients_of(network), gradients, 1e-5)


def test_one_column_of_targets_stands_for_all(generator):
    network, (X, y, _) = make_network(generator), make_rows(generator)
    expected, gradients = by_autograd(network, X, y[:, :1].expand(N, 2), OBJECTIVES["mse"])
    found = loss_and_gradient(network, X, y[:, :1])
    assert_close(found.loss, expected.loss.detach())
    assert_close(gradients_of(network), gradients)


# -- weights and Huber's loss --------------------------------------------------------------------


def test_huber_is_twice_that_of_torch(generator):
    residual = 3 * torch.randn(200, generator=generator, dtype=torch.float64)
    for delta in (0.1, 1.0, 5.0):
        expected = 2 * torch.nn.functional.huber_loss(
            residual, torch.zeros_like(residual), reduction="none", delta=delta
        )
        assert_close(Objective("huber", Penalty(), delta).of_residuals(residual), expected)


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("name", ["mse", "huber"])
def test_lm_has_the_loss_and_the_gradient_of_autograd(name, is_weighted, generator):
    network = make_network(generator)
    X, y, weight = make_rows(generator)
    weight = weight if is_weighted else None
    model = LeastSquares(network, OBJECTIVES[name], X, y, weight).normal_equations()[0]
    expected, gradients = by_autograd(network, X, y, OBJECTIVES[name], weight)
    assert model.value == pytest.approx(float(expected.loss.detach()), rel=1e-12)
    assert_close(2 * model.gradient, FreeParameters(network).pick(gradients))
    assert torch.linalg.eigvalsh(model.curvature)[0] > -1e-12


@pytest.mark.parametrize("name", ["mse", "huber"])
def test_a_weight_of_2_is_a_row_twice(name, generator):
    network, (X, y, _) = make_network(generator), make_rows(generator)
    weight = torch.ones(N, dtype=torch.float64)
    weight[:10] = 2
    twice = torch.cat([torch.arange(N), torch.arange(10)])
    weight = weight / weight.mean()
    models = [
        LeastSquares(network, OBJECTIVES[name], X, y, weight).normal_equations()[0],
        LeastSquares(network, OBJECTIVES[name], X[twice], y[twice]).normal_equations()[0],
    ]
    assert_close(*(torch.tensor(model.value) for model in models))
    assert_close(models[0].gradient, models[1].gradient)
    assert_close(models[0].curvature, models[1].curvature)
    value = loss_and_gradient(network, X, y, OBJECTIVES[name], weight)
    found = gradients_of(network)
    same = loss_and_gradient(network, X[twice], y[twice], OBJECTIVES[name])
    assert_close(value.loss.detach(), same.loss.detach())
    assert_close(found, gradients_of(network))


def line(generator, n=200):
    """A smooth curve in [-1, 1] with a little noise, ends included: grids stay where they are."""
    x = 2 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 1
    x[0], x[1] = -1, 1
    return x, torch.sin(2 * x)


def fit(model, data, **options):
    return model.fit(data, progress=False, scale="never", **options)


@pytest.mark.parametrize("opt", ["LBFGS", "LM"])
@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_a_weight_of_0_takes_a_row_out(loss, opt, generator):
    x, y = line(generator, 60)
    wild, weight = y.clone(), torch.ones(60, dtype=torch.float64)
    wild[5], weight[5] = 1e6, 0
    models = [KAN([1, 1], grid=4) for _ in range(2)]
    options = {"opt": opt, "steps": 6, "loss": loss, "update_grid": False}
    fit(models[0], (x, wild), sample_weight=weight, **options)
    rest = torch.arange(60) != 5
    fit(models[1], (x[rest], y[rest]), **options)
    assert_close(models[0](x).detach(), models[1](x).detach(), 1e-5)


@pytest.mark.parametrize("opt", ["LBFGS", "LM"])
def test_huber_does_not_follow_outliers(opt, generator):
    x, y = line(generator)
    data = y.clone()
    data[::10] += 5  # all on one side: the worst for a mean
    errors = {}
    for loss in ("mse", "huber"):
        model = KAN([1, 1], grid=5)
        fit(model, (x, data), opt=opt, steps=40, loss=loss, huber_delta=0.05)
        errors[loss] = float((model(x) - y).detach().pow(2).mean().sqrt())
    assert errors["mse"] > 0.4
    assert errors["huber"] < 0.05 * errors["mse"]


# -- the smoothing prior -------------------------------------------------------------------------


def test_lm_knows_the_prior(generator):
    network = make_network(generator)
    free, penalty = FreeParameters(network), Penalty(smooth=0.7)
    with torch.no_grad():
        matrix = roughness_matrix(network, free, penalty)
    network.zero_grad()
    value = penalty.roughness(network)
    value.backward()
    theta = free.get()
    assert float(theta @ matrix @ theta) == pytest.approx(float(value.detach()), rel=1e-12)
    assert_close(2 * matrix @ theta, free.pick(gradients_of(network)))


def test_coefficients_without_data_are_smooth_and_move_no_other(generator):
    x, y = line(generator, 400)
    inside = (x[:, 0] < -0.3) | (x[:, 0] > 0.5)
    x, y = x[inside], y[inside]
    coefs = {}
    for smooth in (0.0, None):
        model = KAN([1, 1], grid=20, base="zero")
        fit(model, (x, y), opt="LM", steps=60, smooth=smooth, update_grid=False)
        coefs[smooth] = model.kan_layers[0].coef[0, 0].detach()
    values = kernels.features(x, model.kan_layers[0].shape)[0, :-1]
    is_held = values.amax(1) > 1e-3
    free = torch.nonzero(~is_held).flatten()
    assert len(free) >= 3
    second = torch.diff(coefs[None], n=2)
    fitted = (model(x) - y).detach().abs().max()
    assert fitted < 1e-4
    # The least rough way across: a cubic's second differences are a straight line, so are these.
    around = second[free[0] - 2 : free[-1] + 1]
    assert torch.diff(around, n=2).abs().max() < 1e-6
    assert (coefs[None] - coefs[0.0])[is_held].abs().max() < 1e-9


# -- the domains of functions --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["log", "1/x", "sqrt"])
def test_lm_never_leaves_a_domain(name, generator):
    x = 0.02 + torch.rand(60, 1, generator=generator, dtype=torch.float64)
    model = KAN([1, 1])
    layer = model.kan_layers[0]
    layer.symbolic = {(0, 0): name}
    with torch.no_grad():
        layer.affine[0, 0] = torch.tensor([1.0, -0.015, 1.0, 0.0])
    assert in_domains(model, x)
    y = get_function(name).torch(0.3 * x + 0.001)
    solver = LM(model, Objective("mse", Penalty()), None)
    before = float(solver.objective(model, x, y).loss.detach())
    for _ in range(30):
        solver.step(x, y)
        assert in_domains(model, x)
        assert bool(torch.isfinite(model(x)).all())
        after = float(solver.objective(model, x, y).loss.detach())
        assert after <= before
        before = after


# -- the choice of a solver ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "loss", "lr", "batch", "opt", "reason"),
    [
        ([2, 1], "mse", None, None, "LM", "a squared error of 18 free parameters"),
        ([2, 1], "huber", None, None, "LM", "18 free parameters"),
        ([2, 1], "mse", None, 10, "Adam", "batches of 10 rows give gradients with noise"),
        ([2, 2], "cross_entropy", None, None, "LBFGS", "not a sum of squared residuals"),
        ([2, 1], "mse", 0.5, None, "LBFGS", "lr was given, which LM has no use for"),
        ([2, 80, 1], "mse", None, None, "LBFGS", f"2160 free .* {MAX_LM_PARAMETERS} LM is for"),
    ],
)
def test_every_choice_has_its_reason(width, loss, lr, batch, opt, reason):
    chosen, why = choose_opt(Network(width), Objective(loss, Penalty()), lr, batch)
    assert chosen == opt
    assert re.search(reason, why)


def test_a_fit_reports_the_choice(generator):
    x, y = line(generator, 20)
    history = train(Network([1, 1]), Dataset(x, y), FitOptions(steps=2))
    assert (history.opt, history.reason) == ("LM", "a squared error of 9 free parameters")
    history = train(Network([1, 1]), Dataset(x, y), FitOptions(steps=2, batch=5))
    assert history.opt == "Adam"
    assert train(Network([1, 1]), Dataset(x, y), FitOptions("LM", 2)).reason == "asked for"
