"""How long does a picture of a network take?

    make bench-plot        or        python benchmarks/plot.py --rounds 9

`model.plot()` and writing a PNG of 100 dots per inch, for [2, 5, 1] and [10, 10, 1] with random
splines on 1,000 rows. pykan draws from the activations of its last forward pass, which is counted
with it: kansym's plot works them out too. Both run in processes of their own, interleaved; pykan
writes a PNG for each edge into its folder as it draws, as it always does.
"""

from __future__ import annotations

from typing import Any

import common
from common import Failure, Table, Worker
from peers import NOT_INSTALLED, PEERS, is_missing

WIDTHS = {"[2, 5, 1]": (2, 5, 1), "[10, 10, 1]": (10, 10, 1)}
ROWS, GRID, DPI = 1000, 5, 100
NOTE = "Wall time, median [quartiles] over the rounds; ratios are taken within a round."


def build(name: str, width: tuple[int, ...], rows: int) -> dict[str, Any]:
    """For `Worker`: {"plot": draw and write a picture}."""
    import torch

    generator = torch.Generator().manual_seed(0)
    X = 2 * torch.rand(rows, width[0], generator=generator, dtype=torch.float64) - 1
    return {"plot": _kansym(width, X) if name == "kansym" else _pykan(width, X)}


def _kansym(width: tuple[int, ...], X: Any) -> Any:
    from kansym import KAN

    model = KAN(width, grid=GRID, seed=0)

    def plot() -> None:
        model.plot(X).figure.savefig("picture.png", dpi=DPI)

    return plot


def _pykan(width: tuple[int, ...], X: Any) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kan = PEERS["pykan"].load()
    model = kan.KAN(width=list(width), grid=GRID, k=3, seed=0, auto_save=False)
    rows = X.float()

    def plot() -> None:
        model(rows)
        model.plot()
        plt.savefig("picture.png", dpi=DPI)
        plt.close("all")

    return plot


def run(width: tuple[int, ...], rounds: int, rows: int) -> dict[str, Any]:
    """Samples of every contender that is there, or why it is not."""
    samples: dict[str, Any] = {}
    workers: dict[str, Worker] = {}
    try:
        for name in ("kansym", "pykan"):
            if is_missing(name):
                samples[name] = NOT_INSTALLED
                continue
            try:
                workers[name] = Worker(build, name, width, rows)
            except Failure as failure:
                samples[name] = str(failure)
        samples |= common.interleave_workers(workers, "plot", rounds)
    finally:
        for worker in workers.values():
            worker.close()
    return samples


def row(label: str, samples: dict[str, Any]) -> list[str]:
    ours, theirs = samples["kansym"], samples["pykan"]
    if isinstance(ours, str) or isinstance(theirs, str):
        times = [s if isinstance(s, str) else ms(s) for s in (ours, theirs)]
        return [label, *times, ""]
    return [label, ms(ours), ms(theirs), common.shown(common.ratio(theirs, ours))]


def ms(samples: list[common.Sample]) -> str:
    return common.shown(common.clock(samples), 1e-3)


def main() -> None:
    arguments = common.settle(common.parser(__doc__).parse_args())
    rounds, rows = (2, 20) if arguments.quick else (arguments.rounds, ROWS)
    results = {label: run(width, rounds, rows) for label, width in WIDTHS.items()}
    columns = ["width", "kansym, ms", "pykan, ms", "pykan / kansym"]
    table = Table(columns, [row(*result) for result in results.items()], note=NOTE)
    facts = common.environment(
        arguments.threads, common.installed("kansym", "pykan", "torch", "matplotlib")
    )
    common.publish(arguments, "Pictures of a network", [table], {"samples": results}, facts)


if __name__ == "__main__":
    main()
