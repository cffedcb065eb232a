"""The benchmark of recovery: reading formulas, sampling, judging, running, resuming."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import sympy

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
MODULES = ("common", "formulas", "problems", "judge", "recovery_peers", "recovery_runs",
           "recovery_tables")  # fmt: skip


@pytest.fixture(autouse=True)
def modules(monkeypatch):
    """benchmarks/ by path: its modules are forgotten when the test is over."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in (*MODULES, "recovery", "trial"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name in (*MODULES, "recovery", "trial"):
            del sys.modules[name]


def module(name):
    return importlib.import_module(name)


def equation(formula, variables="x", low="1", high="3", **row):
    given = {"id": "E1", "formula": formula, "variables": variables, "low": low, "high": high}
    return module("problems").from_row(given | row)


def judged(law, found, variables="x", low="1", high="3", noisy=False):
    return module("judge").judge(found, equation(law, variables, low, high), noisy)


# -- reading formulas -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lambda", "E", "I", "S", "Q", "gamma", "beta", "n", "pi", "exp"])
def test_a_variable_may_have_any_name(name):
    formulas = module("formulas")
    X = np.array([[2.0, 3.0], [0.5, 1.0]])
    expression = formulas.read(f"2*{name}**2 + exp(-{name})*k", [name, "k"])
    expected = 2 * X[:, 0] ** 2 + np.exp(-X[:, 0]) * X[:, 1]
    assert formulas.evaluate(expression, [name, "k"], X) == pytest.approx(expected)
    printed = sympy.sstr(expression, full_prec=True)
    assert formulas.read(printed, [name, "k"]) == expression


def test_powers_and_peers_functions_are_read():
    formulas = module("formulas")
    x = formulas.variables(["x"])[0]
    assert formulas.read("2 * x^2", ["x"]) == 2 * x**2
    assert formulas.read("add(mul(x, x), neg(0.5))", ["x"]) == x**2 - 0.5
    assert formulas.read("1.5e-3*x", ["x"]) == 1.5e-3 * x
    assert formulas.read("sqrtabs(x)", ["x"]) == sympy.sqrt(sympy.Abs(x))
    assert formulas.renamed("X1 + X11 + exp(X1)", {"X1": "a", "X11": "exp"}) == "a + exp + exp(a)"


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('echo')",
        "x.__class__",
        "(lambda: x)()",
        "[x for x in (1, 2)]",
        "x if x else 1",
        "exec(x)",
        "open(x)",
        "x; x",
        "9**9**9**9",
        "z + 1",
        "sin(x, evaluate=x)",
        "True + x",
        "(" * 300 + "x" + ")" * 300,
        "x" * 30_000,
        "1/0 + x",
        "sqrt(-1) + x",
        "",
    ],
)
def test_hostile_and_broken_texts_are_refused(text):
    formulas = module("formulas")
    with pytest.raises(formulas.UnreadableError):
        formulas.read(text, ["x"])
    assert not judged("x", text).recovered


# -- sampling -------------------------------------------------------------------------------------


def test_a_sample_depends_on_equation_and_seed():
    problems = module("problems")
    law = equation("x*k", "x;k", "1;-2", "3;2")
    first = problems.training_sample(law, 50, seed=0)
    assert np.array_equal(first.X, problems.training_sample(law, 50, seed=0).X)
    assert not np.array_equal(first.X, problems.training_sample(law, 50, seed=1).X)
    assert not np.array_equal(first.X, problems.test_sample(law, 50, seed=0).X)
    assert np.all((first.X >= [1, -2]) & (first.X <= [3, 2]))
    assert first.y == pytest.approx(first.X[:, 0] * first.X[:, 1])


def test_rows_without_a_value_are_drawn_anew():
    problems = module("problems")
    sample = problems.training_sample(equation("log(x)/sqrt(x)", low="-1", high="1"), 200, 0)
    assert len(sample.y) == 200
    assert sample.X.min() > 0
    with pytest.raises(ValueError, match="hardly a real value"):
        problems.training_sample(equation("sqrt(-1 - x**2)"), 10, 0)


def test_the_set_says_how_it_is_sampled():
    problems = module("problems")
    even = equation("x", low="-1", high="1", sampling="E", n_or_step="5")
    assert problems.training_sample(even, 99, 0).X[:, 0] == pytest.approx([-1, -0.5, 0, 0.5, 1])
    steps = equation("x", low="0", high="1", sampling="E", n_or_step="0.25")
    assert problems.training_sample(steps, 99, 0).X[:, 0] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    grid = equation("x*k", "x;k", sampling="E;E", n_or_step="3;4")
    assert problems.training_sample(grid, 99, 0).X.shape == (12, 2)
    uniform = equation("x", sampling="U", n_or_step="20")
    assert len(problems.training_sample(uniform, 99, 0).y) == 20
    assert len(problems.training_sample(uniform, 99, 0, as_set=False).y) == 99


def test_a_wider_box_stays_on_its_side_of_zero():
    law = equation("x*k*z", "x;k;z", "1;-1;0", "5;1;4")
    low, high = law.box(1.5)
    assert low.tolist() == [0.5, -1.5, 0.0]
    assert high.tolist() == [6.0, 1.5, 5.0]


def test_points_outside_are_outside():
    problems = module("problems")
    law = equation("x*k", "x;k", "1;1", "3;3")
    rng = np.random.default_rng(0)
    inside = problems.draw(law, 100, rng)
    outside = problems.draw_outside(law, 100, rng, 1.5, inside)
    assert len(outside.y) == 100
    assert np.all(((outside.X < 1) | (outside.X > 3)).any(1))


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "equations").glob("*.csv")), ids=str)
def test_every_set_can_be_sampled_and_recovers_itself(path):
    problems, judge = module("problems"), module("judge")
    for law in problems.read_set(path):
        sample = problems.training_sample(law, 50, 0)
        assert np.isfinite(sample.y).all()
        assert np.ptp(sample.y) > 0
        found = judge.judge(law.formula, law)
        assert found.recovered, (law.id, found)


def test_a_set_with_a_fault_names_the_row(tmp_path):
    problems = module("problems")
    path = tmp_path / "bad.csv"
    path.write_text("id,formula,variables,low,high\nA1,x + q,x,0,1\n")
    with pytest.raises(ValueError, match=r"bad\.csv, A1: unknown name 'q'"):
        problems.read_set(path)
    path.write_text("id,formula\nA1,x\n")
    with pytest.raises(ValueError, match="lacks"):
        problems.read_set(path)


# -- judging --------------------------------------------------------------------------------------

EQUIVALENT = [
    ("x*cos(k)**2", "x*(1 - sin(k)**2)"),
    ("x*cos(k)**2", "0.5*x*(1 + cos(2.0*k))"),
    ("x/sqrt(1 - k**2/25)", "5*x/sqrt(25 - k**2)"),
    ("x/sqrt(1 - k**2/25)", "x/(sqrt(1 - k/5)*sqrt(1.0 + 0.2*k))"),
    ("exp(-x**2/2)/sqrt(2*pi)", "0.3989*exp(-0.5*x**2) + 0*k"),
    ("exp(-x**2/2)/sqrt(2*pi)", "exp(-x**2/2 - 0.91893853)"),
    ("x*k", "exp(log(x) + log(k))"),
    ("x*k", "((x + k)**2 - (x - k)**2)/4"),
    ("x**1.5*k", "x*sqrt(x)*k"),
    ("sin(x + k)", "cos(1.5707963*1 - x - k)"),
    ("x**2 + k", "x**2.00000001 + k"),
    ("x*tanh(k)", "x*(exp(2*k) - 1)/(exp(2*k) + 1)"),
    ("x*k", "1.0000002*x*k + 1e-9*sin(k)"),
]

LOOKALIKES = [
    ("sin(x)", "x - x**3/6 + x**5/120 - x**7/5040 + x**9/362880 - x**11/39916800"),
    ("x*exp(k)", "x*(1 + k + k**2/2 + k**3/6 + k**4/24 + k**5/120 + k**6/720)"),
    ("tanh(x)", "x/(1 + x**2/(3 + x**2/(5 + x**2/(7 + x**2/9))))"),
    ("1/(exp(x) + 1)", "0.5 - 0.5*tanh(0.5001*x)**1.0005"),
    ("x*k + 0.001*x**2", "x*k"),
    ("x*k", "x*k + 0.0005*k"),
    ("sqrt(x**2 + k**2/1000)", "x + k**2/(2000*x)"),
    ("x/k", "x*0.5"),
    ("exp(-x**2/2)", "1/(1 + x**2/2 + x**4/8 + x**6/48 + x**8/384)"),
    ("log(x)", "2*(x - 1)/(x + 1)"),
]


@pytest.mark.parametrize(("law", "found"), EQUIVALENT)
def test_equal_formulas_are_recovered(law, found):
    result = judged(law, found, "x;k")
    assert result.recovered, result
    assert result.criterion in ("symbolic", "numeric")


@pytest.mark.parametrize("ranges", [("0.1", "1.1"), ("1", "2")])
@pytest.mark.parametrize(("law", "found"), LOOKALIKES)
def test_lookalikes_are_not(law, found, ranges, monkeypatch):
    monkeypatch.setattr(module("judge"), "SYMBOLIC_SECONDS", 2.0)
    result = judged(law, found, "x;k", *ranges)
    assert not result.recovered, result
    assert result.why


def test_narrow_ranges_do_not_help_a_lookalike():
    """An interpolating polynomial, right to 1e-9 where the data were."""
    x = np.polynomial.chebyshev.chebpts1(12) * 0.5 + 1.5
    coefficients = np.polynomial.polynomial.polyfit(x, np.exp(np.sin(x)), 11)
    found = " + ".join(f"({c:.17g})*x**{i}" for i, c in enumerate(coefficients))
    result = judged("exp(sin(x))", found, "x", "1", "2")
    assert result.inside < 1e-6
    assert not result.recovered, result


def test_a_formula_must_be_real_where_the_law_is(monkeypatch):
    assert judged("x**3", "exp(3*log(x))", low="1", high="3").recovered
    found = judged("x**3", "exp(3*log(x + 1.05))", low="-1", high="3")
    assert not found.recovered
    monkeypatch.setattr(module("judge"), "is_same", lambda *_: False)
    found = judged("x + 1", "sqrt(x + 1)*sqrt(x + 1.000001)", low="-1", high="3")
    assert found.inside < 1e-5
    assert found.outside == np.inf
    assert not found.recovered


@pytest.mark.parametrize(
    ("law", "variables", "found"),
    [
        ("gamma*beta**2", "gamma;beta", "beta*gamma*beta"),
        ("E*exp(-I)", "E;I", "E/exp(I)"),
        ("lambda/(S*Q)", "lambda;S;Q", "lambda*S**(-1)/Q"),
        ("n**2 - N", "n;N", "(n*n) - N"),
    ],
)
def test_clashing_names_are_variables(law, variables, found):
    assert judged(law, found, variables).recovered
    assert not judged(law, f"{found} + 0.1", variables).recovered


def test_noise_allows_constants_to_be_off_but_no_other_structure():
    law, variables = "2*x*exp(-k/3)", "x;k"
    assert judged(law, "1.97*x*exp(-0.34*k)", variables, noisy=True).criterion == "structure"
    assert not judged(law, "1.97*x*exp(-0.34*k)", variables).recovered
    assert not judged(law, "1.97*x*exp(-0.34*k) + 0.05", variables, noisy=True).recovered
    assert not judged(law, "2*x/(1 + 0.33*k + 0.07*k**2)", variables, noisy=True).recovered
    far = judged(law, "1.5*x*exp(-0.2*k)", variables, noisy=True)
    assert not far.recovered
    assert "moved" in far.why


def test_exact_constants_are_not_refitted():
    law, variables = "2.9*x*k", "x;k"
    assert judged(law, "2.95*x*k", variables, noisy=True).recovered
    assert not judged(law, "3*x*k", variables, noisy=True).recovered


def test_a_time_limit_ends_what_it_holds_and_is_taken_back():
    judge = module("judge")
    before = signal.getsignal(signal.SIGALRM)

    def spin():
        with judge.time_limit(0.05):
            while True:
                pass

    with pytest.raises(TimeoutError):
        spin()
    assert signal.getsignal(signal.SIGALRM) == before


def test_a_time_limit_is_not_lost_in_a_finaliser():
    class Slow:
        def __del__(self):
            end = time.monotonic() + 0.2
            while time.monotonic() < end:
                pass

    def finalise_then_wait():
        with module("judge").time_limit(0.05):
            slow = Slow()
            del slow
            time.sleep(5)

    with pytest.raises(TimeoutError):
        finalise_then_wait()


# -- runs -----------------------------------------------------------------------------------------

ADAPTERS = """
import os, pathlib, time
from recovery_peers import Found

def right(X, y, names, budget, seed, jobs, **options):
    with open(os.environ["RECOVERY_COUNT"], "a") as file:
        file.write("run\\n")
    return Found("*".join(names), verdict="EXACT", exact=True)

def wrong(X, y, names, budget, seed, jobs):
    return Found("x + 1e-7*k", verdict="CONSISTENT")

def crash(X, y, names, budget, seed, jobs):
    os.abort()

def raising(X, y, names, budget, seed, jobs):
    raise RuntimeError("no idea")

def hang(X, y, names, budget, seed, jobs):
    time.sleep(1000)
"""
SET = """id,formula,variables,low,high,human_kan_rmse,pruned_kan_rmse,unpruned_kan_rmse
A1,x*k,x;k,1,3,1e-3,1e-4,1e-5
A2,k*x,k;x,1;2,3;4,,,
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "tiny.csv").write_text(SET)
    (tmp_path / "adapters.py").write_text(ADAPTERS)
    monkeypatch.setenv("RECOVERY_COUNT", str(tmp_path / "count"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("adapters", None)


def run(folder, monkeypatch, *arguments):
    recovery = module("recovery")
    words = ["recovery", str(folder / "tiny.csv"), "--out", str(folder), "--rows", "50"]
    monkeypatch.setattr(sys, "argv", [*words, *arguments])
    recovery.main()
    return recovery


def test_runs_are_judged_written_and_resumed(folder, monkeypatch, capsys):
    arguments = ("--methods", "adapters:right", "--seeds", "1")
    recovery = run(folder, monkeypatch, *arguments)
    printed = capsys.readouterr().out
    assert "2 of 2 (100%)" in printed
    rows = recovery.read_rows(folder / "recovery_tiny_adapters.right_noise0.csv")
    assert [(row["id"], row["recovered"], row["criterion"]) for row in rows] == [
        ("A1", "True", "symbolic"),
        ("A2", "True", "symbolic"),
    ]
    assert float(rows[0]["r2_clean"]) == 1
    assert "| adapters:right | 2 of 2 (100%)" in (folder / "recovery_tiny_noise0.md").read_text()
    read = json.loads((folder / "recovery_tiny_noise0.json").read_text())
    assert read["recovered"] == {"adapters:right": {"right": 2, "runs": 2}}
    run(folder, monkeypatch, *arguments)
    assert (folder / "count").read_text().count("run") == 2
    run(folder, monkeypatch, *arguments, "--option", "depth=3", "--only", "A2")
    assert (folder / "count").read_text().count("run") == 3
    run(folder, monkeypatch, *arguments, "--fresh", "--only", "A1")
    assert (folder / "count").read_text().count("run") == 4


@pytest.mark.slow
def test_a_peer_costs_no_more_than_its_row(folder, monkeypatch, capsys):
    names = ("wrong", "crash", "raising", "hang")
    methods = ",".join(f"adapters:{name}" for name in names)
    monkeypatch.setattr(module("recovery"), "LEAST_LIMIT", 5.0)
    arguments = ("--methods", methods, "--seeds", "1", "--budget", "1", "--only", "A1")
    recovery = run(folder, monkeypatch, *arguments)
    rows = [
        recovery.read_rows(folder / f"recovery_tiny_adapters.{name}_noise0.csv")[0]
        for name in names
    ]
    assert [row["recovered"] for row in rows] == ["False"] * 4
    assert [row["error"] for row in rows[1:]] == [
        "ended by signal 6",
        "RuntimeError: no idea",
        "no answer in 6.5 s",
    ]
    assert "| adapters:wrong | CONSISTENT | 0 | 1 |" in capsys.readouterr().out


def start(folder, *arguments):
    """The benchmark in a process of its own."""
    command = [sys.executable, str(BENCHMARKS / "recovery.py"), str(folder / "tiny.csv")]
    options = ("--out", str(folder), "--rows", "50", "--seeds", "1")
    paths = os.pathsep.join([str(folder), str(BENCHMARKS.parent)])  # this checkout's kansym
    return subprocess.Popen(
        [*command, *options, *arguments], env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_side_by_side_the_rows_are_the_same(folder, monkeypatch):
    arguments = ("--methods", "adapters:right", "--backend", "loky", "--parallel", "2")
    done = start(folder, *arguments)
    said, _ = done.communicate(timeout=200)
    assert done.returncode == 0, said
    read_rows = module("recovery").read_rows
    path = folder / "recovery_tiny_adapters.right_noise0.csv"
    times = ("cpu_s", "wall_s")
    found = sorted(read_rows(path), key=lambda row: row["id"])
    run(folder, monkeypatch, "--methods", "adapters:right", "--seeds", "1", "--fresh")
    alone = sorted(read_rows(path), key=lambda row: row["id"])
    for rows in (found, alone):
        for row in rows:
            assert all(float(row.pop(name)) > 0 for name in times)
    assert found == alone


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["1", "2"])
def test_runs_end_with_the_process_that_waits_for_them(folder, parallel, monkeypatch):
    """Killed, it can end nothing itself."""

    def running():
        commands = [read(Path("/proc", pid, "cmdline")) for pid in os.listdir("/proc")]
        return sum(b"trial.py\0fit" in command and mark in command for command in commands)

    def read(path):
        with suppress(OSError):
            return path.read_bytes()
        return b""

    mark = str(folder / "tmp").encode()
    (folder / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
    done = start(folder, "--methods", "adapters:hang", "--parallel", parallel)
    until = time.monotonic() + 100
    while running() < int(parallel) and time.monotonic() < until:
        time.sleep(0.2)
    assert running() == int(parallel)
    done.kill()
    done.communicate()
    until = time.monotonic() + 30
    while running() and time.monotonic() < until:
        time.sleep(0.2)
    assert not running()


def test_a_missing_peer_is_reported(folder, monkeypatch, capsys):
    peers = module("recovery_peers")
    gone = peers.Method(lambda: None, ("no_such_module.inner",), "no-such-distribution")
    monkeypatch.setitem(peers.METHODS, "gone", gone)
    run(folder, monkeypatch, "--methods", "gone")
    assert "| gone | not installed |" in capsys.readouterr().out
    with pytest.raises(ValueError, match="unknown method 'nobody'"):
        peers.method("nobody")


def test_a_rejudged_row_keeps_what_was_measured(folder, monkeypatch):
    arguments = ("--methods", "adapters:right", "--seeds", "1", "--only", "A1")
    recovery = run(folder, monkeypatch, *arguments)
    path = folder / "recovery_tiny_adapters.right_noise0.csv"
    before = recovery.read_rows(path)
    path.write_text(path.read_text().replace(",True,symbolic,", ",False,,"))
    assert recovery.read_rows(path) != before
    run(folder, monkeypatch, *arguments, "--rejudge")
    assert recovery.read_rows(path) == before
    assert (folder / "count").read_text().count("run") == 1


def test_noise_falls_on_the_training_targets_alone():
    problems, trial = module("problems"), module("trial")
    law = equation("x*k", "x;k")
    y = problems.training_sample(law, 5000, 0).y
    noise = problems.noise(law, y, 0.1, 0)
    assert noise.std() / y.std() == pytest.approx(0.1, rel=0.05)
    found = module("recovery_peers").Found("x*k")
    quality = trial.quality(found, law, seed=0, level=0.1)
    assert quality["r2_clean"] == 1
    assert quality["r2_noisy"] == pytest.approx(1 - 0.01 / 1.01, abs=2e-3)
