"""From data to formula in one call: the law comes back, the budget holds, nothing is hidden."""

import importlib.util
import math
import time
from pathlib import Path

import pytest
import sympy
import torch

from kansym import PoorFitWarning, Recipe, create_dataset, find_formula
from kansym.datasets import Dataset
from kansym.pipeline import default_widths

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
WITH_PICTURES = [path for path in sorted(EXAMPLES.glob("*.py")) if "FIGURES" in path.read_text()]


def hello(x):
    return torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2)


def is_law(formula, law):
    x, y = formula.variables
    return sympy.simplify(formula.exprs[0] - law(x, y)) == 0


def is_hello(formula):
    return is_law(formula, lambda x, y: sympy.exp(sympy.sin(sympy.pi * x) + y**2))


def quick(law, n_var=2, train_num=200, **options):
    data = create_dataset(law, n_var, train_num=train_num, test_num=100)
    return find_formula(data, progress=False, **options)


def test_hello_world_comes_back_exactly():
    result = quick(hello, train_num=500, width=[2, 5, 1])
    assert is_hello(result.formula)
    assert result.rmse[0] < 1e-12
    assert result.r2[0] == pytest.approx(1)
    assert result.tested_on == "test"
    assert set(result.seconds) == {"train", "prune and refit", "name", "snap"}
    assert {step.name for step in result.steps} == {"sin", "x^2", "exp"}
    assert [row.total for row in result.model.width] == [2, 1, 1]


def test_the_smallest_width_that_is_exact_ends_the_search():
    lines = []
    result = quick(lambda x: torch.sin(2 * x[:, 0]) + 3 * x[:, 1] ** 2, report=lines.append)
    assert is_law(result.formula, lambda x, y: sympy.sin(2 * x) + 3 * y**2)
    assert result.width == [2, 1]
    assert len(lines) == 4
    assert lines[0].startswith("train width [2, 1]: ")


def test_the_decimal_formula_equals_the_model():
    result = quick(lambda x: 0.7 * torch.exp(-1.3 * x[:, 0]) + x[:, 1], width=[2, 1])
    X = create_dataset(hello, 2, train_num=50, test_num=0).X
    network = result.model.predict(X).numpy()
    assert abs(result.decimal_formula.evaluate(X) - network).max() < 1e-10 * abs(network).max()


def test_the_same_seed_gives_the_same_formula():
    def law(x):
        return torch.sin(x[:, 0]) * 0.9 + x[:, 1]

    first, second = (quick(law, width=[2, 1], seed=3) for _ in range(2))
    assert str(first.decimal_formula.exprs) == str(second.decimal_formula.exprs)


def test_a_column_that_does_not_matter_is_left_out():
    result = quick(lambda x: x[:, 0] ** 2, n_var=3, width=[3, 1])
    assert result.formula.exprs[0] == result.formula.variables[0] ** 2


def test_functions_can_be_restricted():
    result = quick(lambda x: torch.tanh(x[:, 0]), n_var=1, width=[1, 1], lib=["x", "x^2", "x^3"])
    assert {step.name for step in result.steps} <= {"x", "x^2", "x^3"}


def test_time_is_respected():
    started = time.perf_counter()
    result = quick(hello, train_num=1000, max_time=3, width=[2, 5, 1])
    assert math.isfinite(result.rmse[0])
    assert time.perf_counter() - started < 60  # a step is never cut off; generous on purpose


def test_a_constant_target_has_nothing_to_explain(generator):
    X = torch.rand(30, 2, generator=generator, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"y must vary, got 2.5 in every training row"):
        find_formula((X, torch.full((30,), 2.5)), [2, 1], progress=False)


@pytest.mark.parametrize(("n", "widths"), [(13, 1), (300, 3)])
def test_no_width_has_more_coefficients_than_values(n, widths, generator):
    data = Dataset(*torch.rand(2, n, 1, generator=generator))
    shapes = default_widths(data, Recipe())
    assert len(shapes) == widths
    assert shapes[0] == [1, 1]


def test_constant_columns_explain_nothing(generator):
    y = torch.rand(30, 1, generator=generator, dtype=torch.float64)
    with pytest.raises(ValueError, match="X must vary; every column is constant"):
        find_formula((torch.ones(30, 2), y), progress=False)


def test_numbers_whose_squares_overflow_are_refused(generator):
    X = torch.rand(30, 1, generator=generator, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"y must stay below 1e.150 in size"):
        find_formula((X, 1e300 * X), progress=False)


def test_a_wider_network_that_is_no_better_is_not_named():
    lines = []
    data = create_dataset(lambda x: torch.sin(2 * x), 1, train_num=200, test_num=100, noise=0.02)
    result = find_formula(data, report=lines.append)
    assert result.width == [1, 1]
    assert [line.split(":")[0] for line in lines].count("name") == 1


@pytest.mark.slow
def test_a_good_fit_beats_a_simple_formula(generator):
    """With noise no formula is exact, and a plane is always simpler."""
    x = 0.5 + 2.5 * torch.rand(400, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(400, generator=generator, dtype=torch.float64)
    y = x[:, 0] * x[:, 1] / (x[:, 2] + 1) * (1 + 0.01 * noise)
    result = find_formula((x[:300], y[:300], x[300:], y[300:]))
    assert result.r2[0] > 0.99


def test_what_is_not_significant_is_left_out_but_the_mean_is_not(generator):
    x = torch.linspace(0, 10, 12, dtype=torch.float64)
    y = 5 + 0.5 * torch.randn(12, generator=generator, dtype=torch.float64)
    with pytest.warns(PoorFitWarning):
        result = find_formula((x[:, None], y), [1, 1], lib=["x"])
    assert result.r2[0] > -0.5
    assert "no rows were kept aside: judged on the rows it was fitted to" in result.remarks
    assert "y: explains little or nothing" in result.remarks


def test_an_interrupt_while_naming_is_passed_on(monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("kansym.training.lm.LeastSquares.normal_equations", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick(hello, width=[2, 1])


@pytest.mark.parametrize("max_time", [0, -1])
def test_a_budget_must_be_positive(max_time):
    with pytest.raises(ValueError, match="max_time must be a finite number > 0"):
        quick(hello, max_time=max_time)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "recipe", [Recipe(), Recipe(opt="LBFGS", steps=50, restarts=1)], ids=["LM", "LBFGS"]
)
def test_hello_world_from_ten_seeds(seed, recipe):
    data = create_dataset(hello, 2, seed=seed)
    result = find_formula(data, [2, 5, 1], recipe=recipe, seed=seed, progress=False)
    assert is_hello(result.formula)


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_PICTURES, ids=lambda path: path.stem)
def test_examples_run_and_write_their_pictures(path, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    assert list(tmp_path.glob("*.png"))
    assert "=" in capsys.readouterr().out
