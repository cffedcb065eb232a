"""Digits of 8 x 8 pixels: convolutions, and a classifier of splines where VGG has dense layers.

Run from anywhere: python examples/digits.py. Takes well under a minute.
"""

import time

import pandas as pd
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from kansym.nn import KANLinear

CHANNELS, FEATURES, HIDDEN = 16, 64, 16


def features() -> nn.Sequential:
    """[batch, 1, 8, 8] to [batch, FEATURES]."""
    return nn.Sequential(
        nn.Conv2d(1, CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )


def spline_head() -> nn.Sequential:
    """The grids follow the features, which may be of any size."""
    return nn.Sequential(
        KANLinear(FEATURES, HIDDEN, grid=3, range="adaptive"),
        KANLinear(HIDDEN, 10, grid=3, range="adaptive"),
    )


def dense_head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


HEADS = {"KANLinear": spline_head, "nn.Linear": dense_head}


def digits() -> list[torch.Tensor]:
    """Train images, test images, train labels, test labels; a fifth for testing."""
    images, labels = load_digits(return_X_y=True)
    X = torch.as_tensor(images / 8 - 1, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return train_test_split(X, torch.as_tensor(labels), test_size=0.2, random_state=0)


def train(model: nn.Module, X: torch.Tensor, labels: torch.Tensor, epochs: int) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(X[rows]), labels[rows]).backward()
            optimiser.step()


def accuracy(model: nn.Module, X: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(X).argmax(1) == labels).double().mean())


def main(epochs: int = 12) -> pd.DataFrame:
    X, X_test, labels, test_labels = digits()
    rows = []
    # PyTorch loads parts of itself in the first step, which is not to be timed.
    train(nn.Sequential(features(), dense_head()), X[:64], labels[:64], 1)
    for name, head in HEADS.items():
        torch.manual_seed(0)
        model = nn.Sequential(features(), head())
        begun = time.perf_counter()
        train(model, X, labels, epochs)
        seconds = time.perf_counter() - begun
        model.eval()
        rows.append(
            {
                "classifier": name,
                "parameters": sum(p.numel() for p in model.parameters()),
                "train": accuracy(model, X, labels),
                "test": accuracy(model, X_test, test_labels),
                "seconds": seconds,
            }
        )
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="%.3f"))
    return table


if __name__ == "__main__":
    main()
