"""The command line. Heavy imports happen inside commands, so that --help answers at once.

kansym fit DATA --target COLUMN     a formula for a table, its LaTeX and a diagram
kansym predict MODEL DATA           outputs of a saved model for a table
kansym show MODEL                   formula, scores and picture of a saved model
kansym demo                         two laws found again from data
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kansym.datasets import Dataset
    from kansym.model import KAN
    from kansym.pipeline import FormulaResult
    from kansym.symbolic import Formula

OUT_HELP = "Folder for the results; made if missing."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kansym")
def main() -> None:
    """Turn data into formulas a scientist can read."""


class WidthType(click.ParamType):
    """2,5,1 or 2,3+1,1: nodes of each row; 3+1 is three sum nodes and one product node."""

    name = "width"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[int | list[int]]:
        if isinstance(value, list):
            return value
        try:
            rows = [[int(n) for n in row.split("+")] for row in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a width; write for example 2,5,1 or 2,3+1,1", param, ctx)
        return [row[0] if len(row) == 1 else row for row in rows]


class ListType(click.ParamType):
    """Texts separated by commas."""

    name = "list"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[str]:
        return value if isinstance(value, list) else [part.strip() for part in value.split(",")]


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="Column to explain.")
@click.option(
    "--features", type=ListType(), help="Columns to explain it with; default: all others."
)
@click.option("--width", type=WidthType(), help="Nodes of each row, e.g. 2,5,1 or 2,3+1,1.")
@click.option("--lib", type=ListType(), help="Functions to use, e.g. x,x^2,sin,exp; default: all.")
@click.option("--lamb", type=float, default=1e-3, show_default=True, help="Weight of sparsity.")
@click.option("--steps", type=int, default=60, show_default=True, help="Of sparse training.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of split and network.",
)
@click.option("--max-time", type=float, help="Seconds; what is under way is finished.")
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
@click.option("--progress/--no-progress", default=None, help="Default: only on a terminal.")
def fit(
    data: Path,
    target: str,
    features: list[str] | None,
    width: list[int | list[int]] | None,
    lib: list[str] | None,
    lamb: float,
    steps: int,
    seed: int,
    max_time: float | None,
    out: Path | None,
    progress: bool | None,
) -> None:
    """Find a formula for a column of a CSV or Parquet table.

    Prints the formula and how good it is; with --out writes formula.txt, formula.tex, network.svg,
    network.png, model.kansym and summary.json there.
    """
    with _clear_errors():
        from kansym.pipeline import Recipe, find_formula
        from kansym.tables import read_table, table_dataset

        _check_folder(out)
        dataset = table_dataset(read_table(data), target, features, seed=seed)
        result = find_formula(
            dataset,
            width,
            lib=lib,
            recipe=Recipe(lamb=lamb, steps=steps),
            seed=seed,
            max_time=max_time,
            progress=sys.stderr.isatty() if progress is None else progress,
            report=_to_stderr,
        )
        click.echo(_summary_text(result))
        if out is not None:
            _write_results(result, dataset, seed, out)


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="CSV file; default: standard output.")
def predict(model: Path, data: Path, out: Path | None) -> None:
    """Outputs of a saved model for every row of a table, as CSV."""
    with _clear_errors():
        import pandas as pd

        from kansym.model import load
        from kansym.tables import read_table

        kan = load(model)
        frame = read_table(data)
        names = list(kan.feature_names or [])
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise ValueError(f"{data} lacks the columns {missing}; it has {list(frame.columns)}")
        values = kan.predict(frame[names] if names else frame)
        targets = kan.target_names or [f"y{o + 1}" for o in range(kan.n_out)]
        text = pd.DataFrame(values, columns=list(targets)).to_csv(index=False)
        if out is None:
            click.echo(text, nl=False)
        else:
            out.write_text(text, encoding="utf-8")


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--plot", type=click.Path(path_type=Path), help="Write a diagram: .svg, .png, .pdf.")
def show(model: Path, plot: Path | None) -> None:
    """Formula, structure and edge scores of a saved model."""
    with _clear_errors():
        from kansym.model import load

        kan = load(model)
        click.echo(_model_text(kan))
        if plot is not None:
            _save_picture(kan, plot)


@main.command()
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
def demo(out: Path | None, seed: int) -> None:
    """Find two laws again: exp(sin(pi x) + y^2) from 1,000 rows, and Kepler's third law from the
    orbits of the planets and dwarf planets."""
    with _clear_errors():
        _check_folder(out)
        started = time.perf_counter()
        for name, title, dataset, width in _demo_cases(seed):
            click.echo(f"\n{title}")
            from kansym.pipeline import find_formula

            result = find_formula(dataset, width, seed=seed, progress=False, report=_to_stderr)
            click.echo(_summary_text(result))
            if out is not None:
                _write_results(result, dataset, seed, out / name)
        click.echo(f"\nBoth in {time.perf_counter() - started:.0f} s.")


@main.command()
def info() -> None:
    """Versions, threads, and which kernels are in use and why."""
    with _clear_errors():
        import torch

        from kansym.kernels import load as load_kernels

        for package, version in _versions(["kansym", "torch", "numpy", "sympy"]).items():
            click.echo(f"{package + ':':9s} {version}")
        click.echo(f"threads:  {torch.get_num_threads()}")
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        click.echo(f"GPU:      {gpu}")
        kernels = load_kernels()
        click.echo(f"kernels:  {kernels.name}: {kernels.reason}")


def _check_folder(out: Path | None) -> None:
    """Make the folder before the search rather than lose its results after it."""
    if out is None:
        return
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must name a folder, got the file {str(out)!r}")
    out.mkdir(parents=True, exist_ok=True)


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


def _summary_text(result: FormulaResult) -> str:
    lines = ["", *(f"  {line}" for line in str(result.formula).splitlines()), ""]
    for target, r2, rmse, spline in zip(
        result.formula.target_names, result.r2, result.rmse, result.spline_rmse, strict=True
    ):
        lines.append(
            f"  {target}: R2 = {r2:.10g}, RMSE = {rmse:.3g} on the {result.tested_on} rows "
            f"(splines: {spline:.3g})"
        )
    lines += [f"  note: {remark}" for remark in result.remarks]
    named = ", ".join(f"{step.edge} {step.name}" for step in result.steps)
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
    return "\n".join([*lines, f"  edges (layer, input, output): {named}", f"  {stages}"])


def _model_text(kan: KAN) -> str:
    from kansym.errors import NotSymbolicError

    lines = [f"width {[tuple(row) for row in kan.width]}, {kan.n_active_edges} active edges"]
    try:
        has_targets = kan.sample is not None and kan.sample.y is not None
        lines += [str(kan.symbolic_formula(snap=has_targets))]
    except NotSymbolicError as error:
        lines += [f"no formula yet: {error}"]
    if kan.sample is not None:
        names = kan.feature_names or [f"x{i + 1}" for i in range(kan.n_in)]
        for name, score in zip(names, kan.feature_scores().tolist(), strict=True):
            lines.append(f"  {name}: score {score:.3f}")
    return "\n".join(lines)


def _write_results(result: FormulaResult, dataset: Dataset, seed: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "formula.txt").write_text(f"{result.formula}\n", encoding="utf-8")
    (out / "formula.tex").write_text(f"{result.formula.latex()}\n", encoding="utf-8")
    (out / "summary.json").write_text(_summary_json(result, dataset, seed), encoding="utf-8")
    for name in ("network.svg", "network.png"):
        _save_picture(result.model, out / name, result.formula)
    result.model.save(out / "model.kansym", sample=True)
    click.echo(f"  written to {out}{'' if str(out).endswith('/') else '/'}", err=True)


def _save_picture(kan: KAN, path: Path, formula: Formula | None = None) -> None:
    figure = kan.plot(formula=formula or False).get_figure(root=True)
    assert figure is not None
    figure.savefig(path, dpi=200)


def _summary_json(result: FormulaResult, dataset: Dataset, seed: int) -> str:
    formula = result.formula
    summary = {
        "formula": {t: str(e) for t, e in zip(formula.target_names, formula.exprs, strict=True)},
        "variables": dict(zip(map(str, formula.variables), formula.names, strict=True)),
        "snapped": [{"value": value, "exact": str(exact)} for value, exact in formula.snapped],
        "edges": [
            {"edge": step.edge, "function": step.name, "R2": step.r2} for step in result.steps
        ],
        "tested_on": result.tested_on,
        "R2": result.r2,
        "RMSE": result.rmse,
        "spline_RMSE": result.spline_rmse,
        "rows": {
            "train": len(dataset.X),
            "test": 0 if dataset.X_test is None else len(dataset.X_test),
        },
        "width": result.width,
        "seed": seed,
        "seconds": {name: round(seconds, 3) for name, seconds in result.seconds.items()},
        "versions": _versions(["kansym", "torch", "sympy", "numpy", "scipy"]),
    }
    return json.dumps(summary, indent=2) + "\n"


def _versions(packages: Sequence[str]) -> dict[str, str]:
    from importlib.metadata import version

    return {package: version(package) for package in packages}


def _to_stderr(line: str) -> None:
    click.echo(f"  {line}", err=True)


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    """A user's mistake is one line on standard error and exit status 1, never a traceback."""
    import warnings

    from kansym.errors import KansymError

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        click.echo(f"warning: {message}", err=True)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    except (ValueError, OSError, KansymError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
