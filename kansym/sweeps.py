"""A folder of tables in, a table of formulas out.

Every table is searched by `KANRegressor`, side by side where there are workers, and what was found
is written as soon as it is there: a run that was ended goes on with the tables that are left.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kansym.errors import WorkerError
from kansym.files import write_atomically
from kansym.functions import get_library
from kansym.workers import Task, side_by_side, version

if TYPE_CHECKING:
    from kansym.symbolic.formula import Formula

SUFFIXES = (".csv", ".tsv", ".parquet")
RESULTS, TABLE = "results", "formulas.csv"
TEXTS = ("file", "target", "formula", "error")  # cells with words from outside
MOST_WORDS = 500  # characters of an error
PAUSE = 5.0  # seconds between two writings of the whole table
LONGEST = 60  # characters of a file's own name in that of its results


@dataclass(frozen=True)
class Sweep:
    """How every table is searched: arguments of `KANRegressor`, and the columns.

    features: columns; None for all but the target. max_time: seconds for each table.
    """

    target: str
    features: tuple[str, ...] | None = None
    functions: tuple[str, ...] | None = None
    units: dict[str, str] | None = None
    outliers: str = "keep"
    seed: int = 0
    max_time: float | None = 60.0


@dataclass(frozen=True)
class Row:
    """What was found for one table; where there is an `error`, nothing else was.

    R2, RMSE: on the rows of the test part, or on all where there is none. seconds: of the search.
    """

    file: str
    target: str
    formula: str | None = None
    verdict: str | None = None
    R2: float | None = None
    RMSE: float | None = None
    complexity: int | None = None
    seconds: float | None = None
    error: str | None = None


def tables_of(folder: Path) -> list[Path]:
    """The CSV, TSV and Parquet files of a folder by name, without hidden ones.

    Raises ValueError where there are none.
    """
    if not folder.is_dir():
        raise ValueError(f"folder must name a folder with tables, got {str(folder)!r}")
    kept = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
    found = sorted(p for p in kept if not p.name.startswith("."))
    if not found:
        raise ValueError(f"folder {str(folder)!r} holds no {', '.join(SUFFIXES)} file")
    return found


def check_out(folder: Path, out: Path, resume: bool) -> None:
    """Raise ValueError where results would be taken for tables, or a run goes on unasked."""
    if out.resolve() == folder.resolve():
        raise ValueError("--out must be another folder than that of the tables")
    if not resume and any((out / RESULTS).glob("*.json")):
        raise ValueError(
            f"--out {str(out)!r} holds results of a run; add --resume to keep those that are still "
            "true and search the other tables, or choose another folder"
        )


def sweep(
    files: list[Path],
    out: Path,
    settings: Sweep,
    workers: int,
    tell: Callable[[int, Row], None],
) -> list[Row]:
    """Search the tables; a row each, in the order of `files`.

    out: folder, which takes `formulas.csv` with all rows and in `results` a file for every table.
    Results found there are kept where table, settings and versions are the same; errors are tried
    again. tell: called with how many tables are done and the row of the last. KeyboardInterrupt
    leaves what is finished on disk, and is passed on; so is a WorkerError from workers with another
    version. What is wrong with a table is the `error` of its row. Raises ValueError for settings
    that no table can be searched with.
    """
    get_library(settings.functions)
    if settings.max_time is not None and not settings.max_time > 0:
        raise ValueError(f"max_time must be > 0 seconds or None, got {settings.max_time}")
    (out / RESULTS).mkdir(exist_ok=True)
    rows: dict[Path, Row] = {}
    keys: dict[Path, str] = {}
    written = time.monotonic()

    def note(file: Path, row: Row) -> None:
        rows[file] = row
        tell(len(rows), row)

    def tasks() -> Iterator[Task]:
        """Of the tables that are to be searched; read here, as workers may not have the files."""
        for file in files:
            try:
                keys[file] = _key(file, settings)
                known = _known(_place(out, file), keys[file])
                arguments = _arguments(file, settings) if known is None else ()
            except Exception as error:  # a table that is no table shall not end the run
                note(file, Row(file.name, settings.target, error=_words(error)))
                continue
            if known is None:
                yield file, arguments
            else:
                note(file, known)

    try:
        with closing(side_by_side(_search, tasks(), workers)) as results:
            for file, result in results:
                is_lost = isinstance(result, WorkerError)
                facts: dict[str, Any] = {"error": _words(result)} if is_lost else result["row"]
                row = Row(file.name, settings.target, **facts)
                if row.error is None:
                    content = {"key": keys[file], **result, "row": asdict(row)}
                    write_atomically(_place(out, file), json.dumps(content, indent=2) + "\n")
                note(file, row)
                if time.monotonic() - written > PAUSE:
                    _write_table(out, files, rows)
                    written = time.monotonic()
    finally:
        _write_table(out, files, rows)
    return [rows[file] for file in files]


def judged(formula: Formula, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """R2 and RMSE of a formula at rows X [n, columns], y [n, 1]; R2 is NaN for a constant y."""
    mse = float(np.mean((formula.evaluate(X) - y) ** 2))
    variance = float(np.var(y))
    return (1 - mse / variance if variance > 0 else float("nan")), mse**0.5


def _arguments(file: Path, settings: Sweep) -> tuple[Any, ...]:
    """Of `_search`."""
    from kansym.tables import read_table, table_dataset

    data = table_dataset(read_table(file), settings.target, settings.features, seed=settings.seed)
    X, y = data.X.numpy(), data.y.numpy()
    X_test = X if data.X_test is None else data.X_test.numpy()
    y_test = y if data.y_test is None else data.y_test.numpy()
    return X, y, X_test, y_test, data.feature_names, settings


def _search(
    X: np.ndarray,
    y: np.ndarray,
    X_test: np.ndarray,
    y_test: np.ndarray,
    names: tuple[str, ...],
    settings: Sweep,
) -> dict[str, Any]:
    """Numbers and texts of one search, fit for JSON; "row": what a `Row` has of it."""
    import pandas as pd

    from kansym.estimator import KANRegressor

    est = KANRegressor(
        max_time=settings.max_time,
        random_state=settings.seed,
        n_jobs=1,
        functions=settings.functions or "default",
        units=settings.units,
        outliers=settings.outliers,
        progress=False,
    )
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the verdict says what there is to say
            est.fit(pd.DataFrame(X, columns=list(names)), pd.Series(y[:, 0], name=settings.target))
            seconds = time.perf_counter() - started
            (found,) = est._discoveries()
            if found.stopped == "interrupted":
                raise KeyboardInterrupt
            r2, rmse = judged(est.formula_, X_test, y_test)
            equations = est.equations_table().drop(columns="target").to_dict("records")
    except Exception as error:  # a table that ends its search shall not end the others'
        return {"row": {"error": _words(error)}}
    return {
        "row": {
            "formula": str(est.formula_.exprs[0]),
            "verdict": str(found.verdict),
            "R2": _number(r2),
            "RMSE": _number(rmse),
            "complexity": found.chosen.complexity,
            "seconds": round(seconds, 3),
        },
        "variables": dict(zip(map(str, est.formula_.variables), names, strict=True)),
        "reason": found.reason,
        "noise": _number(found.noise),
        "outliers": len(est.outliers_),
        "latex": est.latex(),
        "equations": [{k: _number(v) for k, v in row.items()} for row in equations],
    }


def _number(value: Any) -> Any:
    """None for NaN and infinities, which JSON lacks."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _words(error: Exception) -> str:
    words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return words[:MOST_WORDS]


def _key(file: Path, settings: Sweep) -> str:
    """Equal where the same search would be done: of content, settings and versions."""
    how = json.dumps([asdict(settings), version()], sort_keys=True)
    return hashlib.sha256(hashlib.sha256(file.read_bytes()).digest() + how.encode()).hexdigest()


def _place(out: Path, file: Path) -> Path:
    """Where a table's results go: readable, and different for every name."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", file.name)[:LONGEST]
    mark = hashlib.sha256(file.name.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return out / RESULTS / f"{plain}-{mark}.json"


def _known(place: Path, key: str) -> Row | None:
    """What an earlier run has found; None where there is nothing, or something else."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        content = json.loads(place.read_text(encoding="utf-8"))
        if content["key"] == key:
            return Row(**content["row"])
    return None


def _write_table(out: Path, files: list[Path], rows: dict[Path, Row]) -> None:
    """`formulas.csv`, safe to open in a spreadsheet."""
    import pandas as pd

    from kansym.symbolic.names import cell_text

    records = [asdict(rows[file]) for file in files if file in rows]
    for record in records:
        for name in TEXTS:
            record[name] = None if record[name] is None else cell_text(record[name])
    frame = pd.DataFrame(records, columns=list(Row.__dataclass_fields__))
    write_atomically(out / TABLE, frame.astype({"complexity": "Int64"}).to_csv(index=False))
