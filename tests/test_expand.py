"""Growing and shaking a network: what is added changes nothing until it is trained."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kansym import KAN, bspline
from kansym.edge import OUTSIDE_RULES
from kansym.network import Nodes


def rows(n_in, low=-2.0, high=2.0, n=40):
    generator = torch.Generator().manual_seed(n_in)
    return low + (high - low) * torch.rand(n, n_in, generator=generator, dtype=torch.float64)


def output(model, X):
    with torch.no_grad():
        return model(X)


def assert_same(model, other, X):
    wanted = output(model, X)
    torch.testing.assert_close(output(other, X), wanted, rtol=1e-9, atol=1e-9 * wanted.abs().max())


def entries(least):
    pairs = st.tuples(st.integers(least, 3), st.integers(0, 2)).filter(any)
    return pairs.map(list)


@st.composite
def networks(draw):
    """Networks of all kinds: product nodes, pruned edges, named edges, all rules outside the grid,
    units of their own."""
    width = [draw(st.integers(1, 3)), *draw(st.lists(entries(0), max_size=2)), draw(entries(1))]
    seed = draw(st.integers(0, 1000))
    model = KAN(
        width, grid=draw(st.integers(1, 4)), k=draw(st.integers(1, 4)), seed=seed,
        mult_arity=draw(st.integers(2, 3)), outside=draw(st.sampled_from(OUTSIDE_RULES)),
        base=draw(st.sampled_from(["silu", "identity", "zero"])),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    share, named = draw(st.sampled_from([0.0, 0.4])), draw(st.sampled_from([0.0, 0.4, 1.0]))
    for l, layer in enumerate(model.kan_layers):
        layer.mask &= torch.rand(layer.mask.shape, generator=generator) >= share
        for j, i in torch.nonzero(layer.mask).tolist():
            if float(torch.rand(1, generator=generator)) < named:
                model.fix_symbolic(l, i, j, "sin", params=(1.3, 0.2, 0.7, 0.1))
    model.input_scale.fill_(0.7)
    model.output_shift.fill_(3.0)
    model.output_scale.fill_(2.0)
    return model


@settings(max_examples=30)
@given(networks(), st.data())
def test_growing_changes_nothing(model, data):
    X, before = rows(model.n_in), copy.deepcopy(model.state_dict())
    seen = data.draw(st.sampled_from([None, X]))
    for _ in range(2):
        if len(model.width) > 2 and data.draw(st.booleans()):
            l = data.draw(st.integers(1, len(model.width) - 2))
            more = Nodes(*data.draw(entries(0)))
            grown = model.widen(l, *more, seed=data.draw(st.integers(0, 9)), X=seen)
            old = model.width[l]
            assert grown.width[l] == (old.n_sum + more.n_sum, old.n_product + more.n_product)
        else:
            l = data.draw(st.integers(0, len(model.width) - 1))
            grown = model.deepen(l, X=seen)
            assert grown.width[l + 1] == (model.width[l].total, 0)
        assert type(grown) is KAN
        for layer, (left, right) in zip(grown.kan_layers, pairwise(grown.width), strict=True):
            n_subnodes = right.n_sum + grown.mult_arity * right.n_product
            assert layer.mask.shape == (n_subnodes, left.total)
        assert_same(model, grown, X)
        if before is not None:
            for name, value in model.state_dict().items():
                same = torch.equal(value, before[name]) if torch.is_tensor(value) else True
                assert same, name
        model, before = grown, None


def trained(steps=15):
    model = KAN([2, [2, 1], 1], grid=4, seed=1)
    X = rows(2, -1.0, 1.0, 200)
    y = torch.sin(2 * X[:, :1]) * X[:, 1:] + X[:, 1:] ** 2
    model.fit((X, y), opt="LM", steps=steps, progress=False)
    return model, X, y


def test_trained_splines_names_and_grids_stay():
    model, _, _ = trained()
    model.fix_symbolic(1, 2, 0, "x", params=(1, 0, 2, 0))
    wide = model.widen(1, 2, 1)
    old_nodes, old_subnodes = [0, 1, 4], [0, 1, 4, 5]
    for name in ("coef", "base_weight", "affine", "mask"):
        first, second = (getattr(layer, name) for layer in wide.kan_layers)
        assert torch.equal(first[old_subnodes], getattr(model.kan_layers[0], name))
        assert torch.equal(second[:, old_nodes], getattr(model.kan_layers[1], name))
    assert torch.equal(wide.kan_layers[0].knots, model.kan_layers[0].knots)
    assert torch.equal(wide.kan_layers[1].knots[old_nodes], model.kan_layers[1].knots)
    assert wide.kan_layers[1].symbolic == {(0, 4): "x"}


def test_new_nodes_lie_on_their_grids():
    model, X, _ = trained()
    wide = model.widen(1, 3, 2)
    layer = wide.kan_layers[1]
    values = wide.rows(X)[1]
    low, high = bspline.grid_range(layer.knots, layer.k)
    new = [2, 3, 4, 6, 7]
    assert ((values >= low) & (values <= high))[:, new].all()
    spread = (values.amax(0) - values.amin(0)) / (high - low)
    assert (spread[new] > 0.9).all()


@pytest.mark.parametrize("grow", ["widen", "widen product", "deepen", "deepen inputs", "outputs"])
@pytest.mark.parametrize("opt", ["LM", pytest.param("LBFGS", marks=pytest.mark.slow)])
def test_what_is_new_learns(grow, opt):
    """A target with a term that the network cannot say: it can once it has grown."""
    model = KAN.from_formula("2*x1 + sin(x2)")
    model = model.deepen(1)
    X = model.sample.X[:300]
    y = output(model, X) + 0.5 * X[:, :1] * X[:, 1:]
    grown = {
        "widen": lambda: model.widen(1, 3),
        "widen product": lambda: model.deepen(0).widen(1, 0, 1),
        "deepen": lambda: model.deepen(1).widen(1, 3),
        "deepen inputs": lambda: model.deepen(0),
        "outputs": lambda: model.deepen(2).widen(1, 3),
    }[grow]()
    assert grown.width[0].total == 2
    start = float((output(grown, X) - y).square().mean())
    grown.fit((X, y), opt=opt, steps=30, progress=False)
    end = float((output(grown, X) - y).square().mean())
    assert end < (1e-2 if grow != "outputs" else 0.1) * start


def test_every_new_edge_gets_a_gradient_after_one_step():
    model, X, y = trained()
    wide = model.widen(1, 1, 1)
    y = y + X[:, :1] ** 3

    def moved(start):
        wide.zero_grad()
        (wide(X) - y).square().mean().backward()
        first, second = (layer.coef.grad for layer in wide.kan_layers)
        assert first is not None
        assert second is not None
        return first[[2, 5, 6]].abs().amax(2), second[:, [2, 4]].abs().amax(2)

    into, out = moved(wide)
    assert (out > 1e-8).all()
    assert (into == 0).all()  # what leads to nothing yet
    with torch.no_grad():
        for layer in wide.kan_layers:
            layer.coef -= 0.01 * layer.coef.grad
    into, out = moved(wide)
    assert (into > 1e-10).all()


def test_seeds():
    model, _, _ = trained(2)
    for verb in (lambda s: model.widen(1, 1, seed=s), lambda s: model.perturb(0.1, seed=s)):
        first, same, other = verb(3), verb(3), verb(4)
        assert torch.equal(first.kan_layers[0].coef, same.kan_layers[0].coef)
        assert not torch.equal(first.kan_layers[0].coef, other.kan_layers[0].coef)


# -- noise -----------------------------------------------------------------------------------------


def test_no_noise_gives_splines_back():
    model = KAN.from_formula("x1**3 + x1*x2**2", grid=3)
    splines = model.perturb(0)
    assert not any(layer.symbolic for layer in splines.kan_layers)
    assert all(layer.symbolic for layer in model.kan_layers)
    assert_same(model, splines, model.sample.X)  # cubic splines are these functions exactly
    assert splines.is_fitted


@torch.no_grad()
@pytest.mark.parametrize("size", [0.01, 0.3])
def test_noise_is_as_large_as_asked(size):
    model = KAN([3, 20, 20, 2], grid=8, seed=2)
    edges = [layer.edges(bspline.sites(layer.knots, 3, 4)) for layer in model.kan_layers]
    noisy = model.perturb(size)
    for layer, other, values in zip(model.kan_layers, noisy.kan_layers, edges, strict=True):
        noise = (other.coef - layer.coef).std()
        assert float(noise) == pytest.approx(size * float(values.var(0).mean() ** 0.5), rel=0.15)


def test_only_the_edges_asked_for():
    model = KAN.from_formula("x1*x2*x3 + sin(x1) + x2/(2 + x3)", mult_arity=4)
    l, i, j = 0, 0, 0
    some = model.perturb(0.1, [(l, i, j), [l, i, j]])
    assert some.kan_layers[0].is_numeric.sum() == 1
    assert not some.kan_layers[1].is_numeric.any()
    every = model.perturb(0.1, "all")
    for at, layer in enumerate(every.kan_layers):
        left_out = model.is_left_out(at)
        assert torch.equal(layer.mask, ~left_out[:, None].expand_as(layer.mask))
        assert not layer.symbolic
    quiet = model.perturb(0.0, "all")
    X = model.sample.X
    assert float((output(quiet, X) - output(model, X)).abs().max()) < 1e-2  # splines of 5 intervals


def test_a_perturbed_law_comes_back():
    model = KAN.from_formula("x1**3 + x1*x2**2", ranges=(-1, 1))
    X, y = model.sample.X, model.sample.y
    noisy = model.perturb(0.2, seed=1)
    before = float((output(noisy, X) - y).square().mean())
    assert before > 1e-3
    noisy.fit((X, y), opt="LM", steps=20, progress=False)
    assert float((output(noisy, X) - y).square().mean()) < 1e-6 * before


# -- bad arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.widen(0), r"l must be a hidden row, in 1\.\.1, got 0"),
        (lambda m: m.widen(2), "l must be a hidden row"),
        (lambda m: m.widen("1"), "l must be a hidden row"),
        (lambda m: KAN([2, 1]).widen(1), "there is none; deepen makes one"),
        (lambda m: m.widen(1, 0, 0), "n_sum or n_product must be at least 1"),
        (lambda m: m.widen(1, -1), "n_sum must be an integer >= 0"),
        (lambda m: m.widen(1, 1, 0.5), "n_product must be an integer >= 0"),
        (lambda m: m.widen(1, seed=-1), "seed must be an integer"),
        (lambda m: m.widen(1, X=rows(3)), "2 columns"),
        (lambda m: m.deepen(3), r"l must be a row in 0\.\.2"),
        (lambda m: m.deepen(True), "l must be a row"),
        (lambda m: m.perturb(-1), "size must be a number >= 0"),
        (lambda m: m.perturb(float("nan")), "size must be a number >= 0"),
        (lambda m: m.perturb(0.1, "some"), "edges must be a list"),
        (lambda m: m.perturb(0.1, [(0, 0)]), r"edges must be \(l, i, j\) each"),
        (lambda m: m.perturb(0.1, [(0, 2, 0)]), r"i must be an integer in 0\.\.1"),
        (
            lambda m: KAN.from_formula("x1*x2", mult_arity=3).perturb(1, [(0, 0, 2)]),
            "a factor that its product leaves out",
        ),
        (
            lambda m: KAN.from_formula("log(x1 - 5)").perturb(1),
            r"edge \(0, 0, 0\) cannot become a spline: 'log' is nowhere real",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(KAN([2, [1, 1], 1]))
