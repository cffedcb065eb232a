"""Three questions to mechanics: how velocities add, what is conserved, which Lagrangian it is.

Run from anywhere: python examples/physics.py. Pictures go to figures/.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sympy
from scipy.integrate import solve_ivp
from scipy.interpolate import BSpline
from scipy.linalg import eigh
from sklearn.preprocessing import SplineTransformer

from kansym import KAN, KANRegressor

FIGURES = Path(__file__).resolve().parent.parent / "figures"
ERROR = 1e-5  # of splines that are no law themselves but stand for one
CANDIDATES = 100  # formulas a search may fit: the same on every machine, unlike seconds


def main(figures: Path = FIGURES) -> pd.DataFrame:
    rows = [*velocities(figures), *conserved(figures), *lagrangians(figures)]
    table = pd.DataFrame(rows, columns=["question", "found", "verdict", "truth"])
    print(table.to_string(index=False))
    return table


def ask(X: pd.DataFrame, y: np.ndarray, error: float | None = None) -> tuple[sympy.Expr, str]:
    """A formula and how far to trust it. error: of y, relative to its size, where it is known."""
    noise = None if error is None else error * float(np.abs(y).max())
    est = KANRegressor(max_time=None, max_candidates=CANDIDATES, noise=noise, progress=False)
    est.fit(X, y)
    return est.sympy(), str(est.verdict_)


def short(expr: sympy.Expr) -> str:
    """With four digits, and without what is smaller than the splines' error."""
    numbers = expr.atoms(sympy.Float)
    return str(expr.xreplace({c: sympy.Float(c if abs(c) > ERROR else 0, 4) for c in numbers}))


# -- how velocities add -----------------------------------------------------------------------


def velocities(figures: Path) -> list[tuple[str, ...]]:
    """w = (u + v) / (1 + u v), in units of the speed of light."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.uniform(-0.9, 0.9, (400, 2)), columns=["u", "v"])
    w = (X["u"] + X["v"]) / (1 + X["u"] * X["v"])
    law, verdict = ask(X, w.to_numpy())

    model = KAN([2, 1, 1], grid=10, seed=0)  # one hidden node: one quantity that simply adds up
    model.fit((X, w.to_frame("w")), grids=(5, 10, 20, 40), progress=False)
    print(model.suggest_symbolic(0, 0, 0, topk=3).round(6).to_string(index=False))
    model.auto_symbolic()
    rapidity = model.symbolic_formula(snap=True)
    model.plot(formula=rapidity).figure.savefig(figures / "physics_rapidity.png", dpi=150)
    truth = "(u + v)/(u*v + 1)"
    return [
        ("velocities, by a search", str(law), verdict, truth),
        ("velocities, by splines [2,1,1]", str(rapidity.exprs[0]), "", "tanh(atanh(u) + atanh(v))"),
    ]


# -- what is conserved ------------------------------------------------------------------------


def motion(acceleration: Callable, starts: np.ndarray, duration: float) -> list[np.ndarray]:
    """Trajectories [times, (q, v)] of q'' = acceleration(q, v)."""
    t = np.linspace(0, duration, 100)

    def rate(t: float, state: np.ndarray) -> tuple:
        return state[1], acceleration(*state)

    return [
        solve_ivp(rate, (0, duration), start, t_eval=t, rtol=1e-10, atol=1e-10).y.T
        for start in starts
    ]


def invariant(trajectories: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The sum of splines H = h1(q) + h2(p) that changes least along trajectories, relative to how
    much it differs between rows: values at all rows, and the ratios of all such sums.

    Both variances are quadratic in the coefficients, so this is a generalised eigenproblem; the
    second variance keeps the answer from being the constant.
    """
    rows = np.concatenate(trajectories)
    basis = SplineTransformer(n_knots=12, degree=5, include_bias=False).fit_transform(rows)
    which = np.repeat(np.arange(len(trajectories)), [len(t) for t in trajectories])
    means = pd.DataFrame(basis).groupby(which).transform("mean").to_numpy()
    within, total = basis - means, basis - basis.mean(0)
    ridge = 1e-12 * len(rows) * np.eye(basis.shape[1])  # for splines where there are few rows
    ratios, coef = eigh(within.T @ within, total.T @ total + ridge)
    return basis @ coef[:, 0], ratios


def conserved(figures: Path) -> list[tuple[str, ...]]:
    """The energies of a spring and of a pendulum, from where they are and how fast."""
    starts = np.column_stack([np.linspace(0.3, 2.5, 12), np.zeros(12)])
    forces = {"spring": lambda q, p: -q, "pendulum": lambda q, p: -np.sin(q)}
    truths = {"spring": "p**2/2 + q**2/2", "pendulum": "p**2/2 + 1 - cos(q)"}
    rows = []
    for name, force in forces.items():
        trajectories = motion(force, starts, 6.0)
        H, ratios = invariant(trajectories)
        print(
            f"{name}: share of H's variance along trajectories",
            *(f"{abs(r):.0e}" for r in ratios[:3]),
        )
        X = pd.DataFrame(np.concatenate(trajectories), columns=["q", "p"])
        picked = np.random.default_rng(0).permutation(len(X))[:300]
        found, verdict = ask(X.iloc[picked], H[picked], ERROR)
        # Any multiple of H, and any constant more, is conserved too: let p^2 have the factor 1/2.
        p = next(s for s in found.free_symbols if s.name == "p")
        energy = sympy.expand(found / found.diff(p, 2))
        energy = sympy.expand(energy - energy.subs(dict.fromkeys(energy.free_symbols, 0)))
        rows.append((f"what a {name} conserves", short(energy), verdict, truths[name]))
    return rows


# -- which Lagrangian -------------------------------------------------------------------------


def lagrangians(figures: Path) -> list[tuple[str, ...]]:
    """L = T(v) - U(q) from positions, velocities and accelerations a.

    Lagrange's equation T''(v) a + U'(q) = 0 is linear in splines for T'' and U'; the smallest
    singular vector solves it, up to one common factor, which T''(0) = 1 fixes. The integral of T''
    is the momentum.
    """
    cases = {
        "pendulum": (lambda q, v: -np.sin(q), ("v", "sin(q)")),
        "fast particle": (lambda q, v: (1 - v**2) ** 1.5, ("v/sqrt(1 - v**2)", "-1")),
    }
    fig, axes = plt.subplots(2, 2, figsize=(8, 5), layout="constrained")
    rows = []
    for (name, (acceleration, truth)), panels in zip(cases.items(), axes, strict=True):
        starts = np.random.default_rng(0).uniform((-2, -0.7), (2, 0.4), (20, 2))
        q, v = np.concatenate(motion(acceleration, starts, 1.0)).T
        splines = [SplineTransformer(n_knots=14, degree=5).fit(x[:, None]) for x in (v, q)]
        of_v, of_q = (s.transform(x[:, None]) for s, x in zip(splines, (v, q), strict=True))
        equation = np.column_stack([acceleration(q, v)[:, None] * of_v, of_q])
        of_T, of_U = np.split(np.linalg.svd(equation, full_matrices=False)[2][-1], [of_v.shape[1]])
        inertia = BSpline(splines[0].bsplines_[0].t, of_T, 5)
        momentum = inertia.antiderivative()
        parts = (
            ("v", "T'", v, (momentum(v) - momentum(0)) / inertia(0)),
            ("q", "U'", q, of_q @ of_U / inertia(0)),
        )
        picked = np.random.default_rng(0).permutation(len(q))[:200]
        for ax, (variable, part, x, y), wanted in zip(panels, parts, truth, strict=True):
            found, verdict = ask(pd.DataFrame({variable: x[picked]}), y[picked], ERROR)
            rows.append((f"{part} of a {name}", short(found), verdict, wanted))
            ax.plot(x, y, ".", color="black", ms=2)
            ax.set(xlabel=f"${variable}$", ylabel=f"${part}({variable})$", title=name)
            ax.set_ylim(-1.6, 1.6)
    fig.savefig(figures / "physics_lagrangians.png", dpi=150)
    return rows


if __name__ == "__main__":
    main()
