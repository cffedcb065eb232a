"""What breaks on a cluster while a sweep runs: nothing that was finished is lost, and what is left
is done by whoever goes on."""

import _thread
import json
import os
import signal
import subprocess
import sys
import threading
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


def wait_until(is_so, seconds=400):
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
def client():
    """Of two workers in threads of this process: nothing is killed here."""
    distributed = pytest.importorskip("distributed")
    options = {"processes": False, "protocol": "tcp", "host": "127.0.0.1"}
    with (
        distributed.LocalCluster(
            **options, n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
        parallel_config("dask"),
    ):
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
        _, said = run.communicate(timeout=400)
    code = {"scheduler": 1, "driver": -signal.SIGKILL, "interrupt": 130}[what]
    assert run.returncode == code, said
    if what != "driver":
        assert formulas(out) == LAWS
    if what == "scheduler":
        assert f"Error: Timed out trying to connect to {address}" in said
    else:
        from distributed import Client

        with Client(address) as client:
            assert_free(client)
    stamps = {p: p.stat().st_mtime_ns for p in (out / "results").glob("law*")}
    (folder / "zz hard.csv").unlink()
    with fit_many(folder, out, "--resume") as run:
        _, said = run.communicate(timeout=400)
    assert run.returncode == 0, said
    assert {p: p.stat().st_mtime_ns for p in (out / "results").glob("law*")} == stamps
    assert formulas(out) == LAWS


def assert_free(client):
    """Soon no worker does what nobody waits for."""

    def busy(dask_worker):
        return [key for key, task in dask_worker.state.tasks.items() if task.state == "cancelled"]

    wait_until(lambda: not any(client.processing().values()))
    wait_until(lambda: not any(client.run(busy).values()))


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


def test_an_interrupt_keeps_what_searches_elsewhere_have_and_ends_them(client, monkeypatch):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 3))
    Y = X[:, [0]] * X[:, [1]] + rng.normal(size=(300, 2))
    real = searches.side_by_side

    def interrupted(function, tasks, n):
        """Ctrl-C once both searches have a formula."""
        words = tasks[0][1][3]
        when = (lambda: len(words.read()) == 2,)
        threading.Thread(target=interrupt_when, args=when).start()
        with closing(real(function, tasks, n)) as results:
            yield from results

    monkeypatch.setattr(searches, "side_by_side", interrupted)
    est = KANRegressor(max_time=600, random_state=0).fit(X, Y)
    assert [f.stopped for f in est._discoveries()] == ["interrupted"] * 2
    assert any(expr.free_symbols for expr in est.sympy())
    assert all("interrupted before its end" in reason for reason in est.reason_)
    assert_free(client)


def interrupt_when(is_so):
    wait_until(is_so)
    _thread.interrupt_main()
