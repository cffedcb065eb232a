"""A `Dataset`: rows to learn from, rows to judge by, and the names of the columns."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kansym.arrays import as_labels, as_matrix, as_targets, as_weights, column_names
from kansym.errors import check_different, check_positive_int, shown, suggestion

Ranges = tuple[float, float] | Sequence[Sequence[float]]


@dataclass(frozen=True)
class Dataset:
    """Rows to learn from, and rows kept aside to judge by.

    X: [n, in]. y: [n, out], or class labels [n] as int64. X_test, y_test: both or neither.
    weight: [n], >= 0 with mean 1: how much each row to learn from counts; None for ones.
    """

    X: Tensor
    y: Tensor
    X_test: Tensor | None = None
    y_test: Tensor | None = None
    feature_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.X_test is None) != (self.y_test is None):
            raise ValueError("X_test and y_test belong together; give both or neither")
        check_different("feature_names", self.feature_names or ())
        check_different("target_names", self.target_names or ())


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


def as_dataset(
    data: Any,
    n_in: int | None = None,
    n_out: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    integer_targets: bool = False,
    sample_weight: Any = None,
) -> Dataset:
    """Checked, detached tensors from any of the usual ways to hand over data.

    data: a Dataset; (X, y); (X, y, X_test, y_test); or a mapping with pykan's keys train_input,
    train_label, test_input and test_label (the test part may be missing). Names come from frame
    columns and series. With `integer_targets` y holds class labels 0..n_out - 1, returned as [n].
    sample_weight: [n], one finite number >= 0 for each row of X, not all 0; scaled to mean 1.
    """
    given = _unpack(data)
    X, y = _pair(given.X, given.y, ("X", "y"), n_in, n_out, dtype, device, integer_targets)
    if len(X) < 2:
        raise ValueError(f"X must have at least 2 rows, got {len(X)}")
    X_test = y_test = None
    features, targets = given.feature_names, given.target_names
    features = column_names(given.X) if features is None else tuple(features)
    if given.X_test is not None:
        check_same_columns("X_test", column_names(given.X_test), features)
        # The training part fixes the number of columns when the caller does not.
        outputs = n_out if integer_targets else y.shape[1]
        X_test, y_test = _pair(
            given.X_test, given.y_test, ("X_test", "y_test"), X.shape[1], outputs, dtype, device,
            integer_targets,
        )  # fmt: skip
    return Dataset(
        X, y, X_test, y_test,
        features,
        column_names(given.y) if targets is None else tuple(targets),
        as_weights(given.weight if sample_weight is None else sample_weight, X),
    )  # fmt: skip


def check_same_columns(
    argument: str, names: tuple[str, ...] | None, known: tuple[str, ...] | None
) -> None:
    """ValueError unless named columns stand where they stood when the names became known."""
    if names and known and names != known:
        raise ValueError(
            f"{argument} must have the columns {list(known)} in this order, got {list(names)};"
            " choose and sort them by name"
        )


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


@dataclass(frozen=True)
class _Given:
    """What the caller handed over, unchecked."""

    X: Any
    y: Any
    X_test: Any = None
    y_test: Any = None
    feature_names: Sequence[str] | None = None
    target_names: Sequence[str] | None = None
    weight: Any = None


_PYKAN_KEYS = ("train_input", "train_label", "test_input", "test_label")


def _unpack(data: Any) -> _Given:
    if isinstance(data, Dataset):
        return _Given(
            data.X, data.y, data.X_test, data.y_test, data.feature_names, data.target_names,
            data.weight,
        )  # fmt: skip
    if isinstance(data, Mapping):
        return _unpack_mapping(data)
    if isinstance(data, (tuple, list)) and len(data) in (2, 4):
        given = _Given(*data)
        _check_test_parts(given, "X_test", "y_test")
        return given
    if isinstance(data, (str, os.PathLike)):
        path = shown(os.fspath(data))
        raise ValueError(
            f"data must be rows, got the path {path}: KAN.fit learns from Parquet files with"
            f" kansym.read_rows({path}, target=...); other tables are read by kansym.read_table"
        )
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
