"""25 hostile names x every text output: escaped everywhere, as is in what is read back.

Names of columns and targets come from headers, which anybody may have written. None may act: not in
LaTeX, source code, HTML, SVG, a spreadsheet or a terminal; and a saved model has them bit for bit.
"""

import ast
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import sympy
import torch
from click.testing import CliRunner

from kansym import KAN, Formula, KANRegressor, load
from kansym.cli import main
from kansym.cli.results import equations_csv
from kansym.cli.texts import search_text
from kansym.discovery.records import Discovery, Finding, Verdict
from kansym.errors import ExtrapolationWarning
from kansym.symbolic.exports import EXPORTS
from kansym.symbolic.exports.latex import FrontRow, latex_table

sys.path.insert(0, str(Path(__file__).parent.parent))
from languages import RUNNERS

NAMES = {
    "script": "<script>alert(1)</script>",
    "dollar": "$",
    "open maths": "$x",
    "TeX input": r"\input{/etc/passwd}",
    "equals": "=cmd()",
    "at": "@SUM",
    "plus": "+1",
    "minus": "-1",
    "quotes": "'\"",
    "backslash": "\\",
    "newline and colour": "line\nbreak\x1b[31m",
    "tab": "\t=1+1",
    "NUL": "a\x00b",
    "percent": "%n",
    "braces": "{}",
    "import": "__import__('os').system('x')",
    "unicode": "größe λ м",
    "right to left": "abc\u202edef",
    "emoji": "🔥",
    "empty": "",
    "spaces": "   ",
    "300 characters": "x" * 300,
    "SQL": "x;DROP TABLE y",
    "comment's end": "*/ #",
    "docstring's end": '"""',
}
ROWS = np.random.default_rng(0).uniform(1, 2, (40, 2))
X, Y = sympy.symbols("v1 v2", real=True)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

every_name = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)


def formula_of(name):
    """3.5 v1 + v2^2 of columns `name` and "b", with a target of that name."""
    return Formula([sympy.Float(3.5) * X + Y**2], [X, Y], [name, "b"], [name])


def model_of(name):
    formula = Formula([sympy.Float(3.5) * X + Y**2], [X, Y])
    model = KAN.from_formula(formula, ROWS, formula.evaluate(ROWS))
    model.feature_names, model.target_names = (name, "b"), (name,)
    return model


def estimator_of(name):
    """As after a fit, without the search."""
    est = KANRegressor()
    exprs = [-sympy.Float(2.0) * X, sympy.Float(3.5) * X + Y**2]
    front = tuple(Finding(e, 3 * n + 3, 10.0**-n, 0.9, 0.0) for n, e in enumerate(exprs))
    est._found = (Discovery(front, front[-1], Verdict.CONSISTENT, "noise", front[:1]),)
    est._variables, est._names, est._targets = (X, Y), (name, "b"), (name,)
    est._rows, est._network = (ROWS, formula_of(name).evaluate(ROWS)), None
    est._is_flat, est.n_features_in_ = True, 2
    return est


# -- text and LaTeX -------------------------------------------------------------------------------


@every_name
def test_text(name):
    text = str(formula_of(name))
    assert not CONTROL.search(text)
    assert len(text.splitlines()) == 3  # the formula, and what v1 and v2 are


def acts(latex):
    """Whether a character of maths mode, or of a name, would act."""
    bare = re.sub(r"\\[\\{}$&#%_ ]", "", latex)
    depth = 0
    for ch in bare:
        depth += {"{": 1, "}": -1}.get(ch, 0)
        if depth < 0:
            return True
    words = set(re.findall(r"\\([A-Za-z]+)", bare))
    known = {"mathrm", "backslash", "hat", "sim", "cdot", "lambda"}
    return bool(depth or re.search(r"[$&#%~\x00-\x1f]", bare) or words - known)


@every_name
def test_latex(name):
    assert not acts(formula_of(name).latex())


@every_name
def test_align(name):
    begin, *lines, end = formula_of(name).to("align").split("\n")
    assert (begin, end) == (r"\begin{align}", r"\end{align}")
    assert len(lines) == 1
    assert not acts(lines[0].replace("&=", "="))


@every_name
def test_booktabs(name):
    rows = latex_table([FrontRow(3, 1e-7, 0.5, formula_of(name))]).split(r"\midrule")[1]
    (row,) = rows.split(r"\bottomrule")[0].strip().split("\n")
    cells = re.split(r"(?<!\\)&", row.removesuffix(r" \\"))
    assert len(cells) == 4
    assert not acts(cells[3].strip().removeprefix("$").removesuffix("$"))


# -- source code ----------------------------------------------------------------------------------


@every_name
@pytest.mark.parametrize("target", sorted(set(EXPORTS) - {"latex", "align"}))
def test_source(target, name, tmp_path):
    """Nothing but the formula is run: its value is right, and the source compiles."""
    formula = formula_of(name)
    text = formula.to(target)
    assert not CONTROL.search(text)
    if target in ("python", "numpy", "torch", "jax", "sympy"):
        calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)}
        assert not {call for call in calls if "import" in call or "system" in call}
    if target in ("python", "numpy", "torch", "sympy", "excel"):
        assert RUNNERS[target](formula, ROWS, tmp_path) == pytest.approx(formula.evaluate(ROWS))
    compilers = {
        "c": ["gcc", "-std=c99", "-Wall", "-Werror", "-fsyntax-only"],
        "fortran": ["gfortran", "-std=f2008", "-Wall", "-Werror", "-fsyntax-only"],
    }
    if target in compilers:
        command = compilers[target]
        if shutil.which(command[0]) is None:
            pytest.skip(f"{command[0]} is not on this machine")
        path = tmp_path / {"c": "f.c", "fortran": "f.f90"}[target]
        path.write_text(text, encoding="utf-8")
        subprocess.run([*command, str(path)], check=True, cwd=tmp_path)


@pytest.mark.slow
@every_name
@pytest.mark.parametrize("target", ["jax", "julia", "matlab", "c", "fortran"])
def test_source_is_run(target, name, tmp_path):
    formula = formula_of(name)
    assert RUNNERS[target](formula, ROWS, tmp_path) == pytest.approx(formula.evaluate(ROWS))


# -- spreadsheets ---------------------------------------------------------------------------------


def assert_are_no_formulas(table):
    for row in table:
        for cell in row:
            assert cell[:1] not in set("=+-@\t\r") or is_number(cell), cell
            assert not CONTROL.search(cell)


def is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell and cell.strip() == cell


@every_name
def test_excel_header(name):
    titles, row = formula_of(name).to("excel", header=True).split("\n")
    assert len(titles.split("\t")) == len(row.split("\t")) == 3
    for title in titles.split("\t"):
        assert title.lstrip()[:1] not in set("=+-@")


@every_name
def test_equations_csv(name):
    """Names and formulas, of which one begins with a minus."""
    table = list(csv.reader(io.StringIO(equations_csv(estimator_of(name)))))
    assert len(table) == 3
    assert "-2.0*v1" in table[1][table[0].index("formula")]
    texts = [[row[table[0].index(column)] for column in ("target", "formula")] for row in table]
    for row in texts:
        assert all(cell[:1] not in set("=+-@\t\r") for cell in row)
    assert_are_no_formulas(table)


@pytest.fixture
def files(tmp_path):
    """A function that writes model and table to files."""

    def write(name):
        model_of(name).save(tmp_path / "model.kansym", sample=True)
        pd.DataFrame(ROWS, columns=[name, "b"]).to_parquet(tmp_path / "new.parquet")
        return str(tmp_path / "model.kansym"), str(tmp_path / "new.parquet")

    return write


@every_name
def test_predictions_csv(name, files):
    result = CliRunner().invoke(main, ["predict", *files(name)])
    assert result.exit_code == 0, result.output
    table = list(csv.reader(io.StringIO(result.stdout)))
    want = formula_of(name).evaluate(ROWS)
    assert np.allclose([float(row[0]) for row in table[1:]], want[:, 0])
    header = table[0][0] if table[0] else ""
    assert header.lstrip()[:1] not in set("=+-@")
    assert not CONTROL.search(result.stdout)


@every_name
def test_predictions_with_the_very_names(name, files, tmp_path):
    path = tmp_path / "out.csv"
    result = CliRunner().invoke(main, ["predict", *files(name), "--raw-names", "--out", str(path)])
    assert result.exit_code == 0, result.output
    text = path.read_bytes().decode("utf-8")
    assert text.startswith(pd.DataFrame(columns=[name]).to_csv(index=False).rstrip("\n"))


# -- pictures and pages ---------------------------------------------------------------------------


PICTURES = {
    "network": lambda name: model_of(name).plot(formula=True),
    "edge": lambda name: model_of(name).plot_edge(0, 0, 0),
    "features": lambda name: estimator_of(name).plot_features(),
    "fit": lambda name: model_of(name).plot_fit(),
    "front": lambda name: estimator_of(name).plot_pareto(),
}
SLOW = {"edge", "fit", "front"}


@every_name
@pytest.mark.parametrize(
    "picture", [pytest.param(p, marks=[pytest.mark.slow] * (p in SLOW)) for p in PICTURES]
)
def test_svg(picture, name, caplog):
    """Well-formed, without scripts, links and handlers of events."""
    buffer = io.BytesIO()
    PICTURES[picture](name).figure.savefig(buffer, format="svg")
    root = ElementTree.fromstring(buffer.getvalue())
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not tags & {"script", "a", "foreignObject", "image", "iframe"}
    attributes = {key for element in root.iter() for key in element.attrib}
    assert not any(key.startswith("on") for key in attributes)
    assert not caplog.records


@pytest.mark.slow
@every_name
@pytest.mark.parametrize("picture", PICTURES)
def test_png(picture, name, caplog):
    buffer = io.BytesIO()
    PICTURES[picture](name).figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    assert not caplog.records


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [key for key, _ in attrs]


@every_name
def test_notebooks(name):
    for shown in (model_of(name), estimator_of(name)):
        html = shown._repr_html_()
        page = Page(html)
        assert {"table", "svg", "math"} <= set(page.tags)
        assert not {"script", "img", "a", "iframe", "input", "link"} & set(page.tags)
        assert not any(key.startswith("on") for key in page.attributes)
        assert not CONTROL.search(html)


@every_name
def test_formula_in_a_notebook(name):
    latex = formula_of(name)._repr_latex_()
    assert not acts(latex.removeprefix(r"$\displaystyle ").removesuffix("$"))


# -- files that are read back ---------------------------------------------------------------------


@every_name
def test_saved_and_loaded(name, tmp_path):
    model_of(name).save(tmp_path / "model.kansym")
    back = load(tmp_path / "model.kansym")
    assert back.feature_names == (name, "b")
    assert back.target_names == (name,)


@every_name
def test_onnx(name, tmp_path):
    onnx = pytest.importorskip("onnx")
    model_of(name).to_onnx(tmp_path / "model.onnx")
    properties = onnx.load(tmp_path / "model.onnx").metadata_props
    found = {entry.key: json.loads(entry.value) for entry in properties}
    assert found == {"inputs": [name, "b"], "outputs": [name]}


# -- messages and terminals -----------------------------------------------------------------------


def refused(call):
    with pytest.raises(ValueError, match=r"(?s).") as caught:
        call()
    return str(caught.value)


@every_name
def test_messages(name):
    model, est = model_of(name), estimator_of(name)
    frame = pd.DataFrame(ROWS, columns=[name, "b"])
    y = pd.Series(ROWS[:, 0], name="y")
    quick = {"max_time": 1}
    messages = [
        refused(lambda: model.predict(frame[["b"]])),
        refused(lambda: model.fit((frame * np.nan, ROWS[:, 0]))),
        refused(lambda: model.fit((frame.astype(str) + "a", ROWS[:, 0]))),
        refused(lambda: KANRegressor(required=["c"], **quick).fit(frame, y)),
        refused(lambda: KANRegressor(units={"c": "m"}, **quick).fit(frame, y)),
        refused(lambda: KANRegressor(units=["m"], **quick).fit(frame, y)),
        refused(lambda: KANRegressor(monotone={"c": "increasing"}, **quick).fit(frame, y)),
        refused(lambda: est.formula_.to("excel", cells={"c": "A1"})),
        refused(lambda: est.formula_.to("excel", cells={"b": "A1"})),
    ]
    est.feature_names_in_ = np.array([name, "b"], dtype=object)
    messages.append(refused(lambda: est.predict(frame.rename(columns={name: "c", "b": name}))))
    splines = KAN([2, 1])
    splines.fit((frame, y), steps=1, progress=False)
    with pytest.warns(ExtrapolationWarning) as caught:
        splines.predict(frame * 100)
    messages += [str(warning.message) for warning in caught]
    with pytest.warns(UserWarning, match="is 1 in every row") as caught:
        KANRegressor(**quick).fit(frame, pd.Series(np.ones(40), name=name))
    messages += [str(warning.message) for warning in caught]
    for message in messages:
        assert not CONTROL.search(message), message


@every_name
def test_terminal(name, files):
    model, table = files(name)
    shown = CliRunner().invoke(main, ["show", model])
    assert shown.exit_code == 0, shown.output
    missing = CliRunner().invoke(main, ["predict", model, table.replace("new", "none")])
    for output in (shown.output, missing.output):
        assert not CONTROL.search(output)
    assert not CONTROL.search(search_text(estimator_of(name), (0.9, 0.1, "test"), 1.0))


def test_the_names_are_25():
    assert len(set(NAMES.values())) == 25
    assert torch.is_tensor(model_of("x").sample.X)
