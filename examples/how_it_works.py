"""The pictures of docs/explanation: what happens inside, drawn from the library at work.

Run from anywhere: python examples/how_it_works.py. Pictures go to figures/how_*.png.
"""

import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kansym import KAN, Dataset, KANRegressor, create_dataset
from kansym.discovery.surrogate import Surface
from kansym.edge import features

FIGURES = Path(__file__).resolve().parent.parent / "figures"
BLUE, SKY, VERMILION, GREEN, GREY = "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#6e6e6e"


def main(figures: Path = FIGURES) -> None:
    law = create_dataset(lambda x: torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2), n_var=2)
    pictures = {
        "edge": edge(),
        "penalty": penalty(law),
        "training": training(law),
        "merging": merging(law),
        "naming": naming(law),
        "slopes": slopes(),
        "verdicts": verdicts(),
    }
    for name, figure in pictures.items():
        figure.savefig(figures / f"how_{name}.png", dpi=120)
        plt.close(figure)


def panels(n: int, height: float = 3.2, width: float = 8.0) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(1, n, figsize=(width, height), layout="constrained", squeeze=False)
    for ax in axes[0]:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[0])


def edge() -> Figure:
    """An edge is a base function and a spline; beyond the grid a rule holds."""
    x = torch.linspace(-1, 1, 400, dtype=torch.float64)[:, None]
    layer = KAN([1, 1], grid=5).kan_layers[0]
    inside = features(x, layer.shape)[0]  # [features, batch], the base function last
    rest = torch.sin(2.5 * x) + 0.4 * x**2 - 0.8 * inside[-1:].T
    coef = torch.linalg.lstsq(inside[:-1].T, rest, driver="gelsd").solution
    weights = torch.cat([coef, coef.new_full((1, 1), 0.8)])

    def parts(points: torch.Tensor, outside: str) -> np.ndarray:
        shape = layer.shape._replace(outside=outside)
        return (weights * features(points, shape)[0]).numpy()

    figure, (left, right) = panels(2)
    values = parts(x, "linear")
    for part in values[:-1]:
        left.plot(x, part, color=SKY, lw=1)
    left.plot(x, values[-1], color=VERMILION, ls="--", label="base, $w_b\\,$silu(x)")
    left.plot([], [], color=SKY, lw=1, label="$c_m B_m(x)$")
    left.plot(x, values.sum(0), color=BLUE, lw=2.5, label="their sum, the edge")
    breaks = layer.knots[0, layer.k : -layer.k].numpy()
    left.plot(breaks, np.full(len(breaks), left.get_ylim()[0]), "k|", ms=12, label="grid")
    left.legend(frameon=False, fontsize=8)
    left.set_title("inside the grid", fontsize=10)

    far = torch.linspace(-2.2, 2.2, 600, dtype=torch.float64)[:, None]
    right.axvspan(-1, 1, color="#eeeeee")
    for rule, color, style in (
        ("linear", BLUE, "-"),
        ("clamp", GREEN, "--"),
        ("reflect", VERMILION, ":"),
        ("zero", GREY, "-."),
    ):
        right.plot(far, parts(far, rule).sum(0), style, color=color, label=rule)
    right.legend(frameon=False, fontsize=8)
    right.set_title("beyond it: rules", fontsize=10)
    for ax in (left, right):
        ax.set_xlabel("x")
    return figure


def penalty(law: Dataset) -> Figure:
    """How much each of fifteen edges matters while training, without the penalty and with it."""
    figure, axes = panels(2)
    for ax, lamb in zip(axes, (0.0, 1e-3), strict=True):
        shares: list[list[float]] = []

        def record(model: KAN, _: object, shares: list[list[float]] = shares) -> None:
            scores = model.edge_scores("attribution", law.X)
            shares.append([float(s) for layer in scores for s in layer.flatten()])

        model = KAN([2, 5, 1], seed=0)
        model.fit(law, lamb=lamb, steps=40, callbacks=[record], progress=False)
        ax.plot(np.maximum(shares, 1e-4), color=BLUE, lw=1)
        ax.axhline(1e-2, color=VERMILION, ls="--", lw=1)
        ax.set(yscale="log", xlabel="step", ylim=(0.8e-4, 3), title=f"lamb = {lamb:g}")
    axes[0].set_ylabel("share of y's variation through the edge")
    axes[0].text(0, 6e-3, "below: pruned", color=VERMILION, fontsize=8)
    return figure


def training(law: Dataset) -> Figure:
    """Loss over processor time of three solvers from the same start, no penalty."""
    figure, (ax,) = panels(1, width=6.0)
    for opt, steps, color, style in (
        ("LM", 40, BLUE, "-"),
        ("LBFGS", 60, VERMILION, "--"),
        ("Adam", 1500, GREEN, ":"),
    ):
        seconds, losses = [], []
        began = time.process_time()

        def record(_: KAN, step, seconds=seconds, losses=losses, began=began) -> None:
            seconds.append(time.process_time() - began)
            losses.append(step.train_loss)

        KAN([2, 5, 1], seed=0).fit(law, opt=opt, steps=steps, callbacks=[record], progress=False)
        ax.plot(seconds, np.sqrt(losses), style, color=color, label=f"{opt}, {steps} steps")
    ax.set(xscale="log", yscale="log", xlabel="processor seconds", ylabel="training RMSE")
    ax.legend(frameon=False)
    return figure


def merging(law: Dataset) -> Figure:
    """Two hidden nodes that carry the same sum, and the network before and after."""
    model = KAN([2, 5, 1], seed=7)
    model.fit(law, lamb=1e-2, lamb_entropy=0.0, steps=40, progress=False)  # L1 alone leaves copies
    pruned = model.prune()
    merged = pruned.merge()
    figure, (before, nodes, after) = panels(3, width=9.0)
    pruned.plot(ax=before)
    before.set_title("pruned", fontsize=10)
    h = pruned.trace(law.X).nodes[1].detach().numpy()
    nodes.plot(h[:, 0], h[:, 1], ".", color=BLUE, ms=2)
    nodes.set(xlabel="first hidden node", ylabel="second hidden node")
    nodes.set_title(f"correlation {np.corrcoef(h.T)[0, 1]:.4f}", fontsize=10)
    merged.fit(law, progress=False)
    merged.plot(ax=after)
    after.set_title("merged and trained again", fontsize=10)
    return figure


def naming(law: Dataset) -> Figure:
    """One edge: how well c sin(a x + b) + d can describe it, over a and b."""
    model = KAN([2, 5, 1], seed=0)
    model.fit(law, lamb=1e-3, progress=False)
    model = model.prune().merge()
    model.fit(law, grids=(5, 10), progress=False)
    trace = model.trace(law.X)
    x, y = trace.nodes[0][:, 0].numpy(), trace.edges[0][:, 0, 0].detach().numpy()
    order = np.argsort(x)[::4]
    x, y = x[order], y[order]

    def r2(u: np.ndarray) -> float:
        """Of the best c u + d: a straight line, since only a and b are searched."""
        return 0.0 if np.std(u) < 1e-9 else float(np.corrcoef(u, y)[0, 1] ** 2)

    a, b = np.linspace(0.2, 8, 160), np.linspace(-np.pi, np.pi, 120)
    values = np.array([[r2(np.sin(s * x + t)) for s in a] for t in b])
    figure, (left, right) = panels(2)
    image = left.pcolormesh(a, b, values, cmap="cividis", vmin=0, vmax=1, rasterized=True)
    figure.colorbar(image, ax=left, label="$R^2$ of the best c and d")
    left.plot(np.pi, 0, "o", mfc="none", mec="red", ms=12, mew=2)
    left.set(xlabel="a", ylabel="b")
    left.set_title("c sin(a x + b) + d", fontsize=10)
    table = model.suggest_symbolic(0, 0, 0, topk=12).head(12)
    right.barh(table["name"][::-1], np.maximum(-np.log10(1 - table["R2"][::-1] + 1e-12), 0))
    right.set(xlabel="$-\\log_{10}(1 - R^2)$")
    right.set_title("all functions, best score on top", fontsize=10)
    return figure


def slopes() -> Figure:
    """A law of x1 - x2: the slopes of a surface through its rows say so."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 3, (300, 2))
    symmetric = np.sin(2 * (X[:, 0] - X[:, 1])) + rng.normal(0, 0.02, 300)
    other = np.sin(2 * X[:, 0]) * X[:, 1] + rng.normal(0, 0.02, 300)
    figure, axes = panels(2)
    titles = ("y = sin 2($x_1 - x_2$): on a line", "y = $x_2$ sin 2$x_1$: on none")
    for ax, y, title in zip(axes, (symmetric, other), titles, strict=True):
        first = Surface(X, y).slopes()
        ax.plot(first[:, 0], first[:, 1], ".", color=BLUE, ms=3)
        ax.set(xlabel="slope in $x_1$", ylabel="slope in $x_2$")
        ax.set_title(title, fontsize=10)
    return figure


def verdicts() -> Figure:
    """What four formulas leave, and what is said of them."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 4, 200)
    noise = rng.normal(size=200)
    few = rng.uniform(2, 3, 40)
    cases = [
        ("$x^2 \\sin x$", x, x**2 * np.sin(x), None),
        ("$x^2 \\sin x$, 1 % noise", x, x**2 * np.sin(x) + 0.05 * noise, None),
        ("$\\sqrt{x}$, few rows, 2 % noise", few, np.sqrt(few) + 0.03 * noise[:40], None),
        ("x + sin(4x)/3, powers alone", x, x + np.sin(4 * x) / 3, ["x", "x^2", "x^3"]),
    ]
    figure, axes = plt.subplots(2, 2, figsize=(8, 5), layout="constrained")
    for ax, (law, X, y, functions) in zip(axes.flat, cases, strict=True):
        est = KANRegressor(max_time=10, functions=functions or "default", progress=False)
        est.fit(pd.DataFrame({"x": X}), y)
        left = y - est.predict(pd.DataFrame({"x": X}))
        ax.plot(X, left, ".", color=BLUE, ms=3)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_title(f"{law}: {est.verdict_}", fontsize=10)
        ax.set(xlabel="x", ylabel="residual")
        print(f"{law}: {est.verdict_}: {est.formula_}: {est.reason_}")
    return figure


if __name__ == "__main__":
    main()
