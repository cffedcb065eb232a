"""One training step: forward and backward of the mean squared error, and forward alone.

    make bench-step        or        python benchmarks/step.py --efficient-kan PATH --fast-kan PATH

kansym autograd: loss = ((model(X) - y) ** 2).mean(); loss.backward(), with the kernels that are
active by default. kansym torch: the same with KANSYM_KERNELS=torch. kansym step: what kansym's own
fits without a penalty call, kansym.training.Gradient, made ready once. Peers run the two lines of
kansym autograd; the optimizer's own work is left out everywhere. Forward is without gradients.
Every contender has a process of its own; the first call, which warms up, may take a minute, or the
contender is left out of that case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import common
import peers
from common import Failure, Sample, Table, Worker

LIMIT = 60.0  # seconds for one step
AUTOGRAD, TORCH, STEP = "kansym autograd", "kansym torch", "kansym step"
PRODUCT, OUTER_PRODUCT = "dense product", "dense product, X fixed"
CONTENDERS = (
    AUTOGRAD, TORCH, STEP, "pykan as it comes", "pykan", "efficient-kan", "fast-kan", "PyTorch MLP",
    PRODUCT, OUTER_PRODUCT,
)  # fmt: skip
MARKERS = {
    TORCH: "^", STEP: "D", "pykan": "s", "efficient-kan": "v", "fast-kan": "<", "PyTorch MLP": ">",
    PRODUCT: "P",
}  # fmt: skip
NOTE = (
    "Median [quartiles] in ms of wall time; processor time beside it; ratios are medians of the "
    "ratios within each round. pykan: symbolic branch and stored activations off, as in its own "
    "fit without a penalty. fast-kan: G + k "
    "Gaussians per edge. dense product: features by weights, and the gradients by both; "
    '"X fixed" leaves out the gradient by the features of the first layer, which no contender '
    "computes."
)
Actions = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Case:
    title: str
    width: tuple[int, ...]
    n: int
    grid: int
    dtype: str
    k: int = 3

    def shrunk(self) -> Case:
        width = tuple(min(n, 32) for n in self.width)
        return replace(self, title=f"{self.title}: shrunk", width=width, n=min(self.n, 200))


SMALL = Case("[2, 5, 1], N 1,000, G 5, float64", (2, 5, 1), 1000, 5, "float64")
WIDE = Case("512 -> 512, batch 1,024, G 5, float32", (512, 512), 1024, 5, "float32")
CASES = (
    SMALL,
    Case("[10, 10, 1], N 10,000, G 20, float64", (10, 10, 1), 10_000, 20, "float64"),
    Case("[784, 64, 10], batch 128, G 5, float32", (784, 64, 10), 128, 5, "float32"),
    WIDE,
    replace(WIDE, title="512 -> 512, batch 1,024, G 20, float32", grid=20),
)


def main() -> None:
    parser = common.parser(__doc__)
    peers.add_paths(parser)
    arguments = common.settle(parser.parse_args())
    peers.use_paths(arguments)
    cases = [case.shrunk() if arguments.quick else case for case in CASES]
    tables, data = [], {}
    for case in cases:
        samples, reasons = race(case, arguments.rounds)
        tables.append(table(case, samples, reasons, note="" if tables else NOTE))
        data[case.title] = samples | {"left out": reasons}
    for title, build, case in (
        ("Parts of a Levenberg-Marquardt step", second_order_actions, cases[CASES.index(SMALL)]),
        ("The exact L1 + entropy penalty", penalty_actions, cases[CASES.index(WIDE)]),
    ):
        samples = compare_actions(build, case, arguments.rounds)
        tables.append(action_table(f"{title}: {case.title}", samples))
        data[title] = samples
    facts = common.environment(
        arguments.threads, common.installed("kansym", "torch", "numpy") | peers.versions()
    )
    common.publish(arguments, "One training step", tables, {"samples": data}, facts)
    if arguments.figure:
        draw(cases, data, arguments.figure)


# -- contenders -----------------------------------------------------------------------------------


def problem(case: Case) -> tuple[Any, Any, Any]:
    """X in [-1, 1], y normal, dtype."""
    import torch

    dtype = getattr(torch, case.dtype)
    generator = torch.Generator().manual_seed(0)
    X = 2 * torch.rand(case.n, case.width[0], generator=generator, dtype=dtype) - 1
    y = torch.randn(case.n, case.width[-1], generator=generator, dtype=dtype)
    return X, y, dtype


def actions_of(name: str, case: Case) -> Actions:
    import torch

    X, y, dtype = problem(case)
    if name in (PRODUCT, OUTER_PRODUCT):
        product = peers.DenseProduct(
            case.width, case.grid, case.k, case.n, dtype, inner=name == PRODUCT
        )
        return {"forward": product.forward, "step": product.step}
    library = "kansym" if name.startswith("kansym") else name
    model = peers.MODELS[library](case.width, case.grid, case.k, dtype)

    def forward() -> None:
        with torch.no_grad():
            model(X)

    def step() -> None:
        model.zero_grad()
        ((model(X) - y) ** 2).mean().backward()

    if name == STEP:
        from kansym.training import Gradient
        from kansym.training.objective import Objective, Penalty

        return {"step": Gradient(model, Objective("mse", Penalty()), X, y)}
    return {"forward": forward, "step": step}


def race(case: Case, rounds: int) -> tuple[dict[str, Any], dict[str, str]]:
    """{action: {contender: samples}}, and why the others are left out."""
    workers: dict[str, Worker] = {}
    reasons: dict[str, str] = {}
    for name in CONTENDERS:
        try:
            workers[name] = start(name, case)
        except Failure as failure:
            reasons[name] = str(failure)
            print(f"{case.title}: {name} left out: {failure}", flush=True)
    samples = {
        action: common.interleave_workers(
            {name: w for name, w in workers.items() if action == "step" or name != STEP},
            action,
            rounds,
        )
        for action in ("step", "forward")
    }
    for worker in workers.values():
        worker.close()
    return samples, reasons


def start(name: str, case: Case) -> Worker:
    """A worker that has made its first step. Raises Failure."""
    if peers.is_missing(name):
        raise Failure(peers.NOT_INSTALLED)
    kernels = {"KANSYM_KERNELS": "torch"} if name == TORCH else {}
    worker = Worker(actions_of, name, case, environment=kernels)
    worker.do(common.first_call, "step", patience=LIMIT)
    return worker


# -- parts of kansym ------------------------------------------------------------------------------


def second_order_actions(case: Case) -> Actions:
    """What a step of Levenberg-Marquardt is made of."""
    from kansym import jacobian
    from kansym.training.least_squares import LeastSquares
    from kansym.training.objective import Objective, Penalty

    X, y, dtype = problem(case)
    model = peers.kansym_model(case.width, case.grid, case.k, dtype)
    rows = LeastSquares(model, Objective("mse", Penalty()), X, y)
    return {
        "step": actions_of(AUTOGRAD, case)["step"],
        "per-sample Jacobian": lambda: jacobian.jacobian(model, X),
        "normal equations": rows.normal_equations,
    }


def penalty_actions(case: Case) -> Actions:
    """The objective with and without the exact L1 and entropy penalty on the edges' scores."""
    from kansym.training.objective import Objective, Penalty

    X, y, dtype = problem(case)
    model = peers.kansym_model(case.width, case.grid, case.k, dtype)

    def step(penalty: Penalty) -> Callable[[], None]:
        objective = Objective("mse", penalty)

        def act() -> None:
            model.zero_grad()
            objective(model, X, y).objective.backward()

        return act

    scores = ("mean_abs", "std")
    with_penalty = {f"step with {kind}": step(Penalty(lamb=1e-3, score=kind)) for kind in scores}
    return {"step": step(Penalty())} | with_penalty


def compare_actions(
    build: Callable[[Case], Actions], case: Case, rounds: int
) -> dict[str, list[Sample]]:
    """Actions of one process against each other, interleaved."""
    with Worker(build, case) as worker:
        calls = {name: worker.do(common.calibrate, name) for name in worker.do(list)}
        timers = {
            name: lambda name=name, n=n: worker.do(common.measure, name, n)
            for name, n in calls.items()
        }
        return common.interleave(timers, rounds)


# -- results --------------------------------------------------------------------------------------


def table(case: Case, samples: dict[str, Any], reasons: dict[str, str], note: str) -> Table:
    steps, forwards = samples["step"], samples["forward"]
    rows = []
    for name in CONTENDERS:
        if name in reasons:
            rows.append([name, reasons[name], "", "", "", "", ""])
            continue
        mine, ahead = steps[name], forwards.get(name)
        rows.append(
            [
                name,
                common.shown(common.clock(mine), 1e-3),
                f"{common.clock(mine, 'cpu').median * 1e3:.3g}",
                f"{common.ratio(mine, steps[STEP]).median:.3g}",
                f"{common.ratio(mine, steps[AUTOGRAD]).median:.3g}",
                f"{common.ratio(mine, steps[PRODUCT]).median:.3g}",
                common.shown(common.clock(ahead), 1e-3) if ahead else "",
            ]
        )
    ratios = [f"x {name}" for name in (STEP, AUTOGRAD, PRODUCT)]
    columns = ["", "step, ms", "CPU, ms", *ratios, "forward, ms"]
    return Table(columns, rows, case.title, note)


def action_table(title: str, samples: dict[str, list[Sample]]) -> Table:
    rows = [
        [
            name,
            common.shown(common.clock(mine), 1e-3),
            f"{common.clock(mine, 'cpu').median * 1e3:.3g}",
            f"{common.ratio(mine, samples['step']).median:.3g}",
        ]
        for name, mine in samples.items()
    ]
    return Table(["", "ms", "CPU, ms", "x step"], rows, title)


def draw(cases: list[Case], data: dict[str, Any], path: Path) -> None:
    """Time of a step over that of kansym autograd, one line of dots per case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(common.FIGURE_STYLE):
        figure, axes = plt.subplots(figsize=(5.5, 2.9), layout="constrained")
        for colour, (name, marker) in zip(common.COLOURS, MARKERS.items(), strict=True):
            points = [
                (common.ratio(steps[name], steps[AUTOGRAD]).median, row)
                for row, case in enumerate(cases)
                if name in (steps := data[case.title]["step"])
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marker, c=colour, label=name, ms=5)
        axes.axvline(1, color="0.6", lw=1, zorder=0)
        axes.set(xscale="log", xlabel=f"time of one training step, {AUTOGRAD} = 1")
        axes.set_yticks(range(len(cases)), [case.title for case in cases])
        axes.set_ylim(len(cases) - 0.5, -0.5)
        axes.grid(axis="x", color="0.9")
        figure.legend(loc="outside lower center", ncols=4)
        common.save_figure(figure, path)


if __name__ == "__main__":
    main()
