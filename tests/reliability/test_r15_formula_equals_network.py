"""Every function in every export, to the edges of its domain: the formula equals the network to
1e-9 inside; outside no number is made up, and the network warns.

One network holds every function of the library on an edge of its own, so that every export is
compiled and run once.
"""

import functools
import math

import numpy as np
import pytest
import torch
from languages import RUNNERS, execute

from kansym import KAN
from kansym.errors import ExportError, ExtrapolationWarning
from kansym.functions import function_names, get_function

NAMES = function_names()
LACKS = {"python": {"j0", "j1"}, "torch": {"j0", "j1"}, "jax": {"j0", "j1"}}
LACKS["torch, learnable"] = LACKS["torch"]
POINTS = 60

# (a, b, c, d), and how near to an end of the domain a x + b may come before its own rounding
# is magnified beyond 1e-9.
AFFINES = {"as it is": ((1.0, 0.0, 1.0, 0.0), 1e-12), "affine": ((1.7, -0.4, -2.3, 0.7), 1e-5)}


def network(names, affine):
    """One edge for every name, from an input of its own to an output of its own."""
    model = KAN([len(names), len(names)], seed=0)
    model.kan_layers[0].mask[:] = torch.eye(len(names), dtype=torch.bool)
    for i, name in enumerate(names):
        model.fix_symbolic(0, i, i, name, params=affine)
    return model


def inside(name, nearest):
    """Points from end to end of the smooth part of the domain around 0.5; closed ends too."""
    domain, probe = get_function(name).domain, torch.tensor(0.5, dtype=torch.float64)
    low, high = (float(end) for end in domain.part_around(probe, probe))
    steps = np.geomspace(nearest, 0.1, 10)
    u = np.linspace(max(low, -3.0), min(high, 3.0), POINTS - 2 * len(steps))
    u = np.concatenate([u, *(end + side * steps for end, side in ((low, 1), (high, -1))
                             if math.isfinite(end))])  # fmt: skip
    is_closed = domain.closed and domain.pole is None and nearest < 1e-9
    if not is_closed:
        u = u[(u >= low + nearest) & (u <= high - nearest)]
    return np.resize(u, POINTS)


def outside(name):
    """Where the function has no value: beyond its ends, at open ends and at its pole."""
    domain = get_function(name).domain
    found = [domain.low - 1e-9, domain.low - 2.0, domain.high + 1e-9, domain.high + 2.0]
    if not domain.closed:
        found += [domain.low, domain.high]
    if domain.pole is not None and domain.period is None:
        found += [domain.pole]
    return [u for u in found if math.isfinite(u)]


BOUNDED = [name for name in NAMES if outside(name)]


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """(target, affine) -> {name: values [points] of the network and of its formula there}."""

    @functools.cache
    def both(target, kind):
        affine, nearest = AFFINES[kind]
        names = [name for name in NAMES if name not in LACKS.get(target, ())]
        model = network(names, affine)
        X = np.stack([(inside(name, nearest) - affine[1]) / affine[0] for name in names], 1)
        want = model.predict(X)
        got = RUNNERS[target](model.symbolic_formula(), X, tmp_path_factory.mktemp("export"))
        return {name: (want[:, i], got[:, i]) for i, name in enumerate(names)}

    return both


@pytest.mark.parametrize("kind", AFFINES)
@pytest.mark.parametrize("target", RUNNERS)
@pytest.mark.parametrize("name", NAMES)
def test_inside_the_domain_they_are_equal(name, target, kind, values):
    if name in LACKS.get(target, ()):
        formula = network([name], AFFINES[kind][0]).symbolic_formula()
        with pytest.raises(ExportError, match="no function"):
            formula.to(target.partition(",")[0])
        return
    want, got = values(target, kind)[name]
    assert np.isfinite(want).all()
    assert (np.abs(got - want) <= 1e-9 * np.maximum(np.abs(want), 1)).all()


@pytest.mark.parametrize("name", BOUNDED)
def test_outside_the_network_says_so(name):
    model = network([name], AFFINES["as it is"][0])
    for u in outside(name):
        with pytest.warns(ExtrapolationWarning, match="1 of 1 predictions are not finite"):
            assert not np.isfinite(model.predict([[u]])).any()


@pytest.mark.parametrize("target", [target for target in RUNNERS if target != "julia"])
@pytest.mark.parametrize("name", BOUNDED)
def test_outside_no_export_gives_a_number(name, target, tmp_path):
    formula = network([name], AFFINES["as it is"][0]).symbolic_formula()
    points = np.array(outside(name))[:, None]
    if target == "python":  # plain Python raises where others say NaN
        function = execute(formula.to("python"))["formula"]
        for (u,) in points:
            with pytest.raises((ValueError, ZeroDivisionError)):
                function(float(u))
        return
    got = RUNNERS[target](formula, points, tmp_path)
    assert not np.isfinite(got).any()


TAME = ("x", "x^2", "x^3", "sin", "cos", "tanh", "gaussian", "sigmoid", "arctan", "exp", "abs")


@pytest.mark.parametrize("target", RUNNERS)
@pytest.mark.parametrize("seed", range(5))
def test_networks_of_several_layers(seed, target, tmp_path):
    """Two layers, a product node, two outputs, units of their own, an edge left out."""
    rng = np.random.default_rng(seed)
    X = rng.normal(5.0, 20.0, (40, 3))
    model = KAN([3, [2, 1], 2], grid=3, seed=seed)
    model.fit((X, X[:, :2] * 1e3), opt="LM", steps=1, scale="always", progress=False)
    model = model.prune_edges(1e-9)
    for l, layer in enumerate(model.kan_layers):
        for j, i in layer.mask.nonzero().tolist():
            a, b, c, d = rng.uniform(-1.0, 1.0, 4)
            model.fix_symbolic(l, i, j, str(rng.choice(TAME)), params=(a, b, c, d))
    want = model.predict(X)
    got = RUNNERS[target](model.symbolic_formula(), X, tmp_path)
    scale = np.abs(want).max(0)
    assert (np.abs(got - want) <= 1e-9 * scale).all()
