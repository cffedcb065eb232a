"""scikit-learn's own checks, and its tools: all pass, none is excused.

Every check that `check_estimator` finds to apply, with the usual and with other settings; clone,
Pipeline, searches over grids, cross-validation, transformed targets, ensembles.
"""

import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kansym import KANClassifier, KANRegressor

QUICK = {"max_time": None, "max_candidates": 60}  # enough for x*y, on every machine
CHECKED = {
    "usual": {"max_time": 5.0, "max_candidates": 4, "functions": ["x", "x^2"]},
    "other": {
        "max_time": None,
        "max_candidates": 4,
        "n_jobs": 2,
        "functions": ["x", "x^2", "exp"],
        "constants": {"g": 9.81},
        "max_complexity": 200,
        "random_state": 3,
        "progress": False,
    },
}
RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.uniform(1, 2, (200, 2)), columns=["a", "b"])
Y = X["a"] * X["b"]
LABELS = np.where(X["a"] + 0.3 * RNG.normal(size=200) > 1.5, "yes", "no")


def checks(cls, settings):
    # In a process of its own: the checks seed NumPy's global random state and provoke warnings.
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from sklearn.utils.estimator_checks import check_estimator\n"
        f"from kansym import {cls.__name__} as cls\n"
        f"results = check_estimator(cls(**{settings!r}), on_fail=None)\n"
        "failed = [r for r in results if r['status'] != 'passed']\n"
        "assert len(results) > 50\n"
        "assert not failed, [(r['check_name'], r['exception']) for r in failed]"
    )
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}  # without it a check is skipped
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("cls", [KANRegressor, KANClassifier])
def test_all_checks(cls):
    done = checks(cls, CHECKED["usual"])
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("cls", [KANRegressor, KANClassifier])
def test_all_checks_with_other_settings(cls):
    done = checks(cls, CHECKED["other"])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cls", [KANRegressor, KANClassifier])
def test_clone_has_the_settings_and_nothing_else(cls):
    model = cls(**CHECKED["other"]).fit(X, Y if cls is KANRegressor else LABELS)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "formula_")


def test_pipeline_and_grid_search():
    line = make_pipeline(StandardScaler().set_output(transform="pandas"), KANRegressor(**QUICK))
    search = GridSearchCV(line, {"kanregressor__max_complexity": [20, 40]}, cv=3).fit(X, Y)
    assert search.best_score_ > 0.99
    assert list(search.best_estimator_[-1].feature_names_in_) == ["a", "b"]
    again = pickle.loads(pickle.dumps(search))
    assert np.array_equal(again.predict(X), search.predict(X))


def test_cross_validation():
    assert cross_val_score(KANRegressor(**QUICK), X, Y, cv=3).min() > 0.999
    ours, linear = (
        cross_val_score(model, X, LABELS, cv=3, scoring="roc_auc")
        for model in (KANClassifier(**QUICK), LogisticRegression())
    )
    assert ours == pytest.approx(linear, abs=0.05)
    proba = cross_val_predict(KANClassifier(**QUICK), X, LABELS, cv=3, method="predict_proba")
    assert np.allclose(proba.sum(1), 1)


def test_transformed_targets():
    model = TransformedTargetRegressor(KANRegressor(**QUICK), func=np.log, inverse_func=np.exp)
    assert model.fit(X, Y).score(X, Y) > 0.999


def test_columns_of_a_transformer():
    table = X.assign(kind=["u", "v"] * 100)
    chosen = ColumnTransformer([("numbers", "passthrough", ["a", "b"])])
    line = make_pipeline(chosen, KANRegressor(**QUICK)).fit(table, Y)
    assert line.score(table, Y) > 0.999


def test_bagging():
    bag = BaggingRegressor(KANRegressor(**QUICK), n_estimators=2, random_state=0)
    assert bag.fit(X.to_numpy(), Y).score(X.to_numpy(), Y) > 0.999


def test_one_model_for_each_target():
    Y2 = np.column_stack([Y, 2 * X["a"]])
    several = MultiOutputRegressor(KANRegressor(**QUICK)).fit(X, Y2)
    assert np.allclose(several.predict(X), KANRegressor(**QUICK).fit(X, Y2).predict(X), rtol=1e-6)


def test_voting():
    models = [("formula", KANClassifier(**QUICK)), ("logistic", LogisticRegression())]
    vote = VotingClassifier(models, voting="soft").fit(X, LABELS)
    assert vote.score(X, LABELS) > 0.7
