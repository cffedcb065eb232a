"""KANLinear where nn.Linear usually stands: accuracy on digits, seconds of a step, peak memory.

    make bench-images        or        python benchmarks/images.py --efficient-kan PATH

Digits: scikit-learn's 1,797 digits of 8 x 8, pixels in [-1, 1], a fifth for testing; [64, 32, 10],
Adam at 0.003, batches of 128, 20 epochs. The MLP comes with the same widths and with as many
parameters as the KANs. Steps: random data, forward + backward of the mean square, without an
optimiser; contenders in processes of their own, in turn. Memory: the peak within forward +
backward, by PyTorch's record of every allocation and by the resident set of the process, each
contender in a fresh one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import common
import peers
from common import Failure, Table, Worker

LIMIT = 60.0  # seconds for the first step
GRID, K = 5, 3
WIDTH = (64, 32, 10)
ADAPTIVE, GROUPS, LARGE_MLP = "KANLinear, adaptive", "KANLinear, groups=8", "MLP, equal parameters"
BASES = {f"KANLinear, {name}": name for name in ("rbf", "chebyshev", "rational")}
PLAIN = "KANLinear"
OURS = (PLAIN, ADAPTIVE, GROUPS, *BASES)
MLP, PRODUCT = "MLP, equal widths", "matrix product of the size"
ON_DIGITS = (*OURS, "efficient-kan", "fast-kan", MLP, LARGE_MLP)
TIMED = (*OURS, "efficient-kan", "fast-kan", "pykan", LARGE_MLP, PRODUCT)
DIGITS_NOTE = (
    "Test accuracy: median [smallest, largest] over the seeds. Seconds per epoch of 12 batches: "
    "median over the seeds, Adam included."
)
STEPS_NOTE = (
    "Median [quartiles] of wall time; ratios are medians of the ratios within each round. Grids of "
    f"{GRID} intervals, k = {K}. matrix product: given features, {GRID + K + 1} per input, by "
    "weights, and the gradients of both."
)
MEMORY_NOTE = (
    "MiB, the parameters included. needed: the features of every input ([batch, in, functions + "
    "1]), parameters and gradients. allocated: peak of what PyTorch allocated, which leaves out "
    "working space of kernels in C. resident: peak of the process over what it held before, all "
    "included, pages of the math library too."
)


@dataclass(frozen=True)
class Case:
    title: str
    width: tuple[int, ...]
    batch: int

    def shrunk(self) -> Case:
        width = tuple(min(n, 32) for n in self.width)
        return replace(self, title=f"{self.title}: shrunk", width=width, batch=32)


WIDE = Case("512 -> 512, batch 1,024", (512, 512), 1024)
CASES = (Case("[784, 64, 10], batch 128", (784, 64, 10), 128), WIDE)


def main() -> None:
    parser = common.parser(__doc__, rounds=7)
    peers.add_paths(parser)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = common.settle(parser.parse_args())
    peers.use_paths(arguments)
    seeds, epochs = (1, 1) if arguments.quick else (arguments.seeds, arguments.epochs)
    runs = [
        {"name": name, "seed": seed, **learn(name, seed, epochs)}
        for seed in range(seeds)
        for name in common.rotated(ON_DIGITS, seed)
        if not peers.is_missing(name)
    ]
    tables, timings = [digits_table(runs, epochs)], {}
    for case in CASES:
        case = case.shrunk() if arguments.quick else case
        samples, reasons = race(case, arguments.rounds)
        timings[case.title] = {"samples": samples, "left out": reasons}
        tables.append(steps_table(case, samples, reasons))
    wide = WIDE.shrunk() if arguments.quick else WIDE
    memory = {name: memory_of(name, wide) for name in TIMED if name != PRODUCT}
    tables.append(memory_table(wide, memory))
    versions = common.installed("kansym", "torch", "numpy") | peers.versions()
    common.publish(
        arguments,
        "KANLinear on images",
        tables,
        {"digits": runs, "steps": timings, "memory": memory},
        common.environment(arguments.threads, versions),
    )


# -- models ---------------------------------------------------------------------------------------


def model_of(name: str, width: Sequence[int], seed: int = 0) -> Any:
    """Of float32, from torch's global state."""
    import torch
    from torch import nn

    if name in peers.MODELS:
        return peers.MODELS[name](width, GRID, K, torch.float32, seed)
    torch.manual_seed(seed)
    if name in (MLP, LARGE_MLP):
        inner = list(width[1:-1])
        if name == LARGE_MLP:
            inner = [equal_width(width)]
        return peers.mlp_model((width[0], *inner, width[-1]), GRID, K, torch.float32, seed)
    from kansym.nn import KANLinear

    layers = []
    for n_in, n_out in pairwise(width):
        options: dict[str, Any] = {"basis": BASES.get(name, "bspline")}
        options["range"] = "adaptive" if name == ADAPTIVE else "fixed"
        # As many groups as divide the inputs.
        options["groups"] = math.gcd(8, n_in) if name == GROUPS else None
        layers.append(KANLinear(n_in, n_out, GRID, K, **options))
    return nn.Sequential(*layers)


def equal_width(width: Sequence[int]) -> int:
    """Of one hidden layer, with as many parameters as splines on every edge."""
    parameters = sum(a * b for a, b in pairwise(width)) * (GRID + K + 1)
    return round((parameters - width[-1]) / (width[0] + width[-1] + 1))


def count(model: Any) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


# -- digits ---------------------------------------------------------------------------------------


def digits(seed: int) -> tuple[Any, Any, Any, Any]:
    """Pixels in [-1, 1], labels; a fifth apart, with all digits in their shares."""
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        images / 8 - 1, labels, test_size=0.2, random_state=seed, stratify=labels
    )
    train, test, train_labels, test_labels = (torch.as_tensor(part) for part in parts)
    return train.float(), train_labels, test.float(), test_labels


def learn(name: str, seed: int, epochs: int) -> dict[str, Any]:
    import warnings

    import torch

    from kansym.errors import OutsideGridWarning

    x, labels, test, test_labels = digits(seed)
    model = model_of(name, WIDTH, seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.003)
    generator = torch.Generator().manual_seed(seed)
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideGridWarning)
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=generator).split(128):
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(model(x[rows]), labels[rows]).backward()
                optimiser.step()
    seconds = (time.perf_counter() - begun) / epochs
    model.eval()
    with torch.no_grad():
        right = (model(test).argmax(1) == test_labels).double().mean()
    return {"accuracy": float(right), "seconds": seconds, "parameters": count(model)}


def digits_table(runs: list[dict[str, Any]], epochs: int) -> Table:
    rows = []
    for name in ON_DIGITS:
        mine = [run for run in runs if run["name"] == name]
        if not mine:
            rows.append([name, "", peers.NOT_INSTALLED, ""])
            continue
        right = [run["accuracy"] for run in mine]
        shown = f"{median(right):.1%} [{min(right):.1%}, {max(right):.1%}]"
        seconds = median(run["seconds"] for run in mine)
        rows.append([name, f"{mine[0]['parameters']:,}", shown, f"{seconds:.3g}"])
    title = f"Digits, {list(WIDTH)}, {epochs} epochs"
    return Table(["", "parameters", "accuracy", "s per epoch"], rows, title, DIGITS_NOTE)


# -- steps ----------------------------------------------------------------------------------------


def actions_of(name: str, case: Case) -> dict[str, Callable[[], Any]]:
    import torch

    if name == PRODUCT:
        return {
            "step": peers.DenseProduct(
                case.width, GRID, K, case.batch, torch.float32, inner=True
            ).step
        }
    return {"step": step_of(model_of(name, case.width), case)}


def step_of(model: Any, case: Case) -> Callable[[], Any]:
    """Forward + backward; the gradients by the inputs as well, as behind other layers."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(case.batch, case.width[0], generator=generator) - 1
    x.requires_grad_()

    def step() -> None:
        model(x).square().mean().backward()
        x.grad = None
        model.zero_grad()

    return step


def race(case: Case, rounds: int) -> tuple[dict[str, Any], dict[str, str]]:
    workers: dict[str, Worker] = {}
    reasons: dict[str, str] = {}
    for name in TIMED:
        try:
            if peers.is_missing(name):
                raise Failure(peers.NOT_INSTALLED)
            workers[name] = Worker(actions_of, name, case)
            workers[name].do(common.first_call, "step", patience=LIMIT)
        except Failure as failure:
            workers.pop(name, None)
            reasons[name] = str(failure)
    samples = common.interleave_workers(workers, "step", rounds)
    for worker in workers.values():
        worker.close()
    return samples, reasons


def steps_table(case: Case, samples: dict[str, Any], reasons: dict[str, str]) -> Table:
    rows = []
    for name in TIMED:
        if name in reasons:
            rows.append([name, reasons[name], "", "", ""])
            continue
        against = [
            f"{common.ratio(samples[name], samples[other]).median:.3g}"
            for other in (PLAIN, LARGE_MLP, PRODUCT)
        ]
        rows.append([name, common.shown(common.clock(samples[name]), 1e-3), *against])
    heads = ["", "step, ms", *(f"x {other}" for other in (PLAIN, LARGE_MLP, PRODUCT))]
    return Table(heads, rows, f"Forward + backward: {case.title}", STEPS_NOTE)


# -- memory ---------------------------------------------------------------------------------------


def memory_of(name: str, case: Case) -> dict[str, Any]:
    """Each in a fresh process. Bytes, or why there are none."""
    if peers.is_missing(name):
        return {"failure": peers.NOT_INSTALLED}
    try:
        return common.alone(measure_memory, name, case, patience=LIMIT)
    except Failure as failure:
        return {"failure": str(failure)}


def measure_memory(name: str, case: Case) -> dict[str, Any]:
    from torch.profiler import ProfilerActivity, profile

    small = replace(case, width=tuple(min(n, 8) for n in case.width), batch=8)
    step_of(model_of(name, small.width), small)()  # libraries and kernels are loaded by now
    model = model_of(name, case.width)
    step = step_of(model, case)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    step()
    grown = resident("VmHWM") - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as records:
        step()
    events = [e for e in records.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda e: e.start_ns())]
    functions = [layer.n_coef for layer in model.modules() if hasattr(layer, "n_coef")]
    per_input = (functions[0] if functions else GRID + K) + 1
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "features": 4 * sum(case.width[:-1]) * per_input * case.batch,
        "parameters": 4 * parameters,
        "allocated": max(accumulate(sizes)),
        "resident": grown,
    }


def resident(field: str) -> int:
    """Bytes, of this process: "VmRSS" now, "VmHWM" at the peak. Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise LookupError(field)


def memory_table(case: Case, memory: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for name, found in memory.items():
        if "failure" in found:
            rows.append([name, found["failure"], "", "", "", ""])
            continue
        features = 0 if name == LARGE_MLP else found["features"]
        needed = features + 2 * found["parameters"]
        row = [name, f"{needed / 2**20:.1f}"]
        for measured in ("allocated", "resident"):
            total = found[measured] + found["parameters"]
            row += [f"{total / 2**20:.1f}", f"{total / needed:.2f}"]
        rows.append(row)
    heads = ["", "needed", "allocated", "/ needed", "resident", "/ needed"]
    return Table(heads, rows, f"Peak memory of forward + backward: {case.title}", MEMORY_NOTE)


if __name__ == "__main__":
    main()
