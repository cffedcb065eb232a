"""Trained layers become a KAN that can be pruned and named."""

import re

import pytest
import torch

from kansym import KAN
from kansym.network import Network
from kansym.nn import Affine, KANLinear, MinMax, SigmaClip, ZScore, to_kan


def kan(generator, n_in, n_out, **options):
    return KANLinear(n_in, n_out, generator=generator, **{"dtype": torch.float64} | options)


def rows(generator, n=40, n_in=3):
    return 4 * torch.randn(n, n_in, generator=generator, dtype=torch.float64) + 2


@pytest.mark.filterwarnings("ignore::kansym.errors.OutsideGridWarning")
@pytest.mark.parametrize("outside", ["linear", "zero", "clamp"])
@pytest.mark.parametrize("options", [{}, {"standalone_scale": True}, {"range": "adaptive"}])
def test_outputs_are_the_same(outside, options, generator):
    options = {"outside": outside, **options}
    stack = torch.nn.Sequential(
        ZScore(3, dtype=torch.float64),
        Affine(3, dtype=torch.float64),
        kan(generator, 3, 4, grid=4, k=2, base="tanh", **options),
        torch.nn.Identity(),
        kan(generator, 4, 2, **options),
    )
    with torch.no_grad():
        stack[1].weight.copy_(torch.tensor([0.5, -0.3, 0.2]))
        stack[1].bias.copy_(torch.tensor([0.1, 0.0, -0.2]))
        x = rows(generator)
        stack(x)
    stack.eval()
    before = {name: value.clone() for name, value in stack.state_dict().items()}
    model = KAN.from_layers(stack)
    torch.testing.assert_close(model(x), stack(x), rtol=0, atol=1e-10)
    assert model.grid == 4
    with torch.no_grad():
        model.kan_layers[0].coef.add_(1)
    assert all(torch.equal(v, before[n]) for n, v in stack.state_dict().items())


def test_single_precision_layers(generator):
    layer = kan(generator, 3, 2, dtype=torch.float32).eval()
    x = rows(generator)
    model = to_kan([layer])
    assert type(model) is Network
    torch.testing.assert_close(model(x).float(), layer(x.float()), atol=1e-5, rtol=1e-5)


def test_a_trained_layer_gets_its_formula(generator):
    layer = kan(generator, 2, 1, grid=4, grid_range=(-1.0, 1.0))
    x = 2 * torch.rand(300, 2, generator=generator, dtype=torch.float64) - 1
    y = 3 * x[:, :1] ** 2
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = (layer(x) - y).square().mean() + 1e-6 * layer.regularization_loss(x=x)
        value.backward()
        return value

    optimiser.step(loss)
    model = KAN.from_layers(layer, X=x, y=y)
    pruned = model.prune()
    assert pruned.n_active_edges == 1
    pruned.auto_symbolic(["x", "x^2", "sin"])
    (expression,) = pruned.symbolic_formula().exprs
    assert {symbol.name for symbol in expression.free_symbols} <= {"v0", "x1"}
    torch.testing.assert_close(pruned(x), y, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda g: [torch.nn.Flatten()], "layer 0, Flatten"),
        (lambda g: [kan(g, 3, 2), torch.nn.ReLU()], "layer 1, ReLU(), cannot become part of a KAN"),
        (lambda g: [kan(g, 3, 2, basis="rbf")], "its edges are no B-splines"),
        (lambda g: [kan(g, 4, 2, groups=2)], "its edges share functions"),
        (lambda g: [SigmaClip(3), kan(g, 3, 2)], "use ZScore or MinMax"),
        (lambda g: [kan(g, 3, 2), MinMax(2)], "only normalisers before the first layer"),
        (lambda g: [ZScore(4), kan(g, 3, 2)], "ZScore(4) must have 3 features"),
        (lambda g: [kan(g, 3, 2), kan(g, 3, 2)], "takes 3 values and is given 2"),
        (lambda g: [ZScore(3)], "layers must hold at least one KANLinear"),
    ],
)
def test_what_has_no_counterpart(layers, message, generator):
    with pytest.raises(ValueError, match=re.escape(message)):
        KAN.from_layers(layers(generator))
