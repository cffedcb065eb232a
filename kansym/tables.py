"""Tables in: CSV and Parquet files and frames become a `Dataset`; one table comes along."""

from __future__ import annotations

import csv
import importlib.resources
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kansym.arrays import as_matrix, as_targets, columns_text
from kansym.datasets import Dataset
from kansym.errors import shown, suggestion

if TYPE_CHECKING:
    import pandas as pd

# Below this many rows a test part would be too small to mean anything.
MIN_ROWS_FOR_TEST = 50
# What a file may ask for. Repeated values take no room in a Parquet file: of its cells, some are
# free, and more only with the size of the file.
MAX_COLUMNS = 10_000
MAX_LINE = 10_000_000  # bytes
MAX_BLANK_LINES = 10_000
FREE_CELLS = 10_000_000
MAX_CELLS_PER_BYTE = 10


def read_table(path: str | Path) -> pd.DataFrame:
    """The table in a .csv, .tsv, .txt (separator guessed) or .parquet file.

    Raises FileNotFoundError when there is no such file, ValueError when it cannot be read, has no
    rows, has more than 10,000 columns, or uses a column name twice (pandas would rename the
    second). A CSV file has no checksum: where one digit was damaged, another number is read. Pages
    of a Parquet file are checked where its writer has left checksums.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path {str(path)!r} does not exist")
    if not path.is_file():
        raise ValueError(f"path {str(path)!r} is not a file")
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv", ".txt", ".parquet"):
        raise ValueError(
            f"path must end in .csv, .tsv, .txt or .parquet, got {path.name!r}; read it with"
            " pandas and pass the DataFrame"
        )
    frame = _read_parquet(path) if suffix == ".parquet" else _read_text(path, suffix)
    if frame.empty:
        raise ValueError(f"{path.name!r} has no rows of data, only {columns_text(frame.shape[1])}")
    return frame


def table_dataset(
    frame: pd.DataFrame,
    target: str,
    features: Sequence[str] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Dataset:
    """Columns of a frame as a Dataset with names and a random test part.

    features: names of the input columns; every column but the target by default.
    test_fraction: in [0, 1). With fewer than 50 rows no test part is split off.

    Raises ValueError for unknown names, text columns and missing values.
    """
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction must be in [0, 1), got {test_fraction!r}")
    columns = _check_columns(frame, target, features)
    X = as_matrix(frame[columns], "X", dtype=dtype)
    y = as_targets(frame[target], len(X), 1, "y", dtype)
    if len(X) < 2:
        raise ValueError(f"the table must have at least 2 rows, got {len(X)}")
    names = (tuple(columns), (target,))
    if len(X) < MIN_ROWS_FOR_TEST or round(test_fraction * len(X)) == 0:
        return Dataset(X, y, None, None, *names)
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    test, train = order.split([n := round(test_fraction * len(X)), len(X) - n])
    if len(train) < 2:
        raise ValueError(f"test_fraction {test_fraction!r} leaves fewer than 2 rows to learn from")
    return Dataset(X[train], y[train], X[test], y[test], *names)


def solar_system() -> pd.DataFrame:
    """Semi-major axis (au) and sidereal period (years) of eight planets and five dwarf planets.

    Columns body, semi_major_axis_au, period_years: Kepler's third law, period = axis^1.5, in
    published figures. Source: JPL Solar System Dynamics; which table is said in data/README.md.
    """
    import pandas as pd

    source = importlib.resources.files("kansym") / "data" / "solar_system.csv"
    with source.open("r", encoding="utf-8") as file:
        return pd.read_csv(file)


def _read_text(path: Path, suffix: str) -> pd.DataFrame:
    import pandas as pd

    try:
        _check_bytes(path)
        header, separator = _read_header(path, suffix)
        _check_columns_of_file(header, path)
        frame = pd.read_csv(
            path, sep=separator, skipinitialspace=True, encoding="utf-8-sig", low_memory=False
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name!r} is not text in UTF-8: {error}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, OSError) as error:
        raise ValueError(
            f"{path.name!r} cannot be read as a table: {str(error).strip()}"
        ) from error
    frame.columns = [str(name).strip() for name in frame.columns]
    return frame


def _check_bytes(path: Path) -> None:
    """No zero bytes: blocks that never reached the disk, and text in UTF-16, where a reader would
    end cells. No line that takes more memory than any table needs."""
    open_line = 0  # bytes of the line that the block before did not end
    with path.open("rb") as file:
        while block := file.read(2**20):
            if b"\0" in block:
                raise ValueError(
                    f"{path.name!r} is not text in UTF-8, or damaged: it holds zero bytes"
                )
            ends = [n for n in (block.find(b"\n"), block.find(b"\r")) if n >= 0]
            if open_line + (min(ends) if ends else len(block)) >= MAX_LINE:
                raise ValueError(f"{path.name!r} has a line of {MAX_LINE} bytes or more")
            last = max(block.rfind(b"\n"), block.rfind(b"\r"))
            open_line = len(block) - last - 1 if ends else open_line + len(block)


def _check_columns_of_file(names: Sequence[str], path: Path) -> None:
    if len(names) > MAX_COLUMNS:
        raise ValueError(
            f"{path.name!r} has {columns_text(len(names))}, more than {MAX_COLUMNS}; read it with"
            " pandas and pass a DataFrame of the columns that matter"
        )
    _check_unique(names, repr(path.name))


def _read_header(path: Path, suffix: str) -> tuple[list[str], str]:
    """Column names as they stand in the first line that is not blank, and the separator."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        (line,) = next(_filled(([line] for line in file), path), [""])
        if not line:
            raise ValueError(f"{path.name!r} is empty")
        separator = _separator(line, suffix)
        file.seek(0)  # a quoted name may go on in the next line
        if separator == r"\s+":
            rows = (line.split() for line in file)
        else:
            rows = csv.reader(file, delimiter=separator, skipinitialspace=True)
        filled = _filled(rows, path)
        names, first = next(filled, []), next(filled, [])
    if not names:  # a quotation mark and nothing in it
        raise ValueError(f"{path.name!r} has no header")
    if len(first) > len(names):
        # pandas would take the first column for row labels and shift all names by one.
        raise ValueError(
            f"{path.name!r} has rows longer than its header of {columns_text(len(names))}"
        )
    return [name.strip() for name in names], separator


def _filled(rows: Iterable[list[str]], path: Path) -> Iterator[list[str]]:
    """The rows that are not blank."""
    blank = 0
    for row in rows:
        if any(cell.strip() for cell in row):
            yield row
        elif (blank := blank + 1) > MAX_BLANK_LINES:
            raise ValueError(f"{path.name!r} begins with more than {MAX_BLANK_LINES} blank lines")


def _separator(line: str, suffix: str) -> str:
    """What separates the columns: comma or semicolon in .csv, tab in .tsv, anything in .txt."""
    if suffix == ".tsv":
        return "\t"
    if suffix == ".csv":
        return ";" if ";" in line and "," not in line else ","
    return next((s for s in "\t;," if s in line), r"\s+")


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    try:
        # An open file: of a path, folders called a=1 would become columns.
        with path.open("rb") as raw, pq.ParquetFile(raw, page_checksum_verification=True) as file:
            names, rows = file.schema_arrow.names, file.metadata.num_rows
            _check_columns_of_file(names, path)
            limit = FREE_CELLS + MAX_CELLS_PER_BYTE * path.stat().st_size
            if rows * len(names) > limit:
                raise ValueError(
                    f"it claims {rows} rows, too many for its size; read it with pandas and pass"
                    " the DataFrame"
                )
            return file.read().to_pandas()
    except Exception as error:  # whatever Arrow and pandas make of a damaged file
        raise ValueError(
            f"{path.name!r} cannot be read as Parquet: {str(error).strip()}"
        ) from error


def _check_unique(names: Sequence[str], where: str) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        shown = ", ".join(f"{name!r:.60}" for name in twice[:5])
        raise ValueError(f"column names must be unique; {where} has {shown} twice")


def _check_columns(frame: pd.DataFrame, target: str, features: Sequence[str] | None) -> list[str]:
    """Names of the feature columns, all known, numeric and without gaps."""
    known = [str(name) for name in frame.columns]
    _check_unique(known, "the table")
    if isinstance(features, str):
        raise ValueError(f"features must be a list of column names, got the string {features!r}")
    columns = [n for n in frame.columns if n != target] if features is None else list(features)
    for name in (target, *columns):
        if name not in frame.columns:
            raise ValueError(f"unknown column {shown(name)};{suggestion(name, known)}")
    if target in columns:
        raise ValueError(f"features must not contain the target {target!r}")
    if not columns:
        raise ValueError("features must name at least one column besides the target")
    _check_unique(columns, "features")
    _check_numeric(frame, [target, *columns])
    return columns


def _check_numeric(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    from pandas.api import types

    text = [name for name in columns if not types.is_numeric_dtype(frame[name].dtype)]
    if text:
        raise ValueError(
            f"columns must be numeric, got {', '.join(f'{n!r} ({frame[n].dtype})' for n in text)};"
            " choose the numeric ones with features"
        )
    gaps = frame[list(columns)].isna().to_numpy().sum(0)
    for name, missing in zip(columns, gaps, strict=True):
        if missing:
            raise ValueError(
                f"column {name!r} has {missing} of {len(frame)} values missing; drop or fill those"
                " rows"
            )
