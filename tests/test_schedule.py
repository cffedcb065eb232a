"""Training on grids from coarse to fine, how grids are judged, and the tournament of starts."""

import itertools
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kansym import KAN, create_dataset
from kansym.training import SOLVERS, GridScore, History, StepRecord, tournament

FEW = 4  # steps, where it does not matter what is learnt


def fit(model, data, opt="LM", steps=FEW, **options):
    return model.fit(data, opt, steps, progress=False, **options)


def hello(x):
    return torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2)


def saddle(x):
    return x[:, 0] * x[:, 1]


def distance(x):
    return torch.sqrt((x[:, 0] - x[:, 1]) ** 2 + 0.1)


def make_rows(generator, n=40, n_out=1):
    """Noise: nothing that a finer grid would not follow."""
    X = 2 * torch.rand(n, 2, generator=generator, dtype=torch.float64) - 1
    return X, torch.randn(n, n_out, generator=generator, dtype=torch.float64)


def rmse(model, X, y):
    with torch.no_grad():
        return (model(X) - y).pow(2).mean().sqrt().item()


def grid_of(model):
    (grid,) = {layer.grid for layer in model.kan_layers}
    return grid


def kept(history):
    """The grid that the scores speak for: each must be a tenth below the best before it."""
    best = history.grids[0]
    for score in history.grids[1:]:
        best = score if score.score < 0.9 * best.score else best
    return best.grid


@pytest.fixture
def judged(monkeypatch):
    """Grids get the scores of a list instead of their own."""

    def script(*values):
        left = iter(values)
        monkeypatch.setattr("kansym.training.schedule._score", lambda *_: next(left))

    return script


# -- generalised cross-validation ----------------------------------------------------------------


def hat_matrix(model, X, weight, smooth):
    """Of a network without hidden rows: y -> fitted y, outputs one after another in a row."""
    layer = model.layers[0]

    def outputs(coef, base_weight):
        parameters = {"layers.0.coef": coef, "layers.0.base_weight": base_weight}
        return torch.func.functional_call(model, parameters, (X,)).flatten()

    start = (layer.coef.detach(), layer.base_weight.detach())
    parts = torch.autograd.functional.jacobian(outputs, start)
    design = torch.cat([part.flatten(1) for part in parts], 1)
    n_coef = layer.coef.shape[2]
    second = torch.diff(torch.eye(n_coef, dtype=torch.float64), n=2, dim=0)
    ridge = torch.zeros(design.shape[1], design.shape[1], dtype=torch.float64)
    for edge in range(layer.coef[..., 0].numel()):
        own = slice(edge * n_coef, (edge + 1) * n_coef)
        ridge[own, own] = smooth * second.T @ second
    pulled = design.T * weight
    normal = pulled @ design / len(design) + ridge
    return design @ torch.linalg.pinv(normal, rtol=1e-11, hermitian=True) @ pulled / len(design)


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("smooth", [0.0, 1e-3, 0.1])
def test_gcv_of_a_linear_network_is_the_classical_formula(smooth, is_weighted, generator):
    X, y = make_rows(generator, n_out=3)
    weight = torch.rand(len(X), generator=generator, dtype=torch.float64) + 0.5
    weight = weight / weight.mean() if is_weighted else torch.ones_like(weight)
    model = KAN([2, 3], grid=7)
    options = {"sample_weight": weight} if is_weighted else {}
    history = fit(model, (X, y), steps=60, smooth=smooth, grids=(4,), scale="never", **options)
    each = weight.repeat_interleave(3)
    H = hat_matrix(model, X, each, smooth)
    residual = y.flatten() - H @ y.flatten()
    n = y.numel()
    expected = (each * residual**2).sum() / n / (1 - H.trace() / n) ** 2
    (score,) = history.grids
    assert (score.grid, score.judge) == (4, "gcv")
    assert score.score == pytest.approx(expected.item(), rel=1e-6)


def test_gcv_is_the_leave_one_out_error_where_all_rows_have_the_same_leverage(generator):
    """Four places, five rows at each: the fit is the mean at each place, and leverages are 1/5."""
    x = torch.tensor([-1.0, -0.2, 0.5, 1.0], dtype=torch.float64).repeat(5)[:, None]
    y = torch.randn(20, 1, generator=generator, dtype=torch.float64)
    (score,) = fit(KAN([1, 1]), (x, y), steps=60, grids=(1,), scale="never").grids
    groups = y.reshape(5, 4)
    of_the_others = (groups.sum(0) - groups) / 4
    expected = (groups - of_the_others).pow(2).mean().item()
    # The fifth coefficient is not determined: rounding gives it 1e-4 degrees of freedom.
    assert score.score == pytest.approx(expected, rel=1e-4)


def test_rows_of_weight_0_are_as_rows_that_are_not_there(generator):
    X, y = make_rows(generator)
    weight = (torch.arange(len(X)) % 4 > 0).double()
    options = {"steps": 60, "grids": (3,), "update_grid": False, "scale": "never"}
    with_them = fit(KAN([2, 1]), (X, y), sample_weight=weight, **options)
    without = fit(KAN([2, 1]), (X[weight > 0], y[weight > 0]), **options)
    assert with_them.grids[0].score == pytest.approx(without.grids[0].score, rel=1e-6)


def test_gcv_scales_with_the_square_of_the_units(generator):
    X, y = make_rows(generator)
    one, other = (
        fit(KAN([2, 1]), (X, factor * y), steps=60, grids=(3,), scale="never").grids[0].score
        for factor in (1, 1000)
    )
    assert other == pytest.approx(1e6 * one, rel=1e-6)


def test_gcv_of_a_network_that_could_follow_any_data_is_infinite(generator):
    (score,) = fit(KAN([2, 5, 1]), make_rows(generator, n=20), grids=(10,)).grids
    assert score.score == math.inf


# -- the grids that are tried, and the one that is kept ------------------------------------------


@pytest.mark.parametrize("opt", SOLVERS)
def test_a_schedule_of_one_grid_is_a_plain_fit_on_it(opt, generator):
    data = make_rows(generator)
    model = KAN([2, 2, 1], grid=3)
    plain = model.refine(4)
    history = fit(model, data, opt, grids=(4,))
    expected = fit(plain, data, opt)
    assert history.train_loss.tolist() == expected.train_loss.tolist()
    assert history.best_step == expected.best_step
    assert (history.opt, history.stopped) == (expected.opt, expected.stopped)
    for name, parameter in plain.named_parameters():
        assert torch.equal(model.get_parameter(name), parameter), name


@pytest.mark.parametrize("has_test_part", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_network_is_the_best_one_of_the_grid_that_is_kept(noise, has_test_part):
    data = create_dataset(hello, 2, train_num=100, test_num=60 * has_test_part, noise=noise)
    seen = []

    def note(model, record):
        seen.append((grid_of(model), model(data.X).detach()))

    model = KAN([2, 2, 1])
    history = fit(model, data, steps=25, grids=(1, 2, 4, 7, 12), callbacks=[note])
    assert len(history.grids) > 1
    assert grid_of(model) == kept(history)
    assert [record.step for record in history.steps] == list(range(len(seen)))
    assert seen[history.best_step][0] == kept(history)
    torch.testing.assert_close(model(data.X), seen[history.best_step][1], rtol=0, atol=1e-12)
    own = [r for r, (grid, _) in zip(history.steps, seen, strict=True) if grid == kept(history)]
    judge, losses = "gcv", [record.train_loss for record in own]
    if has_test_part:
        judge, losses = "test", [record.test_loss for record in own]
        assert {s.grid: s.score for s in history.grids}[kept(history)] == min(losses)
    assert {score.judge for score in history.grids} == {judge}
    assert history.best is own[int(np.argmin(losses))]
    assert history.best_objective == pytest.approx(min(losses), rel=1e-6)
    assert (np.diff([record.seconds for record in history.steps]) >= 0).all()


INF = math.inf


@pytest.mark.parametrize(
    ("scores", "n_tried", "kept_grid"),
    [
        ([1, 0.8, 0.6, 0.5], 4, 4),
        ([1, 0.8, 0.73, 0.1], 3, 2),  # better, but not by a tenth
        ([1, 2, 0.1, 0.1], 2, 1),
        ([1, INF, 0.1, 0.1], 2, 1),
        ([INF, INF, 5, 4], 4, 4),
        ([INF, 5, 6, 1], 3, 2),
        ([INF, INF, INF, INF], 4, 1),
    ],
)
def test_a_finer_grid_is_tried_while_it_pays(scores, n_tried, kept_grid, judged, generator):
    judged(*scores)
    model = KAN([2, 1])
    history = fit(model, make_rows(generator), grids=(1, 2, 3, 4))
    assert history.grids == tuple(
        GridScore(grid, "gcv", score)
        for grid, score in zip(range(1, n_tried + 1), scores, strict=False)
    )
    assert grid_of(model) == kept_grid
    assert len(history.steps) == FEW * n_tried
    first = FEW * (kept_grid - 1)
    assert first <= history.best_step < first + FEW


def test_a_finer_grid_starts_where_the_coarse_one_ended(judged, generator):
    judged(2, 1)
    seen = []
    options = {"lr": 1e-13, "update_grid": False}  # so small that the function stays
    history = fit(
        KAN([2, 2, 1]),
        make_rows(generator),
        "Adam",
        grids=(2, 6),
        callbacks=[lambda model, _: seen.append(grid_of(model))],
        **options,
    )
    assert seen == [2] * FEW + [6] * FEW
    assert history.train_loss == pytest.approx(history.train_loss[0], rel=1e-9)


# Without noise the errors of single grids are a matter of luck, of which the best has most.
@pytest.mark.parametrize(("noise", "rival"), [(0.0, np.median), (0.05, min)])
@pytest.mark.parametrize(
    "law", [hello, *(pytest.param(law, marks=pytest.mark.slow) for law in (saddle, distance))]
)
def test_auto_is_near_the_best_grid_on_few_rows(law, noise, rival):
    for seed in range(2):
        data = create_dataset(law, 2, train_num=100, test_num=0, noise=noise, seed=seed)
        unseen = create_dataset(law, 2, train_num=500, test_num=0, seed=seed + 10)

        def error(model, data=data, unseen=unseen, **options):
            fit(model, data, steps=50, **options)
            return rmse(model, unseen.X, unseen.y)

        singles = [error(KAN([2, 5, 1], grid, seed=seed)) for grid in (1, 2, 3, 5, 10)]
        assert error(KAN([2, 5, 1], seed=seed), grids="auto") <= 2 * rival(singles), seed


def test_many_rows_without_noise_pay_for_a_fine_grid():
    data = create_dataset(hello, 2, train_num=1000, test_num=1000)
    on_five = KAN([2, 1, 1], grid=5)
    fit(on_five, data, steps=50)
    model = KAN([2, 1, 1])
    fit(model, (data.X, data.y), steps=50, grids="auto")
    assert grid_of(model) > 5
    assert rmse(model, data.X_test, data.y_test) < rmse(on_five, data.X_test, data.y_test) / 30


# -- how a schedule ends -------------------------------------------------------------------------


# A tick after each of the 4 steps of a grid; a fit reads the clock before its callbacks.
@pytest.mark.parametrize(
    ("judging", "n_grids", "n_steps"), [(0, 2, FEW + 3), (1, 2, FEW + 2), (2, 1, FEW)]
)
def test_all_grids_share_the_time_limit(judging, n_grids, n_steps, monkeypatch, generator):
    clock = SimpleNamespace(now=0)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    scores = iter([3, 2, 1])

    def judge(*_):
        clock.now += judging
        return next(scores)

    monkeypatch.setattr("kansym.training.schedule._score", judge)

    def tick(model, record):
        clock.now += 1

    options = {"max_time": 6, "callbacks": [tick]}
    history = fit(KAN([2, 1]), make_rows(generator), "Adam", grids=(1, 2, 3), **options)
    assert history.stopped == "max_time"
    assert len(history.grids) == n_grids
    assert len(history.steps) == n_steps


def test_a_tiny_time_limit_leaves_one_step_on_the_first_grid(generator):
    model = KAN([2, 1])
    history = fit(model, make_rows(generator), grids="auto", max_time=1e-9)
    assert history.stopped == "max_time"
    assert (len(history.steps), len(history.grids), grid_of(model)) == (1, 1, 1)


def at_call(count, action):
    calls = itertools.count(1)

    def callback(model, record):
        return action() if next(calls) == count else None

    return callback


def press_ctrl_c(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("action", "stopped"), [(press_ctrl_c, "interrupted"), (lambda: True, "callback")]
)
@pytest.mark.parametrize("second_score", [1, 3])
def test_what_ends_one_fit_ends_the_schedule(action, stopped, second_score, judged, generator):
    judged(2, second_score)
    data = make_rows(generator)
    model = KAN([2, 2, 1])
    callbacks = [at_call(FEW + 2, action)]
    history = fit(model, data, grids=(1, 2, 3), update_grid=False, callbacks=callbacks)
    assert history.stopped == stopped
    assert [score.grid for score in history.grids] == [1, 2]
    assert len(history.steps) == FEW + 2
    assert grid_of(model) == (2 if second_score == 1 else 1)
    loss = rmse(model, *data) ** 2
    assert history.best.train_loss == pytest.approx(loss, rel=1e-9)


def test_an_interrupt_while_a_grid_is_judged_ends_the_schedule(monkeypatch, generator):
    scores = iter([1])

    def judge(*_):
        for score in scores:
            return score
        raise KeyboardInterrupt

    monkeypatch.setattr("kansym.training.schedule.gcv", judge)
    data, model = make_rows(generator), KAN([2, 1])
    history = fit(model, data, grids=(1, 2, 3))
    assert history.stopped == "interrupted"
    assert [score.score for score in history.grids] == [1, INF]
    assert grid_of(model) == 1
    assert history.best.train_loss == pytest.approx(rmse(model, *data) ** 2, rel=1e-9)


def test_an_error_in_a_callback_is_raised_and_the_best_grid_stays(judged, generator):
    judged(1, 2)
    model = KAN([2, 1])

    def fail():
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit(model, make_rows(generator), grids=(1, 2, 3), callbacks=[at_call(FEW + 2, fail)])
    assert grid_of(model) == 1


@pytest.mark.parametrize(
    "grids", [(), (5, 5), (5, 3), (2.5,), (0, 1), (True,), [[1]], "all", 5, 2.5, b"auto", {}]
)
def test_bad_grids_are_refused_by_name(grids, generator):
    with pytest.raises(ValueError, match=r"^grids must "):
        fit(KAN([2, 1]), make_rows(generator), grids=grids)


def quartic(prediction, y):
    return (prediction - y).pow(4).mean()


@pytest.mark.parametrize("loss", ["cross_entropy", quartic])
def test_a_loss_without_residuals_needs_a_test_part(loss, generator):
    X, y = make_rows(generator, n_out=2)
    y = y.argmax(1) if loss == "cross_entropy" else y
    model = KAN([2, 2])
    with pytest.raises(ValueError, match=r"grids need a test part .* unless loss is"):
        fit(model, (X, y), "LBFGS", grids=(1, 2), loss=loss)
    assert not model.is_fitted
    history = fit(model, (X, y, X, y), "LBFGS", grids=(1, 2), loss=loss)
    best = history.best
    assert [score.judge for score in history.grids] == ["test", "test"]
    assert best.test_loss == {s.grid: s.score for s in history.grids}[grid_of(model)]


@pytest.mark.parametrize("make", [list, tuple, np.array, torch.tensor])
def test_grids_may_come_in_any_sequence(make, generator):
    history = fit(KAN([2, 1]), make_rows(generator), grids=make([1, 2]))
    assert [score.grid for score in history.grids] == [1, 2]


# -- histories in a row --------------------------------------------------------------------------


def history_of(losses, best_step, **options):
    steps = [StepRecord(n, loss, None, 0.0, None, n + 1.0) for n, loss in enumerate(losses)]
    best = losses[best_step] if best_step >= 0 else INF
    return History("LM", "asked for", steps, "finished", best_step, best, **options)


@pytest.mark.parametrize(("is_better", "best_step", "objective"), [(True, 4, 1), (False, 1, 2)])
def test_one_history_follows_another(is_better, best_step, objective):
    first, second = history_of([3, 2, 4], 1), history_of([5, 1], 1)
    second.stopped = "patience"
    both = first.followed_by(second, is_better)
    assert [record.step for record in both.steps] == [0, 1, 2, 3, 4]
    assert both.train_loss.tolist() == [3, 2, 4, 5, 1]
    assert [record.seconds for record in both.steps] == [1, 2, 3, 4, 5]
    assert (both.best_step, both.best_objective) == (best_step, objective)
    assert both.best.train_loss == objective
    assert both.stopped == "patience"
    assert len(first.steps) == 3


def test_a_fit_that_did_not_better_its_start_leaves_the_step_it_started_from():
    first, second = history_of([3, 2, 4], 1), history_of([5, 6], -1)
    second.best_objective = 1.9
    both = first.followed_by(second, True)
    assert (both.best_step, both.best_objective) == (1, 1.9)


def test_an_empty_history_moves_nothing():
    both = History("LM").followed_by(history_of([3, 2], 1), True)
    assert both.steps == history_of([3, 2], 1).steps
    assert both.best_step == 1


# -- tournament ----------------------------------------------------------------------------------


def played(objectives, first_steps=3, last_steps=7):
    """(winner, [(network, steps)]): network n has objectives[n][r] after its fit number r."""
    calls = []

    def fit(n, steps):
        number = sum(network == n for network, _ in calls)
        calls.append((n, steps))
        return History("LM", best_objective=objectives[n][number])

    return tournament(range(len(objectives)), fit, first_steps, last_steps), calls


def test_a_single_network_gets_the_last_steps_only():
    assert played([[5]]) == (0, [(0, 7)])


@pytest.mark.parametrize(
    ("count", "rounds"), [(2, [2]), (3, [3, 2]), (5, [5, 3, 2]), (8, [8, 4, 2])]
)
def test_each_round_halves_the_networks_and_doubles_the_steps(count, rounds):
    winner, calls = played([[n] * 9 for n in range(count)])
    expected = [(n, 3 * 2**r) for r, size in enumerate(rounds) for n in range(size)]
    assert calls == [*expected, (0, 7)]
    assert winner == 0


def test_the_last_round_played_decides():
    winner, calls = played([[1, 9], [2, 4, 5], [3, 0], [INF, 0]])
    assert [n for n, _ in calls] == [0, 1, 2, 3, 0, 1, 1]
    assert winner == 1


def test_the_same_seeds_have_the_same_winner(generator):
    data = make_rows(generator)
    ends = []

    def run():
        ends.clear()
        networks = [KAN([2, 2, 1], grid=2, seed=seed) for seed in range(5)]

        def train(model, steps):
            ends.append((networks.index(model), fit(model, data, steps=steps).best_objective))
            return History("LM", best_objective=ends[-1][1])

        winner = tournament(networks, train, 2, 3)
        return networks.index(winner), winner(data[0])

    (first, prediction), (second, again) = run(), run()
    assert first == second == ends[-1][0]
    assert torch.equal(prediction, again)
    assert ends[-1][1] == min(objective for _, objective in ends)
