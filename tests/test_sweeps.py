"""Work side by side: the same results wherever it is done, and what is lost is done again."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import sympy
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from joblib import parallel_config

from kansym import KANRegressor, boards, register_function, sweeps, workers
from kansym.boards import board
from kansym.cli import main
from kansym.discovery.budget import Budget
from kansym.discovery.networks import best_network
from kansym.discovery.records import Finding, Options, Table, Verdict
from kansym.errors import WorkerError
from kansym.estimator import searches
from kansym.estimator.progress import ProgressLine
from kansym.functions import forget_function, function_names, own_functions
from kansym.workers import LEAST_BYTES, connected, n_workers, side_by_side

STEADY = {"max_time": None, "max_candidates": 60}  # the same on every machine


@pytest.fixture(scope="module")
def dask_cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            processes=True, host="127.0.0.1", dashboard_address=None, n_workers=2,
            threads_per_worker=1,
        ) as cluster,
        distributed.Client(cluster),
    ):  # fmt: skip
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def ray_cluster():
    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "disabled"  # it would write a token into the home directory
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
    os.environ.pop("RAY_AUTH_MODE")
    if before is not None:
        os.environ["RAY_AUTH_MODE"] = before


@pytest.fixture(
    params=["loky", *(pytest.param(b, marks=pytest.mark.cluster) for b in ("dask", "ray"))]
)
def backend(request):
    """joblib works with it; warnings of theirs are not ours."""
    if request.param != "loky":
        request.getfixturevalue(f"{request.param}_cluster")
    with parallel_config(request.param, n_jobs=2):
        yield request.param


pytestmark = [
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default::UserWarning:distributed"),
    pytest.mark.filterwarnings("default::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("default::FutureWarning:ray"),
]


def finished(function, tasks, n=2):
    with closing(side_by_side(function, tasks, n)) as results:
        return dict(results)


def packed(*arguments):
    return workers._packed(max, arguments, [], workers.WeakValueDictionary())


# -- tasks ----------------------------------------------------------------------------------------


@given(
    shape=st.lists(st.integers(0, 60), max_size=3).map(tuple),
    dtype=st.sampled_from(["f8", "f4", "i8", "bool", "U9", "M8[s]", "c16"]),
    order=st.sampled_from("CF"),
)
def test_what_is_packed_is_unpacked_as_it_was(shape, dtype, order):
    array = np.zeros(shape, dtype, order=order)
    if array.size:
        array.flat[-1] = np.ones(1, dtype)[0]
    _, data, *shared = packed({"rows": array}, "word", array)
    handed = [s.handed(None) for s in shared]
    assert len(handed) == 2 * (array.nbytes >= LEAST_BYTES)
    _, (rows, word, again), _ = workers._Unpacker(BytesIO(data), handed).load()
    for other in (rows["rows"], again):
        assert other.dtype == array.dtype
        assert other.shape == shape
        assert other.flags.f_contiguous == array.flags.f_contiguous
        assert np.array_equal(other, array)
    assert word == "word"


def test_a_task_is_small_to_send_and_equal_arrays_are_one():
    variables = sympy.symbols("x1:4", real=True)
    known = workers.WeakValueDictionary()
    calls = [
        workers._packed(
            max, (Table(np.ones((50_000, 3)), np.full(50_000, float(i)), variables),), [], known
        )
        for i in range(3)
    ]
    assert all(len(pickle.dumps(call[:2])) < 2000 for call in calls)
    assert len({id(call[2]) for call in calls}) == 1
    assert len({id(call[3]) for call in calls}) == 3
    del calls
    assert not known, "arrays of finished tasks are let go"


def test_results_are_those_of_one_process(backend):
    X = np.random.default_rng(0).normal(size=(5000, 3))

    def work(X, i):
        import torch

        X += 0  # as in one process, rows can be written to
        return (X * i).sum(), torch.get_num_threads()

    tasks = [(f"task {i}", (X, i)) for i in range(5)]
    alone = dict(side_by_side(work, tasks, 1))
    there = finished(work, tasks)
    assert {k: v[0] for k, v in there.items()} == {k: v[0] for k, v in alone.items()}
    assert {v[1] for v in there.values()} == {1}


def test_a_slow_worker_holds_nobody_up():
    def work(seconds):
        time.sleep(seconds)
        return os.getpid()

    pids = [work for _, work in side_by_side(work, [(i, (0.3,)) for i in range(4)], 2)]
    assert os.getpid() not in pids
    tasks = [("slow", (3.0,)), *((i, (0.05,)) for i in range(6))]
    with closing(side_by_side(work, tasks, 2)) as results:
        assert [key for key, _ in results][-1] == "slow"


def test_tasks_are_taken_when_there_is_a_worker_for_them():
    taken = []

    def tasks():
        for i in range(20):
            taken.append(i)
            yield i, (i,)

    def work(i):
        time.sleep(0.05)
        return i

    with closing(side_by_side(work, tasks(), 2)) as results:
        next(results)
        assert len(taken) <= 5


def test_an_error_of_a_task_is_passed_on_and_so_is_one_of_taking_it():
    def work(i):
        return 1 / i

    with pytest.raises(ZeroDivisionError):
        finished(work, [(i, (i,)) for i in (1, 2, 0, 3)])

    def tasks():
        yield 1, (1,)
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        finished(work, tasks())


def test_a_lost_worker_costs_time_but_no_result(backend, tmp_path):
    flag = str(tmp_path / "killed")
    X = np.ones((2000, 3))

    def work(X, i):
        if i == 2 and not os.path.exists(flag):
            with open(flag, "w"):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.1)
        return X.sum() + i

    found = finished(work, [(i, (X, i)) for i in range(6)])
    assert found == {i: 6000.0 + i for i in range(6)}
    assert os.path.exists(flag)


def test_a_task_that_takes_every_worker_along_is_given_up_and_no_other():
    def work(i):
        if i == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    found = finished(work, [(i, (i,)) for i in range(4)])
    lost = found.pop(1)
    assert isinstance(lost, WorkerError)
    assert "lost three times" in str(lost)
    assert found == {0: 0, 2: 2, 3: 3}


def test_a_worker_with_another_version_is_a_clear_error(backend, monkeypatch):
    here = workers.version()
    monkeypatch.setattr(workers, "version", lambda: "kansym 9.9 on Python 3.11")
    with pytest.raises(WorkerError, match=r"made by kansym 9\.9") as caught:
        finished(max, [(0, (1, 2)), (1, (3, 4))])
    assert here in str(caught.value)
    assert "install the same version" in str(caught.value)


def test_a_worker_knows_the_functions_that_are_registered_now(backend):
    def known():
        from kansym.functions import own_functions

        return {f.name: (f.complexity, f.domain.low, f.domain.high) for f in own_functions()}

    def here():
        return {f.name: (f.complexity, f.domain.low, f.domain.high) for f in own_functions()}

    tasks = [(i, ()) for i in range(3)]
    register_function(
        "softplus", torch.nn.functional.softplus, lambda x: sympy.log(1 + sympy.exp(x))
    )
    register_function("cube root", lambda x: x ** (1 / 3), sympy.cbrt, 2.5, domain=(0, 1e9))
    assert set(here()) == {"softplus", "cube root"}
    assert list(finished(known, tasks).values()) == [here()] * 3
    forget_function("softplus")
    assert "softplus" not in function_names()
    assert list(finished(known, tasks).values()) == [here()] * 3


def test_a_board_holds_the_last_words_of_every_task(backend):
    def work(words, i):
        words.write(i, "at work")
        words.write(i, ("done", i))

    with board() as words:
        assert words.read() == {}
        finished(work, [(i, (words, i)) for i in range(3)])
        until = time.monotonic() + 20
        while len(said := words.read()) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        assert said == {i: ("done", i) for i in range(3)}


def test_words_that_cannot_be_written_or_read_cost_nothing(tmp_path):
    words = boards._Folder(tmp_path / "gone")
    words.write(0, "at work")
    assert words.read() == {}


def test_processes_are_counted_as_joblib_does():
    assert n_workers(None) == n_workers(1) == 1
    assert n_workers(3, 2) == 2
    assert n_workers(3, 0) == 1
    with parallel_config("loky", n_jobs=2):
        assert n_workers(None) == 2
        assert n_workers(1) == 1


# -- the estimator --------------------------------------------------------------------------------


def three_outputs():
    X = np.random.default_rng(1).uniform(1, 3, (700, 2))
    return X, np.column_stack([X[:, 0] * X[:, 1], X[:, 0] ** 2, X[:, 0] / X[:, 1]])


def test_the_regressor_finds_the_same_anywhere(backend):
    X, Y = three_outputs()
    Y = Y[:, :2]
    there = KANRegressor(**STEADY).fit(X, Y)
    alone = KANRegressor(n_jobs=1, **STEADY).fit(X, Y)
    assert there.sympy() == alone.sympy()
    pd.testing.assert_frame_equal(there.equations_table(), alone.equations_table())


def test_networks_are_the_same_side_by_side():
    X = np.random.default_rng(2).uniform(-1, 1, (60, 1))
    table = Table(X, np.abs(X[:, 0]), (sympy.Symbol("x", real=True),))
    budget = Budget(None, None)
    alone = best_network(table, table, 0, 1, budget)
    together = best_network(table, table, 0, 2, budget)
    assert alone is not None
    assert together is not None
    assert together.rmse == alone.rmse


def test_an_interrupt_keeps_the_searches_that_are_finished(monkeypatch):
    X, Y = three_outputs()

    def one_and_out(function, tasks, n):
        key, arguments = list(tasks)[1]
        yield key, function(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(searches, "side_by_side", one_and_out)
    est = KANRegressor(n_jobs=3, **STEADY).fit(X, Y)
    assert str(est.sympy()[1]) == "x1**2"
    assert est.sympy()[0].is_number
    assert "interrupted" in est.reason_[0]
    assert [f.stopped for f in est._discoveries()].count("interrupted") == 2


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_what_an_interrupted_search_elsewhere_had_is_judged_here(offset):
    X = np.random.default_rng(1).uniform(1, 3, (200, 2)) + np.array([offset, 0])
    x, z = sympy.symbols("x z", real=True)
    table = Table(X, 2 * (X[:, 0] - offset) * X[:, 1], (x, z))
    _, offsets = searches._centred(table, Options())
    assert bool(offsets) == bool(offset)
    law = 2 * (x + offsets.get("x", 0.0) - offset) * z
    best = Finding(sympy.expand(law), 9, 0.0, 1.0, 0.0, "somewhere")
    found = searches._cut_short(table, Options(max_time=5.0), best)
    assert found.stopped == "interrupted"
    assert found.verdict is Verdict.EXACT
    assert found.reason.endswith("the search was interrupted before its end")
    f = sympy.lambdify((x, z), found.chosen.expr)
    assert np.allclose(f(*X.T), table.y, rtol=1e-6)
    nothing = searches._cut_short(table, Options(), None)
    assert nothing.chosen.expr.is_number
    assert nothing.verdict is Verdict.NONE


def test_a_search_that_is_lost_for_good_is_an_error(monkeypatch):
    lost = WorkerError("a task was lost")
    monkeypatch.setattr(searches, "side_by_side", lambda *_: (pair for pair in [(0, lost)]))
    with pytest.raises(WorkerError, match="a task was lost"):
        KANRegressor(n_jobs=2, **STEADY).fit(*three_outputs())


def test_the_line_of_progress_shows_what_each_output_has(monkeypatch):
    said = []
    monkeypatch.setattr(
        ProgressLine, "__call__", lambda line, step, best: said.append((line.label, step, best))
    )
    monkeypatch.setattr("kansym.estimator.settings.is_watched", lambda: True)
    monkeypatch.setattr(
        searches, "side_by_side", lambda function, tasks, _: side_by_side(function, tasks, 1)
    )
    X, Y = three_outputs()
    KANRegressor(n_jobs=2, **STEADY).fit(X, pd.DataFrame(Y, columns=["p", "q", "r"]))
    assert said[0][1:] == ("3 searches, 2 at a time", None)
    assert {label for label, _, _ in said[1:]} == {"p", "q", "r"}
    assert [step for _, step, _ in said[1:]] == [f"{i} of 3 searches done" for i in (1, 2, 3)]
    assert all(isinstance(best, Finding) for *_, best in said[1:])


# -- a folder of tables ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Three laws, and what is no table."""
    place = tmp_path / "tables"
    place.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        X = rng.uniform(1, 3, (60, 2))
        frame = pd.DataFrame(X, columns=["a", "b"]).assign(y=(i + 2) * X[:, 0] * X[:, 1])
        frame.to_csv(place / f"law {i}.csv", index=False)
    (place / "=bad.csv").write_text("a,b\n1,2\n")
    (place / "empty.csv").write_text("")
    (place / ".hidden.csv").write_text("a,y\n1,2\n")
    (place / "notes.txt").write_text("not a table")
    return place


def fit_many(folder, out, *options):
    arguments = ["fit-many", str(folder), "--target", "y", "--out", str(out), *options]
    return CliRunner().invoke(main, arguments)


def formulas(out):
    return pd.read_csv(out / "formulas.csv", keep_default_na=False).set_index("file")


@pytest.fixture
def searched(monkeypatch):
    """How many rows the tables had that were searched."""
    calls, real = [], sweeps._search

    def search(X, *rest):
        calls.append(len(X))
        return real(X, *rest)

    monkeypatch.setattr(sweeps, "_search", search)
    return calls


def test_a_folder_of_tables_becomes_a_table_of_formulas(folder, tmp_path):
    done = fit_many(folder, tmp_path / "out")
    assert done.exit_code == 0, done.output
    table = formulas(tmp_path / "out")
    columns = ["target", "formula", "verdict", "R2", "RMSE", "complexity", "seconds", "error"]
    assert list(table.columns) == columns
    assert list(table.index) == ["'=bad.csv", "empty.csv", "law 0.csv", "law 1.csv", "law 2.csv"]
    assert list(table["formula"]) == ["", "", "2*a*b", "3*a*b", "4*a*b"]
    assert list(table["verdict"][2:]) == ["EXACT"] * 3
    assert table.loc["'=bad.csv", "error"].startswith("unknown column 'y'")
    assert "5 tables, 2 with an error" in done.output
    files = sorted((tmp_path / "out" / "results").iterdir())
    assert len(files) == 3
    content = json.loads(files[0].read_text())
    assert content["row"]["formula"] == "2*a*b"
    assert any(row["chosen"] and row["formula"] == "2*a*b" for row in content["equations"])


def test_outliers_are_set_aside_in_every_table(folder, tmp_path):
    path = folder / "law 0.csv"
    frame = pd.read_csv(path)
    frame.loc[5, "y"] += 50
    frame.to_csv(path, index=False)
    out = tmp_path / "out"
    done = fit_many(folder, out, "--outliers", "set-aside", "--max-time", "5")
    assert done.exit_code == 0, done.output
    assert list(formulas(out)["formula"]) == ["", "", "2*a*b", "3*a*b", "4*a*b"]
    files = sorted((out / "results").iterdir())
    assert [json.loads(file.read_text())["outliers"] for file in files] == [1, 0, 0]


def test_side_by_side_it_is_the_same_table(folder, tmp_path):
    rows = []
    for n in (1, 2):
        settings = sweeps.Sweep("y", max_time=None)
        out = tmp_path / f"out{n}"
        out.mkdir()
        found = sweeps.sweep(sweeps.tables_of(folder), out, settings, n, lambda *_: None)
        rows.append([replace(row, seconds=None) for row in found])
    assert rows[0] == rows[1]
    assert [row.formula for row in rows[0]] == [None, None, "2*a*b", "3*a*b", "4*a*b"]


def test_only_what_is_left_or_changed_is_searched_again(folder, tmp_path, searched):
    out = tmp_path / "out"
    fit_many(folder, out)
    assert len(searched) == 3
    before = formulas(out)
    refused = fit_many(folder, out)
    assert refused.exit_code == 1
    assert "add --resume" in refused.output
    assert fit_many(folder, out, "--resume").exit_code == 0
    assert len(searched) == 3
    pd.testing.assert_frame_equal(formulas(out), before)

    changed = pd.read_csv(folder / "law 0.csv")
    changed.assign(y=7 * changed["a"]).to_csv(folder / "law 0.csv", index=False)
    next((out / "results").glob("law_1*")).write_text('{"key": "cut sho')
    fit_many(folder, out, "--resume")
    assert len(searched) == 5
    assert list(formulas(out)["formula"][2:]) == ["7*a", "3*a*b", "4*a*b"]
    fit_many(folder, out, "--resume", "--seed", "1")
    assert len(searched) == 8


def test_an_interrupt_keeps_what_is_finished(folder, tmp_path, searched, monkeypatch):
    real = sweeps._search

    def search(*arguments):
        if len(searched) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(sweeps, "_search", search)
    done = fit_many(folder, tmp_path / "out")
    assert done.exit_code == 130
    assert list(formulas(tmp_path / "out")["formula"][2:]) == ["2*a*b", "3*a*b"]
    monkeypatch.setattr(sweeps, "_search", real)
    done = fit_many(folder, tmp_path / "out", "--resume")
    assert done.exit_code == 0
    assert len(searched) == 3
    assert list(formulas(tmp_path / "out")["formula"][2:]) == ["2*a*b", "3*a*b", "4*a*b"]


def test_a_search_that_fails_or_is_lost_is_a_row_and_ends_nothing(folder, tmp_path, monkeypatch):
    real = KANRegressor.fit

    def fit(est, X, y):
        if len(X) and y.iloc[0] / (X["a"] * X["b"]).iloc[0] > 3.5:
            raise RecursionError("too deep")
        return real(est, X, y)

    monkeypatch.setattr(KANRegressor, "fit", fit)
    done = fit_many(folder, tmp_path / "out")
    assert done.exit_code == 0
    assert formulas(tmp_path / "out").loc["law 2.csv", "error"] == "RecursionError: too deep"

    def lost(function, tasks, n):
        for key, _ in tasks:
            yield key, WorkerError("a task was lost")

    monkeypatch.setattr(sweeps, "side_by_side", lost)
    fit_many(folder, tmp_path / "other")
    assert "a task was lost" in formulas(tmp_path / "other").loc["law 0.csv", "error"]
    assert not list((tmp_path / "other" / "results").iterdir())


def test_a_constant_target_has_no_r2_and_still_a_row(tmp_path):
    place = tmp_path / "tables"
    place.mkdir()
    pd.DataFrame({"a": range(20), "y": 3}).to_csv(place / "flat.csv", index=False)
    done = fit_many(place, tmp_path / "out")
    assert done.exit_code == 0, done.output
    row = formulas(tmp_path / "out").loc["flat.csv"]
    assert (row["formula"], row["verdict"], row["R2"], row["error"]) == (3, "NONE", "", "")


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_results_have_names_that_lie_in_their_folder(name, tmp_path_factory):
    out = tmp_path_factory.getbasetemp()
    place = sweeps._place(out, out / "x" / name.replace("/", "|").replace("\0", "0"))
    assert place.parent == out / "results"
    assert place.name.isascii()
    assert len(place.name) < 90
    assert not place.name.startswith(".")


def test_two_names_that_read_alike_are_two_results(tmp_path):
    assert sweeps._place(tmp_path, tmp_path / "a b.csv") != sweeps._place(
        tmp_path, tmp_path / "a+b.csv"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--functions", "sine"], "unknown function 'sine'; did you mean 'sin'"),
        (["--max-time", "0"], "max_time must be > 0"),
        (["--scheduler", "tcp://127.0.0.1:1"], "--scheduler needs --backend"),
        (["--backend", "dask"], "--backend dask needs --scheduler"),
    ],
)
def test_what_no_table_can_be_searched_with_is_refused(folder, tmp_path, options, message):
    done = fit_many(folder, tmp_path / "out", *options)
    assert done.exit_code == 1
    assert message in done.output


def test_folders_that_cannot_be_are_refused(folder, tmp_path):
    assert "another folder" in fit_many(folder, folder).output
    assert "must name a folder" in fit_many(tmp_path / "no", tmp_path / "out").output
    (tmp_path / "bare").mkdir()
    assert "holds no .csv" in fit_many(tmp_path / "bare", tmp_path / "out").output


@pytest.mark.parametrize(("name", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(ImportError, match=rf"pip install 'kansym\[{name}\]'"),
        connected(name, "tcp://127.0.0.1:1"),
    ):
        pass


def test_options_of_the_search_are_refused_with_a_width(tmp_path):
    pd.DataFrame({"a": range(20), "y": range(20)}).to_csv(tmp_path / "t.csv", index=False)
    arguments = ["fit", str(tmp_path / "t.csv"), "--target", "y", "--width", "1,1"]
    done = CliRunner().invoke(main, [*arguments, "--backend", "loky"])
    assert "--backend cannot be used with --width" in done.output


# -- other processes ------------------------------------------------------------------------------


def start(folder, out, *options):
    command = [sys.executable, "-m", "kansym.cli", "fit-many", str(folder), "--target", "y"]
    return subprocess.Popen(
        [*command, "--out", str(out), *options], stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_ended_goes_on(folder, tmp_path, number):
    """The last table takes longer than anybody waits; the run is ended while it is searched."""
    rng = np.random.default_rng(3)
    hard = pd.DataFrame(rng.normal(size=(1500, 6)), columns=list("abcdef"))
    hard.assign(y=rng.normal(size=1500)).to_csv(folder / "zz hard.csv", index=False)
    out = tmp_path / "out"
    run = start(folder, out, "--jobs", "2", "--max-time", "300")
    until = time.monotonic() + 120
    while len(list((out / "results").glob("law*.json"))) < 3 and time.monotonic() < until:
        time.sleep(0.2)
    run.send_signal(number)
    _, said = run.communicate(timeout=60)
    assert run.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), said
    if number == signal.SIGINT:
        assert list(formulas(out)["formula"][2:]) == ["2*a*b", "3*a*b", "4*a*b"]
    (folder / "zz hard.csv").unlink()
    stamps = {p: p.stat().st_mtime_ns for p in (out / "results").glob("law*")}
    done = fit_many(folder, out, "--resume", "--max-time", "300")
    assert done.exit_code == 0, done.output
    assert {p: p.stat().st_mtime_ns for p in (out / "results").glob("law*")} == stamps
    assert list(formulas(out)["formula"][2:]) == ["2*a*b", "3*a*b", "4*a*b"]


@pytest.mark.cluster
def test_a_folder_on_a_dask_cluster(folder, tmp_path, dask_cluster):
    run = start(folder, tmp_path / "out", "--backend", "dask", "--scheduler", dask_cluster)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert list(formulas(tmp_path / "out")["formula"][2:]) == ["2*a*b", "3*a*b", "4*a*b"]
