"""What breaks on a cluster while a sweep runs: nothing that was finished is lost, and what is left
is done by whoever goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config

from kansym import KANRegressor
from kansym.estimator import searches
from kansym.workers import side_by_side

LAWS = ["2*a*b", "3*a*b", "4*a*b"]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default::UserWarning:distributed"),
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
]


def wait_until(is_so, seconds=120):
    until = time.monotonic() + seconds
    while not (answer := is_so()) and time.monotonic() < until:
        time.sleep(0.1)
    assert answer, f"not within {seconds} s"


@contextmanager
def process(*command, **environment):
    """A process that is ended after the block."""
    done = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield done
    finally:
        done.kill()
        done.communicate()


@pytest.fixture
def cluster(tmp_path):
    """The process of a dask scheduler with two workers, and its address."""
    where = tmp_path / "scheduler.json"
    local = ("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", where)
    with process("dask", "scheduler", *local, "--port", 0) as scheduler:
        wait_until(where.exists)
        options = (*local, "--nworkers", 2, "--nthreads", 1, "--local-directory", tmp_path)
        with process("dask", "worker", *options) as workers:
            yield scheduler, json.loads(where.read_text())["address"]
            workers.terminate()  # so that it ends its processes too
            workers.wait(30)


@pytest.fixture
def client(cluster):
    distributed = pytest.importorskip("distributed")
    with distributed.Client(cluster[1]) as client, parallel_config("dask"):
        client.wait_for_workers(2)
        yield client


@pytest.fixture
def folder(tmp_path):
    """Three laws, and noise that keeps a search busy for longer than anybody waits."""
    place = tmp_path / "tables"
    place.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        X = rng.uniform(1, 3, (60, 2))
        frame = pd.DataFrame(X, columns=["a", "b"]).assign(y=(i + 2) * X[:, 0] * X[:, 1])
        frame.to_csv(place / f"law {i}.csv", index=False)
    hard = pd.DataFrame(rng.normal(size=(1500, 6)), columns=list("abcdef"))
    hard.assign(y=rng.normal(size=1500)).to_csv(place / "zz hard.csv", index=False)
    return place


def fit_many(folder, out, *options, **environment):
    command = ("kansym.cli", "fit-many", folder, "--target", "y", "--out", out)
    return process(*command, "--max-time", 300, *options, **environment)


def formulas(out):
    table = pd.read_csv(out / "formulas.csv", keep_default_na=False).set_index("file")
    return list(table["formula"])


@pytest.mark.parametrize("what", ["scheduler", "driver", "interrupt"])
def test_what_was_finished_is_kept_and_the_run_goes_on(what, folder, tmp_path, cluster):
    scheduler, address = cluster
    out = tmp_path / "out"
    with fit_many(
        folder, out, "--backend", "dask", "--scheduler", address,
        DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="5s",
    ) as run:  # fmt: skip
        wait_until(lambda: len(list((out / "results").glob("law*.json"))) == 3)
        {"scheduler": scheduler.kill, "driver": run.kill}.get(
            what, lambda: run.send_signal(signal.SIGINT)
        )()
        _, said = run.communicate(timeout=120)
    code = {"scheduler": 1, "driver": -signal.SIGKILL, "interrupt": 130}[what]
    assert run.returncode == code, said
    if what != "driver":
        assert formulas(out) == LAWS
    if what == "scheduler":
        assert f"Error: Timed out trying to connect to {address}" in said
    else:
        assert_free(address)
    stamps = {p: p.stat().st_mtime_ns for p in (out / "results").glob("law*")}
    (folder / "zz hard.csv").unlink()
    with fit_many(folder, out, "--resume") as run:
        _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert {p: p.stat().st_mtime_ns for p in (out / "results").glob("law*")} == stamps
    assert formulas(out) == LAWS


def assert_free(address):
    """Soon no worker does what nobody waits for."""
    from distributed import Client

    def busy(dask_worker):
        return [t.key for t in dask_worker.state.tasks.values() if t.state == "cancelled"]

    with Client(address) as client:
        wait_until(lambda: not any(client.processing().values()), 60)
        wait_until(lambda: not any(client.run(busy).values()), 60)


def test_a_slow_worker_holds_nobody_up(client, tmp_path):
    def work(name):
        if name == "slow":
            open(tmp_path / "slow", "w").close()
            while not (tmp_path / "go on").exists():
                time.sleep(0.05)
        return name

    names = ["slow", *map(str, range(6))]
    with closing(side_by_side(work, [(name, (name,)) for name in names], 2)) as results:
        done = [next(results)[0] for _ in range(6)]
        assert set(done) == set(names[1:])
        (tmp_path / "go on").touch()
        assert next(results)[0] == "slow"


def test_a_worker_that_is_lost_costs_no_output_and_no_time_of_the_others(client, tmp_path):
    flag = tmp_path / "killed"

    def work(i):
        if i == 0 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    with closing(side_by_side(work, [(i, (i,)) for i in range(8)], 2)) as results:
        assert sorted(key for key, _ in results) == list(range(8))
    assert flag.exists()


def test_words_and_an_interrupt_reach_searches_elsewhere(client, monkeypatch):
    X = np.random.default_rng(1).normal(size=(1500, 6))
    Y = np.column_stack([X[:, 0] * X[:, 1], np.random.default_rng(2).normal(size=1500)])
    Y += 0.3 * np.sin(9 * X[:, :1]) * X[:, 2:3]
    real = searches.side_by_side

    def interrupted(function, tasks, n):
        """Ctrl-C once both searches have a formula."""
        words = tasks[0][1][3]
        with closing(real(function, tasks, n)):
            wait_until(lambda: len(words.read()) == 2)
            raise KeyboardInterrupt
        yield

    monkeypatch.setattr(searches, "side_by_side", interrupted)
    started = time.monotonic()
    est = KANRegressor(max_time=300, random_state=0).fit(X, Y)
    assert time.monotonic() - started < 150
    assert [f.stopped for f in est._discoveries()] == ["interrupted"] * 2
    assert est.sympy()[0].free_symbols
    assert "interrupted before its end" in est.reason_[0]
    assert_free(client.scheduler.address)
