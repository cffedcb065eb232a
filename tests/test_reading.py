"""Formulas as text: read, never run; variables, outputs and rows where nothing says which."""

import numpy as np
import pandas as pd
import pytest
import scipy.special
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kansym import KAN, Formula, function_names, register_function
from kansym.functions import get_function
from kansym.symbolic import as_formula

CALLABLE = [name for name in function_names() if name.isidentifier()]


def values(model, X):
    with torch.no_grad():
        return model(torch.as_tensor(X, dtype=torch.float64)).numpy()


def test_text_is_a_network_with_rows_scores_and_pictures():
    model = KAN.from_formula("x1*sin(x2) + exp(-x1**2)")
    X = model.sample.X.numpy()
    wanted = X[:, 0] * np.sin(X[:, 1]) + np.exp(-(X[:, 0] ** 2))
    assert X.shape == (1000, 2)
    assert np.abs(X).max() <= 1
    assert values(model, X)[:, 0] == pytest.approx(wanted, rel=1e-12)
    assert np.array_equal(model.sample.y.numpy(), values(model, X))
    assert (model.feature_scores() > 0.1).all()
    assert model.plot(formula=True) is not None
    assert str(model.symbolic_formula()) == "y = x1*sin(x2) + exp(-x1**2)"


ROWS = np.random.default_rng(0).uniform(-1, 1, (20, 10))
FORMS = {
    "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "atan": np.arctan, "Abs": np.abs,
    "gaussian": lambda u: np.exp(-u * u), "sech": lambda u: 1 / np.cosh(u),
    "erf": lambda u: torch.erf(torch.as_tensor(u)).numpy(),
    "j0": scipy.special.j0,
}  # fmt: skip


leaves = st.sampled_from(["x1", "x2", "x3", "0.37", "2", "pi", "x10"])


def grow(inner):
    two = st.tuples(inner, st.sampled_from("+-*"), inner).map(" ".join)
    power = st.tuples(inner, st.integers(2, 4)).map(lambda p: f"({p[0]})**{p[1]}")
    bounded = st.sampled_from(
        ["sin", "cos", "tanh", "atan", "gaussian", "erf", "Abs", "j0", "sech"]
    )
    call = st.tuples(bounded, inner).map(lambda p: f"{p[0]}({p[1]})")
    quotient = inner.map(lambda u: f"1/(1.5 + cos({u}))")
    return st.one_of(two.map(lambda t: f"({t})"), power, call, quotient, inner.map("-{}".format))


@settings(max_examples=25)
@given(st.recursive(leaves, grow, max_leaves=6))
def test_any_text_is_its_network(text):
    """Python works the text out, the network must say the same."""
    names = {f"x{i + 1}": column for i, column in enumerate(ROWS.T)}
    functions = {n: lambda u, n=n: FORMS[n](np.asarray(u, dtype=float)) for n in FORMS}
    wanted = eval(text, {"pi": np.pi, **names, **functions})
    wanted = np.broadcast_to(wanted, len(ROWS))
    size = 1 + np.abs(wanted).max()
    if not np.isfinite(size) or size > 1e6:
        return
    try:
        model = KAN.from_formula(text, variables=list(names))
    except ValueError as error:  # the one rule that the trees above can break
        if "more than 5 functions inside" not in str(error):
            raise
        return
    assert np.abs(values(model, ROWS)[:, 0] - wanted).max() <= 1e-10 * size


@pytest.mark.parametrize("name", CALLABLE)
def test_every_function_can_be_called(name):
    model = KAN.from_formula(f"3*{name}(x1/2 + 0.25) - 1", ranges=(0.1, 1.2))
    assert len(model.kan_layers) == 1 or name == "x"
    X = model.sample.X
    with torch.no_grad():
        wanted = 3 * get_function(name).torch(X / 2 + 0.25) - 1
    torch.testing.assert_close(model(X).detach(), wanted, rtol=1e-12, atol=1e-12)


def test_a_registered_function_can_be_called():
    register_function("cubed_sine", lambda x: torch.sin(x) ** 3, lambda x: sympy.sin(x) ** 3)
    model = KAN.from_formula("2*cubed_sine(x1 + x2)")
    X = model.sample.X
    torch.testing.assert_close(model(X).detach()[:, 0], 2 * torch.sin(X.sum(1)) ** 3)


def test_several_outputs_and_their_names():
    model = KAN.from_formula({"E": "m*c**2", "p": "m*v"}, variables=["m", "v", "c"])
    assert model.feature_names == ("m", "v", "c")
    assert model.target_names == ("E", "p")
    assert values(model, [[2.0, 3.0, 5.0]]) == pytest.approx(np.array([[50.0, 6.0]]))
    x = sympy.Symbol("x")  # not real: a symbol of any kind becomes the variable of its name
    mixed = KAN.from_formula([x**2, "x + 1", 7], ranges={"x": (2, 3)})
    assert values(mixed, [[2.0]]).tolist() == [[4.0, 3.0, 7.0]]
    assert 2 <= float(mixed.sample.X.min()) <= float(mixed.sample.X.max()) <= 3


@pytest.mark.parametrize(
    ("text", "given", "names"),
    [
        ("x3 + x1", {}, ("x1", "x2", "x3")),
        ("x10*x2", {"n_columns": 12}, tuple(f"x{i}" for i in range(1, 13))),
        ("b2*a + b10", {}, ("a", "b2", "b10")),
        ("v*m", {"columns": ["y", "v", "m"], "n_columns": 3}, ("v", "m")),
        ("x*E", {}, ("x",)),
        ("x*E", {"variables": ["E", "x"]}, ("E", "x")),
        ("S + beta + λ", {}, ("beta", "S", "λ")),
    ],
)
def test_which_variables(text, given, names):
    formula = as_formula(text, **given)
    assert formula.names == names
    assert len(formula.variables) == len(names)


def test_columns_of_a_frame_by_name():
    frame = pd.DataFrame({"m": [1.0, 2.0], "spare": [0.0, 0.0], "c": [3.0, 4.0]})
    model = KAN.from_formula("m*c**2", frame)
    assert model.feature_names == ("m", "c")
    assert model.predict(frame)[:, 0] == pytest.approx([9.0, 32.0])


@pytest.mark.parametrize(
    ("formula", "options", "message"),
    [
        ("x1^2", {}, r"a power is written \*\*"),
        ("sine(x1)", {}, "unknown function 'sine'; did you mean 'sin'"),
        ("x1 +", {}, "formula is not a formula"),
        ({"p": "x1 +"}, {}, r"formula\['p'\] is not a formula"),
        (["x1", "x1.real"], {}, r"formula\[1\] may hold variables"),
        ("sin*x1", {}, "'sin', which reads as no variable"),
        ("nan + x1", {}, "'nan', which reads as no variable"),
        ("x1 + z", {"variables": ["x1"]}, "uses 'z', which is not among its variables"),
        ("x1", {"variables": ["x1", "x1"]}, "variables must be a list of different names"),
        ("x5000", {}, "x1 to x1000 only"),
        ("x3", {"X": [[1.0, 2.0]]}, "uses x3, but there are x1 to x2 only"),
        ("a*b", {"X": [[1.0, 2.0, 3.0]]}, "must have a column for each of"),
        ("7", {}, "at least one variable"),
        ([], {}, "at least one output"),
        ({1: "x1"}, {}, "texts as names of outputs"),
        (3j, {}, "formula"),
        ("sin(cos(sin(cos(sin(cos(x1))))))", {}, "more than 5 functions"),
        ("x1", {"ranges": (1, 1)}, r"ranges must be \(low, high\)"),
        ("x1", {"ranges": {"x2": (0, 1)}}, "ranges has the unknown name 'x2'"),
        ("x1", {"ranges": {"x1": 3}}, r"ranges\['x1'\] must be \(low, high\)"),
        ("log(x1)", {"ranges": (-2, -1)}, "finite nowhere"),
        ("x1", {"ranges": (0, 1), "X": [[0.0]]}, "pass one of them"),
        (Formula([sympy.Symbol("x1")], [sympy.Symbol("x1")]), {"variables": ["x1"]}, "those of"),
        ("x1", {"mult_arity": 1}, "mult_arity must be an integer >= 2"),
    ],
)
def test_what_is_refused(formula, options, message):
    with pytest.raises(ValueError, match=message):
        KAN.from_formula(formula, **options)


def test_rows_lie_in_the_domain():
    assert KAN.from_formula("log(x1 - 5)").sample is None  # nowhere in [-1, 1]
    model = KAN.from_formula("log(x1) + 1/x2")
    assert len(model.sample.X) == 1000
    assert (model.sample.X[:, 0] > 0).all()
    same, other = (KAN.from_formula("log(x1) + 1/x2", seed=seed) for seed in (0, 1))
    assert torch.equal(same.sample.X, model.sample.X)
    assert not torch.equal(other.sample.X, model.sample.X)


def test_unfixing_keeps_the_units_of_the_formula():
    model = KAN.from_formula("100*x1 + 30*x2**2")
    for i in (0, 1):
        model.unfix_symbolic(0, i, 0)
    X = model.sample.X
    model.fit((50 * X, model(X).detach()), opt="LM", steps=1, progress=False, update_grid=False)
    assert torch.equal(model.input_scale, torch.ones(2, dtype=torch.float64))
