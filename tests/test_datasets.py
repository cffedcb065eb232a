"""What comes in is checked once: right tensors come out, or a message that says what to do."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kansym.arrays import as_labels, as_matrix, as_targets
from kansym.datasets import Dataset, as_dataset, create_dataset
from kansym.tables import read_table, solar_system, table_dataset

VALUES = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 1, 0]])
NAN, INF = float("nan"), float("inf")


class TestCreateDataset:
    def test_holds_the_function_on_the_ranges(self):
        data = create_dataset(
            lambda x: x[:, 0] * x[:, 1], 2, [(0, 1), (5, 9)], train_num=60, test_num=7
        )
        assert data.X.shape == (60, 2)
        assert data.y.shape == (60, 1)
        assert data.X_test.shape == (7, 2)
        assert data.X.dtype == data.y.dtype == torch.float64
        assert torch.equal(data.y[:, 0], data.X[:, 0] * data.X[:, 1])
        low, high = data.X.amin(0), data.X.amax(0)
        assert (low >= torch.tensor([0, 5])).all()
        assert (high <= torch.tensor([1, 9])).all()
        assert (high - low > torch.tensor([0.8, 3.2])).all()

    @pytest.mark.parametrize(
        ("f", "n_out"),
        [
            (lambda x: x[:, 0], 1),
            (lambda x: x[:, :1], 1),
            (lambda x: x, 3),
        ],
    )
    def test_accepts_the_three_shapes(self, f, n_out):
        assert create_dataset(f, 3, train_num=5, test_num=0).y.shape == (5, n_out)

    def test_one_seed_one_data_set(self):
        first, same, other = (create_dataset(torch.sin, 2, seed=s, noise=0.1) for s in (1, 1, 2))
        assert torch.equal(first.y, same.y)
        assert not torch.equal(first.X, other.X)

    def test_noise_is_a_fraction_of_the_spread_of_each_output(self):
        def f(x):
            return torch.stack([x[:, 0], 100 * x[:, 0]], 1)

        clean, noisy = (create_dataset(f, 1, train_num=4000, noise=n) for n in (0, 0.1))
        assert torch.equal(clean.X, noisy.X)
        ratio = (noisy.y - clean.y).std(0) / clean.y.std(0)
        assert torch.allclose(ratio, torch.full((2,), 0.1).double(), rtol=0.05)

    def test_no_test_part(self):
        data = create_dataset(torch.sin, 1, test_num=0)
        assert data.X_test is None
        assert data.y_test is None

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n_var": 0}, "n_var must be an integer >= 1, got 0"),
            ({"train_num": 1}, "train_num must be an integer >= 2, got 1"),
            ({"test_num": -1}, "test_num must be an integer >= 0"),
            ({"noise": -1}, "noise must be a finite number >= 0, got -1"),
            ({"noise": NAN}, "noise must be a finite number >= 0, got nan"),
            ({"ranges": (1, -1)}, r"ranges must be finite with low < high, got \(1, -1\)"),
            ({"ranges": (0, INF)}, "ranges must be finite with low < high"),
            ({"ranges": [(0, 1)] * 3}, "or a list of 2 pairs"),
            ({"ranges": "ab"}, "ranges must be one pair"),
            ({"f": lambda x: x[:-1]}, r"f must return .* \(9,\), \(9, 1\) .* got shape \(8, 2\)"),
            ({"f": lambda x: x.sum()}, r"got shape \(\)"),
            ({"f": lambda x: x.numpy()}, "got ndarray"),
            ({"f": lambda x: torch.log(x[:, 0])}, r"f must be finite on ranges; .* of 9 points"),
            ({"f": lambda x: x * 1j}, "f must return real numbers"),
        ],
    )
    def test_says_what_is_wrong(self, arguments, message):
        usual = {"f": torch.sin, "n_var": 2, "train_num": 5, "test_num": 4}
        with pytest.raises(ValueError, match=message):
            create_dataset(**usual | arguments)


def forms(values):
    """The same numbers in every form that is accepted."""
    return {
        "array": values,
        "int32": values.astype("int32"),
        "uint8": values.astype("uint8"),
        "float32": values.astype("float32"),
        "float16": values.astype("float16"),
        "long double": values.astype(np.longdouble),
        "big endian": values.astype(">f8"),
        "fortran": np.asfortranarray(values.astype(float)),
        "reversed": values[::-1].copy()[::-1],
        "objects": values.astype(object),
        "lists": values.tolist(),
        "tensor": torch.tensor(values),
        "float tensor": torch.tensor(values).float(),
        "bfloat16": torch.tensor(values).bfloat16(),
        "with gradient": torch.tensor(values).double().requires_grad_(),
        "list of tensors": list(torch.tensor(values)),
        "list of arrays": list(values),
        "frame": pd.DataFrame(values, columns=["a", "b", "c"]),
        "nullable frame": pd.DataFrame(values).astype("Int64"),
        "sparse columns": pd.DataFrame(values).astype("Sparse[int]"),
    }


@pytest.mark.parametrize("form", forms(VALUES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
class TestFormsOfData:
    def test_matrix(self, form, dtype):
        X = as_matrix(forms(VALUES)[form], n_columns=3, dtype=dtype)
        assert torch.equal(X, torch.tensor(VALUES).to(dtype))
        assert X.dtype == dtype
        assert not X.requires_grad

    def test_targets(self, form, dtype):
        y = as_targets(forms(VALUES)[form], 4, dtype=dtype)
        assert torch.equal(y, torch.tensor(VALUES).to(dtype))


class TestAsMatrix:
    def test_booleans_are_zero_and_one(self):
        for X in (
            [[True], [False]],
            pd.DataFrame({"a": [True, False]}),
            torch.tensor([[True], [0]]),
        ):
            assert as_matrix(X).tolist() == [[1.0], [0.0]]

    def test_does_not_share_memory(self):
        for X in (np.ones((2, 2)), torch.ones(2, 2, dtype=torch.float64)):
            as_matrix(X)[0, 0] = 5
            assert X[0, 0] == 1

    def test_a_vector_is_one_column_only_where_one_is_asked_for(self):
        for vector in ([1, 2, 3], torch.arange(3), pd.Series([1, 2, 3])):
            assert as_matrix(vector, n_columns=1).shape == (3, 1)
            with pytest.raises(ValueError, match=r"got shape \(3,\); use X.reshape\(-1, 1\)"):
                as_matrix(vector)

    def test_a_constant_column_and_one_row_are_fine_here(self):
        assert as_matrix([[1, 2, 2]]).shape == (1, 3)

    def test_messages_use_the_callers_name_and_rule(self):
        with pytest.raises(
            ValueError, match=r"^X_new must have 1 column \(fitted\), got shape \(1, 2"
        ):
            as_matrix([[1, 2]], "X_new", 1, rule="fitted")

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (np.zeros((100, 2)), r"^X must have 3 columns \(width\[0\]\), got shape \(100, 2\)$"),
            (np.zeros((2, 3, 1)), r"X must have 3 columns .* got shape \(2, 3, 1\)"),
            ([], r"X must have at least one row and one column, got shape \(0,\)"),
            (np.zeros((0, 3)), r"at least one row .* got shape \(0, 3\)"),
            (pd.DataFrame(), "X must have at least one column"),
            (5, "X must be a table of numbers, got int"),
            (None, "X must be a table of numbers, got NoneType"),
            ("abc", "X must be a table of numbers, got str"),
            ({"a": [1]}, "X must be a table of numbers, got dict"),
            ([[1, 2, 3], [4, 5]], "X must be a table with rows of equal length"),
            ([[1, 2, "x"]], "X must be numeric, got 'x' in column 2"),
            ([["1", "2", "3"]], "X must be numeric, got '1' in column 0"),
            (np.array([[1, 2, {}]], dtype=object), r"got \{\} in column 2 \(row 0\)"),
            (np.array([[1, 2, 3j]], dtype=object), "X must be numeric, got 3j in column 2"),
            ([[1, 2, 10**400]], "X must be numeric, got 1000"),
            (pd.DataFrame({"a": [1], "who": ["x"]}), "column 'who' of X must be numeric, .* 'x'"),
            (pd.DataFrame({"day": pd.to_datetime(["2020-01-01"])}), "column 'day' of X must be"),
            (pd.DataFrame({"c": pd.Categorical([1])}), "column 'c' .* got category"),
            (pd.DataFrame({"z": [1j]}), "column 'z' of X must be real"),
            (np.ones((2, 3)) * 1j, "X must be real, got complex128"),
            (torch.ones(2, 3) * 1j, "X must be real, got torch.complex64"),
            (scipy.sparse.eye_array(3), r"X must be dense, got the sparse dia_array; use"),
            (torch.eye(3).to_sparse(), r"X must be dense, .* use X.to_dense\(\)"),
            (np.ma.array([[1, 2, 3]], mask=[[0, 1, 0]]), "no masked values, got one in column 1"),
            ([[1, NAN, 3], [4, NAN, 6]], r"1 has NaN .* in 2 of 2 rows \(rows 0, 1\)"),
            ([[1, 2, None]], r"column 2 has NaN \(missing values\) in 1 of 1 rows"),
            (torch.tensor([[1, 2, 3], [-INF, 5, 6]]), r"0 has infinite .* 1 of 2 rows \(row 1\)"),
            (pd.DataFrame({"a": [1], "b": [2], "temp": [NAN]}), "column 'temp' has NaN"),
            (pd.DataFrame({"m": [1, None, 3]}, dtype="Int64").T, "column 1 has NaN"),
            (np.full((9, 3), NAN), r"9 of 9 rows \(rows 0, 1, 2, \.\.\.\). Drop or fill"),
        ],
    )  # fmt: skip
    def test_says_what_is_wrong(self, X, message):
        with pytest.raises(ValueError, match=message):
            as_matrix(X, n_columns=3)

    def test_a_number_too_large_for_the_type_is_not_called_infinite(self):
        for X in ([[1e300]], torch.tensor([[1e300]], dtype=torch.float64)):
            with pytest.raises(ValueError, match=r"X has values too large for torch.float32"):
                as_matrix(X, dtype=torch.float32)

    @given(
        hnp.arrays(
            st.sampled_from(["f8", "f4", "i8", "i4", "u1", "?"]),
            hnp.array_shapes(max_dims=3, min_side=0, max_side=4),
        )
    )
    def test_right_or_refused(self, X):
        is_sound = X.ndim == 2 and X.size > 0 and np.isfinite(X).all()
        try:
            result = as_matrix(X)
        except ValueError:
            assert not is_sound
        else:
            assert is_sound
            assert np.array_equal(result.numpy(), X.astype(float))


class TestAsTargets:
    @pytest.mark.parametrize("shape", [(4,), (4, 1)])
    @pytest.mark.parametrize("n_outputs", [None, 1])
    def test_one_output_in_two_shapes(self, shape, n_outputs):
        y = as_targets(np.arange(4).reshape(shape), 4, n_outputs)
        assert y.tolist() == [[0], [1], [2], [3]]

    def test_one_row_of_many_outputs_is_not_turned_round(self):
        assert as_targets([[1, 2, 3]], 1).shape == (1, 3)

    def test_series_and_frame(self):
        assert as_targets(pd.Series([1, 2], name="q"), 2).tolist() == [[1], [2]]
        assert as_targets(pd.DataFrame({"a": [1, 2], "b": [3, 4]}), 2, 2).shape == (2, 2)

    @pytest.mark.parametrize(
        ("y", "n_outputs", "message"),
        [
            (np.zeros(3), None, "got 3 rows of y and 4 rows of X"),
            (np.zeros((2, 4)), None, "got 2 rows of y and 4 rows of X"),
            (np.zeros((1, 4)), 4, "got 1 rows of y and 4 rows of X"),
            (np.zeros((4, 4)), 1, r"y must have 1 column \(width\[-1\]\), got shape \(4, 4\)"),
            (np.zeros(4), 2, r"y must have 2 columns \(width\[-1\]\), got shape \(4, 1\)"),
            (np.zeros((4, 1, 1)), 1, r"shape \(4,\) or \(4, outputs\), got shape \(4, 1, 1\)"),
            (np.zeros((4, 0)), None, r"y must have shape .* got shape \(4, 0\)"),
            (1.5, None, "y must be a table of numbers, got float"),
            (list("abcd"), None, "y must be numeric, got 'a' in row 0"),
            ([1, 2, NAN, 4], 1, r"y must be finite; column 0 has NaN .* 1 of 4 rows \(row 2\)"),
            (pd.Series([1, 2, 3, INF], name="q"), 1, "column 'q' has infinite values"),
        ],
    )  # fmt: skip
    def test_says_what_is_wrong(self, y, n_outputs, message):
        with pytest.raises(ValueError, match=message):
            as_targets(y, 4, n_outputs)


class TestAsLabels:
    @pytest.mark.parametrize(
        "y", [[0, 2, 1], [[0], [2], [1]], [0.0, 2.0, 1.0], pd.Series([0, 2, 1])]
    )
    def test_are_whole_numbers_in_one_row(self, y):
        labels = as_labels(y, 3, 3)
        assert labels.tolist() == [0, 2, 1]
        assert labels.dtype == torch.int64

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            ([0, 1, 3], "y must hold class labels 0, 1, ..., 2, got 3 in row 2"),
            ([0, -1, 3], "got -1 in row 1"),
            ([0, 0.5, 1], "got 0.5 in row 1"),
            ([0, 1], "got 2 rows of y and 3 rows of X"),
            ([0, 1, NAN], "y must be finite"),
        ],
    )
    def test_says_what_is_wrong(self, y, message):
        with pytest.raises(ValueError, match=message):
            as_labels(y, 3, 3)


def pykan_data():
    X, y = torch.arange(18.0).reshape(9, 2), torch.arange(9.0).reshape(9, 1)
    return {
        "train_input": X[:6],
        "train_label": y[:6],
        "test_input": X[6:],
        "test_label": y[6:],
    }


class TestAsDataset:
    def test_every_way_to_hand_over_data_means_the_same(self):
        given = pykan_data()
        parts = tuple(given.values())
        for data in (given, parts, list(parts), Dataset(*parts)):
            result = as_dataset(data, 2, 1)
            for got, wanted in zip(
                (result.X, result.y, result.X_test, result.y_test), parts, strict=True
            ):
                assert torch.equal(got, wanted.double())

    def test_the_test_part_may_be_missing(self):
        given = pykan_data()
        train = {key: given[key] for key in ("train_input", "train_label")}
        for data in (
            train,
            tuple(train.values()),
            train | {"test_input": None, "test_label": None},
        ):
            assert as_dataset(data).X_test is None

    def test_names_come_from_pandas(self):
        X, y = pd.DataFrame({"a": [1, 2], "b": [3, 4]}), pd.Series([5, 6], name="q")
        data = as_dataset((X, y))
        assert data.feature_names == ("a", "b")
        assert data.target_names == ("q",)
        assert as_dataset(data).feature_names == ("a", "b")

    def test_numbered_columns_are_no_names(self):
        data = as_dataset((pd.DataFrame(VALUES), pd.Series([1, 2, 3, 4])))
        assert data.feature_names is None
        assert data.target_names is None

    def test_tensors_are_cut_off_from_their_graph(self):
        X = torch.ones(4, 2, requires_grad=True)
        data = as_dataset((X, X.sum(1)))
        assert not data.X.requires_grad
        assert not data.y.requires_grad

    def test_a_constant_column_is_allowed(self):
        assert as_dataset((np.ones((3, 2)), np.ones(3))).X.shape == (3, 2)

    def test_integer_targets(self):
        data = as_dataset(
            (np.ones((3, 2)), [0, 2, 1], np.ones((1, 2)), [2]), 2, 3, integer_targets=True
        )
        assert data.y.tolist() == [0, 2, 1]
        assert data.y_test.tolist() == [2]
        assert data.y.dtype == torch.int64

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (([[1, 2]], [1]), "X must have at least 2 rows, got 1"),
            ((np.ones((3, 5)), np.ones(3)), r"2 columns \(width\[0\]\), got shape \(3, 5\)"),
            ((np.ones((3, 2)), np.ones(4)), "got 4 rows of y and 3 rows of X"),
            ((np.ones((3, 2)), np.ones((3, 2))), r"y must have 1 column \(width\[-1\]\)"),
            ((np.ones((3, 2)),), r"data must be a Dataset, \(X, y\), .* got tuple of 1"),
            ((np.ones((3, 2)), np.ones(3), np.ones((1, 2))), "got tuple of 3"),
            (np.ones((3, 2)), "got ndarray"),
            ("rows", r"got the path 'rows': .* kansym\.read_rows\('rows', target="),
            (Path("rows"), r"kansym\.read_rows\('rows', target="),
            ((np.ones((3, 2)), np.ones(3), np.ones((1, 2)), None), "X_test and y_test belong"),
            ((np.ones((3, 2)), np.ones(3), np.ones((1, 3)), [1]), r"X_test must have 2 columns"),
            ((np.ones((3, 2)), np.ones(3), np.ones((1, 2)), [1, 2]), "2 rows of y_test and 1 rows"),
            ((np.ones((3, 2)), np.ones(3), [[1, NAN]], [1]), "X_test must be finite"),
            ({"train_input": np.ones((3, 2))}, "train_label is missing"),
            ({"train_inputs": 1}, "unknown key 'train_inputs' in data; did you mean 'train_input'"),
            ({"X": 1, "y": 2}, "unknown key 'X' in data; Known: train_input"),
            (pykan_data() | {"test_label": None}, "test_input and test_label belong together"),
        ],
    )  # fmt: skip
    def test_says_what_is_wrong(self, data, message):
        with pytest.raises(ValueError, match=message):
            as_dataset(data, 2, 1)

    def test_half_a_test_part_makes_no_dataset(self):
        with pytest.raises(ValueError, match="X_test and y_test belong together"):
            Dataset(torch.ones(3, 2), torch.ones(3, 1), X_test=torch.ones(1, 2))


class TestReadTable:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.csv", "a,b\n1,2.5\n3,4\n"),
            ("a.CSV", "a,b\r\n1,2.5\r\n3,4"),
            ("a.csv", "\ufeffa,b\n1,2.5\n3,4\n"),
            ("a.csv", "\n a , b\n1, 2.5\n\n3,4\n"),
            ("a.csv", '"a","b"\n1,2.5\n3,4\n'),
            ("a.csv", "a;b\n1;2.5\n3;4\n"),
            ("a.tsv", "a\tb\n1\t2.5\n3\t4\n"),
            ("a.txt", "a b\n1  2.5\n3 4\n"),
            ("a.txt", "a;b\n1;2.5\n3;4\n"),
            ("a.txt", "a,b\n1,2.5\n3,4\n"),
        ],
    )
    def test_text(self, tmp_path, name, text):
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        frame = read_table(tmp_path / name)
        assert frame.to_dict("list") == {"a": [1, 3], "b": [2.5, 4]}

    def test_parquet(self, tmp_path):
        frame = pd.DataFrame({"a": [1, 3], "b": [2.5, 4]})
        frame.to_parquet(tmp_path / "a.parquet")
        assert read_table(tmp_path / "a.parquet").equals(frame)

    def test_names_may_hold_separators_and_line_breaks(self, tmp_path):
        (tmp_path / "a.csv").write_text('"a, ""x""\ny",b\n1,2\n')
        assert list(read_table(tmp_path / "a.csv")) == ['a, "x"\ny', "b"]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.csv", "", "'a.csv' is empty"),
            ("a.csv", "\n \n", "'a.csv' is empty"),
            ("a.csv", "a,b\n", "'a.csv' has no rows of data, only 2 columns"),
            ("a.csv", "a,b,a\n1,2,3\n", "column names must be unique; 'a.csv' has 'a' twice"),
            ("a.csv", "a, a\n1,2\n", "column names must be unique"),
            ("a.csv", "a,b\n0,2,3\n1,5,6\n", "has rows longer than its header of 2 columns"),
            ("a.csv", "a,b\n1,2,\n4,5,\n", "has rows longer than its header of 2 columns"),
            ("a.txt", "a b\n1 2 3\n4 5 6\n", "has rows longer than its header of 2 columns"),
            ("a.csv", "a,b\n1,2\n4,5,6\n", "'a.csv' cannot be read as a table"),
            ("a.csv", 'a,b\n1,"2\n', "'a.csv' cannot be read as a table"),
            ("a.csv", b"a,b\n1,\xff\n", "'a.csv' is not text in UTF-8"),
            ("a.csv", b"\x89PNG\r\n\x1a\n\x00\x00", "'a.csv' is not text in UTF-8"),
            ("a.parquet", b"", "'a.parquet' cannot be read as Parquet"),
            ("a.parquet", b"PAR1 and no more", "'a.parquet' cannot be read as Parquet"),
            ("a.xlsx", "", "path must end in .csv, .tsv, .txt or .parquet, got 'a.xlsx'"),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path, name, content, message):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ValueError, match=message):
            read_table(path)

    def test_truncated_parquet(self, tmp_path):
        path = tmp_path / "a.parquet"
        pd.DataFrame({"a": np.arange(50.0)}).to_parquet(path)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(ValueError, match=r"'a.parquet' cannot be read as Parquet"):
            read_table(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none.csv' does not exist"):
            read_table(tmp_path / "none.csv")
        with pytest.raises(ValueError, match="is not a file"):
            read_table(tmp_path)


class TestTableDataset:
    FRAME = pd.DataFrame({"a": [1.0, 2, 3], "b": [4, 5, 6], "who": list("xyz"), "y": [7, 8, 9]})

    def test_takes_the_named_columns_in_their_order(self):
        data = table_dataset(self.FRAME, "y", ["b", "a"])
        assert data.X.tolist() == [[4, 1], [5, 2], [6, 3]]
        assert data.y.tolist() == [[7], [8], [9]]
        assert data.feature_names == ("b", "a")
        assert data.target_names == ("y",)

    def test_takes_every_other_column_by_default(self):
        assert table_dataset(self.FRAME[["y", "a", "b"]], "y").feature_names == ("a", "b")

    @pytest.mark.parametrize(("n", "n_test"), [(49, 0), (50, 10), (101, 20)])
    def test_splits_without_loss_from_fifty_rows_on(self, n, n_test):
        frame = pd.DataFrame({"x": np.arange(n), "y": 2 * np.arange(n)})
        data = table_dataset(frame, "y", seed=1)
        X = data.X if data.X_test is None else torch.cat([data.X, data.X_test])
        assert len(data.X) == n - n_test
        assert sorted(X.flatten().tolist()) == list(range(n))
        assert torch.equal(data.y, 2 * data.X)

    def test_one_seed_one_split(self):
        frame = pd.DataFrame({"x": np.arange(60), "y": np.arange(60)})
        first, same, other = (table_dataset(frame, "y", seed=s).X_test for s in (1, 1, 2))
        assert torch.equal(first, same)
        assert not torch.equal(first, other)
        assert table_dataset(frame, "y", test_fraction=0).X_test is None

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, r"must be numeric, got 'who' \(.*\); choose the numeric ones with features"),
            ({"target": "who", "features": ["a"]}, "columns must be numeric, got 'who'"),
            ({"target": "z"}, "unknown column 'z'; Known: a, b, who, y"),
            ({"features": ["a", "whom"]}, "unknown column 'whom'; did you mean 'who'"),
            ({"features": "a"}, "features must be a list of column names, got the string 'a'"),
            ({"features": []}, "features must name at least one column besides the target"),
            ({"features": ["a", "y"]}, "features must not contain the target 'y'"),
            ({"features": ["a", "a"]}, "column names must be unique; features has 'a' twice"),
            ({"test_fraction": 1}, r"test_fraction must be in \[0, 1\), got 1"),
            ({"frame": FRAME.assign(a=[1, NAN, NAN]), "features": ["a"]},
             "column 'a' has 2 of 3 values missing"),
            ({"frame": FRAME.assign(a=[1, INF, 2]), "features": ["a"]}, "column 'a' has infinite"),
            ({"frame": FRAME[:1], "features": ["a"]}, "must have at least 2 rows, got 1"),
            ({"frame": FRAME.set_axis(list("aaby"), axis=1)}, "the table has 'a' twice"),
        ],
    )  # fmt: skip
    def test_says_what_is_wrong(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            table_dataset(**{"frame": self.FRAME, "target": "y"} | arguments)


class TestSolarSystem:
    def test_thirteen_bodies_follow_keplers_third_law(self):
        frame = solar_system()
        assert list(frame) == ["body", "semi_major_axis_au", "period_years"]
        assert len(frame) == frame.body.nunique() == 13
        error = frame.period_years / frame.semi_major_axis_au**1.5 - 1
        assert error.abs().max() < 1e-3
        # Published figures, not computed from one another.
        assert error.abs().max() > 1e-4


def test_pandas_is_not_imported_by_arrays():
    code = (
        "import sys, numpy as np; from kansym.datasets import as_dataset;"
        "as_dataset((np.ones((3, 2)), np.ones(3))); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_warning_on_the_way():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_matrix(np.broadcast_to(np.ones(3), (2, 3)))  # read-only memory
        as_matrix(np.ones((2, 3))[:, ::-1])


def test_public_functions_say_what_they_do():
    for function in (create_dataset, as_matrix, as_targets, as_dataset, read_table):
        assert function.__doc__
