"""Shapes of y: the same targets in any shape give identical results, other shapes a clear error.

Eleven ways to hand over one column of targets, through both faces of the package.
"""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from clear_errors import refused

from kansym import KAN, KANClassifier, KANRegressor

RNG = np.random.default_rng(0)
X = RNG.uniform(1, 2, (60, 2))
TARGETS = X[:, 0] * X[:, 1]

SHAPES = {
    "vector": TARGETS,
    "column": TARGETS[:, None],
    "list": TARGETS.tolist(),
    "list of rows": TARGETS[:, None].tolist(),
    "series": pd.Series(TARGETS),
    "tensor": torch.tensor(TARGETS),
    "polars series": pl.Series(TARGETS),
    "polars column": pl.DataFrame({"y": TARGETS}),
    "pyarrow array": pa.chunked_array([TARGETS[:20], TARGETS[20:]]),
    "pyarrow column": pa.table({"y": TARGETS}),
    "list of tensors": list(torch.tensor(TARGETS)),
}


@pytest.mark.parametrize("y", SHAPES.values(), ids=SHAPES.keys())
def test_network(y):
    models = [KAN([2, 1], grid=3, seed=0), KAN([2, 1], grid=3, seed=0)]
    for model, targets in zip(models, (TARGETS, y), strict=True):
        model.fit((X, targets), steps=5, progress=False)
    assert np.array_equal(models[0].predict(X), models[1].predict(X))


@pytest.mark.parametrize("y", SHAPES.values(), ids=SHAPES.keys())
def test_regressor(y):
    """Predictions follow the number of dimensions of y, as scikit-learn has it."""
    found = [KANRegressor(max_time=10).fit(X, targets) for targets in (TARGETS, y)]
    assert found[0].sympy() == found[1].sympy()
    is_table = isinstance(y, (pl.DataFrame, pa.Table)) or np.ndim(y) == 2
    shape = (60, 1) if is_table else (60,)
    assert found[1].predict(X).shape == shape
    assert np.array_equal(found[0].predict(X), found[1].predict(X).ravel())


OTHER_SHAPES = {
    "one row": TARGETS[None],
    "three dimensions": TARGETS[:, None, None],
    "no dimensions": np.array(1.0),
    "number": 1.0,
    "too short": TARGETS[:-1],
    "too long": np.r_[TARGETS, 1.0],
    "empty": [],
    "no columns": np.empty((60, 0)),
    "ragged": [[1.0], [1.0, 2.0]] * 30,
}


@pytest.mark.parametrize("y", OTHER_SHAPES.values(), ids=OTHER_SHAPES.keys())
def test_other_shapes(y):
    """scikit-learn has words of its own for labels."""
    with refused("y must"):
        KAN([2, 1]).fit((X, y), steps=1, progress=False)
    with refused("y_test must"):
        KAN([2, 1]).fit((X, TARGETS, X, y), steps=1, progress=False)
    with refused("y must"):
        KANRegressor(max_time=1).fit(X, y)
    with refused("y|(s|S)ample|sequence|dim"):
        KANClassifier(max_time=1).fit(X, y)


def test_two_outputs_where_there_is_one():
    with refused(r"y must have 1 column \(width\[-1\]\), got shape \(60, 2\)"):
        KAN([2, 1]).fit((X, X), steps=1, progress=False)
