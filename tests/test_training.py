"""A fit lowers what it says, keeps the best it saw, and ends well however it ends."""

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from kansym import bspline, scores
from kansym.datasets import Dataset
from kansym.errors import ExtrapolationWarning, NonFiniteWarning
from kansym.jacobian import FreeParameters
from kansym.model import KAN
from kansym.scores import entropy
from kansym.training import SOLVERS, FitOptions, History, Penalty, StepRecord, train
from kansym.training.grids import is_grid_step, update_grids
from kansym.training.objective import Objective
from kansym.training.quadratic import penalty_model

N = 40
by_solver = pytest.mark.parametrize("opt", SOLVERS)
STEPS = {"LBFGS": 4, "Adam": 150, "LM": 8}  # enough for the small problems of this file
FAST = {"LBFGS": {}, "Adam": {"lr": 0.05}, "LM": {}}


def make_inputs(generator, n_columns=2, n=N, dtype=torch.float64):
    """In [-1, 1], ends included: no column is rescaled, and grids need not move."""
    X = 2 * torch.rand(n, n_columns, generator=generator, dtype=dtype) - 1
    X[0], X[1] = -1, 1
    return X


def make_target(X):
    return X[:, :1] ** 2 - 0.5 * X[:, 1:2]


def fit(model, data, opt="LM", steps=5, **options):
    return model.fit(data, opt, steps, progress=False, **options)


def loss_of(model, X, y):
    with torch.no_grad():
        return torch.nn.functional.mse_loss(model(X), y).item()


def rmse(model, X, y):
    return math.sqrt(loss_of(model, X, y))


def r2(model, X, y):
    unit = y.abs().max()
    residual = (y - torch.as_tensor(model.predict(X))) / unit
    return 1 - residual.pow(2).mean() / (y / unit).var(0, correction=0).mean()


def assert_same_state(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        same = torch.equal(actual[name], value) if torch.is_tensor(value) else actual[name] == value
        assert same, name


def state(model):
    return {
        name: value.clone() if torch.is_tensor(value) else value
        for name, value in model.state_dict().items()
    }


def is_finite(model):
    return all(bool(torch.isfinite(p).all()) for p in model.parameters())


def run_silently(model, data, opt, **options):
    """A fit whose warnings are the business of another test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteWarning)
        return fit(model, data, opt, **options)


# -- solvers -------------------------------------------------------------------------------------


# Of targets with a deviation of 0.3 (the spline itself is good to about 2e-5).
@pytest.mark.parametrize(
    ("opt", "steps", "bound"), [("LBFGS", 5, 1e-4), ("Adam", 200, 1e-2), ("LM", 10, 1e-4)]
)
def test_each_solver_fits_a_square(opt, steps, bound, generator):
    x = make_inputs(generator, 1)
    model = KAN([1, 1], grid=5)
    history = fit(model, (x, x**2), opt, steps, **FAST[opt])
    assert rmse(model, x, x**2) < bound
    assert history.opt == opt
    unseen = torch.linspace(-1, 1, 101, dtype=torch.float64)[:, None]
    assert rmse(model, unseen, unseen**2) < 3 * bound


@pytest.mark.parametrize("opt", ["LBFGS", "LM"])
def test_a_product_node_learns_a_product(opt, generator):
    X = make_inputs(generator)
    y = X.prod(1, keepdim=True)
    model = KAN([2, [0, 1], 1], grid=3, seed=1)
    fit(model, (X, y), opt, 10)
    assert rmse(model, X, y) < 1e-3


def test_lm_falls_in_every_step(generator):
    X = make_inputs(generator)
    history = fit(KAN([2, 3, 1], grid=3), (X, make_target(X)), "LM", 15, update_grid=False)
    assert (np.diff(history.train_loss) <= 0).all()


def test_lm_in_chunks_of_rows_is_lm(generator, monkeypatch):
    X = make_inputs(generator)
    models = [KAN([2, 2, 1], grid=3, outside="zero") for _ in range(2)]
    fit(models[0], (X, make_target(X)))
    monkeypatch.setattr("kansym.training.least_squares.CHUNK", 7)
    fit(models[1], (X, make_target(X)))
    torch.testing.assert_close(models[0](X), models[1](X), rtol=1e-6, atol=1e-8)


def test_lm_says_that_it_has_converged(generator):
    X = make_inputs(generator)
    model = KAN([2, 1], grid=3)
    history = fit(model, (X, make_target(X)), "LM", 200, update_grid=False)
    assert history.stopped == "converged"
    assert len(history.steps) < 100
    # The network is linear in what is free: nothing is better than least squares.
    features = torch.autograd.functional.jacobian(
        lambda *p: torch.func.functional_call(
            model, {"layers.0.coef": p[0], "layers.0.base_weight": p[1]}, (X,)
        ).flatten(),
        (model.layers[0].coef.detach(), model.layers[0].base_weight.detach()),
    )
    design = torch.cat([part.flatten(1) for part in features], 1)
    solution = torch.linalg.lstsq(design, make_target(X), driver="gelsd").solution
    best = (design @ solution - make_target(X)).pow(2).mean().item()
    assert loss_of(model, X, make_target(X)) == pytest.approx(best, rel=1e-6)


def test_batches_are_drawn_without_repeats_and_of_the_asked_size(generator):
    X = make_inputs(generator)
    seen = []

    def loss(prediction, y):
        if len(y) < N:  # not the pass over all rows that the history reports
            seen.append(y.flatten().tolist())
        return (prediction - y).pow(2).mean()

    rows = torch.arange(N, dtype=torch.float64)
    fit(KAN([2, 1], grid=2), (X, rows), "Adam", 6, batch=11, loss=loss)
    assert [len(set(batch)) for batch in seen] == [11] * 6
    assert len({tuple(batch) for batch in seen}) == 6


@by_solver
def test_training_on_batches_lowers_the_loss_on_all_rows(opt, generator):
    X = make_inputs(generator)
    model = KAN([2, 1], grid=2)
    before = loss_of(model, X, make_target(X))
    history = fit(model, (X, make_target(X)), opt, STEPS[opt], batch=25, **FAST[opt])
    after = loss_of(model, X, make_target(X))
    assert after < before / 10
    assert history.best.train_loss == pytest.approx(after, rel=1e-9)


# -- objective -----------------------------------------------------------------------------------


def make_trained_looking(generator, **options):
    """[3, [2, 1], 2] with a named edge, an edge that is off, and outputs with units."""
    network = KAN([3, [2, 1], 2], grid=2, **options)
    with torch.no_grad():
        for layer in network.kan_layers:
            layer.coef += torch.randn(layer.coef.shape, generator=generator).to(layer.coef)
    network.layers[0].symbolic = {(1, 0): "sin"}
    network.layers[0].mask[0, 2] = False
    network.output_shift.copy_(torch.tensor([1.0, -2.0]))
    network.output_scale.copy_(torch.tensor([3.0, 0.5]))
    return network


def penalty_by_hand(network, values, lamb, lamb_l1, lamb_entropy, lamb_coef, lamb_coefdiff):
    """The formula of the module, edge by edge, without tensors."""
    total = 0.0
    for layer, scores_of_layer in zip(network.kan_layers, values, strict=True):
        edges = itertools.product(range(layer.n_out), range(layer.n_in))
        active = {(j, i): float(scores_of_layer[j, i]) for j, i in edges if layer.mask[j, i]}
        l1 = sum(active.values())
        shares = [a / l1 for a in active.values() if a > 0]
        total += lamb_l1 * l1 - lamb_entropy * sum(p * math.log(p) for p in shares)
        for edge in active:
            if edge not in layer.symbolic:
                c = layer.coef[edge].tolist()
                steps = [abs(b - a) for a, b in itertools.pairwise(c)]
                total += lamb_coef * sum(map(abs, c)) / len(c)
                total += lamb_coefdiff * sum(steps) / len(steps)
    return lamb * total


@pytest.mark.parametrize("kind", scores.SCORES)
@pytest.mark.parametrize(
    "weights",
    [(0.3, 1, 0, 0, 0), (0.3, 0, 1, 0, 0), (0.3, 0, 0, 1, 0), (0.3, 0, 0, 0, 1), (2, 3, 5, 7, 11)],
)
def test_objective_is_the_formula(kind, weights, generator):
    network = make_trained_looking(generator)
    X = make_inputs(generator, 3, 7)
    y = torch.randn(7, 2, generator=generator, dtype=torch.float64)
    value = Objective("mse", Penalty(*weights, kind))(network, X, y)
    with torch.no_grad():
        residual = (network(X) - y) / network.output_scale
        values = scores.edge_scores(network, network.trace(X), kind)
    expected = penalty_by_hand(network, values, *weights)
    assert value.loss.item() == pytest.approx(residual.pow(2).mean().item(), rel=1e-12)
    assert value.penalty.item() == pytest.approx(expected, rel=1e-10)
    assert value.objective.item() == pytest.approx((value.loss + value.penalty).item(), rel=1e-12)
    assert value.n_edges == sum(int((v > 1e-2).sum()) for v in values)


def test_entropy_is_0_for_one_edge_and_log_n_for_equal_ones():
    one = torch.tensor([0, 3.0, 0, 0], dtype=torch.float64)
    assert entropy(one).item() == pytest.approx(0, abs=1e-11)
    assert entropy(torch.full((5,), 0.2, dtype=torch.float64)).item() == pytest.approx(math.log(5))


def test_the_penalty_has_gradients_where_everything_is_zero(generator):
    network = KAN([2, 2, 1], grid=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    X = make_inputs(generator)
    for kind in scores.SCORES:
        Objective("mse", Penalty(0.1, score=kind))(network, X, make_target(X)).objective.backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in network.parameters())


@pytest.mark.parametrize("score", scores.SCORES)
@pytest.mark.parametrize("base", ["silu", "zero"])
def test_lm_knows_the_gradient_of_the_penalty(base, score, generator):
    network = make_trained_looking(generator, base=base)
    X, penalty = make_inputs(generator, 3, 7), Penalty(0.3, 1, 2, 0.1, 0.2, score)
    with torch.no_grad():
        curvature, gradient, total = penalty_model(network, FreeParameters(network), X, penalty)

    def value(theta):
        FreeParameters(network).set(theta)
        with torch.no_grad():
            edges = scores.edge_scores(network, network.trace(X), score)
            return penalty(network, edges).item()

    theta, step = FreeParameters(network).get(), 1e-6
    assert total == pytest.approx(value(theta), rel=1e-12)
    for p, unit in enumerate(torch.eye(len(theta), dtype=torch.float64)):
        slope = (value(theta + step * unit) - value(theta - step * unit)) / (2 * step)
        assert gradient[p].item() == pytest.approx(slope / 2, rel=1e-5, abs=1e-8), p
    assert torch.equal(curvature, curvature.T)
    assert torch.linalg.eigvalsh(curvature).min() > -1e-12 * curvature.abs().max()


def test_lm_with_a_penalty_falls_in_every_step(generator):
    X = make_inputs(generator)
    model = KAN([2, [2, 1], 1], grid=3)
    history = fit(model, (X, make_target(X)), "LM", 12, lamb=0.02, update_grid=False)
    assert (history.penalty > 0).all()
    assert (np.diff(history.train_loss + history.penalty) <= 0).all()


@pytest.mark.parametrize("score", scores.SCORES)
@pytest.mark.parametrize(("opt", "steps"), [("LBFGS", 6), ("LM", 20)])
def test_the_penalty_makes_sparse(opt, steps, score, generator):
    """x_1 has no part in y: noise alone gives it an edge, and the penalty takes it away."""
    X = make_inputs(generator)
    y = X[:, :1] ** 2 + 0.1 * torch.randn(N, 1, generator=generator, dtype=torch.float64)
    shares = []
    for lamb in (0, 0.03):
        model = KAN([2, 1], grid=3)
        fit(model, (X, y), opt, steps, lamb=lamb, score=score)
        used, idle = model.edge_scores("std")[0][0].tolist()
        shares.append(idle / used)
    assert shares[1] < shares[0] / 10
    assert shares[1] < 0.02


# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"opt": "LBFSG"},
            "unknown opt 'LBFSG'; did you mean 'LBFGS'.* Known: auto, LBFGS, Adam, LM",
        ),
        ({"opt": None}, "unknown opt None"),
        (
            {"loss": "mes"},
            "unknown loss 'mes'; did you mean 'mse'.* Known: mse, huber, cross_entropy",
        ),
        ({"loss": None}, "unknown loss None"),
        ({"score": "mean_ab"}, "unknown score 'mean_ab'; did you mean 'mean_abs'"),
        ({"scale": "atuo"}, "unknown scale 'atuo'; did you mean 'auto'"),
        ({"lr": 0}, "lr must be a finite number > 0, got 0"),
        ({"lr": -0.1}, "lr must be a finite number > 0, got -0.1"),
        ({"lr": math.nan}, "lr must be a finite number > 0, got nan"),
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"steps": 2.5}, "steps must be an integer >= 1, got 2.5"),
        ({"batch": 0}, "batch must be an integer >= 1, got 0"),
        ({"patience": 0}, "patience must be an integer >= 1, got 0"),
        ({"max_time": 0}, "max_time must be a finite number > 0, got 0"),
        ({"lamb": -1}, "lamb must be finite and >= 0, got -1"),
        ({"lamb": math.nan}, "lamb must be finite and >= 0, got nan"),
        ({"lamb_entropy": math.inf}, "lamb_entropy must be finite and >= 0, got inf"),
        ({"opt": "LM", "lr": 0.1}, "lr has no meaning for opt='LM', got 0.1; leave it out"),
        ({"opt": "LM", "loss": "cross_entropy"}, "opt='LM' minimises squared residuals"),
        ({"opt": "LM", "loss": lambda p, y: (p - y).abs().mean()}, "or opt='LBFGS'"),
    ],
)
def test_refused_arguments_leave_the_model_alone(options, message, generator):
    model = KAN([2, 1], grid=2)
    before = state(model)
    labels = torch.zeros(N, dtype=torch.long)  # would do for either loss
    with pytest.raises(ValueError, match=message):
        fit(model, (1e6 * make_inputs(generator), labels), **{"opt": "LBFGS", **options})
    assert model.sample is None
    assert_same_state(model.state_dict(), before)


# -- data ----------------------------------------------------------------------------------------


def forms_of_data():
    generator = torch.Generator().manual_seed(1)
    X = make_inputs(generator)
    y = make_target(X)
    columns = {"a": X[:, 0].numpy(), "b": X[:, 1].numpy()}
    return {
        "tensors": (X, y),
        "arrays": (X.numpy(), y.numpy()),
        "frames": (pd.DataFrame(columns), pd.DataFrame({"t": y[:, 0].numpy()})),
        "frame and series": (pd.DataFrame(columns), pd.Series(y[:, 0].numpy(), name="t")),
        "lists": (X.tolist(), y.tolist()),
        "list of both": [X, y],
        "dataset": Dataset(X, y),
        "mapping": {"train_input": X, "train_label": y},
        "y (n,)": (X, y[:, 0]),
    }


@pytest.mark.parametrize("form", forms_of_data())
def test_every_form_of_the_same_data_gives_the_same_fit(form):
    forms = forms_of_data()
    reference, model = KAN([2, 1], grid=2), KAN([2, 1], grid=2)
    fit(reference, forms["tensors"])
    fit(model, forms[form])
    assert_same_state(model.state_dict(), reference.state_dict())


def test_names_come_from_frames_and_stay():
    forms, model = forms_of_data(), KAN([2, 1], grid=2)
    fit(model, forms["frame and series"], steps=1)
    assert model.feature_names == ("a", "b")
    assert model.target_names == ("t",)
    fit(model, forms["tensors"], steps=1)
    assert model.feature_names == ("a", "b")


@pytest.mark.parametrize("kind", [torch.float32, torch.int64, torch.bool])
def test_numbers_of_any_kind_are_targets(kind, generator):
    X = make_inputs(generator)
    y = (X[:, 0] > 0).to(kind)
    model, reference = KAN([2, 1], grid=2), KAN([2, 1], grid=2)
    fit(model, (X.float(), y), "LM", 2)
    fit(reference, (X.float().double(), y.double()), "LM", 2)
    assert model.dtype == torch.float64
    assert_same_state(model.state_dict(), reference.state_dict())


def test_a_model_of_float32_trains_in_float32(generator):
    X = make_inputs(generator)
    y = make_target(X)
    for opt in SOLVERS:
        model = KAN([2, 1], grid=3, dtype=torch.float32)
        fit(model, (X, y), opt, STEPS[opt], **FAST[opt])
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert model(X).dtype == torch.float32
        assert rmse(model, X, y.float()) < 0.02, opt


@pytest.mark.parametrize(("factor", "units"), [(1e6, 1), (1, 1e30), (1e6, 1e30), (1e-6, 1e-30)])
@by_solver
def test_units_of_the_data_do_not_matter(opt, factor, units, generator):
    X = make_inputs(generator)
    y = make_target(X)
    model = KAN([2, 1], grid=3)
    fit(model, (factor * X, units * y), opt, STEPS[opt], **FAST[opt])
    assert r2(model, factor * X, units * y) > 0.99


def test_the_loss_is_in_units_of_the_output_scale(generator):
    X = make_inputs(generator)
    y = 1e6 * make_target(X)
    model = KAN([2, 1], grid=2)
    history = fit(model, (X, y), steps=2)
    in_units = loss_of(model, X, y) / y.var(correction=0).item()
    assert history.train_loss[-1] == pytest.approx(in_units, rel=1e-9)


# -- history -------------------------------------------------------------------------------------


def split(generator):
    X, X_test = make_inputs(generator), make_inputs(generator, n=17)
    return X, make_target(X), X_test, make_target(X_test)


def test_history_records_every_step(generator):
    data = split(generator)
    seen = []

    def callback(model, record):
        assert isinstance(record, StepRecord)
        gap = (model(data[2]) - data[3]).detach().abs().max().item()
        seen.append((record.step, loss_of(model, *data[:2]), loss_of(model, *data[2:]), gap))

    metrics = {"gap": lambda prediction, y: (prediction - y).abs().max()}
    model = KAN([2, 1], grid=2)
    history = fit(model, data, "Adam", 4, metrics=metrics, callbacks=[callback], lamb=0.1)
    recorded = [(r.step, r.train_loss, r.test_loss, r.metrics["gap"]) for r in history.steps]
    np.testing.assert_allclose(recorded, seen, rtol=1e-12)
    assert [step for step, *_ in seen] == [0, 1, 2, 3]
    assert history.stopped == "finished"
    assert history.train_loss.tolist() == [r.train_loss for r in history.steps]
    assert history.test_loss.tolist() == [r.test_loss for r in history.steps]
    assert (history.penalty > 0).all()
    assert all(r.n_edges == 2 for r in history.steps)
    assert history.seconds == history.steps[-1].seconds > 0
    assert (np.diff([r.seconds for r in history.steps]) >= 0).all()


def test_without_a_test_part_metrics_are_of_the_training_rows(generator):
    X = make_inputs(generator)
    metrics = {"mse": torch.nn.functional.mse_loss}
    history = fit(KAN([2, 1], grid=2), (X, make_target(X)), "LM", 3, metrics=metrics, smooth=0)
    for record in history.steps:
        assert record.test_loss is None
        assert record.metrics["mse"] == pytest.approx(record.train_loss, rel=1e-12)
    assert np.isnan(history.test_loss).all()
    assert (history.penalty == 0).all()
    assert all(record.n_edges is None for record in history.steps)


def test_a_mapping_may_bring_a_test_part(generator):
    X, y, X_test, y_test = split(generator)
    data = {"train_input": X, "train_label": y, "test_input": X_test, "test_label": y_test}
    model = KAN([2, 1], grid=2)
    history = fit(model, data, steps=2)
    assert history.best.test_loss == pytest.approx(loss_of(model, X_test, y_test), rel=1e-9)


def test_history_reads_as_a_line():
    history = History("LM")
    assert repr(history) == "History(LM, no steps, finished)"
    assert history.best is None
    assert history.seconds == 0
    history.steps += [StepRecord(0, 0.5, None, 0, None, 1.0), StepRecord(1, 0.25, 0.3, 0, 4, 2.0)]
    assert repr(history) == "History(LM, 2 steps in 2.0 s, finished; no step bettered the start)"
    history.best_step = 0
    assert repr(history) == "History(LM, 2 steps in 2.0 s, finished; best step 0: train_loss=0.5)"
    history.best_step, history.stopped = 1, "patience"
    assert history.best is history.steps[1]
    assert repr(history) == (
        "History(LM, 2 steps in 2.0 s, patience; best step 1: train_loss=0.25, test_loss=0.3)"
    )


def test_the_bar_shows_losses_penalty_and_edges_on_standard_error(generator, capsys):
    KAN([2, 1], grid=2).fit(split(generator), "Adam", 3, lamb=0.1)
    out, err = capsys.readouterr()
    assert out == ""
    for part in ("Adam", "3/3", "loss=", "test=", "penalty=", "edges=2"):
        assert part in err


def test_without_progress_nothing_is_printed(generator, capsys):
    fit(KAN([2, 1], grid=2), split(generator), "Adam", 3, lamb=0.1)
    assert capsys.readouterr() == ("", "")


# -- how a fit ends ------------------------------------------------------------------------------


def test_a_callback_that_returns_true_ends_the_fit(generator):
    X = make_inputs(generator)
    others = []
    callbacks = [lambda model, record: record.step == 2, lambda model, record: others.append(1)]
    history = fit(KAN([2, 1]), (X, make_target(X)), "Adam", 9, callbacks=callbacks)
    assert history.stopped == "callback"
    assert len(history.steps) == 3


def test_a_callback_that_returns_something_else_does_not(generator):
    X = make_inputs(generator)
    history = fit(KAN([2, 1]), (X, make_target(X)), "Adam", 3, callbacks=[lambda *_: "text"])
    assert history.stopped == "finished"
    assert len(history.steps) == 3


def test_patience_counts_steps_without_a_better_one(generator):
    X = make_inputs(generator)
    history = fit(KAN([2, 1]), (X, make_target(X)), "Adam", 500, lr=0.5, patience=4)
    assert history.stopped == "patience"
    assert history.steps[-1].step - history.best_step == 4


def test_max_time_ends_the_fit_after_the_step_that_reaches_it(generator):
    X = make_inputs(generator)
    history = fit(KAN([2, 1]), (X, make_target(X)), "Adam", 500, max_time=1e-9)
    assert history.stopped == "max_time"
    assert len(history.steps) == 1


def interrupt_at(step):
    def callback(model, record):
        if record.step == step:
            raise KeyboardInterrupt

    return callback


@by_solver
def test_an_interrupt_keeps_the_best_parameters(opt, generator):
    X = make_inputs(generator)
    model = KAN([2, 2, 1], grid=2)
    options = {"lr": 0.2} if opt == "Adam" else {}
    history = fit(model, (X, make_target(X)), opt, 9, callbacks=[interrupt_at(3)], **options)
    assert history.stopped == "interrupted"
    assert len(history.steps) == 4
    assert loss_of(model, X, make_target(X)) == pytest.approx(history.train_loss.min(), rel=1e-9)


def test_an_error_in_a_callback_is_raised_and_the_best_parameters_stay(generator):
    X = make_inputs(generator)
    model, losses = KAN([2, 1], grid=2), []

    def callback(model, record):
        losses.append(record.train_loss)
        if record.step == 3:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit(model, (X, make_target(X)), "Adam", 9, lr=0.1, callbacks=[callback])
    assert loss_of(model, X, make_target(X)) == pytest.approx(min(losses), rel=1e-9)


@pytest.mark.parametrize("with_test_part", [False, True])
def test_the_best_parameters_are_kept(with_test_part, generator):
    data = split(generator) if with_test_part else split(generator)[:2]
    model = KAN([2, 2, 1], grid=3)
    history = fit(model, data, "Adam", 28, lr=0.4)
    losses = history.test_loss if with_test_part else history.train_loss
    assert losses[-1] > losses.min()  # otherwise the last would do
    assert history.best_step == int(losses.argmin())
    assert loss_of(model, *data[-2:]) == pytest.approx(losses.min(), rel=1e-9)


def test_the_test_part_is_the_judge_where_there_is_one(generator):
    X, y, X_test, y_test = split(generator)
    model = KAN([2, 1], grid=2)
    history = fit(model, (X, y, X_test, 0.5 * y_test), "Adam", 100, lr=0.05)
    assert history.best_step == int(history.test_loss.argmin()) < int(history.train_loss.argmin())
    assert loss_of(model, X_test, 0.5 * y_test) == pytest.approx(history.test_loss.min(), rel=1e-9)


def test_the_start_counts_too(generator):
    X = make_inputs(generator)
    model = KAN([2, 1], grid=2)
    fit(model, (X, make_target(X)), "LM", 10)
    before = loss_of(model, X, make_target(X))
    history = fit(model, (X, make_target(X)), "Adam", 5, lr=0.5, update_grid=False)
    assert history.best_step == -1
    assert history.best is None
    assert loss_of(model, X, make_target(X)) == pytest.approx(before, rel=1e-9)


def test_best_is_the_lowest_loss_plus_penalty(generator):
    X = make_inputs(generator)
    history = fit(KAN([2, 2, 1], grid=3), (X, make_target(X)), "Adam", 60, lr=0.1, lamb=0.1)
    objective = history.train_loss + history.penalty
    assert history.best_step == int(objective.argmin())
    assert history.best_objective == pytest.approx(objective.min())


# -- steps that are not finite -------------------------------------------------------------------


def nan_after(count):
    calls = itertools.count()

    def loss(prediction, y):
        value = (prediction - y).pow(2).mean()
        return value * math.nan if next(calls) >= count else value

    return loss


@pytest.mark.parametrize("opt", ["LBFGS", "Adam"])
def test_a_loss_of_nan_is_taken_back(opt, generator):
    X = make_inputs(generator)
    model = KAN([2, 2, 1], grid=2)
    with pytest.warns(NonFiniteWarning, match=f"of {opt} gave a loss or a gradient") as caught:
        history = fit(model, (X, make_target(X)), opt, 60, loss=nan_after(30))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert history.stopped == "non-finite"
    assert is_finite(model)
    assert np.isfinite(history.train_loss).all()
    assert loss_of(model, X, make_target(X)) == pytest.approx(history.train_loss.min(), rel=1e-9)


def test_single_bad_steps_do_not_end_the_fit(generator):
    X = make_inputs(generator)
    calls = itertools.count()

    def loss(prediction, y):  # a call to step and a call to report: steps 2, 4, 6 and 8 are bad
        is_bad = next(calls) in (5, 9, 13, 17)  # the first call looks at the start
        return (prediction - y).pow(2).mean() * (math.nan if is_bad else 1)

    model = KAN([2, 1], grid=2)
    with pytest.warns(NonFiniteWarning) as caught:
        history = fit(model, (X, make_target(X)), "Adam", 10, loss=loss)
    assert len(caught) == 1
    assert "taken back: 2, 4, 6, 8. " in str(caught[0].message)
    assert history.stopped == "finished"
    assert [record.step for record in history.steps] == [0, 1, 3, 5, 7, 9]


def test_an_absurd_lr_leaves_the_model_as_it_was(generator):
    X = make_inputs(generator)
    model = KAN([2, 2, 1], grid=2)
    before = state(model)
    with pytest.warns(NonFiniteWarning, match="A smaller lr or scaled data may help"):
        history = fit(model, (X, make_target(X)), "Adam", 9, lr=1e300, update_grid=False)
    assert history.stopped == "non-finite"
    assert history.steps == []
    assert_same_state(model.state_dict(), before)


@by_solver
def test_a_function_outside_its_domain_ends_as_not_finite(opt, generator):
    """1/x at x = 0 feeds infinity to the next layer: its grid cannot follow."""
    X = make_inputs(generator)
    X[2] = 0
    model = KAN([2, 2, 1], grid=2)
    model.fix_symbolic(0, 0, 0, "1/x", params=(1, 0, 1, 0))
    before = state(model)
    assert run_silently(model, (X, make_target(X)), opt, steps=9).stopped == "non-finite"
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.detach(), before[name]), name


# -- grids ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3, 5, 7, 10, 24, 25, 40])
def test_there_are_as_many_grid_updates_as_asked_for(count):
    steps = [step for step in range(100) if is_grid_step(step, count, 25)]
    assert len(steps) == min(count, 25)
    assert all(step < 25 for step in steps)
    gaps = np.diff(steps)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1
    assert not steps or steps[0] == 0


def make_smooth(width, k=3, **options):
    """Splines that follow sines: what training leaves, not noise. Nodes stay within [-1, 1]."""
    network = KAN(width, grid=5, k=k, **options)
    with torch.no_grad():
        for layer in network.kan_layers:
            greville = layer.knots.unfold(1, k, 1)[:, 1:-1].mean(2)  # [in, basis]
            phase = torch.arange(layer.n_out, dtype=torch.float64)
            layer.coef.copy_(0.3 * torch.sin(2 * greville + phase[:, None, None]))
            layer.base_weight *= 0.3
    return network


# Largest change in units of the deviation of the output.
@pytest.mark.parametrize(("k", "bound"), [(1, 0.2), (2, 0.03), (3, 3e-3), (5, 1e-4)])
def test_a_grid_update_keeps_the_function(k, bound, generator):
    X = 0.9 * make_inputs(generator, n=100) - 0.05
    network = make_smooth([2, 3, 2], k)
    with torch.no_grad():
        before = network(X)
        update_grids(network, X)
        change = (network(X) - before).abs().max() / before.std()
    assert 0 < change < bound


def test_grids_follow_the_activations(generator):
    X = 0.3 * make_inputs(generator) + 0.4
    network = make_smooth([2, 3, 2])
    update_grids(network, X)
    for layer, h in zip(network.kan_layers, network.trace(X).nodes, strict=False):
        low, high = layer.knots[:, layer.k], layer.knots[:, -layer.k - 1]
        margin = 0.01 * (h.detach().amax(0) - h.detach().amin(0))  # of few rows, at most 1 %
        torch.testing.assert_close(low, h.detach().amin(0) - margin)
        torch.testing.assert_close(high, h.detach().amax(0) + margin)


def test_rows_from_the_same_range_stay_within_the_grid(generator):
    """The grid reaches a few gaps beyond the sample, so that its neighbours meet splines too."""
    outside = 0
    for _ in range(20):
        X = torch.rand(1000, 1, generator=generator, dtype=torch.float64)
        network = make_smooth([1, 1])
        update_grids(network, X)
        low, high = bspline.grid_range(network.kan_layers[0].knots, 3)
        outside += int(low > 0) + int(high < 1)
    assert outside <= 3  # of 40 ends; without the margin, all


def test_a_second_update_on_the_same_rows_changes_nothing(generator):
    X = make_inputs(generator)
    network = make_smooth([2, 3, 2])
    update_grids(network, X)
    before = network(X)
    update_grids(network, X)
    torch.testing.assert_close(network(X), before, rtol=0, atol=1e-12)


def narrow_tables():
    X = make_inputs(torch.Generator().manual_seed(2), 2, 30)
    constant = X.clone()
    constant[:, 1] = 0.4
    return {
        "constant column": constant,
        "identical rows": X[2:3].repeat(2, 1),
        "two rows": X[2:4],
        "range 1e-12": 1e-12 * X,
        "range 1e-12 around 0.3": 1e-12 * X + 0.3,
        "range 1e-310": 1e-310 * X,
        "constant 0": 0 * X,
    }


@pytest.mark.parametrize("table", narrow_tables())
def test_a_grid_update_on_a_narrow_table_keeps_the_function(table):
    X = narrow_tables()[table]
    network = make_smooth([2, 3, 1])
    before = network(X).detach()
    update_grids(network, X)
    assert is_finite(network)
    # Outputs are of order 1. On points as few or as close as these nothing need be lost, except
    # where one column still has all of its range.
    bound = 1e-3 if table in ("constant column", "two rows") else 1e-12
    assert (network(X).detach() - before).abs().max() < bound
    assert torch.isfinite(network(X + 0.1)).all()


@pytest.mark.parametrize("table", narrow_tables())
@pytest.mark.parametrize("scale", ["auto", "never"])
def test_fits_on_narrow_tables_end_well(scale, table):
    X = narrow_tables()[table]
    y = torch.linspace(0, 1, len(X), dtype=torch.float64)
    for opt in SOLVERS:
        model = KAN([2, 2, 1], grid=3)
        history = fit(model, (X, y), opt, 4, scale=scale)
        assert is_finite(model)
        assert np.isfinite(history.train_loss).all()
        assert np.isfinite(model.predict(X.numpy())).all()


def test_grids_stay_where_they_are_unless_asked(generator):
    X = 0.6 * make_inputs(generator)
    model = KAN([2, 2, 1], grid=2)
    before = [layer.knots.clone() for layer in model.kan_layers]
    fit(model, (X, make_target(X)), "Adam", 3, update_grid=False)
    fit(model, (X, make_target(X)), "Adam", 3, grid_update_num=0)
    for layer, knots in zip(model.kan_layers, before, strict=True):
        assert torch.equal(layer.knots, knots)


# -- determinism and state -----------------------------------------------------------------------


@by_solver
def test_the_same_seed_gives_the_same_bits(opt, generator):
    X = make_inputs(generator)
    models = [KAN([2, 3, 1], grid=3, seed=5) for _ in range(2)]
    histories = [fit(model, (X, make_target(X)), opt, 4, batch=30, seed=7) for model in models]
    assert_same_state(models[0].state_dict(), models[1].state_dict())
    assert histories[0].train_loss.tolist() == histories[1].train_loss.tolist()


def test_another_seed_gives_other_batches(generator):
    X = make_inputs(generator)
    losses = []
    for seed in (0, 1):
        history = fit(KAN([2, 1]), (X, make_target(X)), "Adam", 3, batch=10, seed=seed)
        losses.append(history.train_loss.tolist())
    assert losses[0] != losses[1]


def test_the_global_random_state_neither_matters_nor_changes(generator):
    X = make_inputs(generator)
    results, kept = [], torch.get_rng_state()
    try:
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            model = KAN([2, 1], grid=2)
            fit(model, (X, make_target(X)), "Adam", 3, batch=10)
            assert torch.equal(torch.get_rng_state(), before)
            results.append(model.state_dict())
    finally:
        torch.set_rng_state(kept)
    assert_same_state(*results)


@by_solver
def test_forward_after_a_fit_stores_nothing(opt, generator):
    X = make_inputs(generator)
    model = KAN([2, [1, 1], 1], grid=2)
    fit(model, (X, make_target(X)), opt, 1)
    before = [dict(module.__dict__) for module in model.modules()]
    for parameter in model.parameters():
        assert parameter.grad is None
    model.eval()(X)
    model.trace(X)
    model.predict(X)
    model.train()
    for module, attributes in zip(model.modules(), before, strict=True):
        assert module.__dict__.keys() == attributes.keys()
        for name, value in attributes.items():
            assert module.__dict__[name] is value, name


def test_a_fit_does_not_write_to_its_data(generator):
    X = 1e6 * make_inputs(generator)
    y = 1e30 * make_target(X)
    kept = X.clone(), y.clone()
    fit(KAN([2, 1], grid=2), (X, y), "LBFGS", 2)
    assert torch.equal(X, kept[0])
    assert torch.equal(y, kept[1])


def test_train_takes_any_network_and_options(generator):
    X = make_inputs(generator)
    network = KAN([2, 1], grid=2)
    history = train(network, Dataset(X, make_target(X)), FitOptions(opt="LM", steps=4))
    assert history.train_loss[-1] == pytest.approx(loss_of(network, X, make_target(X)))


# -- other losses --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.int64, torch.float64])
def test_cross_entropy_tells_two_blobs_apart(kind, generator):
    labels = torch.arange(N) % 2
    centres = torch.tensor([[-0.5, -0.5], [0.5, 0.5]], dtype=torch.float64)
    X = centres[labels] + 0.2 * torch.randn(N, 2, generator=generator, dtype=torch.float64)
    model = KAN([2, 2], grid=3)
    history = fit(model, (X, labels.to(kind)), "LBFGS", 3, loss="cross_entropy")
    assert (model(X).argmax(1) == labels).double().mean() > 0.95
    expected = torch.nn.functional.cross_entropy(model(X), labels).item()
    assert history.best.train_loss == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (model.output_scale == 1).all()


def test_a_loss_of_ones_own_is_what_is_minimised(generator):
    """The mean absolute error shrugs at outliers that would ruin a mean square."""
    X = make_inputs(generator, 1)
    y = X.clone()
    y[::8] += 5

    def mean_abs(prediction, target):
        return (prediction - target).abs().mean()

    model = KAN([1, 1], grid=1, k=1)
    history = fit(model, (X, y), "LBFGS", 20, loss=mean_abs)
    assert history.best.train_loss == pytest.approx(mean_abs(model(X), y).item(), rel=1e-9)
    clean = torch.ones(N, dtype=torch.bool)
    clean[::8] = False
    assert (model(X) - X)[clean].abs().max() < 0.05
    assert (model.output_scale == 1).all()


# -- with symbolic edges -------------------------------------------------------------------------


@by_solver
def test_constants_of_names_and_splines_train_together(opt, generator):
    X = make_inputs(generator)
    y = torch.sin(3 * X[:, :1]) + X[:, 1:] ** 2
    model = KAN([2, 1], grid=4)
    fit(model, (X, y), "LM", 2)
    model.fix_symbolic(0, 0, 0, "sin", params=(2.7, 0.1, 1.2, 0))
    before, loss = state(model), loss_of(model, X, y)
    fit(model, (X, y), opt, STEPS[opt], **FAST[opt])
    layer = model.layers[0]
    assert layer.symbolic == {(0, 0): "sin"}
    assert (layer.affine[0, 0] != before["layers.0.affine"][0, 0]).any()
    assert (layer.coef[0, 1] != before["layers.0.coef"][0, 1]).any()
    assert torch.equal(layer.affine[0, 1].detach(), before["layers.0.affine"][0, 1])
    assert loss_of(model, X, y) < loss / 10
    if opt == "LM":
        assert layer.affine[0, 0, :3].tolist() == pytest.approx([3, 0, 1], abs=1e-2)


# -- predict -------------------------------------------------------------------------------------


def fitted(generator):
    X = make_inputs(generator)
    model = KAN([2, 1], grid=3)
    fit(model, (X, make_target(X)))
    return model, X


def test_predict_answers_in_kind(generator):
    model, X = fitted(generator)
    with torch.no_grad():
        expected = model(X)
    from_tensor = model.predict(X)
    assert torch.equal(from_tensor, expected)
    assert not from_tensor.requires_grad
    for table in (X.numpy(), pd.DataFrame(X.numpy()), X.tolist()):
        answer = model.predict(table)
        assert type(answer) is np.ndarray
        np.testing.assert_array_equal(answer, expected.numpy())


def test_predict_warns_once_outside_the_range_and_never_inside(generator):
    model, X = fitted(generator)
    model.predict(X)  # warnings are errors here
    beyond = X.clone()
    beyond[3:9, 1] = 1.5
    with pytest.warns(ExtrapolationWarning, match="X leaves the range .* fitted on in: x2") as seen:
        model.predict(beyond)
    assert len(seen) == 1


def test_predict_names_the_columns_it_knows(generator):
    X = make_inputs(generator)
    model = KAN([2, 1], grid=2)
    fit(model, (pd.DataFrame(X.numpy(), columns=["mass", "speed"]), make_target(X)), steps=1)
    with pytest.warns(ExtrapolationWarning, match="in: mass, speed; .* rule 'linear'"):
        model.predict(3 * X)


def test_predict_checks_its_columns(generator):
    model, X = fitted(generator)
    with pytest.raises(ValueError, match=r"X must have 2 columns \(width\[0\]\), got shape"):
        model.predict(X[:, :1])
