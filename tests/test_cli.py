"""The command line as a user meets it: files, formulas on the screen, errors in a line."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sympy
from click.testing import CliRunner

import kansym
from kansym.cli import main

RESULTS = {
    "formula.tex",
    "formula.txt",
    "model.kansym",
    "network.png",
    "network.svg",
    "summary.json",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """y = 2 sin(3 a) + b^2, 120 rows, with a column of text that is no feature."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-1, 1, (2, 120))
    frame = pd.DataFrame({"a": a, "b": b, "note": "text", "y": 2 * np.sin(3 * a) + b**2})
    path = tmp_path_factory.mktemp("data") / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def fitted(table):
    """What `kansym fit --out` did with the table."""
    out = table.parent / "out"
    command = ["fit", str(table), "--target", "y", "--features", "a,b", "--width", "2,1"]
    result = CliRunner().invoke(main, [*command, "--lib", "x,x^2,sin,exp", "--out", str(out)])
    return result, out


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_fit_prints_the_formula_and_how_good_it_is(fitted):
    result, _ = fitted
    assert result.exit_code == 0, result.output
    assert "y = b**2 + 2*sin(3*a)" in result.output
    assert "R2 = 1," in result.output
    assert "on the test rows" in result.output


def test_fit_writes_the_results_and_nothing_else(fitted):
    _, out = fitted
    assert {path.name for path in out.iterdir()} == RESULTS
    assert (out / "formula.txt").read_text() == "y = b**2 + 2*sin(3*a)\n"
    assert (out / "formula.tex").read_text().startswith("y = b^{2} + 2 \\sin")
    assert (out / "network.svg").read_text().lstrip().startswith("<?xml")
    assert (out / "network.png").read_bytes().startswith(b"\x89PNG")


def test_the_summary_reproduces_the_run(fitted):
    _, out = fitted
    summary = json.loads((out / "summary.json").read_text())
    assert summary["formula"] == {"y": "b**2 + 2*sin(3*a)"}
    assert summary["rows"] == {"train": 96, "test": 24}
    assert summary["R2"] == pytest.approx([1.0])
    assert {edge["function"] for edge in summary["edges"]} == {"sin", "x^2"}
    assert summary["seed"] == 0
    assert summary["versions"]["kansym"] == kansym.__version__


def test_predict_gives_the_model_s_outputs_in_row_order(fitted, table, tmp_path):
    _, out = fitted
    result = run("predict", out / "model.kansym", table, "--out", tmp_path / "p.csv")
    assert result.exit_code == 0, result.output
    predicted, given = pd.read_csv(tmp_path / "p.csv"), pd.read_csv(table)
    assert list(predicted) == ["y"]
    assert np.allclose(predicted["y"], given["y"], atol=1e-9)
    assert run("predict", out / "model.kansym", table).output == (tmp_path / "p.csv").read_text()


def test_show_tells_formula_and_scores_and_draws(fitted, tmp_path):
    _, out = fitted
    result = run("show", out / "model.kansym", "--plot", tmp_path / "net.svg")
    assert result.exit_code == 0, result.output
    assert "2 active edges" in result.output
    assert "y = b**2 + 2*sin(3*a)" in result.output
    assert "a: score" in result.output
    assert (tmp_path / "net.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "{table}", "--target", "z", "--features", "a"], "'z'"),
        (["fit", "{table}", "--target", "y"], "note"),
        (["fit", "{missing}", "--target", "y"], "does not exist"),
        (
            ["fit", "{table}", "--target", "y", "--features", "a", "--lib", "sine"],
            "did you mean 'sin'",
        ),
        (["fit", "{table}", "--target", "y", "--features", "a", "--width", "3,1"], "3 columns"),
        (["fit", "{table}", "--target", "y", "--features", "a", "--width", "1,x"], "not a width"),
        (["fit", "{table}", "--target", "y", "--features", "a", "--max-time", "0"], "max_time"),
        (["fit", "{table}", "--target", "y", "--features", "a", "--seed", "-1"], "--seed"),
        (["fit", "{table}", "--target", "y", "--out", "{table}"], "--out must name a folder"),
        (["predict", "{table}", "{table}"], "cannot load"),
        (["show", "{missing}"], "no file"),
    ],
)
def test_a_mistake_is_one_line_and_no_traceback(table, tmp_path, arguments, message):
    places = {"table": table, "missing": tmp_path / "missing.csv"}
    result = run(*(argument.format(**places) for argument in arguments))
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    assert message.lower() in result.output.lower()
    assert "Traceback" not in result.output


def test_predict_names_the_columns_that_are_missing(fitted, tmp_path):
    _, out = fitted
    pd.DataFrame({"a": [0.1, 0.2]}).to_csv(tmp_path / "short.csv", index=False)
    result = run("predict", out / "model.kansym", tmp_path / "short.csv")
    assert result.exit_code == 1
    assert "lacks the columns ['b']" in result.output


def test_product_nodes_can_be_asked_for():
    from kansym.cli import WidthType

    assert WidthType().convert("2,3+1,1", None, None) == [2, [3, 1], 1]


def test_help_does_not_wait_for_torch():
    code = "import sys, kansym.cli; sys.exit('torch' in sys.modules or 'sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_demo_finds_keplers_law(tmp_path):
    from kansym import find_formula, solar_system, table_dataset

    orbits = table_dataset(solar_system(), "period_years", ["semi_major_axis_au"])
    result = find_formula(orbits, progress=False)
    (axis,) = result.formula.variables
    assert result.formula.exprs[0].as_coeff_Mul()[1] == axis ** sympy.Rational(3, 2)
    assert float(result.formula.exprs[0].as_coeff_Mul()[0]) == pytest.approx(1, abs=1e-3)
