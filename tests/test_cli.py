"""The command line as a user meets it: files, formulas on the screen, errors in a line."""

import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sympy
from click.testing import CliRunner

import kansym
from kansym import KAN
from kansym.cli import main
from kansym.cli.options import UnitsType
from kansym.discovery.records import Verdict

RESULTS = {
    "formula.tex",
    "formula.txt",
    "model.kansym",
    "network.png",
    "network.svg",
    "report.html",
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


def results(out):
    """Names of the files written; the folder's lock stays, and is hidden."""
    return {path.name for path in out.iterdir() if path.name != ".lock"}


@pytest.fixture(scope="module")
def fitted(table):
    """What `kansym fit --out` did with the table."""
    out = table.parent / "out"
    command = ["fit", str(table), "--target", "y", "--features", "a,b", "--width", "2,1"]
    result = CliRunner().invoke(main, [*command, "--lib", "x,x^2,sin,exp", "--out", str(out)])
    return result, out


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """What `kansym fit --out` did without --width, with a plane and without test rows."""
    folder = tmp_path_factory.mktemp("plane")
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-1, 1, (2, 40))
    frame = pd.DataFrame({"a": a, "width m": b, "y": 3 * a - 0.5 * b})
    frame.to_csv(folder / "plane.csv", index=False)
    out = folder / "out"
    command = ["fit", str(folder / "plane.csv"), "--target", "y", "--max-time", "20"]
    return CliRunner().invoke(main, [*command, "--out", str(out)]), out


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
    assert results(out) == RESULTS
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


def test_a_search_with_test_rows_warns_of_nothing(tmp_path):
    a, b = np.random.default_rng(0).uniform(1, 2, (2, 100))
    pd.DataFrame({"a": a, "b": b, "y": a * b}).to_csv(tmp_path / "table.csv", index=False)
    result = run("fit", tmp_path / "table.csv", "--target", "y", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    assert "on the test rows" in result.output
    assert "report.html" in results(tmp_path / "out")


def test_the_search_prints_formula_and_verdict(searched):
    result, _ = searched
    assert result.exit_code == 0, result.output
    assert "y = " in result.output
    assert "where v2 is 'width m'" in result.output
    assert any(f"  {verdict}: " in result.output for verdict in Verdict)
    assert "y: R2 = 1" in result.output
    assert "on the train rows" in result.output


def test_the_search_writes_formula_equations_and_summary(searched):
    _, out = searched
    written = results(out)
    assert {"formula.txt", "formula.tex", "equations.csv", "summary.json"} <= written
    assert written <= RESULTS | {"equations.csv"}
    table = pd.read_csv(out / "equations.csv")
    assert list(table) == ["target", "complexity", "loss", "R2", "score", "formula", "chosen"]
    assert table["chosen"].sum() == 1
    summary = json.loads((out / "summary.json").read_text())
    assert summary["verdict"] in list(Verdict)
    assert summary["variables"] == {"a": "a", "v2": "width m"}
    assert summary["formula"]["y"] == table.loc[table["chosen"], "formula"].item()
    assert summary["rows"] == {"train": 40, "test": 0}
    assert set(summary["importance"]) == {"a", "width m"}
    assert summary["outliers"] == 0
    assert summary["seed"] == 0


@pytest.mark.skipif(not hasattr(KAN, "from_formula"), reason="networks of formulas are to come")
def test_the_search_s_model_can_be_shown_and_used(searched):
    _, out = searched
    assert results(out) == RESULTS | {"equations.csv"}
    assert run("show", out / "model.kansym").exit_code == 0
    predicted = run("predict", out / "model.kansym", out.parent / "plane.csv")
    assert predicted.exit_code == 0, predicted.output
    given = pd.read_csv(out.parent / "plane.csv")["y"]
    values = pd.read_csv(io.StringIO(predicted.output))["y"]
    assert np.allclose(values, given, atol=1e-6)


def test_units_are_read_as_they_are_written():
    assert UnitsType().convert("m=kg, v=m/s,E=J", None, None) == {"m": "kg", "v": "m/s", "E": "J"}


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
    ("target", "part"),
    [("c", "return (b*b) + 2.0*sin(3.0*a);"), ("excel", "=POWER(B2, 2) + 2*SIN(3*A2)")],
)
def test_export_writes_the_formula_that_show_shows(fitted, tmp_path, target, part):
    _, out = fitted
    shown = run("export", out / "model.kansym", "--to", target)
    assert shown.exit_code == 0, shown.output
    assert part in shown.output
    run("export", out / "model.kansym", "--to", target, "--out", tmp_path / "law")
    assert (tmp_path / "law").read_text() == shown.output


def test_export_names_the_function_as_asked(fitted):
    _, out = fitted
    result = run("export", out / "model.kansym", "--to", "numpy", "--name", "law")
    assert "def law(a, b):" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "fortan"], "did you mean 'fortran'"),
        (["--to", "onnx"], "needs --out"),
        (["--to", "latex", "--name", "law"], "--name cannot be used with --to latex"),
        (["--to", "c", "--name", "two words"], "plain identifier"),
    ],
)
def test_export_refuses_in_one_line(fitted, options, message):
    _, out = fitted
    result = run("export", out / "model.kansym", *options)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


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
        (["fit", "{table}", "--target", "y", "--features", "a", "--units", "a"], "m=kg,v=m/s"),
        (
            ["fit", "{table}", "--target", "y", "--features", "a", "--units", "a=m"],
            "'y' is missing",
        ),
        (["fit", "{table}", "--target", "y", "--features", "a", "--lamb", "1"], "needs --width"),
        (
            ["fit", "{table}", "--target", "y", "--features", "a", "--width", "1,1", "--jobs", "2"],
            "--jobs cannot be used with --width",
        ),
        (
            ["fit", "{table}", "--target", "y", "--width", "1,1", "--outliers", "set-aside"],
            "--outliers cannot be used with --width",
        ),
        (["fit", "{table}", "--target", "y", "--outliers", "drop"], "'drop' is not one of 'keep'"),
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


def test_rows_with_gross_errors_are_set_aside_where_it_is_asked_for(tmp_path):
    a, b = np.random.default_rng(0).uniform(1, 2, (2, 40))
    y = 2 * a * b
    y[[3, 17]] += 9
    pd.DataFrame({"a": a, "b": b, "y": y}).to_csv(tmp_path / "t.csv", index=False)
    found = run("fit", tmp_path / "t.csv", "--target", "y", "--outliers", "set-aside")
    assert found.exit_code == 0, found.output
    assert "y = 2*a*b\n" in found.output
    assert "outliers: 2 of 40 rows are far from the formula" in found.output


def test_predict_names_the_columns_that_are_missing(fitted, tmp_path):
    _, out = fitted
    pd.DataFrame({"a": [0.1, 0.2]}).to_csv(tmp_path / "short.csv", index=False)
    result = run("predict", out / "model.kansym", tmp_path / "short.csv")
    assert result.exit_code == 1
    assert "lacks the columns ['b']" in result.output


def test_product_nodes_can_be_asked_for():
    from kansym.cli.options import WidthType

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
