"""Interruption: a partial result, and a resumed run that ends as one never interrupted.

Ctrl-C while a table is read, a law sought and results written, SIGTERM, and kill -9 at random
moments; through the command in processes of their own, which send the signal to themselves at a
chosen moment, and through fits.
"""

import json
import random
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from sympy import symbols

from kansym import KAN, find_formula
from kansym.cli import main
from kansym.discovery import journal
from kansym.discovery.budget import Budget
from kansym.discovery.contest import Contest
from kansym.discovery.records import Options, Table
from kansym.discovery.reduce import Problem
from kansym.discovery.search import discover
from kansym.training import loop

# argv: the signal, where and at which call it is sent; then the command line of kansym.
DRIVER = """
import os, sys
number, where, at = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
import kansym.files, kansym.tables
from kansym.discovery import contest, journal
from kansym.training import loop
journal.EVERY = loop.EVERY = 0.0
calls = 0
def sending(call):
    def sent(*arguments, **named):
        global calls
        calls += 1
        if number and calls == at:
            os.kill(os.getpid(), number)
        return call(*arguments, **named)
    return sent
import kansym.cli.results
owner, name = {
    "reading": (kansym.tables, "read_table"),
    "searching": (contest.Contest, "enter"),
    "training": (loop._Run, "_step"),
    "writing": (kansym.cli.results, "write_atomically"),
}[where]
setattr(owner, name, sending(getattr(owner, name)))
import atexit
atexit.register(lambda: print("calls:", calls))
from kansym.cli import main
from kansym.discovery import journal
from kansym.discovery.contest import Contest
from kansym.discovery.records import Options, Table
from kansym.discovery.search import discover
main(sys.argv[4:])
"""
SEARCH = ("--max-time", "600")
NETWORK = ("--width", "2,1", "--steps", "15", "--lib", "x,x^2,sin,exp")
FILES = ("formula.txt", "formula.tex", "equations.csv")
N_CALLS = 20  # of Contest.enter that the whole search makes at least


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    a, b = np.random.default_rng(0).uniform(0.5, 3, (2, 80))
    table = pd.DataFrame({"a": a, "b": b, "y": a / (1 + b**2) + np.tanh(a * b)})
    table.to_csv(folder / "table.csv", index=False)
    return folder


def run(folder, out, *options, number=0, where="searching", at=0):
    """`kansym fit` in a process that sends itself a signal at one call."""
    command = ["fit", str(folder / "table.csv"), "--target", "y", "--out", str(folder / out)]
    driver = [sys.executable, "-c", DRIVER, str(int(number)), where, str(at)]
    return subprocess.run(
        [*driver, *command, *options], capture_output=True, text=True, check=False, timeout=300
    )


def results(out):
    """What a run wrote, less what is another one every time."""
    summary = json.loads((out / "summary.json").read_text())
    del summary["seconds"]
    texts = [(out / name).read_text() for name in FILES if (out / name).exists()]
    return summary, texts


def left_over(out):
    return [p.name for p in out.rglob("*") if p.suffix == ".tmp" or p.name == ".owner"]


@pytest.fixture(scope="module")
def whole(folder):
    """The search without an interruption, and how many formulas it entered."""
    done = run(folder, "whole", *SEARCH)
    assert done.returncode == 0, done.stderr
    assert not (folder / "whole" / "unfinished").exists()
    return results(folder / "whole"), int(done.stdout.rsplit("calls:", 1)[1])


def test_interrupt_while_reading(folder):
    done = run(folder, "reading", *SEARCH, number=signal.SIGINT, where="reading", at=1)
    assert done.returncode == 130
    assert done.stderr == "interrupted\n"
    assert [p.name for p in (folder / "reading").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
    ids=["INT", "TERM"],
)
def test_signal_while_searching(folder, whole, number, status):
    """The best so far is printed and written; --resume comes to what the whole search found."""
    name = f"searching{status}"
    out = folder / name
    part = run(folder, name, *SEARCH, number=number, at=round(0.7 * whole[1]))
    assert part.returncode == status, part.stderr
    assert "--resume goes on" in part.stderr
    assert "y = " in part.stdout
    assert json.loads((out / "summary.json").read_text())["interrupted"] is True
    assert run(folder, name, *SEARCH, "--resume").returncode == 0
    assert results(out) == whole[0]
    assert not left_over(out)
    assert not (out / "unfinished").exists()


def test_an_unfinished_run_is_not_begun_anew_by_accident(tmp_path):
    """Without --resume it is an error, at once, and nothing of the run is touched."""
    kept = tmp_path / "unfinished" / "search.json"
    kept.parent.mkdir()
    kept.write_text("precious")
    command = ["fit", "no.csv", "--target", "y", "--out", str(tmp_path)]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 1
    assert "holds an unfinished run; add --resume" in refused.output
    assert kept.read_text() == "precious"
    nowhere = CliRunner().invoke(main, [*command[:-2], "--resume"])
    assert "--resume needs --out" in nowhere.output


@pytest.mark.slow
def test_interrupt_while_writing(folder, whole):
    """Every file is whole or not there, and --resume writes them all."""
    out = folder / "writing"
    part = run(folder, "writing", *SEARCH, number=signal.SIGINT, where="writing", at=3)
    assert part.returncode == 130, part.stderr
    assert (out / "formula.txt").exists()
    assert not (out / "summary.json").exists()
    assert not left_over(out)
    assert run(folder, "writing", *SEARCH, "--resume").returncode == 0
    assert results(out) == whole[0]


SEEDS = [pytest.param(seed, marks=() if seed < 1 else pytest.mark.slow) for seed in range(10)]


@pytest.mark.parametrize("seed", SEEDS)
def test_kill(folder, whole, seed):
    """Nothing stands in the way of the next process, which ends as the whole search did."""
    expected, n_calls = whole
    assert n_calls >= N_CALLS
    out = folder / f"killed{seed}"
    at = random.Random(seed).randint(2, n_calls - 1)
    killed = run(folder, out.name, *SEARCH, number=signal.SIGKILL, at=at)
    assert killed.returncode == -signal.SIGKILL
    assert (out / "unfinished" / "search.json").exists()
    resumed = run(folder, out.name, *SEARCH, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert results(out) == expected
    assert not left_over(out)


@pytest.mark.slow
def test_kill_while_training_with_width(folder):
    whole = run(folder, "trained", *NETWORK, where="training")
    assert whole.returncode == 0, whole.stderr
    n_steps = int(whole.stdout.rsplit("calls:", 1)[1])
    at = n_steps // 2
    killed = run(folder, "cut", *NETWORK, number=signal.SIGKILL, where="training", at=at)
    assert killed.returncode == -signal.SIGKILL
    resumed = run(folder, "cut", *NETWORK, "--resume", where="training")
    assert resumed.returncode == 0, resumed.stderr
    assert results(folder / "cut") == results(folder / "trained")
    assert int(resumed.stdout.rsplit("calls:", 1)[1]) <= n_steps - at + 1


# -- searches and fits in this process -------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_search(tmp_path, monkeypatch, share):
    """Ended by Ctrl-C after a share of its formulas, a search that goes on finds the same, without
    fitting again what finished steps had fitted."""
    monkeypatch.setattr(journal, "EVERY", 0.0)
    enter, calls, ends = Contest.enter, [], []

    def entered(*arguments, **named):
        calls.append(1)
        if len(calls) in ends:
            raise KeyboardInterrupt
        return enter(*arguments, **named)

    def found():
        calls.clear()
        a, b = X = np.random.default_rng(0).uniform(0.5, 3, (2, 80))
        table = Table(X.T, a / (1 + b**2) + np.tanh(a * b), symbols("a b", real=True))
        law = discover(table, Options(max_time=None, checkpoint=place))
        return replace(law, seconds=0.0)

    monkeypatch.setattr(Contest, "enter", entered)
    place = None
    whole, n_calls = found(), len(calls)
    place, ends = tmp_path, [round(share * n_calls)]
    assert found().stopped == "interrupted"
    ends = []
    assert repr(found()) == repr(whole)
    assert len(calls) < n_calls


def test_steps_within_steps(tmp_path):
    """What was finished is not begun again, whether or not other steps lay within it."""
    X = np.linspace(1, 2, 20)[:, None]
    problem = Problem(X, X[:, 0] ** 2, symbols("a,", real=True))

    def begun():
        names, contest = [], Contest(problem.X, problem.y, problem.symbols)
        book = journal.Journal(Budget(), tmp_path / "search.json", "key")

        def step(name, *within):
            def action():
                names.append(name)
                contest.enter(problem.symbols[0] ** (len(names) + 1), name)
                for inner in within:
                    step(inner)

            book.step(name, problem, contest, action)

        step("outer", "one", "two")
        step("last")
        book.store()
        return names, [(e.expr, e.score, e.found_by) for e in contest.ranking]

    names, formulas = begun()
    assert names == ["outer", "one", "two", "last"]
    assert begun() == ([], formulas)


class Stop(Exception):
    """What a callback ends a fit with that was not to end."""


def rows():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (120, 2))
    y = np.exp(np.sin(np.pi * X[:, 0]) + X[:, 1] ** 2)
    return X[:80], y[:80], X[80:], y[80:]


def record_of(history):
    steps = [(r.step, r.train_loss, r.test_loss, r.penalty, r.n_edges) for r in history.steps]
    more = [(r.metrics, r.grid, r.moved_grid, r.n_active) for r in history.steps]
    return steps, more, history.stopped, history.best_step, history.best_objective, history.grids


FITS = {
    "LM": {"opt": "LM", "steps": 20},
    "LM sparse": {"opt": "LM", "steps": 20, "lamb": 1e-3},
    "LBFGS": {"opt": "LBFGS", "steps": 8},
    "Adam in batches": {"opt": "Adam", "steps": 30, "batch": 16},
    "grids": {"opt": "LM", "steps": 6, "grids": (2, 4, 8)},
    "metrics": {"opt": "Adam", "steps": 30, "metrics": {"most": lambda p, y: (p - y).abs().max()}},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("options", FITS.values(), ids=FITS.keys())
def test_fit(tmp_path, monkeypatch, options, dtype):
    """Ended three times and gone on with, a fit has the bits of one that ran through."""
    monkeypatch.setattr(loop, "EVERY", 0.0)

    def model():
        return KAN([2, [2, 1], 1], grid=3, seed=0, dtype=dtype)

    whole = model()
    history = whole.fit(rows(), progress=False, **options)
    for seed in range(3):
        ends = random.Random(seed).randint(2, 4)
        steps = iter(range(1000))

        def stop(*_, steps=steps, ends=ends):
            if next(steps) == ends:
                raise Stop

        with pytest.raises(Stop):
            model().fit(
                rows(), progress=False, checkpoint=tmp_path / "run", callbacks=[stop], **options
            )
    resumed = model()
    again = resumed.fit(rows(), progress=False, checkpoint=tmp_path / "run", **options)
    assert record_of(again) == record_of(history)
    for name, value in whole.state_dict().items():
        other = resumed.state_dict()[name]
        assert torch.equal(value, other) if torch.is_tensor(value) else value == other


@pytest.mark.parametrize("before", [0, 1])
def test_fit_that_is_about_to_converge(tmp_path, monkeypatch, before):
    """The steps without a gain that went before count."""
    monkeypatch.setattr(loop, "EVERY", 0.0)
    whole = KAN([2, 1], grid=3, seed=0).fit(rows(), "LM", 200, progress=False)
    assert whole.stopped == "converged"
    last = whole.steps[-1].step

    def stop(_, record):
        if record.step == last - before:
            raise Stop

    options = {"opt": "LM", "steps": 200, "progress": False, "checkpoint": tmp_path / "run"}
    with pytest.raises(Stop):
        KAN([2, 1], grid=3, seed=0).fit(rows(), callbacks=[stop], **options)
    again = KAN([2, 1], grid=3, seed=0).fit(rows(), **options)
    assert record_of(again) == record_of(whole)


def test_more_steps(tmp_path):
    """A fit that came to its end goes on when more is asked for."""
    model, other = KAN([2, 1], seed=0), KAN([2, 1], seed=0)
    expected = model.fit(rows(), "Adam", 12, progress=False)
    other.fit(rows(), "Adam", 5, progress=False, checkpoint=tmp_path / "run")
    again = KAN([2, 1], seed=0)
    history = again.fit(rows(), "Adam", 12, progress=False, checkpoint=tmp_path / "run")
    assert record_of(history) == record_of(expected)
    assert torch.equal(again(torch.zeros(1, 2)), model(torch.zeros(1, 2)))


def test_another_fit_is_refused(tmp_path):
    """Other data, settings or start: the run in the folder stays as it is."""
    place = tmp_path / "run"
    KAN([2, 1], seed=0).fit(rows(), steps=3, progress=False, checkpoint=place)
    before = (place / "fit.kansym").read_bytes()
    X, y, *_ = rows()
    for start, data, more in (
        (0, (X, 2 * y), {}),
        (0, rows(), {"lamb": 0.1}),
        (1, rows(), {}),
        (0, rows(), {"seed": 1}),
    ):
        with pytest.raises(ValueError, match="belongs to another fit"):
            KAN([2, 1], seed=start).fit(data, steps=3, progress=False, checkpoint=place, **more)
    assert (place / "fit.kansym").read_bytes() == before


def test_find_formula(tmp_path, monkeypatch):
    """Fits that were done are not done again, and the formula is the same."""
    X = np.random.default_rng(0).uniform(-1, 1, (100, 1))
    data, place = (X, np.sin(3 * X[:, 0])), tmp_path / "run"
    steps, step = [], loop._Run._step
    monkeypatch.setattr(loop._Run, "_step", lambda *a: steps.append(1) or step(*a))
    whole = find_formula(data, [1, 1], lib=["x", "sin"], checkpoint=place)
    n_steps = len(steps)
    again = find_formula(data, [1, 1], lib=["x", "sin"], checkpoint=place)
    assert str(again.formula) == str(whole.formula)
    assert len(steps) - n_steps < n_steps / 10  # of naming, which begins anew
