"""Networks fitted to data of a known law are named right, and say so when no law fits."""

import math

import pytest
import torch

from kansym import KAN, NoSampleError, PoorFitWarning, bspline, functions
from kansym.functions import get_library, register_function
from kansym.symbolic import auto
from kansym.symbolic.auto import auto_symbolic, network_score

SMALL = ["x", "x^2", "x^3", "exp", "log", "sin", "tanh", "sqrt"]


def rows(n_in, n=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(n, n_in, generator=generator, dtype=torch.float64) - 1


def trained(width, law, n=200, grid=8, k=5, steps=60, seed=0, **options):
    """A network fitted to law(X) on [-1, 1]^n and the data it saw."""
    X = rows(width[0], n)
    y = law(*X.T)
    y = torch.stack(y, 1) if isinstance(y, tuple) else y[:, None]
    model = KAN(width, grid=grid, k=k, seed=seed, **options)
    model.fit((X, y), opt="LM", steps=steps, progress=False, scale="never")
    return model, X, y


def relative_error(model, law, n_in):
    """On rows that were not fitted."""
    X = 0.98 * rows(n_in, 300, seed=9)
    y = law(*X.T)
    y = torch.stack(y, 1) if isinstance(y, tuple) else y[:, None]
    with torch.no_grad():
        return float((model(X) - y).abs().max() / y.std())


def names(model):
    return {
        (l, i, j): name
        for l, layer in enumerate(model.kan_layers)
        for (j, i), name in layer.symbolic.items()
    }


LAWS = {
    "sin": ([1, 1], lambda x: torch.sin(3 * x + 0.5)),
    "log": ([1, 1], lambda x: torch.log(x + 1.3)),
    "gaussian": ([1, 1], lambda x: 2 * torch.exp(-((1.9 * x - 0.3) ** 2))),
    "sum": ([2, 1], lambda x, y: torch.sin(math.pi * x) + y**2),
}
NAMES = {
    "sin": {(0, 0, 0): "sin"},
    "log": {(0, 0, 0): "log"},
    "gaussian": {(0, 0, 0): "gaussian"},
    "sum": {(0, 0, 0): "sin", (0, 1, 0): "x^2"},
}


@pytest.mark.parametrize("law", LAWS)
def test_a_law_is_named_and_refitted_to_the_last_digit(law):
    width, formula = LAWS[law]
    model, X, y = trained(width, formula)
    spline_error = relative_error(model, formula, width[0])
    steps = model.auto_symbolic()
    assert {step.edge: step.name for step in steps} == names(model) == NAMES[law]
    error = relative_error(model, formula, width[0])
    assert error < min(1e-10, spline_error)
    values = model.symbolic_formula().evaluate(X)
    assert values == pytest.approx(y.numpy(), rel=1e-9, abs=1e-9)


# Deeper networks whose splines follow the law already: {edge: function of its input}.
DEEP = {
    "exp of a sum": (
        [2, 1, 1],
        lambda x, y: torch.exp(torch.sin(math.pi * x) + y**2),
        {
            (0, 0, 0): lambda u: torch.sin(math.pi * u),
            (0, 1, 0): lambda u: u**2,
            (1, 0, 0): torch.exp,
        },
        {(0, 0, 0): "sin", (0, 1, 0): "x^2", (1, 0, 0): "exp"},
    ),
    "root of a sum": (
        [2, 1, 1],
        lambda x, y: torch.sqrt(1.2 + x**2 + 0.5 * x + y**2),
        {
            (0, 0, 0): lambda u: u**2 + 0.5 * u,
            (0, 1, 0): lambda u: u**2,
            (1, 0, 0): lambda u: torch.sqrt(1.2 + u),
        },
        {(0, 0, 0): "x^2", (0, 1, 0): "x^2", (1, 0, 0): "sqrt"},
    ),
    "product": (
        [2, [0, 1], 1],
        lambda x, y: x * y,
        {(0, 0, 0): lambda u: 0.7 * u, (0, 1, 1): lambda u: u, (1, 0, 0): lambda u: u / 0.7},
        {(0, 0, 0): "x", (0, 1, 1): "x", (1, 0, 0): "x"},
    ),
    "product of three": (
        [3, [1, 1], 1],
        lambda x, y, z: torch.exp(-x) * torch.sin(2 * y + 0.4) * z + z**2,
        {
            (0, 0, 1): lambda u: torch.exp(-u),
            (0, 1, 2): lambda u: torch.sin(2 * u + 0.4),
            (0, 2, 3): lambda u: u,
            (0, 2, 0): lambda u: u**2,
            (1, 0, 0): lambda u: u,
            (1, 1, 0): lambda u: u,
        },
        {
            (0, 0, 1): "exp",
            (0, 1, 2): "sin",
            (0, 2, 3): "x",
            (0, 2, 0): "x^2",
            (1, 0, 0): "x",
            (1, 1, 0): "x",
        },
    ),
}


def drawn(width, law, edges, noise=1e-4):
    """A network whose splines follow `edges` but for a little noise, all other edges off."""
    arity = 2 if width[0] == 2 else 3
    model = KAN(width, grid=16, k=5, grid_range=(-2.8, 2.8), mult_arity=arity)
    generator = torch.Generator().manual_seed(1)
    for layer in model.kan_layers:
        layer.mask[:] = False
    with torch.no_grad():
        for (l, i, j), form in edges.items():
            layer = model.kan_layers[l]
            x = torch.linspace(*((-2.8, 2.8) if l else (-1.2, 1.2)), 300, dtype=torch.float64)
            x = x[form(x).isfinite()][:, None]
            coef = bspline.fit_coefficients(x, form(x)[:, None], layer.knots[i : i + 1], layer.k)
            bumps = torch.randn(coef[0, 0].shape, generator=generator, dtype=torch.float64)
            layer.coef[j, i] = coef[0, 0] + noise * bumps
            layer.base_weight[j, i] = 0
            layer.mask[j, i] = True
    X = rows(width[0])
    model.fit((X, law(*X.T)[:, None]), opt="LM", steps=1, progress=False, update_grid=False,
        scale="never")  # fmt: skip
    return model


@pytest.mark.parametrize("law", DEEP)
def test_a_deep_network_is_named_and_refitted_to_the_last_digit(law):
    width, formula, edges, expected = DEEP[law]
    model = drawn(width, formula, edges)
    assert 1e-7 < relative_error(model, formula, width[0]) < 1e-2
    steps = model.auto_symbolic(sorted({*expected.values(), "x", "x^2"}))
    assert {step.edge: step.name for step in steps} == names(model) == expected
    assert relative_error(model, formula, width[0]) < 1e-10


def test_two_outputs():
    def law(x, y, z):
        return torch.sin(2 * x) + y**2, torch.exp(z) - 0.5 * y

    model, _, _ = trained([3, 2], law, grid=6)
    pruned = model.prune_edges(1e-3)
    pruned.fit(
        (rows(3), torch.stack(law(*rows(3).T), 1)),
        opt="LM",
        steps=10,
        progress=False,
        scale="never",
    )
    pruned.auto_symbolic(["x", "x^2", "sin", "exp"])
    assert relative_error(pruned, law, 3) < 1e-10
    assert names(pruned) == {
        (0, 0, 0): "sin", (0, 1, 0): "x^2", (0, 2, 1): "exp", (0, 1, 1): "x",
    }  # fmt: skip


def test_edges_that_have_a_name_keep_it():
    model, _, _ = trained([2, 1], LAWS["sum"][1])
    model.fix_symbolic(0, 1, 0, "x^4")
    steps = model.auto_symbolic(SMALL)
    assert [step.edge for step in steps] == [(0, 0, 0)]
    assert names(model)[0, 1, 0] == "x^4"


def test_a_network_that_is_named_stays_as_it_is():
    model = KAN([2, 1])
    for i in range(2):
        model.fix_symbolic(0, i, 0, "sin", (1.0, 0.2, 1.0, 0.0))
    X = rows(2, 40)
    before = [p.clone() for p in model.parameters()]
    assert model.auto_symbolic(X=X) == ()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_edges_that_are_off_get_no_name():
    model, X, _ = trained([2, 1], lambda x, y: torch.exp(x) + 0 * y)
    model.kan_layers[0].mask[0, 1] = False
    model.auto_symbolic(SMALL)
    assert names(model) == {(0, 0, 0): "exp"}
    assert model(X).isfinite().all()


# -- with and without targets --------------------------------------------------------------------


def test_without_targets_every_edge_takes_its_best():
    model, X, _ = trained(*LAWS["sum"])
    expected = {(0, i, 0): model.suggest_symbolic(0, i, 0, X=X).iloc[0]["name"] for i in range(2)}
    steps = model.auto_symbolic(X=X)
    assert names(model) == expected == {(0, 0, 0): "sin", (0, 1, 0): "x^2"}
    assert [step.r2 for step in steps] == sorted((step.r2 for step in steps), reverse=True)
    assert relative_error(model, LAWS["sum"][1], 2) < 1e-4


def test_targets_may_be_given():
    model, X, y = trained(*LAWS["sum"])
    bare = KAN([2, 1], grid=8, k=5)
    bare.load_state_dict(model.state_dict())
    with pytest.raises(NoSampleError, match="call fit or pass X"):
        bare.auto_symbolic()
    bare.auto_symbolic(SMALL, X=X, y=y)
    assert relative_error(bare, LAWS["sum"][1], 2) < 1e-10
    with pytest.raises(ValueError, match="y"):
        bare.auto_symbolic(X=X, y=y[:-1])


def test_an_unknown_function_leaves_the_model_alone():
    model, _, _ = trained([1, 1], LAWS["sin"][1], steps=5)
    with pytest.raises(ValueError, match="unknown function 'sine'; did you mean 'sin'"):
        model.auto_symbolic(["sine"])
    assert not names(model)


def test_a_library_that_cannot_be_real_there_is_refused():
    functions._REGISTRY["nowhere"] = functions.SymbolicFunction(
        "nowhere", torch.sqrt, lambda x: x, 3, functions.Domain(low=1.0, high=1.0, closed=False)
    )
    model, _, _ = trained([1, 1], LAWS["sin"][1], steps=5)
    before = model.kan_layers[0].coef.clone()
    with pytest.raises(ValueError, match=r"no function in lib is real on the whole range of edge"):
        model.auto_symbolic(["nowhere"])
    assert not names(model)
    assert torch.equal(model.kan_layers[0].coef, before)


# -- honesty -------------------------------------------------------------------------------------


def test_a_name_that_describes_badly_is_warned_about():
    model, _, _ = trained([1, 1], lambda x: torch.sin(8 * x), grid=30)
    with pytest.warns(
        PoorFitWarning, match=r"no function in lib describes well: \(0, 0, 0\) x \(R2"
    ):
        model.auto_symbolic(["x"])


def test_a_constant_edge_is_no_poor_fit():
    model, _, _ = trained([2, 1], lambda x, y: torch.exp(x) + 0 * y + 2.0)
    with torch.no_grad():
        model.kan_layers[0].coef[0, 1] = 0.25
        model.kan_layers[0].base_weight[0, 1] = 0
    model.auto_symbolic(SMALL)
    assert names(model)[0, 1, 0] == "x"


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_noise_is_not_fitted_by_complicated_functions(seed):
    X = rows(2, 600, seed)
    generator = torch.Generator().manual_seed(5 + seed)
    noise = 0.02 * torch.randn(600, 1, generator=generator, dtype=torch.float64)
    y = (torch.sin(math.pi * X[:, :1]) + X[:, 1:] ** 2) + noise
    model = KAN([2, 1], grid=5)
    model.fit((X, y), opt="LM", steps=30, progress=False)
    model.auto_symbolic()
    assert names(model) == {(0, 0, 0): "sin", (0, 1, 0): "x^2"}
    assert relative_error(model, LAWS["sum"][1], 2) < 0.02
    assert float(model.kan_layers[0].affine.detach().abs().max()) < 5  # no 1e8 cos(1e-4 x)


@pytest.fixture
def tried(monkeypatch):
    """The arguments of every refit."""
    calls = []
    rated = auto._rated
    monkeypatch.setattr(auto, "_rated", lambda *args: calls.append(args) or rated(*args))
    return calls


def test_without_time_only_the_best_is_tried(tried):
    counts = []
    for max_time in (1e-6, None):
        tried.clear()
        model, _, _ = trained(
            [2, 1], lambda x, y: LAWS["sum"][1](x, y) + 0.01 * torch.sin(37 * x * y), steps=3
        )
        assert len(model.auto_symbolic(["x", "x^2", "x^3", "sin"], max_time)) == 2
        counts.append(len(tried))
    assert counts[0] == 2 + 1  # one for each edge, and the last polish
    assert counts[1] > 3
    assert tried[-1][-1] == auto.POLISH_STEPS


def test_a_law_that_holds_to_rounding_has_no_rivals(tried):
    model, _, _ = trained(*LAWS["sum"])
    model.auto_symbolic()
    assert names(model) == NAMES["sum"]
    assert len(tried) == 2 + 1


def test_the_way_straight_ahead_does_not_pass_by_a_simpler_name(tried):
    model, X, y = trained([1, 1], lambda x: torch.exp(x))
    search = auto._Search(X, y, get_library(["exp", "tanh"]))
    state = auto._State(model, ())
    search._suggest([state])
    search.tables[()][0, 0, 0].sort(key=lambda candidate: candidate.name, reverse=True)
    assert search.straight_ahead(state) is None
    assert not tried


def test_a_registered_function_is_used():
    register_function("bump", lambda x: 1 / (1 + x**2), lambda x: 1 / (1 + x**2))
    model, _, _ = trained([1, 1], lambda x: 1 / (1 + (3 * x - 0.4) ** 2), grid=20)
    model.auto_symbolic([*SMALL, "bump"])
    assert names(model) == {(0, 0, 0): "bump"}
    assert relative_error(model, lambda x: 1 / (1 + (3 * x - 0.4) ** 2), 1) < 1e-10


# -- the stage itself ----------------------------------------------------------------------------


def test_the_stage_returns_a_network_and_leaves_its_argument():
    model, X, y = trained([1, 1], LAWS["log"][1])
    before = [p.clone() for p in model.parameters()]
    named, steps = auto_symbolic(model, X, y, get_library(SMALL))
    assert not names(model)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert names(named) == {(0, 0, 0): "log"}
    assert steps[0].edge == (0, 0, 0)


def test_the_score_weighs_error_and_complexity():
    X = rows(1, 100)
    y = X**2
    exact, wrong = KAN([1, 1]), KAN([1, 1])
    exact.fix_symbolic(0, 0, 0, "x^2", (1.0, 0.0, 1.0, 0.0))
    wrong.fix_symbolic(0, 0, 0, "x", (1.0, 0.0, 0.0, float(y.mean())))
    assert network_score(wrong, X, y) == pytest.approx(0 + 1)  # the mean: relative error 1
    assert network_score(exact, X, y) < -30
    wrong.fix_symbolic(0, 0, 0, "log", (1.0, 0.0, 1.0, 0.0))
    assert network_score(wrong, X, y) == math.inf


def test_the_score_charges_a_function_that_has_become_a_polynomial():
    X = rows(1, 100)
    y = X**2 + 0.1 * torch.sin(40 * X)
    square, wave = KAN([1, 1]), KAN([1, 1])
    square.fix_symbolic(0, 0, 0, "x^2", (1.0, 0.0, 1.0, 0.0))
    wave.fix_symbolic(0, 0, 0, "cos", (1e-3, 0.0, -2e6, 2e6))  # also x^2, to six digits
    difference = network_score(wave, X, y) - network_score(square, X, y)
    assert difference == pytest.approx(1 + auto.SECOND_CONSTANT, abs=1e-4)


def test_the_same_data_give_the_same_names_and_numbers():
    results = []
    for _ in range(2):
        model, _, _ = trained([2, 1], LAWS["sum"][1], steps=20)
        model.auto_symbolic(SMALL)
        results.append(model.kan_layers[0].affine.detach().clone())
    assert torch.equal(*results)
