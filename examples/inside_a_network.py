"""A KAN layer inside a network: where its inputs go in training, and what its grid does about it.

Run from anywhere: python examples/inside_a_network.py. The picture goes to figures/. Takes a minute
or two.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from kansym import KAN, OutsideGridWarning
from kansym.nn import KANLinear, ZScore

FIGURES = Path(__file__).resolve().parent.parent / "figures"
SCALE = 10.0  # standard deviation of each column
DIRECTIONS = torch.tensor([[0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 0.8, -0.6]], dtype=torch.float64)
STEPS, BATCH = 1000, 256
SEEDS = (0, 1, 2, 3, 4)  # of encoder and splines: training may end in a local minimum


def sample(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """X [n, 4] and y = sin(2 u) + v^2 / 2 [n, 1], u and v the projections of X / SCALE on two
    directions that the network has to find."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    u, v = (z @ DIRECTIONS.T).T
    return SCALE * z, (torch.sin(2 * u) + v**2 / 2)[:, None]


def build(variant: str, seed: int = 0) -> nn.Sequential:
    """A linear encoder to two values, and a layer of splines that maps them to y."""
    generator = torch.Generator().manual_seed(seed)
    encoder = nn.utils.skip_init(nn.Linear, 4, 2, dtype=torch.float64)
    nn.init.kaiming_uniform_(encoder.weight, a=5**0.5, generator=generator)
    nn.init.zeros_(encoder.bias)
    options = {
        "fixed grid, rule zero": {"outside": "zero"},
        "fixed grid, rule linear": {},
        "wide fixed grid": {"grid_range": (-4 * SCALE, 4 * SCALE)},
        "adaptive grid": {"range": "adaptive"},
        "ZScore before it": {"grid_range": (-3, 3)},
    }[variant]
    layer = KANLinear(2, 1, grid=12, generator=generator, dtype=torch.float64, **options)
    before = [ZScore(2, momentum=0.1, dtype=torch.float64)] if variant == "ZScore before it" else []
    return nn.Sequential(encoder, *before, layer)


VARIANTS = (
    "fixed grid, rule zero",
    "fixed grid, rule linear",
    "wide fixed grid",
    "adaptive grid",
    "ZScore before it",
)


@dataclass(frozen=True)
class Watched:
    """steps [t]; the 2.5, 50 and 97.5 % points of the first input [t, 3], and its grid [t, 2]."""

    steps: np.ndarray
    inputs: np.ndarray
    grid: np.ndarray


def train(net: nn.Sequential, X: Tensor, y: Tensor, steps: int = STEPS) -> tuple[Watched, bool]:
    """Adam on batches; and whether the layer warned that its inputs are outside of the grid."""
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(1)
    seen = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OutsideGridWarning)
        for step in range(steps):
            rows = torch.randint(len(X), (BATCH,), generator=generator)
            optimiser.zero_grad()
            nn.functional.mse_loss(net(X[rows]), y[rows]).backward()
            optimiser.step()
            schedule.step()
            if step % (steps // 100) == 0:
                seen.append((step, *look(net, X)))
    warned = any(issubclass(w.category, OutsideGridWarning) for w in caught)
    return Watched(*(np.array(part) for part in zip(*seen, strict=True))), warned


@torch.no_grad()
def look(net: nn.Sequential, X: Tensor) -> tuple[list[float], list[float]]:
    """Where the first input of the layer of splines is, and its grid."""
    net.eval()
    inputs = net[:-1](X)[:, 0]
    net.train()
    report = net[-1].range_report()
    points = torch.tensor([0.025, 0.5, 0.975], dtype=inputs.dtype)
    return inputs.quantile(points).tolist(), [float(report.grid_low[0]), float(report.grid_high[0])]


@torch.no_grad()
def rmse(net: nn.Sequential, X: Tensor, y: Tensor) -> float:
    net.eval()
    return float(nn.functional.mse_loss(net(X), y).sqrt())


def read(net: nn.Sequential, X: Tensor, y: Tensor) -> KAN:
    """The layer of splines (and the normaliser before it) as a network whose edges have names."""
    with torch.no_grad():
        hidden = net[0](X)
    model = KAN.from_layers(*net[1:], X=hidden, y=y)
    model.feature_names = ("h1", "h2")
    model.auto_symbolic()
    return model


def alignment(net: nn.Sequential) -> np.ndarray:
    """|cosine| between each row of the encoder and each true direction, [2, 2]."""
    weight = nn.functional.normalize(net[0].weight.detach(), dim=1)
    return (weight @ DIRECTIONS.T).abs().numpy()


def draw(watched: dict[str, Watched], path: Path) -> None:
    """Where the middle 95 % of the first input is, and the grid, over the steps."""
    fig, axes = plt.subplots(
        1, len(watched), figsize=(11, 2.8), sharex=True, layout="constrained", squeeze=False
    )
    for ax, (name, w) in zip(axes[0], watched.items(), strict=True):
        ax.fill_between(w.steps, *w.grid.T, color="C2", alpha=0.25, label="grid")
        ax.plot(w.steps, w.inputs[:, [0, 2]], color="C0", lw=1)
        ax.plot(w.steps, w.inputs[:, 1], color="C0", lw=1, ls=":")
        ax.fill_between(
            w.steps, w.inputs[:, 0], w.inputs[:, 2], color="C0", alpha=0.25, label="95 % of inputs"
        )
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("step")
    axes[0, 0].set_ylabel("first input of the layer")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2)
    fig.savefig(path, dpi=150)
    plt.close(fig)


@dataclass(frozen=True)
class Comparison:
    """table: medians over the seeds, and the test RMSE of each. best: the network of the lowest
    one. watched: of the first seed, by variant."""

    table: pd.DataFrame
    best: nn.Sequential
    watched: dict[str, Watched]


def compare(
    variants: Sequence[str] = VARIANTS, seeds: Sequence[int] = SEEDS, steps: int = STEPS
) -> Comparison:
    X, y = sample(2000, seed=0)
    new = sample(2000, seed=1)
    rows, nets, watched = [], {}, {}
    for name in variants:
        for seed in seeds:
            net = nets[name, seed] = build(name, seed)
            seen, warned = train(net, X, y, steps)
            watched.setdefault(name, seen)
            outside = net[-1].range_report().outside_total
            rows.append((name, seed, outside, warned, rmse(net, *new)))
    each = pd.DataFrame(rows, columns=["variant", "seed", "outside", "warned", "test RMSE"])
    by_variant = each.groupby("variant", sort=False)
    table = by_variant[["outside", "test RMSE"]].median()
    table["warned"] = by_variant["warned"].sum().astype(str) + f" of {len(seeds)}"
    for seed in seeds:
        table[f"start {seed}"] = each[each["seed"] == seed].set_index("variant")["test RMSE"]
    best = each.loc[each["test RMSE"].idxmin()]
    return Comparison(table, nets[best["variant"], best["seed"]], watched)


def main(figures: Path = FIGURES) -> pd.DataFrame:
    done = compare()
    print(done.table.to_string(float_format="{:.3f}".format))
    print(f"standard deviation of y: {float(sample(2000, seed=1)[1].std()):.3f}\n")
    draw(done.watched, figures / "inside_a_network.png")

    X, y = sample(2000, seed=0)
    print(f"the best network, read:\n{read(done.best, X, y).symbolic_formula(digits=4)}")
    print(f"|cosine| of the encoder's rows with the directions:\n{alignment(done.best).round(4)}")
    return done.table


if __name__ == "__main__":
    main()
