"""The examples with layers of splines: they fit together and learn."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sympy
import torch

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def random_state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_digits_are_learned(capsys):
    table = example("digits").main(epochs=2)
    assert list(table["classifier"]) == ["KANLinear", "nn.Linear"]
    assert table["test"].iloc[0] > 0.75
    assert "KANLinear" in capsys.readouterr().out


def test_vgg16_has_its_convolutions():
    vgg = example("vgg16_kan")
    convolutions = vgg.convolutions()
    assert vgg.parameters(convolutions) == 14_714_688  # torchvision's count
    with torch.device("meta"):
        model = vgg.VGG16KAN()
        assert model(torch.empty(2, 3, 224, 224)).shape == (2, 10)


def test_a_small_vgg16_goes_forward_and_back():
    model = example("vgg16_kan").VGG16KAN(classes=3, pool=1, hidden=4)
    out = model(torch.rand(2, 3, 32, 32))
    assert out.shape == (2, 3)
    out.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.slow
def test_vgg16_takes_a_full_image(capsys):
    example("vgg16_kan").main(batch=1)
    assert "72,540,480" in capsys.readouterr().out


@pytest.mark.slow
def test_trained_layers_become_a_formula(capsys):
    formula = example("kan_from_layers").main()
    x1, x2 = sympy.symbols("x1 x2")
    (found,) = formula.exprs
    named = found.subs({symbol: sympy.Symbol(symbol.name) for symbol in found.free_symbols})
    assert sympy.simplify(named - sympy.exp(sympy.sin(sympy.pi * x1) + x2**2)) == 0


@pytest.mark.cluster
@pytest.mark.parametrize("devices", [1, 2])
def test_lightning_trains_layers_in_one_process_and_two(devices):
    pytest.importorskip("lightning")
    command = [sys.executable, EXAMPLES / "lightning_kan.py", "--devices", str(devices)]
    # A script of its own: the processes it starts import it.
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(re.search("mean square error ([^ ]*)", done.stdout)[1]) < 2e-3
    assert int(re.search("moved ([0-9]*) times", done.stdout)[1]) >= 1
    assert "layer 0, 0 -> " in done.stdout
    assert "layer 0, 2 -> " not in done.stdout  # what does not matter is pruned
