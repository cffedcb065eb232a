"""A gallery: every picture kansym draws, and how to get it.

Run from anywhere: python examples/pictures.py. Pictures go to figures/; its README.md shows them.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from kansym import KAN, KANRegressor, create_dataset
from kansym.views import Recorder, plot_history

FIGURES = Path(__file__).resolve().parent.parent / "figures"


def main(figures: Path = FIGURES, max_time: float = 20.0) -> None:
    network(figures)
    search(figures, max_time)


def network(figures: Path) -> None:
    """Training, edges and features of a network."""
    data = create_dataset(
        lambda x: torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2), n_var=2
    )
    model = KAN([2, 5, 1], grid=5, seed=0)
    recorder = Recorder(every=2, most_frames=40)
    first = model.fit(data, lamb=1e-3, callbacks=[recorder], progress=False)
    recorder.save(figures / "gallery_training.gif", fps=8)
    model = model.prune().merge()
    second = model.fit(data, grids=(5, 10), progress=False)
    save(plot_history([first, second]), figures / "gallery_history.png")

    save(model.plot_edge(0, 0, 0), figures / "gallery_edge.png")
    model.auto_symbolic()
    save(model.plot_edge(0, 1, 0), figures / "gallery_edge_named.png")
    save(model.plot_features(), figures / "gallery_features.png")
    save(model.plot_fit(), figures / "gallery_fit_network.png")
    formula = model.symbolic_formula(snap=True)
    save(model.plot(formula=formula), figures / "gallery_network.png")
    print(formula)


def search(figures: Path, max_time: float) -> None:
    """What a search found, in a table with a little noise."""
    rng = np.random.default_rng(0)
    columns = ["m [kg]", "v [m/s]", "θ", "h_0"]
    X = pd.DataFrame(rng.uniform(1, 3, (400, 4)), columns=columns)
    energy = X["m [kg]"] * (X["v [m/s]"] ** 2 / 2 + 9.81 * X["h_0"])
    y = (energy + rng.normal(0, 0.5, len(X))).rename("E [J]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = KANRegressor(max_time=max_time, random_state=0, progress=False).fit(X, y)
    print(f"{est.formula_}\n{est.verdict_}: {est.reason_}")
    save(est.plot_pareto(), figures / "gallery_pareto.png")
    save(est.plot_features(), figures / "gallery_importances.png")
    save(est.plot_fit(X, y), figures / "gallery_fit.png")


def save(ax: Axes, path: Path) -> None:
    ax.figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
