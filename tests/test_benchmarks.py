"""What the benchmarks share: statistics, rotation, workers, results. Nothing is timed here."""

import argparse
import collections
import importlib
import json
import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kansym

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def common(monkeypatch):
    return load(monkeypatch, "common")


@pytest.fixture
def peers(monkeypatch):
    return load(monkeypatch, "peers")


@pytest.fixture(scope="module")
def sweeps():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delitem(sys.modules, "common", raising=False)
        found = load(monkeypatch, "sweeps")
        yield found
        del sys.modules["common"]


def load(monkeypatch, name):
    """benchmarks/ is no package: by path, and forgotten when the test is over."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, name, module)
    return module


# -- timing ---------------------------------------------------------------------------------------


def test_ratio_is_the_median_of_the_ratios_within_rounds(common):
    ours = [common.Sample(1.0, 2.0), common.Sample(10.0, 20.0), common.Sample(3.0, 3.0)]
    theirs = [common.Sample(2.0, 2.0), common.Sample(40.0, 10.0), common.Sample(3.0, 1.0)]
    assert common.ratio(ours, theirs).median == 0.5  # of 1/2, 1/4 and 1; medians' ratio is 1
    assert common.ratio(ours, theirs, "cpu").median == 2.0
    assert common.difference(ours, theirs).median == -1.0


def test_spread_is_median_and_quartiles(common):
    assert common.spread([5, 1, 4, 2, 3]) == (3, 2, 4)
    assert common.spread([7.0]) == (7.0, 7.0, 7.0)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_rotation_gives_every_contender_every_place_equally_often(common, count):
    names = [f"c{i}" for i in range(count)]
    places = collections.Counter(
        (name, place)
        for turn in range(2 * count)
        for place, name in enumerate(common.rotated(names, turn))
    )
    assert set(places) == {(name, place) for name in names for place in range(count)}
    assert set(places.values()) == {2}


def test_interleave_measures_everyone_once_per_round(common):
    order = []

    def timer(name):
        def act():
            order.append(name)
            return common.Sample(len(order), 0.0)

        return act

    samples = common.interleave({name: timer(name) for name in "abc"}, 4)
    assert "".join(order) == "abcbcacababc"
    assert [sample.wall for sample in samples["a"]] == [1, 6, 8, 10]


def test_more_calls_for_a_faster_action(common, monkeypatch):
    seconds = iter([9.0, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001])
    monkeypatch.setattr(common, "time_calls", lambda *_: common.Sample(next(seconds), 0.0))
    assert common.calls_needed(print, shortest=0.05) == 1  # the first call alone is long enough
    seconds = iter([0.001] * 20)
    assert common.calls_needed(print, shortest=0.05) == 64


# -- workers --------------------------------------------------------------------------------------


def test_a_worker_answers_and_reports_what_went_wrong(common):
    assert common.alone(math.factorial, 5) == 120
    with pytest.raises(common.Failure, match="ValueError: math domain error"):
        common.alone(math.sqrt, -1.0)


# -- results --------------------------------------------------------------------------------------


def test_results_survive_the_files(common, tmp_path, capsys):
    arguments = argparse.Namespace(out=tmp_path / "new" / "r", quick=False, threads=1)
    samples = {"a": [common.Sample(1.5, 2.5)], "b": [common.Sample(0.1, 0.2)]}
    table = common.Table(["", "s"], [["a", 1.5]], "Title", "A note.")
    facts = common.environment(1, {"here": "1.0", "gone": None})
    common.publish(arguments, "Result", [table], {"samples": samples}, facts, ["a line"])
    assert "| a | 1.5 |" in capsys.readouterr().out
    read = json.loads((tmp_path / "new" / "r.json").read_text())
    assert {name: [tuple(s) for s in v] for name, v in read["samples"].items()} == samples
    assert read["versions"] == {"here": "1.0", "gone": "not installed"}
    text = (tmp_path / "new" / "r.md").read_text()
    assert text.startswith("# Result\n")
    for part in ("## Title", "|  | s |\n| --- | --- |\n| a | 1.5 |", "A note.", "a line"):
        assert part in text


def test_a_smoke_run_never_overwrites_a_result(common, monkeypatch):
    for variable in common.THREAD_VARIABLES:
        monkeypatch.setenv(variable, "1")  # given back when the test is over
    options = ["--out", "results/step", "--figure", "step.png", "--threads", "2"]
    real = common.settle(common.parser("A benchmark.").parse_args(options))
    assert (str(real.out), str(real.figure)) == ("results/step", "step.png")
    assert common.os.environ["OMP_NUM_THREADS"] == "2"
    quick = common.settle(common.parser("A benchmark.").parse_args([*options, "--quick"]))
    assert (str(quick.out), str(quick.figure)) == ("results/step_quick", "step_quick.png")


def test_folders_of_the_machine_stay_out_of_the_record(common, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/a/b/step.py", "--fast-kan", "/home/me/fast-kan"])
    assert common.command() == "python benchmarks/step.py --fast-kan fast-kan"


# -- sparsity -------------------------------------------------------------------------------------


def test_the_summary_compares_case_by_case(common, monkeypatch):
    sparsity = load(monkeypatch, "sparsity")

    def results(lm, lbfgs):
        names = ("objective", "seconds", "structure")
        pairs = (("LM", lm), ("LBFGS", lbfgs))
        return {opt: dict(zip(names, values, strict=True)) for opt, values in pairs}

    runs = {
        sparsity.Case("x y", "std", 0.01, 0): results((1, 1, "2-1-1"), (2, 4, "2-1-1")),
        sparsity.Case("x y", "std", 0.01, 1): results((3, 1, "2-1-1"), (2, 1, "2-2-1")),
        sparsity.Case("x y", "mean_abs", 0.01, 0): results((1, 1, "2-1-1"), (4, 2, "2-1-1")),
    }
    table = sparsity.summary(runs, ["LM", "LBFGS"])
    assert [list(row) for row in table.rows] == [
        ["LBFGS", "std", 0.01, "1 of 2", "1", "0.625", "1 of 2"],
        ["LBFGS", "mean_abs", 0.01, "1 of 1", "0.25", "0.5", "1 of 1"],
        ["LBFGS", "all", "all", "2 of 3", "0.5", "0.5", "2 of 3"],
    ]


@pytest.mark.parametrize("law", ["x y", "exp(sin(pi x) + y^2), z irrelevant"])
def test_a_structure_counts_the_inputs_in_use(law, common, monkeypatch):
    sparsity = load(monkeypatch, "sparsity")
    n_in = sparsity.LAWS[law].width[0]
    model = kansym.KAN([n_in, 2, 1])
    model.fit(kansym.create_dataset(lambda X: X[:, 0] * X[:, 1], n_in), steps=1, progress=False)
    model.layers[0].mask[:, 2:] = False
    model.layers[1].mask[0, 1] = False
    assert sparsity.structure(model) == "2-1-1, 3 edges"


# -- sweeps ---------------------------------------------------------------------------------------


@given(
    work=st.lists(st.floats(0, 100), min_size=1, max_size=40),
    workers=st.integers(1, 12),
    costs=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_the_model_of_a_sweep_lies_between_its_bounds(sweeps, work, workers, costs):
    free, cost = sweeps.Cost(0, 0, 0, 0), sweeps.Cost(*costs)
    shared = max(sum(work) / workers, max(work))
    best, in_rounds = (sweeps.makespan(work, workers, free, r) for r in (False, True))
    assert shared <= best * (1 + 1e-9)
    assert best <= (sum(work) / workers + max(work)) * (1 + 1e-9)  # Graham 1969
    assert in_rounds >= best * (1 - 1e-9)
    if workers == 1 or workers >= len(work):
        assert best == pytest.approx(in_rounds)
        assert best == pytest.approx(sum(work) if workers == 1 else max(work))
    beyond = sweeps.makespan(work, workers, cost, False) - best
    assert beyond >= cost.begin + cost.serial + cost.latency - 1e-9
    handing_out = cost.begin + len(work) * cost.serial
    assert sweeps.makespan(work, workers, cost, False) >= handing_out - 1e-9


def test_sums_of_rows_are_shared_handed_out_and_added(sweeps):
    row, part, number = (
        sweeps.RowCost(*costs) for costs in ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0))
    )
    assert sweeps.pass_seconds(100, 4, 9, row) == 25
    assert sweeps.pass_seconds(100, 1, 9, part) == 1
    assert sweeps.pass_seconds(100, 16, 9, part) == 17
    assert sweeps.pass_seconds(100, 17, 9, part) == 20  # two that add, and one that adds these
    assert sweeps.pass_seconds(100, 1, 9, number) == 0
    assert sweeps.pass_seconds(100, 3, 2, number) == 3 * 7
    assert sweeps.pass_seconds(100, 256, 2, number) == 2 * 16 * 7


# -- peers ----------------------------------------------------------------------------------------


def test_a_missing_peer_is_reported(peers, monkeypatch, tmp_path):
    gone = peers.Peer("no-such-distribution", "no_such_module", "KANSYM_BENCH_GONE")
    monkeypatch.setitem(peers.PEERS, "gone", gone)
    assert peers.is_missing("gone")
    assert peers.versions()["gone"] is None
    monkeypatch.setenv("KANSYM_BENCH_GONE", str(tmp_path / "nowhere"))
    assert peers.is_missing("gone")
    assert not peers.is_missing("kansym autograd")


def test_a_checkout_counts_as_there(peers, monkeypatch, tmp_path):
    monkeypatch.setitem(peers.PEERS, "mine", peers.Peer("-", "mine_module", "KANSYM_BENCH_MINE"))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "mine_module.py").write_text("ANSWER = 42\n")
    monkeypatch.setenv("KANSYM_BENCH_MINE", "")  # given back when the test is over
    monkeypatch.setattr(sys, "path", list(sys.path))
    parser = argparse.ArgumentParser()
    peers.add_paths(parser)
    peers.use_paths(parser.parse_args(["--mine", str(tmp_path)]))
    assert peers.PEERS["mine"].version == "checkout"
    assert peers.PEERS["mine"].load().ANSWER == 42
    sys.modules.pop("mine_module")
