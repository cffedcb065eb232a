"""Does a penalty on coefficients see the same edges as one on what the edges do?

    make bench-regularisation        or        python benchmarks/regularisation.py --seeds 5

A network of `KANLinear` layers learns a function of 3 of 8 inputs, 2,000 rows, with one of three
penalties (none, by weights, by the sample), the weight of which is fixed. On the trained network
the edges of each layer are ranked by mean |coef| (without data, as in efficient-kan) and by the
standard deviation of the edge over the sample (exact, from covariances). Reported: Spearman's
correlation of the two rankings, the test error, and the share of the three used inputs in the first
layer's scores.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import common
from common import Table

LAMB = 1e-3
PENALTIES = ("none", "weights", "sample")
NOTE = (
    "Median [smallest, largest] over the seeds. Share: of the first layer's scores by sample, in "
    "edges from the three inputs that matter (3/8 = 0.375 if all were alike)."
)


def train(penalty: str, seed: int, steps: int) -> dict[str, Any]:
    import torch
    from scipy.stats import spearmanr
    from torch import nn

    from kansym.nn import KANLinear

    generator = torch.Generator().manual_seed(seed)
    X = 2 * torch.rand(4000, 8, generator=generator) - 1
    y = torch.exp(torch.sin(torch.pi * X[:, :1]) + X[:, 1:2] ** 2) + X[:, 2:3]
    y = (y - y.mean()) / y.std()
    options: dict[str, Any] = {"generator": generator, "range": "adaptive"}
    layers = [KANLinear(8, 8, **options), KANLinear(8, 1, **options)]
    net = nn.Sequential(*layers)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        rows = torch.randint(2000, (256,), generator=generator)
        hidden = layers[0](X[rows])
        loss = nn.functional.mse_loss(layers[1](hidden), y[rows])
        if penalty != "none":
            samples = (X[rows], hidden) if penalty == "sample" else (None, None)
            for layer, sample in zip(layers, samples, strict=True):
                loss = loss + LAMB * layer.regularization_loss(x=sample)
        loss.backward()
        optimiser.step()
    net.eval()
    with torch.no_grad():
        inputs = [X[:2000], layers[0](X[:2000])]
        scores = [layer.edge_scores(x) for layer, x in zip(layers, inputs, strict=True)]
        ranks = [
            float(spearmanr(layer.edge_scores().flatten(), score.flatten()).statistic)
            for layer, score in zip(layers, scores, strict=True)
        ]
        rmse = float((net(X[2000:]) - y[2000:]).square().mean().sqrt())
        share = float(scores[0][:, :3].sum() / scores[0].sum())
    return {"first": ranks[0], "second": ranks[1], "rmse": rmse, "share": share}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500)
    arguments = common.settle(parser.parse_args())
    seeds, steps = (1, 20) if arguments.quick else (arguments.seeds, arguments.steps)
    runs = {p: [train(p, seed, steps) for seed in range(seeds)] for p in PENALTIES}
    rows = [
        [
            penalty,
            *(spread([run[key] for run in of]) for key in ("first", "second", "rmse", "share")),
        ]
        for penalty, of in runs.items()
    ]
    columns = ["penalty", "rank correlation, layer 1", "layer 2", "test RMSE", "share"]
    common.publish(
        arguments,
        "Edge scores by weights and by a sample",
        [Table(columns, rows, note=NOTE)],
        {"runs": runs, "lamb": LAMB, "steps": steps},
        common.environment(arguments.threads, common.installed("kansym", "torch", "scipy")),
    )


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


if __name__ == "__main__":
    main()
