"""Sums grown by what labels say: the terms that made the labels, and no others."""

import numpy as np
import pytest
import sympy
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from kansym import KANClassifier
from kansym.estimator import growth
from kansym.estimator.growth import _logistic, _scores, grow, names, parts, simple_terms
from kansym.estimator.likelihood import Labels
from kansym.functions import get_library

A, B, C = VARIABLES = sympy.symbols("a b c", real=True)


def labels_of(logits, rng, n_classes=2):
    """Labels drawn with these log-odds [n, classes - 1] against the first class."""
    full = np.column_stack([np.zeros(len(logits)), logits])
    p = np.exp(full) / np.exp(full).sum(1, keepdims=True)
    codes = (rng.uniform(size=(len(p), 1)) > p.cumsum(1)).sum(1)
    return Labels(codes, np.ones(len(p)), n_classes)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng, rng.normal(size=(1000, 3))


def test_it_finds_the_terms_that_made_the_labels_and_stops(rows):
    rng, X = rows
    labels = labels_of(2 * X[:, :1] ** 2 - 3 * X[:, 1:2] * X[:, 2:] - 1, rng)
    sums = grow(simple_terms(VARIABLES, X), VARIABLES, X, labels, 1)
    assert len(sums) == 2
    final = sympy.Poly(sums[-1], *VARIABLES)
    assert set(final.monoms()) == {(2, 0, 0), (0, 1, 1), (0, 0, 0)}
    assert float(final.coeff_monomial(A**2)) == pytest.approx(2, abs=0.5)
    assert float(final.coeff_monomial(B * C)) == pytest.approx(-3, abs=0.5)


def test_the_constants_are_those_of_a_logistic_regression(rows):
    rng, X = rows
    labels = labels_of(2 * X[:, :1] - X[:, 1:2] + 0.5, rng)
    grown = sympy.Poly(grow([A, B], VARIABLES, X, labels, 1)[-1], *VARIABLES)
    other = LogisticRegression(C=np.inf, tol=1e-8).fit(X[:, :2], labels.codes)
    slopes = [float(grown.coeff_monomial(v)) for v in (A, B)]
    assert slopes == pytest.approx(other.coef_[0].tolist(), rel=0.01)
    assert float(grown.coeff_monomial(1)) == pytest.approx(other.intercept_[0], rel=0.02)


def test_the_score_of_a_term_is_what_it_gains_in_likelihood(rows):
    rng, X = rows
    X[:, 1] = X[:, 0] + 0.3 * X[:, 1]
    labels = labels_of(X[:, :1] + X[:, 1:2], rng)
    one, both = (
        LogisticRegression(C=np.inf, tol=1e-8)
        .fit(X[:, :n], labels.codes)
        .predict_log_proba(X[:, :n])
        for n in (1, 2)
    )
    gain = 2 * sum(p[np.arange(len(X)), labels.codes].sum() * s for p, s in ((both, 1), (one, -1)))
    design = np.column_stack([np.ones(len(X)), X[:, 0]])
    (known, new) = _scores(X[:, :2], design, _logistic(design, labels), labels)
    assert known == 0
    assert new == pytest.approx(gain, rel=0.1)
    assert gain > 5


def test_weights_are_repeats(rows):
    rng, X = rows
    labels = labels_of(2 * X[:, :1] - X[:, 1:2], rng)
    weight = rng.integers(0, 3, len(X))
    again = np.repeat(np.arange(len(X)), weight)
    terms = simple_terms(VARIABLES, X)
    one = grow(terms, VARIABLES, X, Labels(labels.codes, weight.astype(float), 2), 1)
    other = grow(terms, VARIABLES, X[again], labels.rows(again), 1)
    assert len(one) == len(other) == 2
    for a, b in zip(one, other, strict=True):
        f, g = (sympy.lambdify(VARIABLES, e)(*X.T) for e in (a, b))
        assert np.allclose(f, g, atol=0.01)


def test_of_many_rows_evenly_spaced_ones_are_taken(rows, monkeypatch):
    rng, X = rows
    labels = labels_of(3 * X[:, :1], rng)
    half = grow([A], VARIABLES, X[::2], labels.rows(np.arange(0, len(X), 2)), 1)
    assert grow([A], VARIABLES, X, labels, 1) != half
    monkeypatch.setattr(growth, "MOST_VALUES", 900)
    assert grow([A], VARIABLES, X, labels, 1) == half


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_chance_grow_nothing(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(300, 10))
    variables = sympy.symbols("x1:11", real=True)
    labels = Labels(rng.integers(0, 2, 300), np.ones(300), 2)
    assert grow(simple_terms(variables, X), variables, X, labels, 1) == []


def test_each_class_is_grown_against_the_first(rows):
    rng, X = rows
    labels = labels_of(3 * X[:, :2], rng, 3)
    for k, v in ((1, A), (2, B)):
        final = grow(simple_terms(VARIABLES, X), VARIABLES, X, labels, k)[-1]
        assert final.free_symbols == {v}


def test_separated_classes_stay_finite():
    X = np.linspace(-1, 1, 60)[:, None]
    labels = Labels((X[:, 0] > 0).astype(np.int64), np.ones(60), 2)
    (only,) = grow(simple_terms([A], X), [A], X, labels, 1)
    assert np.isfinite(float(sympy.diff(only, A)))


def test_terms_without_values_are_passed_over(rows):
    rng, X = rows
    labels = labels_of(3 * X[:, :1], rng)
    sums = grow([sympy.log(A), A - A + 1, sympy.sqrt(B), A], VARIABLES, X, labels, 1)
    assert [s.free_symbols for s in sums] == [{A}]
    assert not sums[0].has(sympy.log)


def test_terms_whose_squares_overflow_are_passed_over(rows):
    rng, X = rows
    labels = labels_of(3 * X[:, :1], rng)
    X = X * [1, 1e100, 1e300]
    assert grow(simple_terms(VARIABLES, X), VARIABLES, X, labels, 1)[0].free_symbols == {A}


def test_first_terms_are_in_every_sum(rows):
    rng, X = rows
    labels = labels_of(3 * X[:, :1], rng)
    sums = grow([A], VARIABLES, X, labels, 1, first=[C])
    assert [s.free_symbols for s in sums] == [{C}, {A, C}]


def test_logarithms_are_of_positive_columns_alone(rows):
    _, X = rows
    X = np.column_stack([np.exp(X[:, 0]), X[:, 1:]])
    assert [t for t in simple_terms(VARIABLES, X) if t.has(sympy.log)] == [sympy.log(A)]


def test_a_part_is_all_that_is_of_the_same_variables():
    assert set(parts([A**2 + sympy.sin(A) + A * B - 4, sympy.Integer(3)])) == {
        A**2 + sympy.sin(A),
        A * B,
    }


def test_long_parts_of_one_variable_get_the_names_near_to_them(rows):
    _, X = rows
    X = np.clip(X, -1, 1)
    long = sympy.series(sympy.sin(3 * A), A, 0, 14).removeO()
    found = names([long, A**2, A * B], VARIABLES, X, get_library(["sin", "exp"]))
    assert [f.func for f in found] == [sympy.sin]
    assert float(abs(sympy.diff(found[0].args[0], A))) == pytest.approx(3, rel=0.01)


@pytest.mark.slow
def test_a_classifier_has_a_formula_where_splines_run_off():
    data = load_breast_cancer()
    held = np.arange(len(data.data)) % 3 == 0
    est = KANClassifier(max_time=None, max_candidates=50, progress=False)
    est.fit(data.data[~held], data.target[~held])
    assert est.score(data.data[held], data.target[held]) > 0.92
    assert 1 <= len(est.sympy().free_symbols) <= 8


@pytest.mark.slow
def test_grown_sums_keep_what_is_required_forbidden_and_allowed():
    rng = np.random.default_rng(1)
    X = rng.uniform(1, 3, size=(400, 3))
    y = rng.uniform(size=400) < 1 / (1 + np.exp(-6 * np.log(X[:, 0] / 2) - 4 * (X[:, 1] - 2)))
    est = KANClassifier(
        max_time=None, max_candidates=20, progress=False,
        required=["x3"], forbidden=["x2"], functions=["x", "x^2"], max_complexity=12,
    ).fit(X, y)  # fmt: skip
    grown = [f.expr for f in est._found[0].findings if f.found_by == "growth"]
    assert grown
    for expr in grown:
        used = {str(v) for v in expr.free_symbols}
        assert "x3" in used
        assert "x2" not in used
        assert not expr.has(sympy.log)
