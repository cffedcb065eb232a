"""Layers of splines trained by Lightning, in one process or two, and opened as a network.

Run from anywhere: python examples/lightning_kan.py [--devices 2]. Needs
pip install 'kansym[lightning]'. Takes under a minute; writes nothing.
"""

import argparse
import warnings

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kansym import KAN
from kansym.nn import KANLinear

LAW = "sin(x1) + x2^2 / 9"


def sample(seed: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three inputs on scales that the layers are not told, of which the last does not matter."""
    generator = torch.Generator().manual_seed(seed)
    X = 6 * torch.rand(rows, 3, generator=generator) - 3
    return X, torch.sin(X[:, :1]) + X[:, 1:2] ** 2 / 9


class Regression(lightning.LightningModule):
    """Mean squares and the penalty that thins edges out. Grids follow the batches of all
    processes by themselves."""

    def __init__(self, lamb: float = 1e-4):
        super().__init__()
        self.lamb = lamb
        options = {"range": "adaptive", "generator": torch.Generator().manual_seed(0)}
        self.layers = nn.Sequential(KANLinear(3, 2, **options), KANLinear(2, 1, **options))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        return loss + self.lamb * sum(layer.regularization_loss() for layer in self.layers)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.02)


def trained(devices: int, epochs: int) -> Regression:
    """A module trained on the CPU; with several devices by as many processes, on a part of every
    batch each."""
    model = Regression()
    trainer = lightning.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp_spawn" if devices > 1 else "auto",
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    rows = DataLoader(TensorDataset(*sample(0, 1024)), 128 // devices, shuffle=True)
    trainer.fit(model, rows)
    return model


def main(devices: int = 1, epochs: int = 30) -> KAN:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*num_workers")  # the table is in memory
        model = trained(devices, epochs).eval()
    X, y = sample(1, 1000)
    with torch.no_grad():
        error = nn.functional.mse_loss(model(X), y).item()
    report = model.layers[0].range_report()
    print(f"devices={devices}: mean square error {error:.2e} (variance of y {y.var():.2f})")
    print(f"grids moved {report.moves} times, to {report.grid_low.min():.1f} ... "
          f"{report.grid_high.max():.1f}")  # fmt: skip

    network = KAN.from_layers(model.layers, X=X, y=y)
    pruned = network.prune()
    print(f"{network.n_active_edges} edges become {pruned.n_active_edges}:")
    for l, scores in enumerate(pruned.edge_scores()):
        for j, i in scores.gt(0).nonzero().tolist():
            print(f"    layer {l}, {i} -> {j}: {scores[j, i]:.3f}")
    print(f"The law was {LAW}.")
    return pruned


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=1)
    main(parser.parse_args().devices)
