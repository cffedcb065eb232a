"""A formula in another language says the same, under valid names, or is refused with a way out."""

import ast
import itertools
import re
import subprocess

import numpy as np
import pytest
import sympy
import torch
from languages import RUNNERS, Excel, execute, run_c, run_fortran, run_matlab, skip_without
from sympy import Float, Heaviside, Integer, Max, Min, Piecewise, Rational, exp, log, pi, sin, sqrt

from kansym import KAN, Formula
from kansym.errors import ExportError
from kansym.functions import function_names, get_function, register_function
from kansym.symbolic.constants import NamedConstant
from kansym.symbolic.exports import EXPORTS
from kansym.symbolic.exports.identifiers import identifiers
from kansym.symbolic.exports.latex import FrontRow, latex_table
from kansym.symbolic.exports.onnx import FUNCTIONS as ONNX_FUNCTIONS

x, y, z = sympy.symbols("x y z", real=True)

# Targets that do not have these functions of the library.
LACKS = {"python": {"j0", "j1"}, "torch": {"j0", "j1"}, "jax": {"j0", "j1"}}
LACKS["torch, learnable"] = LACKS["torch"]


def points(n=40, low=0.1, high=0.9):
    return np.random.default_rng(0).uniform(low, high, (n, 3))


def assert_same(run, formula, X, folder):
    want = formula.evaluate(X)
    got = run(formula, X, folder)
    assert got.shape == want.shape
    worst = np.nanmax(np.abs(got - want) / np.maximum(np.abs(want), 1.0), 0)
    wrong = [(e, w) for e, w in zip(formula.exprs, worst, strict=True) if not w < 1e-12]
    assert not wrong
    assert np.array_equal(np.isnan(got), np.isnan(want))


# -- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", RUNNERS)
def test_every_function_of_the_library(target, tmp_path):
    """Each as an edge 1.7 f(0.4 x - 0.3 y + 0.4) - 0.2, whose inside is in every domain."""
    u = Float(0.4) * x - Float(0.3) * y + Float(0.4)
    names = [name for name in function_names() if name not in LACKS.get(target, ())]
    exprs = [Float(1.7) * get_function(name).sympy(u) - Float(0.2) for name in names]
    assert_same(RUNNERS[target], Formula(exprs, [x, y, z]), points(), tmp_path)


AWKWARD = [
    -(x**2),
    (-x) ** 3 - (-y) ** 2,
    2**x - x**y,
    2 ** (-x) / y ** (-z),
    x ** Rational(1, 3) - y ** Rational(-2, 3),
    1 / sqrt(x) + x ** Rational(-3, 2),
    Rational(1, 3) * x / (y / 3) / (z * (x + y)),
    -Rational(2, 3) * (x - y) - (z - x - Rational(1, 7)),
    x - (y - (z - 1)),
    x / (y * z) * pi / 3 + sympy.E * x,
    sympy.Mul(-1, x - y, evaluate=False) - sympy.Mul(-2, x + y, evaluate=False),
    sympy.Pow(sympy.Pow(x, 2, evaluate=False), y, evaluate=False),
    (x + y) ** 2 - (x * y) ** 2 + (x / y) ** 4,
    x**7 - x ** Float(2.0) + (x - 3) ** Float(2.0) + x ** Float(2.5),
    Float("0.12345678901234567") * x + Float("1.0e-17") + Float("6.02214076e23") * y,
    -Float(2.5) + Integer(10) ** 20 * x + Rational(10**20 + 1, 3 * 10**19),
    sqrt(2) * x + exp(Rational(1, 3)) - sin(2) + log(3) ** 2,
    sin(pi * x / 3) ** 2 - sympy.cot(x) + 1 / sympy.sec(y) - sympy.coth(z),
    sympy.Add(z, sympy.Mul(-1, x - y, evaluate=False), evaluate=False),
    Max(x, y, Rational(1, 2)) - Min(x - y, z) * Max(x, 0),
    Piecewise((x, x > Rational(1, 2)), (y**2, y < z), (-1, True)),
    Piecewise((1, sympy.And(x > y, sympy.Or(y > z, sympy.Ne(x, z)))), (0, True)) + z,
    Piecewise((x, sympy.Not(sympy.Eq(x, y))), (2, True)),
    Heaviside(x - y) + sympy.Abs(x - y) ** Float(1.5) - sympy.sign(y - x),
    sympy.asinh(x) + sympy.floor(3 * x) - sympy.ceiling(3 * y) + sympy.erfc(z),
    sympy.loggamma(x),
    Integer(3),
    x,
]
TENSOR_LACKS = {"matlab": {sympy.loggamma(x)}}


@pytest.mark.parametrize("target", RUNNERS)
def test_awkward_expressions(target, tmp_path):
    exprs = [e for e in AWKWARD if e not in TENSOR_LACKS.get(target, ())]
    assert_same(RUNNERS[target], Formula(exprs, [x, y, z]), points(), tmp_path)


@pytest.mark.parametrize("target", RUNNERS)
def test_random_expressions(target, tmp_path):
    """Trees of sums, products, quotients, powers and functions, seen from outside their writer."""
    rng = np.random.default_rng(1)

    def tree(depth):
        if depth == 0 or rng.random() < 0.15:
            number = Float(round(rng.uniform(-2, 2), 3))
            leaves = [
                x,
                y,
                z,
                number,
                Integer(rng.integers(-3, 4)),
                Rational(int(rng.integers(1, 5)), 3),
                pi,
            ]
            return leaves[rng.integers(len(leaves))]
        a, b = tree(depth - 1), tree(depth - 1)
        kinds = [
            lambda: a + b, lambda: a - b, lambda: a * b, lambda: a / (b**2 + 1), lambda: -a,
            lambda: sin(a), lambda: exp(-(a**2)), lambda: sqrt(a**2 + 1), lambda: a**2,
            lambda: sympy.atan(a) ** 3, lambda: (a**2 + 1) ** Rational(-1, 3),
        ]  # fmt: skip
        return kinds[rng.integers(len(kinds))]()

    formula = Formula([tree(5) for _ in range(40)], [x, y, z])
    assert_same(RUNNERS[target], formula, points(15, -2, 2), tmp_path)


@pytest.mark.parametrize("target", RUNNERS)
def test_the_sign_of_zero_is_zero(target, tmp_path):
    formula = Formula([sympy.sign(x), Heaviside(x), Max(x, -y), sympy.Abs(x)], [x, y])
    assert_same(RUNNERS[target], formula, np.array([[0.0, 0.0], [-2.0, 1.0]]), tmp_path)


OUTSIDE = [sqrt(x), log(x), x ** Rational(1, 3), sympy.asin(x - 1), sympy.atanh(x - 1), x**y]


@pytest.mark.parametrize("target", sorted(set(RUNNERS) - {"python", "julia"}))
def test_outside_the_domain_values_are_nan(target, tmp_path):
    X = np.array([[-0.3, 0.5, 0.1], [0.3, 0.5, 0.1]])
    assert_same(RUNNERS[target], Formula(OUTSIDE, [x, y, z]), X, tmp_path)


@pytest.mark.parametrize("expr", OUTSIDE)
def test_outside_the_domain_plain_python_raises(expr):
    function = execute(Formula([expr], [x, y]).to("python"))["formula"]
    with pytest.raises(ValueError, match=r"domain|expected"):
        function(-0.3, 0.5)


def test_a_model_s_formula_in_c_equals_the_model(tmp_path):
    model = KAN([2, 2, 1], seed=0)
    for edge, name in {(0, 0, 0): "sin", (0, 1, 0): "x^2", (0, 0, 1): "tanh", (0, 1, 1): "1/x",
                       (1, 0, 0): "exp", (1, 1, 0): "x^1.5"}.items():  # fmt: skip
        model.fix_symbolic(*edge, name, params=(0.3, 2.0, 1.1, 0.2))
    X = points()[:, :2]
    got = run_c(model.symbolic_formula(), X, tmp_path)
    assert np.allclose(got, model.predict(X).reshape(-1, 1), rtol=1e-9, atol=1e-9)


# -- what the text is like ------------------------------------------------------------------------

SOURCES = ("python", "numpy", "torch", "jax", "c", "fortran", "julia", "matlab")


@pytest.mark.parametrize("target", SOURCES)
def test_no_division_of_integers_and_all_digits(target):
    formula = Formula(
        [x ** Rational(1, 3) + Rational(2, 7) * y + Float(0.1) + Float(1 / 3)], [x, y]
    )
    text = formula.to(target)
    assert not re.search(r"(?<![\w.])\d+ *\.?/ *\d+(?![\w.])", text)
    assert "0.43333333333333335" in text


@pytest.mark.parametrize("target", SOURCES)
def test_brackets_balance_whatever_the_tree(target):
    text = Formula([e for e in AWKWARD if e != sympy.loggamma(x)], [x, y, z]).to(target)
    for a, b in ("()", "[]", "{}"):
        assert text.count(a) == text.count(b)


def test_small_powers_are_products_in_c():
    assert "(x*x)" in Formula([x**2], [x]).to("c")
    assert "pow" not in Formula([x**4 + sqrt(x)], [x]).to("c")
    assert "pow(x, 1.0/3.0)" in Formula([x ** Rational(1, 3)], [x]).to("c")


def test_the_sympy_text_rebuilds_the_very_expressions():
    held = [AWKWARD.index(e) for e in AWKWARD if e != e.doit()]
    formula = Formula([e for n, e in enumerate(AWKWARD) if n not in held], [x, y, z])
    found = execute(formula.to("sympy"))
    assert found["exprs"] == formula.exprs
    assert found["variables"] == formula.variables


def test_a_known_constant_keeps_its_name():
    g = NamedConstant("g", 9.81)
    formula = Formula([g * x, -g + y], [x, y])
    assert "const double g = 9.81;" in formula.to("c")
    assert "parameter :: g = 9.81_dp" in formula.to("fortran")
    assert "    g = 9.81\n" in formula.to("numpy")
    assert formula.to("excel").splitlines() == ["=9.81*A2", "=B2 - 9.81"]


def test_align_has_a_line_for_each_output():
    text = Formula([x, Float(0.123456) * x], [x], ["alpha"], ["a_1", "b"]).to("align")
    assert text.splitlines() == [
        r"\begin{align}", r"  a_{1} &= \alpha \\", r"  b &= 0.1235 \alpha", r"\end{align}"
    ]  # fmt: skip


def test_the_table_of_a_front_has_booktabs_rules():
    formula = Formula([2 * x], [x], None, ["y"])
    text = latex_table([FrontRow(3, 1.5e-7, 0.5, formula)])
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")
    assert r"3 & $1.5 \times 10^{-7}$ & 0.5 & $y = 2 x$ \\" in text


def test_functions_are_named_as_asked_and_arguments_broadcast():
    formula = Formula([x + y, x * y], [x, y])
    values = execute(formula.to("numpy", name="law"))["law"]([1, 2, 3], 2)
    assert [v.tolist() for v in values] == [[3, 4, 5], [2, 4, 6]]
    assert "double law_f1(double x, double y)" in formula.to("c", name="law")
    assert "module law_module" in formula.to("fortran", name="law")


# -- torch ------------------------------------------------------------------------------------


def test_learnable_constants_are_fitted_and_read_back():
    formula = Formula([Float(1.5) * sin(Float(2.5) * x) + Rational(1, 2)], [x])
    module = formula.module(learnable=True)
    X = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    target = 2 * torch.sin(3 * X) + 0.5
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = ((module(X) - target) ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = module.formula.evaluate(X)
    assert np.allclose(found, target.numpy(), atol=1e-5)
    assert module.formula.exprs[0].has(Rational(1, 2))
    assert not list(formula.module().parameters())


def test_the_module_takes_leading_dimensions_and_float32():
    module = Formula([Float(0.5) * x + y, Integer(2)], [x, y]).module()
    X = torch.ones(4, 3, 2, dtype=torch.float32)
    assert module(X).dtype == torch.float32
    assert module(X).tolist() == [[[1.5, 2.0]] * 3] * 4
    with pytest.raises(ValueError, match="2 columns"):
        module(torch.ones(4, 3))


# -- names --------------------------------------------------------------------------------------

HOSTILE = [
    "α", "x₁", "k [N/m]", "<script>alert(1)</script>", "$", r"\input{/etc/passwd}", "=cmd()", "+1",
    "@SUM", "'; drop", '"""', "a\nb = 1 /0", "`id`", "х", "lambda", "double", "end", "function",
    "n" * 300, " ", "*/ #define x", "Ü \u202e rtl", "c:\\", "formula",
    "real(dp) :: x ! &\x00\x1b[0m",
]  # fmt: skip
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")


def named(name):
    """A sum whose value tells its four variables apart; names collide once cleaned."""
    symbols = sympy.symbols("v1:5", real=True)
    expr = symbols[0] ** 2 + sum(n * s for n, s in enumerate(symbols[1:], 2))
    return Formula([expr], symbols, [name, "a b", "a_b", f"{name}."], [name])


ROW = np.array([[5.0, 7.0, 11.0, 13.0]])
VALUE = 25.0 + 2 * 7 + 3 * 11 + 4 * 13


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("target", EXPORTS)
def test_any_name_comes_out_right_or_escaped(name, target, tmp_path):
    formula = named(name)
    text = formula.to(target)
    assert text.isascii() or not name.isascii()
    assert all(ch.isprintable() or ch == "\n" for ch in text)
    if target in ("python", "numpy", "torch", "jax", "sympy"):
        tree = ast.parse(text)
        calls = {n.func.id for n in ast.walk(tree)
                 if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}  # fmt: skip
        assert calls <= {"Symbol"}
    if target in ("python", "numpy", "torch", "sympy"):
        assert RUNNERS[target](formula, ROW, tmp_path) == pytest.approx(VALUE)
    elif target == "excel":
        assert RUNNERS[target](formula, ROW) == pytest.approx(VALUE)
        assert "\n" not in text
    elif target == "c":
        check(["gcc", "-std=c99", "-Wall", "-Werror", "-fsyntax-only"], tmp_path / "f.c", text)
    elif target == "fortran":
        check(["gfortran", "-std=f2008", "-Wall", "-fsyntax-only"], tmp_path / "f.f90", text)
    elif target in ("latex", "align"):
        bare = re.sub(r"\\[\\{}$&#%_ ]", "", text)
        assert bare.count("{") == bare.count("}")
        assert "input" not in re.findall(r"\\([A-Za-z]+)", bare)
    if target in SOURCES:
        found = identifiers(formula.names, frozenset(), True)
        assert len({ident.casefold() for ident in found}) == 4
        assert all(map(PLAIN.fullmatch, found))
        assert "a_b = 'a b'" in text or "a_b_2 = 'a b'" in text or name in ("a b",)


def check(command, path, text):
    skip_without(command[0])
    path.write_text(text, encoding="utf-8")
    subprocess.run([*command, str(path)], check=True, cwd=path.parent)


@pytest.mark.parametrize("run", [run_c, run_fortran, run_matlab])
def test_all_hostile_names_at_once(run, tmp_path):
    """Executed, not only compiled: no comment swallows a line, no argument changes place."""
    symbols = sympy.symbols(f"v1:{len(HOSTILE) + 1}", real=True)
    total = sum((n + 1) * s**2 for n, s in enumerate(symbols))
    formula = Formula([total, symbols[3]], symbols, HOSTILE, ["end", "*/\\"])
    X = np.random.default_rng(0).uniform(-1, 1, (3, len(HOSTILE)))
    assert np.allclose(run(formula, X, tmp_path), formula.evaluate(X), rtol=1e-12)


def test_identifiers_keep_what_they_can():
    names = ["α", "Δt", "x₁", "k [N/m]", "λ", "1st", "A", "a", "м"]
    assert identifiers(names, frozenset({"lambda"}), False) == (
        "alpha", "Deltat", "x1", "k_N_m", "lambda_", "x6", "A", "a", "x9"
    )  # fmt: skip
    assert identifiers(["A", "a"], frozenset(), True) == ("A", "a_2")


def test_a_legend_tells_what_identifiers_stand_for():
    text = named("k [N/m]").to("c")
    assert "// k_N_m = 'k [N/m]'\n" in text
    assert text.count("'k [N/m]'") == 2  # a variable and the output


# -- Excel ----------------------------------------------------------------------------------------


def test_cells_are_given_by_name():
    formula = Formula([x - y], [x, y], ["mass", "v [m/s]"])
    cells = {"mass": "$C$7", "v [m/s]": "'My sheet'!B2"}
    assert formula.to("excel", cells=cells) == "=$C$7 - 'My sheet'!B2"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"mass": "A1"}, "have none"),
        ({"mass": "A1", "v": "B1", "w": "C1"}, "unknown variable 'w'"),
        ({"mass": "A1", "v": "CMD()"}, "must read like B2"),
        ({"mass": "A1", "v": "A1+1"}, "must read like B2"),
    ],
)
def test_cells_that_are_none_are_refused(cells, message):
    with pytest.raises(ValueError, match=message):
        Formula([x - y], [x, y], ["mass", "v"]).to("excel", cells=cells)


def test_a_header_is_text_and_no_formula():
    names = ["=cmd()", "+1", "@SUM", "a\tb\nc", "mass"]
    symbols = sympy.symbols("v1:6", real=True)
    titles, row = Formula([sum(symbols)], symbols, names).to("excel", header=True).split("\n")
    assert titles.split("\t") == ["'=cmd()", "'+1", "'@SUM", "a b c", "mass", "y"]
    assert row.split("\t")[:-1] == [""] * 5
    assert Excel(row.split("\t")[-1], {f"{c}2": 1.0 for c in "ABCDE"}).value == 5.0


def test_the_twenty_seventh_column_is_aa():
    symbols = sympy.symbols("v1:30", real=True)
    assert Formula([symbols[26]], symbols).to("excel") == "=AA2"


def test_excel_refuses_what_it_would_cut():
    expr = sympy.Add(*(Float(n + 1 / 3) * x**n for n in range(2, 260)))
    with pytest.raises(ExportError, match="8192 characters"):
        Formula([expr], [x]).to("excel")


def test_fortran_refuses_statements_of_too_many_lines():
    expr = sympy.Add(*(Float(n + 1 / 3) * x**n for n in range(2, 1100)))
    with pytest.raises(ExportError, match="256 lines"):
        Formula([expr], [x]).to("fortran")


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["python", "torch", "jax"])
def test_bessel_functions_are_refused_where_there_are_none(target):
    with pytest.raises(ExportError, match=rf"{target} has no function besselj.*'c' or .*'numpy'"):
        Formula([sympy.besselj(0, x)], [x]).to(target)


@pytest.mark.parametrize("target", [*SOURCES, "excel"])
@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (sympy.LambertW(x), "no function LambertW"),
        (sympy.Function("sin")(x), "no function sin"),
        (sympy.Integral(sin(x**x), x), "no function Integral"),
        (sqrt(-2) * x, "not real"),
        (sympy.zoo * x, "not real"),
        (x + sympy.Symbol("w"), "no variable"),
        (sympy.Integer(10) ** 400 * x, "no finite real number"),
        (sympy.besselj(Rational(1, 2), x), "besselj"),
    ],
)
def test_what_cannot_be_said_is_refused(target, expr, message):
    with pytest.raises(ExportError, match=message):
        Formula([expr], [x]).to(target)


def test_every_function_is_written_or_refused_by_every_target():
    """A conformance list: adding a function to the library must not add a silent gap."""
    for name, target in itertools.product(function_names(), EXPORTS):
        formula = Formula([get_function(name).sympy(x)], [x])
        if name in LACKS.get(target, ()):
            with pytest.raises(ExportError):
                formula.to(target)
        else:
            assert formula.to(target)


def test_a_registered_function_is_exported_by_its_sympy_form(tmp_path):
    register_function("softplus", torch.nn.functional.softplus, lambda u: log(1 + exp(u)))
    formula = Formula([get_function("softplus").sympy(x)], [x, y, z])
    assert_same(run_c, formula, points(), tmp_path)


@pytest.mark.parametrize("name", ["", "1st", "two words", "a;b", "n" * 40, "double", None])
def test_a_name_that_is_no_identifier_is_refused(name):
    with pytest.raises(ValueError, match="plain identifier"):
        Formula([x], [x]).to("c", name=name)


def test_an_unknown_target_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'fortran'"):
        Formula([x], [x]).to("fortan")


def test_a_target_can_be_added(monkeypatch):
    monkeypatch.setitem(EXPORTS, "count", lambda formula, word: f"{word}: {len(formula.exprs)}")
    assert Formula([x, y], [x, y]).to("count", word="outputs") == "outputs: 2"


# -- ONNX -----------------------------------------------------------------------------------------


def run_onnx(model, X, folder):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model.to_onnx(folder / "model.onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"X": X.numpy()})[0]


def far_points(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return (8 * torch.rand(60, 3, generator=generator, dtype=torch.float64) - 4).to(dtype)


@pytest.mark.parametrize("k", [1, 3, 4])
@pytest.mark.parametrize("outside", ["linear", "zero", "clamp", "reflect", "periodic", "base"])
def test_onnx_equals_the_network_inside_and_outside(outside, k, tmp_path):
    model = KAN([3, [2, 2], 2], grid=4, k=k, outside=outside, mult_arity=3, seed=1)
    model.kan_layers[0].mask[3] = False  # a factor that is left out
    X = far_points()
    assert np.allclose(run_onnx(model, X, tmp_path), model(X).detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("base", ["identity", "tanh", "zero"])
def test_onnx_equals_the_network_for_every_base(base, tmp_path):
    model = KAN([3, 2], grid=1, base=base, seed=1)
    X = far_points()
    assert np.allclose(run_onnx(model, X, tmp_path), model(X).detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ONNX_FUNCTIONS)
def test_onnx_equals_a_network_with_named_edges(name, tmp_path):
    model = KAN([3, 2, 1], seed=1)
    model.fix_symbolic(0, 1, 0, name, params=(0.1, 0.5, 2.0, 1.0))
    X = far_points()
    want = model(X).detach().numpy()
    assert np.allclose(run_onnx(model, X, tmp_path), want, rtol=1e-9, atol=1e-9, equal_nan=True)


def test_onnx_keeps_float32(tmp_path):
    model = KAN([3, 2], dtype=torch.float32, seed=1)
    got = run_onnx(model, far_points(torch.float32), tmp_path)
    assert got.dtype == np.float32
    assert np.allclose(got, model(far_points(torch.float32)).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(set(function_names()) - set(ONNX_FUNCTIONS)))
def test_onnx_refuses_functions_it_has_not_in_float64(name, tmp_path):
    pytest.importorskip("onnx")
    model = KAN([3, 2], seed=1)
    model.fix_symbolic(0, 2, 1, name, params=(0.1, 0.5, 2.0, 1.0))
    with pytest.raises(ExportError, match=rf"{name}.*\(0, 2, 1\).*unfix_symbolic"):
        model.to_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
