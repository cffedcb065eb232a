"""The laws of motion behind trajectories: right-hand sides found as formulas, then integrated.

Four systems, without noise (derivatives exact) and with 1 % of noise (derivatives of smoothing
splines); beside them, on the same rows, sparse regression on a library of monomials.
Run from anywhere: python examples/dynamics.py. The picture goes to figures/.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sympy
from scipy.integrate import solve_ivp
from scipy.interpolate import make_smoothing_spline

from kansym import Formula, KANRegressor

FIGURES = Path(__file__).resolve().parent.parent / "figures"
ROWS = 250  # of all trajectories, for both methods
SAMPLES = 500  # of one trajectory
DEGREE = 3  # of the library's monomials
THRESHOLDS = (0.01, 0.03, 0.1, 0.3)
FAR = 0.1  # of a trajectory's spread: from here on a prediction has lost it


@dataclass(frozen=True)
class System:
    """law: formulas of d state / dt, as text. starts: of the trajectories that are learnt from,
    each `duration` long; `held_out` starts the one that is predicted."""

    name: str
    state: tuple[str, ...]
    law: tuple[str, ...]
    starts: tuple[tuple[float, ...], ...]
    held_out: tuple[float, ...]
    duration: float


SYSTEMS = (
    System(
        "Lotka-Volterra", ("x", "y"), ("x - x*y/2", "x*y/4 - 3*y/4"),
        ((2.0, 1.0), (5.0, 3.0)), (4.0, 0.7), 15.0,
    ),
    System(
        "Lorenz", ("x", "y", "z"), ("10*(y - x)", "x*(28 - z) - y", "x*y - 8*z/3"),
        ((-8.0, 7.0, 27.0), (3.0, -2.0, 15.0)), (1.0, 1.0, 20.0), 5.0,
    ),
    System(
        "damped pendulum", ("theta", "omega"), ("omega", "-9.81*sin(theta) - 0.3*omega"),
        ((3.0, 0.0), (-1.5, 4.0)), (2.5, -2.0), 5.0,
    ),
    System(
        "Michaelis-Menten", ("s",), ("1/2 - 2*s/(s + 3/5)",),
        ((4.0,), (0.02,)), (6.0,), 5.0,
    ),
)  # fmt: skip


def main(figures: Path = FIGURES) -> pd.DataFrame:
    rows, fig = [], plt.figure(figsize=(10, 5.6), layout="constrained")
    panels = fig.subplots(2, len(SYSTEMS) // 2).ravel()
    for system, ax in zip(SYSTEMS, panels, strict=True):
        for noise in (0.0, 0.01):
            X, D = learnt_from(system, noise)
            # A budget in formulas, not in seconds: the result is the same on every machine.
            est = KANRegressor(max_time=None, max_candidates=300, progress=False).fit(X, D)
            laws = {"kansym": est.formula_, "sparse monomials": sparse_law(X, D)}
            verdicts = {"kansym": ", ".join(np.atleast_1d(est.verdict_))}
            for method, law in laws.items():
                about = {"system": system.name, "noise": noise, "method": method}
                judged = judge(system, law) | {"verdict": verdicts.get(method, "")}
                rows.append(about | judged | {"formulas": law.rounded(4)})
        draw(ax, system, laws)
    for row in rows:
        print(f"{row['system']}, noise {row['noise']:g}, {row['method']}:\n{row['formulas']}\n")
    table = pd.DataFrame(rows).drop(columns="formulas")
    print(table.to_string(index=False, float_format="%.2g"))
    fig.savefig(figures / "dynamics.png", dpi=150)
    return table


def trajectory(law: Callable, start: tuple[float, ...], duration: float) -> np.ndarray:
    """States at `SAMPLES` times, [times, state]; fewer where the law runs away."""
    t = np.linspace(0, duration, SAMPLES)
    found = solve_ivp(
        law, (0, duration), start, t_eval=t, method="LSODA", rtol=1e-9, atol=1e-9,
        events=_runs_away,
    )  # fmt: skip
    return found.y.T


def _runs_away(t: float, state: np.ndarray) -> float:
    return 1e3 - np.abs(state).max()


_runs_away.terminal = True


def learnt_from(system: System, noise: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """States and their derivatives at `ROWS` moments. noise: of a state's standard deviation."""
    rng = np.random.default_rng(0)
    law = as_function(true_law(system))
    states, slopes = [], []
    t = np.linspace(0, system.duration, SAMPLES)
    for start in system.starts:
        state = trajectory(law, start, system.duration)
        if noise:
            state = state + noise * state.std(0) * rng.standard_normal(state.shape)
            # Smoothed by generalised cross-validation; the ends, where slopes are poor, left out.
            splines = [make_smoothing_spline(t, column) for column in state.T]
            inner = t[SAMPLES // 20 : -SAMPLES // 20]
            states.append(np.column_stack([s(inner) for s in splines]))
            slopes.append(np.column_stack([s.derivative()(inner) for s in splines]))
        else:
            states.append(state)
            slopes.append(np.column_stack(law(0, state.T)))
    picked = np.sort(rng.permutation(sum(map(len, states)))[:ROWS])
    names = [f"{name}'" for name in system.state]
    return (
        pd.DataFrame(np.concatenate(states)[picked], columns=list(system.state)),
        pd.DataFrame(np.concatenate(slopes)[picked], columns=names),
    )


def true_law(system: System) -> Formula:
    symbols = sympy.symbols(system.state, real=True)
    names = {s.name: s for s in symbols}
    return Formula([sympy.sympify(text, names) for text in system.law], symbols)


def sparse_law(X: pd.DataFrame, D: pd.DataFrame) -> Formula:
    """Sequentially thresholded least squares (Brunton, Proctor, Kutz 2016, PNAS 113, 3932), the
    threshold chosen for each equation by the Bayesian information criterion."""
    symbols = sympy.symbols(list(X), real=True)
    monomials = [
        sympy.Mul(*factors)
        for degree in range(DEGREE + 1)
        for factors in combinations_with_replacement(symbols, degree)
    ]
    library = Formula(monomials, symbols).evaluate(X)
    n = len(library)
    exprs = []
    for y in D.to_numpy().T:
        fits = [_thresholded(library, y, threshold) for threshold in THRESHOLDS]
        mse = [np.mean((library @ c - y) ** 2) for c in fits]
        floor = 1e-16 * np.mean(y**2)  # rounding: less is no better
        bic = [
            n * np.log(m + floor) + np.log(n) * np.count_nonzero(c)
            for m, c in zip(mse, fits, strict=True)
        ]
        chosen = fits[int(np.argmin(bic))]
        exprs.append(sympy.Add(*(c * m for c, m in zip(chosen, monomials, strict=True) if c)))
    return Formula(exprs, symbols, target_names=list(D))


def _thresholded(library: np.ndarray, y: np.ndarray, threshold: float) -> np.ndarray:
    kept, coef = np.ones(library.shape[1], dtype=bool), np.zeros(library.shape[1])
    for _ in range(10):
        coef = np.zeros(library.shape[1])
        coef[kept] = np.linalg.lstsq(library[:, kept], y, rcond=None)[0]
        kept = np.abs(coef) >= threshold
    return np.where(kept, coef, 0.0)


def as_function(law: Formula) -> Callable:
    """(t, state) -> d state / dt, compiled once."""
    compiled = sympy.lambdify(law.variables, law.exprs, "numpy")

    def rate(t: float, state: np.ndarray) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            return [np.broadcast_to(r, np.shape(state[0])) for r in compiled(*state)]

    return rate


def judge(system: System, law: Formula) -> dict:
    """On the held-out trajectory: the error of the right-hand side relative to its size, and the
    share of the time until the integrated law is `FAR` from the truth."""
    truth, rate = as_function(true_law(system)), as_function(law)
    states = trajectory(truth, system.held_out, system.duration)
    wanted = np.column_stack(truth(0, states.T))
    error = np.column_stack(rate(0, states.T)) - wanted
    predicted = trajectory(rate, system.held_out, system.duration)
    distance = (predicted - states[: len(predicted)]) / states.std(0)
    lost = np.flatnonzero(np.abs(distance).max(1) > FAR)
    followed = lost[0] if len(lost) else len(predicted)
    terms = sum(len(sympy.Add.make_args(sympy.expand(e))) for e in law.exprs)
    return {
        "terms": terms,
        "rhs_error": np.sqrt(np.mean(error**2) / np.mean(wanted**2)),
        "followed": followed / SAMPLES,
    }


def draw(ax: plt.Axes, system: System, laws: dict[str, Formula]) -> None:
    """The held-out trajectory, and what the laws found in noise make of it."""
    t = np.linspace(0, system.duration, SAMPLES)
    truth = trajectory(as_function(true_law(system)), system.held_out, system.duration)
    ax.plot(t, truth[:, 0], color="0.75", lw=5, label="truth, held out")
    for (method, law), style in zip(laws.items(), ("-", ":"), strict=True):
        states = trajectory(as_function(law), system.held_out, system.duration)
        ax.plot(t[: len(states)], states[:, 0], style, color="black", lw=1.5, label=method)
    low, high = truth[:, 0].min(), truth[:, 0].max()
    ax.set_ylim(low - 0.3 * (high - low), high + 0.3 * (high - low))
    ax.set(title=f"{system.name}, laws found in 1 % noise", xlabel="$t$")
    ax.set_ylabel({"theta": r"$\theta$"}.get(system.state[0], f"${system.state[0]}$"))
    if system is SYSTEMS[0]:
        ax.legend(loc="upper right", fontsize=8, framealpha=0.9)


if __name__ == "__main__":
    main()
