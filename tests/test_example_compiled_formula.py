"""The truths behind examples/compiled_formula.py."""

import importlib.util
from pathlib import Path

import pytest
import sympy
import torch

from kansym import KAN

PATH = Path(__file__).parent.parent / "examples" / "compiled_formula.py"
PICTURES = {f"compiled_formula_{name}.png" for name in ("tree", "law", "found")}


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("compiled_formula", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_term_is_missing_until_the_network_has_grown_and_learned(example):
    law = KAN.from_formula(
        {"V": example.NEWTON}, variables=list(example.RANGES), ranges=example.RANGES, mult_arity=3
    )
    X = law.sample.X
    y = example.relativistic(X)
    M, L, r = X.T
    missing = float((M * L**2 / r**3).square().mean().sqrt())
    assert example.rmse(law, X, y) == pytest.approx(missing)
    grown = law.widen(1, n_sum=0, n_product=1)
    assert example.rmse(grown, X, y) == pytest.approx(missing)
    grown.fit((X, y), opt="LM", steps=30, progress=False)
    assert example.rmse(grown, X, y) < 0.01 * missing
    with torch.no_grad():
        assert bool((law(X)[:, 0] == law.sample.y[:, 0]).all())


def test_the_table_of_terms(example):
    M, L, r = (sympy.Symbol(name, real=True) for name in "MLr")
    table = example.terms(-(L**2) * (M - r / 2) / r**3 - M / r + 7, L**2 / (2 * r**2) - M / r)
    assert table["law compiled"].tolist() == [0.5, -1, 0, 0]
    assert table["found"].tolist() == [0.5, -1, -1, 7]
    assert table["Carroll 2004"].tolist() == [0.5, -1, -1, 0]


@pytest.mark.slow
def test_the_example(example, tmp_path, capsys):
    example.main(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == PICTURES
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if "L**2*M/r**3" in line)
    assert row.split()[1:] == ["0.0", "-1.0", "-1.0"]
    assert any("homogeneous of degree 0 in M, L, r" in line for line in lines)
