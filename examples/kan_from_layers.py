"""From layers trained in PyTorch to a formula: KANLinear, KAN.from_layers, prune, name.

Run from anywhere: python examples/kan_from_layers.py. Takes under a minute.
"""

import torch
from torch import nn

from kansym import KAN, Formula
from kansym.nn import KANLinear

LAW = "exp(sin(pi x1) + x2^2)"


def sample(generator: torch.Generator, rows: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    """Three inputs, of which the last does not matter."""
    X = 2 * torch.rand(rows, 3, generator=generator, dtype=torch.float64) - 1
    return X, torch.exp(torch.sin(torch.pi * X[:, :1]) + X[:, 1:2] ** 2)


def train(net: nn.Sequential, X: torch.Tensor, y: torch.Tensor, steps: int, lamb: float) -> None:
    """Full batches; the penalty is that of what the edges do on the sample."""
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        loss, values = torch.zeros(()), X
        for layer in net:
            loss = loss + lamb * layer.regularization_loss(x=values)
            values = layer(values)
        (loss + nn.functional.mse_loss(values, y)).backward()
        optimiser.step()
        schedule.step()


def main(steps: int = 1500) -> Formula:
    generator = torch.Generator().manual_seed(0)
    X, y = sample(generator)
    options = {"dtype": torch.float64, "generator": generator, "range": "adaptive"}
    net = nn.Sequential(KANLinear(3, 2, **options), KANLinear(2, 1, **options))
    train(net, X, y, steps, 1e-2)
    net.eval()
    print(f"trained: mean square error {nn.functional.mse_loss(net(X), y).item():.2e}")

    model = KAN.from_layers(net, X=X, y=y)
    pruned = model.prune()
    print(f"pruned: {model.n_active_edges} edges become {pruned.n_active_edges}")
    model = pruned.merge()
    model.fit((X, y), grids=(5, 10), progress=False)
    for step in model.auto_symbolic():
        print(f"edge {step.edge}: {step.name}, R2 = {step.r2:.9f}")
    formula = model.symbolic_formula(snap=True)
    print(f"{formula}\nThe law was {LAW}.")
    return formula


if __name__ == "__main__":
    main()
