"""How kansym's time and memory grow with the rows, the width and the grid.

    make bench-scaling        or        python benchmarks/scaling.py

Two actions: forward + backward of the mean squared error, and one step of Levenberg-Marquardt.
Every point and action has a process of its own, which runs it once to warm up and then --rounds
times. Memory is the most the process ever held, torch and the
data included. Levenberg-Marquardt is left out where it would have more than 4,000 parameters.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import peers
from common import Sample, Table

ACTIONS = {"gradient": "forward + backward", "LM": "LM step"}
LARGEST_LM = 4000  # parameters
MIB = 2**10  # ru_maxrss counts KiB


@dataclass(frozen=True)
class Point:
    """A network and a number of rows; `axis` is the quantity that grows."""

    axis: str
    width: tuple[int, ...] = (5, 5, 1)
    grid: int = 5
    n: int = 10_000
    k: int = 3

    @property
    def value(self) -> int:
        return {"rows": self.n, "width": self.width[0], "grid": self.grid}[self.axis]

    @property
    def n_parameters(self) -> int:
        edges = self.width[0] * self.width[1] + self.width[1] * self.width[2]
        return edges * (self.grid + self.k + 1)


POINTS = (
    *(Point("rows", n=n) for n in (1000, 10_000, 100_000, 1_000_000)),
    *(Point("width", width=(w, w, 1), n=1000) for w in (2, 5, 10, 20, 50, 100, 200)),
    *(Point("grid", grid=grid) for grid in (5, 10, 20, 50, 100)),
)
QUICK = (
    *(Point("rows", n=n) for n in (1000, 10_000)),
    *(Point("width", width=(w, w, 1), n=1000) for w in (2, 5)),
    *(Point("grid", grid=grid) for grid in (5, 10)),
)
TITLES = {
    "rows": "[5, 5, 1], G 5",
    "width": "[w, w, 1], G 5, N 1,000",
    "grid": "[5, 5, 1], N 10,000",
}


def main() -> None:
    arguments = common.settle(common.parser(__doc__, rounds=3).parse_args())
    points = QUICK if arguments.quick else POINTS
    runs = [(point, action) for point in points for action in ACTIONS if is_feasible(point, action)]
    results = {}
    for point, action in runs:
        results[point, action] = common.alone(run, point, action, arguments.rounds)
        print(line(point, action, results[point, action]), flush=True)
    facts = common.environment(arguments.threads, common.installed("kansym", "torch", "numpy"))
    tables = [table(axis, results) for axis in TITLES]
    data = {"points": [describe(*key) | result for key, result in results.items()]}
    common.publish(arguments, "Growth with rows, width and grid", tables, data, facts)
    if arguments.figure:
        draw(results, arguments.figure)


def is_feasible(point: Point, action: str) -> bool:
    return action != "LM" or point.n_parameters <= LARGEST_LM


def run(point: Point, action: str, rounds: int) -> dict[str, Any]:
    """{"samples", "MiB", "MiB before"}: before the first step, when the data were there."""
    import torch

    dtype = torch.float64
    generator = torch.Generator().manual_seed(0)
    X = 2 * torch.rand(point.n, point.width[0], generator=generator, dtype=dtype) - 1
    y = torch.sin(3 * X).sum(1, keepdim=True)
    model = peers.kansym_model(point.width, point.grid, point.k, dtype)
    step = stepper(action, model, X, y)
    before = peak_memory()
    common.time_calls(step)
    samples = [common.time_calls(step) for _ in range(rounds)]
    return {"samples": samples, "MiB": peak_memory(), "MiB before": before}


def stepper(action: str, model: Any, X: Any, y: Any) -> Any:
    if action == "LM":
        from kansym.training.objective import Objective, Penalty
        from kansym.training.solvers import SOLVERS

        solver = SOLVERS["LM"](model, Objective("mse", Penalty()), None)
        return lambda: solver.step(X, y)

    def gradient() -> None:
        model.zero_grad()
        ((model(X) - y) ** 2).mean().backward()

    return gradient


def peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def describe(point: Point, action: str) -> dict[str, Any]:
    return {
        "axis": point.axis,
        "value": point.value,
        "width": point.width,
        "grid": point.grid,
        "rows": point.n,
        "parameters": point.n_parameters,
        "action": ACTIONS[action],
    }


def line(point: Point, action: str, result: dict[str, Any]) -> str:
    seconds = common.shown(common.clock(result["samples"]))
    return f"{point.axis} {point.value}: {ACTIONS[action]} {seconds} s, {result['MiB']:.0f} MiB"


def series(axis: str, action: str, results: dict[Any, Any]) -> list[tuple[Point, dict[str, Any]]]:
    return [
        (point, result)
        for (point, which), result in results.items()
        if point.axis == axis and which == action
    ]


def table(axis: str, results: dict[Any, Any]) -> Table:
    columns = [axis, "parameters"]
    rows: dict[Point, list[str]] = {}
    for action, title in ACTIONS.items():
        columns += [f"{title}, s", "CPU s", "peak MiB", "of it before"]
        for point, _ in series(axis, "gradient", results):
            row = rows.setdefault(point, [f"{point.value:,}", f"{point.n_parameters:,}"])
            row += cells(results.get((point, action)))
    return Table(columns, list(rows.values()), TITLES[axis])


def cells(result: dict[str, Any] | None) -> list[str]:
    if result is None:
        return ["-"] * 4
    samples: list[Sample] = result["samples"]
    seconds = common.shown(common.clock(samples))
    cpu = f"{common.clock(samples, 'cpu').median:.3g}"
    return [seconds, cpu, f"{result['MiB']:.0f}", f"{result['MiB before']:.0f}"]


def draw(results: dict[Any, Any], path: Path) -> None:
    """Seconds above, memory below; one column per quantity that grows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    layout: dict[str, Any] = {"layout": "constrained"}
    with plt.rc_context(common.FIGURE_STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(6.3, 4), sharex="col", sharey="row", **layout)
        for column, (axis, title) in enumerate(TITLES.items()):
            upper, lower = axes[:, column]
            for colour, marker, action in zip(common.COLOURS, "os", ACTIONS, strict=False):
                points = series(axis, action, results)
                places = [point.value for point, _ in points]
                seconds = [common.clock(result["samples"]).median for _, result in points]
                memory = [result["MiB"] for _, result in points]
                style = {"color": colour, "marker": marker, "ms": 3.5, "label": ACTIONS[action]}
                upper.plot(places, seconds, **style)
                lower.plot(places, memory, **style)
            upper.set(title=title, xscale="log", yscale="log")
            lower.set(xlabel=axis)
            if axis != "rows":
                x = [point.value for point, _ in series(axis, "gradient", results)]
                lower.set_xticks(x, [str(value) for value in x])
                lower.set_xticks([], minor=True)
            for panel in (upper, lower):
                panel.grid(color="0.92")
        axes[0, 0].set_ylabel("seconds")
        axes[1, 0].set(ylabel="peak memory, MiB", ylim=(0, None))
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        common.save_figure(figure, path)


if __name__ == "__main__":
    main()
