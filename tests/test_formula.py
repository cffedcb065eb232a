"""A formula is the network: every number, every domain, under any name a column may bear."""

import math
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sympy
import torch

from kansym import KAN, Formula, NotSymbolicError
from kansym.functions import function_names, get_function, register_function

HOSTILE = [
    "<script>alert(1)</script>",
    "$",
    r"\input{x}",
    "=cmd()",
    "it's",
    'say "hi"',
    "two\nlines",
    "tab\there",
    "Übergröße µ²",
    "名前",
    "x" * 300,
    "pi",
    "E",
    "I",
    "lambda",
    "sin",
    "Symbol",
    "np",
    "",
    " ",
    '__import__("os").system("true")',
    "a+b",
    "x[0]",
    "}{",
    "100 %_#&^~",
    "\\",
    "\u202eevil",
    "\x00",
]


def rows(generator, n_in, n=31):
    return 2 * torch.rand(n, n_in, generator=generator, dtype=torch.float64) - 1


def uniform(generator, low, high):
    return float(low + (high - low) * torch.rand(1, generator=generator, dtype=torch.float64))


def give_names(model, generator, X, choose):
    """Fix every active edge on a random piece of choose(l, i, j) that holds what reaches it."""
    for l, layer in enumerate(model.kan_layers):
        nodes = model.trace(X).nodes[l].detach()
        for j, i in torch.nonzero(layer.mask).tolist():
            params = random_piece(
                get_function(choose(l, i, j)), generator, nodes[:, i].min(), nodes[:, i].max()
            )
            model.fix_symbolic(l, i, j, choose(l, i, j), params)
    return model


def random_piece(f, generator, low, high):
    """(a, b, c, d) that carry [low, high] well into the domain of f."""
    reach = max(float(high - low) / 2, 0.1)
    middle = float(high + low) / 2
    for _ in range(10_000):
        half, centre = uniform(generator, 0.2, 0.8), uniform(generator, -2.2, 2.2)
        at = torch.tensor(centre, dtype=torch.float64)
        if bool(f.domain.contains(at - half - 0.05, at + half + 0.05)):
            a = half / reach * math.copysign(1, uniform(generator, -1, 1))
            c = uniform(generator, 0.3, 1.5) * math.copysign(1, uniform(generator, -1, 1))
            return a, centre - a * middle, c, uniform(generator, -1, 1)
    raise AssertionError(f.name)


def scaled(model, generator):
    for name in ("input_shift", "input_scale", "output_shift", "output_scale"):
        buffer = getattr(model, name)
        buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator, dtype=buffer.dtype))
    return model


def assert_equal(formula, model, X, tolerance=1e-10):
    with torch.no_grad():
        expected = model(X).numpy()
    assert np.isfinite(expected).all()
    values = formula.evaluate(X)
    assert values.shape == expected.shape
    size = np.abs(expected).max(0)
    assert (np.abs(values - expected) <= tolerance * size).all()


def line(*params):
    """A [1, 1] network that is f(x) = c (a x + b) + d, or of another function."""
    name, params = (params[0], params[1:]) if isinstance(params[0], str) else ("x", params)
    model = KAN([1, 1])
    model.fix_symbolic(0, 0, 0, name, params)
    return model


def named(n_in, names=None):
    """Formula of sum_i (i + 1) x_i^2 with these names."""
    model = KAN([n_in, 1])
    for i in range(n_in):
        model.fix_symbolic(0, i, 0, "x^2", (1.0, 0.0, i + 1.0, 0.0))
    return model.symbolic_formula(names=names)


def floats(expr):
    return [float(f) for f in expr.atoms(sympy.Float)]


# -- it is the network ---------------------------------------------------------------------------


@pytest.mark.parametrize("simplify", [True, False])
@pytest.mark.parametrize("name", function_names())
def test_every_function_in_two_layers(name, simplify, generator):
    X = rows(generator, 3)
    model = scaled(KAN([3, 2, 2]), generator)
    give_names(model, generator, X, lambda l, i, j: name if (i + j) % 2 == 0 else "x")
    assert_equal(model.symbolic_formula(simplify=simplify), model, X)


@pytest.mark.parametrize("simplify", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_all_functions_mixed(seed, simplify):
    generator = torch.Generator().manual_seed(seed)
    X = rows(generator, 4)
    names = function_names()
    model = scaled(KAN([4, [2, 1], [1, 1], 3]), generator)
    give_names(model, generator, X, lambda l, i, j: names[(7 * l + 5 * i + 3 * j + seed) % 31])
    assert_equal(model.symbolic_formula(simplify=simplify), model, X, 1e-9)


@pytest.mark.parametrize("simplify", [True, False])
@pytest.mark.parametrize("arity", [2, 3, 4])
def test_product_nodes(arity, simplify, generator):
    X = rows(generator, 3)
    model = scaled(KAN([3, [1, 2], [2, 1], [0, 2]], mult_arity=arity), generator)
    names = ["x", "sin", "exp", "x^2", "tanh"]
    give_names(model, generator, X, lambda l, i, j: names[(2 * l + i + j) % 5])
    assert_equal(model.symbolic_formula(simplify=simplify), model, X)


@pytest.mark.parametrize("simplify", [True, False])
def test_pruned_networks_and_inputs_that_are_not_used(simplify, generator):
    X = rows(generator, 4)
    model = KAN([4, 3, 2])
    give_names(model, generator, X, lambda l, i, j: ["sin", "exp", "x^2"][(l + i + j) % 3])
    for layer, off in zip(model.kan_layers, [[(0, 1), (2, 3), (1, 1)], [(0, 2)]], strict=True):
        for place in off:
            layer.mask[place] = False
    model.kan_layers[0].mask[:, 2] = False
    formula = model.symbolic_formula(simplify=simplify)
    assert_equal(formula, model, X)
    assert [str(v) for v in formula.variables] == ["x1", "x2", "x3", "x4"]
    used = set().union(*(expr.free_symbols for expr in formula.exprs))
    assert formula.variables[2] not in used
    pruned = model.prune(1e-9, 1e-9, X=X)
    assert_equal(pruned.symbolic_formula(simplify=simplify), pruned, X)
    assert_equal(pruned.symbolic_formula(simplify=simplify), model, X, 1e-6)


def test_a_node_that_nothing_reaches_is_its_constant(generator):
    X = rows(generator, 2)
    model = KAN([2, [1, 1], 2])
    give_names(model, generator, X, lambda l, i, j: "sin")
    model.kan_layers[0].mask[:] = False  # all hidden nodes are 0 or a product of zeros
    for simplify in (True, False):
        formula = model.symbolic_formula(simplify=simplify)
        assert_equal(formula, model, X)
        assert not set().union(*(expr.free_symbols for expr in formula.exprs))


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_far_from_one(scale, generator):
    X = rows(generator, 2)
    model = KAN([2, 2, 1])
    give_names(model, generator, X, lambda l, i, j: ["sin", "x^3"][(i + j) % 2])
    model.input_shift += 3 * scale
    model.input_scale /= scale
    model.output_scale *= scale
    X = scale * (X + 3)
    assert_equal(model.symbolic_formula(), model, X, 1e-7)


def test_a_registered_function_is_written(generator):
    register_function("bump", lambda x: 1 / (1 + x**2), lambda x: 1 / (1 + x**2))
    X = rows(generator, 2)
    model = give_names(KAN([2, 2, 1]), generator, X, lambda l, i, j: "bump")
    for simplify in (True, False):
        assert_equal(model.symbolic_formula(simplify=simplify), model, X)


def test_float32_networks(generator):
    X = rows(generator, 2).float()
    model = KAN([2, 2, 1], dtype=torch.float32)
    give_names(model, generator, X, lambda l, i, j: "tanh")
    assert_equal(model.symbolic_formula(), model, X, 1e-5)


def test_splines_are_no_formula():
    model = KAN([3, 2, 1])
    model.fix_symbolic(0, 1, 0, "sin", (1.0, 0.0, 1.0, 0.0))
    model.kan_layers[0].mask[1, 2] = False
    model.kan_layers[1].mask[0, 1] = False
    with pytest.raises(NotSymbolicError) as error:
        model.symbolic_formula()
    message = str(error.value)
    assert "still numeric: [(0, 0, 0), (0, 2, 0), (0, 0, 1), (0, 1, 1), (1, 0, 0)]." in message
    assert "Use fix_symbolic or auto_symbolic" in message


def test_asking_changes_nothing(generator):
    X = rows(generator, 2)
    model = give_names(KAN([2, 2, 1]), generator, X, lambda l, i, j: "exp")
    before = {n: v.clone() for n, v in model.state_dict().items() if isinstance(v, torch.Tensor)}
    model.symbolic_formula(digits=3)
    model.latex()
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value)


# -- the normal form -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (("x^2", -2.0, 1.0, 3.0, 0.5), "12*(x1 - 0.5)**2 + 0.5"),
        (("x^3", -2.0, 0.0, 1.0, 0.0), "-8*x1**3"),
        (("1/x", 4.0, 2.0, 2.0, 0.0), "0.5/(x1 + 0.5)"),
        (("sqrt", 4.0, 8.0, 1.5, 0.0), "3*sqrt(x1 + 2)"),
        (("sqrt", -4.0, 8.0, 1.5, 0.0), "3*sqrt(2 - x1)"),
        (("abs", -3.0, 6.0, 2.0, 0.0), "6*Abs(x1 - 2)"),
        (("exp", 2.0, math.log(5), 1.0, 0.0), "5*exp(2*x1)"),
        (("log", math.e, 2 * math.e, 3.0, 1.0), "3*log(x1 + 2) + 4"),
        (("sin", -2.0, 0.0, 1.0, 0.0), "-sin(2*x1)"),
        (("sin", 2.0, math.pi + 0.5, 1.0, 0.0), "-sin(2*x1 + 0.5)"),
        (("cos", -2.0, 0.25, 1.0, 0.0), "cos(2*x1 - 0.25)"),
        (("tanh", -2.0, 0.5, 1.0, 0.0), "-tanh(2*x1 - 0.5)"),
        (("sigmoid", -1.0, 0.0, 1.0, 0.0), "1 - 1/(1 + exp(-x1))"),
        (("gaussian", -2.0, 0.0, 1.0, 0.0), "exp(-4*x1**2)"),
        (("arccos", -0.5, 0.0, 1.0, 0.0), "3.14159265358979 - acos(0.5*x1)"),
        (("x", 2.0, 3.0, 4.0, 5.0), "8*x1 + 17"),
        (("x", 1.0, 0.0, 1.0, 0.0), "x1"),
        (("x", 1.0, 0.0, 0.0, 2.0), "2"),
    ],
)
def test_constants_are_where_a_reader_expects_them(network, expected):
    (expr,), (x,) = line(*network).symbolic_formula()
    wanted = sympy.sympify(expected, locals={"x1": x})
    at = np.linspace(0.1, 0.9, 7)
    values = [float(expr.subs(x, v)) for v in at]
    assert values == pytest.approx([float(wanted.subs(x, v)) for v in at], rel=1e-12)
    assert sorted(map(abs, floats(expr))) == pytest.approx(
        sorted(abs(float(n)) for n in wanted.atoms(sympy.Number) if is_written(n, floats(expr))),
        rel=1e-12,
    )


def is_written(number, found):
    """Whether a number of the expected text is among the decimals (and no exponent or a 1)."""
    return any(math.isclose(abs(float(number)), abs(f), rel_tol=1e-12) for f in found)


@pytest.mark.parametrize("name", ["x", "sin", "exp", "x^2", "log", "tanh", "abs"])
def test_no_factor_is_exactly_one(name):
    expr = line(name, 1.0, 0.0, 1.0, 0.0).symbolic_formula().exprs[0]
    assert not floats(expr)
    assert "1.0" not in str(expr)
    for digits in (3, 8):
        near = line(name, 1.0 + 1e-13, 0.0, 1.0, 0.0).symbolic_formula(digits=digits).exprs[0]
        assert "1.0" not in str(near)


def test_a_product_has_one_number():
    """(2 x + 4)(3 y) 5: three factors, one constant that data determine."""
    model = KAN([2, [0, 1], 1])
    model.kan_layers[0].mask[:] = torch.eye(2, dtype=torch.bool)
    model.fix_symbolic(0, 0, 0, "x", (2.0, 4.0, 1.0, 0.0))
    model.fix_symbolic(0, 1, 1, "x", (3.0, 0.0, 1.0, 0.0))
    model.fix_symbolic(1, 0, 0, "x", (5.0, 0.0, 1.0, 0.0))
    (expr,), (x, y) = model.symbolic_formula()
    assert expr == sympy.Float(30.0, 17) * y * (x + sympy.Float(2.0, 17))


def test_without_simplifying_every_constant_stands_as_in_the_network():
    expr = line("x^2", -2.0, 1.25, 3.0, 0.5).symbolic_formula(simplify=False).exprs[0]
    assert sorted(floats(expr)) == [-2.0, 0.5, 1.25, 3.0]


# -- digits --------------------------------------------------------------------------------------


def all_decimals(text):
    return re.findall(r"\d+\.\d+(?:e[+-]?\d+)?", text)


@pytest.mark.parametrize("digits", [1, 2, 3, 5])
def test_digits_round_every_number_wherever_it_stands(digits, generator):
    X = rows(generator, 3)
    model = give_names(
        KAN([3, 2, 2]), generator, X,
        lambda l, i, j: ["gaussian", "sin", "x^1.5", "exp", "1/sqrt"][(l + i + 2 * j) % 5],
    )  # fmt: skip
    formula = model.symbolic_formula(digits=digits)
    for expr in formula.exprs:
        assert floats(expr)
        for number in map(str, expr.atoms(sympy.Float)):
            assert float(number) == float(f"{float(number):.{digits}g}")
        for text in all_decimals(str(expr)):
            assert len(text.split("e")[0].replace(".", "").strip("0")) <= digits, text
    exact, rounded = model.symbolic_formula().evaluate(X), formula.evaluate(X)
    assert np.nanmax(np.abs(exact - rounded)) < 20 * 10.0**-digits * np.abs(exact).max()


def test_rounding_reaches_into_exponents():
    expr = line("gaussian", math.sqrt(0.99998100009025), 0.0, 1.0, 0.0).symbolic_formula().exprs[0]
    rounded = Formula([expr], list(expr.free_symbols)).rounded(4).exprs[0]
    assert "0.9999" not in str(rounded)
    assert str(rounded) == "exp(-x1**2)"


@pytest.mark.parametrize("digits", [0, -1, 2.5, "3", True])
def test_digits_must_be_a_count(digits):
    with pytest.raises(ValueError, match="digits must be an integer >= 1, got"):
        line(2.0, 0.0, 1.0, 0.0).symbolic_formula(digits=digits)


# -- evaluating and printing ---------------------------------------------------------------------


def test_it_unpacks(generator):
    X = rows(generator, 3)
    model = give_names(KAN([3, 2]), generator, X, lambda l, i, j: "sin")
    exprs, variables = model.symbolic_formula()
    assert len(exprs) == 2
    assert [str(v) for v in variables] == ["x1", "x2", "x3"]
    assert all(v.is_real for v in variables)


def test_evaluate_is_a_column_per_output(generator):
    X = rows(generator, 3, 11)
    formula = give_names(KAN([3, 2]), generator, X, lambda l, i, j: "exp").symbolic_formula()
    for given in (X, X.numpy(), X.tolist(), X.float()):
        values = formula.evaluate(given)
        assert isinstance(values, np.ndarray)
        assert values.shape == (11, 2)
        assert values.dtype == np.float64
    with pytest.raises(ValueError, match="3 columns"):
        formula.evaluate(X[:, :2])


def test_a_constant_formula_has_a_value_for_every_row():
    values = line(1.0, 0.0, 0.0, 2.5).symbolic_formula().evaluate(np.zeros((5, 1)))
    assert values.tolist() == [[2.5]] * 5


@pytest.mark.parametrize("name", ["log", "sqrt", "1/sqrt", "x^1.5", "arcsin", "arctanh"])
def test_outside_the_domain_is_nan_without_a_warning(name):
    values = line(name, 1.0, 0.0, 1.0, 0.0).symbolic_formula().evaluate([[-3.0], [0.5]])
    assert np.isnan(values[0, 0])
    assert np.isfinite(values[1, 0])


def test_a_pole_is_not_finite_and_not_loud():
    assert not np.isfinite(line("1/x", 1.0, 0.0, 1.0, 0.0).symbolic_formula().evaluate([[0.0]]))


@pytest.mark.parametrize("name", ["1/x", "log", "1/sqrt"])
def test_a_function_of_nothing_that_is_not_real_is_nan(name):
    model = KAN([1, 1, 1])
    model.kan_layers[0].mask[:] = False
    model.fix_symbolic(1, 0, 0, name, (1.0, 0.0 if name == "1/x" else -1.0, 1.0, 0.0))
    for simplify in (True, False):
        values = model.symbolic_formula(simplify=simplify).evaluate([[0.5], [0.7]])
        assert np.isnan(values).all()


def test_latex_has_a_line_for_every_output(generator):
    X = rows(generator, 2)
    model = give_names(KAN([2, 3]), generator, X, lambda l, i, j: "sin")
    lines = model.latex().split(" \\\\\n")
    assert [text.split(" = ")[0] for text in lines] == ["y_{1}", "y_{2}", "y_{3}"]
    model.target_names = ("speed", "50 %", "alpha")
    lines = model.latex().split(" \\\\\n")
    assert [text.split(" = ")[0] for text in lines] == [
        r"\mathrm{speed}", r"\mathrm{50\ \%}", r"\alpha"
    ]  # fmt: skip
    assert line(2.0, 0.0, 1.0, 0.0).latex() == "y = 2.0 x_{1}"


def test_complexity_counts_nodes():
    assert line(1.0, 0.0, 1.0, 0.0).symbolic_formula().complexity() == 1
    assert line("sin", 2.0, 0.0, 1.0, 0.0).symbolic_formula().complexity() == 4


# -- names ---------------------------------------------------------------------------------------


def test_plain_names_are_symbols():
    formula = named(4, ["mass", "alpha", "x_1", "T2"])
    assert [str(v) for v in formula.variables] == ["mass", "alpha", "x_1", "T2"]
    latex = formula.latex()
    assert r"\alpha^{2}" in latex
    assert "x_{1}^{2}" in latex
    assert "where" not in str(formula)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_outside(name, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("text from outside was parsed")

    monkeypatch.setattr(sympy, "sympify", refuse)
    monkeypatch.setattr("sympy.parsing.sympy_parser.parse_expr", refuse)
    monkeypatch.setattr(sympy, "symbols", refuse)
    formula = named(3, ["a", name, "b"])
    assert [str(v) for v in formula.variables] == ["a", "v2", "b"]
    values = formula.evaluate([[1.0, 2.0, 3.0]])
    assert values.tolist() == [[1 + 2 * 4 + 3 * 9.0]]
    latex = formula.latex()
    assert_is_harmless(latex)
    text = str(formula)
    assert f"where v2 is {name!r}" in text
    assert text.count("\n") == 1


def assert_is_harmless(latex):
    """Braces balance and no character acts; newlines and controls are gone."""
    depth = 0
    bare = re.sub(r"\\[\\{}$&#%_ ]", "", latex)
    for ch in bare:
        depth += {"{": 1, "}": -1}.get(ch, 0)
        assert depth >= 0
    assert depth == 0
    assert not re.search(r"[$&#%~]", bare)
    assert set(re.findall(r"\\([A-Za-z]+)", bare)) <= {
        "mathrm", "backslash", "hat", "sim", "lambda", "left", "right", "sin", "cdot",
    }  # fmt: skip
    assert latex.isprintable()


def test_hostile_names_together():
    names = [*HOSTILE, "a", "v1", "v2"]
    formula = named(len(names), names)
    assert len(set(formula.variables)) == len(names)
    assert formula.names == tuple(names)
    X = np.arange(1.0, len(names) + 1)[None]
    assert formula.evaluate(X)[0, 0] == pytest.approx((np.arange(1, len(names) + 1) ** 3.0).sum())
    assert_is_harmless(formula.latex())


def test_a_name_that_is_there_twice_is_refused():
    x, y = sympy.symbols("x y", real=True)
    message = "{} must be different from one another, got 'a' twice; rename one"
    with pytest.raises(ValueError, match=message.format("names")):
        named(3, ["a", "b", "a"])
    with pytest.raises(ValueError, match=message.format("names")):
        Formula([x + y], [x, y], ["a", "a"])
    with pytest.raises(ValueError, match=message.format("target_names")):
        Formula([x, y], [x, y], target_names=["a", "a"])
    with pytest.raises(ValueError, match=r"target_names must be 2 texts, .* got \['a'\]"):
        Formula([x, y], [x, y], target_names=["a"])


FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_the_columns_of_a_frame_are_taken_by_name(frame):
    """As those of a network, whatever their order and whatever else is there."""
    formula = named(2, ["mass", "two words"])
    mass, words = np.random.default_rng(0).uniform(1, 2, (2, 5))
    expected = formula.evaluate(np.stack([mass, words], 1))
    found = formula.evaluate(frame({"more": words, "two words": words, "mass": mass}))
    assert np.array_equal(found, expected)
    with pytest.raises(ValueError, match=r"X lacks the columns \['two words'\]; it has"):
        formula.evaluate(frame({"mass": mass, "words": words}))


def test_numbered_columns_have_no_names():
    X = np.random.default_rng(0).uniform(1, 2, (5, 2))
    formula = named(2, ["a", "b"])
    assert np.array_equal(formula.evaluate(pd.DataFrame(X)), formula.evaluate(X))


@pytest.mark.parametrize(
    "name", ["pi", "labs", "what", "chemical", "mag2norm", "pressure_in_hall_2"]
)
def test_a_name_is_not_taken_for_something_else(name):
    """SymPy alone would print the constant, |l|, a w with a hat, a calligraphic letter ..."""
    escaped = name.replace("_", r"\_")
    assert rf"\mathrm{{{escaped}}}^{{2}}" in named(2, ["a", name]).latex()


def test_a_name_like_a_stand_in_does_not_collide():
    formula = named(3, ["v2", "v1", "v3"])
    assert len(set(formula.variables)) == 3
    assert formula.evaluate([[1.0, 10.0, 100.0]]).tolist() == [[1 + 200 + 30000.0]]


def test_hostile_target_names(generator):
    model = line("sin", 2.0, 0.0, 1.0, 0.0)
    for name in HOSTILE:
        model.target_names = (name,)
        assert_is_harmless(model.latex())


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], "ab", ["a", 2], ["a", None]])
def test_the_wrong_names_are_refused(names):
    with pytest.raises(ValueError, match="names must be 2 texts, one per column, got"):
        named(2, names)


def test_names_of_the_data_are_the_default(generator):
    X = rows(generator, 2)
    model = KAN([2, 1])
    for i in range(2):
        model.fix_symbolic(0, i, 0, "x", (1.0, 0.0, 1.0, 0.0))
    model.feature_names = ("mass", "speed (m/s)")
    formula = model.symbolic_formula()
    assert [str(v) for v in formula.variables] == ["mass", "v2"]
    assert str(formula) == "y = mass + v2\n  where v2 is 'speed (m/s)'"
    assert_equal(formula, model, X)


def test_a_name_that_is_not_used_is_not_explained():
    model = KAN([2, 1])
    model.fix_symbolic(0, 0, 0, "x", (1.0, 0.0, 1.0, 0.0))
    model.kan_layers[0].mask[0, 1] = False
    assert str(model.symbolic_formula(names=["a", "b c"])) == "y = a"
