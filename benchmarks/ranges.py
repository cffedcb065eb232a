"""Which rule for inputs that leave the grid gives the smallest error, and the safest?

    make bench-ranges        or        python benchmarks/ranges.py --seeds 3 --steps 400

Linear(4, 12) -> layer under test, 12 to 12 -> Linear(12, 1) learns

    y = exp(sin(pi u1) + u2^2) + u3 u4,    u uniform in [-1, 1]^4

from x, which is u brought into a regime: s u for several s; 1e-8 of a standard deviation; Student's
t with 2 degrees of freedom, of which u + 1 are the doubled ranks; or a window of half the width
that moves from one end of u to the other while training, x = 4 u. Fresh batches, Adam, the same
steps, rates and seeds for all. The first Linear has no bias: beside one, single precision would
lose 1e-8. Normalisers stand directly before the layer. pykan: its own KANLayer, whose grid is
updated from the batch ten times in the first half of the training, as often as in its `fit`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import common
import peers
from common import Table

INPUTS, HIDDEN = 4, 12
BATCH, RATE = 128, 0.01
TEST_ROWS = 4000
PYKAN_UPDATES = 10  # in the first half
WINDOW = 0.5  # of the drifting inputs, over that of all
STRETCH = 4.0  # of the drifting inputs
SCALES = {"±1": 1.0, "±1.25": 1.25, "±2": 2.0, "±10": 10.0, "std 1e-8": 1e-8 * math.sqrt(3)}
TAILS, DRIFT = "Student t", "drift"
REGIMES = (*SCALES, TAILS, DRIFT)
LAST, WHOLE = "drift: last", "drift: whole"
COLUMNS = (*SCALES, TAILS, LAST, WHOLE)
PYKAN, MLP = "pykan, updates", "MLP"
OUTSIDE = ("zero", "linear", "clamp", "reflect", "periodic", "base")
FIXED = tuple(f"fixed, {rule}" for rule in OUTSIDE)
NORMALISERS = ("MinMax", "ZScore", "SigmaClip", "Affine", "LayerNorm")
ADAPTIVE, BOTH = "adaptive", "ZScore + adaptive"
WHOLE_RANGE = "adaptive, whole range"
RULES = (*FIXED, PYKAN, *NORMALISERS, ADAPTIVE, WHOLE_RANGE, BOTH, MLP)
NOTE = (
    "Root mean square test error over the standard deviation of y there (1: the mean of y does as "
    "well): median over the seeds, and the worst in parentheses. fixed, zero is what pykan has "
    "without updates. ZScore and LayerNorm have a grid of ±1.5 (for ZScore the best of 1, 1.5, 2 "
    "and 3), the others of ±1; all normalisers are followed by range='fixed', outside='linear'. "
    "adaptive, whole range: the running range taken from the extremes of batches instead of 1.4 "
    "standard deviations on either side. MLP: one more hidden layer, as many parameters."
)
SHARES_NOTE = (
    "Share of the layer's inputs on the test rows that lie outside its grid at the end, median "
    "over the seeds; of the drift, all test rows. Failures: runs that raised, or whose error is "
    "not finite. Overall: geometric mean of the medians over the regimes, and the largest of the "
    "worst."
)
Sampler = Callable[[float, int], tuple[Any, Any]]
"""(how far training is, in [0, 1]; rows) -> x, y."""


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument(
        "--only", default="", metavar="RULE;RULE", help="the others keep their results in --out"
    )
    arguments = common.settle(parser.parse_args())
    seeds, steps = (1, 10) if arguments.quick else (arguments.seeds, arguments.steps)
    rules = [rule for rule in RULES if rule != PYKAN or not peers.is_missing("pykan")]
    only = [rule for rule in arguments.only.split(";") if rule]
    runs = kept(arguments.out, only) if only else []
    for regime in REGIMES:
        for seed in range(seeds):
            # In turn, so that a busy moment of the machine does not fall on the same rule.
            for rule in common.rotated(only or rules, seed):
                runs.append(run(rule, regime, seed, steps))
        print(f"{regime} done", flush=True)
    versions = common.installed("kansym", "torch", "numpy", "pykan")
    common.publish(
        arguments,
        "Inputs outside the grid",
        tables(runs, rules),
        {"runs": runs, "steps": steps},
        common.environment(arguments.threads, versions),
    )
    if arguments.figure:
        draw(runs, rules, arguments.figure)


def kept(out: Path, anew: list[str]) -> list[dict[str, Any]]:
    """Earlier runs of the rules that are not measured anew."""
    earlier = json.loads(out.with_suffix(".json").read_text())["runs"]
    return [run for run in earlier if run["rule"] not in anew]


# -- regimes --------------------------------------------------------------------------------------


def teacher(u: Any) -> Any:
    """[rows, 1], of mean 0 and variance 1 where u is uniform in [-1, 1]^4."""
    import torch

    y = torch.exp(torch.sin(torch.pi * u[:, :1]) + u[:, 1:2] ** 2) + u[:, 2:3] * u[:, 3:]
    return (y - 1.852) / 1.439


def sampler(regime: str, generator: Any) -> Sampler:
    import torch

    def sample(done: float, rows: int) -> tuple[Any, Any]:
        u = 2 * torch.rand(rows, INPUTS, generator=generator) - 1
        if regime == DRIFT:
            u = WINDOW * u + (1 - WINDOW) * (2 * done - 1)
            return STRETCH * u, teacher(u)
        if regime == TAILS:
            u = u * (1 - 1e-7)  # ranks 0 and 1 are infinite
            return math.sqrt(2) * u / (1 - u**2).sqrt(), teacher(u)
        return SCALES[regime] * u, teacher(u)

    return sample


def test_sets(regime: str) -> dict[str, tuple[Any, Any]]:
    """{column: (x, y)}."""
    import torch

    generator = torch.Generator().manual_seed(10_000)
    if regime != DRIFT:
        return {regime: sampler(regime, generator)(1.0, TEST_ROWS)}
    u = 2 * torch.rand(TEST_ROWS, INPUTS, generator=generator) - 1
    last = sampler(DRIFT, generator)(1.0, TEST_ROWS)
    return {LAST: last, WHOLE: (STRETCH * u, teacher(u))}


# -- rules ----------------------------------------------------------------------------------------


def build(rule: str) -> Any:
    """The network, its layer under test at place 1 or, behind a normaliser, 2. Draws from torch's
    global state."""
    from torch import nn

    first, last = nn.Linear(INPUTS, HIDDEN, bias=False), nn.Linear(HIDDEN, 1)
    if rule == MLP:
        inner = round((count(under_test(rule)) - HIDDEN) / (2 * HIDDEN + 1))
        middle = [nn.SiLU(), nn.Linear(HIDDEN, inner), nn.SiLU(), nn.Linear(inner, HIDDEN)]
        return nn.Sequential(first, *middle, last)
    return nn.Sequential(first, *normaliser(rule), under_test(rule), last)


def count(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


def normaliser(rule: str) -> list[Any]:
    from torch import nn

    import kansym.nn as kn

    if rule not in NORMALISERS and rule != BOTH:
        return []
    name = rule.partition(" ")[0]
    return [nn.LayerNorm(HIDDEN) if name == "LayerNorm" else getattr(kn, name)(HIDDEN)]


def under_test(rule: str) -> Any:
    from kansym.nn import KANLinear

    if rule == PYKAN:
        return pykan_layer()
    kind, _, outside = rule.partition(", ")
    is_wide = rule in ("ZScore", "LayerNorm")
    return KANLinear(
        HIDDEN,
        HIDDEN,
        range="adaptive" if ADAPTIVE in kind else "fixed",
        outside=outside if outside in OUTSIDE else "linear",
        grid_range=(-1.5, 1.5) if is_wide else (-1.0, 1.0),
    )


def pykan_layer() -> Any:
    """With the initial numbers of pykan's KAN, and its first output alone."""
    from torch import nn

    peers.PEERS["pykan"].load()
    from kan.KANLayer import KANLayer

    class PykanLayer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = KANLayer(HIDDEN, HIDDEN, num=5, k=3, noise_scale=0.3)

        def forward(self, x: Any) -> Any:
            return self.layer(x)[0]

    return PykanLayer()


# -- a run ----------------------------------------------------------------------------------------


def run(rule: str, regime: str, seed: int, steps: int) -> dict[str, Any]:
    """Errors and shares of inputs outside per column, seconds of the training."""
    begun = time.perf_counter()
    try:
        with spread_of(rule):
            model = train(rule, regime, seed, steps)
        seconds = time.perf_counter() - begun
        found = {name: judge(model, *test) for name, test in test_sets(regime).items()}
    except Exception as error:  # whatever a peer raises is reported, not passed on
        names = (LAST, WHOLE) if regime == DRIFT else (regime,)
        found = dict.fromkeys(names, (math.nan, math.nan))
        return outcome(rule, seed, found) | {"failure": f"{type(error).__name__}: {error}"[:200]}
    return outcome(rule, seed, found) | {"seconds": seconds}


@contextmanager
def spread_of(rule: str) -> Iterator[None]:
    from kansym.nn import ranges

    before = ranges.SPREAD, ranges.CLIP
    if rule == WHOLE_RANGE:
        ranges.SPREAD = ranges.CLIP = math.inf
    try:
        yield
    finally:
        ranges.SPREAD, ranges.CLIP = before


def outcome(rule: str, seed: int, found: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    errors = {name: error for name, (error, _) in found.items()}
    shares = {name: share for name, (_, share) in found.items()}
    return {"rule": rule, "seed": seed, "errors": errors, "shares": shares}


def train(rule: str, regime: str, seed: int, steps: int) -> Any:
    import warnings

    import torch

    from kansym.errors import OutsideGridWarning

    torch.manual_seed(seed)
    model = build(rule)
    sample = sampler(regime, torch.Generator().manual_seed(seed))
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trainable, lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, RATE / 100)
    updates = {round(steps / 2 * n / PYKAN_UPDATES) for n in range(PYKAN_UPDATES)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideGridWarning)
        for step in range(steps):
            x, y = sample(step / max(steps - 1, 1), BATCH)
            if rule == PYKAN and step in updates:
                with torch.no_grad():
                    model[1].layer.update_grid_from_samples(model[0](x))
            optimiser.zero_grad()
            (model(x) - y).square().mean().backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def judge(model: Any, x: Any, y: Any) -> tuple[float, float]:
    """Error relative to y's spread, and the share of the layer's inputs outside its grid."""
    import torch

    from kansym.nn import KANLinear

    with torch.no_grad():
        error = (model(x) - y).square().mean().sqrt() / y.std()
        for layer in model:
            if isinstance(layer, KANLinear):
                low, high = layer.basis.ends
                break
            if hasattr(layer, "layer"):
                grid, k = layer.layer.grid, layer.layer.k
                low, high = grid[:, k], grid[:, -k - 1]
                break
            x = layer(x)
        else:
            return float(error), math.nan
    return float(error), float(((x < low) | (x > high)).float().mean())


# -- results --------------------------------------------------------------------------------------


def of(runs: Iterable[dict[str, Any]], rule: str, what: str, column: str) -> list[float]:
    return [run[what][column] for run in runs if run["rule"] == rule and column in run[what]]


def worst(values: Iterable[float]) -> float:
    """The largest; infinite if one is not finite."""
    return max(value if math.isfinite(value) else math.inf for value in values)


def middle(values: Iterable[float]) -> float:
    """The median, runs that failed counting as infinitely bad."""
    return median(value if math.isfinite(value) else math.inf for value in values)


def tables(runs: list[dict[str, Any]], rules: list[str]) -> list[Table]:
    errors, shares = [], []
    for rule in RULES:
        if rule not in rules:
            errors.append([rule, peers.NOT_INSTALLED, *[""] * (len(COLUMNS) - 1)])
            continue
        found = {column: of(runs, rule, "errors", column) for column in COLUMNS}
        errors.append([rule, *(f"{middle(v):.3f} ({worst(v):.3f})" for v in found.values())])
        mine = [run for run in runs if run["rule"] == rule]
        failures = sum(
            not all(math.isfinite(error) for error in run["errors"].values()) for run in mine
        )
        log_mean = sum(math.log(middle(v)) for v in found.values()) / len(found)
        out = [median(of(runs, rule, "shares", column)) for column in COLUMNS if column != LAST]
        shares.append(
            [
                rule,
                f"{math.exp(log_mean):.3f} ({max(map(worst, found.values())):.3f})",
                *("" if math.isnan(share) else f"{share:.1%}" for share in out),
                f"{failures} of {len(mine)}",
                f"{median(run.get('seconds', math.nan) for run in mine):.2f}",
            ]
        )
    heads = ["", "overall", *SCALES, TAILS, DRIFT, "failures", "s per run"]
    return [
        Table(["", *COLUMNS], errors, "Test error", NOTE),
        Table(heads, shares, "Outside the grid, failures, seconds", SHARES_NOTE),
    ]


def draw(runs: list[dict[str, Any]], rules: list[str], path: Any) -> None:
    """Rules by regimes: the median test error, written into each cell."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.colors import LogNorm

    values = [[middle(of(runs, rule, "errors", c)) for c in COLUMNS] for rule in rules]
    shown = [[min(max(value, 1e-4), 9.99) for value in row] for row in values]
    norm = LogNorm(min(map(min, shown)), 1.0)
    with plt.rc_context({**common.FIGURE_STYLE, "axes.spines.left": False}):
        figure, axes = plt.subplots(figsize=(6.3, 4.2), layout="constrained")
        picture = axes.imshow(shown, cmap="cividis", norm=norm, aspect="auto")
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                is_dark = norm(shown[row][column]) < 0.5
                text = f"{value:.3f}" if value < 9.995 else "> 10"
                colour = "white" if is_dark else "black"
                axes.text(column, row, text, ha="center", va="center", color=colour, size=7)
        axes.set_yticks(range(len(rules)), rules)
        axes.set_xticks(range(len(COLUMNS)), [c.replace(" ", "\n") for c in COLUMNS])
        axes.tick_params(length=0)
        axes.xaxis.tick_top()
        axes.spines["bottom"].set_visible(False)
        bar = figure.colorbar(picture, label="test error / spread of y", extend="max", pad=0.01)
        bar.set_ticks(ticks := [0.1, 0.2, 0.5, 1.0], labels=[f"{tick:g}" for tick in ticks])
        bar.minorticks_off()
        common.save_figure(figure, path)


if __name__ == "__main__":
    main()
