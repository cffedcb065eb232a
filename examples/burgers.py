"""Burgers' equation, u_t + u u_x = nu u_xx on [-1, 1] with u(x, 0) = -sin(pi x), by networks.

The wave steepens at x = 0, and viscosity nu stops it. The exact solution is the transform of Cole
(1951, doi:10.1090/qam/42889) and Hopf (1950, doi:10.1002/cpa.3160030302), taken by Gauss-Hermite
quadrature. Run from anywhere: python examples/burgers.py. The picture goes to figures/.
"""

import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import pi

from kansym import KAN, Equation
from kansym.jacobian import FreeParameters

FIGURES = Path(__file__).resolve().parent.parent / "figures"
STAGES = [(0.1 / pi, (5, 10, 20)), (0.03 / pi, (20,)), (0.01 / pi, (20, 40))]


def exact(points: torch.Tensor, nu: float) -> torch.Tensor:
    """u by Cole and Hopf: a mean of -sin(pi y) over y = x - 2 sqrt(nu t) z, z normal."""
    x, t = points.numpy().T
    z, share = np.polynomial.hermite.hermgauss(200)
    y = x[:, None] - 2 * np.sqrt(nu * t)[:, None] * z
    exponent = -np.cos(np.pi * y) / (2 * np.pi * nu)
    weight = share * np.exp(exponent - exponent.max(1, keepdims=True))
    return torch.tensor(-(np.sin(np.pi * y) * weight).sum(1) / weight.sum(1))


def problem(nu: float, n: int) -> list[Equation]:
    """The equation at n points, closer together near x = 0 and t = 0, and on the borders too: there
    nothing else would keep the solution from jumping."""

    def burgers(u):
        return u.d("t") + u.value * u.d("x") - nu * u.d("x", "x")

    generator = torch.Generator().manual_seed(1)
    x, t = torch.rand(n, 2, generator=generator, dtype=torch.float64).T
    x = 2 * x - 1
    x[: n // 2] = x[: n // 2] ** 3  # odd: the sign stays
    inside = torch.stack([x, t**1.5], 1)
    line = torch.linspace(-1, 1, 201, dtype=torch.float64)
    line = torch.cat([line, line**3])
    start = torch.stack([line, torch.zeros_like(line)], 1)
    times = torch.linspace(0, 1, 40, dtype=torch.float64)
    walls = torch.cat([torch.stack([torch.full_like(times, at), times], 1) for at in (-1, 1)])
    return [
        Equation(burgers, torch.cat([inside, start, walls])),
        Equation(-torch.sin(pi * start[:, 0]), start, weight=10),
        Equation(0.0, walls, weight=10),
    ]


def lattice() -> torch.Tensor:
    """Where errors are measured: 201 x 101 points, which no network was trained on."""
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    return torch.cartesian_prod(x, torch.linspace(0, 1, 101, dtype=torch.float64))


def judged(model: KAN, nu: float, seconds: float) -> dict[str, object]:
    points = lattice()
    truth = exact(points, nu)
    error = model.field(points).value - truth
    relative, largest = error.norm() / truth.norm(), error.abs().max()
    count = FreeParameters(model).count
    method = f"KAN [2, [2, 2], 1], grid {model.grid}"
    return row(nu, method, count, f"{relative:.1e}", f"{largest:.1e}", f"{seconds:.0f}")


def row(nu, method, parameters, relative, largest="", seconds="") -> dict[str, object]:
    columns = ("nu", "method", "parameters", "relative L2", "largest", "processor s")
    values = (f"{nu * pi:g}/pi", method, parameters, relative, largest, seconds)
    return dict(zip(columns, values, strict=True))


def main(figures: Path = FIGURES) -> None:
    """From a smooth problem to the steep one: each solution is the start of the next."""
    model = KAN([2, [2, 2], 1], k=5, seed=0)
    rows, start = [], time.process_time()
    for nu, grids in STAGES:
        model.solve(problem(nu, 1000), 25, names=("x", "t"), grids=grids, progress=False)
        rows.append(judged(model, nu, time.process_time() - start))
    published = row(0.01 / pi, "network of 9 x 20 (Raissi et al. 2017)", 3021, "6.7e-04")
    print(pd.DataFrame([*rows, published]).to_string(index=False))
    draw(model, STAGES[-1][0]).savefig(figures / "burgers.png", dpi=150)


def draw(model: KAN, nu: float):
    points = lattice()
    found, truth = model.field(points).value, exact(points, nu)
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for ax, values, title, colours in (
        (axes[0], found, "solution", "RdBu_r"),
        (axes[1], (found - truth).abs(), "absolute error", "viridis"),
    ):
        image = values.reshape(201, 101)
        drawn = ax.imshow(image, origin="lower", extent=(0, 1, -1, 1), aspect="auto", cmap=colours)
        figure.colorbar(drawn, ax=ax)
        ax.set(xlabel="t", ylabel="x", title=title)
    for at in (0, 25, 50, 100):
        x = points[:, 0].reshape(201, 101)[:, at]
        line = axes[2].plot(x, found.reshape(201, 101)[:, at], label=f"t = {at / 100:g}")[0]
        every = slice(None, None, 10)
        shown = truth.reshape(201, 101)[every, at]
        axes[2].plot(x[every], shown, ".", color=line.get_color())
    axes[2].set(xlabel="x", ylabel="u", title="network (lines) and exact (dots)")
    axes[2].legend(fontsize="small")
    return figure


if __name__ == "__main__":
    main()
