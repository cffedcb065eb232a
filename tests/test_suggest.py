"""The right function comes first, with the right constants, and asking changes nothing."""

import math

import numpy as np
import pytest
import sympy
import torch

from kansym import KAN, NoSampleError, bspline, functions
from kansym.functions import function_names, get_function, get_library, register_function
from kansym.symbolic.candidates import suggest, suggest_each

COLUMNS = ["name", "R2", "complexity", "a", "b", "c", "d", "score"]
EDGE = (0, 2, 1)  # layer, input, output of a [3, 2] network
PLACE = (1, 2)  # the same as [out, in]

# name and (a, b, c, d) of curves that are told apart from all others on [-1, 1].
CURVES = [
    ("x", (1.0, 0.0, -0.7, 0.2)),
    ("x^2", (1.0, 0.3, 1.4, -0.5)),
    ("x^3", (1.0, -0.1, 2.0, 0.3)),
    ("x^4", (1.0, 0.2, 0.7, 0.0)),
    ("1/x", (1.0, 1.4, 0.6, -0.1)),
    ("1/x^2", (-1.0, 1.5, 0.9, 0.4)),
    ("sqrt", (1.0, 1.01, 2.0, 0.1)),
    ("exp", (1.7, 0.0, 0.4, 0.3)),
    ("log", (1.0, 1.1, 0.8, 0.2)),
    ("sin", (math.pi, 0.4, 1.3, -0.2)),
    ("tan", (1.2, 0.1, 0.5, 0.6)),
    ("tanh", (3.0, 0.5, 1.1, 0.4)),
    ("arctan", (4.0, -0.7, 0.9, 0.0)),
    ("abs", (1.0, -0.2, 1.5, 0.3)),
    ("gaussian", (2.2, 0.4, 1.6, -0.1)),
    ("erf", (2.5, 0.3, 1.2, 0.1)),
]


def rows(generator, n=211, n_in=3, dtype=torch.float64):
    return 2 * torch.rand(n, n_in, generator=generator, dtype=dtype) - 1


def exact_model(name, params, edge=EDGE, **options):
    """A network whose edge is c f(a x + b) + d and counts as a spline: fixed on no name."""
    model = KAN([3, 2], **options)
    model.fix_symbolic(*edge, name, params)
    return model


def spline_model(form, grid=60, k=5, dtype=torch.float64):
    """A network whose edge is a spline through `form` on [-1, 1]."""
    model = KAN([3, 2], grid=grid, k=k, dtype=dtype)
    set_spline(model, 0, PLACE, form)
    return model


def set_spline(model, l, place, form):
    layer = model.kan_layers[l]
    j, i = place
    points = bspline.sites(layer.knots, layer.k, 4 * (layer.k + 1))[:, i : i + 1]
    knots = layer.knots[i : i + 1]
    coef = bspline.fit_coefficients(points, form(points)[:, None], knots, layer.k)
    with torch.no_grad():
        layer.coef[j, i] = coef[0, 0]
        layer.base_weight[j, i] = 0


def form_of(name, params):
    a, b, c, d = params
    return lambda x: c * get_function(name).torch(a * x + b) + d


def state_of(model):
    return {
        name: value.clone() if isinstance(value, torch.Tensor) else str(value)
        for name, value in model.state_dict().items()
    }


def assert_same_state(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        same = (
            torch.equal(actual[name], value)
            if isinstance(value, torch.Tensor)
            else actual[name] == value
        )
        assert same, name


# -- the right one -------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "params"), CURVES)
def test_an_exact_curve_is_named(name, params, generator):
    X = rows(generator)
    best = exact_model(name, params).suggest_symbolic(*EDGE, X=X).iloc[0]
    assert best["name"] == name
    assert best["R2"] == pytest.approx(1, abs=1e-12)
    assert best["complexity"] == get_function(name).complexity
    x = X[:, EDGE[1]]
    found = form_of(name, best[["a", "b", "c", "d"]].astype(float))(x)
    torch.testing.assert_close(found, form_of(name, params)(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "params"), [c for c in CURVES if c[0] != "abs"])
def test_a_spline_is_named_by_what_it_follows(name, params, generator):
    X = rows(generator)
    model = spline_model(form_of(name, params))
    assert bool(model.kan_layers[0].is_numeric[PLACE])
    best = model.suggest_symbolic(*EDGE, X=X).iloc[0]
    assert best["name"] == name
    x = X[:, EDGE[1]]
    found = form_of(name, best[["a", "b", "c", "d"]].astype(float))(x)
    torch.testing.assert_close(found, form_of(name, params)(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("exp", (1.7, 0.0, 0.4, 0.3), (1.7, None, None, 0.3)),
        ("sin", (math.pi, 0.4, 1.3, -0.2), (math.pi, 0.4, 1.3, -0.2)),
        ("tanh", (3.0, 0.5, 1.1, 0.4), (3.0, 0.5, 1.1, 0.4)),
        ("gaussian", (2.2, 0.4, 1.6, -0.1), (2.2, 0.4, 1.6, -0.1)),
    ],
)
def test_the_constants_are_right(name, params, expected, generator):
    """Up to the sign of a, which an odd or even function leaves open."""
    table = exact_model(name, params).suggest_symbolic(*EDGE, lib=[name], X=rows(generator))
    a, b, c, d = table.iloc[0][["a", "b", "c", "d"]].astype(float)
    sign = math.copysign(1, a)
    flip = sign if name in ("sin", "tanh") else 1
    for found, value in zip((sign * a, sign * b, flip * c, d), expected, strict=True):
        if value is not None and name != "sin":
            assert found == pytest.approx(value, rel=1e-7)
    if name == "sin":  # the phase may also have turned half a period
        assert (abs(a), abs(c), d) == pytest.approx((math.pi, 1.3, -0.2), rel=1e-7)
    if name == "exp":
        assert c * math.exp(b) == pytest.approx(0.4, rel=1e-7)


def test_constants_are_in_the_units_the_edge_sees(generator):
    """Not in those of the data, which the first layer rescales."""
    model = exact_model("exp", (1.7, 0.0, 0.4, 0.3))
    model.input_shift += 20.0
    model.input_scale /= 50.0
    X = 20 + 50 * rows(generator)
    best = model.suggest_symbolic(*EDGE, X=X).iloc[0]
    assert best["name"] == "exp"
    assert best["a"] == pytest.approx(1.7, rel=1e-7)


def test_a_deeper_edge_is_seen_on_what_reaches_it(generator):
    model = KAN([3, 2, 2])
    for i in range(3):
        for j in range(2):
            model.fix_symbolic(0, i, j, "x", (1.0, 0.0, 2.0 + j, 3.0))
    model.fix_symbolic(1, 1, 0, "log", (1.0, 0.5, 1.0, 0.0))
    X = rows(generator)
    best = model.suggest_symbolic(1, 1, 0, X=X).iloc[0]
    assert best["name"] == "log"
    assert best["b"] / best["a"] == pytest.approx(0.5, abs=1e-5)


def test_several_networks_are_asked_as_if_each_alone(generator):
    models = [spline_model(torch.sin), spline_model(torch.exp), spline_model(torch.tanh)]
    places = [[EDGE, (0, 0, 0)], [], [EDGE]]
    X, library = rows(generator), get_library(["x", "sin", "exp", "tanh"])
    together = suggest_each(models, X, places, library)
    assert together[1] == {}
    for model, edges, table in zip(models, places, together, strict=True):
        alone = suggest(model, X, edges, library)
        for edge in edges:
            for one, other in zip(alone[edge], table[edge], strict=True):
                assert one.name == other.name
                assert one.r2 == pytest.approx(other.r2, rel=1e-3)


def test_a_simpler_name_is_preferred_where_both_fit(generator):
    """cosh(0.05 x) is x^2 to seven digits, and sin(0.03 x) is x."""
    X = rows(generator)
    for name, params, simple in [
        ("cosh", (0.05, 0.0, 800.0, 0.0), "x^2"),
        ("sin", (0.003, 0.0, 300.0, 0.0), "x"),
        ("exp", (0.002, 0.0, 500.0, 0.0), "x"),
    ]:
        model = exact_model(name, params)
        table = model.suggest_symbolic(*EDGE, topk=40, X=X)
        rank = {row["name"]: row["score"] for _, row in table.iterrows()}
        assert rank[simple] < rank[name] + 26  # an exact fit counts at most log2(1e7) more


@pytest.mark.parametrize(
    ("phase", "name"), [(0.1, "sin"), (1.5, "cos"), (3.1, "sin"), (-1.5, "cos")]
)
def test_of_sine_and_cosine_the_one_with_the_smaller_phase_comes_first(phase, name, generator):
    model = exact_model("sin", (3.0, phase, 1.0, 0.0))
    table = model.suggest_symbolic(*EDGE, X=rows(generator))
    assert table.iloc[0]["name"] == name
    assert set(table["name"].head(2)) == {"sin", "cos"}


# -- the table -----------------------------------------------------------------------------------


def test_the_table(generator):
    model = exact_model("sin", (2.0, 0.1, 1.0, 0.0))
    X = rows(generator)
    table = model.suggest_symbolic(*EDGE, topk=100, X=X)
    assert list(table.columns) == COLUMNS
    assert set(table["name"]) <= set(function_names())
    assert table["name"].is_unique
    assert len(table) > 20
    assert (table["R2"] <= 1).all()
    assert np.isfinite(table[COLUMNS[1:]].to_numpy(dtype=float)).all()
    assert (table["score"].diff().dropna() > -1e-3).all()
    x = X[:, EDGE[1]]
    y = form_of("sin", (2.0, 0.1, 1.0, 0.0))(x)
    for _, row in table.iterrows():
        fitted = form_of(row["name"], [float(row[p]) for p in "abcd"])(x)
        r2 = 1 - float(((fitted - y) ** 2).mean() / y.var(correction=0))
        assert row["R2"] == pytest.approx(r2, abs=1e-7)
        error = 0.5 * math.log2(max(1 - row["R2"], 1e-14))
        charge = row["score"] - error - row["complexity"]
        assert min(abs(charge), abs(charge - 1)) < 1e-9


@pytest.mark.parametrize("topk", [1, 3, 7])
def test_topk_is_the_head_of_the_table(topk, generator):
    model, X = exact_model("log", (1.0, 1.2, 1.0, 0.0)), rows(generator)
    whole = model.suggest_symbolic(*EDGE, topk=50, X=X)
    assert model.suggest_symbolic(*EDGE, topk=topk, X=X).equals(whole.head(topk))


def test_five_by_default(generator):
    assert len(exact_model("x", (1, 0, 1, 0)).suggest_symbolic(*EDGE, X=rows(generator))) == 5


@pytest.mark.parametrize("topk", [0, -1, 2.5, "3", None, True])
def test_topk_must_be_a_count(topk, generator):
    with pytest.raises(ValueError, match="topk must be an integer >= 1, got"):
        KAN([3, 2]).suggest_symbolic(*EDGE, topk=topk, X=rows(generator))


def test_only_the_library_asked_for(generator):
    model, X = exact_model("sin", (2.0, 0.1, 1.0, 0.0)), rows(generator)
    table = model.suggest_symbolic(*EDGE, lib=["x^3", "exp", "x", "exp"], X=X)
    assert sorted(table["name"]) == ["exp", "x", "x^3"]


def test_nothing_that_fits_is_an_empty_table(generator):
    """No registered function need be real on an edge; the columns are there all the same."""
    f = functions.SymbolicFunction(
        "nowhere", torch.sqrt, lambda x: x, 3, functions.Domain(low=1.0, high=1.0, closed=False)
    )
    functions._REGISTRY["nowhere"] = f
    table = KAN([3, 2]).suggest_symbolic(*EDGE, lib=["nowhere"], X=rows(generator))
    assert list(table.columns) == COLUMNS
    assert len(table) == 0


def test_no_candidate_is_unreal_on_the_sample(generator):
    X = rows(generator)
    table = KAN([3, 2], seed=4).suggest_symbolic(*EDGE, topk=100, X=X)
    for _, row in table.iterrows():
        fitted = form_of(row["name"], [float(row[p]) for p in "abcd"])(X[:, EDGE[1]])
        assert fitted.isfinite().all(), row["name"]


def test_a_registered_function_is_suggested(generator):
    register_function("xexp", lambda x: x * torch.exp(-x), lambda x: x * sympy.exp(-x))
    X = rows(generator)
    model = exact_model("xexp", (2.0, 0.3, 1.5, 0.1))
    assert model.suggest_symbolic(*EDGE, X=X).iloc[0]["name"] == "xexp"


# -- a query -------------------------------------------------------------------------------------


def test_asking_changes_nothing(generator):
    model = KAN([3, 2, 1], grid=4)
    X = rows(generator)
    before, sample = state_of(model), model.sample
    modules = [dict(m.__dict__) for m in model.modules()]
    for edge in [(0, 0, 0), (0, 2, 1), (1, 1, 0)]:
        model.suggest_symbolic(*edge, X=X)
    assert_same_state(state_of(model), before)
    assert model.sample is sample
    for module, old in zip(model.modules(), modules, strict=True):
        assert module.__dict__ == old
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_asking_twice_answers_twice_the_same(generator):
    model, X = KAN([3, 2], seed=3), rows(generator)
    first = model.suggest_symbolic(*EDGE, X=X)
    assert first.equals(model.suggest_symbolic(*EDGE, X=X))


@pytest.mark.parametrize("name", ["x", "x^2", "sin", "exp", "tanh"])
def test_float32_never_fits_better_than_exactly(name, generator):
    X = rows(generator, dtype=torch.float32)
    model = exact_model(name, (1.0, 0.5, 300.0, 1e4), dtype=torch.float32)
    table = model.suggest_symbolic(*EDGE, topk=100, X=X)
    assert (table["R2"] <= 1).all()
    assert table["R2"].max() > 1 - 1e-9


def test_the_sample_of_the_last_fit_is_used(generator):
    model = spline_model(lambda x: torch.exp(1.5 * x))
    X = rows(generator)
    with pytest.raises(NoSampleError, match="the model has seen none; call fit or pass X"):
        model.suggest_symbolic(*EDGE)
    model.fit((X, model(X).detach()), steps=1, update_grid=False, progress=False, scale="never")
    kept = model.suggest_symbolic(*EDGE)
    assert kept.iloc[0]["name"] == "exp"
    assert kept.equals(model.suggest_symbolic(*EDGE, X=X))


@pytest.mark.parametrize("kind", ["numpy", "list", "tensor32"])
def test_data_of_any_kind(kind, generator):
    X = rows(generator, 50)
    given = {"numpy": X.numpy(), "list": X.tolist(), "tensor32": X.float()}[kind]
    assert exact_model("x", (1, 0, 2, 0)).suggest_symbolic(*EDGE, X=given).iloc[0]["name"] == "x"


# -- messages ------------------------------------------------------------------------------------


def test_an_unknown_function_is_answered_with_the_nearest(generator):
    with pytest.raises(ValueError, match="unknown function 'sine'; did you mean 'sin'"):
        KAN([3, 2]).suggest_symbolic(*EDGE, lib=["x", "sine"], X=rows(generator))
    with pytest.raises(ValueError, match="lib must be a list of function names, got the string"):
        KAN([3, 2]).suggest_symbolic(*EDGE, lib="sin", X=rows(generator))
    with pytest.raises(ValueError, match="lib must name at least one function"):
        KAN([3, 2]).suggest_symbolic(*EDGE, lib=[], X=rows(generator))


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ((1, 0, 0), r"l \(layer\) must be an integer in 0..0, got 1"),
        ((-1, 0, 0), r"l \(layer\) must be an integer in 0..0, got -1"),
        ((0, 3, 0), r"i \(input node\) must be an integer in 0..2, got 3"),
        ((0, -1, 0), r"i \(input node\) must be an integer in 0..2, got -1"),
        ((0, 0, 2), r"j \(output node\) must be an integer in 0..1, got 2"),
        ((0, 0.0, 1), r"i \(input node\) must be an integer in 0..2, got 0.0"),
        ((0.0, 0, 1), r"l \(layer\) must be an integer in 0..0, got 0.0"),
        (("0", 0, 1), r"l \(layer\) must be an integer in 0..0, got '0'"),
        ((None, 0, 1), r"l \(layer\) must be an integer in 0..0, got None"),
        ((0, True, 1), r"i \(input node\) must be an integer in 0..2, got True"),
    ],
)
def test_an_edge_that_is_not_there(edge, message, generator):
    with pytest.raises(ValueError, match=message):
        KAN([3, 2]).suggest_symbolic(*edge, X=rows(generator))


def test_a_pruned_edge(generator):
    model = KAN([3, 2])
    model.kan_layers[0].mask[PLACE] = False
    message = r"edge \(0, 2, 1\) was pruned away; choose an active edge"
    with pytest.raises(ValueError, match=message):
        model.suggest_symbolic(*EDGE, X=rows(generator))
    model.suggest_symbolic(0, 2, 0, X=rows(generator))


def test_one_row_is_too_few(generator):
    with pytest.raises(ValueError, match="number of samples in X must be an integer >= 2, got 1"):
        KAN([3, 2]).suggest_symbolic(*EDGE, X=rows(generator, 1))


def test_a_wrong_number_of_columns(generator):
    with pytest.raises(ValueError, match="X must have 3 columns"):
        KAN([3, 2]).suggest_symbolic(*EDGE, X=rows(generator, 20, 2))


def test_a_constant_column_is_named_without_trouble(generator):
    X = rows(generator, 40)
    X[:, EDGE[1]] = 0.3
    table = KAN([3, 2]).suggest_symbolic(*EDGE, X=X)
    assert table.iloc[0]["name"] == "x"
    assert (table["R2"] == 1).all()
    assert (table["c"] == 0).all()
