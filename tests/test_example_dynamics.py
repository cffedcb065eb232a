"""The example of laws of motion: trajectories obey their laws, and formulas are judged rightly."""

import numpy as np
import pytest
import sympy
from scipy.integrate import trapezoid
from test_nn_examples import example

from kansym import Formula

dynamics = example("dynamics")
LOTKA, _, PENDULUM, ENZYME = dynamics.SYSTEMS


def test_a_pendulum_loses_the_energy_that_friction_takes():
    law = dynamics.as_function(dynamics.true_law(PENDULUM))
    theta, omega = dynamics.trajectory(law, PENDULUM.held_out, PENDULUM.duration).T
    energy = omega**2 / 2 - 9.81 * np.cos(theta)
    t = np.linspace(0, PENDULUM.duration, dynamics.SAMPLES)
    lost = 0.3 * trapezoid(omega**2, t)
    assert energy[0] - energy[-1] == pytest.approx(lost, rel=1e-4)


def test_slopes_of_noisy_states_are_close_to_the_law():
    X, D = dynamics.learnt_from(LOTKA, 0.01)
    wanted = dynamics.true_law(LOTKA).evaluate(X)
    error = np.sqrt(np.mean((D.to_numpy() - wanted) ** 2, 0)) / wanted.std(0)
    assert (error > 0.001).all()  # there is noise
    assert (error < 0.1).all()


def test_monomials_find_a_polynomial_law_and_miss_another():
    found = dynamics.sparse_law(*dynamics.learnt_from(LOTKA, 0.0))
    assert dynamics.judge(LOTKA, found)["rhs_error"] < 1e-9
    assert dynamics.judge(LOTKA, found)["terms"] == 4
    missed = dynamics.sparse_law(*dynamics.learnt_from(ENZYME, 0.0))
    assert dynamics.judge(ENZYME, missed)["rhs_error"] > 0.1


def test_a_wrong_law_loses_the_trajectory():
    truth = dynamics.true_law(PENDULUM)
    judged = dynamics.judge(PENDULUM, truth)
    assert judged["rhs_error"] == 0
    assert judged["followed"] == 1
    theta, omega = truth.variables
    small_angles = Formula([omega, -9.81 * theta - sympy.Rational(3, 10) * omega], truth.variables)
    judged = dynamics.judge(PENDULUM, small_angles)
    assert judged["rhs_error"] > 0.1
    assert judged["followed"] < 0.5


@pytest.mark.slow
def test_the_page_says_what_the_example_prints(tmp_path):
    table = dynamics.main(tmp_path).set_index(["method", "noise", "system"])
    assert [path.name for path in tmp_path.iterdir()] == ["dynamics.png"]
    ours, sparse = table.loc["kansym"], table.loc["sparse monomials"]
    assert (ours.loc[0.0, "rhs_error"] < 1e-9).all()
    assert set(", ".join(ours.loc[0.0, "verdict"]).split(", ")) == {"EXACT"}
    assert (ours.loc[0.01, "rhs_error"] < 0.01).all()
    noisy = ours.loc[0.01].drop("Lorenz")
    assert (noisy["followed"] == 1).all()
    for system in ("damped pendulum", "Michaelis-Menten"):
        assert (sparse.xs(system, level="system")["rhs_error"] > 0.03).all()
