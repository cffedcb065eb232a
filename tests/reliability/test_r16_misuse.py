"""Wrong order, wrong arguments, shared and copied models: a clear error, or the right result.

A clear error names the argument, its rule and what came. `nn.Module` keeps its own habits: a
state_dict of another shape is a RuntimeError of torch that names the parameter.
"""

import copy
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from clear_errors import refused
from sklearn.exceptions import NotFittedError
from torch import nn

import kansym
from kansym import KAN, KANClassifier, KANRegressor, find_formula
from kansym.pipeline import Recipe

X = np.random.default_rng(0).uniform(1, 2, (60, 2))
Y = X[:, 0] * X[:, 1]
QUICK = {"max_time": 1.0, "max_candidates": 4}
NAN, INF = float("nan"), float("inf")


def fresh():
    return KAN([2, 3, 1], grid=3, seed=0)


def trained(steps=3):
    model = fresh()
    model.fit((X, Y), steps=steps, progress=False)
    return model


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def named():
    """y = x1 + x2, every edge named."""
    network = KAN([2, 1], grid=3, seed=0)
    network.fit((X, X.sum(1)), steps=10, progress=False)
    for i in range(2):
        network.fix_symbolic(0, i, 0, "x")
    return network


@pytest.fixture(scope="module")
def regressor():
    return KANRegressor(**QUICK).fit(X, Y)


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    plt.close("all")


def state(network):
    return copy.deepcopy(network.state_dict())


def is_same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(v, other[k]) if isinstance(v, torch.Tensor) else v == other[k]
        for k, v in one.items()
    )


# -- in the wrong order ---------------------------------------------------------------------------

NEEDS_DATA = {
    "prune": lambda m: m.prune(),
    "merge": lambda m: m.merge(),
    "edge_scores": lambda m: m.edge_scores(),
    "node_scores": lambda m: m.node_scores(),
    "feature_scores": lambda m: m.feature_scores(),
    "suggest": lambda m: m.suggest_symbolic(0, 0, 0),
    "fix": lambda m: m.fix_symbolic(0, 0, 0, "sin"),
    "auto": lambda m: m.auto_symbolic(),
    "plot": lambda m: m.plot(),
    "plot_edge": lambda m: m.plot_edge(0, 0, 0),
    "plot_fit": lambda m: m.plot_fit(),
    "plot_features": lambda m: m.plot_features(),
    "graph": lambda m: m.graph(),
    "save": lambda m: m.save("never.kansym", sample=True),
}


@pytest.mark.parametrize("verb", NEEDS_DATA.values(), ids=NEEDS_DATA.keys())
def test_before_fit_what_needs_data_says_so(verb):
    untouched = fresh()
    before = state(untouched)
    with refused("call fit or pass X", kinds=kansym.NoSampleError):
        verb(untouched)
    assert is_same(before, state(untouched))


def test_before_fit_predictions_are_those_of_the_first_parameters():
    network = fresh()
    with torch.no_grad():
        expected = network(torch.tensor(X))
    assert np.array_equal(network.predict(X), expected.numpy())


NEEDS_NAMES = {
    "symbolic_formula": lambda m: m.symbolic_formula(),
    "latex": lambda m: m.latex(),
    "snap": lambda m: m.symbolic_formula(snap=True),
    "plot": lambda m: m.plot(formula=True),
}


@pytest.mark.parametrize("verb", NEEDS_NAMES.values(), ids=NEEDS_NAMES.keys())
def test_before_names_there_is_no_formula(model, verb):
    with refused(r"still numeric: \[\(0, 0, 0\)", "auto_symbolic", kinds=kansym.NotSymbolicError):
        verb(model)


ATTRIBUTES = ("formula_", "equations_", "verdict_", "network_", "rivals_", "spline_rmse_", "noise_")
VERBS = ("sympy", "latex", "latex_table", "equations_table", "plot_pareto", "plot_features")


@pytest.mark.parametrize("cls", [KANRegressor, KANClassifier])
def test_before_fit_an_estimator_says_so(cls):
    for name in ATTRIBUTES:
        if hasattr(cls, name):
            with refused("not fitted", kinds=NotFittedError):
                getattr(cls(), name)
    for name in VERBS:
        with refused("not fitted", kinds=NotFittedError):
            getattr(cls(), name)()
    with refused("not fitted", kinds=NotFittedError):
        cls().predict(X)


# -- arguments ------------------------------------------------------------------------------------

BAD_EDGES = {
    "l (layer)": [(2, 0, 0), (-1, 0, 0), (True, 0, 0), ("0", 0, 0), (None, 0, 0), (0.0, 0, 0)],
    "i (input node)": [(0, 2, 0), (0, -1, 0), (0, np.float64(1), 0), (0, torch.tensor([1, 2]), 0)],
    "j (output node)": [(0, 0, 3), (0, 0, -1), (0, 0, False), (1, 0, [0])],
}
EDGES = [(argument, edge) for argument, edges in BAD_EDGES.items() for edge in edges]


@pytest.mark.parametrize(("argument", "edge"), EDGES)
def test_edges(model, argument, edge):
    rule = argument.replace("(", r"\(").replace(")", r"\)") + r" must be an integer in 0\.\."
    before = state(model)
    for verb in (model.suggest_symbolic, model.unfix_symbolic, model.plot_edge):
        with refused(rule, "got "):
            verb(*edge)
    with refused(rule, "got "):
        model.fix_symbolic(*edge, "sin")
    assert is_same(before, state(model))


ZEROS = [0, -1, 1.5, True, "5", None]
NO_NUMBERS = ["x", True, NAN, None, [1]]
# Arguments of fit: what is wrong, and what the message must say.
FIT = {
    "lamb": [-1, *NO_NUMBERS],
    "lamb_l1": [-1, "x"],
    "lamb_entropy": [-1, INF],
    "steps": ZEROS,
    "opt": ["lm", None, 3],
    "loss": ["mae", None, 3],
    "score": ["x", None],
    "lr": [0, -1, NAN, INF, "x", True],
    "batch": [0, -1, 1.5, True, "x"],
    "update_grid": ["x", None, 2],
    "grid_update_num": [-1, 1.5, True, "x", None],
    "stop_grid_update_step": [-1, 1.5, "x", None],
    "grids": [[], [5, 3], [3, 3], [0], [1.5], [True], "x", 5, [10**9]],
    "huber_delta": [0, -1, NAN, "x"],
    "smooth": [-1, NAN, "x"],
    "metrics": [3, ["a"], {"a": 3}],
    "callbacks": [3, [3], "x", print],
    "patience": [0, -1, 1.5, "x"],
    "max_time": [0, -1, NAN, True, "x"],
    "progress": ["x", None],
    "scale": ["x", None, True],
    "seed": [-1, 1.5, True, "x", None, 2**70],
    "sample_weight": ["x", -Y],
}


@pytest.mark.parametrize("argument", FIT)
def test_arguments_of_fit(argument):
    for value in FIT[argument]:
        network = fresh()
        before = state(network)
        with refused(argument):
            network.fit((X, Y), **({"steps": 1, "progress": False} | {argument: value}))
        assert is_same(before, state(network)), value


NETWORK = {
    "width": [
        [2], [], None, "21", 5, [2, 0, 1], [2, -1], [2, 1.5], [2, True], [[2, 1], 1],
        [2, [1, 2, 3], 1], [2, "3", 1], [2, None], {2: 1},
    ],
    "grid": [*ZEROS, 10**9],
    "k": ZEROS,
    "mult_arity": [1, 1.5, "x"],
    "base": ["x", None],
    "grid_range": [(1, -1), (1, 1), (0, INF), (0, 1, 2), 3, "ab", None],
    "grid_eps": [-1, 2, NAN, "x", True],
    "outside": ["x", None],
    "seed": [-1, 1.5, True, "x", None, 2**70],
    "dtype": [torch.float16, torch.int64, np.float64, "float64", None],
    "device": ["x", "cuda:99"],
}  # fmt: skip


@pytest.mark.parametrize("argument", NETWORK)
def test_arguments_of_a_network(argument):
    for value in NETWORK[argument]:
        with refused(argument):
            KAN(**({"width": [2, 1]} | {argument: value}))


OTHER = {
    "tolerance": (lambda m, v: m.merge(v), [-1, 1, *NO_NUMBERS]),
    "grid": (lambda m, v: m.refine(v), [*ZEROS, 10**9]),
    "node_th": (lambda m, v: m.prune(node_th=v), [-1, *NO_NUMBERS]),
    "edge_th": (lambda m, v: m.prune(edge_th=v), [-1, *NO_NUMBERS]),
    "threshold": (lambda m, v: m.prune_inputs(v), [-1, *NO_NUMBERS]),
    "score": (lambda m, v: m.edge_scores(v), ["x", None, 3]),
    "topk": (lambda m, v: m.suggest_symbolic(0, 0, 0, topk=v), ZEROS),
    "lib": (lambda m, v: m.suggest_symbolic(0, 0, 0, lib=v), ["sin", [], 5]),
    "function": (lambda m, v: m.suggest_symbolic(0, 0, 0, lib=v), [["sine"], [1], [["sin"]]]),
    "unknown function": (lambda m, v: m.fix_symbolic(0, 0, 0, v), ["sine", "", None, 3, ["sin"]]),
    "params": (
        lambda m, v: m.fix_symbolic(0, 0, 0, "sin", v),
        ["abcd", (1, 2, 3), (1, 2, 3, NAN), (1, 2, 3, "x"), (1, 2, 3, 4, 5), 5, (1j, 0, 0, 0)],
    ),
    "output": (lambda m, v: m.plot_fit(output=v), [-1, 1, 1.5, True, "x"]),
}


@pytest.mark.parametrize("argument", OTHER)
def test_arguments_of_other_verbs(model, argument):
    verb, values = OTHER[argument]
    before = state(model)
    for value in values:
        with refused(argument):
            verb(model, value)
    assert is_same(before, state(model))


SEARCH = {
    "max_time": [0, -1, NAN, True, "x"],
    "random_state": [-1, 1.5, True, "x"],
    "n_jobs": [0, 1.5, True, "x"],
    "max_complexity": [0, -1, 1.5, True, "x"],
    "max_candidates": [0, -1, 1.5, True, "x"],
    "noise": [-1, NAN, True, "x", [1, 2]],
    "checkpoint": [5],
    "required": ["x1", ["zz"], 5, [0]],
    "forbidden": ["x1", ["zz"]],
    "features": ["x1", [5], ["x1+"]],
    "constants": [5, {"g": "x"}, {"g": 0}, {3: 1.0}, {"x1": 2.0}],
    "monotone": [5, {"zz": "increasing"}, {"x1": "up"}],
    "parity": [{"x1": 3}],
    "units": ["m", ["m"], {"x1": "m"}],
    "function": ["sin", ["sine"], 5, [], [3]],
}


@pytest.mark.parametrize("argument", SEARCH)
def test_arguments_of_the_search(argument):
    for value in SEARCH[argument]:
        name = "functions" if argument == "function" else argument
        estimators = [KANRegressor] + [KANClassifier] * (name in KANClassifier().get_params())
        for cls in estimators:
            with refused("lib" if value == [] else argument):
                cls(**(QUICK | {name: value})).fit(X, Y if cls is KANRegressor else Y > 2)


PIPELINE = {
    "width": [5, "x", [2]],
    "lib": ["sin", [], 5],
    "seed": [-1, 1.5, "x", None, True],
    "max_time": [0, NAN, "x"],
    "recipe": [5, "x"],
    "report": [5],
}


@pytest.mark.parametrize("argument", PIPELINE)
def test_arguments_of_find_formula(argument):
    given = {"width": [2, 1], "max_time": 0.2, "recipe": Recipe(restarts=1, steps=2)}
    for value in PIPELINE[argument]:
        with refused(argument):
            find_formula((X, Y), **(given | {argument: value}))


@pytest.mark.parametrize("i", [99, -99, 1.0, "x", True, [0, 1], []])
def test_rows_of_equations(regressor, i):
    for verb in (regressor.sympy, regressor.latex, lambda i: regressor.predict(X, i)):
        with refused("^i must be"):
            verb(i)


@pytest.mark.parametrize("output", [-1, 1, 1.5, True, "x"])
def test_outputs_of_an_estimator(regressor, output):
    with refused("output must be"):
        regressor.plot_pareto(output=output)


NAMES = {
    "short": ["a"],
    "long": ["a", "b", "c"],
    "text": "ab",
    "number": 5,
    "set": {"a", "b"},
    "numbers": [1, 2],
    "none": [None, "b"],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
def test_names_of_another_number_or_kind(named, names):
    shown = (named.symbolic_formula, named.latex, named.plot, named.graph, named.plot_features)
    for verb in shown:
        with refused("names must be 2 texts"):
            verb(names=names)


NUMBERS = torch.tensor(X)
TAKE_NAMES = {
    "symbolic_formula": lambda m, names: m.symbolic_formula(names=names),
    "latex": lambda m, names: m.latex(names=names),
    "plot": lambda m, names: m.plot(names=names),
    "Formula": lambda m, names: kansym.Formula(*m.symbolic_formula(), names),
    "Dataset": lambda m, names: kansym.Dataset(NUMBERS, NUMBERS, feature_names=names),
    "targets": lambda m, names: kansym.Dataset(NUMBERS, NUMBERS, target_names=names),
}


@pytest.mark.parametrize("verb", TAKE_NAMES.values(), ids=TAKE_NAMES.keys())
def test_one_name_for_two_columns_is_refused(named, verb):
    verb(named, ("a", "b"))
    with refused("names must be different from one another, got 'a' twice; rename one"):
        verb(named, ("a", "a"))


@pytest.mark.parametrize("name", ["zoo", "nan", "oo", "pi", "E", "I", "sin", "asin", "Abs", "sqrt"])
def test_a_constant_is_not_called_as_what_a_formula_holds(name):
    with refused("constants must not be called as", f"got '{name}'; choose another name"):
        KANRegressor(**QUICK, constants={name: 2.5}).fit(X, Y)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_formula_reads_a_frame_by_its_names(frame):
    a, b = X.T
    formula = KANRegressor(**QUICK).fit(frame({"a": a, "b": b}), Y).formula_
    assert np.array_equal(formula.evaluate(frame({"b": b, "a": a})), formula.evaluate(X))
    with refused(r"X lacks the columns \['b'\]", r"\['a', 'c'\]"):
        formula.evaluate(frame({"a": a, "c": b}))


@pytest.mark.parametrize(
    "x", [X, X.tolist(), torch.ones(5, 2, dtype=torch.complex64), None], ids=lambda x: type(x)
)
def test_forward_takes_tensors(model, x):
    with refused("X must be a tensor of real numbers", "predict"):
        model(x)


# -- what is called back --------------------------------------------------------------------------


class OwnError(Exception):
    """Raised by the functions of a user."""


def raising(*_):
    raise OwnError("mine")


CALLED = {
    "callback": {"callbacks": [raising]},
    "metric": {"metrics": {"mine": raising}},
    "loss": {"loss": raising, "opt": "Adam"},
}


@pytest.mark.parametrize("given", CALLED.values(), ids=CALLED.keys())
def test_what_a_user_s_function_raises_comes_through_and_the_model_stays_whole(given):
    network = fresh()
    with pytest.raises(OwnError, match="mine"):
        network.fit((X, Y), steps=2, progress=False, **given)
    assert np.isfinite(network.predict(X)).all()
    network.fit((X, Y), steps=2, progress=False)


BAD_LOSSES = {
    "number": lambda p, y: 3.0,
    "nothing": lambda p, y: None,
    "each row": lambda p, y: (p - y) ** 2,
    "detached": lambda p, y: ((p - y) ** 2).mean().detach(),
}


@pytest.mark.parametrize("loss", BAD_LOSSES.values(), ids=BAD_LOSSES.keys())
def test_a_loss_that_cannot_be_lowered(loss):
    with refused("loss must"):
        fresh().fit((X, Y), steps=2, progress=False, opt="Adam", loss=loss)


@pytest.mark.parametrize("metric", [lambda p, y: p, lambda p, y: "s", lambda p, y: None])
def test_a_metric_that_is_no_number(metric):
    with refused(r"metrics\['mine'\] must return one number"):
        fresh().fit((X, Y), steps=2, progress=False, metrics={"mine": metric})


# -- allowed, and right ---------------------------------------------------------------------------


def test_pruning_everything_is_refused_and_leaves_the_model(model):
    before = state(model)
    for verb in (model.prune, model.prune_nodes, model.prune_edges, model.prune_inputs):
        with refused("lower the threshold", kinds=kansym.EmptyNetworkError):
            verb(1e9)
    assert is_same(before, state(model))


def test_fit_after_fix_trains_the_constants(named):
    network = named.copy()
    network.fix_symbolic(0, 0, 0, "x", (1, 0, 5, 0))
    network.fit((X, X.sum(1)), steps=10, progress=False)
    assert np.allclose(network.predict(X)[:, 0], X.sum(1), atol=1e-6)
    assert network.kan_layers[0].symbolic == {(0, 0): "x", (0, 1): "x"}


def test_fix_twice_keeps_the_second(named):
    network = named.copy()
    network.fix_symbolic(0, 0, 0, "x^2", (1, 0, 1, 0))
    network.fix_symbolic(0, 0, 0, "x", (1, 0, 1, 0))
    assert network.kan_layers[0].symbolic[0, 0] == "x"


def test_unfix_of_a_spline_is_refused(model, named):
    with refused(r"edge \(0, 0, 0\) is not symbolic"):
        model.unfix_symbolic(0, 0, 0)
    network = named.copy()
    network.unfix_symbolic(0, 0, 0)
    assert np.allclose(network.predict(X), named.predict(X), atol=1e-6)
    with refused(r"edge \(0, 0, 0\) is not symbolic"):
        network.unfix_symbolic(0, 0, 0)


def test_nothing_to_merge_changes_nothing(named):
    assert np.array_equal(named.merge().predict(X), named.predict(X))


def test_a_coarser_grid_is_a_model_of_its_own(model):
    before = state(model)
    coarse = model.refine(1)
    assert coarse.grid == 1
    assert np.isfinite(coarse.predict(X)).all()
    assert is_same(before, state(model))


def test_fit_on_another_number_of_columns(model):
    before = state(model)
    with refused(r"X must have 2 columns \(width\[0\]\), got shape \(60, 3\)"):
        model.fit((np.c_[X, Y], Y), steps=1, progress=False)
    assert is_same(before, state(model))


def test_attributes_that_do_not_exist_change_nothing(model):
    network = model.copy()
    network.lambda_ = 3
    assert np.array_equal(network.predict(X), model.predict(X))
    with pytest.raises(TypeError, match="unexpected keyword argument 'lambda_'"):
        model.fit((X, Y), lambda_=3)
    with pytest.raises(ValueError, match="Invalid parameter 'lambda_'"):
        KANRegressor().set_params(lambda_=3)


# -- sharing and copying --------------------------------------------------------------------------


def test_eight_threads_predict_the_same_bits(model, regressor):
    expected = model.predict(X), regressor.predict(X)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: (model.predict(X), regressor.predict(X)), range(64)))
    assert all(np.array_equal(a, b) for pair in found for a, b in zip(pair, expected, strict=True))


def test_two_threads_fit_two_models_as_one_alone():
    alone = state(trained())
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: state(trained()), range(2)))
    assert all(is_same(alone, one) for one in found)


def test_threads_search_side_by_side(regressor):
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: KANRegressor(**QUICK).fit(X, Y).sympy(), range(2)))
    assert found == [regressor.sympy()] * 2


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "its own copy": lambda m: m.copy() if isinstance(m, KAN) else copy.deepcopy(m),
}


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES.keys())
def test_copies_predict_the_same(how, model, named, regressor):
    for original in (model, named, regressor):
        assert np.array_equal(how(original).predict(X), original.predict(X))


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "its own copy"])
def test_a_copy_is_independent(how, named):
    before = state(named)
    other = COPIES[how](named)
    other.unfix_symbolic(0, 0, 0)
    other.fit((X, Y), steps=3, progress=False)
    assert is_same(before, state(named))
    assert named.feature_names == other.feature_names


class Wrapped(nn.Module):
    """A KAN in a model of somebody's own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.inner = fresh()

    def forward(self, x):
        return self.scale * self.inner(x)


def test_a_network_inside_of_a_module(named, tmp_path):
    outer, other = Wrapped(), Wrapped()
    outer.inner = named.copy()
    other.inner = KAN([2, 1], grid=3, seed=5)
    x = torch.tensor(X)
    torch.save(outer.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(outer(x), other(x))
    assert other.inner.kan_layers[0].symbolic == named.kan_layers[0].symbolic
    assert torch.equal(outer.train()(x), outer.eval()(x))
    outer.to(torch.float32)
    assert outer(x.float()).dtype == torch.float32
    outer(x.float()).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in outer.parameters())


def test_single_precision_fits_and_predicts(model):
    single = model.copy().to(torch.float32)
    assert np.allclose(single.predict(X), model.predict(X), atol=1e-4)
    single.fit((X, Y), steps=2, progress=False)
    assert single.predict(X).dtype == np.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(model, dtype):
    half = model.copy().to(dtype)
    with refused("float32 or float64, got", "model.double"):
        half.predict(X)
    with refused("float32 or float64, got", "model.double"):
        half.fit((X, Y), steps=1, progress=False)


OTHERS = {
    "width": KAN([2, 4, 1], grid=3),
    "grid": KAN([2, 3, 1], grid=7),
    "depth": KAN([2, 3, 3, 1], grid=3),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_the_state_of_another_shape_is_refused(other):
    with pytest.raises(RuntimeError, match=r"(size mismatch for|Unexpected key\(s\)).*layers"):
        fresh().load_state_dict(other.state_dict())


def _predict_there(network):
    torch.set_num_threads(1)
    return network.predict(X)


def _fit_there(_):
    torch.set_num_threads(1)
    return trained().predict(X), KANRegressor(**QUICK).fit(X, Y).predict(X)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_predicts_and_fits_the_same(method, model, regressor):
    with multiprocessing.get_context(method).Pool(1) as pool:
        there = pool.apply(_predict_there, (model,))
        fitted, searched = pool.apply(_fit_there, (None,))
    assert np.array_equal(there, model.predict(X))
    assert np.array_equal(fitted, trained().predict(X))
    assert np.array_equal(searched, regressor.predict(X))


def test_a_frame_with_a_name_twice_is_refused():
    frame = pd.DataFrame(X, columns=["a", "a"])
    with refused("X must have columns of different names, got 'a' twice"):
        fresh().fit((frame, Y), steps=1, progress=False)
