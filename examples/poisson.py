"""A Poisson equation, u_xx + u_yy = f on [-1, 1]^2 with u = 0 at the edges, solved by networks.

f is chosen so that u = sin(pi x) sin(pi y^2), the problem of Liu et al. 2024, arXiv:2404.19756,
sec. 3.4. Run from anywhere: python examples/poisson.py. The picture goes to figures/.
"""

import time
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import sympy
import torch
from matplotlib.colors import LogNorm
from torch import pi

from kansym import KAN, Equation, Formula
from kansym.jacobian import FreeParameters

FIGURES = Path(__file__).resolve().parent.parent / "figures"
PAPER = "Liu et al. 2024, sec. 3.4"


def exact(points):
    x, y = points.T
    return torch.sin(pi * x) * torch.sin(pi * y**2)


def exact_slopes(points):
    x, y = points.T
    by_x = pi * torch.cos(pi * x) * torch.sin(pi * y**2)
    by_y = 2 * pi * y * torch.sin(pi * x) * torch.cos(pi * y**2)
    return torch.stack([by_x, by_y], 1)


def poisson(u):
    x, y = u.points.T
    f = -(pi**2) * (1 + 4 * y**2) * torch.sin(pi * x) * torch.sin(pi * y**2)
    f = f + 2 * pi * torch.sin(pi * x) * torch.cos(pi * y**2)
    return u.d("x", "x") + u.d("y", "y") - f


def problem(n: int = 800) -> list[Equation]:
    """The equation at n random points and at the edges, where u is zero."""
    generator = torch.Generator().manual_seed(1)
    inside = 2 * torch.rand(n, 2, generator=generator, dtype=torch.float64) - 1
    t = torch.linspace(-1, 1, 40, dtype=torch.float64)
    one = torch.ones_like(t)
    sides = [(t, -one), (t, one), (-one, t), (one, t)]
    edges = torch.cat([torch.stack(side, 1) for side in sides])
    return [Equation(poisson, torch.cat([inside, edges])), Equation(0.0, edges, weight=100)]


def lattice() -> torch.Tensor:
    """Where errors are measured: 201 x 201 points, which no network was trained on."""
    t = torch.linspace(-1, 1, 201, dtype=torch.float64)
    return torch.cartesian_prod(t, t)


def judged(method: str, model: KAN, seconds: float) -> dict[str, object]:
    points = lattice()
    u = model.field(points)
    l2 = float(((u.value - exact(points)) ** 2).mean())
    h1 = l2 + float(((u.first - exact_slopes(points)) ** 2).sum(1).mean())
    count = FreeParameters(model).count
    return row(method, f"{count}", f"{l2:.1e}", f"{h1:.1e}", f"{seconds:.0f}")


def row(
    method: str, parameters: str, l2: str, h1: str = "", seconds: str = ""
) -> dict[str, object]:
    columns = ("method", "parameters", "squared L2 error", "squared H1 error", "processor s")
    return dict(zip(columns, (method, parameters, l2, h1, seconds), strict=True))


def seconds_to_solve(model: KAN, equations: list[Equation], steps: int, **options) -> float:
    start = time.process_time()
    model.solve(equations, steps, progress=False, **options)
    return time.process_time() - start


def wide() -> dict[str, object]:
    """The shape of the paper, [2, 10, 1]."""
    model = KAN([2, 10, 1], k=5)
    seconds = seconds_to_solve(model, problem(), 25, names=("x", "y"), grids=(3, 6, 12))
    return judged(f"[2, 10, 1], grid {model.grid}", model, seconds)


def product(grids=(10, 20, 40, 80)) -> tuple[KAN, list[dict[str, object]]]:
    """A product of two factors: a sparse start says which edges they need, then grids get finer."""
    model, equations = KAN([2, [0, 1]], grid=10, k=5, seed=0), problem()
    seconds = seconds_to_solve(model, equations, 30, names=("x", "y"), lamb=10.0)
    model, rows = model.prune(edge_th=0.05), []
    for grid in grids:
        model = model.refine(grid)
        seconds += seconds_to_solve(model, equations, 12)
        rows.append(judged(f"[2, [0, 1]] pruned, grid {grid}", model, seconds))
    return model, rows


def by_formula() -> tuple[Formula, dict[str, object]]:
    """A formula with two guessed constants; the equation settles them."""
    x, y = sympy.symbols("x y")
    guess = Formula((sympy.sin(3 * x) * sympy.sin(3 * y**2),), (x, y), ("x", "y"))
    model = KAN.from_formula(guess, k=5)
    seconds = seconds_to_solve(model, problem(300), 30)
    return model.symbolic_formula(snap=True), judged("sin(b x) sin(c y^2), named", model, seconds)


def main(figures: Path = FIGURES) -> None:
    model, products = product()
    formula, named = by_formula()
    published = [
        row("MLP, 4 layers of 100, LBFGS (paper)", "10^4", "1e-05"),
        row("KAN [2, 10, 1], LBFGS (paper)", "10^2", "1e-07"),
    ]
    table = pd.DataFrame([*published, wide(), *products, named])
    print(table.to_string(index=False))
    print(f"\npaper: {PAPER}; its errors are orders of magnitude")
    for i, j in torch.nonzero(model.kan_layers[0].mask.T).tolist():
        best = model.suggest_symbolic(0, i, j, topk=1)
        print(f"the edge of {'xy'[i]}: {best.name[0]}, R2 = {best.R2[0]:.9f}")
    print(formula)
    draw(model, products).savefig(figures / "poisson.png", dpi=150)


def draw(model: KAN, products: list[dict[str, object]]):
    points = lattice()
    found = model.field(points).value
    error = (found - exact(points)).abs().clamp(min=1e-10)
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for ax, values, title, options in (
        (axes[0], found, "solution", {"cmap": "RdBu_r"}),
        (axes[1], error, "absolute error", {"cmap": "viridis", "norm": LogNorm()}),
    ):
        image = values.reshape(201, 201).T
        drawn = ax.imshow(image, origin="lower", extent=(-1, 1, -1, 1), **options)
        figure.colorbar(drawn, ax=ax)
        ax.set(xlabel="x", ylabel="y", title=title)
    table = pd.DataFrame(products).drop(columns="method").astype(float)
    for column, marker in (("squared L2 error", "o"), ("squared H1 error", "s")):
        axes[2].loglog(table.parameters, table[column], marker=marker, label=column)
    axes[2].loglog([100], [1e-7], "k*", markersize=10, linestyle="none", label="paper, squared L2")
    axes[2].set(xlabel="parameters", title="error and parameters")
    counts = table.parameters.astype(int)
    axes[2].set_xticks(counts, counts)
    axes[2].tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes[2].legend(fontsize="small", loc="lower left")
    return figure


if __name__ == "__main__":
    main()
