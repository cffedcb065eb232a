"""Shapes of y: the same targets in any shape give identical results.

Six ways to hand over one column of targets, through both faces of the package.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from kansym import KAN, KANRegressor

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
    assert str(found[0].formula_) == str(found[1].formula_)
    shape = (60, 1) if np.ndim(y) == 2 else (60,)
    assert found[1].predict(X).shape == shape
    assert np.array_equal(found[0].predict(X), found[1].predict(X).ravel())
