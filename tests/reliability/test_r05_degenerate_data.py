"""Constant, duplicated and collinear columns, few or equal rows: a fit or a clear error, no NaN.

Both faces, every solver, and what usually follows a fit: pruning, naming, formulas, scores.
"""

import warnings
from contextlib import suppress

import numpy as np
import pytest
from clear_errors import refused

from kansym import KAN, KANClassifier, KANRegressor, find_formula
from kansym.errors import EmptyNetworkError, PoorFitWarning
from kansym.pipeline import Recipe

RNG = np.random.default_rng(0)
N = 40
Z = RNG.uniform(1, 2, (N, 3))
Y = Z[:, 0] * Z[:, 1]
A, B, C = Z.T
ONES = np.ones(N)
FIVE = RNG.uniform(1, 2, (5, 8))

DATA = {
    "a constant column": (np.c_[A, B, ONES], Y),
    "a column of 0": (np.c_[A, B, 0 * ONES], Y),
    "a column of -0": (np.c_[A, B, -0.0 * ONES], Y),
    "all columns constant": (np.ones((N, 2)), Y),
    "a column twice": (np.c_[A, B, A], Y),
    "a column and its negative": (np.c_[A, B, -A], Y),
    "a column that is a sum": (np.c_[A, B, A + 2 * B], Y),
    "columns with a constant sum": (np.c_[A, B, 4 - A - B], Y),
    "a column that is 0 but once": (np.c_[A, B, np.eye(N)[0]], Y),
    "a column of two values": (np.c_[A, (B > 1.5)], Y),
    "one-hot columns": (np.eye(4)[np.arange(N) % 4], Y),
    "a column of rounding errors": (np.c_[A, B, 1 + np.arange(N) % 2 * 2.3e-16], Y),
    "a column of denormals": (np.c_[A, B, C * 5e-323], Y),
    "equal rows": (np.tile(Z[:1], (N, 1)), ONES),
    "equal rows, different y": (np.tile(Z[:1], (N, 1)), Y),
    "two rows repeated": (np.tile(Z[:2], (N // 2, 1)), np.tile(Y[:2], N // 2)),
    "rows that contradict": (np.repeat(Z[: N // 2], 2, axis=0), RNG.normal(size=N)),
    "y constant": (Z, ONES),
    "y zero": (Z, 0 * ONES),
    "y of rounding errors": (Z, 1 + 1e-16 * Y),
    "y with one huge value": (Z, np.r_[Y[:-1], 1e12]),
    "2 rows": (Z[:2], Y[:2]),
    "2 equal rows": (Z[[0, 0]], Y[[0, 0]]),
    "2 rows, one X": (Z[[0, 0]], Y[:2]),
    "2 rows, one column": (Z[:2, :1], Y[:2]),
    "3 rows": (Z[:3], Y[:3]),
    "5 rows": (Z[:5], Y[:5]),
    "12 rows": (Z[:12], Y[:12]),
    "5 rows of 8 columns": (FIVE, FIVE[:, 0] * FIVE[:, 1]),
}
SLOW = pytest.mark.slow
CASES = pytest.mark.parametrize(("X", "y"), DATA.values(), ids=DATA.keys())


@CASES
@pytest.mark.parametrize("opt", ["LM", *(pytest.param(o, marks=SLOW) for o in ("LBFGS", "Adam"))])
def test_a_network(X, y, opt):
    model = KAN([X.shape[1], 2, 1], grid=3, seed=0)
    history = model.fit((X, y), opt=opt, steps=3, progress=False)
    assert np.isfinite(history.best_objective)
    assert np.isfinite(model.predict(X)).all()
    with suppress(EmptyNetworkError):  # where no edge says anything about y
        assert np.isfinite(model.prune().merge().refine(4).predict(X)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoorFitWarning)
        named = KAN([X.shape[1], 1], grid=3, seed=0)
        named.fit((X, y), opt=opt, steps=2, progress=False)
        named.auto_symbolic(["x", "x^2"])
    values = named.symbolic_formula().evaluate(X)
    assert np.allclose(values, named.predict(X), atol=1e-6 * max(1, np.abs(y).max()))
    assert named.feature_scores().isfinite().all()


@CASES
@pytest.mark.filterwarnings("ignore:y is .* in every row that counts")
def test_a_regressor(X, y):
    model = KANRegressor(max_time=None, max_candidates=15).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert np.isfinite(model.equations_[["loss", "R2"]].to_numpy()).all()
    assert np.isfinite(model.feature_importances_).all()
    assert np.isfinite([model.spline_rmse_, model.noise_]).all()
    assert np.isfinite(model.network_.predict(X)).all()


@CASES
def test_a_classifier(X, y):
    labels = (y > np.median(y)).astype(int)
    model = KANClassifier(max_time=None, max_candidates=5)
    if not labels.any():
        with refused("at least two classes, got only the class 0"):
            model.fit(X, labels)
        return
    model.fit(X, labels)
    assert np.isfinite(model.predict_proba(X)).all()
    assert np.isfinite(model.equations_[["loss", "R2"]].to_numpy()).all()
    assert np.isfinite(model.feature_importances_).all()


@CASES
def test_find_formula(X, y):
    recipe = Recipe(restarts=1, steps=5, grid=3, refined_grid=3)
    if not np.ptp(X, axis=0).any():
        with refused("X must vary"):
            find_formula((X, y), [X.shape[1], 1], recipe=recipe)
    elif not np.ptp(y):
        with refused("y must vary, got"):
            find_formula((X, y), [X.shape[1], 1], recipe=recipe)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PoorFitWarning)
            result = find_formula((X, y), [X.shape[1], 1], lib=["x", "x^2"], recipe=recipe)
        assert np.isfinite([*result.r2, *result.rmse, *result.spline_rmse]).all()
        assert np.isfinite(result.formula.evaluate(X)).all()


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows(rows):
    with refused("2 rows, got 1|at least one row"):
        KAN([3, 1]).fit((Z[:rows], Y[:rows]), steps=1, progress=False)
    with refused("2 rows, got 1|at least one row"):
        find_formula((Z[:rows], Y[:rows]))
    for cls in (KANRegressor, KANClassifier):
        with refused(rf"{rows} sample\(s\).*minimum of 2 is required"):
            cls().fit(Z[:rows], Y[:rows])
