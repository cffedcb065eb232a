"""Test RMSE against processor time on exp(sin(pi x) + y^2), 1,000 rows, float64.

    make bench-train        or        python benchmarks/train.py --seeds 10

Every seed gives new data and new initial parameters, the same data to all contenders; runs are
interleaved, each in a fresh process, which warms up with one step. The clock is the processor time
of the fit. kansym and pykan judge the test part within their own fits, and their clocks run on; it
stands still while the multilayer perceptrons are judged. No penalty. A curve shows the lowest test
RMSE so far.

Then "sparsify, prune, refine": kansym's Levenberg-Marquardt with lamb 1e-3 from one start on a
uniform grid, prune, merge, and LM on grids from 5 to 100 as far as generalised cross-validation
says; 20 seeds, the test rows unseen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import common
import peers
from common import Failure, Table

WIDTH, GRID, K, ROWS = [2, 5, 1], 5, 3, 1000
TARGET = 1e-3  # test RMSE
NOTE = (
    f"CPU seconds to a test RMSE of {TARGET:g}: median [quartiles] over the seeds, runs that never "
    "got there counted as infinitely long. "
    "RMSE: the lowest of a run, median [quartiles] over the seeds."
)


KEPT = 60  # points of a curve that are written to the file of results


@dataclass
class Curve:
    """(processor seconds, test RMSE) at every step, on a clock that can stand still."""

    points: list[tuple[float, float]] = field(default_factory=list)
    paused: float = 0.0
    started: float = field(default_factory=time.process_time)

    def seconds(self) -> float:
        return time.process_time() - self.started - self.paused

    def judge(self, rmse: Callable[[], float]) -> None:
        """Add a point; the clock stands still meanwhile."""
        now, began = self.seconds(), time.process_time()
        self.points.append((now, rmse()))
        self.paused += time.process_time() - began


# -- contenders: run(seed, steps) -> points -------------------------------------------------------


def problem(seed: int) -> Any:
    import torch

    from kansym import create_dataset

    def law(x: Any) -> Any:
        return torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2)

    return create_dataset(law, 2, train_num=ROWS, test_num=ROWS, seed=seed)


def run_kansym(seed: int, steps: int, opt: str) -> list[tuple[float, float]]:
    import torch

    data = problem(seed)
    model = peers.kansym_model(WIDTH, GRID, K, torch.float64, seed)
    curve = Curve()

    def note(network: Any, record: Any) -> None:
        rmse = record.test_loss**0.5 * float(network.output_scale)
        curve.points.append((curve.seconds(), rmse))

    model.fit(data, opt, steps, callbacks=[note], progress=False)
    return curve.points


def run_pykan(seed: int, steps: int) -> list[tuple[float, float]]:
    import torch

    kan = peers.PEERS["pykan"].load()
    torch.set_default_dtype(torch.float64)
    data = problem(seed)
    dataset = {
        "train_input": data.X,
        "train_label": data.y,
        "test_input": data.X_test,
        "test_label": data.y_test,
    }
    model = kan.KAN(width=list(WIDTH), grid=GRID, k=K, seed=seed, auto_save=False)
    curve = Curve()

    def seconds() -> Any:
        return torch.tensor(curve.seconds())

    found = model.fit(dataset, opt="LBFGS", steps=steps, metrics=(seconds,))
    return [(t, float(rmse)) for t, rmse in zip(found["seconds"], found["test_loss"], strict=True)]


def run_mlp(seed: int, steps: int, width: Sequence[int]) -> list[tuple[float, float]]:
    """L-BFGS with the settings of kansym's own."""
    import torch

    data = problem(seed)
    model = peers.mlp_model(width, GRID, K, torch.float64, seed)
    curve = Curve()
    optimizer = torch.optim.LBFGS(
        model.parameters(), history_size=20, line_search_fn="strong_wolfe",
        tolerance_grad=1e-14, tolerance_change=1e-16,
    )  # fmt: skip

    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((model(data.X) - data.y) ** 2).mean()
        loss.backward()
        return loss

    @torch.no_grad()
    def rmse() -> float:
        return float(((model(data.X_test) - data.y_test) ** 2).mean().sqrt())

    for _ in range(steps):
        optimizer.step(closure)
        curve.judge(rmse)
    return curve.points


def run_sklearn(seed: int, steps: int) -> list[tuple[float, float]]:
    """A step is one pass over the rows."""
    data = problem(seed)
    X, y = data.X.numpy(), data.y.numpy().ravel()
    X_test, y_test = data.X_test.numpy(), data.y_test.numpy().ravel()
    model = peers.sklearn_mlp([64, 64], seed)
    curve = Curve()
    for _ in range(steps):
        model.partial_fit(X, y)
        curve.judge(lambda: float(((model.predict(X_test) - y_test) ** 2).mean() ** 0.5))
    return curve.points


@dataclass(frozen=True)
class Contender:
    run: Callable[..., list[tuple[float, float]]]
    steps: int
    options: tuple[Any, ...] = ()
    peer: str = ""


CONTENDERS = {
    "kansym LM": Contender(run_kansym, 100, ("LM",)),
    "kansym LBFGS": Contender(run_kansym, 50, ("LBFGS",)),
    "kansym Adam": Contender(run_kansym, 3000, ("Adam",)),
    "pykan LBFGS": Contender(run_pykan, 50, peer="pykan"),
    "PyTorch MLP [2, 5, 1]": Contender(run_mlp, 150, ((2, 5, 1),)),
    "PyTorch MLP [2, 64, 64, 1]": Contender(run_mlp, 150, ((2, 64, 64, 1),)),
    "scikit-learn MLP [2, 64, 64, 1]": Contender(run_sklearn, 1000, peer="scikit-learn"),
}


def run_sparse(seed: int, steps: int) -> dict[str, Any]:
    """Sparsify, prune, refine."""
    from kansym import KAN

    data = problem(seed)
    rows = data.X, data.y  # the test rows judge at the end, and nothing else
    model = KAN(list(WIDTH), GRID, K, seed=seed, grid_eps=1.0)
    curve = Curve()
    model.fit(rows, "LM", steps, lamb=1e-3, progress=False)
    model = model.prune().merge()
    model.fit(rows, "LM", max(1, steps // 4), grids=(5, 10, 20, 50, 100), progress=False)
    seconds = curve.seconds()
    rmse = float(((model.predict(data.X_test) - data.y_test) ** 2).mean().sqrt())
    shape = [row.total for row in model.width]
    return {"seed": seed, "seconds": seconds, "rmse": rmse, "width": shape}


def warm_sparse(seed: int, steps: int) -> dict[str, Any]:
    run_sparse(seed, 12)
    return run_sparse(seed, steps)


# -- the race -------------------------------------------------------------------------------------


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="of the curves; one round each")
    parser.add_argument("--sparse-seeds", type=int, default=20)
    arguments = common.settle(parser.parse_args())
    share = 25 if arguments.quick else 1
    seeds, sparse_seeds = (1, 1) if arguments.quick else (arguments.seeds, arguments.sparse_seeds)
    curves, reasons = race(seeds, share)
    sparse = [common.alone(warm_sparse, seed, max(1, 80 // share)) for seed in range(sparse_seeds)]
    facts = common.environment(
        arguments.threads, common.installed("kansym", "torch") | peers.versions()
    )
    common.publish(
        arguments,
        "Test RMSE against processor time, exp(sin(pi x) + y^2)",
        [table(curves, reasons), sparse_table(sparse)],
        {
            "curves": {name: [thinned(curve) for curve in runs] for name, runs in curves.items()},
            "left out": reasons,
            "sparse": sparse,
        },
        facts,
    )
    if arguments.figure:
        draw(curves, arguments.figure)


def warm(name: str, seed: int, steps: int) -> list[tuple[float, float]]:
    """A run after one of a single step, which imports what is imported late."""
    contender = CONTENDERS[name]
    contender.run(seed, 1, *contender.options)
    return contender.run(seed, steps, *contender.options)


def race(seeds: int, share: int) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """{contender: one curve per seed}, and why some have none."""
    curves: dict[str, list[Any]] = {}
    reasons: dict[str, str] = {}
    for seed in range(seeds):
        for name in common.rotated(list(CONTENDERS), seed):
            contender = CONTENDERS[name]
            if peers.is_missing(contender.peer):
                reasons[name] = peers.NOT_INSTALLED
                continue
            steps = max(contender.steps // share, 2)
            try:
                curve = common.alone(warm, name, seed, steps)
            except Failure as failure:
                reasons[name] = f"seed {seed}: {failure}"
                continue
            curves.setdefault(name, []).append(lowest_so_far(curve))
            print(f"seed {seed}  {name}: {curves[name][-1][-1]}", flush=True)
    return curves, reasons


def lowest_so_far(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    best, result = inf, []
    for seconds, rmse in points:
        best = min(best, rmse)
        result.append((seconds, best))
    return result


def thinned(curve: Sequence[tuple[float, float]]) -> list[list[float]]:
    """At most KEPT points, evenly spread over the logarithm of the step, for the record."""
    last = len(curve) - 1
    places = {round(last ** (n / (KEPT - 1))) for n in range(KEPT)} if last > 0 else set()
    return [[float(f"{value:.4g}") for value in curve[at]] for at in sorted({0, last} | places)]


# -- results --------------------------------------------------------------------------------------


def seconds_to(target: float, curve: Sequence[tuple[float, float]]) -> float:
    return next((seconds for seconds, rmse in curve if rmse <= target), inf)


def table(curves: dict[str, list[Any]], reasons: dict[str, str]) -> Table:
    rows = []
    for name in CONTENDERS:
        if name not in curves:
            rows.append([name, reasons[name], "", "", ""])
            continue
        mine = curves[name]
        times = [seconds_to(TARGET, curve) for curve in mine]
        reached = f"{sum(seconds < inf for seconds in times)} of {len(mine)}"
        rows.append(
            [
                name,
                f"{reached}; {reasons[name]}" if name in reasons else reached,
                quartiles(times),
                common.shown(common.spread(curve[-1][1] for curve in mine)),
                f"{median(curve[-1][0] for curve in mine):.3g}",
            ]
        )
    columns = ["", f"runs below {TARGET:g}", "CPU s to there", "lowest RMSE", "CPU s of a run"]
    return Table(columns, rows, note=NOTE)


def quartiles(times: Sequence[float]) -> str:
    """As `common.shown`, for times of which some may be infinite."""
    ordered = sorted(times)
    low, middle, high = (ordered[round(part * (len(ordered) - 1))] for part in (0.25, 0.5, 0.75))
    if middle == inf:
        return "-"
    return f"{middle:.3g} [{low:.3g}, {high:.3g}]"


def sparse_table(runs: Sequence[dict[str, Any]]) -> Table:
    found = sum(run["width"] == [2, 1, 1] for run in runs)
    row = [
        "kansym LM",
        common.shown(common.spread(run["rmse"] for run in runs)),
        f"{found} of {len(runs)}",
        common.shown(common.spread(run["seconds"] for run in runs)),
    ]
    columns = ["", "test RMSE", "ended as [2, 1, 1]", "CPU s"]
    return Table(columns, [row], "Sparsify, prune, refine")


def draw(curves: dict[str, list[Any]], path: Path) -> None:
    """The median over the seeds and the band between the quartiles; kansym's lines are solid."""
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(common.FIGURE_STYLE):
        figure, axes = plt.subplots(figsize=(4.72, 3.9), layout="constrained")
        for colour, (name, mine) in zip(common.COLOURS, curves.items(), strict=False):
            start = max(curve[0][0] for curve in mine)
            stop = median(curve[-1][0] for curve in mine)
            times = np.geomspace(start, max(stop, start * 1.01), 200)
            heights = np.array([at_times(curve, times) for curve in mine])
            low, middle, high = np.quantile(heights, [0.25, 0.5, 0.75], axis=0)
            dashes = "-" if name.startswith("kansym") else "--"
            axes.plot(times, middle, dashes, color=colour, label=name)
            axes.plot(times[-1], middle[-1], "o", color=colour, ms=3)
            axes.fill_between(times, low, high, color=colour, alpha=0.2, lw=0)
        axes.axhline(TARGET, color="0.6", lw=0.8, ls=":")
        axes.set(xscale="log", yscale="log", xlabel="processor seconds", ylabel="test RMSE")
        axes.grid(color="0.93")
        figure.legend(loc="outside lower center", ncols=2)
        common.save_figure(figure, path)


def at_times(curve: Sequence[tuple[float, float]], times: Any) -> Any:
    import numpy as np

    seconds, rmse = np.array(curve).T
    return rmse[np.clip(np.searchsorted(seconds, times, side="right") - 1, 0, None)]


if __name__ == "__main__":
    main()
