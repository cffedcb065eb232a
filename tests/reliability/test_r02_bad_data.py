"""NaN, text, dates, sparse, ragged, missing, of a wrong width: a clear error names column or row.

Where scikit-learn has a convention, as for a single dimension, sparse matrices or an unknown width,
its words are the clear ones. Missing values are refused in files as well: which rows to drop, or
what to fill in, is for whoever knows the data.
"""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from clear_errors import refused
from click.testing import CliRunner

from kansym import KAN, KANClassifier, KANRegressor, find_formula
from kansym.cli import main

N = 60
RNG = np.random.default_rng(0)
X = RNG.uniform(1, 2, (N, 2))
Y = X[:, 0] * X[:, 1]
LABELS = (Y > 2).astype(int)
QUICK = {"max_time": 1.0, "max_candidates": 4}


def with_entry(value, dtype=object):
    table = X.astype(dtype)
    table[3, 1] = value
    return table


def frame_with(column):
    return pd.DataFrame({"a": X[:, 0], "b": column})


# What is wrong in the entries of a table, and what the message must name.
BAD_ENTRIES = {
    "NaN": (with_entry(np.nan, float), "column 1.*row 3"),
    "inf": (with_entry(-np.inf, float), "column 1.*row 3"),
    "None": (with_entry(None), "column 1.*row 3"),
    "Decimal NaN": (with_entry(Decimal("NaN")), "column 1.*row 3"),
    "text": (with_entry("red"), "'red' in column 1.*row 3"),
    "numbers as text": (X.astype(str), "'1.6.*' in column 0.*row 0"),
    "bytes": (X.astype("S8"), "column 0.*row 0"),
    "mapping": (with_entry({}), "column 1.*row 3"),
    "date": (with_entry(datetime.date(2020, 1, 1)), "column 1.*row 3"),
    "integer beyond float64": (with_entry(10**400), "column 1.*row 3"),
    "complex": (X + 0j, "complex128"),
    "complex tensor": (torch.tensor(X + 1j), "complex128"),
    "complex entry": (with_entry(1j), "1j in column 1.*row 3|Complex data not supported"),
    "datetime64": (X.astype("M8[s]"), "column 0.*row 0"),
    "timedelta64": (X.astype("M8[s]") - np.datetime64("1970-01-01"), "column 0.*row 0"),
    "masked": (np.ma.array(X, mask=[[0, 0], [0, 1]] * (N // 2)), "masked.*column 1.*row 1"),
    "structured": (np.zeros(N, dtype=[("a", float), ("b", float)]), "row 0"),
    "ragged array": (np.array([[1.0, 2.0], [3.0]] * (N // 2), dtype=object), "row 0"),
    "frame: NaN": (frame_with([1.0, np.nan] * (N // 2)), "column 'b'.*rows 1, 3, 5"),
    "frame: inf": (frame_with([1.0, np.inf] * (N // 2)), "column 'b'.*rows 1, 3, 5"),
    "frame: NA": (frame_with(pd.array([1, None] * (N // 2), dtype="Int64")), "column 'b'.*rows 1"),
    "frame: NA of bool": (
        frame_with(pd.array([True, None] * (N // 2), dtype="boolean")),
        "column 'b'.*rows 1",
    ),
    "frame: text": (frame_with(["u"] * N), "column 'b'.*'u'"),
    "frame: strings": (frame_with(pd.array(["u"] * N, dtype="string")), "column 'b'.*'u'"),
    "frame: dates": (frame_with(pd.date_range("2020", periods=N)), "column 'b'.*2020"),
    "frame: zone": (frame_with(pd.date_range("2020", periods=N, tz="UTC")), "column 'b'.*2020"),
    "frame: durations": (frame_with(pd.to_timedelta(np.arange(N), "D")), "column 'b'.*days"),
    "frame: periods": (frame_with(pd.period_range("2020", periods=N)), "column 'b'.*2020"),
    "frame: intervals": (frame_with(pd.interval_range(0, N)), "column 'b'.*interval"),
    "frame: categories": (frame_with(pd.Categorical(["u"] * N)), "column 'b'.*category.*'u'"),
    "frame: numbers as categories": (frame_with(pd.Categorical([1.0] * N)), "column 'b'.*category"),
    "frame: lists": (frame_with([[1.0]] * N), r"column 'b'.*\[1.0\]"),
    "polars: null": (pl.DataFrame(frame_with([None] + [1.0] * (N - 1))), "column 'b'.*row 0"),
    "polars: dates": (
        pl.DataFrame({"a": X[:, 0], "b": [datetime.date(2020, 1, 1)] * N}),
        "column 'b'.*2020",
    ),
    "polars: text": (pl.DataFrame({"a": X[:, 0], "b": ["u"] * N}), "column 'b'.*'u'"),
    "pyarrow: null": (
        pa.table({"a": X[:, 0], "b": pa.array([None] + [1.0] * (N - 1))}),
        "column 'b'.*row 0",
    ),
    "pyarrow: text": (pa.table({"a": X[:, 0], "b": ["u"] * N}), "column 'b'.*'u'"),
}

# What is wrong with a table as such.
BAD_TABLES = {
    "None": (None, "NoneType"),
    "number": (1.0, "float"),
    "no dimensions": (np.array(1.0), "ndarray"),
    "text": ("data.csv", "str"),
    "bytes": (b"data", "bytes"),
    "mapping": ({"a": X[:, 0], "b": X[:, 1]}, "dict"),
    "generator": ((row for row in X), "generator"),
    "function": (np.sin, "ufunc"),
    "one dimension": (X[:, 0], r"shape \(60,\)|1D array"),
    "three dimensions": (X[:, :, None], r"shape \(60, 2, 1\)|dim 3"),
    "no rows": (np.empty((0, 2)), r"\(0, 2\)"),
    "no columns": (np.empty((N, 0)), r"\(60, 0\)"),
    "empty list": ([], r"shape \(0,\)|1D array"),
    "ragged list": ([[1.0, 2.0], [3.0]] * (N // 2), "equal length"),
    "sparse matrix": (scipy.sparse.csr_matrix(X), "csr_matrix.*toarray"),
    "sparse array": (scipy.sparse.coo_array(X), "coo_array.*toarray"),
    "sparse tensor": (torch.tensor(X).to_sparse(), "sparse.*to_dense"),
    "frame without columns": (pd.DataFrame(index=range(N)), "column|feature"),
    "frame with a name twice": (pd.DataFrame(X, columns=["a", "a"]), "'a' twice"),
    "lazy frame": (pl.DataFrame(X).lazy(), "LazyFrame.*collect"),
}
TABLES = BAD_ENTRIES | BAD_TABLES


@pytest.fixture(scope="module")
def fitted():
    network = KAN([2, 1], seed=0)
    network.fit((X, Y), steps=2, progress=False)
    return {
        "network": network,
        "regressor": KANRegressor(**QUICK).fit(X, Y),
        "classifier": KANClassifier(**QUICK).fit(X, LABELS),
    }


@pytest.mark.parametrize(("bad", "words"), TABLES.values(), ids=TABLES.keys())
def test_a_table_to_learn_from(bad, words):
    with refused(words):
        KAN([2, 1], seed=0).fit((bad, Y), steps=1, progress=False)
    with refused(words):
        find_formula((bad, Y), max_time=1)
    for estimator, y in ((KANRegressor(**QUICK), Y), (KANClassifier(**QUICK), LABELS)):
        with refused(words):
            estimator.fit(bad, y)


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize(("bad", "words"), TABLES.values(), ids=TABLES.keys())
def test_a_table_to_predict_for(fitted, bad, words):
    for model in fitted.values():
        with refused(words):
            model.predict(bad)


@pytest.mark.parametrize("part", ["X_test", "y_test"])
def test_a_test_part(part):
    parts = {"X": X, "y": Y, "X_test": X, "y_test": Y}
    parts[part] = parts[part].copy()
    parts[part].flat[6] = np.nan
    with refused(part, "column 0", "row (3|6)"):
        KAN([2, 1], seed=0).fit(tuple(parts.values()), steps=1, progress=False)


def target_with(value, dtype=object):
    y = Y.astype(dtype)
    y[3] = value
    return y


BAD_TARGETS = {
    "NaN": (target_with(np.nan, float), "row 3"),
    "inf": (target_with(np.inf, float), "row 3"),
    "None": (target_with(None), "row 3"),
    "NA": (pd.Series([None] + [1] * (N - 1), dtype="Int64"), "row 0"),
    "mapping": (target_with({}), "row 3|Unknown label type"),
    "text among numbers": (target_with("a"), "row 3|Unknown label type"),
    "complex": (Y + 1j, "Complex data not supported"),
    "durations": (Y.astype("M8[s]") - np.datetime64("1970-01-01"), "row 0|timedelta64"),
    "masked": (np.ma.array(Y, mask=Y > 2), "masked.*row 0"),
    "sparse": (scipy.sparse.csr_matrix(Y[:, None]), "toarray"),
    "sparse tensor": (torch.tensor(Y).to_sparse(), "to_dense"),
    "structured": (np.zeros(N, dtype=[("a", float)]), "row 0|void|labels"),
    "nothing": (None, "y"),
    "name twice": (pd.DataFrame(np.c_[Y, Y], columns=["a", "a"]), r"'a' twice|\(60, 2\)"),
    "polars: null": (pl.Series("q", [None] + [1.0] * (N - 1)), "row 0"),
    "pyarrow: null": (pa.chunked_array([[None] + [1.0] * (N - 1)]), "row 0"),
}


@pytest.mark.parametrize(("bad", "words"), BAD_TARGETS.values(), ids=BAD_TARGETS.keys())
def test_targets(bad, words):
    with refused(words, kinds=(ValueError, TypeError)):
        KANClassifier(**QUICK).fit(X, bad)
    with refused(words):
        KANRegressor(**QUICK).fit(X, bad)
    with refused(words):
        find_formula((X, bad), max_time=1)
    for loss, width in (("mse", [2, 1]), ("cross_entropy", [2, 2])):
        with refused(words):
            KAN(width, seed=0).fit((X, bad), opt="Adam", loss=loss, steps=1, progress=False)


BAD_WEIGHTS = {
    "NaN": (target_with(np.nan, float), "row 3"),
    "negative": (-Y, ">= 0, got -"),
    "zero": (0 * Y, "0 in every row|zero in every row"),
    "text": (["a"] * N, "'a' in row 0"),
    "short": (Y[1:], "59 rows of sample_weight"),
    "table": (X, r"\(60, 2\)"),
}


@pytest.mark.parametrize(("bad", "words"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS.keys())
def test_weights(bad, words):
    with refused("sample_weight", words):
        KAN([2, 1]).fit((X, Y), sample_weight=bad, steps=1, progress=False)
    for estimator, y in ((KANRegressor(**QUICK), Y), (KANClassifier(**QUICK), LABELS)):
        with refused("sample_weight", words):
            estimator.fit(X, y, sample_weight=bad)


@pytest.mark.parametrize("bad", [X[:, :1], np.c_[X, X]], ids=["narrow", "wide"])
def test_another_width(fitted, bad):
    width = str(bad.shape[1])
    with refused(rf"2 columns \(width\[0\]\), got shape \(60, {width}\)"):
        KAN([2, 1]).fit((bad, Y), steps=1, progress=False)
    with refused(rf"2 columns \(width\[0\]\), got shape \(60, {width}\)"):
        fitted["network"].predict(bad)
    for name in ("regressor", "classifier"):
        with refused(f"X has {width} features, but KAN.* is expecting 2"):
            fitted[name].predict(bad)
    with refused("X_test must have 2 columns"):
        KAN([2, 1]).fit((X, Y, bad, Y), steps=1, progress=False)


FRAME = pd.DataFrame(X, columns=["a", "b"])
MAKERS = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.Table.from_pandas}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_columns_that_are_missing_or_renamed(make):
    network = KAN([2, 1], seed=0)
    network.fit((make(FRAME), Y), steps=1, progress=False)
    regressor = KANRegressor(**QUICK).fit(make(FRAME), Y)
    renamed = make(FRAME.rename(columns={"b": "c"}))
    with refused(r"X lacks the columns \['b'\]"):
        network.predict(renamed)
    with refused("(?s)feature names.*c.*b"):
        regressor.predict(renamed)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_columns_in_another_order(make):
    """A network takes them by name to predict; none of us lets them change places in training."""
    network, regressor = KAN([2, 1], seed=0), KANRegressor(**QUICK)
    frame, swapped = make(FRAME), make(FRAME[["b", "a"]])
    network.fit((frame, Y), steps=1, progress=False)
    regressor.fit(frame, Y)
    assert np.array_equal(network.predict(swapped), network.predict(frame))
    with refused("(?s)feature names.*order"):
        regressor.predict(swapped)
    with refused("columns", "'a', 'b'", "'b', 'a'"):
        network.fit((swapped, Y), steps=1, progress=False)
    with refused("X_test", "'a', 'b'", "'b', 'a'"):
        KAN([2, 1]).fit((frame, Y, swapped, Y), steps=1, progress=False)


CELLS = {
    "empty": ("", "column 'b' has 1 of 60 values missing"),
    "NA": ("NA", "column 'b' has 1 of 60 values missing"),
    "nan": ("nan", "column 'b' has 1 of 60 values missing"),
    "word": ("red", "'b' "),
    "decimal comma": ('"1,5"', "'b' "),
    "inf": ("-inf", "column 'b' has infinite values in 1 of 60"),
    "date": ("2020-01-01", "'b' "),
}


@pytest.mark.parametrize(("cell", "words"), CELLS.values(), ids=CELLS.keys())
def test_cells_of_a_file(tmp_path, cell, words):
    lines = [f"{a},{b},{a * b}" for a, b in X]
    first, _, last = lines[3].split(",")
    lines[3] = f"{first},{cell},{last}"
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["a,b,y", *lines]))
    result = CliRunner().invoke(main, ["fit", str(path), "--target", "y", "--max-time", "1"])
    assert result.exit_code == 1
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    only = ["fit", str(path), "--target", "y", "--features", "a", "--max-time", "0.5"]
    assert CliRunner().invoke(main, only).exit_code == 0  # a column that is not used may have gaps
