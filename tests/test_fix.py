"""An edge that is given a function is exactly that function, until it is given its spline back."""

import copy
import math

import pytest
import sympy
import torch

from kansym import KAN, NoSampleError, functions
from kansym.functions import function_names, get_function, register_function

EDGE, PLACE = (0, 2, 1), (1, 2)
PARAMS = (1.3, 0.4, -0.7, 0.2)


def rows(generator, n=97, n_in=3):
    return 2 * torch.rand(n, n_in, generator=generator, dtype=torch.float64) - 1


def edge_values(model, X, edge=EDGE):
    l, i, j = edge
    with torch.no_grad():
        return model.trace(X).edges[l][:, j, i]


def form_of(name, params):
    a, b, c, d = params
    return lambda x: c * get_function(name).torch(a * x + b) + d


def inside(f):
    """Constants that keep [-1, 1] well inside the domain of f."""
    for a, b in [(0.4, 0.1), (0.4, 1.3), (-0.2, 0.5)]:
        low, high = torch.tensor(b - abs(a) - 0.05), torch.tensor(b + abs(a) + 0.05)
        if bool(f.domain.contains(low, high)):
            return a, b, 1.7, -0.3
    raise AssertionError(f.name)


# -- fixing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", function_names())
def test_an_edge_with_constants_is_exactly_that(name, generator):
    X, params = rows(generator), inside(get_function(name))
    model = KAN([3, 2], seed=2)
    others = edge_values(model, X, (0, 0, 1)) + edge_values(model, X, (0, 1, 1))
    assert model.fix_symbolic(*EDGE, name, params) is None
    expected = form_of(name, params)(X[:, 2])
    assert torch.equal(edge_values(model, X), expected)
    with torch.no_grad():
        torch.testing.assert_close(model(X)[:, 1], others + expected, rtol=1e-13, atol=1e-13)
    assert model.kan_layers[0].symbolic == {PLACE: name}


def test_only_that_edge_changes(generator):
    X = rows(generator)
    model = KAN([3, 2, 1])
    before = model.trace(X)
    model.fix_symbolic(0, 1, 0, "sin", PARAMS)
    after = model.trace(X)
    kept = torch.ones(2, 3, dtype=torch.bool)
    kept[0, 1] = False
    assert torch.equal(before.edges[0][:, kept], after.edges[0][:, kept])
    assert not torch.equal(before.edges[0][:, 0, 1], after.edges[0][:, 0, 1])


def test_fixing_again_replaces(generator):
    model, X = KAN([3, 2]), rows(generator)
    model.fix_symbolic(*EDGE, "sin", PARAMS)
    model.fix_symbolic(*EDGE, "exp", (1.0, 0.0, 2.0, 0.0))
    assert torch.equal(edge_values(model, X), 2 * torch.exp(X[:, 2]))


def test_without_constants_the_best_are_taken(generator):
    X = rows(generator)
    model = KAN([3, 2], seed=1)
    before = edge_values(model, X)
    suggested = model.suggest_symbolic(*EDGE, lib=["tanh"], X=X).iloc[0]
    found = model.fix_symbolic(*EDGE, "tanh", X=X)
    assert found.name == "tanh"
    assert found.params == tuple(suggested[["a", "b", "c", "d"]].astype(float))
    assert model.kan_layers[0].affine[PLACE].tolist() == list(found.params)
    error = ((edge_values(model, X) - before) ** 2).mean() / before.var(correction=0)
    assert 1 - float(error) == pytest.approx(found.r2, abs=1e-9)


def test_without_constants_a_function_is_found_again(generator):
    X = rows(generator)
    model = KAN([3, 2])
    model.fix_symbolic(*EDGE, "log", (1.0, 1.5, 0.8, 0.1))
    before = edge_values(model, X)
    assert model.fix_symbolic(*EDGE, "log", X=X).r2 == pytest.approx(1, abs=1e-13)
    torch.testing.assert_close(edge_values(model, X), before, rtol=1e-9, atol=1e-9)


def test_the_sample_of_the_last_fit_is_used(generator):
    model = KAN([3, 2])
    with pytest.raises(NoSampleError, match="call fit or pass X"):
        model.fix_symbolic(*EDGE, "sin")
    model.fix_symbolic(*EDGE, "sin", PARAMS)  # needs no data
    X = rows(generator)
    model.fit((X, X[:, :2]), steps=1, progress=False)
    assert model.fix_symbolic(*EDGE, "sin").name == "sin"


@pytest.mark.parametrize(
    "params",
    [(1, 2, 3), (1, 2, 3, 4, 5), (1, 0, math.nan, 0), (math.inf, 0, 1, 0), (), ("1", "b", 2, 3)],
)
def test_bad_constants_are_refused(params):
    model = KAN([3, 2])
    with pytest.raises(ValueError, match=r"params must be four finite numbers \(a, b, c, d\), got"):
        model.fix_symbolic(*EDGE, "sin", params)
    assert not model.kan_layers[0].symbolic


@pytest.mark.parametrize("params", [1.0, None.__class__, {"a": 1}])
def test_constants_that_are_no_list_are_refused(params):
    with pytest.raises(ValueError, match="params must be four finite numbers"):
        KAN([3, 2]).fix_symbolic(*EDGE, "sin", params)


def test_bad_places_and_names_are_refused(generator):
    model, X = KAN([3, 2]), rows(generator)
    model.kan_layers[0].mask[PLACE] = False
    with pytest.raises(ValueError, match=r"edge \(0, 2, 1\) was pruned away"):
        model.fix_symbolic(*EDGE, "sin", PARAMS)
    with pytest.raises(ValueError, match=r"i \(input node\) must be an integer in 0..2, got 3"):
        model.fix_symbolic(0, 3, 0, "sin", PARAMS)
    with pytest.raises(ValueError, match="unknown function 'sine'; did you mean 'sin'"):
        model.fix_symbolic(0, 0, 0, "sine", PARAMS)
    with pytest.raises(ValueError, match="X must have 3 columns"):
        model.fix_symbolic(0, 0, 0, "sin", X=X[:, :2])


def test_a_function_that_cannot_be_real_there_is_refused(generator):
    functions._REGISTRY["nowhere"] = functions.SymbolicFunction(
        "nowhere", torch.sqrt, lambda x: x, 3, functions.Domain(low=1.0, high=1.0, closed=False)
    )
    model = KAN([3, 2])
    message = r"'nowhere' cannot be real on the whole range of edge \(0, 2, 1\)"
    with pytest.raises(ValueError, match=message):
        model.fix_symbolic(*EDGE, "nowhere", X=rows(generator))
    assert not model.kan_layers[0].symbolic


@pytest.mark.parametrize("name", ["log", "sqrt", "1/x", "arcsin", "arctanh", "tan", "x^1.5"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fitted_function_is_real_on_every_row(name, dtype, generator):
    """The ends of the range too, whose rounding in data units must not leave the domain."""
    for seed in range(4):
        X = 3e3 + 40 * rows(generator)
        model = KAN([3, 2], grid_range=(2950.0, 3050.0), dtype=dtype, seed=seed)
        model.fix_symbolic(*EDGE, name, X=X)
        assert edge_values(model, X).isfinite().all()


# -- unfixing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x", "x^2", "sin", "exp", "tanh", "gaussian"])
def test_unfixing_follows_the_function(name, generator):
    X = rows(generator)
    model = KAN([3, 2], grid=20)
    model.fix_symbolic(*EDGE, name, PARAMS)
    before, output = edge_values(model, X), model(X).detach()
    model.unfix_symbolic(*EDGE)
    assert not model.kan_layers[0].symbolic
    assert bool(model.kan_layers[0].is_numeric[PLACE])
    torch.testing.assert_close(edge_values(model, X), before, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(model(X), output, rtol=1e-5, atol=1e-5)


def test_a_polynomial_of_the_spline_s_degree_comes_back_exactly(generator):
    X = rows(generator)
    model = KAN([3, 2], grid=4, k=3)
    model.fix_symbolic(*EDGE, "x^3", PARAMS)
    before = edge_values(model, X)
    model.unfix_symbolic(*EDGE)
    torch.testing.assert_close(edge_values(model, X), before, rtol=1e-12, atol=1e-12)


def test_unfixing_touches_no_other_edge(generator):
    model, X = KAN([3, 2]), rows(generator)
    model.fix_symbolic(*EDGE, "sin", PARAMS)
    model.fix_symbolic(0, 0, 0, "exp", PARAMS)
    before = copy.deepcopy(model)
    model.unfix_symbolic(*EDGE)
    others = torch.ones(2, 3, dtype=torch.bool)
    others[PLACE] = False
    old, new = before.trace(X).edges[0], model.trace(X).edges[0]
    assert torch.equal(old[:, others], new[:, others])
    assert model.kan_layers[0].symbolic == {(0, 0): "exp"}


def test_a_function_that_ends_within_the_grid_is_followed_as_far_as_it_goes(generator):
    X = rows(generator)
    model = KAN([3, 2], grid=16)
    model.fix_symbolic(*EDGE, "sqrt", (1.0, 0.0, 1.0, 0.0))  # real on half of the grid
    before = edge_values(model, X)
    model.unfix_symbolic(*EDGE)
    after = edge_values(model, X)
    assert after.isfinite().all()
    real = X[:, 2] > 0.1
    torch.testing.assert_close(after[real], before[real], rtol=0.01, atol=0.01)


def test_a_function_that_is_nowhere_real_on_the_grid():
    model = KAN([3, 2])
    model.fix_symbolic(*EDGE, "log", (1.0, -5.0, 1.0, 0.0))
    with pytest.raises(ValueError, match=r"edge \(0, 2, 1\).*nowhere real"):
        model.unfix_symbolic(*EDGE)
    assert model.kan_layers[0].symbolic == {PLACE: "log"}


def test_unfixing_a_spline_is_refused():
    model = KAN([3, 2])
    message = r"edge \(0, 2, 1\) is not symbolic; nothing to unfix"
    with pytest.raises(ValueError, match=message):
        model.unfix_symbolic(*EDGE)
    with pytest.raises(ValueError, match=r"j \(output node\) must be an integer in 0..1, got 2"):
        model.unfix_symbolic(0, 0, 2)


# -- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("opt", "steps"), [("LBFGS", 30), ("LM", 60)])
def test_fit_trains_the_constants(opt, steps, generator):
    X = rows(generator)
    y = 1.4 * torch.sin(2.1 * X[:, :1] + 0.3) + 0.5 * torch.exp(0.7 * X[:, 1:2]) - 0.2
    model = KAN([2, 1])
    model.fix_symbolic(0, 0, 0, "sin", (1.8, 0.0, 1.0, 0.0))
    model.fix_symbolic(0, 1, 0, "exp", (1.0, 0.0, 1.0, 0.0))
    history = model.fit((X[:, :2], y), opt=opt, steps=steps, progress=False, scale="never")
    assert history.train_loss[-1] < 1e-10
    (sin, exp) = model.kan_layers[0].affine[0].tolist()
    assert sin[:3] == pytest.approx([2.1, 0.3, 1.4], rel=1e-3)
    assert exp[0] == pytest.approx(0.7, rel=1e-3)
    assert exp[2] * math.exp(exp[1]) == pytest.approx(0.5, rel=1e-3)
    assert model.kan_layers[0].symbolic == {(0, 0): "sin", (0, 1): "exp"}


@pytest.mark.parametrize("opt", ["LBFGS", "LM"])
def test_fit_trains_an_unfixed_edge(opt, generator):
    X = rows(generator)
    y = torch.sin(3 * X[:, 2:]) + 0.3
    model = KAN([3, 1], grid=8)
    for i in range(3):
        model.fix_symbolic(0, i, 0, "x", (1.0, 0.0, 0.1, 0.0))
    poor = model.fit((X, y), opt=opt, steps=10, progress=False).train_loss[-1]
    model.unfix_symbolic(0, 2, 0)
    better = model.fit((X, y), opt=opt, steps=20, progress=False).train_loss[-1]
    assert better < 1e-2 * poor


def test_an_edge_is_evaluated_only_as_what_it_is(generator):
    """The spline under a function may hold NaN, and so may a function on an edge that is off."""
    X = rows(generator)
    model = KAN([3, 2])
    model.fix_symbolic(*EDGE, "sin", PARAMS)
    model.fix_symbolic(0, 0, 0, "log", (1.0, -9.0, 1.0, 0.0))
    layer = model.kan_layers[0]
    with torch.no_grad():
        layer.coef[PLACE] = math.nan
        layer.base_weight[PLACE] = math.nan
        layer.affine[0, 1] = math.nan
    layer.mask[0, 0] = False
    output = model(X)
    assert output.isfinite().all()
    assert model.trace(X).edges[0].isfinite().all()
    output.sum().backward()
    assert all(p.grad.isfinite().all() for p in (layer.coef, layer.base_weight, layer.affine))
    assert float(layer.coef.grad[PLACE].abs().max()) == 0


# -- functions of one's own ----------------------------------------------------------------------


def test_a_registered_function_is_usable_at_once(generator):
    register_function("bump", lambda x: 1 / (1 + x**2), lambda x: 1 / (1 + x**2))
    X = rows(generator)
    model = KAN([3, 1])
    for i in range(2):
        model.fix_symbolic(0, i, 0, "x", (1.0, 0.0, 0.5, 0.0))
    model.fix_symbolic(0, 2, 0, "bump", (3.0, 0.5, 2.0, 0.1))
    assert model.suggest_symbolic(0, 2, 0, X=X).iloc[0]["name"] == "bump"
    assert model.fix_symbolic(0, 2, 0, "bump", X=X).r2 > 1 - 1e-12
    formula = model.symbolic_formula()
    expected = 0.5 * X[:, 0] + 0.5 * X[:, 1] + 2 / (1 + (3 * X[:, 2] + 0.5) ** 2) + 0.1
    assert formula.evaluate(X)[:, 0] == pytest.approx(expected.numpy(), rel=1e-9)
    assert formula.exprs[0].has(sympy.Symbol("x3", real=True))
    assert r"\frac" in model.latex()
    y = expected[:, None]
    assert model.fit((X, y), opt="LM", steps=5, progress=False).train_loss[-1] < 1e-20


def test_fixed_edges_survive_a_copy_and_a_state_dict(generator):
    X = rows(generator)
    model = KAN([3, 2], seed=1)
    model.fix_symbolic(*EDGE, "sin", PARAMS)
    other = KAN([3, 2], seed=7)
    other.load_state_dict(model.state_dict())
    assert other.kan_layers[0].symbolic == {PLACE: "sin"}
    assert torch.equal(other(X), model(X))
    copied = model.copy()
    copied.unfix_symbolic(*EDGE)
    assert model.kan_layers[0].symbolic == {PLACE: "sin"}
