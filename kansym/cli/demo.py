"""kansym demo: two laws found again from data."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kansym.cli.options import FILE, OUT_HELP, command_text
from kansym.cli.results import write_results
from kansym.cli.run import check_folder, clear_errors, to_stderr
from kansym.cli.texts import summary_text
from kansym.files import in_use

if TYPE_CHECKING:
    from kansym.datasets import Dataset


@click.command()
@click.option("--out", type=FILE, help=OUT_HELP)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
def demo(out: Path | None, seed: int) -> None:
    """Find two laws again: exp(sin(pi x) + y^2) from 1,000 rows, and Kepler's third law from the
    orbits of the planets and dwarf planets."""
    command = command_text()
    with clear_errors():
        check_folder(out)
        started = time.perf_counter()
        with contextlib.nullcontext() if out is None else in_use(out, "--out"):
            for name, title, dataset, width in _demo_cases(seed):
                click.echo(f"\n{title}")
                from kansym.pipeline import find_formula

                result = find_formula(dataset, width, seed=seed, progress=False, report=to_stderr)
                click.echo(summary_text(result))
                if out is not None:
                    write_results(result, dataset, seed, out / name, command)
        click.echo(f"\nBoth in {time.perf_counter() - started:.0f} s.")


def _demo_cases(seed: int) -> Iterator[tuple[str, str, Dataset, Any]]:
    import torch

    from kansym.datasets import create_dataset
    from kansym.tables import solar_system, table_dataset

    def law(x: torch.Tensor) -> torch.Tensor:
        return torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2)

    title = "exp(sin(pi x1) + x2^2), 1,000 rows, network [2, 5, 1]"
    yield "exp-sin", title, create_dataset(law, 2, seed=seed), [2, 5, 1]
    bodies = solar_system()
    orbits = table_dataset(bodies, "period_years", ["semi_major_axis_au"])
    yield "kepler", f"Kepler's third law from {len(bodies)} bodies", orbits, None
