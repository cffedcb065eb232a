"""Rows in parts are learnt from as in memory, wherever the parts lie and however they are cut."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kansym
from kansym import KAN, bspline
from kansym.jacobian import FreeParameters
from kansym.partitions import SAMPLE_ROWS, Batches, Reader, as_partitions
from kansym.training.objective import Objective, Penalty
from kansym.training.quadratic import in_domains, penalty_model
from kansym.training.quantiles import layer_quantiles
from kansym.training.summed import SummedLeastSquares

N = 240
GENERATOR = torch.Generator().manual_seed(3)
X = 2 * torch.rand(N, 2, generator=GENERATOR, dtype=torch.float64) - 1
Y = torch.exp(torch.sin(3 * X[:, :1]) + X[:, 1:] ** 2)
WEIGHT = torch.rand(N, generator=GENERATOR, dtype=torch.float64)


def split(sizes, *tensors):
    """Batches of NumPy arrays; sizes add up to the rows."""
    return list(zip(*([part.numpy() for part in t.split(sizes)] for t in tensors), strict=True))


def state(model):
    grids = [layer.knots.flatten() for layer in model.kan_layers]
    return torch.cat([*(p.detach().flatten() for p in model.parameters()), *grids])


def distance(a, b):
    return float((state(a) - state(b)).abs().max() / state(a).abs().max())


def trained(data, width=(2, 3, 1), **options):
    model = KAN(width)
    model.fit(data, "LM", **{"steps": 5, "progress": False, **options})
    return model


class Again:
    """Batches from a function that makes a generator."""

    def __init__(self, make):
        self.make = make

    def __iter__(self):
        return self.make()


UNEVEN = [1, 0, 7, 130, 0, 2, 100]
CASES = {
    "fixed grids": {"update_grid": False},
    "moving grids": {},
    "std": {"lamb": 1e-2},
    "mean_abs": {"lamb": 1e-2, "score": "mean_abs"},
    "huber": {"loss": "huber"},
    "scaled": {"scale": "always"},
    "grid by grid": {"grids": (2, 4), "steps": 3},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_a_fit_is_that_of_the_rows_in_memory(case, is_weighted):
    options = CASES[case]
    weight = (WEIGHT,) if is_weighted else ()
    whole = trained((X, Y), sample_weight=WEIGHT if is_weighted else None, **options)
    parts = trained(split(UNEVEN, X, Y, *weight), **options)
    assert distance(whole, parts) < 1e-9
    assert np.allclose(whole.history.train_loss, parts.history.train_loss, rtol=1e-9)
    assert [s.n_edges for s in whole.history.steps] == [s.n_edges for s in parts.history.steps]
    # Degrees of freedom divide by what the data hardly determine, and keep fewer digits.
    assert [g.score for g in whole.history.grids] == pytest.approx(
        [g.score for g in parts.history.grids], rel=1e-5
    )


@given(sizes=st.lists(st.integers(0, 90), min_size=1, max_size=12), seed=st.integers(0, 5))
@settings(max_examples=12)
def test_any_cuts_give_the_same_fit(sizes, seed):
    sizes = [min(size, N - sum(sizes[:at])) for at, size in enumerate(sizes) if sum(sizes[:at]) < N]
    sizes.append(N - sum(sizes))
    options = {"steps": 2, "grid_update_num": 25}
    whole, parts = (KAN([2, [1, 1], 1], grid=3, seed=seed) for _ in range(2))
    whole.fit((X, Y), "LM", progress=False, **options)
    parts.fit(split(sizes, X, Y), progress=False, **options)
    assert distance(whole, parts) < 1e-9


def test_one_row_at_a_time_and_float32():
    x, y = X[:40].float(), Y[:40].float()
    options = {"steps": 3, "width": (2, 2, 1)}
    whole = trained((x, y), **options)
    assert distance(whole, trained(split([1] * 40, x, y), **options)) < 1e-9
    one = trained([(x.numpy(), y.numpy())], **options)
    assert distance(whole, one) < 1e-9


@pytest.mark.parametrize("score", ["std", "mean_abs"])
def test_the_penalty_is_that_of_all_rows(score):
    model = KAN([2, [2, 1], 1])
    model.fix_symbolic(0, 0, 1, "sin", (1.5, 0.2, 3.0, 1e3))
    model.fix_symbolic(1, 0, 0, "exp", (0.1, 0.0, 1.0, 0.0))
    penalty = Penalty(0.1, lamb_coef=0.2, lamb_coefdiff=0.3, score=score)
    parts = as_partitions(split(UNEVEN, X, Y), 2, 1)
    rows = SummedLeastSquares(model, Objective("mse", penalty), parts)
    free = FreeParameters(model)
    expected, found = penalty_model(model, free, X, penalty), rows.penalty_model(free)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    value = Objective("mse", penalty)(model, X, Y)
    assert float(rows.value().objective) == pytest.approx(
        float(value.objective.detach()), rel=1e-12
    )


def test_a_pole_between_two_parts_is_seen():
    model = KAN([1, 1])
    model.fix_symbolic(0, 0, 0, "1/x", (1.0, 0.0, 1.0, 0.0))
    x = torch.cat([-1 - torch.rand(9, 1, generator=GENERATOR), torch.ones(9, 1)]).double()
    objective = Objective("mse", Penalty())
    around = SummedLeastSquares(model, objective, as_partitions(split([9, 9], x, x), 1, 1))
    aside = SummedLeastSquares(model, objective, as_partitions(split([4, 5], x[:9], x[:9]), 1, 1))
    assert not around.in_domains()
    assert not in_domains(model, x)
    assert aside.in_domains()


class Elsewhere(Batches):
    """Parts in another process: what goes there and what comes back is pickled."""

    def reduce(self, task, merge):
        task, merge = pickle.loads(pickle.dumps((task, merge)))
        return super().reduce(lambda part: pickle.loads(pickle.dumps(task(part))), merge)


@pytest.mark.parametrize("score", ["std", "mean_abs"])
def test_tasks_can_be_sent_and_carry_no_rows(monkeypatch, score):
    def made(*args):
        parts = Elsewhere(split(UNEVEN, X, Y), Reader(2, 1, torch.float64, None))
        parts.survey("dataset")
        return parts

    model, whole = (trained((X, Y), steps=1) for _ in range(2))  # which keep a sample
    model.fix_symbolic(0, 0, 1, "sin")
    whole.load_state_dict(model.state_dict())
    options = {"steps": 3, "lamb": 1e-2, "score": score, "progress": False}
    whole.fit((X, Y), "LM", **options)
    monkeypatch.setattr("kansym.model.kan.as_partitions", made)
    model.fit(split(UNEVEN, X, Y), "LM", **options)
    assert distance(whole, model) < 1e-9
    assert len(pickle.dumps(model.bare())) < len(pickle.dumps(model)) - X.numel() * 8


@given(
    values=st.lists(
        st.one_of(st.floats(-1e3, 1e3), st.sampled_from([0.0, -0.0, 1.0, 1e300, -1e300])),
        min_size=2,
        max_size=60,
    ),
    size=st.integers(1, 20),
    grid=st.integers(1, 7),
)
def test_quantiles_are_exact(values, size, grid):
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    parts = as_partitions([(b.numpy(), b.numpy()) for b in x.split(size)], 1, 1)
    model = KAN([1, 1], grid=grid)
    assert torch.equal(layer_quantiles(model, 0, parts), bspline.quantiles(x, grid))


def test_quantiles_of_many_rows_take_few_passes(generator):
    x = torch.randn(100_000, 1, generator=generator, dtype=torch.float64)
    x[::3] = 0.25
    passes = []

    def batches():
        passes.append(1)
        yield from split([30_000, 70_000], x, x)

    parts = as_partitions(Again(batches), 1, 1)
    passes.clear()
    model = KAN([1, 1], grid=7)
    assert torch.equal(layer_quantiles(model, 0, parts), bspline.quantiles(x, 7))
    assert len(passes) <= 5


def test_the_test_part_chooses_the_best_step():
    data = (X[:160], Y[:160], X[160:], Y[160:])
    whole = trained(data)
    parts = trained((split([60, 100], *data[:2]), split([30, 50], *data[2:])))
    assert np.allclose(whole.history.test_loss, parts.history.test_loss, rtol=1e-9)
    assert whole.history.best_step == parts.history.best_step
    assert distance(whole, parts) < 1e-9


def test_the_sample_is_bounded_and_does_not_depend_on_the_cuts(generator):
    x = torch.rand(2 * SAMPLE_ROWS + 5, 1, generator=generator, dtype=torch.float64)
    sizes = [7, len(x) - 107, 100]
    kept, y = as_partitions(split(sizes, x, 2 * x), 1, 1).sample()
    assert len(kept) <= SAMPLE_ROWS
    assert torch.equal(kept, x[::3])
    assert torch.equal(y, 2 * kept)
    model = trained(split(UNEVEN, X, Y), steps=1)
    assert torch.equal(model.sample.X, X)
    assert model.prune(edge_th=0.0, node_th=0.0).n_active_edges == model.n_active_edges


def test_frames_bring_names():
    frame = pd.DataFrame(X.numpy(), columns=["a", "b"])
    target = pd.Series(Y[:, 0].numpy(), name="c")
    batches = [(frame[:100], target[:100]), (frame[100:], target[100:])]
    model = trained(batches, steps=1)
    assert model.feature_names == ("a", "b")
    assert model.target_names == ("c",)
    batches[1] = (frame[["b", "a"]][100:], target[100:])
    with pytest.raises(ValueError, match=r"batch 1 must have the columns \['a', 'b'\]"):
        trained(batches)


def test_a_stored_fit_goes_on(tmp_path):
    batches = split(UNEVEN, X, Y)
    trained(batches, steps=2, checkpoint=tmp_path)
    went_on = trained(batches, steps=5, checkpoint=tmp_path)
    assert torch.equal(state(went_on), state(trained(batches, steps=5)))
    assert [record.step for record in went_on.history.steps] == list(range(5))
    with pytest.raises(ValueError, match="belongs to another fit"):
        trained(split([120, 120], X, Y), steps=5, checkpoint=tmp_path)


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"opt": "Adam"}, "opt must be 'LM' or 'auto' for rows in parts"),
            ({"opt": "LBFGS"}, "got 'LBFGS'"),
            ({"loss": "cross_entropy"}, "loss must be 'mse' or 'huber' for rows in parts"),
            ({"loss": lambda a, b: ((a - b) ** 2).mean()}, "loss must be"),
            ({"batch": 10}, "batch must be left out"),
            ({"lr": 0.1}, "lr must be left out"),
            ({"metrics": {"max": lambda a, b: 0.0}}, "metrics must be left out"),
            ({"lamb": 0.1, "score": "attribution"}, "score must be one of std, mean_abs"),
            ({"sample_weight": WEIGHT}, "sample_weight must be left out"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            KAN([2, 1]).fit(split([120, 120], X, Y), progress=False, **options)

    @pytest.mark.parametrize(
        ("batches", "message"),
        [
            ([(X, Y), (X * torch.nan, Y)], "batch 1: X must be finite"),
            ([(X, Y), (X[:, :1], Y)], r"batch 1: X must have 2 columns"),
            ([(X, Y), (X, Y[:5])], "batch 1: y must have one row for every row"),
            ([(X, Y), (X, Y, -WEIGHT)], "batch 1: weight must be >= 0"),
            ([(X, Y), (X, Y, WEIGHT)], "with every batch or with none"),
            ([(X, Y, 0 * WEIGHT)], "weight must not be 0 in every row"),
            ([(X[:1], Y[:1])], "at least 2 rows, got 1"),
            ([(X[:0], Y[:0])], "at least 2 rows, got 0"),
            (Again(lambda: iter([])), "at least 2 rows, got 0"),
            (Again(lambda: iter([X])), r"batch 0 must be \(X, y\) or \(X, y, weight\), got Tensor"),
        ],
    )
    def test_batches(self, batches, message):
        with pytest.raises(ValueError, match=message):
            trained(batches)

    def test_a_generator(self):
        model = KAN([2, 1])
        before = state(model).clone()
        with pytest.raises(ValueError, match="read only once; pass a list of batches or an object"):
            model.fit((batch for batch in split([N], X, Y)), progress=False)
        assert torch.equal(state(model), before)

    def test_rows_that_change_from_pass_to_pass(self):
        sizes = iter(range(N, 0, -1))
        batches = Again(lambda: iter([(X[: (n := next(sizes))], Y[:n])]))
        with pytest.raises(ValueError, match="must give the same rows whenever it is iterated"):
            trained(batches)


class TestParquet:
    @pytest.fixture
    def folder(self, tmp_path):
        frame = pd.DataFrame(X.numpy(), columns=["a", "b"])
        frame["t"], frame["w"], frame["note"] = Y.numpy(), WEIGHT.numpy(), "x"
        for at, rows in enumerate((frame[:90], frame[90:90], frame[90:])):
            table = pa.Table.from_pandas(rows.astype({"note": "str"}), preserve_index=False)
            schema = table.schema.set(4, pa.field("note", pa.string()))
            pq.write_table(table.cast(schema), tmp_path / f"{at}.parquet", row_group_size=40)
        return tmp_path

    def test_a_folder_is_learnt_from_as_in_memory(self, folder):
        rows = kansym.read_rows(folder, "t", ["a", "b"], weight="w", batch_rows=33)
        assert max(len(batch[0]) for batch in rows) <= 33
        model = trained(rows)
        assert distance(trained((X, Y), sample_weight=WEIGHT), model) < 1e-9
        assert (model.feature_names, model.target_names) == (("a", "b"), ("t",))

    def test_a_file_and_several_targets(self, folder):
        rows = kansym.read_rows(folder / "0.parquet", ["t", "b"], ["a"])
        inputs, targets = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        assert np.array_equal(inputs, X[:90, :1])
        assert np.array_equal(targets, torch.cat([Y, X[:, 1:]], 1)[:90])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("T",), "unknown column 'T'"),
            (("t",), "column 'note' must be numeric, got string"),
            (("t", ["a", "t"]), "column 't' must be used once"),
            (("t", "a"), "features must be a list"),
            (("t", []), "features must name at least one column"),
            (("t", ["a"], None, 0), "batch_rows must be"),
        ],
    )
    def test_wrong_columns(self, folder, arguments, message):
        with pytest.raises(ValueError, match=message):
            kansym.read_rows(folder, *arguments)

    def test_what_is_no_parquet(self, folder):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            kansym.read_rows(folder / "none", "t")
        (folder / "3.parquet").write_bytes(b"PAR1 no, it is not")
        rows = kansym.read_rows(folder, "t", ["a", "b"])
        with pytest.raises(ValueError, match="cannot be read as Parquet"):
            list(rows)
        with pytest.raises(ValueError, match="cannot be read as Parquet"):
            kansym.read_rows(folder / "3.parquet", "t")

    def test_missing_values_are_found(self, tmp_path):
        pq.write_table(pa.table({"a": [1, None, 3], "t": [1, 2, 3]}), tmp_path / "f.parquet")
        with pytest.raises(ValueError, match="batch 0: X must be finite"):
            KAN([1, 1]).fit(kansym.read_rows(tmp_path, "t"), progress=False)


@pytest.mark.cluster
class TestDask:
    @pytest.fixture(autouse=True)
    def threads(self):
        dask = pytest.importorskip("dask")
        pytest.importorskip("dask.dataframe")
        with dask.config.set(scheduler="threads", num_workers=2):
            yield

    @pytest.mark.parametrize("options", [{}, {"lamb": 1e-2}], ids=["plain", "penalty"])
    def test_arrays_are_learnt_from_as_in_memory(self, options):
        import dask.array as da

        x = da.from_array(X.numpy(), chunks=((5, 35, 200), (1, 1)))
        y, w = (da.from_array(v.numpy(), chunks=((5, 35, 200),)) for v in (Y[:, 0], WEIGHT))
        model = trained((x, y), sample_weight=w, **options)
        assert distance(trained((X, Y), sample_weight=WEIGHT, **options), model) < 1e-9

    def test_frames_are_learnt_from_as_in_memory(self):
        import dask.dataframe as dd

        frame = pd.DataFrame(X.numpy(), columns=["a", "b"]).assign(t=Y.numpy())
        table = dd.from_pandas(frame, npartitions=20)
        table = table[table["a"] > -0.97]  # leaves partitions uneven
        kept = frame[frame["a"] > -0.97]
        model = trained((table[["a", "b"]], table["t"]))
        whole = trained((kept[["a", "b"]], kept["t"]))
        assert distance(whole, model) < 1e-9
        assert (model.feature_names, model.target_names) == (("a", "b"), ("t",))

    def test_with_a_test_part(self):
        import dask.array as da

        data = [da.from_array(v.numpy(), chunks=50) for v in (X[:160], Y[:160], X[160:], Y[160:])]
        parts, whole = trained(tuple(data)), trained((X[:160], Y[:160], X[160:], Y[160:]))
        assert np.allclose(whole.history.test_loss, parts.history.test_loss, rtol=1e-9)

    @pytest.mark.filterwarnings("ignore")  # of sockets that the cluster's own threads close late
    def test_workers_in_other_processes(self):
        distributed = pytest.importorskip("distributed")
        import dask.array as da

        options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
        x, y = (da.from_array(v.numpy(), chunks=(50, -1)) for v in (X, Y))
        with distributed.Client(**options, host="127.0.0.1", local_directory="/dev/shm"):
            model = trained((x, y), lamb=1e-2)
        assert distance(trained((X, Y), lamb=1e-2), model) < 1e-9

    def test_only_sums_travel(self):
        import dask.array as da

        x, y = (da.from_array(v.numpy(), chunks=30) for v in (X, Y))
        parts = as_partitions((x, y), 2, 1)
        rows = SummedLeastSquares(KAN([2, 2, 1]), Objective("mse", Penalty()), parts)
        sizes = []
        reduce = type(parts).reduce

        def noted(self, task, merge):
            result = reduce(self, task, merge)
            sizes.append(sum(tensor.numel() for tensor in result))
            return result

        count = FreeParameters(rows.network).count
        parts.reduce = partial(noted, parts)
        rows.normal_equations()
        rows.loss()
        assert sizes == [count * count + count + 1, 1]

    def test_mismatched_collections(self):
        import dask.array as da

        x = da.from_array(X.numpy(), chunks=60)
        with pytest.raises(ValueError, match="must be Dask collections all or none"):
            trained((x, Y))
        with pytest.raises(ValueError, match=r"same partitions of rows, got \[4, 2\]"):
            trained((x, da.from_array(Y.numpy(), chunks=120)))
        with pytest.raises(ValueError, match=r"batch \d: y must have one row for every row of X"):
            trained((x, da.from_array(Y.numpy(), chunks=((50, 70, 60, 60), (1,)))))
