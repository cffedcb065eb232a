"""Five peaks, one after another: what a KAN, a deeper one and an MLP still know of the first.

After Liu et al. 2024, arXiv:2404.19756, fig. 3.4. Run from anywhere:
python examples/continual_learning.py. The picture goes to figures/. Takes half a minute.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.neural_network import MLPRegressor

from kansym import KAN

FIGURES = Path(__file__).resolve().parent.parent / "figures"
CENTRES = np.linspace(-0.8, 0.8, 5)
STRETCHES = [np.linspace(c - 0.2, c + 0.2, 100)[:, None] for c in CENTRES]
WHOLE = np.linspace(-1, 1, 501)[:, None]
MLP_STEPS = 2000  # passes over each stretch


def peaks(x: np.ndarray) -> np.ndarray:
    """[n] for x [n, 1]."""
    return np.exp(-300 * (x - CENTRES) ** 2).sum(1)


@dataclass(frozen=True)
class Learner:
    learn: Callable[[np.ndarray, np.ndarray], object]
    predict: Callable[[np.ndarray], np.ndarray]


def kan(width: list[int], **options: float) -> Learner:
    """Splines alone on a grid that is known beforehand: units, grid and, with smooth=0,
    coefficients that the rows do not reach stay where they are."""
    model = KAN(width, grid=200, base="zero", grid_range=(-1, 1), seed=0)
    fixed = {"scale": "never", "update_grid": False, "progress": False, **options}
    return Learner(
        lambda X, y: model.fit((X, y), **fixed),
        lambda X: model.predict(X)[:, 0],
    )


def mlp() -> Learner:
    model = MLPRegressor(
        hidden_layer_sizes=(100, 100), activation="tanh", learning_rate_init=3e-3, random_state=0
    )

    def learn(X: np.ndarray, y: np.ndarray) -> None:
        for _ in range(MLP_STEPS):
            model.partial_fit(X, y)

    return Learner(learn, model.predict)


def learn_in_turn(learner: Learner) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """RMSE on the stretch of each peak after each phase, and the curves then."""
    errors, curves = [], []
    for X in STRETCHES:
        learner.learn(X, peaks(X))
        misses = [learner.predict(part) - peaks(part) for part in STRETCHES]
        errors.append(np.sqrt(np.mean(np.square(misses), axis=1)))
        curves.append(learner.predict(WHOLE))
    numbers = range(1, len(CENTRES) + 1)
    table = pd.DataFrame(errors, columns=[f"peak {n}" for n in numbers])
    table["all"] = np.sqrt((table**2).mean(axis=1))
    table.index = pd.Index(numbers, name="after peak")
    return table, curves


def draw(curves: dict[str, list[np.ndarray]], path: Path) -> None:
    """One row for the data and one for each learner, one column for each phase."""
    shape = (1 + len(curves), len(CENTRES))
    fig, axes = plt.subplots(
        *shape, figsize=(10, 5), sharex=True, sharey=True, layout="constrained"
    )
    for phase, X in enumerate(STRETCHES):
        axes[0, phase].set_title(f"phase {phase + 1}")
        axes[0, phase].plot(X, peaks(X), ".", color="black", markersize=2)
        axes[-1, phase].set_xlabel("x")
        for row, of_phase in enumerate(curves.values(), start=1):
            axes[row, phase].plot(WHOLE, peaks(WHOLE), color="0.75", lw=3)
            axes[row, phase].plot(WHOLE, of_phase[phase], color="C0")
    axes[0, 0].set_ylim(-0.9, 1.4)
    for row, name in enumerate(("data", *curves)):
        axes[row, 0].set_ylabel(name)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main(figures: Path = FIGURES) -> pd.DataFrame:
    learners = {
        "KAN": kan([1, 1], smooth=0),
        "KAN, smooth by default": kan([1, 1]),
        "KAN [1, 2, 1]": kan([1, 2, 1], smooth=0),
        "MLP": mlp(),
    }
    done = {name: learn_in_turn(learner) for name, learner in learners.items()}
    table = pd.concat({name: errors for name, (errors, _) in done.items()}, names=["model"])
    print(table.to_string(float_format="{:.1e}".format))
    print("Liu et al. 2024, fig. 3.4: the KAN keeps all five peaks, the MLP the last (no figures).")
    draw({name: done[name][1] for name in ("KAN", "MLP")}, figures / "continual_learning.png")
    return table


if __name__ == "__main__":
    main()
