"""The command line. Heavy imports happen inside commands, so that --help answers at once.

kansym fit DATA --target COLUMN     a formula for a table, its LaTeX and a diagram
kansym fit-many FOLDER --target COLUMN   a table of formulas for a folder of tables
kansym predict MODEL DATA           outputs of a saved model for a table
kansym show MODEL                   formula, scores and picture of a saved model
kansym export MODEL --to c          its formula in another language, or the network as ONNX
kansym demo                         two laws found again from data
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kansym.errors import shown
from kansym.files import in_use, write_atomically

if TYPE_CHECKING:
    from kansym.datasets import Dataset
    from kansym.estimator import KANRegressor
    from kansym.model import KAN
    from kansym.pipeline import FormulaResult
    from kansym.sweeps import Row
    from kansym.symbolic import Formula

MAX_WIDTH_TEXT, MAX_EDGES = 100, 100_000  # what --width may ask for
NAMELESS = ("sympy", "latex", "align", "excel")  # exports that write no function
OUT_HELP = "Folder for the results; made if missing."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kansym")
def main() -> None:
    """Turn data into formulas a scientist can read."""


JOBS_HELP = "Processes, -1 for all cores; default: one, or all with --backend."
BACKEND_HELP = "What runs the processes; default with --jobs: loky, on this machine."
SCHEDULER_HELP = "Address of the dask scheduler or the ray cluster."


class WidthType(click.ParamType):
    """2,5,1 or 2,3+1,1: nodes of each row; 3+1 is three sum nodes and one product node."""

    name = "width"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[int | list[int]]:
        if isinstance(value, list):
            return value
        text = str(value)
        if len(text) > MAX_WIDTH_TEXT or not re.fullmatch(r"-?[0-9]{1,9}([,+]-?[0-9]{1,9})*", text):
            self.fail(
                f"{shown(value)} is not a width; write for example 2,5,1 or 2,3+1,1", param, ctx
            )
        rows = [[int(n) for n in row.split("+")] for row in text.split(",")]
        edges = sum(sum(before) * sum(after) for before, after in itertools.pairwise(rows))
        if edges > MAX_EDGES:
            self.fail(f"{shown(value)} asks for {edges} edges, more than {MAX_EDGES}", param, ctx)
        return [row[0] if len(row) == 1 else row for row in rows]


class UnitsType(click.ParamType):
    """m=kg,v=m/s: the unit of every column, the target's included."""

    name = "units"

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, str]:
        if isinstance(value, dict):
            return value
        pairs = [part.partition("=") for part in str(value).split(",")]
        if not all(column.strip() and equals for column, equals, _ in pairs):
            self.fail(f"{shown(value)} are no units; write for example m=kg,v=m/s", param, ctx)
        return {column.strip(): unit.strip() for column, _, unit in pairs}


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
@click.option(
    "--functions",
    "--lib",
    "lib",
    type=ListType(),
    help="Functions to use, e.g. x,x^2,sin,exp; default: all.",
)
@click.option("--units", type=UnitsType(), help="Of every column and the target: m=kg,v=m/s,E=J.")
@click.option("--jobs", type=int, help=JOBS_HELP)
@click.option("--backend", type=click.Choice(["loky", "dask", "ray"]), help=BACKEND_HELP)
@click.option("--scheduler", help=SCHEDULER_HELP)
@click.option(
    "--width",
    type=WidthType(),
    help="Train one network with these nodes in each row, e.g. 2,5,1 or 2,3+1,1, instead.",
)
@click.option("--lamb", type=float, help="With --width: weight of sparsity.  [default: 0.001]")
@click.option("--steps", type=int, help="With --width: of sparse training.  [default: 60]")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of split and search.",
)
@click.option(
    "--max-time",
    type=float,
    default=60.0,
    show_default=True,
    help="Seconds; what is under way is finished.",
)
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
@click.option("--resume", is_flag=True, help="Go on with the unfinished run in --out, if any.")
@click.option("--progress/--no-progress", default=None, help="Default: only on a terminal.")
def fit(
    data: Path,
    target: str,
    features: list[str] | None,
    lib: list[str] | None,
    units: dict[str, str] | None,
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
    command = _command_text()
    with _clear_errors(), _signals() as caught, _run_folder(out, resume, caught) as unfinished:
        of_search = {"--units": units, "--jobs": jobs}
        of_search |= {"--backend": backend, "--scheduler": scheduler}
        _check_options(width, {"--lamb": lamb, "--steps": steps}, of_search)
        from kansym.tables import read_table, table_dataset

        dataset = table_dataset(read_table(data), target, features, seed=seed)
        shows = sys.stderr.isatty() if progress is None else progress
        if width is None:
            from kansym.workers import connected

            jobs = -1 if backend is not None and jobs is None else jobs
            with connected(backend, scheduler):
                _search(
                    dataset, lib, units, jobs, seed, max_time, shows, out, command, unfinished,
                    caught,
                )  # fmt: skip
            return
        from kansym.pipeline import Recipe, find_formula

        given = {"lamb": lamb, "steps": steps}
        recipe = Recipe(**{name: value for name, value in given.items() if value is not None})
        result = find_formula(
            dataset,
            width,
            lib=lib,
            recipe=recipe,
            seed=seed,
            max_time=max_time,
            progress=shows,
            report=_to_stderr,
            checkpoint=unfinished,
        )
        click.echo(_summary_text(result))
        if out is not None:
            _write_results(result, dataset, seed, out, command)


@main.command("fit-many")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="Column to explain, of every table.")
@click.option(
    "--features", type=ListType(), help="Columns to explain it with; default: all others."
)
@click.option("--functions", type=ListType(), help="Functions to use; default: all.")
@click.option("--units", type=UnitsType(), help="Of every column and the target: m=kg,v=m/s,E=J.")
@click.option("--jobs", type=int, help=JOBS_HELP)
@click.option("--backend", type=click.Choice(["loky", "dask", "ray"]), help=BACKEND_HELP)
@click.option("--scheduler", help=SCHEDULER_HELP)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of splits and searches.",
)
@click.option(
    "--max-time", type=float, default=60.0, show_default=True, help="Seconds for each table."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help=OUT_HELP)
@click.option("--resume", is_flag=True, help="Keep results in --out; search what is left.")
def fit_many(
    folder: Path,
    target: str,
    features: list[str] | None,
    functions: list[str] | None,
    units: dict[str, str] | None,
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
    with _clear_errors(), _signals():
        from kansym.sweeps import TABLE, Sweep, check_out, sweep, tables_of
        from kansym.workers import connected, n_workers

        files = tables_of(folder)
        check_out(folder, out, resume)
        _check_folder(out)
        settings = Sweep(
            target, _tuple(features), _tuple(functions), units, seed=seed, max_time=max_time
        )
        jobs = -1 if backend is not None and jobs is None else jobs
        with in_use(out, "--out"), connected(backend, scheduler):
            workers = n_workers(jobs, len(files))
            rows = sweep(files, out, settings, workers, partial(_tell_row, len(files)))
        failed = sum(row.error is not None for row in rows)
        click.echo(f"{len(rows)} tables, {failed} with an error; written to {out / TABLE}")


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _tell_row(n: int, done: int, row: Row) -> None:
    from kansym.errors import visible

    said = f"error: {row.error}"
    if row.error is None:
        said = f"{row.target} = {row.formula}  ({row.verdict})"
    _to_stderr(f"{done} of {n}  {visible(row.file)}: {visible(said)}")


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="CSV file; default: standard output.")
@click.option("--raw-names", is_flag=True, help="Write the header exactly as the model has it.")
def predict(model: Path, data: Path, out: Path | None, raw_names: bool) -> None:
    """Outputs of a saved model for every row of a table, as CSV.

    A name in the header that a spreadsheet would run as a formula (it begins with = + - or @) gets
    an apostrophe in front, and what does not print becomes a space; --raw-names leaves both out.
    """
    with _clear_errors():
        import pandas as pd

        from kansym.model import load
        from kansym.symbolic.names import cell_text
        from kansym.tables import read_table

        kan = load(model)
        frame = read_table(data)
        names = list(kan.feature_names or [])
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise ValueError(f"{data} lacks the columns {missing}; it has {list(frame.columns)}")
        values = kan.predict(frame[names] if names else frame)
        targets = list(kan.target_names or [f"y{o + 1}" for o in range(kan.n_out)])
        header = targets if raw_names else [cell_text(name) for name in targets]
        text = pd.DataFrame(values, columns=header).to_csv(index=False)
        if out is None:
            click.echo(text, nl=False)
        else:
            write_atomically(out, text)


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
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "target",
    required=True,
    help="sympy, latex, align, python, numpy, torch, jax, c, fortran, julia, matlab, excel; onnx.",
)
@click.option("--name", help="Of the function to write.  [default: formula]")
@click.option("--out", type=click.Path(path_type=Path), help="File; default: standard output.")
def export(model: Path, target: str, name: str | None, out: Path | None) -> None:
    """The formula of a saved model in another language.

    Constants are exact where the rows in the file bear it out, as in `show`. onnx is the network
    itself, splines or not, and needs --out.
    """
    with _clear_errors():
        from kansym.errors import check_choice
        from kansym.model import load
        from kansym.symbolic.exports import EXPORTS

        check_choice("--to", target, [*EXPORTS, "onnx"])
        kan = load(model)
        if target == "onnx":
            if out is None or name is not None:
                raise ValueError(
                    "--to onnx writes a binary file: it needs --out and takes no --name"
                )
            kan.to_onnx(out)
            return
        if name is not None and target in NAMELESS:
            raise ValueError(f"--name cannot be used with --to {target}, which writes no function")
        text = _formula(kan).to(target, **({} if name is None else {"name": name})).rstrip("\n")
        if out is None:
            click.echo(text)
        else:
            write_atomically(out, f"{text}\n")


@main.command()
@click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
def demo(out: Path | None, seed: int) -> None:
    """Find two laws again: exp(sin(pi x) + y^2) from 1,000 rows, and Kepler's third law from the
    orbits of the planets and dwarf planets."""
    command = _command_text()
    with _clear_errors():
        _check_folder(out)
        started = time.perf_counter()
        with contextlib.nullcontext() if out is None else in_use(out, "--out"):
            for name, title, dataset, width in _demo_cases(seed):
                click.echo(f"\n{title}")
                from kansym.pipeline import find_formula

                result = find_formula(dataset, width, seed=seed, progress=False, report=_to_stderr)
                click.echo(_summary_text(result))
                if out is not None:
                    _write_results(result, dataset, seed, out / name, command)
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


def _command_text() -> str:
    """The command that is running, with the options that were given."""
    import shlex

    context = click.get_current_context()
    words = ["kansym", str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        value = context.params.get(name)
        source = context.get_parameter_source(name)
        if source != click.core.ParameterSource.COMMANDLINE or isinstance(value, bool):
            continue
        words += [] if isinstance(parameter, click.Argument) else [parameter.opts[0]]
        words.append(_option_text(value))
    return shlex.join(words)


def _option_text(value: Any) -> str:
    """The value of an option as it is written: 2,3+1,1 or m=kg,v=m/s."""
    if isinstance(value, dict):
        return ",".join(f"{name}={unit}" for name, unit in value.items())
    if isinstance(value, list):
        return ",".join("+".join(map(str, v)) if isinstance(v, list) else str(v) for v in value)
    return str(value)


def _check_options(width: Any, of_network: dict[str, Any], of_search: dict[str, Any]) -> None:
    """Refuse what would be ignored."""
    wrong = [name for name, value in (of_search if width else of_network).items() if value]
    if wrong:
        side = "cannot be used with" if width else "needs"
        raise ValueError(f"{wrong[0]} {side} --width")


def _check_folder(out: Path | None) -> None:
    """Make the folder before the search rather than lose its results after it."""
    if out is None:
        return
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must name a folder, got the file {str(out)!r}")
    out.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGTERM is an interrupt as Ctrl-C is; yields the signals that came, and exits with 128 plus
    the last of them, whether the work was ended by it or came to an end with what it had."""
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    heard = (signal.SIGINT, signal.SIGTERM)
    # One that is ignored, as under nohup, stays so.
    before = {n: signal.getsignal(n) for n in heard if signal.getsignal(n) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, note)
    try:
        yield caught
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(128 + (caught or [signal.SIGINT])[-1])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        sys.exit(128 + caught[-1])


@contextlib.contextmanager
def _run_folder(out: Path | None, resume: bool, caught: list[int]) -> Iterator[Path | None]:
    """Where to keep the run while it is unfinished, in --out, which no other process may use until
    the end; None without --out. Removed when the run has come to its end without a signal."""
    if out is None:
        if resume:
            raise ValueError("--resume needs --out, the folder of the unfinished run")
        yield None
        return
    _check_folder(out)
    with in_use(out, "--out"):
        unfinished = out / "unfinished"
        files = [p for p in unfinished.rglob("*") if p.suffix in (".json", ".kansym")]
        if files and not resume:
            raise ValueError(
                f"--out {str(out)!r} holds an unfinished run; add --resume to go on with it, "
                f"remove {str(unfinished)!r}, or choose another folder"
            )
        yield unfinished
        if not caught and unfinished.exists():
            shutil.rmtree(unfinished)


def _search(
    dataset: Dataset,
    lib: list[str] | None,
    units: dict[str, str] | None,
    jobs: int | None,
    seed: int,
    max_time: float,
    shows: bool,
    out: Path | None,
    command: str,
    unfinished: Path | None,
    caught: list[int],
) -> None:
    """Search for a formula, print it and write the results.

    unfinished: where to keep the search meanwhile. caught: signals that came.
    """
    import pandas as pd

    from kansym.estimator import KANRegressor

    assert dataset.feature_names is not None
    assert dataset.target_names is not None
    est = KANRegressor(
        max_time=max_time,
        random_state=seed,
        n_jobs=jobs,
        functions=lib or "default",
        units=units,
        progress=shows,
        checkpoint=unfinished,
    )
    started = time.perf_counter()
    y = pd.Series(dataset.y[:, 0].numpy(), name=dataset.target_names[0])
    est.fit(_frame(dataset, dataset.X), y)
    seconds = time.perf_counter() - started
    if caught:
        more = "; --resume goes on" if out is not None else ""
        _to_stderr(f"interrupted: the best formula so far{more}")
    judged = _judged(est, dataset)
    click.echo(_search_text(est, judged, seconds))
    if out is not None:
        _write_search(est, dataset, judged, seed, seconds, bool(caught), out, command)


def _frame(dataset: Dataset, X: Any) -> Any:
    """Rows of the table under the names of its columns."""
    import pandas as pd

    return pd.DataFrame(X.numpy(), columns=list(dataset.feature_names or ()))


def _judged(est: KANRegressor, dataset: Dataset) -> tuple[float, float, str]:
    """R2 and RMSE on the rows of the test part, or on all where there is none."""
    from kansym.sweeps import judged

    where = "train" if dataset.X_test is None else "test"
    X, y = (dataset.X, dataset.y) if dataset.X_test is None else (dataset.X_test, dataset.y_test)
    assert y is not None
    return *judged(est.formula_, X.numpy(), y.numpy()), where


def _search_text(est: KANRegressor, judged: tuple[float, float, str], seconds: float) -> str:
    from kansym.errors import visible

    r2, rmse, where = judged
    target = visible(est.formula_.target_names[0])
    lines = ["", *(f"  {line}" for line in str(est.formula_).splitlines()), ""]
    lines += [
        f"  {est.verdict_}: {est.reason_}",
        f"  {target}: R2 = {r2:.10g}, RMSE = {rmse:.3g} on the {where} rows "
        f"(splines: {est.spline_rmse_:.3g}, noise: {est.noise_:.3g})",
    ]
    lines += [f"  rival: {target} = {formula}" for formula in _formulas(est.rivals_)]
    lines += ["", "  complexity     R2           formula"]
    for row in _records(est.equations_):
        mark = "*" if row["chosen"] else " "
        lines.append(f"  {row['complexity']:6d} {mark}   {row['R2']:12.9g}  {row['formula']}")
    return "\n".join([*lines, f"\n  search {seconds:.1f} s"])


def _records(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _formulas(frame: Any) -> list[str]:
    return list(frame["formula"])


def _write_search(
    est: KANRegressor,
    dataset: Dataset,
    judged: tuple[float, float, str],
    seed: int,
    seconds: float,
    interrupted: bool,
    out: Path,
    command: str,
) -> None:
    from kansym.errors import KansymError

    formula = est.formula_
    _write_formula(formula, out)
    write_atomically(out / "equations.csv", _equations_csv(est))
    r2, rmse, where = judged
    (target,), names = formula.target_names, formula.names
    summary = {
        "formula": {target: str(formula.exprs[0])},
        "variables": dict(zip(map(str, formula.variables), names, strict=True)),
        "verdict": str(est.verdict_),
        "reason": est.reason_,
        "rivals": _formulas(est.rivals_),
        "noise": est.noise_,
        "importance": dict(zip(names, est.feature_importances_.tolist(), strict=True)),
        "tested_on": where,
        "R2": [r2],
        "RMSE": [rmse],
        "spline_RMSE": [est.spline_rmse_],
        **_run_facts(dataset, seed),
        "interrupted": interrupted,
        "seconds": {"search": round(seconds, 3)},
    }
    write_atomically(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    try:
        network = est.network_
    except (ValueError, KansymError) as error:
        _to_stderr(f"no network and no model.kansym: {error}")
    else:
        _write_network(network, formula, out)
    kept = None if dataset.X_test is None else _frame(dataset, dataset.X_test)
    est.report(out / "report.html", kept, dataset.y_test, code=command)
    _tell_folder(out)


def _equations_csv(est: KANRegressor) -> str:
    """`equations_table` for a spreadsheet: no cell is a formula there."""
    from kansym.symbolic.names import cell_text

    table = est.equations_table()
    for column in ("target", "formula"):
        table[column] = [cell_text(text) for text in table[column]]
    return table.to_csv(index=False)


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
    from kansym.errors import visible

    lines = ["", *(f"  {line}" for line in str(result.formula).splitlines()), ""]
    for target, r2, rmse, spline in zip(
        result.formula.target_names, result.r2, result.rmse, result.spline_rmse, strict=True
    ):
        lines.append(
            f"  {visible(target)}: R2 = {r2:.10g}, RMSE = {rmse:.3g} on the {result.tested_on} "
            f"rows (splines: {spline:.3g})"
        )
    lines += [f"  note: {remark}" for remark in result.remarks]
    named = ", ".join(f"{step.edge} {step.name}" for step in result.steps)
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
    return "\n".join([*lines, f"  edges (layer, input, output): {named}", f"  {stages}"])


def _model_text(kan: KAN) -> str:
    from kansym.errors import NotSymbolicError, visible

    lines = [f"width {[tuple(row) for row in kan.width]}, {kan.n_active_edges} active edges"]
    try:
        lines += [str(_formula(kan))]
    except NotSymbolicError as error:
        lines += [f"no formula yet: {error}"]
    if kan.sample is not None:
        names = kan.feature_names or [f"x{i + 1}" for i in range(kan.n_in)]
        for name, score in zip(names, kan.feature_scores().tolist(), strict=True):
            lines.append(f"  {visible(name)}: score {score:.3f}")
    return "\n".join(lines)


def _formula(kan: KAN) -> Formula:
    """With exact constants where there are rows to judge them by."""
    has_targets = kan.sample is not None and kan.sample.y is not None
    return kan.symbolic_formula(snap=has_targets)


def _write_results(
    result: FormulaResult, dataset: Dataset, seed: int, out: Path, command: str
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    _write_formula(result.formula, out)
    write_atomically(out / "summary.json", _summary_json(result, dataset, seed))
    _write_network(result.model, result.formula, out)
    result.report(out / "report.html", code=command)
    _tell_folder(out)


def _write_formula(formula: Formula, out: Path) -> None:
    write_atomically(out / "formula.txt", f"{formula}\n")
    write_atomically(out / "formula.tex", f"{formula.latex()}\n")


def _write_network(kan: KAN, formula: Formula, out: Path) -> None:
    for name in ("network.svg", "network.png"):
        _save_picture(kan, out / name, formula)
    kan.save(out / "model.kansym", sample=True)


def _tell_folder(out: Path) -> None:
    click.echo(f"  written to {out}{'' if str(out).endswith('/') else '/'}", err=True)


def _save_picture(kan: KAN, path: Path, formula: Formula | None = None) -> None:
    figure = kan.plot(formula=formula or False).get_figure(root=True)
    assert figure is not None
    picture = io.BytesIO()
    figure.savefig(picture, dpi=200, format=path.suffix.removeprefix(".") or "png")
    write_atomically(path, picture.getvalue())


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
        "width": result.width,
        **_run_facts(dataset, seed),
        "seconds": {name: round(seconds, 3) for name, seconds in result.seconds.items()},
    }
    return json.dumps(summary, indent=2) + "\n"


def _run_facts(dataset: Dataset, seed: int) -> dict[str, Any]:
    """What it takes to repeat a run."""
    n_test = 0 if dataset.X_test is None else len(dataset.X_test)
    return {
        "rows": {"train": len(dataset.X), "test": n_test},
        "seed": seed,
        "versions": _versions(["kansym", "torch", "sympy", "numpy", "scipy"]),
    }


def _versions(packages: Sequence[str]) -> dict[str, str]:
    from importlib.metadata import version

    return {package: version(package) for package in packages}


def _to_stderr(line: str) -> None:
    click.echo(f"  {line}", err=True)


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    """A user's mistake is one line on standard error and exit status 1, never a traceback."""
    import warnings

    from kansym.errors import KansymError, visible_lines

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        click.echo(f"warning: {visible_lines(message)}", err=True)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    except (ValueError, OSError, ImportError, KansymError) as error:
        raise click.ClickException(visible_lines(error)) from error


if __name__ == "__main__":
    main()
