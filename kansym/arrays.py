"""Numbers in: arrays, frames, lists and tensors become finite tensors, or a clear error.

Frames are those of pandas, polars and pyarrow; none of them is imported for whoever has none.

What would go wrong silently later is refused here: NaN, text, a y that would broadcast, a column
too many. Every message names the argument, the rule, what came and the way out.
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kansym.errors import NotANumberError, shown


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

    Raises ValueError for text, complex or sparse data, dates, masked or missing values, NaN or inf,
    no rows, a wrong shape, a frame with two columns of one name.
    """
    values, names = as_numbers(X, argument, dtype)
    if values.ndim == 1 and n_columns == 1:
        values = values[:, None]
    _check_matrix_shape(values, argument, n_columns, rule)
    check_finite(values, argument, names)
    return values.to(device)


def as_targets(
    y: Any,
    n_rows: int,
    n_outputs: int | None = None,
    argument: str = "y",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Float[Tensor, "n outputs"]:
    """y as a finite matrix with one row per row of X: (n,) and (n, 1) both give [n, 1].

    Raises ValueError for any other shape, and for what `as_matrix` refuses.
    """
    values, names = as_numbers(y, argument, dtype)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(
            f"{argument} must have shape ({n_rows},) or ({n_rows}, outputs),"
            f" got shape {tuple(values.shape)}"
        )
    _check_rows(len(values), n_rows, argument)
    check_finite(values, argument, names)
    if n_outputs is not None and values.shape[1] != n_outputs:
        raise ValueError(
            f"{argument} must have {columns_text(n_outputs)} (width[-1]),"
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


def as_weights(
    weights: Any, X: Float[Tensor, "n in"], argument: str = "sample_weight"
) -> Float[Tensor, " n"] | None:
    """Finite weights >= 0, one for each row of X, scaled to mean 1; None stays None."""
    if weights is None:
        return None
    values = as_targets(weights, len(X), 1, argument, X.dtype, X.device)[:, 0]
    if bool((values < 0).any()):
        raise ValueError(f"{argument} must be >= 0, got {float(values.min()):g}")
    largest = values.max()
    if float(largest) == 0:
        raise ValueError(f"{argument} must not be 0 in every row")
    values = values / largest  # the sum of large ones may overflow
    return values / values.mean()


def as_numbers(
    data: Any, argument: str, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, tuple[str, ...] | None]:
    """data as a real tensor of `dtype`, not yet checked for shape or NaN, and its column names.

    The tensor never shares memory with what came in: a caller may change their array afterwards.
    """
    if isinstance(data, Tensor):
        return _from_tensor(data, argument, dtype), None
    data = as_pandas(data, argument)
    if _is_pandas(data):
        return _from_frame(data, argument, dtype), column_names(data)
    return _from_array(data, argument, dtype), None


def _from_tensor(data: Tensor, argument: str, dtype: torch.dtype) -> Tensor:
    if data.layout != torch.strided:
        raise ValueError(
            f"{argument} must be dense, got a sparse tensor; use {argument}.to_dense()"
        )
    if data.is_complex():
        raise ValueError(_complex(argument, data.dtype))
    return _fits(data.detach().to(dtype, copy=True), data.detach(), argument)


def _from_frame(data: Any, argument: str, dtype: torch.dtype) -> Tensor:
    import pandas as pd

    frame = data.to_frame() if isinstance(data, pd.Series) else data
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise ValueError(
            f"{argument} must have columns of different names, got {twice[0]!r} twice; rename one"
        )
    columns = [_from_column(frame.iloc[:, c], argument, dtype) for c in range(frame.shape[1])]
    if not columns:
        raise ValueError(f"{argument} must have at least one column, got shape {frame.shape}")
    joined = torch.stack(columns, 1)
    return joined[:, 0] if isinstance(data, pd.Series) else joined


def _from_column(column: Any, argument: str, dtype: torch.dtype) -> Tensor:
    from pandas.api import types

    label = f"column {str(column.name)!r} of {argument}"
    if types.is_complex_dtype(column.dtype):
        raise ValueError(_complex(label, column.dtype))
    if not (types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype)):
        raise ValueError(f"{label} must be numeric, got {_kind(column)}; convert or drop it")
    # Nullable columns hold <NA>, which becomes NaN and is reported as a missing value.
    return _from_array(column.to_numpy(dtype=float, na_value=np.nan), argument, dtype)


def _complex(what: str, dtype: Any) -> str:
    return f"{what} must be real, got {dtype}. Complex data not supported: take its parts apart"


def _kind(column: Any) -> str:
    first = column.dropna()
    example = f" such as {first.iloc[0]!r}" if len(first) else ""
    return f"{column.dtype} values{example}"


def _from_array(data: Any, argument: str, dtype: torch.dtype) -> Tensor:
    if hasattr(data, "toarray") or hasattr(data, "todense"):
        raise ValueError(
            f"{argument} must be dense, got the sparse {type(data).__name__}; use"
            f" {argument}.toarray()"
        )
    check_unmasked(data, argument)
    array = _array(data, argument)
    if array.ndim == 0:
        raise ValueError(f"{argument} must be a table of numbers, got {type(data).__name__}")
    if array.dtype.kind == "O":
        array = _array_of_objects(array, argument)
    if array.dtype.kind == "c":
        raise ValueError(_complex(argument, array.dtype))
    if array.dtype.kind not in "buif":
        raise ValueError(f"{argument} must be numeric{_where_text(array)}; convert or drop it")
    # Through float64: torch knows neither long double nor the other byte order.
    with np.errstate(over="ignore"):  # of a long double; what became infinite is named later
        wide = torch.tensor(array.astype(np.float64))
    return _fits(wide.to(dtype), wide, argument)


def check_unmasked(data: Any, argument: str) -> None:
    """ValueError for a masked array that masks something: it names the first such row."""
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        place = _place(tuple(np.argwhere(np.ma.getmaskarray(data))[0].tolist()))
        raise ValueError(
            f"{argument} must have no masked values, got one in {place}; use {argument}.filled()"
            " or drop the rows"
        )


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
            raise NotANumberError(
                f"{argument} must be numeric, got {reprlib.repr(value)} in {_place(index)};"
                f" convert or drop it ({error})"
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
    wanted = "2 dimensions" if n_columns is None else f"{columns_text(n_columns)} ({rule})"
    if 0 in shape:
        raise ValueError(f"{argument} must have at least one row and one column, got shape {shape}")
    if values.ndim == 1:
        raise ValueError(
            f"{argument} must have {wanted}, got shape {shape}; use {argument}.reshape(-1, 1) for"
            f" one column or {argument}.reshape(1, -1) for one row"
        )
    if values.ndim != 2 or n_columns not in (None, shape[1]):
        raise ValueError(f"{argument} must have {wanted}, got shape {shape}")


def columns_text(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def check_finite(values: Tensor, argument: str, names: tuple[str, ...] | None = None) -> None:
    """ValueError that names the first column with NaN or inf, and its rows."""
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


def as_pandas(data: Any, argument: str = "X") -> Any:
    """A frame or series of polars or pyarrow as that of pandas; anything else as it is."""
    pl, pa = sys.modules.get("polars"), sys.modules.get("pyarrow")
    if pl is not None and isinstance(data, pl.LazyFrame):
        raise ValueError(f"{argument} must be a table, got a LazyFrame; use {argument}.collect()")
    is_polars = pl is not None and isinstance(data, (pl.DataFrame, pl.Series))
    if is_polars or (pa is not None and isinstance(data, (pa.Table, pa.RecordBatch))):
        return data.to_pandas()
    return data


def _is_pandas(data: Any) -> bool:
    pd = sys.modules.get("pandas")  # whoever holds a frame has imported it; nobody else pays
    return pd is not None and isinstance(data, (pd.DataFrame, pd.Series))


def to_numpy(values: Tensor) -> np.ndarray:
    """As float64, off any device and graph."""
    return values.detach().double().cpu().numpy()


def columns_by_name(X: Any, names: Sequence[str], argument: str = "X") -> Any:
    """The columns `names` of a frame, in this order; what is no frame as it is.

    Raises ValueError for a frame that lacks one of them.
    """
    X = as_pandas(X, argument)
    if not hasattr(X, "columns"):
        return X
    missing = [name for name in names if name not in X.columns]
    if missing:
        raise ValueError(
            f"{argument} lacks the columns {shown(missing)}; it has {shown(list(X.columns))}."
            f" Rename them, or pass {argument}.to_numpy() to go by their order"
        )
    return X[list(names)]


def column_names(data: Any) -> tuple[str, ...] | None:
    """Names of a frame's columns or of a series; None where there are none.

    Numbered columns are no names: pandas numbers them when nobody names them.
    """
    data = as_pandas(data)
    if not _is_pandas(data):
        return None
    names: list[Any] = list(data.columns) if data.ndim == 2 else [data.name or None]
    return tuple(names) if all(isinstance(name, str) for name in names) else None
