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
from scipy.linalg import eigh
from sklearn.preprocessing import SplineTransformer

from kansym import KAN, KANRegressor

FIGURES = Path(__file__).resolve().parent.parent / "figures"
CANDIDATES = 100  # formulas a search may fit: the same on every machine, unlike seconds


def main(figures: Path = FIGURES) -> pd.DataFrame:
    rows = [*velocities(figures), *conserved(figures), *lagrangians(figures)]
    table = pd.DataFrame(rows, columns=["question", "found", "verdict", "truth"])
    print(table.to_string(index=False))
    return table


def ask(X: pd.DataFrame, y: np.ndarray) -> tuple[sympy.Expr, str]:
    """A formula and how far to trust it."""
    est = KANRegressor(max_time=None, max_candidates=CANDIDATES, progress=False).fit(X, y)
    return est.sympy(), str(est.verdict_)


def short(expr: sympy.Expr) -> str:
    """With four digits, and without what is below them."""
    rounded = expr.xreplace({c: sympy.Float(c, 4) for c in expr.atoms(sympy.Float)})
    return str(sympy.nsimplify(rounded, rational=False))


# -- how velocities add -----------------------------------------------------------------------


def velocities(figures: Path) -> list[tuple[str, ...]]:
    """w = (u + v) / (1 + u v), in units of the speed of light."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.uniform(-0.9, 0.9, (400, 2)), columns=["u", "v"])
    w = (X["u"] + X["v"]) / (1 + X["u"] * X["v"])
    law, verdict = ask(X, w)

    model = KAN([2, 1, 1], grid=10, seed=0)  # one hidden node: one quantity that simply adds up
    model.fit((X, w), grids=(5, 10, 20, 40), progress=False)
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
            f"{name}: share of H's variance along trajectories", *(f"{r:.1e}" for r in ratios[:3])
        )
        X = pd.DataFrame(np.concatenate(trajectories), columns=["q", "p"])
        picked = np.random.default_rng(0).permutation(len(X))[:300]
        found, verdict = ask(X.iloc[picked], H[picked])
        # Any multiple of H, and any constant more, is conserved too: let p^2 have the factor 1/2.
        p = next(s for s in found.free_symbols if s.name == "p")
        energy = sympy.expand(found / found.diff(p, 2))
        energy = sympy.expand(energy - energy.subs(dict.fromkeys(energy.free_symbols, 0)))
        rows.append((f"what a {name} conserves", short(energy), verdict, truths[name]))
    return rows


# -- which Lagrangian -------------------------------------------------------------------------


def lagrangians(figures: Path) -> list[tuple[str, ...]]:
    """L = T(v) - U(q) from positions, velocities and accelerations.

    Lagrange's equation T''(v) a + U'(q) = 0 is linear in splines for T'' and U'; the smallest
    singular vector solves it, up to one common factor, which T''(0) = 1 fixes.
    """
    cases = {
        "pendulum": (lambda q, v: -np.sin(q), "v**2/2 + cos(q)"),
        "fast particle in a field": (lambda q, v: (1 - v**2) ** 1.5, "q - sqrt(1 - v**2)"),
    }
    fig, axes = plt.subplots(2, 2, figsize=(8, 5), layout="constrained")
    rows = []
    for (name, (acceleration, truth)), panels in zip(cases.items(), axes, strict=True):
        starts = np.random.default_rng(0).uniform((-2, -0.7), (2, 0.7), (12, 2))
        q, v = np.concatenate(motion(acceleration, starts, 2.0)).T
        a = acceleration(q, v)
        splines = [SplineTransformer(n_knots=8, degree=5).fit(x[:, None]) for x in (v, q)]
        of_v, of_q = (s.transform(x[:, None]) for s, x in zip(splines, (v, q), strict=True))
        coef = np.linalg.svd(np.column_stack([a[:, None] * of_v, of_q]))[2][-1]
        scale = splines[0].transform([[0.0]])[0] @ coef[: of_v.shape[1]]
        inertia = of_v @ coef[: of_v.shape[1]] / scale
        force = of_q @ coef[of_v.shape[1] :] / scale
        picked = np.random.default_rng(0).permutation(len(q))[:200]
        T2, verdict_T = ask(pd.DataFrame({"v": v[picked]}), inertia[picked])
        U1, verdict_U = ask(pd.DataFrame({"q": q[picked]}), force[picked])
        L = integrated(T2, "v", 2) - integrated(U1, "q", 1)
        rows.append((f"L of a {name}", short(L), f"{verdict_T}, {verdict_U}", truth))
        for ax, x, y, labels in zip(
            panels, (v, q), (inertia, force), (("$v$", "$T''(v)$"), ("$q$", "$U'(q)$")), strict=True
        ):
            order = np.argsort(x)
            ax.plot(x[order], y[order], color="black")
            ax.set(xlabel=labels[0], ylabel=labels[1], title=name)
    fig.savefig(figures / "physics_lagrangians.png", dpi=150)
    return rows


def integrated(expr: sympy.Expr, name: str, times: int) -> sympy.Expr:
    """Once or twice over a variable that lies between -1 and 1, without constants."""
    plain = sympy.Symbol(name, real=True)
    expr = sympy.nsimplify(expr.subs(dict.fromkeys(expr.free_symbols, plain)), rational=True)
    for _ in range(times):
        expr = sympy.integrate(expr, plain)
        expr = sympy.simplify(expr)
    return expr


if __name__ == "__main__":
    main()
