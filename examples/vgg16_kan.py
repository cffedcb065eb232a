"""VGG16 with a classifier of splines: one step forward and backward on images of 224 x 224.

Run from anywhere: python examples/vgg16_kan.py. Needs about 2 GiB. Random weights and images: it
shows that the layers fit together and what they cost, not what they learn.

Source: Simonyan and Zisserman 2014, arXiv:1409.1556, configuration D.
"""

import resource
import sys
import time

import torch
from torch import nn

from kansym.nn import KANLinear

CHANNELS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool",
            512, 512, 512, "pool")  # fmt: skip


def convolutions() -> nn.Sequential:
    """[batch, 3, height, width] to [batch, 512, height / 32, width / 32]."""
    layers: list[nn.Module] = []
    n_in = 3
    for entry in CHANNELS:
        if isinstance(entry, str):
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(n_in, entry, 3, padding=1), nn.ReLU(inplace=True)]
        n_in = entry
    return nn.Sequential(*layers)


def spline_head(features: int, classes: int, hidden: int = 256) -> nn.Sequential:
    return nn.Sequential(
        KANLinear(features, hidden, range="adaptive"),
        KANLinear(hidden, classes, range="adaptive"),
    )


class VGG16KAN(nn.Module):
    """The 13 convolutions of VGG16 and two layers of splines. pool: of the features, side by side;
    VGG16 has 7, which makes 25,088 of them."""

    def __init__(self, classes: int = 10, pool: int = 7, hidden: int = 256):
        super().__init__()
        self.features = convolutions()
        self.pool = nn.AdaptiveAvgPool2d(pool)
        self.classifier = spline_head(512 * pool**2, classes, hidden)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.pool(self.features(images)).flatten(1))


def peak_mib() -> float:
    """Of the process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def main(batch: int = 2, size: int = 224) -> None:
    before = peak_mib()
    torch.manual_seed(0)
    model = VGG16KAN()
    images, labels = torch.rand(batch, 3, size, size), torch.randint(10, (batch,))
    print(f"parameters: {parameters(model):,}, {parameters(model.classifier):,} in splines")
    begun = time.perf_counter()
    loss = nn.functional.cross_entropy(model(images), labels)
    forward = time.perf_counter() - begun
    loss.backward()
    total = time.perf_counter() - begun
    print(f"loss {loss.item():.3f}; forward {forward:.1f} s, with backward {total:.1f} s")
    print(f"peak memory {peak_mib():.0f} MiB, {before:.0f} MiB of them before the model")


if __name__ == "__main__":
    main()
