"""Grids that follow the inputs, and what is known of the inputs."""

import copy

import pytest
import torch

from kansym.nn import BASES, KANLinear, follow_ranges, parallel
from kansym.nn.ranges import MARGIN, SPARSE, SPREAD

ALL = pytest.mark.parametrize("basis", BASES)


def kan(generator, n_in=2, n_out=3, **options):
    options = {"range": "adaptive", "dtype": torch.float64} | options
    return KANLinear(n_in, n_out, generator=generator, **options)


def sample(generator, low, high, rows=200, n_in=2):
    u = torch.rand(rows, n_in, generator=generator, dtype=torch.float64)
    return low + (high - low) * u


def ends(layer):
    report = layer.range_report()
    return report.grid_low, report.grid_high


def feed(layer, generator, low, high, batches, rows=50):
    """Passes without a graph, as in a warm-up; the grid ends and the passes in which it moved."""
    before = layer.range_report().moves
    with torch.no_grad():
        for _ in range(batches):
            layer(sample(generator, low, high, rows, layer.in_features))
    return layer.range_report().moves - before


@ALL
def test_the_first_batch_sets_the_grid(basis, generator):
    layer = kan(generator, basis=basis)
    before = layer.coef.clone()
    x = sample(generator, 30.0, 50.0)
    layer(x)
    rows = x[::2]  # of 200
    mean, reach = rows.mean(0), SPREAD * rows.std(0, correction=0)
    first, last = mean - reach, mean + reach
    low, high = ends(layer)
    torch.testing.assert_close(low, first - MARGIN * (last - first))
    torch.testing.assert_close(high, last + MARGIN * (last - first))
    assert torch.equal(layer.coef, before)


@ALL
def test_a_grid_that_holds_its_inputs_stays(basis, generator):
    layer = kan(generator, basis=basis)
    feed(layer, generator, -1, 1, 200)
    before = copy.deepcopy(layer.state_dict())
    assert feed(layer, generator, -1, 1, 200) == 0
    assert torch.equal(layer.coef, before["coef"])


@pytest.mark.parametrize(
    ("basis", "target"),
    [
        *((basis, (-0.05, 0.05)) for basis in BASES),
        *((basis, (-1, 6)) for basis in BASES),
        ("bspline", (20, 22)),
        ("bspline", (-300, 300)),
    ],
)
def test_a_grid_follows_and_does_not_swing_back(basis, target, generator):
    layer = kan(generator, basis=basis, momentum=1.0)
    feed(layer, generator, -1, 1, 3)
    feed(layer, generator, *target, 400)
    low, high = ends(layer)
    assert (low <= target[0] + 0.1 * (target[1] - target[0])).all()
    assert (high >= target[1] - 0.1 * (target[1] - target[0])).all()
    used = (target[1] - target[0]) / (high - low)
    assert (used > 0.7 * SPARSE).all()
    assert feed(layer, generator, *target, 60) <= 2


@pytest.mark.parametrize("groups", [None, 2, 1])
def test_a_shift_keeps_the_functions_where_grids_overlap(groups, generator):
    layer = kan(generator, groups=groups, outside="linear")
    feed(layer, generator, -1, 1, 1)
    with torch.no_grad():
        layer.coef.normal_(generator=generator)
    before, (low, high) = copy.deepcopy(layer).eval(), ends(layer)
    # Nearly as wide as four of five intervals, and beyond the right end by half of one.
    step = (high - low) / 5
    layer.seen.low.copy_((low + 1.6 * step)[: len(layer.seen.low)])
    layer.seen.high.copy_((high + 0.5 * step)[: len(layer.seen.low)])
    assert layer.follow_range()
    new_low, new_high = ends(layer)
    torch.testing.assert_close(new_low - low, step)
    torch.testing.assert_close(new_high - high, step)
    u = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
    x = new_low + (high - new_low) * u
    torch.testing.assert_close(layer.eval()(x), before(x), rtol=0, atol=1e-12)
    assert layer.range_report().move_error < 1e-6


def test_a_narrowed_grid_keeps_the_functions_on_it(generator):
    layer = kan(generator)
    feed(layer, generator, -1, 1, 1)
    with torch.no_grad():
        layer.coef.normal_(generator=generator)
    before, (low, high) = copy.deepcopy(layer).eval(), ends(layer)
    layer.seen.low.fill_(0.3)
    layer.seen.high.fill_(0.4)
    assert layer.follow_range()
    new_low, new_high = ends(layer)
    assert (new_low >= low - 1e-12).all()
    assert (new_high <= high + 1e-12).all()
    assert (new_low <= 0.3).all()
    assert (new_high >= 0.4).all()
    assert (new_high - new_low < (high - low) / 4 + 1e-12).all()
    x = new_low + (new_high - new_low) * torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
    torch.testing.assert_close(layer.eval()(x), before(x), rtol=0, atol=1e-11)
    assert layer.range_report().move_error < 1e-6


def test_growth_reports_what_it_changed(generator):
    layer = kan(generator, n_in=1, n_out=1, base="zero")
    feed(layer, generator, -1, 1, 1)
    with torch.no_grad():
        layer.coef.normal_(generator=generator)
    before, (low, high) = copy.deepcopy(layer).eval().requires_grad_(False), ends(layer)
    layer.seen.high.fill_(3.0)
    assert layer.follow_range()
    x = low + (high - low) * torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    old = before(x)
    change = (layer.eval()(x).detach() - old).square().mean().sqrt() / old.std(correction=0)
    assert 0.01 < change < 1
    assert layer.range_report().move_error == pytest.approx(float(change), rel=0.15)


# -- when -----------------------------------------------------------------------------------------


def test_gradients_of_several_passes_are_right(generator):
    """Two passes with other ranges before one backward: the second may not move the weights."""
    layer = kan(generator)
    feed(layer, generator, -1, 1, 1)
    x, far = sample(generator, -1, 1), sample(generator, 5, 9)
    (layer(x).square().sum() + layer(far).square().sum()).backward()
    twin = copy.deepcopy(layer).eval()
    found, layer.coef.grad, twin.coef.grad = layer.coef.grad, None, None
    (twin(x).square().sum() + twin(far).square().sum()).backward()
    torch.testing.assert_close(found, twin.coef.grad)


def test_gradients_accumulate_on_one_grid(generator):
    layer = kan(generator)
    optimiser = torch.optim.SGD(layer.parameters(), lr=1e-3)
    feed(layer, generator, -1, 1, 1)
    grids = []
    for _ in range(3):
        for _ in range(4):
            layer(sample(generator, 5, 9)).square().mean().backward()
            grids.append(layer.basis.knots.clone())
        optimiser.step()
        optimiser.zero_grad()
    for begin in (0, 4, 8):
        assert all(torch.equal(grids[begin], grid) for grid in grids[begin : begin + 4])
    assert not torch.equal(grids[4], grids[8])


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9),
        lambda p: torch.optim.Adam(p, lr=1e-3),
        lambda p: torch.optim.Adam(p, lr=1e-3, foreach=True),
        lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
        lambda p: torch.optim.RMSprop(p, lr=1e-3),
    ],
)
def test_a_step_lets_the_grid_move(optimiser, generator):
    layer = kan(generator)
    optimiser = optimiser(layer.parameters())
    parameters = dict(layer.named_parameters())
    for width in range(1, 9):
        optimiser.zero_grad()
        layer(sample(generator, 0, width)).square().mean().backward()
        optimiser.step()
    assert layer.range_report().moves >= 3
    assert all(layer.get_parameter(name) is p for name, p in parameters.items())


def test_a_penalty_may_come_first(generator):
    layer = kan(generator)
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-3)
    for width in range(1, 12):
        optimiser.zero_grad()
        loss = layer.regularization_loss() + layer.regularization_loss(x=sample(generator, 0, 1))
        (loss + layer(sample(generator, 0, width)).square().mean()).backward()
        optimiser.step()
    assert layer.range_report().moves >= 3


def test_eval_changes_nothing(generator):
    layer = kan(generator)
    layer(sample(generator, -1, 1))
    layer.eval()
    before = copy.deepcopy(layer.state_dict())
    layer(sample(generator, 50, 60))
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_frozen_weights_stay(generator):
    layer = kan(generator)
    layer(sample(generator, -1, 1))
    layer.requires_grad_(False)
    before = layer.coef.clone()
    for _ in range(5):
        layer(sample(generator, 50, 60).requires_grad_()).sum().backward()
    assert torch.equal(layer.coef, before)


def test_ranges_are_followed_by_hand(generator):
    model = torch.nn.Sequential(kan(generator), torch.nn.Tanh(), kan(generator, 3))
    model(sample(generator, -1, 1))
    for _ in range(20):
        model(sample(generator, 50, 60))  # a graph waits: no move
    assert [layer.range_report().moves for layer in (model[0], model[2])] == [1, 1]
    assert follow_ranges(model) >= 1
    assert model[0].range_report().moves == 2
    assert follow_ranges(torch.nn.Tanh()) == 0


def test_training_goes_on_through_moves(generator):
    layer = kan(generator, 1, 1, grid=8, dtype=torch.float32)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.02)
    for step in range(600):
        width = min(1 + step / 100, 4)
        x = sample(generator, -width, width, 128, 1).float()
        optimiser.zero_grad()
        loss = (layer(x) - torch.sin(2 * x)).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.02
    report = layer.range_report()
    assert report.moves >= 3
    assert report.outside_total < 0.1


def test_one_of_several_processes_waits_for_the_others(generator, monkeypatch):
    monkeypatch.setattr(parallel, "is_distributed", lambda group: True)
    layer = kan(generator, sync=False)
    layer(sample(generator, 50, 60))
    assert layer.range_report().batches == 1
    assert layer.range_report().moves == 0


# -- hostile inputs -------------------------------------------------------------------------------


def test_a_constant_input(generator):
    layer = kan(generator)
    x = torch.full((50, 2), 3.0, dtype=torch.float64)
    for _ in range(20):
        y = layer(x)
    low, high = ends(layer)
    torch.testing.assert_close(high - low, torch.full_like(low, 2.0))
    torch.testing.assert_close(low + high, torch.full_like(low, 6.0))
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("value", [1e6, -1e-9, 1e30])
def test_a_constant_of_any_size_in_single_precision(value, generator):
    layer = kan(generator, dtype=torch.float32)
    x = torch.full((5, 2), value).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    assert (torch.diff(layer.basis.knots) > 0).all()


def test_batches_of_one_row_find_the_range(generator):
    layer = kan(generator)
    for _ in range(400):
        layer(sample(generator, -3, 5, rows=1))
        layer.follow_range()
    low, high = ends(layer)
    assert (low < -1.5).all()
    assert (high > 3.5).all()
    assert (high - low < 16).all()


def test_an_empty_batch_is_no_batch(generator):
    layer = kan(generator)
    layer(torch.zeros(0, 2, dtype=torch.float64))
    assert layer.range_report().batches == 0
    layer(sample(generator, 5, 6))
    assert (ends(layer)[0] > 4).all()


def test_one_outlier_does_little(generator):
    layer = kan(generator)
    feed(layer, generator, -1, 1, 20)
    x = sample(generator, -1, 1)
    x[3, 0] = 1e9
    layer(x)
    assert layer.range_report().seen_high[0] < 1.5
    feed(layer, generator, -1, 1, 20)
    assert ends(layer)[1][0] < 2


def test_no_value_is_further_than_twice_the_range(generator):
    layer = kan(generator, n_in=1)
    x = sample(generator, -1, 1, 100, 1)
    x[:5] = 40.0
    layer(x)
    report = layer.range_report()
    assert 18 < report.seen_high < 22
    assert report.seen_low > -2


def test_the_tails_of_a_bell_are_left_outside(generator):
    layer = kan(generator)
    with torch.no_grad():
        for _ in range(50):
            x = torch.randn(128, 2, generator=generator, dtype=torch.float64)
            layer(x)
    low, high = ends(layer)
    assert ((low > -2.5) & (low < -1.4)).all()
    assert ((high < 2.5) & (high > 1.4)).all()


def test_rare_values_count_where_the_rest_is_one_value(generator):
    layer = kan(generator)
    x = torch.zeros(200, 2, dtype=torch.float64)
    x[4, 1] = 255
    layer(x)
    low, high = ends(layer)
    assert (low[0], high[0]) == (-1, 1)
    assert high[1] > 255


def test_the_grid_holds_nearly_all_of_an_even_spread(generator):
    layer = kan(generator)
    feed(layer, generator, -1, 1, 50, rows=128)
    low, high = ends(layer)
    assert (low.clamp(min=-1) < -0.9).all()
    assert (high.clamp(max=1) > 0.9).all()


def test_inputs_of_almost_no_spread(generator):
    layer = kan(generator, n_in=1, n_out=1, dtype=torch.float32)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(300):
        u = sample(generator, -1, 1, 64, 1).float()
        optimiser.zero_grad()
        loss = (layer(1e-8 * u) - torch.sin(3 * u)).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.01


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_moves_nothing(value, generator):
    layer = kan(generator)
    x = sample(generator, -1, 1)
    layer(x)
    before = ends(layer)
    x[:, 0] = value
    layer(x)
    assert torch.equal(ends(layer)[0], before[0])
    assert torch.isfinite(layer.range_report().seen_high).all()


def test_a_first_batch_without_numbers(generator):
    layer = kan(generator)
    x = sample(generator, 5, 6)
    x[:, 1] = torch.nan
    with torch.no_grad():
        layer(x)
    low, high = ends(layer)
    assert low[0] > 4
    assert (low[1], high[1]) == (-1, 1)
    feed(layer, generator, 5, 6, 1)
    assert ends(layer)[1][1] >= 5


# -- report ---------------------------------------------------------------------------------------


def test_the_report_counts(generator):
    layer = kan(generator, range="fixed")
    x = torch.tensor([[0.0, 0.5], [0.2, -0.3], *[[0.1, 0.1]] * 7], dtype=torch.float64)
    layer(x)
    layer(torch.cat([x[:8], torch.tensor([[1.5, 0.0]], dtype=torch.float64)]))
    report = layer.range_report()
    assert report.batches == 2
    assert report.moves == 0
    assert report.outside.tolist() == [1 / 18, 0]
    assert report.outside_total == 1 / 36
    assert report.grid_low.tolist() == [-1, -1]
    torch.testing.assert_close(report.seen_low, torch.tensor([0.0, -0.3], dtype=torch.float64))
    assert report.seen_high[0] == pytest.approx(0.2 + 0.1 * 1.3)


def test_a_report_of_nothing(generator):
    report = kan(generator).range_report()
    assert report.seen_low.tolist() == [torch.inf] * 2
    assert report.outside_total == 0
