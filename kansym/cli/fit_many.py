"""kansym fit-many: a formula for a column of every table of a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kansym.cli.options import (
    FILE,
    OUT_HELP,
    as_tuple,
    jobs_wanted,
    max_time_option,
    outliers_rule,
    search_options,
)
from kansym.cli.run import check_folder, clear_errors, signals, to_stderr
from kansym.errors import visible
from kansym.files import in_use

if TYPE_CHECKING:
    from kansym.sweeps import Row


@click.command("fit-many")
@click.argument("folder", type=FILE)
@click.option("--target", required=True, help="Column to explain, of every table.")
@search_options
@max_time_option("Seconds for each table.")
@click.option("--out", type=FILE, required=True, help=OUT_HELP)
@click.option("--resume", is_flag=True, help="Keep results in --out; search what is left.")
def fit_many(
    folder: Path,
    target: str,
    features: list[str] | None,
    functions: list[str] | None,
    units: dict[str, str] | None,
    outliers: str | None,
    jobs: int | None,
    backend: str | None,
    scheduler: str | None,
    seed: int,
    max_time: float,
    out: Path,
    resume: bool,
) -> None:
    """Find a formula for a column of every CSV or Parquet table of a folder.

    Writes formulas.csv into --out: file, target, formula, verdict, R2, RMSE, complexity, seconds
    and error, a row for each table; and into its folder results a file for each, as soon as it is
    searched. A table that cannot be read or searched is a row with an error.

    Ctrl-C and SIGTERM keep what is finished, with exit status 130 or 143. The same command with
    --resume searches the tables that are left, were changed, or had an error.
    """
    with clear_errors(), signals():
        from kansym.sweeps import TABLE, Sweep, check_out, sweep, tables_of
        from kansym.workers import connected, n_workers

        files = tables_of(folder)
        check_out(folder, out, resume)
        check_folder(out)
        settings = Sweep(
            target, as_tuple(features), as_tuple(functions), units, outliers_rule(outliers),
            seed=seed, max_time=max_time,
        )  # fmt: skip
        with in_use(out, "--out"), connected(backend, scheduler):
            workers = n_workers(jobs_wanted(jobs, backend), len(files))
            rows = sweep(files, out, settings, workers, partial(_tell_row, len(files)))
        failed = sum(row.error is not None for row in rows)
        click.echo(f"{len(rows)} tables, {failed} with an error; written to {out / TABLE}")


def _tell_row(n: int, done: int, row: Row) -> None:
    said = f"error: {row.error}"
    if row.error is None:
        said = f"{row.target} = {row.formula}  ({row.verdict})"
    to_stderr(f"{done} of {n}  {visible(row.file)}: {visible(said)}")
