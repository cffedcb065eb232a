"""Fifteen of SciPy's special functions of two variables, on networks of at most eight edges.

After Liu et al. 2024, arXiv:2404.19756, sec. 3.2: how well does a small network of splines follow a
function that no short formula describes? Every function goes the same way: four shapes, six
starts each, chosen by rows kept aside; other rows measure the error.
Run from anywhere: python examples/special_functions.py. Pictures go to figures/.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import special

from kansym import KAN, Dataset, create_dataset
from kansym.training import History, tournament

FIGURES = Path(__file__).resolve().parent.parent / "figures"

# By rising number of edges: 3, 4, 6 and 8. [0, 1] is no sum and one product, of two factors.
SHAPES = ([2, 1, 1], [2, [0, 1]], [2, 2, 1], [2, 2, [0, 1]])
FEW_EDGES = 6
PRECISE = 1e-7  # of the spread of y: from there on more edges are not tried
STARTS = 6
FIRST_STEPS, LAST_STEPS = 20, 120
SPARSE = 1e-3  # weight of the penalty in the first round


@dataclass(frozen=True)
class Special:
    """A function of two arrays, where it is taken, and the paper's best RMSE (table 1)."""

    name: str
    f: Callable[..., Any]
    ranges: tuple[tuple[float, float], tuple[float, float]]
    paper: float

    def sample(self, train_num: int, test_num: int, seed: int) -> Dataset:
        def f(X: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(self.f(*X.numpy().T))

        return create_dataset(f, 2, self.ranges, train_num, test_num, seed=seed)


def sn(u: np.ndarray, m: np.ndarray) -> np.ndarray:
    """The first of the Jacobian elliptic functions."""
    return special.ellipj(u, m)[0]


def harmonic(m: int, n: int, azimuth: np.ndarray, polar: np.ndarray) -> np.ndarray:
    """The real part of the spherical harmonic of order m and degree n."""
    return special.sph_harm_y(n, m, polar, azimuth).real


PHI, SPHERE = (0, np.pi / 2), ((0, 2 * np.pi), (0, np.pi))
ORDER, LEGENDRE = (0, 2), (-0.9, 0.9)

# Where every function is regular: the parameter m below 1, x away from 0, from -1 and from 1.
SPECIAL = (
    Special("ellipj sn(u, m)", sn, ((0, 4), (0, 0.95)), 1.3e-4),
    Special("ellipkinc(phi, m)", special.ellipkinc, (PHI, (0, 0.95)), 1.2e-4),
    Special("ellipeinc(phi, m)", special.ellipeinc, (PHI, (0, 0.95)), 8.3e-5),
    Special("jv(v, x)", special.jv, (ORDER, (0.5, 10)), 1.6e-3),
    Special("yv(v, x)", special.yv, (ORDER, (0.5, 5)), 1.5e-5),
    Special("kv(v, x)", special.kv, (ORDER, (0.5, 5)), 2.5e-5),
    Special("iv(v, x)", special.iv, (ORDER, (0.5, 5)), 9.3e-3),
    *(
        Special(f"lpmv(m={m}, v, x)", partial(special.lpmv, m), (ORDER, LEGENDRE), paper)
        for m, paper in enumerate((5.3e-5, 6.9e-4, 2.3e-4))
    ),
    *(
        Special(f"sph_harm(m={m}, n={n})", partial(harmonic, m, n), SPHERE, paper)
        for m, n, paper in (
            (0, 1, 2.2e-7), (1, 1, 1.2e-4), (0, 2, 2.0e-7), (1, 2, 1.5e-5), (2, 2, 9.5e-5),
        )
    ),
)  # fmt: skip


def trained(width: list, data: Dataset) -> KAN:
    """The best of six starts: each round has half of the networks, on twice as fine grids.

    The first round is sparse: the factors of a product that both depend on both variables would
    grow without bounds against each other, and never come back.
    """

    def fit(network: KAN, steps: int) -> History:
        lamb = SPARSE if steps == FIRST_STEPS else 0.0
        return network.fit(data, steps=steps, grids=(steps // 10,), lamb=lamb, progress=False)

    starts = [KAN(width, grid=2, k=5, seed=seed) for seed in range(STARTS)]
    model = tournament(starts, fit, FIRST_STEPS, LAST_STEPS)
    model.fit(data, steps=40, grids=(24, 48), progress=False)
    return model


def rmse(model: KAN, X: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(X) - y).square().mean().sqrt())


def candidates(problem: Special) -> pd.DataFrame:
    """The shapes that were tried, with their error on rows kept aside and on test rows."""
    data = problem.sample(2000, 1000, seed=0)  # the test part of the fit only chooses
    test = problem.sample(2000, 0, seed=1)
    rows = []
    for width in SHAPES:
        model = trained(width, data)
        aside = rmse(model, data.X_test, data.y_test)
        rows.append((str(width), model.n_active_edges, aside, rmse(model, test.X, test.y)))
        if aside < PRECISE * float(data.y.std()):
            break
    return pd.DataFrame(rows, columns=["shape", "edges", "aside", "RMSE"])


def compared(problem: Special) -> dict[str, Any]:
    """The line of the table: the shape that did best on rows kept aside, and the best small one."""
    tried = candidates(problem).sort_values("aside")
    best, small = tried.iloc[0], tried[tried["edges"] <= FEW_EDGES].iloc[0]
    (a, b), (c, d) = problem.ranges
    return {
        "function": problem.name,
        "domain": f"[{a:.3g}, {b:.3g}] x [{c:.3g}, {d:.3g}]",
        "shape": best["shape"],
        "edges": best["edges"],
        "RMSE": best["RMSE"],
        "paper": problem.paper,
        "paper / ours": problem.paper / best["RMSE"],
        "small": small["shape"],
        "small RMSE": small["RMSE"],
    }


def draw(table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    ax = figure.subplots()
    place = np.arange(len(table))[::-1]
    ax.hlines(place, table["RMSE"], table["paper"], color="0.8", lw=1, zorder=1)
    ax.scatter(table["RMSE"], place, color="#0072B2", label="kansym, at most 8 edges")
    ax.scatter(
        table["small RMSE"], place, marker="o", facecolors="none", edgecolors="#0072B2",
        label="kansym, at most 6 edges",
    )  # fmt: skip
    ax.scatter(table["paper"], place, color="#D55E00", marker="s", label="KAN paper, table 1")
    ax.set_xscale("log")
    ax.set_yticks(place, table["function"])
    ax.set_xlabel("RMSE on test rows")
    ax.grid(axis="x", color="0.93")
    ax.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def main(figures: Path = FIGURES) -> pd.DataFrame:
    table = pd.DataFrame([compared(problem) for problem in SPECIAL])
    print(table.to_string(index=False, float_format="{:.1e}".format))
    below = (table["RMSE"] < table["paper"]).sum()
    print(f"{below} of {len(table)} below the paper's best.")
    draw(table).savefig(figures / "special_functions.png", dpi=150)

    model = trained([2, [0, 1]], SPECIAL[-1].sample(2000, 1000, seed=0)).prune()
    model.auto_symbolic()
    formula = model.symbolic_formula(snap=True)
    print(f"\n{SPECIAL[-1].name}: {formula}")
    axes = model.plot(formula=formula)
    axes.figure.savefig(figures / "special_functions_harmonic.png", dpi=150)
    return table


if __name__ == "__main__":
    main()
