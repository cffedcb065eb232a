"""Work on several workers: what a task costs beyond its work, and what follows for many workers.

    make bench-sweeps        or        python benchmarks/sweeps.py

Two kinds of work. A sweep: tasks of unequal length, on one worker (this process) and on two, by
loky, dask and ray where they are installed. Rows in parts: the sums of a Levenberg-Marquardt step
over dask partitions. Each round measures every contender once; constants are medians over the
rounds. From the constants alone, a model says how long a sweep takes on W workers; what it says of
two is compared with what was measured. Then it is asked about more workers than there are here.

The model of a sweep is a queue. A task is handed to the next free worker by one process that spends
`serial` seconds on it, and begins `latency` seconds later; ray hands tasks out in rounds of W, and
each round takes as long as its longest. The sweep begins after `begin` seconds.
"""

from __future__ import annotations

import csv
import heapq
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import common
import numpy as np
from common import Spread, Table

from kansym.workers import side_by_side

HERE = 2  # workers
BACKENDS = ("loky", "dask", "ray")
MEAN_SECONDS = 0.4  # of a task's work
ARRAY_BYTES = 4_000_000
CROWDS = (2, 10, 100, 1000)  # workers that the model is asked about
TABLES = 10_000  # of the sweep that it is asked about
ROWS = 10**8
ROW_WIDTHS = ((5, 5, 1), (5, 20, 1), (10, 20, 5, 1))
PASSES = 3  # over the rows in a step of LM: normal equations, and two for a damping
FAN_IN = 16  # of kansym.partitions
BELOW = (0.45, -0.25)  # an axis, for its legend
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Cost:
    """Seconds beyond the work itself. begin: of a sweep; serial: of a task, where tasks are handed
    out; latency: of a task, at its worker; byte: serial, for each byte of a large array."""

    begin: float
    serial: float
    latency: float
    byte: float


@dataclass(frozen=True)
class RowCost:
    """Seconds of a pass over rows in parts. row: on one core. part: serial, for each task of dask.
    number: for each number of a result that is sent and added."""

    row: float
    part: float
    number: float


# -- the model ------------------------------------------------------------------------------------


def makespan(work: Sequence[float], workers: int, cost: Cost, rounds: bool) -> float:
    """Seconds of a sweep over tasks with `work` seconds each, in this order."""
    if rounds:
        chunks = [work[at : at + workers] for at in range(0, len(work), workers)]
        each = (cost.serial * len(chunk) + cost.latency + max(chunk) for chunk in chunks)
        return cost.begin + sum(each)
    free, handed_out = [0.0] * workers, 0.0
    for seconds in work:
        handed_out = max(heapq.heappop(free), handed_out) + cost.serial
        heapq.heappush(free, handed_out + cost.latency + seconds)
    return cost.begin + max(free)


def efficiency(work: Sequence[float], workers: int, cost: Cost, rounds: bool) -> float:
    """Share of the workers' time that is work."""
    return sum(work) / workers / makespan(work, workers, cost, rounds)


def pass_seconds(rows: float, workers: int, n_parameters: int, cost: RowCost) -> float:
    """Of the normal equations, a part for each worker: rows are shared, tasks are handed out one by
    one, and sums go up a tree in which a task adds FAN_IN of them."""
    tasks, levels, left = workers, 0, workers
    while left > 1:
        left = -(-left // FAN_IN)
        tasks, levels = tasks + left, levels + 1
    numbers = n_parameters**2 + n_parameters + 1
    added = levels * min(FAN_IN, workers) * numbers
    return rows * cost.row / workers + tasks * cost.part + added * cost.number


# -- work -----------------------------------------------------------------------------------------


def spin(turns: int) -> float:
    x = 1.0
    for _ in range(turns):
        x = x * 1.000001 % 7.0
    return x


def turns_per_second() -> float:
    turns = 200_000
    return turns / median(common.time_calls(lambda: spin(turns)).wall for _ in range(5))


def nothing(_: Any) -> None:
    return None


def uneven(count: int, mean: float) -> np.ndarray:
    """Seconds of tasks: exponential, as far as 3 times the mean, the same in every run."""
    return np.minimum(np.random.default_rng(0).exponential(mean, count), 3 * mean)


def done(function: Callable[..., Any], arguments: Sequence[Any], workers: int) -> float:
    """Seconds until every task is done."""
    started = time.perf_counter()
    tasks = ((at, (given,)) for at, given in enumerate(arguments))
    with closing(side_by_side(function, tasks, workers)) as results:
        for _ in results:
            pass
    return time.perf_counter() - started


# -- backends -------------------------------------------------------------------------------------


@contextmanager
def dask_cluster(workers: int = HERE) -> Iterator[Any]:
    import distributed

    options = {"host": "127.0.0.1", "dashboard_address": None, "threads_per_worker": 1}
    with (
        distributed.LocalCluster(n_workers=workers, processes=True, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextmanager
def ray_cluster() -> Iterator[None]:
    os.environ["RAY_AUTH_MODE"] = "disabled"  # it would write into the home directory
    import ray
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=HERE, include_dashboard=False, log_to_driver=False)
    try:
        yield None
    finally:
        ray.shutdown()


class Backend:
    """A contender: two workers of one kind. start: seconds until they gave their first results."""

    def __init__(self, name: str, stack: ExitStack):
        clusters = {"dask": dask_cluster, "ray": ray_cluster}
        started = time.perf_counter()
        if name in clusters:
            stack.enter_context(clusters[name]())
        self.name = name
        self.seconds(nothing, range(HERE))
        self.start = time.perf_counter() - started

    def seconds(self, function: Callable[..., Any], arguments: Sequence[Any]) -> float:
        from joblib import parallel_config

        with parallel_config(self.name, n_jobs=HERE):
            return done(function, arguments, HERE)

    def cost(self, count: int, arrays: Sequence[np.ndarray]) -> Cost:
        """What `count` tasks without work cost, and as many as there are arrays with one each."""
        begin = self.seconds(nothing, range(HERE))
        cpu = time.process_time()
        each = (self.seconds(nothing, range(HERE + count)) - begin) / count
        # The processor time of this process; dask's scheduler lives in it here.
        serial = min((time.process_time() - cpu) / (HERE + count), each)
        with_arrays = (self.seconds(nothing, arrays) - begin) / (len(arrays) - HERE)
        per_byte = max(with_arrays - each, 0.0) / arrays[0].nbytes
        # Two tasks are out at a time: a worker's turn takes twice what a task takes.
        return Cost(begin, serial, max(HERE * each - serial, 0.0), per_byte)


# -- sweeps ---------------------------------------------------------------------------------------


def measure_sweeps(backends: Sequence[Backend], quick: bool, rounds: int) -> dict[str, Any]:
    work = uneven(6 if quick else 24, 0.05 if quick else MEAN_SECONDS)
    arrays = [np.full(ARRAY_BYTES // 8, float(i)) for i in range(HERE + (1 if quick else 6))]
    turns = [int(seconds * turns_per_second()) for seconds in work]
    records: dict[str, list[Any]] = {"alone": []}
    records |= {f"{b.name} {what}": [] for b in backends for what in ("seconds", "cost", "model")}
    for turn in range(rounds):
        alone = [common.time_calls(lambda n=n: spin(n)).wall for n in turns]
        records["alone"].append(sum(alone))
        for name in common.rotated([b.name for b in backends], turn):
            backend = next(b for b in backends if b.name == name)
            cost = backend.cost(10 if quick else 100, arrays)
            records[f"{name} cost"].append(cost)
            records[f"{name} seconds"].append(backend.seconds(spin, turns))
            records[f"{name} model"].append(makespan(alone, HERE, cost, name == "ray"))
    return records


def typical(costs: Sequence[Cost]) -> Cost:
    return Cost(
        *(median(values) for values in zip(*(asdict(c).values() for c in costs), strict=True))
    )


def recorded_searches() -> list[float]:
    """Seconds of searches as the benchmark of recovery has measured them, in a random order."""
    seconds: list[float] = []
    for path in sorted(RESULTS.glob("recovery_*_kansym_noise*.csv")):
        with path.open(newline="") as file:
            seconds += [float(row["wall_s"]) for row in csv.DictReader(file) if row["wall_s"]]
    return list(np.random.default_rng(0).choice(seconds, TABLES))


# -- rows in parts --------------------------------------------------------------------------------


def sums(width: Sequence[int], rows: int, parts: int) -> Callable[[], Any]:
    """What computes the normal equations of a network over rows in dask partitions."""
    import dask.array as da

    from kansym import KAN
    from kansym.partitions import as_partitions
    from kansym.training.objective import Objective, Penalty
    from kansym.training.summed import SummedLeastSquares

    X = np.random.default_rng(0).uniform(-1, 1, (rows, width[0]))
    chunks = -(-rows // parts)
    data = tuple(da.from_array(v, chunks=(chunks, -1)).persist() for v in (X, X[:, :1]))
    given = as_partitions(data, width[0], 1)
    found = SummedLeastSquares(KAN(width), Objective("mse", Penalty()), given)
    return lambda: (found.normal_equations(), data)  # which stay on the workers for it


def n_parameters(width: Sequence[int]) -> int:
    from kansym import KAN
    from kansym.jacobian import FreeParameters

    return FreeParameters(KAN(width)).count


def measure_rows(quick: bool, rounds: int) -> dict[str, Any]:
    """Constants from parts in this process, from many parts without rows, and from large sums; and
    a pass that shares rows between two workers."""
    import dask

    rows, parts = (20_000, 8) if quick else (600_000, 128)
    narrow, wide = ROW_WIDTHS[0], ROW_WIDTHS[1]
    numbers = n_parameters(wide) ** 2
    with dask.config.set(scheduler="synchronous"):
        here = sums(narrow, rows, 1)
    tasks = parts + -(-parts // FAN_IN) + (parts > FAN_IN)
    records: dict[str, list[Any]] = {"cost": [], "seconds": [], "model": [], "alone": []}
    with dask_cluster():
        shared = sums(narrow, rows, HERE)
        many, large = sums(narrow, 2 * parts, parts), sums(wide, 2 * FAN_IN, FAN_IN)
        for each in (shared, many, large):
            each()  # to warm up
        for _ in range(rounds):
            with dask.config.set(scheduler="synchronous"):
                alone = common.time_calls(here).wall
            part = common.time_calls(many).wall / tasks
            of_sums = common.time_calls(large).wall - (FAN_IN + 1) * part
            cost = RowCost(alone / rows, part, max(of_sums, 0.0) / (FAN_IN * numbers))
            records["cost"].append(cost)
            records["alone"].append(alone)
            records["seconds"].append(common.time_calls(shared).wall)
            records["model"].append(pass_seconds(rows, HERE, n_parameters(narrow), cost))
    return records


# -- results --------------------------------------------------------------------------------------


def ratios(of: Sequence[float], to: Sequence[float]) -> Spread:
    return common.spread(a / b for a, b in zip(of, to, strict=True))


def measured_table(
    names: Sequence[str], sweep: Mapping[str, Any], rows: Mapping[str, Any]
) -> Table:
    lines = []
    for name in names:
        seconds, model = sweep[f"{name} seconds"], sweep[f"{name} model"]
        lines.append([f"sweep, {name}", common.shown(ratios(sweep["alone"], seconds)),
                      common.shown(ratios(model, seconds))])  # fmt: skip
    if rows:
        lines.append(["rows in parts, dask", common.shown(ratios(rows["alone"], rows["seconds"])),
                      common.shown(ratios(rows["model"], rows["seconds"]))])  # fmt: skip
    columns = ["on two workers", "times as fast as on one", "the model's seconds / measured"]
    return Table(columns, lines, "Two workers", "Median and quartiles of ratios within a round.")


def cost_table(backends: Sequence[Backend], costs: Mapping[str, Cost]) -> Table:
    lines = []
    for b in backends:
        cost = costs[b.name]
        lines.append([b.name, f"{b.start:.2g}", f"{cost.begin:.2g}", f"{1e3 * cost.serial:.2g}",
                      f"{1e3 * cost.latency:.2g}", f"{1e9 * cost.byte:.2g}"])  # fmt: skip
    columns = ["backend", "start of workers s", "begin of a sweep s", "serial ms a task",
               "latency ms a task", "ns a byte"]  # fmt: skip
    return Table(columns, lines, "What a sweep costs beyond its work")


def sweep_model(names: Sequence[str], costs: Mapping[str, Cost], work: Sequence[float]) -> Table:
    lines = [
        [workers, *(f"{efficiency(work, workers, costs[n], n == 'ray'):.0%}" for n in names),
         f"{makespan(work, workers, costs[names[0]], names[0] == 'ray') / 60:.3g}",
         f"{sum(work) / workers / 60:.3g}"]
        for workers in CROWDS
    ]  # fmt: skip
    note = (
        f"Planned, not measured: {len(work):,} searches with the seconds of the benchmark of "
        f"recovery, mean {np.mean(work):.3g} s, longest {max(work):.3g} s, in a random order."
    )
    columns = ["workers", *(f"efficiency, {n}" for n in names), f"minutes, {names[0]}", "perfect"]
    return Table(columns, lines, "A sweep on more workers", note)


def row_model(cost: RowCost) -> Table:
    lines = []
    for width in ROW_WIDTHS:
        count = n_parameters(width)
        # A pass costs as much more for a wider network as it has more entries of J'J.
        wider = replace(cost, row=cost.row * (count / n_parameters(ROW_WIDTHS[0])) ** 2)
        for workers in (1, *CROWDS[1:]):
            seconds = PASSES * pass_seconds(ROWS, workers, count, wider)
            share = PASSES * ROWS * wider.row / workers / seconds
            sent = 8e-6 * count**2
            lines.append([str(list(width)), count, f"{sent:.3g}", workers, f"{seconds:.3g}",
                          f"{share:.0%}"])  # fmt: skip
    columns = ["width", "parameters P", "MB of P x P", "workers", "s a step", "efficiency"]
    note = (
        f"Planned, not measured: {ROWS:.0e} rows, a part for each worker, {PASSES} passes a step. "
        f"Measured: {1e6 * cost.row:.3g} microseconds a row and pass, {1e3 * cost.part:.3g} ms a "
        f"task of dask, {1e9 * cost.number:.3g} ns for each number that is sent and added."
    )
    return Table(columns, lines, "Rows in parts on more workers", note)


def draw(
    costs: Mapping[str, Cost],
    measured: Mapping[str, float],
    work: Sequence[float],
    cost: RowCost | None,
    path: Path,
) -> None:
    import matplotlib.pyplot as plt

    crowd = np.unique(np.geomspace(1, 1000, 25).astype(int))
    with plt.rc_context(common.FIGURE_STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(6.3, 3.4), layout="constrained")
        for name, colour in zip(costs, common.COLOURS, strict=False):
            if name != "loky":  # is one machine
                shares = [efficiency(work, int(w), costs[name], name == "ray") for w in crowd]
                left.plot(crowd, shares, color=colour, label=f"{name}, planned")
            left.plot(HERE, measured[name], "o", color=colour, mfc="none",
                      label=f"short tasks, {name}, measured")  # fmt: skip
        left.set(xscale="log", ylim=(0, 1.05), xlabel="workers", ylabel="efficiency",
                 title=f"{len(work):,} searches of {np.mean(work):.1f} s")  # fmt: skip
        left.legend(loc="upper center", bbox_to_anchor=BELOW)
        if cost is not None:
            for width, colour in zip(ROW_WIDTHS, common.COLOURS, strict=False):
                count = n_parameters(width)
                wider = replace(cost, row=cost.row * (count / n_parameters(ROW_WIDTHS[0])) ** 2)
                times = [PASSES * pass_seconds(ROWS, int(w), count, wider) for w in crowd]
                label = f"{list(width)}: {count:,} parameters"
                right.plot(crowd, times, color=colour, label=label)
                ideal = [PASSES * ROWS * wider.row / w for w in crowd]
                right.plot(crowd, ideal, ":", color=colour, lw=0.8)
            right.set(xscale="log", yscale="log", xlabel="workers", ylabel="seconds of a step",
                      title="10$^8$ rows (dotted: shared perfectly)")  # fmt: skip
            right.legend(loc="upper center", bbox_to_anchor=BELOW)
        common.save_figure(figure, path)


def main() -> None:
    parser = common.parser(__doc__, rounds=5)
    parser.add_argument("--backends", default=",".join(BACKENDS), metavar="NAME,NAME")
    arguments = common.settle(parser.parse_args())
    rounds = min(arguments.rounds, 2) if arguments.quick else arguments.rounds
    installed = common.installed("kansym", "joblib", "dask", "distributed", "ray", "numpy")
    asked = arguments.backends.split(",")
    names = [name for name in asked if name == "loky" or installed[name]]
    with ExitStack() as stack:
        backends = [Backend(name, stack) for name in names]
        sweep = measure_sweeps(backends, arguments.quick, rounds)
    rows = measure_rows(arguments.quick, rounds) if "dask" in names else {}
    costs = {name: typical(sweep[f"{name} cost"]) for name in names}
    speed = {n: ratios(sweep["alone"], sweep[f"{n} seconds"]).median / HERE for n in names}
    row_cost = None
    if rows:
        parts = zip(*(asdict(c).values() for c in rows["cost"]), strict=True)
        row_cost = RowCost(*map(median, parts))
    work = recorded_searches()
    clusters = [name for name in ("dask", "ray") if name in names]
    tables = [measured_table(names, sweep, rows), cost_table(backends, costs)]
    tables += [sweep_model(clusters, costs, work)] if clusters else []
    tables += [row_model(row_cost)] if row_cost is not None else []
    data = json.loads(json.dumps({"sweep": sweep, "rows": rows}, default=asdict))
    data |= {"start": {b.name: b.start for b in backends}}
    if arguments.figure:
        draw(costs, speed, work, row_cost, arguments.figure)
    facts = common.environment(arguments.threads, installed)
    common.publish(arguments, "Work on several workers", tables, data, facts)


if __name__ == "__main__":
    main()
