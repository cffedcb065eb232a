"""kansym for users of scikit-learn: its checks and habits, formulas by name, errors by message."""

import pickle
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sympy
import torch

from kansym import KAN, KANClassifier, KANRegressor
from kansym.discovery.contest import Contest
from kansym.discovery.dimensions import Dimension, has_consistent_units
from kansym.discovery.records import Discovery, Finding, Options, Table, Verdict
from kansym.discovery.units import parse_unit
from kansym.errors import ExtrapolationWarning
from kansym.estimator import searches
from kansym.estimator.classifier import _Judged, _simplest
from kansym.estimator.forms import read_forms
from kansym.estimator.inputs import distinct_rows
from kansym.estimator.likelihood import PRIOR_ROWS, Labels, maximise, probabilities, row_losses
from kansym.estimator.log_odds import LabelProblem, log_odds
from kansym.estimator.progress import ProgressLine
from kansym.symbolic.constants import NamedConstant

QUICK = {"max_time": 1.0, "max_candidates": 30}
STEADY = {"max_time": None, "max_candidates": 120}  # the same on every machine


def found(*exprs, chosen=-1, verdict=Verdict.CONSISTENT, **facts):
    """A Discovery of these formulas, simplest first, as a search would hand it out."""
    findings = tuple(
        Finding(sympy.sympify(e), searches.count_nodes(sympy.sympify(e)), 0.1, 0.9, 5.0, "test")
        for e in exprs
    )
    return Discovery(findings, findings[chosen], verdict, "as told", **facts)


@pytest.fixture
def asked(monkeypatch):
    """What the search is asked; it answers with the functions put into `answers`, or a line."""

    class Asked(list):
        """Calls so far; `answers` are functions of the table."""

    calls, real = Asked(), searches.discover

    def discover(table, options, report=None):
        calls.append((table, options))
        if calls.answers:
            return calls.answers[min(len(calls), len(calls.answers)) - 1](table)
        return real(table, options, report)

    calls.answers = []
    monkeypatch.setattr(searches, "discover", discover)
    return calls


@pytest.fixture
def table():
    """Forty rows of three columns and of y = 2 a - b + 1."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.uniform(0.5, 2, (40, 3)), columns=["a", "b", "c d"])
    return X, pd.Series(2 * X["a"] - X["b"] + 1, name="force")


@pytest.fixture
def labelled():
    """300 rows whose log-odds are 3 a - 2 b + 0.5, as text."""
    rng = np.random.default_rng(1)
    X = pd.DataFrame(rng.normal(size=(300, 2)), columns=["a", "b"])
    p = 1 / (1 + np.exp(-(3 * X["a"] - 2 * X["b"] + 0.5)))
    return X, np.where(rng.uniform(size=300) < p, "yes", "no")


# -- scikit-learn ---------------------------------------------------------------------------------


def test_importing_kansym_leaves_scikit_learn_alone():
    code = "import sys, kansym; kansym.KAN; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("cls", [KANRegressor, KANClassifier])
def test_nothing_is_known_before_fit(cls):
    est = cls()
    assert not hasattr(est, "equations_")
    with pytest.raises(AttributeError, match="not fitted"):
        _ = est.verdict_
    with pytest.raises(ValueError, match="not fitted"):
        est.predict([[1.0]])


# -- rows -----------------------------------------------------------------------------------------


def test_weights_repeats_and_order_of_rows_make_no_difference(asked):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 2)), rng.normal(size=12)
    weight = rng.integers(0, 4, 12)
    order = rng.permutation(12)
    repeated = np.repeat(order, weight[order])
    KANRegressor(**QUICK).fit(X, y, sample_weight=weight)
    KANRegressor(**QUICK).fit(X[repeated], y[repeated])
    (one, _), (other, _) = asked
    for name in ("X", "y", "weight"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert one.weight.sum() == weight.sum()


def test_rows_that_count_once_carry_no_weights():
    X, y = np.array([[1.0], [0.0], [1.0]]), np.array([[1.0], [2.0], [3.0]])
    rows, targets, weight = distinct_rows(X, y, None)
    assert rows[:, 0].tolist() == [0, 1, 1]
    assert targets[:, 0].tolist() == [2, 1, 3]
    assert weight is None


def test_the_classifier_treats_weights_as_repeats(labelled):
    X, y = labelled
    X, y = X[:80], y[:80]
    weight = np.arange(80) % 3
    one = KANClassifier(**QUICK).fit(X, y, sample_weight=weight)
    rows = np.repeat(np.arange(80), weight)
    other = KANClassifier(**QUICK).fit(X.iloc[rows], y[rows])
    assert np.allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-10)


# -- what the search is asked ---------------------------------------------------------------------


def test_the_search_is_asked_what_the_user_said(table, asked):
    X, y = table
    est = KANRegressor(
        max_time=5,
        random_state=7,
        functions=["sin", "x^2"],
        max_complexity=9,
        noise=0.1,
        required=["a"],
        forbidden=["c d"],
        monotone={"a": "increasing"},
        parity={"c d": "even"},
        units={"a": "m", "b": "m", "c d": "s", "force": "m"},
        max_candidates=11,
    )
    est.fit(X, y)
    ((rows, options),) = asked
    assert [str(v) for v in rows.variables] == ["a", "b", "v3"]
    assert options.max_time == pytest.approx(5, abs=1)
    expected = Options(
        max_time=options.max_time,
        seed=7,
        functions=("sin", "x^2"),
        max_complexity=9,
        noise=0.1,
        required=("a",),
        forbidden=("v3",),
        monotone={"a": "increasing"},
        parity={"v3": "even"},
        units=[*map(parse_unit, ["m", "m", "s", "m"])],
        target_name="force",
        max_candidates=11,
    )
    assert options == expected


def test_the_seed_comes_from_random_state_and_the_global_one_is_left_alone(table, asked):
    X, y = table
    states = (0, 0, np.random.RandomState(3), np.random.RandomState(3), None, None)
    for state in states:
        KANRegressor(random_state=state, **QUICK).fit(X, y)
    seeds = [options.seed for _, options in asked]
    assert seeds[:2] == [0, 0]
    assert seeds[2] == seeds[3]
    assert seeds[4] != seeds[5]


@pytest.mark.slow
def test_several_outputs_share_the_time_and_keep_their_names(table, asked):
    X, y = table
    Y = pd.DataFrame({"up": y, "down": -y})
    est = KANRegressor(max_time=10, noise=[0.1, 0.2], units=["m", "m", "1", "m", "km"])
    est.fit(X, Y)
    (_, first), (_, second) = asked
    assert first.max_time == pytest.approx(5, abs=0.5)
    assert (first.noise, second.noise) == (0.1, 0.2)
    assert (first.target_name, second.target_name) == ("up", "down")
    assert first.units == second.units == [*map(parse_unit, ["m", "m", "1", "m"])]
    assert est.formula_.target_names == ("up", "down")
    assert est.predict(X).shape == (40, 2)
    assert [frame["chosen"].sum() for frame in est.equations_] == [1, 1]
    assert list(est.equations_table()["target"].unique()) == ["up", "down"]
    assert len(est.sympy()) == len(est.verdict_) == len(est.noise_) == 2


def test_outputs_side_by_side_are_what_they_are_one_by_one(table):
    X, y = table
    Y = np.column_stack([y, 2 * y, y**2])
    alone = KANRegressor(**STEADY).fit(X, Y)
    together = KANRegressor(n_jobs=2, **STEADY).fit(X, Y)
    assert together.sympy() == alone.sympy()


def test_an_interrupt_ends_all_searches_with_what_there_is(table, asked):
    X, y = table
    asked.answers = [lambda _: replace(found("a"), stopped="interrupted")]
    est = KANRegressor(**QUICK).fit(X, np.column_stack([y, y**2]))
    assert len(asked) == 1
    assert str(est.sympy()[0]) == "a"
    assert est.sympy()[1].is_number
    assert "interrupted" in est.reason_[1]


def test_the_checkpoint_of_each_output_has_a_folder_of_its_own(tmp_path):
    assert searches.checkpoint_of(tmp_path, 0, 1) == tmp_path
    assert searches.checkpoint_of(tmp_path, 1, 2) == tmp_path / "output-2"
    assert searches.checkpoint_of(None, 0, 1) is None


# -- offsets ---------------------------------------------------------------------------------------


def test_the_search_sees_a_column_that_hardly_varies_without_its_offset(asked):
    X = np.c_[1e8 + np.linspace(1, 2, 20), np.linspace(1, 2, 20), 3 + np.arange(20) % 2 * 4.4e-16]
    network = KAN([3, 1], seed=0)
    asked.answers = [
        lambda rows: found(rows.variables[0] ** 2, verdict=Verdict.NONE, network=network)
    ]
    est = KANRegressor(**QUICK).fit(X, X[:, 1])
    ((rows, _),) = asked
    assert np.allclose(rows.X[:, 0], X[:, 1])
    assert np.array_equal(rows.X[:, 1], X[:, 1])
    assert (rows.X[:, 2] == 3).all()
    (x1, *_) = est.formula_.variables
    assert est.sympy() == (x1 - 100000000) ** 2
    assert est.network_.input_shift.tolist() == [1e8, 0, 0]


@pytest.mark.parametrize("rule", [{"parity": {"x1": "even"}}, {"units": ["m", "m"]}])
def test_an_offset_stays_where_a_rule_is_about_0(asked, rule):
    X = 1e8 + np.linspace(1, 2, 20)[:, None]
    KANRegressor(**rule, **QUICK).fit(X, X[:, 0] ** 2)
    ((rows, _),) = asked
    assert np.array_equal(rows.X, X)


# -- forms ----------------------------------------------------------------------------------------


def test_a_form_is_a_column_of_the_search_and_put_back_into_its_formula(table, asked):
    X, y = table

    def answer(rows):
        *_, u, w = rows.variables
        return found(u, 2 * u + w)

    asked.answers = [answer]
    est = KANRegressor(features=["a - b", "k*sqrt(v3)"], constants={"k": 2.0}, **QUICK)
    est.fit(X, y)
    ((rows, _),) = asked
    assert np.allclose(rows.X[:, 3], rows.X[:, 0] - rows.X[:, 1])
    assert np.allclose(rows.X[:, 4], 2 * np.sqrt(rows.X[:, 2]))
    a, b, v3 = est.formula_.variables
    assert est.sympy() == 2 * (a - b) + NamedConstant("k", 2.0) * sympy.sqrt(v3)
    assert est.predict(X) == pytest.approx(2 * (X["a"] - X["b"]) + 2 * np.sqrt(X["c d"]))
    assert (est.feature_importances_ > 0).all()
    assert list(est.equations_["complexity"]) == [
        searches.count_nodes(est.sympy(0)),
        searches.count_nodes(est.sympy(1)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('true')", "may hold columns"),
        ("(lambda: 1)()", "may hold columns"),
        ("x1.real", "may hold columns"),
        ("[x1][0]", "may hold columns"),
        ("x1 if x2 else 1", "may hold columns"),
        ("'text'", "may hold columns"),
        ("True*x1", "may hold columns"),
        ("x1^2", r"a power is written \*\*"),
        ("x1 -", "not a formula"),
        ("x1 + x4", "unknown name 'x4'"),
        ("sine(x1)", "unknown function 'sine'; did you mean 'sin'"),
        ("sin(x1, x2)", "takes one argument"),
        ("x1 + 9**9**9", "powers up to 100"),
        ("x1**(10**30)", "powers up to 100"),
        ("x1", "more than one of them alone"),
        ("1 + 2", "real formula in the columns"),
        ("sqrt(-1)*x1", "real formula in the columns"),
        ("x1+" * 300 + "x1", "at most 400 characters"),
        ("(" * 150 + "x1" + ")" * 150 + "+(", "not a formula"),
        (3, "must be text"),
    ],
)
def test_a_form_is_read_and_never_run(text, message):
    variables = sympy.symbols("x1:4", real=True)
    with pytest.raises(ValueError, match=message):
        read_forms([text], variables, ["x1", "x2", "x3"], {})


def test_forms_read_as_they_are_written():
    x1, x2 = variables = sympy.symbols("x1 x2", real=True)
    texts = ["x1 - x2", "-x1**2/3 + g", "asin(x1)*pi", "arctan(x2 / 2.5)", "x1**-0.5"]
    g = NamedConstant("g", 9.81)
    forms = read_forms(texts, variables, ["x1", "x2"], {"g": g})
    expected = [
        x1 - x2,
        g - x1**2 / 3,
        sympy.pi * sympy.asin(x1),
        sympy.atan(x2 / sympy.Float(2.5, 17)),
        x1 ** sympy.Float(-0.5, 17),
    ]
    assert list(forms.exprs) == expected
    assert not set(map(str, forms.symbols)) & {"x1", "x2", "g"}


def test_a_form_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match=r"features\[0\], log\(x1\), must be finite"):
        KANRegressor(features=["log(x1)"], **QUICK).fit([[0.0], [1.0], [2.0]], [1.0, 2.0, 4.0])


# -- formulas and what is said about them ---------------------------------------------------------


def test_every_row_of_equations_can_be_used(table, asked):
    X, y = table
    asked.answers = [lambda rows: found("b", "2.123456*a - b", rivals=found("b**2").findings)]
    est = KANRegressor(**QUICK).fit(X, y)
    a, b = sympy.symbols("a b")
    assert list(est.equations_) == ["complexity", "loss", "R2", "score", "formula", "chosen"]
    assert list(est.equations_["formula"]) == ["b", "2.123*a - b"]
    assert list(est.equations_["chosen"]) == [False, True]
    assert list(est.rivals_["formula"]) == ["b**2"]
    assert est.equations_table()["formula"][1].startswith("2.123456")
    assert est.sympy(0) == b
    assert est.sympy() == est.sympy(1) == est.sympy(-1) == 2.123456 * a - b
    assert est.latex(0) == r"\mathrm{force} = b"
    assert est.latex() == r"\mathrm{force} = 2.123 a - b"
    assert est.latex_table().count(r"\\") == 3
    assert r"$\mathrm{force} = 2.123 a - b$" in est.latex_table()
    with pytest.raises(ValueError, match="i must be a row of equations_, 0 to 1, got 2"):
        est.sympy(2)
    with pytest.raises(ValueError, match="one row of equations_, or 1 rows"):
        est.sympy([0, 1])


def test_verdict_reason_and_noise_are_the_search_s(table, asked):
    X, y = table
    asked.answers = [lambda _: found("a", verdict=Verdict.EXACT, noise=0.3)]
    est = KANRegressor(**QUICK).fit(X, y)
    assert est.verdict_ == "EXACT"
    assert est.exact_
    assert (est.reason_, est.noise_) == ("as told", 0.3)


def test_a_prediction_that_is_not_real_is_announced(asked):
    asked.answers = [lambda rows: found(sympy.log(rows.variables[0]))]
    est = KANRegressor(**QUICK).fit([[1.0], [2.0], [3.0]], [0.0, 0.7, 1.1])
    with pytest.warns(ExtrapolationWarning, match="1 of 2 predictions are not finite"):
        values = est.predict([[-1.0], [1.0]])
    assert np.isnan(values[0])
    assert values[1] == 0


def test_predictions_have_the_shape_of_y(table):
    X, y = table
    assert KANRegressor(**QUICK).fit(X, y).predict(X).shape == (40,)
    assert KANRegressor(**QUICK).fit(X, y.to_frame()).predict(X).shape == (40, 1)
    assert KANRegressor(**QUICK).fit(X, list(y)).predict(X).shape == (40,)


def test_the_network_carries_the_formulas(table):
    X, y = table
    est = KANRegressor(**QUICK).fit(X, np.column_stack([y, y**2]))
    assert np.allclose(est.network_.predict(X), est.predict(X), rtol=1e-9)
    assert est.network_ is est.network_
    assert est.network_.feature_names == ("a", "b", "c d")


def test_where_there_is_no_formula_the_network_is_of_splines(table, asked):
    X, y = table
    splines, further = KAN([3, 1], seed=0), KAN([4, 1], seed=0)
    asked.answers = [
        lambda rows: found(rows.variables[0], verdict=Verdict.NONE, network=splines),
        lambda rows: found(rows.variables[0], verdict=Verdict.APPROXIMATE, network=splines),
        # of columns and a form
        lambda rows: found(rows.variables[0], verdict=Verdict.NONE, network=further),
    ]
    est = KANRegressor(**QUICK).fit(X, y)
    assert est.network_ is splines
    assert splines.feature_names == ("a", "b", "c d")
    scores = splines.feature_scores(X.to_numpy()).numpy()
    assert est.feature_importances_ == pytest.approx(scores)
    for features in ([], ["a*b"]):
        est = KANRegressor(features=features, **QUICK).fit(X, y)
        assert np.allclose(est.network_.predict(X)[:, 0], est.predict(X), rtol=1e-9)
        assert est.feature_importances_[0] > 0.5
        assert est.feature_importances_[1:].tolist() == [0, 0]


def test_an_edge_of_the_network_can_have_its_spline_back(table):
    X, y = table
    network = KANRegressor(**QUICK).fit(X, y).network_
    before = np.asarray(network.predict(X))
    network.unfix_symbolic(0, 0, 0)
    network.fit((X, y), progress=False)
    assert np.allclose(network.predict(X), before, atol=1e-3)


# -- input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [3.0, 0.1, -(2.5e300**0.4)])
def test_a_constant_target_is_its_own_formula(value, asked):
    X = np.random.default_rng(0).normal(size=(10, 2))
    with pytest.warns(UserWarning, match="there is nothing to explain"):
        est = KANRegressor(**QUICK).fit(X, np.full(10, value))
    assert not asked
    assert est.predict(X) == pytest.approx(np.full(10, value), rel=1e-15)
    assert est.verdict_ == Verdict.NONE
    assert len(est.equations_) == 1


def test_columns_that_never_vary_explain_nothing(asked):
    est = KANRegressor(**QUICK).fit(np.ones((6, 2)), np.arange(6.0))
    assert not asked
    assert est.predict(np.ones((1, 2))) == pytest.approx([2.5])
    assert est.verdict_ == Verdict.NONE
    assert "no column varies" in est.reason_


def test_few_many_twin_and_whole_columns_are_no_trouble():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(60, 200))
    assert np.isfinite(KANRegressor(**QUICK).fit(wide, wide[:, 3]).predict(wide)).all()
    three = KANRegressor(**QUICK).fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    assert three.predict([[1.5]]) == pytest.approx([4.0])
    twins = np.repeat(rng.normal(size=(30, 1)), 2, 1)
    assert KANRegressor(**QUICK).fit(twins, 3 * twins[:, 0]).score(twins, 3 * twins[:, 0]) > 0.999
    whole = rng.integers(0, 2, (40, 3))
    est = KANRegressor(**QUICK).fit(whole.astype(bool), whole[:, 0] - 2 * whole[:, 2])
    assert est.score(whole, whole[:, 0] - 2 * whole[:, 2]) > 0.999


def test_tensors_lists_and_frames_give_the_same():
    X = np.random.default_rng(0).normal(size=(20, 2))
    y = X @ [1.0, 2.0]
    tensors = KANRegressor(**QUICK).fit(torch.tensor(X, requires_grad=True), torch.tensor(y))
    lists = KANRegressor(**QUICK).fit(X.tolist(), y.tolist())
    frame = KANRegressor(**QUICK).fit(pd.DataFrame(X), pd.Series(y))
    assert tensors.sympy() == lists.sympy() == frame.sympy()


GOOD_X, GOOD_Y = [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([[0.0, np.nan], [1.0, 0.0]], [1.0, 2.0], r"X must be finite; column 1 has NaN"),
        (GOOD_X, [1.0, np.inf, 2.0], "y must be finite; column 0 has infinite values"),
        (pd.DataFrame({"a": ["x", "y"]}), [1.0, 2.0], "column 'a' of X must be numeric"),
        (pd.DataFrame({"a": [1.0, np.nan]}), [1.0, 2.0], "column 'a' has NaN"),
        (GOOD_X, ["x", "y", "z"], "y must be numeric"),
        (GOOD_X, [1.0, 2.0], "y must have one row for every row of X, got 2 rows of y and 3"),
        ([[1.0, 2.0]], [1.0], "minimum of 2 is required by KANRegressor"),
        ([1.0, 2.0], [1.0, 2.0], "Reshape your data"),
        (GOOD_X, None, "requires y to be passed"),
        (GOOD_X, [1j, 2, 3], "y must be real"),
        ([[0.0, 1e200], [1.0, 0.0]], [1.0, 2.0], "X must stay below 1e"),
    ],
)
def test_bad_data_are_refused_in_words(X, y, message):
    with pytest.raises(ValueError, match=message):
        KANRegressor(**QUICK).fit(X, y)


def test_other_columns_than_those_of_fit_are_refused(table):
    X, y = table
    est = KANRegressor(**QUICK).fit(X, y)
    bare = KANRegressor(**QUICK).fit(X.to_numpy(), y)
    with pytest.raises(ValueError, match="has 2 features, but KANRegressor is expecting 3"):
        bare.predict(np.ones((4, 2)))
    with pytest.raises(ValueError, match="feature names should match"):
        est.predict(X.rename(columns={"a": "z"}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_time": 0}, "max_time must be > 0 seconds or None, got 0"),
        ({"max_time": "long"}, "max_time must be > 0"),
        ({"random_state": -1}, "random_state must be an int, None or a RandomState, got -1"),
        ({"random_state": "x"}, "random_state must be"),
        ({"n_jobs": 0}, "n_jobs must be"),
        ({"functions": ["sine"]}, "unknown function 'sine'; did you mean 'sin'"),
        ({"functions": "sin"}, "functions must be 'default' or a list"),
        ({"max_complexity": 0}, "max_complexity must be an integer >= 1"),
        ({"max_candidates": 1.5}, "max_candidates must be an integer >= 1"),
        ({"noise": -1}, "noise must be a standard deviation >= 0"),
        ({"noise": [1, 2]}, "noise must be one number, or one for each of 1"),
        ({"noise": "loud"}, "noise must be"),
        ({"required": "x1"}, "required must be a list of column names"),
        ({"required": ["x9"]}, "required has the unknown column 'x9'"),
        ({"required": ["x1"], "forbidden": ["x1"]}, "must not share a column"),
        ({"features": "x1 - x2"}, "features must be a list"),
        ({"constants": {"g": "ten"}}, r"constants\['g'\] must be a finite number"),
        ({"constants": {"g": 0.0}}, r"constants\['g'\] must be a finite number other than 0"),
        ({"constants": {"x1": 2.0}}, "must not be called as a column, .* got 'x1'"),
        ({"constants": {"sin": 2.0}}, "must not be called as a column, .* got 'sin'"),
        ({"constants": {"a b": 2.0}}, "the name of a constant must be a plain word"),
        ({"monotone": ["x1"]}, "monotone must be a mapping {column: 'increasing' or 'decreasing'}"),
        ({"monotone": {"x1": "up"}}, r"unknown monotone\['x1'\] 'up'"),
        ({"parity": {"x9": "even"}}, "parity has the unknown column 'x9'"),
        ({"features": ["x1*x2"], "forbidden": ["x1"]}, "must not use the forbidden column 'x1'"),
        ({"units": ["m", "s", "m"], "features": ["x1 + x2"]}, "must have consistent units"),
        ({"constants": ["g"]}, "constants must be a mapping"),
        ({"units": {"x1": "m"}}, "units must name every column and target, 'x2' is missing"),
        ({"units": {"z": "m"}}, "units has the unknown name 'z'"),
        ({"units": ["m"]}, "a list of 3 units in the order of, x1, x2, y"),
        ({"units": ["m", "pounds per acre per", "m"]}, "unit of 'x2' must be one that pint reads"),
        ({"checkpoint": 3}, "checkpoint must be a path or None"),
    ],
)
def test_bad_arguments_are_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        KANRegressor(**QUICK | arguments).fit(GOOD_X, GOOD_Y)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, -1.0, 1.0], "sample_weight must be >= 0, got -1"),
        ([0.0, 0.0, 0.0], "must not be zero in every row"),
        ([1.0, 2.0], "sample_weight must have one row for every row of X"),
        ([1.0, np.nan, 1.0], "sample_weight must be finite"),
    ],
)
@pytest.mark.parametrize(("cls", "y"), [(KANRegressor, GOOD_Y), (KANClassifier, [0, 1, 1])])
def test_bad_weights_are_refused_in_words(cls, y, weight, message):
    with pytest.raises(ValueError, match=message):
        cls(**QUICK).fit(GOOD_X, y, sample_weight=weight)


# -- progress -------------------------------------------------------------------------------------


def test_a_line_is_shown_on_a_terminal_only(table, monkeypatch, capsys):
    X, y = table
    seen = []

    def discover(rows, options, report=None):
        seen.append(report is not None)
        if report is not None:
            report("lines", found("a").chosen)
        return found("a")

    monkeypatch.setattr(searches, "discover", discover)
    KANRegressor(**QUICK).fit(X, y)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    KANRegressor(progress=False, **QUICK).fit(X, y)
    assert capsys.readouterr().err == ""
    KANRegressor(**QUICK).fit(X, y)
    assert seen == [False, False, True]
    assert "force = a  (R2 0.9)" in capsys.readouterr().err


def test_a_long_formula_does_not_break_the_line(capsys):
    line = ProgressLine("y")
    line("grow", found(" + ".join(f"x{i}" for i in range(60))).chosen)
    line.close()
    assert all(len(part) <= 110 for part in capsys.readouterr().err.split("\r"))


# -- classes --------------------------------------------------------------------------------------


def test_log_odds_come_out_with_constants_of_maximum_likelihood(labelled):
    from sklearn.linear_model import LogisticRegression

    X, y = labelled
    est = KANClassifier(**QUICK).fit(X, y)
    assert list(est.classes_) == ["no", "yes"]
    assert est.formula_.target_names == ("logit(yes)",)
    a, b = est.formula_.variables
    slopes = [float(sympy.diff(est.sympy(), v)) for v in (a, b)]
    other = LogisticRegression(C=np.inf, tol=1e-8).fit(X, y)
    assert slopes == pytest.approx(other.coef_[0].tolist(), rel=0.03)
    proba = est.predict_proba(X)
    assert proba.sum(1) == pytest.approx(np.ones(300))
    assert np.allclose(np.log(proba[:, 1] / proba[:, 0]), est.decision_function(X))
    assert est.verdict_ in (Verdict.CONSISTENT, Verdict.AMBIGUOUS)
    assert not est.exact_
    assert est.equations_.loc[est.equations_["chosen"], "loss"].item() < 0.5


def test_exact_for_splines_is_at_most_consistent_for_labels(labelled, asked):
    X, y = labelled
    splines = KAN([2, 1], seed=0)
    asked.answers = [
        lambda rows: found(
            3 * rows.variables[0] - 2 * rows.variables[1], verdict=Verdict.EXACT, network=splines
        )
    ]
    est = KANClassifier(**QUICK).fit(X, y)
    assert est.verdict_ == Verdict.CONSISTENT
    assert est._found[0].network is None
    assert "3*a" not in str(est.sympy())  # whole numbers of the search are fitted too


def test_labels_that_nothing_explains_are_the_constant(asked):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 2)), rng.integers(0, 2, 200)
    est = KANClassifier(**QUICK).fit(X, y)
    assert est.verdict_ == Verdict.NONE
    assert not est.sympy().free_symbols
    assert est.predict_proba(X)[:, 1] == pytest.approx(np.full(200, y.mean()), abs=0.01)


def test_a_formula_that_splines_beat_is_only_approximate(asked):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (600, 1))
    y = (rng.uniform(size=600) < 1 / (1 + np.exp(-6 * np.sin(2 * X[:, 0])))).astype(int)
    asked.answers = [lambda rows: found(rows.variables[0])]
    est = KANClassifier(**QUICK).fit(X, y)
    assert est.verdict_ == Verdict.APPROXIMATE
    assert "splines predict held-out labels better" in est.reason_


def test_the_simpler_formula_is_preferred_when_labels_cannot_tell(labelled, asked):
    X, y = labelled

    def answer(rows):
        a, b = rows.variables
        return found(a, 3 * a - 2 * b, 3 * a - 2 * b + 0.01 * sympy.sin(5 * a))

    asked.answers = [answer]
    est = KANClassifier(**QUICK).fit(X, y)
    assert not est.sympy().has(sympy.sin)
    assert len(est.sympy().free_symbols) == 2


def test_of_formulas_that_held_out_labels_cannot_tell_apart_the_simplest_is_taken():
    rng = np.random.default_rng(0)
    labels = Labels(np.arange(100) % 2, np.ones(100), 2)
    best = rng.uniform(0.3, 0.7, 100)
    wave = np.where(np.arange(100) % 4 < 2, 0.1, -0.1)
    hardly, clearly = wave + 0.005, wave + 0.1
    rivals = [
        _Judged(sympy.Symbol(name), losses, "test")
        for name, losses in (("worse", best + clearly), ("as_good", best + hardly), ("best", best))
    ]
    assert str(_simplest(rivals, labels).expr) == "as_good"


def test_classes_that_can_be_separated_do_not_diverge():
    X = np.linspace(-1, 1, 40)[:, None]
    est = KANClassifier(**QUICK).fit(X, X[:, 0] > 0)
    assert est.score(X, X[:, 0] > 0) == 1
    assert np.abs(est.decision_function(X)).max() < 20


def test_three_classes_have_two_formulas():
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], 60)
    X = rng.normal(size=(180, 2)) + 2 * np.array([[0, 0], [1, 0], [0, 1]])[np.repeat(range(3), 60)]
    est = KANClassifier(**QUICK).fit(X, y)
    assert est.formula_.target_names == ("logit(b)", "logit(c)")
    assert len(est.equations_) == len(est.verdict_) == 2
    full = est.decision_function(X)
    assert full.shape == (180, 3)
    assert full.sum(1) == pytest.approx(np.zeros(180), abs=1e-9)
    assert np.array_equal(est.classes_[full.argmax(1)], est.predict(X))
    of_b, of_c = est.sympy()  # the truth: 2 x1 - 2 and 2 x2 - 2, right in 75.6 % of these rows
    assert {str(v) for v in of_b.free_symbols} == {"x1"}
    assert {str(v) for v in of_c.free_symbols} == {"x2"}
    assert est.score(X, y) > 0.74


def test_rows_outside_the_domain_get_the_frequencies_of_the_classes(asked):
    rng = np.random.default_rng(0)
    X = rng.uniform(0.1, 3, (200, 1))
    y = (rng.uniform(size=200) < X[:, 0] ** 3 / (1 + X[:, 0] ** 3)).astype(int)
    asked.answers = [lambda rows: found(3 * sympy.log(rows.variables[0]))]
    est = KANClassifier(**QUICK).fit(X, y)
    assert est.sympy().has(sympy.log)
    with pytest.warns(ExtrapolationWarning, match="1 of 2 rows"):
        proba = est.predict_proba([[-1.0], [1.0]])
    assert proba[0, 1] == pytest.approx(y.mean())


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, 1, 1], "at least two classes, got only the class 1"),
        ([0.5, 1.5, 2.25], "Unknown label type"),
        ([0.0, np.nan, 1.0], "y must hold labels, got nan in row 1"),
        (None, "requires y"),
    ],
)
def test_bad_labels_are_refused_in_words(y, message):
    with pytest.raises(ValueError, match=message):
        KANClassifier(**QUICK).fit(GOOD_X, y)


def test_the_slopes_of_log_odds_are_right():
    rng = np.random.default_rng(0)
    X = rng.uniform(0.5, 2, (50, 2))
    variables = sympy.symbols("x1 x2", real=True)
    form = log_odds(1.5 * sympy.sin(0.7 * variables[0]) + variables[1] ** 2 - 2, variables)
    assert sorted(form.start) == pytest.approx([-2, 0.7, 1, 1.5])
    theta = form.start + 0.1
    rows = form.compiled(*X.T, *theta)
    for p in range(4):
        step = np.eye(4)[p] * 1e-6
        up, down = (form.compiled(*X.T, *(theta + s))[0] for s in (step, -step))
        assert np.broadcast_to(rows[1 + p], 50) == pytest.approx((up - down) / 2e-6, abs=1e-6)


def test_maximum_likelihood_agrees_with_a_general_minimiser():
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    A = rng.normal(size=(80, 3))
    labels = Labels(rng.integers(0, 3, 80), rng.uniform(0.5, 2, 80), 3)
    slopes = np.zeros((80, 2, 6))
    slopes[:, 0, :3] = slopes[:, 1, 3:] = A

    def model(theta):
        return slopes @ theta, slopes

    def held(logits):
        return 0.5 * PRIOR_ROWS * labels.mean((logits**2).sum(1))

    def objective(theta):
        logits = slopes @ theta
        return (
            labels.weight @ row_losses(logits, labels) + held(logits) + 0.5 * theta @ prior @ theta
        )

    prior = np.diag([0.0, 1, 2, 3, 4, 5])
    fitted = maximise(model, np.zeros(6), labels, prior)
    reference = minimize(objective, np.zeros(6), tol=1e-10)
    assert fitted.objective == pytest.approx(reference.fun, abs=1e-8)
    assert fitted.theta == pytest.approx(reference.x, abs=1e-4)
    assert probabilities(slopes @ fitted.theta).sum(1) == pytest.approx(np.ones(80))


def test_log_odds_that_are_not_finite_lose(labelled):
    X, y = labelled
    variables = sympy.symbols("a b", real=True)
    labels = Labels((y == "yes").astype(int), np.ones(300), 2)
    problem = LabelProblem(variables, X.to_numpy(), labels, np.arange(300) % 3)
    assert np.isinf(problem.held_out([sympy.log(variables[0])])).all()
    assert problem.fit([sympy.log(variables[0])]) is None
    assert np.isfinite(problem.held_out([variables[0]])).all()


def test_a_table_of_the_search_holds_real_symbols(table, asked):
    KANRegressor(**QUICK).fit(*table)
    ((rows, _),) = asked
    assert isinstance(rows, Table)
    assert all(v.is_real for v in rows.variables)


# -- laws, found by the search itself -------------------------------------------------------------


@pytest.fixture(scope="module")
def rows():
    """120 rows of three positive columns."""
    return np.random.default_rng(0).uniform(0.5, 3, (120, 3))


def test_exact_laws_are_found_with_their_constants(rows):
    x1, x2, x3 = rows.T
    est = KANRegressor(**STEADY).fit(rows, np.column_stack([x1 * x2 / (x3 + 1), x1 - 2 * x3]))
    a, b, c = est.formula_.variables
    assert est.sympy() == [a * b / (c + 1), a - 2 * c]
    assert est.exact_ == [True, True]
    assert est.verdict_ == [Verdict.EXACT] * 2
    assert est.rivals_[0].empty
    assert np.allclose(est.network_.predict(rows), est.predict(rows), rtol=1e-9, atol=1e-9)
    assert est.feature_importances_.sum() > 0.9
    assert (np.array(est.spline_rmse_) < 0.05).all()


def test_a_sum_of_a_wave_and_a_square_is_found(rows):
    est = KANRegressor(**STEADY).fit(rows[:, :2], 2 * np.sin(3 * rows[:, 0]) + rows[:, 1] ** 2)
    a, b = est.formula_.variables
    assert est.sympy() == 2 * sympy.sin(3 * a) + b**2
    assert est.exact_


def test_noise_has_no_formula():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 2)), rng.normal(size=100)
    est = KANRegressor(max_time=None, max_candidates=30).fit(X, y)
    assert est.verdict_ == Verdict.NONE
    assert est.sympy().is_number
    assert not est.exact_
    assert est.feature_importances_.tolist() == [0, 0]


def test_the_same_seed_gives_the_same(rows):
    y = rows[:, 0] * np.exp(-rows[:, 1]) + 0.01 * np.random.default_rng(1).normal(size=120)
    one, other = (KANRegressor(max_time=None, max_candidates=25).fit(rows, y) for _ in range(2))
    assert one.equations_.equals(other.equations_)
    assert one._found[0].n_candidates == other._found[0].n_candidates <= 25


@pytest.mark.parametrize("seconds", [1.0, 2.0])
def test_a_search_that_finds_nothing_ends(rows, seconds):
    """Within a bound that a busy machine keeps, too; without one this search takes minutes."""
    rng = np.random.default_rng(2)
    y = np.sin(rows[:, 0] * rows[:, 1]) * rows[:, 2] + np.cos(5 * rows[:, 2]) + rng.normal(size=120)
    est = KANRegressor(max_time=seconds)
    started = time.perf_counter()
    est.fit(rows, y)
    assert time.perf_counter() - started < 10 * seconds


def test_a_known_constant_is_shown_by_its_name():
    t = np.linspace(0.3, 3, 40)
    noise = 0.01 * np.random.default_rng(0).normal(size=40)
    for error in (0, noise):
        est = KANRegressor(constants={"g": 9.81}, **STEADY)
        est.fit(t[:, None], 9.81 * t**2 / 2 + error)
        (x,) = est.formula_.variables
        g = NamedConstant("g", 9.81)
        assert est.sympy() == g * x**2 / 2
        assert str(est.formula_) == "y = g*x1**2/2"
        assert est.latex() == r"y = \frac{g x_{1}^{2}}{2}"
        assert est.predict([[2.0]]) == pytest.approx([19.62])
        assert est.network_.predict([[2.0]]).item() == pytest.approx(19.62)
        assert pickle.loads(pickle.dumps(est)).sympy() == est.sympy()
    est = KANRegressor(constants={"g": 9.81}, **STEADY).fit(t[:, None], 9.6 * t**2 / 2)
    assert not est.sympy().has(g)


def test_a_constant_with_a_unit_takes_part_in_dimensional_analysis():
    length = np.linspace(0.3, 3, 40)
    est = KANRegressor(
        constants={"g": 9.81}, units={"x1": "m", "y": "s", "g": "m/s^2"}, **STEADY
    ).fit(length[:, None], 2 * np.pi * np.sqrt(length / 9.81))
    (x,) = est.formula_.variables
    g = NamedConstant("g", 9.81)
    assert est.sympy() == 2 * sympy.pi * sympy.sqrt(x) / sympy.sqrt(g)
    assert est.exact_


def test_a_formula_that_breaks_units_is_never_offered(rows):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rows, columns=["m", "v", "w"])
    y = frame["m"] * (frame["v"] - frame["w"]) ** 2 / 2 + 0.01 * rng.normal(size=120)
    est = KANRegressor(units={"m": "kg", "v": "m/s", "w": "m/s", "y": "J"}, **STEADY).fit(frame, y)
    speed, mass = Dimension.of({"length": 1, "time": -1}), Dimension.of({"mass": 1})
    dims = dict(zip(est.formula_.variables, (mass, speed, speed), strict=True))
    offered = [f.expr for f in (*est._found[0].findings, *est._found[0].rivals)]
    assert len(offered) > 1
    for expr in offered:
        assert expr.is_number or has_consistent_units(expr, dims, mass * speed**2)


def test_units_of_forms_follow_from_their_columns(rows):
    frame = pd.DataFrame(rows, columns=["m", "v", "w"])
    est = KANRegressor(
        units=["kg", "m/s", "m/s", "J"], features=["v - w"], required=["w"], **STEADY
    ).fit(frame, frame["m"] * (frame["v"] - frame["w"]) ** 2 / 2)
    m, v, w = est.formula_.variables
    assert est.sympy() == m * (v - w) ** 2 / 2
    assert est.exact_


RULES = {
    "required": (["c"], lambda expr, c, at: c in expr.free_symbols),
    "forbidden": (["a"], lambda expr, c, at: "a" not in {str(s) for s in expr.free_symbols}),
    "monotone": ({"c": "increasing"}, lambda expr, c, at: (at(sympy.diff(expr, c)) >= -1e-9).all()),
    "parity": (
        {"c": "even"},
        lambda expr, c, at: np.allclose(at(expr), at(expr.subs(c, -c)), atol=1e-6),
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_every_formula_offered_keeps_the_rule(rule):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.uniform(-2, 2, (80, 2)), columns=["a", "c"])
    y = X["a"] + X["c"] ** 2 + 0.1 * X["c"] + 0.1 * rng.normal(size=80)
    value, holds = RULES[rule]
    est = KANRegressor(max_time=None, max_candidates=30, **{rule: value}).fit(X, y)
    symbols = est.formula_.variables

    def at(expr):
        return np.broadcast_to(sympy.lambdify(symbols, expr)(*X.to_numpy().T), len(X))

    for finding in (*est._found[0].findings, *est._found[0].rivals):
        assert finding.expr.is_number or holds(finding.expr, symbols[1], at)


def test_a_checkpoint_is_taken_up_and_another_search_s_refused(rows, tmp_path):
    y = rows[:, 0] * rows[:, 1] / (rows[:, 2] + 1)
    path = tmp_path / "state"
    whole = KANRegressor(checkpoint=path, **STEADY).fit(rows, y)
    again = KANRegressor(checkpoint=path, max_time=None, max_candidates=70).fit(rows, y)
    assert again.sympy() == whole.sympy()
    with pytest.raises(ValueError, match="belongs to another search"):
        KANRegressor(checkpoint=path, **STEADY).fit(rows, 2 * y)
    with pytest.raises(ValueError, match="belongs to another search"):
        KANRegressor(checkpoint=path, required=["x1"], **STEADY).fit(rows, y)
    both = np.column_stack([y, rows[:, 0]])
    KANRegressor(checkpoint=tmp_path / "two", **STEADY).fit(rows, both)
    assert (tmp_path / "two" / "output-1" / "search.json").exists()
    assert (tmp_path / "two" / "output-2" / "search.json").exists()


def test_a_search_that_ended_is_not_done_again(rows, tmp_path, monkeypatch):
    y = rows[:, 0] * rows[:, 1] / (rows[:, 2] + 1)
    fits, enter = [], Contest.enter
    monkeypatch.setattr(Contest, "enter", lambda *a, **k: fits.append(1) or enter(*a, **k))
    whole = KANRegressor(checkpoint=tmp_path / "state", **STEADY).fit(rows, y)
    n_fits = len(fits)
    again = KANRegressor(checkpoint=tmp_path / "state", **STEADY).fit(rows, y)
    assert again._found[0].findings == whole._found[0].findings
    assert again._found[0].n_candidates == whole._found[0].n_candidates
    assert len(fits) - n_fits < n_fits / 2


def test_an_interrupt_leaves_the_best_so_far(rows, monkeypatch):
    y = np.sin(3 * rows[:, 0]) * rows[:, 1] + np.exp(rows[:, 2]) + 1 / (rows[:, 0] + 3)

    def interrupted(table, options, report=None):
        def stop(line, best):
            if best is not None and best.expr.free_symbols:
                raise KeyboardInterrupt

        return real(table, options, stop)

    real = searches.discover
    monkeypatch.setattr(searches, "discover", interrupted)
    est = KANRegressor(**STEADY).fit(rows, y)
    assert est._found[0].stopped == "interrupted"
    assert np.isfinite(est.predict(rows)).all()
    assert est.score(rows, y) > 0.3
