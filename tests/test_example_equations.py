"""The examples that solve differential equations: their truths hold, and what their pages say."""

import importlib.util
import math
import re
from pathlib import Path

import pytest
import sympy
import torch

from kansym.derivatives import Field

ROOT = Path(__file__).resolve().parent.parent


def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def field_of(formula, variables, points):
    """An exact solution with its exact derivatives, as an equation takes it."""

    def at(expression):
        values = sympy.lambdify(variables, expression, "numpy")(*points.numpy().T)
        return torch.as_tensor(values).expand(len(points))

    first = torch.stack([at(formula.diff(a)) for a in variables], 1)
    second = [torch.stack([at(formula.diff(a, b)) for b in variables], 1) for a in variables]
    names = tuple(map(str, variables))
    return Field(points, at(formula), first, torch.stack(second, 1), names)


def test_the_source_of_poisson_belongs_to_its_solution(generator):
    poisson = example("poisson")
    x, y = sympy.symbols("x y")
    points = 2 * torch.rand(20, 2, generator=generator, dtype=torch.float64) - 1
    u = field_of(sympy.sin(sympy.pi * x) * sympy.sin(sympy.pi * y**2), (x, y), points)
    assert float(poisson.poisson(u).abs().max()) < 1e-12
    torch.testing.assert_close(poisson.exact(points), u.value)
    torch.testing.assert_close(poisson.exact_slopes(points), u.first)
    for equation in poisson.problem(30)[1:]:
        assert float(poisson.exact(equation.points).abs().max()) < 1e-12


@pytest.mark.parametrize("nu", [0.1 / math.pi, 0.01 / math.pi])
def test_cole_and_hopf_solve_burgers(nu):
    burgers = example("burgers")
    points = torch.tensor([[0.3, 0.4], [-0.1, 0.2], [0.6, 0.9]], dtype=torch.float64)

    def at(x, t):
        return burgers.exact(points + torch.tensor([[x, t]], dtype=torch.float64), nu)

    h = 1e-4
    u = at(0, 0)
    by_t = (at(0, h) - at(0, -h)) / (2 * h)
    by_x, by_xx = (at(h, 0) - at(-h, 0)) / (2 * h), (at(h, 0) - 2 * u + at(-h, 0)) / h**2
    torch.testing.assert_close(by_t + u * by_x, nu * by_xx, rtol=0, atol=1e-4)
    _, start, walls = burgers.problem(nu, 30)
    torch.testing.assert_close(burgers.exact(start.points, nu), start.residual)
    assert float(burgers.exact(walls.points, nu).abs().max()) < 1e-9


def figures(text, method, column):
    """The figures of a column (from the right, 0 the last) in lines that hold `method`."""
    lines = [line.replace("|", " ").split() for line in text.splitlines() if method in line]
    assert lines
    return [float(line[-1 - column]) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method", "column"),
    [
        ("poisson", "pruned, grid", 2),
        ("poisson", "[2, 10, 1], grid", 2),
        ("burgers", "[2, [2, 2], 1], grid", 2),
    ],
)
def test_the_pages_say_what_the_scripts_print(name, method, column, tmp_path, capsys):
    example(name).main(tmp_path)
    printed = figures(capsys.readouterr().out, method, column)
    page = (ROOT / "docs" / "examples" / f"{name}.md").read_text(encoding="utf-8")
    table = re.search(r"```text\n(.*?)```", page, re.DOTALL)[1]
    # The last digits of a long fit depend on the machine; its order of magnitude does not.
    for found, said in zip(printed, figures(table, method, column), strict=True):
        assert found < 3 * said
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
