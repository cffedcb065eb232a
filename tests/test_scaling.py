"""Units are chosen once, from the data, and nobody outside the network sees them."""

import pytest
import torch

from kansym.model import KAN
from kansym.network import Network
from kansym.scaling import choose_scaling

N, N_IN, N_OUT = 50, 3, 2


def make_table(generator, n_columns=N_IN, n=N):
    """Columns in [-1, 1] that reach both ends."""
    X = 2 * torch.rand(n, n_columns, generator=generator, dtype=torch.float64) - 1
    X[0], X[1] = -1, 1
    return X


def scaled(X, y=None, mode="auto", **options):
    network = Network([X.shape[1], 1 if y is None else y.shape[1]], **options)
    choose_scaling(network, X, y, mode)
    return network


def inputs(network, X):
    """What the first layer sees."""
    return network.scale_inputs(X)


def outputs(network, y):
    """What the last layer has to give."""
    return (y - network.output_shift) / network.output_scale


def is_identity(shift, scale):
    return bool((shift == 0).all() and (scale == 1).all())


# -- inputs --------------------------------------------------------------------------------------


def test_ordinary_columns_keep_their_units(generator):
    X = make_table(generator) * torch.tensor([1.0, 0.5, 0.75])
    network = scaled(X)
    assert is_identity(network.input_shift, network.input_scale)


def test_ordinary_means_within_the_range_of_the_grid(generator):
    X = 1 + 2 * make_table(generator)
    network = scaled(X, grid_range=(-1.0, 3.0))
    assert is_identity(network.input_shift, network.input_scale)
    on_default = scaled(X)
    assert not is_identity(on_default.input_shift, on_default.input_scale)


@pytest.mark.parametrize(
    ("factor", "offset"),
    [(1e6, 0), (1e-6, 0), (1.1, 0), (0.49, 0), (1, 0.01), (1, 1e8), (1e-6, 1e3), (1e300, 0)],
)
@pytest.mark.parametrize("grid_range", [(-1.0, 1.0), (0.0, 3.0)])
def test_other_columns_are_mapped_onto_the_grid(factor, offset, grid_range, generator):
    X = make_table(generator) * factor + offset
    seen = inputs(scaled(X, grid_range=grid_range), X)
    ends = torch.tensor(grid_range, dtype=torch.float64)[:, None].expand(2, N_IN)
    # An offset of 1e8 leaves 8 digits of the range.
    torch.testing.assert_close(torch.stack([seen.amin(0), seen.amax(0)]), ends, rtol=0, atol=3e-8)


def test_every_column_is_judged_by_itself(generator):
    X = make_table(generator) * torch.tensor([1.0, 1e6, 0.6])
    network = scaled(X)
    assert network.input_scale[[0, 2]].tolist() == [1, 1]
    assert network.input_shift[[0, 2]].tolist() == [0, 0]
    assert network.input_scale[1] == pytest.approx(1e-6)


@pytest.mark.parametrize("value", [0.0, 0.4, -1e30, 1e8])
def test_a_constant_column_becomes_the_middle_of_the_grid(value, generator):
    X = make_table(generator)
    X[:, 1] = value
    seen = inputs(scaled(X, grid_range=(-1.0, 1.0)), X)
    assert (seen[:, 1] == 0).all()


@pytest.mark.parametrize("factor", [1e-310, 1e307])
def test_numbers_at_the_ends_of_float64_stay_finite(factor, generator):
    X = make_table(generator) * factor
    network = scaled(X)
    assert torch.isfinite(network.input_scale).all()
    assert torch.isfinite(inputs(network, X)).all()


def test_always_maps_ordinary_columns_too(generator):
    X = 0.5 + make_table(generator) / 2
    seen = inputs(scaled(X, mode="always"), X)
    torch.testing.assert_close(seen.amin(0), -torch.ones(N_IN, dtype=torch.float64))
    torch.testing.assert_close(seen.amax(0), torch.ones(N_IN, dtype=torch.float64))


# -- outputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "offset"), [(1, 0), (0.5, 2), (10, -30)])
def test_ordinary_outputs_keep_their_units(factor, offset, generator):
    network = scaled(make_table(generator), make_table(generator, N_OUT) * factor + offset)
    assert is_identity(network.output_shift, network.output_scale)


@pytest.mark.parametrize(
    ("factor", "offset"), [(1e30, 0), (1e-30, 0), (1, 1e8), (1, 20), (1e300, 0), (30, 0), (0.1, 0)]
)
def test_other_outputs_get_mean_0_and_deviation_1(factor, offset, generator):
    y = make_table(generator, N_OUT) * factor + offset
    values = outputs(scaled(make_table(generator), y), y)
    # An offset of 1e8 leaves 8 digits of the deviation.
    assert values.mean(0).abs().max() < 1e-7
    assert (values.std(0, correction=0) - 1).abs().max() < 1e-7


@pytest.mark.parametrize("value", [0.0, 7.0, 1e30])
def test_a_constant_output_becomes_zero(value, generator):
    y = make_table(generator, N_OUT)
    y[:, 1] = value
    network = scaled(make_table(generator), y)
    assert network.output_scale[1] == 1
    assert outputs(network, y)[:, 1].abs().max() <= 1e-14 * value


def test_always_maps_ordinary_outputs_too(generator):
    y = 0.5 + make_table(generator, N_OUT)
    values = outputs(scaled(make_table(generator), y, mode="always"), y)
    torch.testing.assert_close(
        values.std(0, correction=0), torch.ones(N_OUT, dtype=torch.float64), rtol=1e-12, atol=0
    )
    assert values.mean(0).abs().max() < 1e-12


def test_labels_have_no_units(generator):
    network = scaled(1e6 * make_table(generator), None, mode="always")
    assert is_identity(network.output_shift, network.output_scale)


def test_never_leaves_everything_alone(generator):
    X, y = 1e6 * make_table(generator), 1e30 * make_table(generator, N_OUT)
    network = scaled(X, y, mode="never")
    assert is_identity(network.input_shift, network.input_scale)
    assert is_identity(network.output_shift, network.output_scale)


def test_an_unknown_mode_is_refused(generator):
    with pytest.raises(ValueError, match="unknown scale 'allways'; did you mean 'always'"):
        scaled(make_table(generator), mode="allways")


# -- seen from outside ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "offset", "units"), [(1e6, 0, 1e30), (1, 1e8, 1), (1e-9, 0, 1e-20), (3, 7, 500)]
)
def test_predictions_are_in_raw_units(factor, offset, units, generator):
    x = make_table(generator, 2)
    X, y = x * factor + offset, units * (x[:, :1] ** 2 - x[:, 1:])
    model = KAN([2, 1], grid=3)
    model.fit((X, y), "LM", steps=8, progress=False)
    error = ((model.predict(X) - y) / units).pow(2).mean().sqrt()
    # The target has a deviation of 0.6 units; an offset of 1e8 leaves 8 digits of x.
    assert error < 1e-4


def test_units_are_chosen_at_the_first_fit_only(generator):
    X = make_table(generator, 2)
    model = KAN([2, 1], grid=3)
    model.fit((5 * X, X[:, 0]), "LM", steps=2, progress=False)
    first = model.input_scale.clone()
    model.fit((2 * X, X[:, 0]), "LM", steps=2, progress=False)
    assert torch.equal(model.input_scale, first)
