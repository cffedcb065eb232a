"""How often does a method find the law itself, not only something close to it?

    make bench-recovery        or        python -m benchmarks.recovery SET.csv

Every run (equation, method, seed) has a fresh process, and at most 1.5 times the budget plus 30
seconds there: a peer that crashes or hangs costs its row. A second process judges the formula
(judge.py holds the criteria). Rows go to recovery_SET_METHOD_noiseLEVEL.csv as they come; a run
whose row is there, from the same version of the method and with the same settings, is not repeated,
so that a long benchmark can be interrupted. recovery_SET_noiseLEVEL.md sums up all methods' rows.

A set is a CSV as `problems.py` describes; those in equations/ are cited in its README.md.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import common
import problems
import recovery_peers as peers
import recovery_runs
import recovery_tables as tables
from recovery_runs import Row

from kansym.errors import WorkerError
from kansym.workers import BACKENDS, connected, n_workers, side_by_side

cloudpickle.register_pickle_by_value(recovery_runs)

LEAST_LIMIT = 30.0  # seconds on top of 1.5 times the budget
RESULTS = common.ROOT / "benchmarks" / "results"
# What a run is known by, what came out, and what it was about.
SETTINGS = ("version", "budget", "jobs", "options", "asked_rows", "truth")
COLUMNS = (
    *("set", "id", "method", "seed", "noise", "rows"),
    *("recovered", "criterion", "verdict", "exact", "r2_clean", "r2_noisy", "relative_rmse"),
    *("complexity", "cpu_s", "wall_s"),
    *("inside", "outside", "refitted", "moved", "why", "error"),
    *("formula", *SETTINGS),
)


def main() -> None:
    arguments = parse()
    with connected(arguments.backend, arguments.scheduler):
        run_sets(arguments)


def run_sets(arguments: argparse.Namespace) -> None:
    for path in arguments.sets:
        equations = chosen(problems.read_set(path), arguments.only)
        for method in arguments.methods:
            if peers.method(method).is_missing:
                print(f"{path.stem}  {method}: not installed", flush=True)
                continue
            book = Book(path.stem, method, arguments)
            run_all(book, equations, arguments)
        publish(path.stem, equations, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recovery", description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET.csv")
    parser.add_argument(
        "--methods", default="kansym,operon,gplearn,pykan", help="or MODULE:FUNCTION"
    )
    parser.add_argument("--seeds", type=int, default=2, help="so many seeds, from 0 on")
    parser.add_argument("--rows", type=int, default=1000, help="unless the set says how many")
    parser.add_argument(
        "--ignore-sampling", action="store_true", help="--rows whatever the set says"
    )
    parser.add_argument("--noise", type=float, default=0.0, help="in units of the target's spread")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds a method is given")
    parser.add_argument("--jobs", type=int, default=1, help="threads and processes of a method")
    parser.add_argument("--parallel", type=int, help="runs at a time; default: one, or with"
                        " --backend as many as it has workers for")  # fmt: skip
    parser.add_argument("--backend", choices=BACKENDS, help="what carries runs out side by side")
    parser.add_argument("--scheduler", help="address of the dask scheduler or the ray cluster")
    parser.add_argument("--only", default="", metavar="ID,ID")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE",
                        help="passed to the methods, which must then be one")  # fmt: skip
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--fresh", action="store_true", help="repeat runs whose rows are there")
    parser.add_argument("--rejudge", action="store_true", help="judge formulas that are there anew")
    arguments = parser.parse_args()
    if arguments.backend and arguments.parallel is None:
        arguments.parallel = -1
    arguments.methods = arguments.methods.split(",")
    arguments.only = [part for part in arguments.only.split(",") if part]
    arguments.option = dict(map(option, arguments.option))
    if arguments.option and len(arguments.methods) > 1:
        parser.error("--option needs a single method in --methods")
    return arguments


def option(text: str) -> tuple[str, Any]:
    """KEY=VALUE, where the value may be a number, a list, ... or else a text."""
    key, _, value = text.partition("=")
    with suppress(ValueError, SyntaxError):
        return key, ast.literal_eval(value)
    return key, value


def chosen(equations: Sequence[problems.Equation], only: Sequence[str]) -> list[problems.Equation]:
    unknown = set(only) - {equation.id for equation in equations}
    if unknown:
        print(f"not in this set: {', '.join(sorted(unknown))}")
    return [equation for equation in equations if not only or equation.id in only]


# -- rows in files --------------------------------------------------------------------------------


class Book:
    """The rows of one set, method and noise in their CSV file."""

    def __init__(self, set_name: str, method: str, arguments: argparse.Namespace):
        self.set_name, self.method, self.noise = set_name, method, arguments.noise
        self.path = path_of(arguments.out, set_name, method, arguments.noise)
        self.rows = read_rows(self.path)

    def find(self, key: Mapping[str, Any]) -> Row | None:
        wanted = {name: str(value) for name, value in key.items()}
        same = (row for row in self.rows if all(row[name] == wanted[name] for name in wanted))
        return next(same, None)

    def put(self, row: Row) -> None:
        """In place of an older row of the same equation and seed; the file is always whole."""
        row = {name: _text(row.get(name)) for name in COLUMNS}
        old = [other for other in self.rows if _place(other) != _place(row)]
        self.rows = [*old, row]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        with draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        draft.replace(self.path)


def path_of(folder: Path, set_name: str, method: str, noise: float) -> Path:
    return folder / f"recovery_{set_name}_{method.replace(':', '.')}_noise{noise:g}.csv"


def read_rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    csv.field_size_limit(10**7)
    with path.open(newline="") as file:
        return [{name: row.get(name) or "" for name in COLUMNS} for row in csv.DictReader(file)]


def _place(row: Row) -> tuple[str, str]:
    return row["id"], row["seed"]


def _text(value: Any) -> str:
    if value is None or value != value:  # NaN
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


# -- runs -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One equation, method and seed. key: what a row must agree in to stand for this run."""

    equation: problems.Equation
    key: Mapping[str, Any]
    task: Mapping[str, Any]
    limit: float


def runs(
    book: Book, equations: Sequence[problems.Equation], a: argparse.Namespace
) -> Iterator[Run]:
    version = peers.version(book.method)
    rows = f"{a.rows}{' exactly' if a.ignore_sampling else ''}"
    settings = [version, f"{a.budget:g}", a.jobs, json.dumps(a.option, sort_keys=True), rows]
    for seed in range(a.seeds):
        for equation in equations:
            values = [*settings, equation.formula]
            key = {"id": equation.id, "seed": seed, **dict(zip(SETTINGS, values, strict=True))}
            task = {"equation": equation.row, "method": book.method, "seed": seed,
                    "noise": a.noise, "rows": a.rows, "as_set": not a.ignore_sampling,
                    "budget": a.budget, "jobs": a.jobs, "options": a.option}  # fmt: skip
            yield Run(equation, key, task, 1.5 * a.budget + LEAST_LIMIT)


def run_all(book: Book, equations: Sequence[problems.Equation], a: argparse.Namespace) -> None:
    todo = dict(enumerate(runs(book, equations, a)))
    path = recovery_runs.python_path()
    if a.rejudge:
        for run in todo.values():
            if (row := book.find(run.key)) and row["formula"]:
                book.put(row | recovery_runs.judged(run.task, row["formula"], path))
        return
    todo = {at: run for at, run in todo.items() if a.fresh or book.find(run.key) is None}
    tasks = ((at, (run.task, run.limit, path)) for at, run in todo.items())
    workers = n_workers(a.parallel, len(todo))
    with closing(side_by_side(recovery_runs.once, tasks, workers)) as results:
        for i, (at, result) in enumerate(results, 1):
            head = {"set": book.set_name, "method": book.method, "noise": f"{book.noise:g}"}
            if isinstance(result, WorkerError):  # says nothing of the method: no row
                said = f"{todo[at].equation.id} seed {todo[at].task['seed']}  {result}"
            else:
                row = head | dict(todo[at].key) | result
                book.put(row)
                said = tables.line(row)
            print(f"{i}/{len(todo)}  {said}", flush=True)


# -- results --------------------------------------------------------------------------------------


def publish(set_name: str, equations: Sequence[problems.Equation], a: argparse.Namespace) -> None:
    """Print and write the summary: the runs asked for, and other methods' latest rows."""
    asked = {
        method: tables.Of(method, asked_rows(set_name, method, equations, a))
        for method in a.methods
    }
    known = {method.replace(":", ".") for method in asked}
    others = sorted(a.out.glob(path_of(a.out, set_name, "*", a.noise).name))
    methods = list(asked.values())
    for path in others:
        method = path.stem.removeprefix(f"recovery_{set_name}_").removesuffix(f"_noise{a.noise:g}")
        rows = latest(read_rows(path))
        if not a.only and rows and rows[0]["set"] == set_name and method not in known:
            methods.append(tables.Of(method, rows))
    packages = ("kansym", "pyoperon", "gplearn", "pykan", "torch", "scikit-learn", "sympy", "numpy")
    facts = common.environment(a.jobs, common.installed(*packages))
    title = f"Recovery: {set_name}, noise {a.noise:g}"
    found = tables.summary(methods, a.noise)
    text = "\n\n".join(table.markdown() for table in found)
    print(f"\n# {title}\n\n{text}\n", flush=True)
    if not a.only:
        path = a.out / f"recovery_{set_name}_noise{a.noise:g}.md"
        common.write(path, title, text, tables.numbers(methods), facts)


def asked_rows(
    set_name: str, method: str, equations: Sequence[problems.Equation], a: argparse.Namespace
) -> list[Row] | None:
    """Those of exactly the runs asked for; None for a method that is not installed."""
    if peers.method(method).is_missing:
        return None
    book = Book(set_name, method, a)
    found = (book.find(run.key) for run in runs(book, equations, a))
    return [row for row in found if row is not None]


def latest(rows: Sequence[Row]) -> list[Row]:
    """The rows of the settings that were run last."""
    settings = [name for name in SETTINGS if name != "truth"]
    last = [rows[-1][name] for name in settings] if rows else []
    return [row for row in rows if [row[name] for name in settings] == last]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    main()
