"""Data in, tensors out: every table that reaches a model passes through here.

A `Dataset` is X [n, in] and y [n, out] with an optional test part and the names of the columns.
`as_matrix`, `as_targets` and `as_dataset` turn arrays, frames, lists and tensors into it, and
refuse what would go wrong silently later: NaN, text, a y that would broadcast, a column too many.
"""

from __future__ import annotations

import csv
import importlib.resources
import math
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kansym.errors import check_positive_int, suggestion

if TYPE_CHECKING:
    import pandas as pd

# Below this many rows a test part would be too small to mean anything.
MIN_ROWS_FOR_TEST = 50

Ranges = tuple[float, float] | Sequence[Sequence[float]]


@dataclass(frozen=True)
class Dataset:
    """Rows to learn from, and rows kept aside to judge by.

    X: [n, in]. y: [n, out], or class labels [n] as int64. X_test, y_test: both or neither.
    """

    X: Tensor
    y: Tensor
    X_test: Tensor | None = None
    y_test: Tensor | None = None
    feature_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.X_test is None) != (self.y_test is None):
            raise ValueError("X_test and y_test belong together; give both or neither")


def create_dataset(
    f: Callable[[Tensor], Tensor],
    n_var: int,
    ranges: Ranges = (-1.0, 1.0),
    train_num: int = 1000,
    test_num: int = 1000,
    noise: float = 0.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Dataset:
    """f at uniformly random points; the same seed gives the same data.

    f: takes [n, n_var], returns [n], [n, 1] or [n, out].
    ranges: one (low, high) for all variables, or a list with one pair per variable.
    noise: standard deviation of Gaussian noise on y, in units of each output's own.
    test_num: 0 for no test part. The test targets carry the same noise.

    Raises ValueError when f returns another shape or something not finite.
    """
    check_positive_int("n_var", n_var)
    check_positive_int("train_num", train_num, 2)
    check_positive_int("test_num", test_num, 0)
    if not (noise >= 0 and math.isfinite(noise)):
        raise ValueError(f"noise must be a finite number >= 0, got {noise!r}")
    low, high = _range_ends(ranges, n_var, dtype)
    generator = torch.Generator().manual_seed(seed)
    n = train_num + test_num
    X = low + (high - low) * torch.rand(n, n_var, generator=generator, dtype=dtype)
    y = _call(f, X)
    if noise:
        y = y + noise * y.std(0) * torch.randn(y.shape, generator=generator, dtype=dtype)
    if not test_num:
        return Dataset(X, y)
    return Dataset(X[:train_num], y[:train_num], X[train_num:], y[train_num:])


def as_matrix(
    X: Any,
    argument: str = "X",
    n_columns: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    rule: str = "width[0]",
) -> Float[Tensor, "n columns"]:
    """X as a finite matrix: from a tensor, array, frame, series or nested lists of numbers.

    A vector is accepted as one column only where `n_columns` is 1. `rule` says in the message where
    the number of columns comes from; `argument` is the name the caller knows X by.

    Raises ValueError for text, complex or sparse data, NaN or inf, no rows, a wrong shape.
    """
    values, names = _numbers(X, argument, dtype)
    if values.ndim == 1 and n_columns == 1:
        values = values[:, None]
    _check_matrix_shape(values, argument, n_columns, rule)
    _check_finite(values, argument, names)
    return values.to(device)


def as_targets(
    y: Any,
    n_rows: int,
    n_outputs: int | None = None,
    argument: str = "y",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Float[Tensor, "n outputs"]:
    """y as a finite matrix with one row per row of X: (n,), (n, 1) and (1, n) all give [n, 1].

    Raises ValueError for any other shape, and for what `as_matrix` refuses.
    """
    values, names = _numbers(y, argument, dtype)
    is_flat = tuple(values.shape) == (1, n_rows) and n_rows != 1 and n_outputs in (None, 1)
    if values.ndim == 1 or is_flat:
        values = values.reshape(-1, 1)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(
            f"{argument} must have shape ({n_rows},) or ({n_rows}, outputs),"
            f" got shape {tuple(values.shape)}"
        )
    _check_rows(len(values), n_rows, argument)
    _check_finite(values, argument, names)
    if n_outputs is not None and values.shape[1] != n_outputs:
        raise ValueError(
            f"{argument} must have {_columns(n_outputs)} (width[-1]),"
            f" got shape {tuple(values.shape)}"
        )
    return values.to(device)


def as_labels(
    y: Any,
    n_rows: int,
    n_classes: int | None = None,
    argument: str = "y",
    device: torch.device | str | None = None,
) -> Tensor:
    """y as class labels 0, 1, ... of type int64 and shape [n], as cross entropy wants them."""
    values = as_targets(y, n_rows, 1, argument).flatten()
    labels = values.round().long()
    wrong = (values != labels) | (labels < 0)
    if n_classes is not None:
        wrong |= labels >= n_classes
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        last = "" if n_classes is None else f", {n_classes - 1}"
        raise ValueError(
            f"{argument} must hold class labels 0, 1, ...{last}, got {values[row].item():g} in"
            f" row {row}"
        )
    return labels.to(device)


def as_dataset(
    data: Any,
    n_in: int | None = None,
    n_out: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    integer_targets: bool = False,
) -> Dataset:
    """Checked, detached tensors from any of the usual ways to hand over data.

    data: a Dataset; (X, y); (X, y, X_test, y_test); or a mapping with pykan's keys train_input,
    train_label, test_input and test_label (the test part may be missing). Names come from frame
    columns and series. With `integer_targets` y holds class labels 0..n_out - 1, returned as [n].
    """
    given = _unpack(data)
    X, y = _pair(given.X, given.y, ("X", "y"), n_in, n_out, dtype, device, integer_targets)
    if len(X) < 2:
        raise ValueError(f"X must have at least 2 rows, got {len(X)}")
    X_test = y_test = None
    if given.X_test is not None:
        # The training part fixes the number of columns when the caller does not.
        outputs = n_out if integer_targets else y.shape[1]
        X_test, y_test = _pair(
            given.X_test, given.y_test, ("X_test", "y_test"), X.shape[1], outputs, dtype, device,
            integer_targets,
        )  # fmt: skip
    features, targets = given.feature_names, given.target_names
    return Dataset(
        X, y, X_test, y_test,
        _column_names(given.X) if features is None else tuple(features),
        _column_names(given.y) if targets is None else tuple(targets),
    )  # fmt: skip


def read_table(path: str | Path) -> pd.DataFrame:
    """The table in a .csv, .tsv, .txt (separator guessed) or .parquet file.

    Raises FileNotFoundError when there is no such file, ValueError when it cannot be read, has no
    rows, or uses a column name twice (pandas would rename the second).
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
        raise ValueError(f"{path.name!r} has no rows of data, only {_columns(frame.shape[1])}")
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


def _range_ends(ranges: Ranges, n_var: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """low and high of every variable."""
    try:
        ends = torch.as_tensor(ranges, dtype=dtype)
    except (TypeError, ValueError, RuntimeError):
        ends = torch.empty(0)
    if ends.shape == (2,):
        ends = ends.expand(n_var, 2)
    if ends.shape != (n_var, 2):
        raise ValueError(
            f"ranges must be one pair (low, high) or a list of {n_var} pairs (n_var),"
            f" got {ranges!r}"
        )
    low, high = ends.T
    if not bool((low < high).all() and ends.isfinite().all()):
        raise ValueError(f"ranges must be finite with low < high, got {ranges!r}")
    return low, high


def _call(f: Callable[[Tensor], Tensor], X: Tensor) -> Tensor:
    """f(X) as a finite [n, out]."""
    y = f(X)
    n = len(X)
    if not isinstance(y, Tensor) or y.ndim not in (1, 2) or len(y) != n or y.numel() == 0:
        got = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(
            f"f must return a tensor of shape ({n},), ({n}, 1) or ({n}, outputs) for X of shape"
            f" {tuple(X.shape)}, got {got}"
        )
    if y.is_complex():
        raise ValueError("f must return real numbers, got complex ones")
    y = y.detach().to(X.dtype).reshape(n, -1)
    bad = ~y.isfinite().all(1)
    if bool(bad.any()):
        raise ValueError(
            f"f must be finite on ranges; it is not at {int(bad.sum())} of {n} points, for example"
            f" at x = {X[bad][0].tolist()}. Choose other ranges"
        )
    return y


def _numbers(data: Any, argument: str, dtype: torch.dtype) -> tuple[Tensor, tuple[str, ...] | None]:
    """data as a real tensor of `dtype`, not yet checked for shape or NaN, and its column names.

    The tensor never shares memory with what came in: a caller may change their array afterwards.
    """
    if isinstance(data, Tensor):
        return _from_tensor(data, argument, dtype), None
    if _is_pandas(data):
        return _from_frame(data, argument, dtype), _column_names(data)
    return _from_array(data, argument, dtype), None


def _from_tensor(data: Tensor, argument: str, dtype: torch.dtype) -> Tensor:
    if data.layout != torch.strided:
        raise ValueError(
            f"{argument} must be dense, got a sparse tensor; use {argument}.to_dense()"
        )
    if data.is_complex():
        raise ValueError(
            f"{argument} must be real, got {data.dtype}; split real and imaginary part"
        )
    return _fits(data.detach().to(dtype, copy=True), data.detach(), argument)


def _from_frame(data: Any, argument: str, dtype: torch.dtype) -> Tensor:
    import pandas as pd

    frame = data.to_frame() if isinstance(data, pd.Series) else data
    columns = [_from_column(frame.iloc[:, c], argument, dtype) for c in range(frame.shape[1])]
    if not columns:
        raise ValueError(f"{argument} must have at least one column, got shape {frame.shape}")
    joined = torch.stack(columns, 1)
    return joined[:, 0] if isinstance(data, pd.Series) else joined


def _from_column(column: Any, argument: str, dtype: torch.dtype) -> Tensor:
    from pandas.api import types

    label = f"column {str(column.name)!r} of {argument}"
    if types.is_complex_dtype(column.dtype):
        raise ValueError(f"{label} must be real, got {column.dtype}")
    if not (types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype)):
        raise ValueError(f"{label} must be numeric, got {_kind(column)}; convert or drop it")
    # Nullable columns hold <NA>, which becomes NaN and is reported as a missing value.
    return _from_array(column.to_numpy(dtype=float, na_value=np.nan), argument, dtype)


def _kind(column: Any) -> str:
    first = column.dropna()
    example = f" such as {first.iloc[0]!r}" if len(first) else ""
    return f"{column.dtype} values{example}"


def _from_array(data: Any, argument: str, dtype: torch.dtype) -> Tensor:
    if hasattr(data, "toarray") or hasattr(data, "todense"):
        raise ValueError(
            f"{argument} must be dense, got {type(data).__name__}; use {argument}.toarray()"
        )
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise ValueError(f"{argument} has masked values; use {argument}.filled() or drop the rows")
    array = _array(data, argument)
    if array.ndim == 0:
        raise ValueError(f"{argument} must be a table of numbers, got {type(data).__name__}")
    if array.dtype.kind == "O":
        array = _array_of_objects(array, argument)
    if array.dtype.kind == "c":
        raise ValueError(
            f"{argument} must be real, got {array.dtype}; split real and imaginary part"
        )
    if array.dtype.kind not in "buif":
        raise ValueError(f"{argument} must be numeric{_where_text(array)}; convert or drop it")
    # Through float64: torch knows neither long double nor the other byte order.
    wide = torch.tensor(array.astype(np.float64))
    return _fits(wide.to(dtype), wide, argument)


def _array(data: Any, argument: str) -> np.ndarray:
    """np.asarray, with lists of tensors taken apart first."""
    if isinstance(data, (list, tuple)) and any(isinstance(row, Tensor) for row in data):
        data = [row.detach().cpu().numpy() if isinstance(row, Tensor) else row for row in data]
    try:
        return np.asarray(data)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{argument} must be a table with rows of equal length, got {type(data).__name__}"
        ) from error


def _array_of_objects(array: np.ndarray, argument: str) -> np.ndarray:
    """Python numbers in an object array as floats; None is a missing value, text is refused."""
    numbers = np.empty(array.shape)
    for index, value in np.ndenumerate(array):
        try:
            numbers[index] = np.nan if value is None else _float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{argument} must be numeric, got {reprlib.repr(value)} in {_place(index)};"
                " convert or drop it"
            ) from error
    return numbers


def _float(value: Any) -> float:
    # float() would also read text, and drop an imaginary part.
    if isinstance(value, (str, bytes, complex, np.complexfloating)):
        raise TypeError("not a real number")
    return float(value)


def _where_text(array: np.ndarray) -> str:
    """The first entry that is no number, or else the first, as ", got 'a' in column 1 (row 0)"."""
    entries = list(np.ndenumerate(array))
    index, value = next((entry for entry in entries if not _reads_as_number(entry[1])), entries[0])
    return f", got {value.item()!r} in {_place(index)}"


def _reads_as_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _place(index: tuple[int, ...]) -> str:
    if len(index) == 2:
        return f"column {index[1]} (row {index[0]})"
    return f"row {index[0]}"


def _fits(values: Tensor, wide: Tensor, argument: str) -> Tensor:
    """values, unless a finite number became infinite in the narrower type."""
    if values.dtype != wide.dtype and bool((values.isinf() & wide.isfinite()).any()):
        raise ValueError(
            f"{argument} has values too large for {values.dtype}; rescale them or use float64"
        )
    return values


def _check_matrix_shape(values: Tensor, argument: str, n_columns: int | None, rule: str) -> None:
    shape = tuple(values.shape)
    wanted = "2 dimensions" if n_columns is None else f"{_columns(n_columns)} ({rule})"
    if 0 in shape:
        raise ValueError(f"{argument} must have at least one row and one column, got shape {shape}")
    if values.ndim == 1:
        raise ValueError(
            f"{argument} must have {wanted}, got shape {shape}; use {argument}.reshape(-1, 1) for"
            f" one column or {argument}.reshape(1, -1) for one row"
        )
    if values.ndim != 2 or n_columns not in (None, shape[1]):
        raise ValueError(f"{argument} must have {wanted}, got shape {shape}")


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _check_finite(values: Tensor, argument: str, names: tuple[str, ...] | None) -> None:
    bad = ~values.isfinite()
    if not bool(bad.any()):
        return
    c = int(bad.any(0).nonzero()[0])
    rows = bad[:, c].nonzero().flatten().tolist()
    column = repr(names[c]) if names else str(c)
    has_nan = bool(values[:, c].isnan().any())
    what = "NaN (missing values)" if has_nan else "infinite values"
    shown = ", ".join(str(row) for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
    raise ValueError(
        f"{argument} must be finite; column {column} has {what} in {len(rows)} of {len(values)}"
        f" rows ({'row' if len(rows) == 1 else 'rows'} {shown}). Drop or fill those rows"
    )


def _check_rows(n: int, n_rows: int, argument: str) -> None:
    if n != n_rows:
        other = argument.replace("y", "X", 1) if argument.startswith("y") else "X"
        raise ValueError(
            f"{argument} must have one row for every row of {other}, got {n} rows of {argument}"
            f" and {n_rows} rows of {other}"
        )


def _is_pandas(data: Any) -> bool:
    pd = sys.modules.get("pandas")  # whoever holds a frame has imported it; nobody else pays
    return pd is not None and isinstance(data, (pd.DataFrame, pd.Series))


def _column_names(data: Any) -> tuple[str, ...] | None:
    """Names of a frame's columns or of a series; None where there are none.

    Numbered columns are no names: pandas numbers them when nobody names them.
    """
    if not _is_pandas(data):
        return None
    names = list(data.columns) if data.ndim == 2 else [data.name]
    return tuple(names) if all(isinstance(name, str) for name in names) else None


@dataclass(frozen=True)
class _Given:
    """What the caller handed over, unchecked."""

    X: Any
    y: Any
    X_test: Any = None
    y_test: Any = None
    feature_names: Sequence[str] | None = None
    target_names: Sequence[str] | None = None


_PYKAN_KEYS = ("train_input", "train_label", "test_input", "test_label")


def _unpack(data: Any) -> _Given:
    if isinstance(data, Dataset):
        return _Given(
            data.X, data.y, data.X_test, data.y_test, data.feature_names, data.target_names
        )
    if isinstance(data, Mapping):
        return _unpack_mapping(data)
    if isinstance(data, (tuple, list)) and len(data) in (2, 4):
        given = _Given(*data)
        _check_test_parts(given, "X_test", "y_test")
        return given
    got = f"{type(data).__name__}" + (f" of {len(data)}" if isinstance(data, (tuple, list)) else "")
    raise ValueError(
        "data must be a Dataset, (X, y), (X, y, X_test, y_test) or a mapping with"
        f" {', '.join(_PYKAN_KEYS)}, got {got}"
    )


def _unpack_mapping(data: Mapping[Any, Any]) -> _Given:
    unknown = [key for key in data if key not in _PYKAN_KEYS]
    if unknown:
        raise ValueError(
            f"unknown key {unknown[0]!r} in data;{suggestion(unknown[0], _PYKAN_KEYS)}"
        )
    for key in _PYKAN_KEYS[:2]:
        if data.get(key) is None:
            raise ValueError(
                f"data must have the keys train_input and train_label; {key} is missing"
            )
    given = _Given(*(data.get(key) for key in _PYKAN_KEYS))
    _check_test_parts(given, "test_input", "test_label")
    return given


def _check_test_parts(given: _Given, X_test: str, y_test: str) -> None:
    if (given.X_test is None) != (given.y_test is None):
        raise ValueError(f"{X_test} and {y_test} belong together; give both or neither")


def _pair(
    X: Any,
    y: Any,
    arguments: tuple[str, str],
    n_in: int | None,
    n_out: int | None,
    dtype: torch.dtype,
    device: torch.device | str | None,
    integer_targets: bool,
) -> tuple[Tensor, Tensor]:
    inputs = as_matrix(X, arguments[0], n_in, dtype, device)
    if integer_targets:
        return inputs, as_labels(y, len(inputs), n_out, arguments[1], device)
    return inputs, as_targets(y, len(inputs), n_out, arguments[1], dtype, device)


def _read_text(path: Path, suffix: str) -> pd.DataFrame:
    import pandas as pd

    try:
        header, separator = _read_header(path, suffix)
        _check_unique(header, repr(path.name))
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


def _read_header(path: Path, suffix: str) -> tuple[list[str], str]:
    """Column names as they stand in the first line that is not blank, and the separator."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        line = next((line for line in file if line.strip()), "")
        if not line:
            raise ValueError(f"{path.name!r} is empty")
        separator = _separator(line, suffix)
        file.seek(0)  # a quoted name may go on in the next line
        if separator == r"\s+":
            rows = (line.split() for line in file)
        else:
            rows = csv.reader(file, delimiter=separator, skipinitialspace=True)
        filled = (row for row in rows if any(cell.strip() for cell in row))
        names, first = next(filled), next(filled, [])
    if len(first) > len(names):
        # pandas would take the first column for row labels and shift all names by one.
        raise ValueError(f"{path.name!r} has rows longer than its header of {_columns(len(names))}")
    return [name.strip() for name in names], separator


def _separator(line: str, suffix: str) -> str:
    """What separates the columns: comma or semicolon in .csv, tab in .tsv, anything in .txt."""
    if suffix == ".tsv":
        return "\t"
    if suffix == ".csv":
        return ";" if ";" in line and "," not in line else ","
    return next((s for s in "\t;," if s in line), r"\s+")


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.lib
    import pyarrow.parquet as pq

    try:
        _check_unique(pq.read_schema(path).names, repr(path.name))
        return pd.read_parquet(path)
    except (pyarrow.lib.ArrowException, OSError) as error:
        raise ValueError(
            f"{path.name!r} cannot be read as Parquet: {str(error).strip()}"
        ) from error


def _check_unique(names: Sequence[str], where: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"column names must be unique; {where} has {', '.join(map(repr, twice))} twice"
        )


def _check_columns(frame: pd.DataFrame, target: str, features: Sequence[str] | None) -> list[str]:
    """Names of the feature columns, all known, numeric and without gaps."""
    known = [str(name) for name in frame.columns]
    _check_unique(known, "the table")
    if isinstance(features, str):
        raise ValueError(f"features must be a list of column names, got the string {features!r}")
    columns = [n for n in frame.columns if n != target] if features is None else list(features)
    for name in (target, *columns):
        if name not in frame.columns:
            raise ValueError(f"unknown column {name!r};{suggestion(name, known)}")
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
