"""kansym fit: a formula for a column of a table."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kansym.cli.options import (
    FILE,
    OUT_HELP,
    WidthType,
    check_options,
    command_text,
    jobs_wanted,
    max_time_option,
    outliers_rule,
    search_options,
)
from kansym.cli.results import frame_of, write_results, write_search
from kansym.cli.run import clear_errors, run_folder, signals, to_stderr
from kansym.cli.texts import search_text, summary_text

if TYPE_CHECKING:
    from kansym.datasets import Dataset
    from kansym.estimator import KANRegressor


@click.command()
@click.argument("data", type=FILE)
@click.option("--target", required=True, help="Column to explain.")
@search_options
@click.option(
    "--width",
    type=WidthType(),
    help="Train one network with these nodes in each row, e.g. 2,5,1 or 2,3+1,1, instead.",
)
@click.option("--lamb", type=float, help="With --width: weight of sparsity.  [default: 0.001]")
@click.option("--steps", type=int, help="With --width: of sparse training.  [default: 60]")
@max_time_option("Seconds; what is under way is finished.")
@click.option("--out", type=FILE, help=OUT_HELP)
@click.option("--resume", is_flag=True, help="Go on with the unfinished run in --out, if any.")
@click.option("--progress/--no-progress", default=None, help="Default: only on a terminal.")
def fit(
    data: Path,
    target: str,
    features: list[str] | None,
    functions: list[str] | None,
    units: dict[str, str] | None,
    outliers: str | None,
    jobs: int | None,
    backend: str | None,
    scheduler: str | None,
    width: list[int | list[int]] | None,
    lamb: float | None,
    steps: int | None,
    seed: int,
    max_time: float,
    out: Path | None,
    resume: bool,
    progress: bool | None,
) -> None:
    """Find a formula for a column of a CSV or Parquet table.

    Prints the formula, how good it is and how far it can be trusted; with --out writes formula.txt,
    formula.tex, report.html, equations.csv, network.svg, network.png, model.kansym and summary.json
    there.

    Ctrl-C and SIGTERM end the search with the best formula so far, printed and written as usual,
    and exit status 130 or 143. With --out a run that was ended so, or killed, can be gone on with:
    the same command with --resume.
    """
    command = command_text()
    with clear_errors(), signals() as caught, run_folder(out, resume, caught) as unfinished:
        of_search = {"--units": units, "--outliers": outliers, "--jobs": jobs}
        of_search |= {"--backend": backend, "--scheduler": scheduler}
        check_options(width, {"--lamb": lamb, "--steps": steps}, of_search)
        from kansym.tables import read_table, table_dataset

        dataset = table_dataset(read_table(data), target, features, seed=seed)
        shows = sys.stderr.isatty() if progress is None else progress
        if width is None:
            from kansym.estimator import KANRegressor
            from kansym.workers import connected

            est = KANRegressor(
                max_time=max_time,
                random_state=seed,
                n_jobs=jobs_wanted(jobs, backend),
                functions=functions or "default",
                units=units,
                outliers=outliers_rule(outliers),
                progress=shows,
                checkpoint=unfinished,
            )
            with connected(backend, scheduler):
                _search(est, dataset, out, command, caught)
            return
        from kansym.pipeline import Recipe, find_formula

        given = {"lamb": lamb, "steps": steps}
        recipe = Recipe(**{name: value for name, value in given.items() if value is not None})
        result = find_formula(
            dataset,
            width,
            lib=functions,
            recipe=recipe,
            seed=seed,
            max_time=max_time,
            progress=shows,
            report=to_stderr,
            checkpoint=unfinished,
        )
        click.echo(summary_text(result))
        if out is not None:
            write_results(result, dataset, seed, out, command)


def _search(
    est: KANRegressor, dataset: Dataset, out: Path | None, command: str, caught: list[int]
) -> None:
    """Search for a formula, print it and write the results. caught: signals that came."""
    import pandas as pd

    assert dataset.target_names is not None
    started = time.perf_counter()
    y = pd.Series(dataset.y[:, 0].numpy(), name=dataset.target_names[0])
    est.fit(frame_of(dataset, dataset.X), y)
    seconds = time.perf_counter() - started
    if caught:
        more = "; --resume goes on" if out is not None else ""
        to_stderr(f"interrupted: the best formula so far{more}")
    scores = _judged(est, dataset)
    click.echo(search_text(est, scores, seconds))
    if out is not None:
        write_search(est, dataset, scores, seconds, bool(caught), out, command)


def _judged(est: KANRegressor, dataset: Dataset) -> tuple[float, float, str]:
    """R2 and RMSE on the rows of the test part, or on all where there is none."""
    from kansym.sweeps import judged

    where = "train" if dataset.X_test is None else "test"
    X, y = (dataset.X, dataset.y) if dataset.X_test is None else (dataset.X_test, dataset.y_test)
    assert y is not None
    return *judged(est.formula_, X.numpy(), y.numpy()), where
