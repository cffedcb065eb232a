"""Data as scikit-learn hands them over, checked as everywhere in kansym.

What is in the table is read by `kansym.arrays`, whose messages say more; scikit-learn counts
columns and compares names.
"""

from __future__ import annotations

import operator
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from kansym.arrays import as_numbers, as_pandas, as_targets, check_finite
from kansym.errors import is_number, shown, visible_lines

LARGEST = 1e150  # the square of a larger number is not finite
MAX_SEED = 2**31


def read_columns(estimator: BaseEstimator, X: Any, is_fit: bool) -> np.ndarray:
    """X as finite float64, [n, columns]; at fit names and number of columns are kept as
    `feature_names_in_` and `n_features_in_`, later they are compared."""
    X = as_pandas(X)
    numbers, names = as_numbers(X, "X")
    table = numbers.cpu().numpy()
    options = {"ensure_all_finite": False, "ensure_min_samples": 2 if is_fit else 1}
    with_names: Any = table
    if isinstance(X, pd.DataFrame):
        with_names = pd.DataFrame(table, columns=X.columns)
    try:
        validate_data(estimator, with_names, reset=is_fit, **options)
    except ValueError as error:  # scikit-learn shows names of columns as they are
        text = visible_lines(error)
        if text == str(error):
            raise
        raise ValueError(text) from error
    check_finite(numbers, "X", names)
    _check_size("X", table)
    return table


def check_given(estimator: BaseEstimator, y: Any) -> None:
    """ValueError for fit(X) without y."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None"
        )


def read_targets(y: Any, n_rows: int) -> np.ndarray:
    """y as finite float64, [n, outputs]."""
    table = as_targets(y, n_rows).numpy()
    _check_size("y", table)
    return table


def is_flat(y: Any) -> bool:
    """Whether y came as one row of numbers and not as a table."""
    y = as_pandas(y, "y")
    return (y.ndim if hasattr(y, "ndim") else np.asarray(y).ndim) == 1


def read_weights(sample_weight: Any, n_rows: int) -> np.ndarray | None:
    """How often each row counts, [n], all >= 0 and not all 0; None stays None."""
    if sample_weight is None:
        return None
    weight = as_targets(sample_weight, n_rows, 1, "sample_weight").numpy()[:, 0]
    _check_size("sample_weight", weight)
    if weight.min() < 0:
        raise ValueError(f"sample_weight must be >= 0, got {weight.min():g}")
    if not weight.any():
        raise ValueError("sample_weight must not be zero in every row: every weight is zero")
    return weight


def distinct_rows(
    X: np.ndarray, y: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The rows that count, sorted, each once, and how often it counts (None: once each).

    A row of weight 2 and a row given twice, a row of weight 0 and a row left out, and the same rows
    in another order are then the same data.
    """
    weight = np.ones(len(X)) if weight is None else weight
    counts = weight > 0
    X, y, weight = X[counts], y[counts], weight[counts]
    joined = np.column_stack([X, y])
    order = np.lexsort(joined.T[::-1])
    X, y, weight, joined = X[order], y[order], weight[order], joined[order]
    is_first = np.concatenate([[True], (joined[1:] != joined[:-1]).any(1)])
    total = np.add.reduceat(weight, np.flatnonzero(is_first))
    return X[is_first], y[is_first], None if (total == 1).all() else total


def draw_seed(random_state: Any) -> int:
    """A seed from an int, None (another one each time), a RandomState or a Generator; the global
    random state is never touched."""
    if random_state is None:
        return secrets.randbelow(MAX_SEED)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(MAX_SEED))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(MAX_SEED))
    return check_int("random_state", random_state, 0, "an int, None or a RandomState")


def check_int(argument: str, value: Any, minimum: int, kind: str | None = None) -> int:
    """`value` as an int >= minimum, else a ValueError."""
    rule = kind or f"an integer >= {minimum} or None"
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"{argument} must be {rule}, got {value!r}") from error
    if isinstance(value, bool) or number < minimum:
        raise ValueError(f"{argument} must be {rule}, got {value!r}")
    return number


def check_number(argument: str, value: Any, rule: str, holds: Callable[[float], bool]) -> float:
    """`value` as a finite float for which `holds`, else a ValueError."""
    if not is_number(value) or not holds(float(value)):
        raise ValueError(f"{argument} must be {rule}, got {shown(value)}")
    return float(value)


def _check_size(name: str, values: np.ndarray) -> None:
    if np.abs(values).max() > LARGEST:
        raise ValueError(f"{name} must stay below {LARGEST:g} in size; choose other units")
