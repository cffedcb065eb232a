"""Normalisers: known statistics, ways back, and the same in SymPy."""

import copy
import pickle

import pytest
import sympy
import torch

from kansym.nn import Affine, MinMax, SigmaClip, ZScore

KINDS = (ZScore, MinMax, SigmaClip, Affine)
ALL = pytest.mark.parametrize("kind", KINDS)
STATISTICS = pytest.mark.parametrize("kind", KINDS[:3])


def sample(generator, rows=50):
    x = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    return x * torch.tensor([1.0, 20.0, 0.1]) + torch.tensor([5.0, -3.0, 0.0])


def trained(kind, generator):
    layer = kind(3, dtype=torch.float64)
    for _ in range(4):
        layer(sample(generator))
    if kind is Affine:
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([2.0, -0.5, 3.0]))
            layer.bias.copy_(torch.tensor([1.0, 2.0, -3.0]))
    return layer.eval()


def test_zscore_is_that_of_all_rows(generator):
    layer, batches = ZScore(3, dtype=torch.float64), [sample(generator, n) for n in (7, 1, 50)]
    for x in batches:
        y = layer(x)
    rows = torch.cat(batches)
    torch.testing.assert_close(layer.mean, rows.mean(0))
    torch.testing.assert_close(layer.var, rows.var(0, correction=0))
    want = (batches[-1] - rows.mean(0)) / rows.std(0, correction=0)
    torch.testing.assert_close(y, want)


def test_momentum_forgets(generator):
    layer = ZScore(3, momentum=0.5, dtype=torch.float64)
    layer(sample(generator) + 100)
    for _ in range(40):
        x = sample(generator, 2000)
        layer(x)
    torch.testing.assert_close(layer.mean, x.mean(0), atol=1.0, rtol=0)
    assert (layer.var / x.var(0) < 1.2).all()


def test_minmax_fills_its_range(generator):
    layer = MinMax(3, -2, 1, dtype=torch.float64)
    x = sample(generator)
    y = layer(torch.cat([x, x / 2]))
    torch.testing.assert_close(y.amin(0), torch.full((3,), -2.0, dtype=torch.float64))
    torch.testing.assert_close(y.amax(0), torch.full((3,), 1.0, dtype=torch.float64))


def test_sigma_clip_is_not_moved_by_outliers(generator):
    layer, x = SigmaClip(3, dtype=torch.float64), sample(generator, 2000)
    spoilt = x.clone()
    spoilt[::50] = 1e6
    y = layer(spoilt)
    assert y.abs().max() == 1
    assert (y[::50] == 1).all()
    torch.testing.assert_close(layer.mean, x.mean(0), atol=1.0, rtol=0)
    torch.testing.assert_close(layer.var.sqrt(), x.std(0), atol=0, rtol=0.1)


@ALL
def test_the_way_back(kind, generator):
    layer = trained(kind, generator)
    x = sample(generator) / 3
    inside = layer.limits is None or (layer(x).abs() < 1).all(1)
    torch.testing.assert_close(layer.inverse(layer(x))[inside], x[inside])


@ALL
def test_expressions_are_the_same_maps(kind, generator):
    layer, x = trained(kind, generator), sample(generator) * 3
    symbols = sympy.symbols("v0:3")
    function = sympy.lambdify(symbols, layer.expressions(symbols), "numpy")
    found = torch.stack([torch.as_tensor(column) for column in function(*x.T.numpy())], 1)
    torch.testing.assert_close(found, layer(x).detach())


@STATISTICS
def test_eval_is_frozen(kind, generator):
    layer = trained(kind, generator)
    before = copy.deepcopy(layer.state_dict())
    layer(sample(generator) * 100)
    assert all(torch.equal(v, before[n]) for n, v in layer.state_dict().items())


@ALL
def test_copies_are_equal(kind, generator):
    layer, x = trained(kind, generator), sample(generator)
    other = kind(3, dtype=torch.float64).eval()
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))


@ALL
@pytest.mark.parametrize("shape", [(3,), (0, 3), (1, 3), (2, 5, 3)])
def test_any_leading_dimensions(kind, shape, generator):
    layer = kind(3)
    x = torch.randn(shape, generator=generator)
    y = layer(x)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()


@ALL
def test_gradients_are_right(kind, generator):
    x = (sample(generator, 3) / 3).requires_grad_()
    assert torch.autograd.gradcheck(trained(kind, generator), (x,))


@STATISTICS
def test_a_constant_is_centred(kind):
    layer = kind(1)
    y = layer(torch.full((20, 1), 3.3))
    torch.testing.assert_close(y, torch.zeros(20, 1), atol=1e-5, rtol=0)


@STATISTICS
def test_what_is_not_finite_goes_through_and_is_not_counted(kind, generator):
    x = sample(generator)
    x[3, 0], x[4, 1] = torch.nan, torch.nan
    layer = kind(3, dtype=torch.float64)
    y = layer(x)
    assert torch.isnan(y[3, 0])
    assert torch.isfinite(y).sum() == y.numel() - 2
    assert all(torch.isfinite(buffer).all() for buffer in layer.buffers())


@ALL
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(kind, dtype, generator):
    x = sample(generator).to(dtype)
    y = kind(3)(x)
    assert y.dtype == dtype
    want = kind(3, dtype=torch.float64)(x.double())
    torch.testing.assert_close(y.double(), want, atol=0.1, rtol=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ZScore(0), "features must be an integer >= 1"),
        (lambda: ZScore(3, momentum=2), r"momentum must be None or in \(0, 1\], got 2"),
        (lambda: SigmaClip(3, sigmas=0), "sigmas must be a number > 0, got 0"),
        (lambda: MinMax(3, 1, 1), "low must be below high"),
        (lambda: ZScore(3)(torch.zeros(2, 4)), r"input must have 3 values in its last dimension"),
        (lambda: ZScore(3).expressions([sympy.Symbol("x")]), r"symbols must be 3 \(features\)"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
