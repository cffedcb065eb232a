"""The way back: a network built from a formula is the formula, and can be doubted like others."""

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Symbol

from kansym import KAN, ExtrapolationWarning, Formula, load
from kansym.functions import function_names, get_function, register_function


def formula(text, variables, **options):
    """The text as a formula of these variables."""
    variables = [Symbol(name, real=True) for name in variables.split()]
    texts = [text] if isinstance(text, str) else text
    known = {str(v): v for v in variables}
    return Formula([sympy.sympify(t, locals=known) for t in texts], variables, **options)


def rows(n_in, low=0.6, high=1.4, n=60):
    generator = torch.Generator().manual_seed(n_in)
    return low + (high - low) * torch.rand(n, n_in, generator=generator, dtype=torch.float64)


def outputs(model, X):
    with torch.no_grad():
        return model(X).numpy()


def assert_equal(model, wanted, X, tolerance=1e-12):
    values = wanted.evaluate(X)
    assert np.isfinite(values).all()
    size = np.abs(values).max(0)
    assert (np.abs(outputs(model, X) - values) <= tolerance * size).all()
    for simplify in (True, False):
        back = model.symbolic_formula(simplify=simplify)
        assert back.names == wanted.names
        assert back.target_names == wanted.target_names
        assert (np.abs(back.evaluate(X) - values) <= tolerance * size).all()


def shape(model):
    return [list(row) if row.n_product else row.n_sum for row in model.width]


# -- it is the formula ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names", "width"),
    [
        ("x1**6 + x1**5 + x1**4 + x1**3 + x1**2 + x1", "x1", [1, 5, 2, 1]),
        ("(x1 + 1)**3/(x1**2 - x1 + 1)", "x1", [1, 2, 2, [0, 1], 1]),
        ("(x1**5 - 3*x1**3 + 1)/(x1**2 + 1)", "x1", [1, 3, [0, 1], 1]),
        ("(x1**6 + x1**5)/(x1**4 + x1**3 + x1**2 + x1 + 1)", "x1", [1, 4, 2, [0, 1], 1]),
        ("x1**x2", "x1 x2", [2, [0, 1], 1]),
        ("1.35*x1*x2 + 5.5*sin((x1 - 1.0)*(x2 - 1.0))", "x1 x2", [2, [0, 2], 1]),
        ("sin(x1) + sin(x1**2 + x1)", "x1", [1, 2, 2, 1]),
        ("0.2*x1**3 - 0.5*x1 + 0.5*x2**3 - 1.2*x2", "x1 x2", [2, 3, 1]),
        ("8.0*x1**2 + 8.0*x2**3 - 15.0", "x1 x2", [2, 1]),
        ("exp(-((t-t1)/s)**2/2)/(sqrt(2*pi)*s)", "s t t1", [3, 2, [1, 1], [0, 1], 1]),
        ("exp(-theta**2/2)/sqrt(2*pi)", "theta", [1, 1]),
        ("asin(n*sin(theta)/2)", "n theta", [2, [0, 1], 1]),
        ("m*g*z", "m g z", [3, [0, 1], 1]),
        (
            "G*m1*m2/((x2-x1)**2+(y2-y1)**2+(z2-z1)**2)",
            "m1 m2 G x1 x2 y1 y2 z1 z2",
            [9, [3, 1], 2, [0, 1], 1],
        ),
        ("q*(Ef+B*v*sin(theta))", "q Ef B v theta", [5, [2, 1], [0, 1], 1]),
        ("(u+v)/(1+u*v/c**2)", "c v u", [3, [1, 1], [0, 1], 1]),
        ("omega_0/(3-v/c)", "c v omega_0", [3, [1, 1], [0, 1], 1]),
        ("m*c**2/sqrt(8-v**2/c**2)", "m v c", [3, [0, 2], [0, 1], 1]),
        ("Int*sin(n*theta/2)**2/sin(theta/2)**2", "Int theta n", [3, [2, 1], [1, 1], [0, 1], 1]),
        ("n_0/(exp(mom*B/(kb*T))+exp(-mom*B/(kb*T)))", "n_0 kb T mom B", None),
        ("mom*H/(kb*T)+(mom*a)/(e*c**2*kb*T)*M", "mom H kb T a e c M", [8, [0, 2], 1]),
        ("h*omega/(exp(h*omega/(kb*T))-1)", "h omega kb T", [4, [0, 2], 2, [0, 1], 1]),
        ("-m*q**4/(2*(4*pi*e)**2*(h/(2*pi))**2)*(1/n**2)", "m q h n e", [5, [0, 1], 1]),
        ("sqrt(1+a**2-2*a*cos(b-c))", "a b c", [3, 2, [1, 1], 1, 1]),
        ("cos(a)+b*cos(a)**2", "a b", [2, 3, [1, 1], 1]),
        ("1/(1 + 3*exp(-2*x1))", "x1", [1, 1]),
        ("x1**0.3 + 2**x2", "x1 x2", None),
        ("x1**7*x2**(5/2)/x1**(1/3)", "x1 x2", None),
        ("x1**6 + x1**16 + x1**25", "x1", [1, 3, 1]),
        ("x1**-7 + x1**11 + (x1 + x2)**-6", "x1 x2", None),
        ("sec(x1)*coth(x2) + asinh(x1)", "x1 x2", None),
        ("x1 + x2 + (x1 + x2)**2 + sin(cos(x1)*x2)", "x1 x2", None),
        ("sin(x1 + 2*x2) + cos(2*x1 + 4*x2) + x1*x2*exp(x1*x2)", "x1 x2", None),
    ],
)
def test_the_network_is_the_formula(text, names, width):
    wanted = formula(text, names)
    X = rows(len(wanted.variables), n=100)
    model = KAN.from_formula(wanted, X)
    assert_equal(model, wanted, X)
    if width is not None:
        assert shape(model) == width


@pytest.mark.parametrize("name", function_names())
def test_every_function_is_one_edge(name):
    x = Symbol("x1", real=True)
    wanted = Formula([3 * get_function(name).sympy(x / 2 + sympy.Rational(1, 4)) - 1], [x])
    model = KAN.from_formula(wanted, rows(1, 0.1, 1.2))
    assert_equal(model, wanted, rows(1, 0.1, 1.2))
    assert shape(model) == [1, 1]


def test_functions_that_were_registered_are_edges():
    lift = type("lift", (sympy.Function,), {"_eval_evalf": lambda self, prec: None})
    lift._imp_ = staticmethod(lambda x: x + x**3)  # what lambdify calls
    register_function("lift", lambda x: x + x**3, lift)
    x = Symbol("x1", real=True)
    model = KAN.from_formula(Formula([2 * lift(3 * x)], [x]))
    assert shape(model) == [1, 1]
    assert model.kan_layers[0].symbolic == {(0, 0): "lift"}


def leaves(variables):
    constants = st.one_of(
        st.integers(-3, 3).map(sympy.Integer),
        st.floats(-2, 2, allow_subnormal=False).map(lambda v: sympy.Float(round(v, 3))),
    )
    return st.one_of(st.sampled_from(variables), constants)


def trees(variables):
    functions = [
        sympy.sin, sympy.cos, sympy.tanh, sympy.atan, sympy.exp, sympy.Abs, sympy.erf,
        lambda u: sympy.sqrt(1 + u**2), lambda u: 1 / (2 + sympy.cos(u)),
        lambda u: sympy.exp(-(u**2)), sympy.tan,
        lambda u: sympy.log(2 + sympy.sin(u)), lambda u: (3 + sympy.tanh(u)) ** sympy.tanh(u),
    ]  # fmt: skip

    def grow(children):
        pairs = st.tuples(children, children)
        return st.one_of(
            pairs.map(lambda p: p[0] + p[1]),
            pairs.map(lambda p: p[0] * p[1]),
            pairs.map(lambda p: p[0] - p[1] / 2),
            st.tuples(children, st.integers(2, 7)).map(lambda p: sympy.sin(p[0]) ** p[1]),
            st.tuples(st.sampled_from(functions), children).map(lambda p: p[0](p[1])),
        )

    return st.recursive(leaves(variables), grow, max_leaves=9)


VARIABLES = sympy.symbols("x1 x2 x3", real=True)


@settings(max_examples=150)
@given(st.lists(trees(VARIABLES), min_size=1, max_size=2))
def test_any_expression(exprs):
    wanted = Formula(exprs, VARIABLES)
    X = rows(3, -1.0, 1.0, 20)
    values = wanted.evaluate(X)
    if not (np.isfinite(values).all() and np.abs(values).max() < 1e6):
        return
    model = KAN.from_formula(wanted)
    # Where large terms cancel, two orders of the same sum differ by more than the sum.
    size = 1 + np.abs(values).max(0)
    assert (np.abs(outputs(model, X) - values) <= 1e-10 * size).all()
    back = model.symbolic_formula().evaluate(X)
    assert (np.abs(back - values) <= 1e-10 * size).all()


def test_several_outputs_unused_inputs_and_names():
    wanted = formula(
        ["a*b + 1", "sin(a)", "7", "exp(cos(a))"],
        "a spare b",
        names=["length (m)", "spare", "b"],
        target_names=["p", "q", "seven", "r"],
    )
    X = rows(3)
    model = KAN.from_formula(wanted, X, wanted.evaluate(X))
    assert_equal(model, wanted, X)
    assert shape(model) == [3, [2, 1], 4]
    assert not bool(model.kan_layers[0].mask[:, 1].any())
    assert model.feature_names == ("length (m)", "spare", "b")
    assert model.target_names == ("p", "q", "seven", "r")
    assert KAN.from_formula(formula("x1", "x1")).feature_names is None


@pytest.mark.parametrize("text", ["2.5", "0", "pi/3 + sqrt(2)"])
def test_a_constant(text):
    wanted = formula(text, "x1 x2")
    model = KAN.from_formula(wanted, rows(2))
    assert outputs(model, rows(2)) == pytest.approx(float(wanted.exprs[0]), rel=1e-15)
    (expr,), _ = model.symbolic_formula()
    assert not expr.free_symbols
    assert float(expr) == pytest.approx(float(wanted.exprs[0]), rel=1e-15)


def test_a_part_that_occurs_twice_is_one_node():
    model = KAN.from_formula(formula("sin(x1*x2) + exp(3*x1*x2)*tanh(x1 + x2)/(x1 + x2)", "x1 x2"))
    assert shape(model) == [2, [1, 1], [1, 1], 1]


def test_a_formula_found_reads_the_same():
    wanted = formula("q*(3*sin(2*a + 1) + 4)/(b**2 + 1)", "q a b")
    (expr,), _ = KAN.from_formula(wanted).symbolic_formula()
    assert expr.is_Mul
    assert sympy.count_ops(expr) <= sympy.count_ops(wanted.exprs[0]) + 2
    again = KAN.from_formula(KAN.from_formula(wanted).symbolic_formula())
    assert_equal(again, wanted, rows(3))


# -- what cannot be built ------------------------------------------------------------------------


X1 = Symbol("x1", real=True)


@pytest.mark.parametrize(
    ("expr", "part"),
    [
        (1 + sympy.Piecewise((X1, X1 > 0), (0, True)), "Piecewise"),
        (sympy.Integral(sympy.exp(X1**2), X1), "Integral"),
        (2 * sympy.Derivative(sympy.Function("f")(X1), X1), "Derivative"),
        (sympy.sin(sympy.Function("f")(X1)), r"f\(x1\)"),
        (X1 + sympy.I, "part I"),
        (sympy.Max(X1, 1), "Max"),
        (sympy.Min(X1, 1) ** 2, "Min"),
        (sympy.besselj(2, X1), "besselj"),
        (X1 + sympy.oo, "oo"),
        (sympy.zoo, "zoo"),
        (sympy.nan, "nan"),
        (X1 * sympy.log(-2, evaluate=False), "log"),
        (sympy.asin(2) * X1, "asin"),
        (sympy.Integer(-2) ** X1, r"\(-2\)\*\*x1"),
        (X1 * sympy.Integer(10) ** 400, "no real number a float can hold"),
        (Symbol("z", real=True) + X1, "uses z, which is not among its variables"),
        ("__import__('os').getcwd()", "must hold SymPy expressions"),
        (sympy.exp(sympy.Float(1e300) * X1) * sympy.Float(1e300) ** 0.5 * 1e200, "floating|float"),
    ],
)
def test_what_no_edge_describes_is_named(expr, part):
    with pytest.raises(ValueError, match=part):
        KAN.from_formula(Formula([expr], [X1]))


def test_nesting_has_an_end():
    expr = X1
    for _ in range(3000):
        expr = sympy.sin(expr, evaluate=False)
    with pytest.raises(ValueError, match="nested too deeply"):
        KAN.from_formula(Formula([expr], [X1], names=["x1"]))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="must be text, a SymPy expression or a Formula"):
        KAN.from_formula(None)
    with pytest.raises(ValueError, match="at least one variable"):
        KAN.from_formula(Formula([sympy.Integer(1)], []))
    with pytest.raises(ValueError, match="pass X too"):
        KAN.from_formula(formula("x1", "x1"), y=[1.0])
    with pytest.raises(ValueError, match="1 column"):
        KAN.from_formula(formula("x1", "x1"), rows(2))


# -- and then doubted ----------------------------------------------------------------------------


def test_data_are_kept_and_covered(recwarn):
    wanted = formula("q*sin(a)**2/b + 30*b", "q a b")
    X = rows(3, 50.0, 60.0)
    model = KAN.from_formula(wanted, X, wanted.evaluate(X), grid=7, k=2)
    assert model.is_fitted
    assert torch.equal(model.sample.X, X)
    assert model.sample.y.shape == (60, 1)
    assert (model.grid, model.k) == (7, 2)
    model.predict(X)
    assert not recwarn.list
    with pytest.warns(ExtrapolationWarning):
        model.predict(2 * X)
    trace = model.trace(X)
    for layer, h in zip(model.kan_layers, trace.nodes[:-1], strict=True):
        assert bool((layer.knots[:, layer.k] <= h.amin(0)).all())
        assert bool((layer.knots[:, -1 - layer.k] >= h.amax(0)).all())


def test_without_data_there_is_no_range_and_no_new_unit(recwarn):
    wanted = formula("100*x1**2*x2 + 2000", "x1 x2")
    model = KAN.from_formula(wanted)
    X = rows(2, 50.0, 60.0)
    assert model.predict(X.numpy()) == pytest.approx(wanted.evaluate(X), rel=1e-12)
    assert not recwarn.list
    model.fit((X, wanted.evaluate(X)), opt="LM", steps=3, progress=False)
    assert_equal(model, wanted, X)


def test_rows_outside_the_domain_do_not_move_grids():
    X = torch.linspace(-1, 3, 41, dtype=torch.float64)[:, None]
    model = KAN.from_formula(formula("exp(sqrt(x1))", "x1"), X)
    assert bool(torch.isfinite(model.kan_layers[1].knots).all())
    assert 1.7 < float(model.kan_layers[1].knots.max()) < 3.5


DOUBTED = [
    ("m*g*z/b", "m g z b"),
    ("q*(e + b*v*a**2)", "q e b v a"),
    ("x1**3 + x1**2 + 2*x1*x2", "x1 x2"),
]


@pytest.mark.parametrize(("text", "names"), DOUBTED)
def test_an_edge_unfixed_and_fitted_stays(text, names):
    wanted = formula(text, names)
    X = rows(len(wanted.variables), 1.0, 2.0, 200)
    y = torch.from_numpy(wanted.evaluate(X))
    model = KAN.from_formula(wanted, X, y)
    polynomial = ("x", "x^2", "x^3")  # a cubic spline is these exactly
    edges = [
        (l, i, j)
        for l, layer in enumerate(model.kan_layers)
        for (j, i), name in layer.symbolic.items()
        if name in polynomial
    ]
    model.unfix_symbolic(*edges[0])
    history = model.fit((X, y), opt="LM", steps=5, progress=False)
    assert history.train_loss[-1] < 1e-24 * float(y.var())
    for edge in edges[1:]:
        model.unfix_symbolic(*edge)
    model.fit((X, y), opt="LM", steps=5, progress=False)
    assert outputs(model, X) == pytest.approx(y.numpy(), rel=1e-9)


def all_splines(model):
    for l, layer in enumerate(model.kan_layers):
        for j, i in list(layer.symbolic):
            model.unfix_symbolic(l, i, j)
    return model


@pytest.mark.parametrize("opt", ["LM", "LBFGS", "Adam"])
def test_all_edges_as_splines_train(opt):
    wanted = formula("3*x1*x2*x3 + x1*x3", "x1 x2 x3")
    X = rows(3, 1.0, 2.0, 200)
    model = all_splines(KAN.from_formula(wanted, X))
    assert model.mult_arity == 3
    assert outputs(model, X) == pytest.approx(wanted.evaluate(X), rel=1e-9)
    y = wanted.evaluate(X) + torch.sin(3 * X[:, :1]).numpy()
    before = float(np.mean((outputs(model, X) - y) ** 2))
    model.fit((X, y), opt=opt, steps=15, lamb=1e-6, progress=False)
    assert float(np.mean((outputs(model, X) - y) ** 2)) < 0.9 * before


def test_saved_and_loaded(tmp_path):
    wanted = formula(["a*b*c + sin(a)", "a/b"], "a b c", target_names=["p", "q"])
    X = rows(3)
    model = KAN.from_formula(wanted, X)
    model.save(tmp_path / "model.kansym", sample=True)
    again = load(tmp_path / "model.kansym")
    assert np.array_equal(outputs(again, X), outputs(model, X))
    assert again.is_fitted
    assert_equal(again, wanted, X)


def test_drawn_pruned_and_merged():
    wanted = formula("g*m*z*(1 + b*c) + 1e-9*v*w", "g m z v w b c")
    X = rows(7)
    model = KAN.from_formula(wanted, X, wanted.evaluate(X))
    graph = model.graph()
    products = [key for key, node in graph.nodes.items() if node["kind"] == "product"]
    factors = sorted(graph.in_degree(key) for key in products)
    assert factors[0] == 2  # what is left out is not drawn
    model.plot(formula=True)
    pruned = model.prune(1e-4, 1e-4)
    assert pruned.n_active_edges < model.n_active_edges
    assert outputs(pruned, X) == pytest.approx(wanted.evaluate(X), rel=1e-7)
    assert outputs(model.merge(), X) == pytest.approx(wanted.evaluate(X), rel=1e-12)


def test_naming_again_keeps_what_is_left_out():
    wanted = formula("2*x1*x2*x3 + x1*x3", "x1 x2 x3")
    X = rows(3, 1.0, 2.0, 200)
    model = all_splines(KAN.from_formula(wanted, X, wanted.evaluate(X)))
    model.auto_symbolic(lib=["x", "x^2", "sin"])
    assert outputs(model, X) == pytest.approx(wanted.evaluate(X), rel=1e-6)
    assert model.symbolic_formula().evaluate(X) == pytest.approx(outputs(model, X), rel=1e-12)
