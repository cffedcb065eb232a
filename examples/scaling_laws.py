"""How fast the error falls as a network grows: splines on finer and finer grids, beside MLPs.

After Liu et al. 2024, arXiv:2404.19756, sec. 3.1. Theory (their theorem 2.1, splines of degree 3)
has the RMSE fall with the fourth power of the number of intervals, hence of parameters, in any
dimension. And what stops it: more parameters than rows, and how a grid is chosen that keeps clear.
Run from anywhere: python examples/scaling_laws.py. Pictures go to figures/.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import Tensor, nn

from kansym import KAN, Dataset, create_dataset
from kansym.training import History, tournament

FIGURES = Path(__file__).resolve().parent.parent / "figures"
BLUE, GREEN, VERMILION, GREY = "#0072B2", "#009E73", "#D55E00", "0.5"

THEORY = -4  # of splines of degree 3, in any dimension
LEARNED = 0.1  # of the spread of y: a slope is taken of errors below
SMOOTH = 1e-17  # of errors of 1e-7, the default of 1e-14 can be felt
MLP_WIDTHS = (4, 8, 16, 32)  # of two hidden layers each
MLP_ITERATIONS = 1000  # of LBFGS

FEW_ROWS = 200
FIXED_GRIDS = (1, 2, 3, 5, 8, 12, 20, 30, 40)


@dataclass(frozen=True)
class Law:
    """A function on [-1, 1]^n_var, and the networks that follow it on finer and finer grids.

    starts: networks that begin; the best goes on. is_spline: whether a cubic spline network holds
    the function on any grid; there is no slope then.
    """

    name: str
    f: Callable[[Tensor], Tensor]
    n_var: int
    widths: tuple[list, ...]
    grids: tuple[int, ...]
    starts: int = 4
    steps: int = 40
    is_spline: bool = False

    def sample(self) -> Dataset:
        return create_dataset(self.f, self.n_var, train_num=3000, test_num=2000)


def bessel(x: Tensor) -> Tensor:
    return torch.special.bessel_j0(20 * x[:, 0])


def hello(x: Tensor) -> Tensor:
    return torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2)


def product(x: Tensor) -> Tensor:
    return x[:, 0] * x[:, 1]


def deep(x: Tensor) -> Tensor:
    radii = x[:, :2].square().sum(1), x[:, 2:].square().sum(1)
    return torch.exp(sum(torch.sin(torch.pi * radius) for radius in radii) / 2)


def wide(x: Tensor) -> Tensor:
    return torch.exp((torch.sin(torch.pi * x / 2) ** 2).mean(1))


DEEP = "exp((sin pi(a^2+b^2) + sin pi(c^2+d^2)) / 2)"
WIDE = "exp(mean of 100 sin^2(pi x/2))"
LAWS = (
    Law("J0(20 x)", bessel, 1, ([1, 1],), (5, 10, 20, 50, 100, 200), starts=1),
    Law("exp(sin(pi x) + y^2)", hello, 2, ([2, 1, 1],), (3, 5, 10, 20, 50, 100)),
    Law("x y", product, 2, ([2, 2, 1], [2, [0, 1]]), (3, 5, 10, 20, 50), is_spline=True),
    Law(DEEP, deep, 4, ([4, 4, 2, 1],), (3, 5, 10, 20), starts=8),
    Law(WIDE, wide, 100, ([100, 1, 1],), (2, 3, 5, 10), starts=1, steps=10),
)


def rmse(prediction: Tensor, y: Tensor) -> float:
    return float((prediction - y).square().mean().sqrt())


def kan_curve(law: Law, width: list) -> pd.DataFrame:
    """Test RMSE on every grid, each network refined from the one before."""
    data = law.sample()
    begun = time.process_time()

    def fit(network: KAN, steps: int) -> History:
        rows = data.X, data.y  # the test part takes no part in the fit
        return network.fit(rows, opt="LM", steps=steps, smooth=SMOOTH, progress=False)

    # Uniform grids, as in theory: quantiles leave wide intervals where rows are few.
    starts = [KAN(width, grid=law.grids[0], grid_eps=1, seed=n) for n in range(law.starts)]
    model, found = tournament(starts, fit, 10, 20), []
    for grid in law.grids:
        model = model.refine(grid)
        fit(model, law.steps)
        with torch.no_grad():
            error = rmse(model(data.X_test), data.y_test)
        found.append((model.n_parameters, error, time.process_time() - begun))
    return pd.DataFrame(found, columns=["parameters", "RMSE", "seconds"])


def perceptron(n_var: int, width: int) -> nn.Sequential:
    with torch.random.fork_rng():  # nn.Linear draws from the global state, which stays as it was
        torch.manual_seed(0)
        hidden = [nn.Linear(n_var, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()]
        return nn.Sequential(*hidden, nn.Linear(width, 1)).double()


def mlp_curve(law: Law) -> pd.DataFrame:
    """Test RMSE of multilayer perceptrons of two hidden layers, by LBFGS in float64."""
    data, found = law.sample(), []
    shift, scale = data.y.mean(), data.y.std()
    begun = time.process_time()
    for width in MLP_WIDTHS:
        model = perceptron(law.n_var, width)
        solver = torch.optim.LBFGS(
            model.parameters(), max_iter=MLP_ITERATIONS, history_size=50,
            tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def loss(model: nn.Sequential = model, solver: torch.optim.Optimizer = solver) -> Tensor:
            solver.zero_grad()
            value = (model(data.X) - (data.y - shift) / scale).square().mean()
            value.backward()
            return value

        solver.step(loss)
        with torch.no_grad():
            error = rmse(model(data.X_test) * scale + shift, data.y_test)
        count = sum(parameter.numel() for parameter in model.parameters())
        found.append((count, error, time.process_time() - begun))
    return pd.DataFrame(found, columns=["parameters", "RMSE", "seconds"])


def slope(curve: pd.DataFrame, spread: float) -> float:
    """d log RMSE / d log parameters, of what has learned something, up to the best; NaN of less
    than three networks."""
    shown = curve[: curve["RMSE"].idxmin() + 1]
    shown = shown[shown["RMSE"] < LEARNED * spread]
    if len(shown) < 3:
        return np.nan
    return np.polyfit(np.log(shown["parameters"]), np.log(shown["RMSE"]), 1)[0]


@dataclass(frozen=True)
class Curves:
    """What came of a law: a curve for every width, and that of the perceptrons."""

    law: Law
    kan: tuple[pd.DataFrame, ...]
    mlp: pd.DataFrame

    def lines(self) -> list[dict[str, Any]]:
        spread = float(self.law.sample().y.std())
        return [
            {
                "function": self.law.name,
                "shape": str(width),
                "RMSE": curve["RMSE"].min(),
                "parameters": curve["parameters"][curve["RMSE"].idxmin()],
                "slope": np.nan if self.law.is_spline else slope(curve, spread),
                "theory": np.nan if self.law.is_spline else THEORY,
                "MLP RMSE": self.mlp["RMSE"].min(),
                "MLP parameters": self.mlp["parameters"][self.mlp["RMSE"].idxmin()],
                "MLP slope": slope(self.mlp, spread),
                "MLP / our CPU time": self.mlp["seconds"].max() / curve["seconds"].max(),
            }
            for width, curve in zip(self.law.widths, self.kan, strict=True)
        ]


def curves(law: Law) -> Curves:
    return Curves(law, tuple(kan_curve(law, width) for width in law.widths), mlp_curve(law))


def draw_laws(found: Sequence[Curves]) -> Figure:
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    *panels, key = figure.subplots(2, 3).flat
    for ax, one in zip(panels, found, strict=True):
        for curve, color in zip(one.kan, (BLUE, GREEN), strict=False):
            ax.loglog(curve["parameters"], curve["RMSE"], "o-", color=color)
        if not one.law.is_spline:
            last = one.kan[0].iloc[one.kan[0]["RMSE"].idxmin()]
            x = np.geomspace(last["parameters"] / 6, last["parameters"])
            y = last["RMSE"] * (x / last["parameters"]) ** THEORY
            ax.loglog(x, y, "--", color=GREY, zorder=1)
        ax.loglog(one.mlp["parameters"], one.mlp["RMSE"], "s:", color=VERMILION)
        shapes = " and ".join(map(str, one.law.widths))
        ax.set_title(f"{one.law.name}\n{shapes}", fontsize=9)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(color="0.93")
    key.axis("off")
    key.plot([], [], "o-", color=BLUE, label="KAN, finer and finer grids")
    key.plot([], [], "o-", color=GREEN, label="KAN with a product node")
    key.plot([], [], "s:", color=VERMILION, label="MLP, wider and wider")
    key.plot([], [], "--", color=GREY, label="slope -4")
    key.legend(loc="center", frameon=False)
    figure.supxlabel("parameters")
    figure.supylabel("RMSE on test rows")
    return figure


def overfitting() -> tuple[pd.DataFrame, pd.Series]:
    """[2, 5, 1] on 200 rows: grids that are fixed from the start, and the grid that fit chooses."""
    data = create_dataset(hello, n_var=2, train_num=FEW_ROWS, test_num=2000)
    few = data.X, data.y

    def measured(grid: int, **options: Any) -> dict[str, float]:
        model = KAN([2, 5, 1], grid=grid, seed=0)
        model.fit(few, opt="LM", progress=False, **options)
        with torch.no_grad():
            train, test = rmse(model(data.X), data.y), rmse(model(data.X_test), data.y_test)
        return {"grid": model.grid, "parameters": model.n_parameters, "train": train, "test": test}

    fixed = pd.DataFrame([measured(grid) for grid in FIXED_GRIDS])
    return fixed, pd.Series(measured(1, grids="auto"))


def draw_overfitting(fixed: pd.DataFrame, chosen: pd.Series) -> Figure:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    ax = figure.subplots()
    ax.loglog(fixed["parameters"], fixed["test"], "s-", color=VERMILION, label="test, fixed grid")
    ax.loglog(fixed["parameters"], fixed["train"], "o--", color=BLUE, label="train, fixed grid")
    ax.loglog(
        chosen["parameters"], chosen["test"], "*", ms=15, color=GREEN, label='test, grids="auto"'
    )
    ax.axvline(FEW_ROWS, color=GREY, ls=":")
    ax.text(FEW_ROWS * 1.03, ax.get_ylim()[0] * 1.5, "as many parameters as rows", color=GREY)
    ax.set_xlabel("parameters")
    ax.set_ylabel("RMSE")
    ax.legend(frameon=False)
    ax.grid(color="0.93")
    return figure


def main(figures: Path = FIGURES) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    found = [curves(law) for law in LAWS]
    table = pd.DataFrame([line for one in found for line in one.lines()])
    print(table.to_string(index=False, float_format="{:.2g}".format, na_rep="-"))
    draw_laws(found).savefig(figures / "scaling_laws.png", dpi=150)

    fixed, chosen = overfitting()
    print(f"\n[2, 5, 1] on {FEW_ROWS} rows, fixed grids:")
    print(fixed.to_string(index=False, float_format="{:.1e}".format))
    print(f'\ngrids="auto": grid {chosen["grid"]:.0f}, test RMSE {chosen["test"]:.1e}')
    draw_overfitting(fixed, chosen).savefig(figures / "scaling_laws_overfitting.png", dpi=150)
    return table, fixed, chosen


if __name__ == "__main__":
    main()
