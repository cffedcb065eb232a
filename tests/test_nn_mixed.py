"""Layers computed partly in 16 bits, and computed twice: autocast, loss scaling, checkpoints."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from kansym.nn import BASES, KANLinear

TYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
RANGES = pytest.mark.parametrize("range", ["fixed", "adaptive"])
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])


def network(generator, n_in=3, **options):
    options = {"generator": generator, "grid_range": (-3.0, 3.0)} | options
    return nn.Sequential(KANLinear(n_in, 6, **options), KANLinear(6, 1, **options))


def sample(generator, rows, n_in=3, dtype=torch.float32):
    return 4 * torch.rand(rows, n_in, generator=generator, dtype=dtype) - 2


# -- autocast -------------------------------------------------------------------------------------


@pytest.mark.slow
@DEVICES
@TYPES
@RANGES
@pytest.mark.parametrize("basis", BASES)
def test_training_converges_under_autocast(basis, range, dtype, device, generator):
    train_under_autocast(generator, 300, 0.05, dtype, device, range=range, basis=basis)


def test_a_short_training_under_autocast(generator):
    train_under_autocast(generator, 120, 0.1, torch.bfloat16, "cpu", range="adaptive")


def train_under_autocast(generator, steps, most, dtype, device, **options):
    x = sample(generator, 200).to(device)
    y = x[:, :1].sin() + x[:, 1:2] ** 2
    model = network(generator, **options).to(device)
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in torch.arange(steps):
        optimiser.zero_grad()
        with torch.autocast(device, dtype):
            found = model(x)
            loss = nn.functional.mse_loss(found, y.to(dtype))
        assert found.dtype == dtype
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert nn.functional.mse_loss(model(x), y) < most * y.var()


def test_a_step_without_finite_gradients_is_skipped(generator):
    """The scale is halved; weights and grids stay, and go on with the next step."""
    model = network(generator, range="adaptive")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    model(sample(generator, 20))  # grids find their place
    for factor, is_skipped in ((torch.inf, True), (1.0, False)):
        before = copy.deepcopy(model.state_dict())
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = factor * model(sample(generator, 20) + 9).float().square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        assert scaler.get_scale() == 2.0**19
        after = model.state_dict()
        for coef, knots in (("0.coef", "0.basis.knots"), ("1.coef", "1.basis.knots")):
            assert torch.equal(after[coef], before[coef]) == is_skipped
            assert torch.equal(after[knots], before[knots])
    model(sample(generator, 20) + 9)
    assert not torch.equal(model.state_dict()["0.basis.knots"], before["0.basis.knots"])


@TYPES
@pytest.mark.parametrize("options", [{}, {"groups": 3}, {"basis": "rbf"}, {"basis": "rational"}])
def test_penalties_under_autocast_are_those_without(options, dtype, generator):
    layer, x = KANLinear(3, 2, generator=generator, **options), sample(generator, 50)
    want = layer.edge_scores(x), layer.regularization_loss(), layer.regularization_loss(x=x)
    with torch.autocast("cpu", dtype):
        found = layer.edge_scores(x), layer.regularization_loss(), layer.regularization_loss(x=x)
    assert all(torch.equal(f, w) for f, w in zip(found, want, strict=True))


@RANGES
def test_ranges_under_autocast_are_those_without(range, generator):
    layer = KANLinear(3, 2, generator=generator, range=range, grid_range=(-3, 3))
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        for scale in (1.0, 1.5, 4.0):
            x = sample(generator, 50) * scale
            if range == "fixed":
                x = x.clamp(-3, 3)
            twin(x)
            with torch.autocast("cpu", torch.bfloat16):
                layer(x)
    for name, value in twin.state_dict().items():
        assert torch.equal(layer.state_dict()[name], value), name


# -- checkpoints ----------------------------------------------------------------------------------


@RANGES
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoints_change_nothing(use_reentrant, basis, range, generator):
    """Weights, gradients, statistics and moves, to the last bit, over steps of two batches each."""
    model = network(generator, range=range, basis=basis, grid_range=(-20.0, 20.0))
    twin = copy.deepcopy(model)
    optimisers = [torch.optim.Adam(net.parameters(), lr=0.01) for net in (model, twin)]
    for step in torch.arange(6):
        for optimiser in optimisers:
            optimiser.zero_grad()
        for part in torch.arange(2):
            x = (sample(generator, 30) * (1 + step) + part).requires_grad_()
            same = x.detach().clone().requires_grad_()
            checkpoint(model, x, use_reentrant=use_reentrant).square().mean().backward()
            twin(same).square().mean().backward()
            assert torch.equal(x.grad, same.grad)
        for name, parameter in twin.named_parameters():
            assert torch.equal(model.get_parameter(name).grad, parameter.grad), name
        for optimiser in optimisers:
            optimiser.step()
    for name, value in twin.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert model[0].range_report().batches == 12
    assert range == "fixed" or model[0].range_report().moves >= 3
