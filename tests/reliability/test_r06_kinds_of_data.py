"""Numbers of any type, order and container: as float64 of the same numbers, never written to.

Arrays of every dtype and layout, frames, series and tables of three packages, tensors, memory maps.
"""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from kansym import KAN, KANClassifier, KANRegressor, find_formula
from kansym.pipeline import Recipe

N = 40
WHOLE = np.random.default_rng(0).integers(1, 9, (N, 2)).astype(float)  # exact in every type
BITS = (WHOLE > 4).astype(float)
Y = WHOLE[:, 0] * WHOLE[:, 1]
NAMES = ["a", "b"]
DTYPES = [
    "f2",
    "f4",
    "f8",
    "g",
    "i1",
    "i2",
    "i4",
    "i8",
    "u1",
    "u2",
    "u4",
    "u8",
    ">f4",
    ">f8",
    ">i4",
]


def strided(table):
    wide = np.zeros((2 * len(table), 3 * table.shape[1]))
    view = wide[::2, ::3]
    view[:] = table
    return view


def read_only(table):
    copy = table.copy()
    copy.setflags(write=False)
    return copy


def zero_stride_of_one(table):
    return np.broadcast_to(table[:, None, :], (len(table), 1, table.shape[1]))[:, 0]


def moved_index(table):
    return pd.DataFrame(table, columns=NAMES, index=np.arange(len(table))[::-1] * 7)


def texts_as_index(table):
    return pd.DataFrame(table, columns=NAMES, index=[f"row {n % 3}" for n in range(len(table))])


def mixed_frame(table):
    return pd.DataFrame({"a": table[:, 0].astype("f4"), "b": table[:, 1].astype("u1")})


MAKERS = {
    **{f"dtype {dtype}": lambda t, dtype=dtype: t.astype(dtype) for dtype in DTYPES},
    "objects": lambda t: t.astype(object),
    "lists": lambda t: t.tolist(),
    "tuples": lambda t: tuple(map(tuple, t)),
    "list of arrays": list,
    "strided": strided,
    "negative strides": lambda t: t[::-1, ::-1].copy()[::-1, ::-1],
    "zero stride": zero_stride_of_one,
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "unaligned": lambda t: np.frombuffer(b"x" + t.tobytes(), dtype="u1")[1:].view("f8").reshape(
        t.shape
    ),
    "matrix": lambda t: np.ma.array(t),
    "frame": lambda t: pd.DataFrame(t, columns=NAMES),
    "frame, another index": moved_index,
    "frame, index of texts": texts_as_index,
    "frame of several types": mixed_frame,
    "frame of Int64": lambda t: pd.DataFrame(t, columns=NAMES).astype("Int64"),
    "frame of Float32": lambda t: pd.DataFrame(t, columns=NAMES).astype("Float32"),
    "frame of Arrow": lambda t: pd.DataFrame(t, columns=NAMES).astype("double[pyarrow]"),
    "sparse frame": lambda t: pd.DataFrame(t, columns=NAMES).astype(pd.SparseDtype("f8", 1.0)),
    "polars": lambda t: pl.DataFrame(t, schema=NAMES),
    "polars of integers": lambda t: pl.DataFrame(t.astype("i4"), schema=NAMES),
    "pyarrow": lambda t: pa.table({"a": t[:, 0], "b": t[:, 1]}),
    "pyarrow in chunks": lambda t: pa.concat_tables(
        [pa.table(dict(zip(NAMES, part.T, strict=True))) for part in (t[:9], t[9:])]
    ),
    "pyarrow batch": lambda t: pa.record_batch({"a": t[:, 0], "b": t[:, 1]}),
    "tensor": torch.tensor,
    "tensor with gradient": lambda t: torch.tensor(t, requires_grad=True),
    "float32 tensor": lambda t: torch.tensor(t, dtype=torch.float32),
    "integer tensor": lambda t: torch.tensor(t, dtype=torch.int16),
    "bfloat16 tensor": lambda t: torch.tensor(t, dtype=torch.bfloat16),
    "transposed tensor": lambda t: torch.tensor(t.T.copy()).T,
}  # fmt: skip


def fitted(X, y):
    network = KAN([2, 1], grid=3, seed=0)
    network.fit((X, y), steps=3, progress=False)
    return network


def searched(X, y):
    return KANRegressor(max_time=None, max_candidates=6).fit(X, y)


def as_numpy(values):
    return values.numpy() if isinstance(values, torch.Tensor) else values


@pytest.fixture(scope="module")
def reference():
    return fitted(WHOLE, Y), searched(WHOLE, Y)


def bytes_of(data):
    """What an array, tensor or frame holds, to see that it stays as it is."""
    if isinstance(data, torch.Tensor):
        return data.detach().double().numpy().tobytes()
    if isinstance(data, (list, tuple)):
        return np.asarray(data).tobytes()
    if isinstance(data, pa.RecordBatch):
        return data.to_pandas().to_numpy().tobytes()
    return np.asarray(data).astype("f8").tobytes()


@pytest.mark.filterwarnings("ignore:X .*feature names")
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_a_table(reference, make):
    X = make(WHOLE)
    before = bytes_of(X)
    network, regressor = fitted(X, Y), searched(X, Y)
    expected = reference[0].predict(WHOLE)
    assert np.array_equal(network.predict(WHOLE), expected)
    assert np.array_equal(as_numpy(network.predict(X)), expected)
    assert np.array_equal(regressor.predict(X), reference[1].predict(WHOLE))
    assert bytes_of(X) == before


@pytest.mark.parametrize("name", ["dtype f4", "polars", "pyarrow", "frame, another index"])
def test_find_formula(name):
    recipe = Recipe(restarts=1, steps=5, grid=3, refined_grid=3)
    y = 2 * WHOLE[:, 0] + WHOLE[:, 1]
    first, second = (
        find_formula((X, y), [2, 1], lib=["x", "x^2"], recipe=recipe)
        for X in (WHOLE, MAKERS[name](WHOLE))
    )
    assert [str(e) for e in first.formula.exprs] == [
        str(e.xreplace(dict(zip(second.formula.variables, first.formula.variables, strict=True))))
        for e in second.formula.exprs
    ]


@pytest.mark.parametrize("dtype", ["?", "boolean", "bool[pyarrow]", "torch"])
def test_truth_values(dtype):
    X = BITS.astype(bool)
    y = BITS.sum(1)
    if dtype == "torch":
        X = torch.tensor(X)
    elif dtype != "?":
        X = pd.DataFrame(X).astype(dtype)
    assert np.array_equal(as_numpy(fitted(X, y).predict(X)), fitted(BITS, y).predict(BITS))
    assert np.array_equal(searched(X, y).predict(X), searched(BITS, y).predict(BITS))


TARGETS = {
    "float32": Y.astype("f4"),
    "int8": Y.astype("i1"),
    "big-endian": Y.astype(">f8"),
    "reversed": Y[::-1].copy()[::-1],
    "series": pd.Series(Y, index=np.arange(N)[::-1]),
    "Int64": pd.Series(Y).astype("Int64"),
    "polars": pl.Series("y", Y),
    "pyarrow": pa.chunked_array([Y]),
    "tensor": torch.tensor(Y, dtype=torch.float32, requires_grad=True),
    "read-only": read_only(Y),
}


@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS.keys())
def test_targets(reference, y):
    assert np.array_equal(fitted(WHOLE, y).predict(WHOLE), reference[0].predict(WHOLE))
    assert np.array_equal(searched(WHOLE, y).predict(WHOLE), reference[1].predict(WHOLE))


LABELS = (Y > 16).astype(int)
KINDS_OF_LABELS = {
    "bool": LABELS.astype(bool),
    "float": LABELS.astype(float),
    "text": np.array(["no", "yes"])[LABELS],
    "objects": np.array(["no", "yes"], dtype=object)[LABELS],
    "categories": pd.Series(np.array(["no", "yes"])[LABELS], dtype="category"),
    "strings": pd.Series(np.array(["no", "yes"])[LABELS], dtype="string"),
    "Int64": pd.Series(LABELS, dtype="Int64"),
    "polars": pl.Series("y", LABELS),
    "pyarrow": pa.chunked_array([LABELS]),
    "tensor": torch.tensor(LABELS),
    "list": LABELS.tolist(),
}


@pytest.mark.parametrize("y", KINDS_OF_LABELS.values(), ids=KINDS_OF_LABELS.keys())
def test_labels(y):
    quick = {"max_time": None, "max_candidates": 3}
    expected = KANClassifier(**quick).fit(WHOLE, LABELS)
    found = KANClassifier(**quick).fit(WHOLE, y)
    assert np.array_equal(found.predict_proba(WHOLE), expected.predict_proba(WHOLE))
    assert found.classes_[expected.predict(WHOLE)].tolist() == found.predict(WHOLE).tolist()


def test_a_memory_map(tmp_path, reference):
    np.save(tmp_path / "X.npy", WHOLE)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert np.array_equal(fitted(X, Y).predict(X), reference[0].predict(WHOLE))
    assert np.array_equal(searched(X, Y).predict(X), reference[1].predict(WHOLE))


@pytest.mark.parametrize("make", [np.copy, torch.tensor, pd.DataFrame], ids=lambda f: f.__name__)
def test_what_is_changed_afterwards_changes_nothing(make):
    X, y = make(WHOLE), make(Y)
    network, regressor = fitted(X, y), searched(X, y)
    scores, importances = network.feature_scores(), regressor.feature_importances_
    X[:], y[:] = 0.0, 0.0
    assert torch.equal(network.feature_scores(), scores)
    assert np.array_equal(regressor.feature_importances_, importances)


def test_numbers_that_single_precision_cannot_hold():
    network = KAN([2, 1], dtype=torch.float32)
    with pytest.raises(ValueError, match=r"X has values too large for torch.float32"):
        network.fit((WHOLE * 1e40, Y), steps=1, progress=False)
