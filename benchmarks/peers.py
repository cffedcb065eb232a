"""The libraries kansym is measured against, each brought to one form.

A peer is used as an installed package or from a checkout, given by an option such as
`--efficient-kan PATH` or by an environment variable. One that is missing is reported as
"not installed" and left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

NOT_INSTALLED = "not installed"


@dataclass(frozen=True)
class Peer:
    """distribution: its name for pip. module: its name for import. variable: of the environment,
    holding the path of a checkout; empty for peers that are always installed."""

    distribution: str
    module: str
    variable: str = ""

    @property
    def checkout(self) -> Path | None:
        path = os.environ.get(self.variable) if self.variable else None
        return Path(path) if path else None

    @property
    def version(self) -> str | None:
        """None when the peer is not there."""
        if self.checkout is not None:
            return _commit(self.checkout) if self.checkout.is_dir() else None
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None

    def load(self) -> Any:
        """The module. Raises ImportError."""
        if self.checkout is not None:
            sys.path[:0] = [str(self.checkout / "src"), str(self.checkout)]
        return import_module(self.module)


PEERS = {
    "pykan": Peer("pykan", "kan"),
    "efficient-kan": Peer("efficient-kan", "efficient_kan", "KANSYM_BENCH_EFFICIENT_KAN"),
    "fast-kan": Peer("fastkan", "fastkan", "KANSYM_BENCH_FAST_KAN"),
    "scikit-learn": Peer("scikit-learn", "sklearn"),
}


def _commit(folder: Path) -> str:
    if not (folder / ".git").exists():
        return "checkout"
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True
    )
    return f"commit {done.stdout.strip()}"


def versions() -> dict[str, str | None]:
    return {name: peer.version for name, peer in PEERS.items()}


def is_missing(name: str) -> bool:
    """Whether a contender is a peer that is not there."""
    return name in PEERS and PEERS[name].version is None


def add_paths(parser: argparse.ArgumentParser) -> None:
    for name, peer in PEERS.items():
        if peer.variable:
            parser.add_argument(
                f"--{name}", type=Path, metavar="PATH", help=f"a checkout; or set {peer.variable}"
            )


def use_paths(arguments: argparse.Namespace) -> None:
    """Hand the checkouts to all processes that start from here on."""
    for name, peer in PEERS.items():
        path = getattr(arguments, name.replace("-", "_"), None)
        if peer.variable and path:
            os.environ[peer.variable] = str(path.resolve())


# -- models: build(width, grid, k, dtype, seed) -> a torch module ---------------------------------


def kansym_model(width: Sequence[int], grid: int, k: int, dtype: Any, seed: int = 0) -> Any:
    from kansym import KAN

    return KAN(list(width), grid, k, seed=seed, dtype=dtype)


def pykan_model(width: Sequence[int], grid: int, k: int, dtype: Any, seed: int = 0) -> Any:
    """Without the symbolic branch and the stored activations, which its own fit turns off too when
    nothing is symbolic and no penalty is asked for: on wide layers they cost minutes."""
    import torch

    torch.set_default_dtype(dtype)
    options = {"symbolic_enabled": False, "save_act": False, "auto_save": False}
    return PEERS["pykan"].load().KAN(width=list(width), grid=grid, k=k, seed=seed, **options)


def pykan_as_it_comes(width: Sequence[int], grid: int, k: int, dtype: Any, seed: int = 0) -> Any:
    import torch

    torch.set_default_dtype(dtype)
    load = PEERS["pykan"].load
    return load().KAN(width=list(width), grid=grid, k=k, seed=seed, auto_save=False)


def efficient_kan_model(width: Sequence[int], grid: int, k: int, dtype: Any, seed: int = 0) -> Any:
    import torch

    torch.manual_seed(seed)
    model = PEERS["efficient-kan"].load().KAN(list(width), grid_size=grid, spline_order=k)
    return model.to(dtype)


def fast_kan_model(width: Sequence[int], grid: int, k: int, dtype: Any, seed: int = 0) -> Any:
    """Gaussians instead of splines, G + k of them: as many coefficients per edge as the others."""
    import torch

    torch.manual_seed(seed)
    return PEERS["fast-kan"].load().FastKAN(list(width), num_grids=grid + k).to(dtype)


def mlp_model(width: Sequence[int], grid: int, k: int, dtype: Any, seed: int = 0) -> Any:
    """A multilayer perceptron of the same widths with SiLU between its layers."""
    import torch

    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = []
    for n_in, n_out in pairwise(width):
        layers += [torch.nn.Linear(n_in, n_out, dtype=dtype), torch.nn.SiLU()]
    return torch.nn.Sequential(*layers[:-1])


MODELS = {
    "kansym": kansym_model,
    "pykan": pykan_model,
    "pykan as it comes": pykan_as_it_comes,
    "efficient-kan": efficient_kan_model,
    "fast-kan": fast_kan_model,
    "PyTorch MLP": mlp_model,
}


def sklearn_mlp(hidden: Sequence[int], seed: int = 0) -> Any:
    """scikit-learn's MLPRegressor with its own defaults (relu, Adam, batches of 200)."""
    PEERS["scikit-learn"].load()
    from sklearn.neural_network import MLPRegressor

    return MLPRegressor(hidden_layer_sizes=tuple(hidden), random_state=seed)


class DenseProduct:
    """The matrix products a layer of splines needs when its features are there, and nothing else.

    features [n, in (G + k + 1)] by weights; backward the gradient by the weights and by the
    features, the latter also in the first layer where `inner` says that its inputs need one.
    """

    def __init__(self, width: Sequence[int], grid: int, k: int, n: int, dtype: Any, inner: bool):
        import torch

        generator = torch.Generator().manual_seed(0)

        def random(rows: int, columns: int) -> Any:
            return torch.rand(rows, columns, generator=generator, dtype=dtype)

        sizes = [(n_in * (grid + k + 1), n_out) for n_in, n_out in pairwise(width)]
        self.inner = inner
        self.layers = [
            (random(n, n_in), random(n_in, n_out), random(n, n_out)) for n_in, n_out in sizes
        ]

    def forward(self) -> None:
        for features, weights, _ in self.layers:
            features @ weights

    def step(self) -> None:
        self.forward()
        for l, (features, weights, gradient) in enumerate(self.layers):
            features.T @ gradient
            if l or self.inner:
                gradient @ weights.T
