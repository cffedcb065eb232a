"""The examples of mechanics and of the mobility edge: what they rest on, and what they find."""

import numpy as np
import pytest
import sympy
from test_nn_examples import example

physics, edge = example("physics"), example("mobility_edge")


def test_the_invariant_of_a_spring_is_its_energy():
    starts = np.column_stack([np.linspace(0.5, 2, 8), np.zeros(8)])
    trajectories = physics.motion(lambda q, p: -q, starts, 6.0)
    H, ratios = physics.invariant(trajectories)
    energy = (np.concatenate(trajectories) ** 2).sum(1) / 2
    assert abs(np.corrcoef(H, energy)[0, 1]) == pytest.approx(1, abs=1e-9)
    assert abs(ratios[0]) < 1e-9
    assert ratios[1] > 0.1  # and nothing else of that form is conserved


def test_friction_leaves_nothing_conserved():
    starts = np.column_stack([np.linspace(0.5, 2, 8), np.zeros(8)])
    _, ratios = physics.invariant(physics.motion(lambda q, p: -q - 0.5 * p, starts, 6.0))
    assert ratios[0] > 0.01


def test_short_drops_what_is_below_the_error():
    p = sympy.Symbol("p")
    assert physics.short(0.50000001 * p**2 + 1e-9 * p) == "0.5*p**2"


def test_states_spread_below_the_critical_strength_and_sit_above_it():
    _, spread = edge.states(0.5, 0.0, 0.3)  # without alpha, lam = 1 is critical for all energies
    _, sits = edge.states(1.5, 0.0, 0.3)
    assert np.median(spread) > edge.EXTENDED > np.median(sits)


def test_energies_are_those_of_the_chain():
    energies, dimension = edge.states(0.0, 0.5, 0.0)
    n = np.arange(1, edge.SITES + 1)
    np.testing.assert_allclose(energies, np.sort(2 * np.cos(np.pi * n / (edge.SITES + 1))))
    assert (dimension <= 1).all()


def test_an_edge_is_where_the_kinds_of_states_part():
    energies = np.linspace(-2, 2, edge.SITES)
    assert edge.edge_of(energies, energies < 0.5) == pytest.approx(0.5, abs=0.01)
    assert edge.edge_of(energies, energies < -5) is None  # all localised
    hidden = np.where(energies > 0.5, energies + 1, energies)  # a gap from 0.5 to 1.5
    assert edge.edge_of(hidden, energies < 0.5) is None


def test_the_exact_edge_parts_states():
    assert edge.agreement(edge.exact, n_chains=4) > 0.95
    assert edge.agreement(lambda lam, alpha: -edge.exact(lam, alpha), n_chains=4) < 0.9


@pytest.mark.slow
def test_the_page_of_mechanics_says_what_is_found(tmp_path):
    table = physics.main(tmp_path)
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == ["physics_lagrangians.png", "physics_rapidity.png"]
    rng = np.random.default_rng(0)
    for found, truth in zip(table["found"], table["truth"], strict=True):
        found, truth = sympy.sympify(found), sympy.sympify(truth)
        symbols = sorted(truth.free_symbols | found.free_symbols, key=str)
        values = rng.uniform(-0.6, 0.6, (len(symbols), 20))
        both = sympy.lambdify(symbols, [found, truth], "numpy")(*values)
        np.testing.assert_allclose(*np.broadcast_arrays(*both), atol=1e-3)


@pytest.mark.slow
def test_the_page_of_the_mobility_edge_says_what_is_found(tmp_path):
    table = edge.main(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mobility_edge.png"]
    found = sympy.sympify(table["formula"][0].partition(" = ")[2])
    lam, alpha = sorted(found.free_symbols, key=str, reverse=True)
    assert (lam.name, alpha.name) == ("lam", "alpha")
    at = [float(found.subs({lam: a, alpha: b})) for a, b in [(0.5, 0.5), (1.5, 0.5), (0.5, 0.25)]]
    assert at == pytest.approx([2, -2, 4], abs=0.1)
    ours, exact = table["states on their side"]
    assert ours > exact - 0.005
