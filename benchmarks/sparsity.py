"""Two ways to lower loss + sparsity penalty: what LM and LBFGS reach, and the structures they find.

    make bench-sparsity        or        python benchmarks/sparsity.py --seeds 4

Every law, score, lamb and seed gives one case: 1,000 rows without a test part, and the same initial
network to each solver. They take turns, in an order that rotates from case to case, with the
options of `KAN.fit` and the steps that `CONTENDERS` says. The objective is evaluated once at the
end, by one function for all, without LM's smoothing prior. A structure is the inputs in use, the
nodes of each row and the active edges after `prune().merge()`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from math import pi
from statistics import median
from typing import Any, NamedTuple

import common
from common import Table, Worker

ROWS = 1000
FAINT = 1e-2  # the score an edge must exceed to be counted
CONTENDERS = {"LM": 60, "LBFGS": 50, "Adam": 3000}  # steps
NOTE = (
    "Ratios: LM's over the other's, median over the cases. Below: median [quartiles] over the "
    "seeds. Objective: loss + penalty at the end. "
    f"Edges: those with a score above {FAINT:g}. "
    "Structure: inputs in use, nodes of each row and active edges after prune().merge()."
)


@dataclass(frozen=True)
class Law:
    """function: of the columns of X."""

    width: Sequence[int]
    function: Callable[..., Any]


def exponential(x: Any, y: Any) -> Any:
    return ((pi * x).sin() + y**2).exp()


def times(x: Any, y: Any) -> Any:
    return x * y


def distance(x: Any, y: Any, z: Any) -> Any:
    return ((x - y) ** 2 + z**2 + 0.1).sqrt()


def nested(a: Any, b: Any, c: Any, d: Any) -> Any:
    return (((pi * (a**2 + b**2)).sin() + (pi * (c**2 + d**2)).sin()) / 2).exp()


def irrelevant(x: Any, y: Any, _: Any) -> Any:
    return exponential(x, y)


LAWS = {
    "exp(sin(pi x) + y^2)": Law([2, 5, 1], exponential),
    "x y": Law([2, 5, 1], times),
    "sqrt((x - y)^2 + z^2 + 0.1)": Law([3, 5, 1], distance),
    "exp((sin(pi (a^2 + b^2)) + sin(pi (c^2 + d^2))) / 2)": Law([4, 4, 2, 1], nested),
    "exp(sin(pi x) + y^2), z irrelevant": Law([3, 5, 1], irrelevant),
}


class Case(NamedTuple):
    law: str
    score: str
    lamb: float
    seed: int


# -- one run, in a process of its solver -----------------------------------------------------------


def warm_up() -> None:
    """What the first fit of a process would pay for."""
    for opt in CONTENDERS:
        run(None, opt, 1, Case("x y", "std", 1e-3, 0))


def run(_: None, opt: str, steps: int, case: Case) -> dict[str, Any]:
    import torch

    from kansym import KAN, create_dataset
    from kansym.training import Penalty
    from kansym.training.objective import Objective

    law = LAWS[case.law]
    data = create_dataset(
        lambda X: law.function(*X.T), law.width[0], train_num=ROWS, test_num=0, seed=case.seed
    )
    model = KAN(law.width, seed=case.seed)
    began = time.process_time()
    model.fit(data, opt, steps, lamb=case.lamb, score=case.score, progress=False)
    seconds = time.process_time() - began
    objective = Objective("mse", Penalty(case.lamb, score=case.score))
    with torch.no_grad():
        value = objective(model, data.X, data.y)
        edges = sum(int((scores > FAINT).sum()) for scores in model.edge_scores(case.score))
    return {
        "objective": float(value.objective),
        "loss": float(value.loss),
        "edges": edges,
        "structure": structure(model),
        "seconds": seconds,
    }


def structure(model: Any) -> str:
    """Such as "2-1-1, 3 edges"."""
    from kansym import EmptyNetworkError

    try:
        small = model.prune().merge()
    except EmptyNetworkError:
        return "empty"
    inputs = int(small.kan_layers[0].mask.any(0).sum())
    nodes = [inputs, *(row.total for row in small.width[1:])]
    return f"{'-'.join(map(str, nodes))}, {small.n_active_edges} edges"


# -- the race --------------------------------------------------------------------------------------


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--lamb", type=float, nargs="+", default=[1e-3, 1e-2])
    parser.add_argument("--score", nargs="+", default=["std", "mean_abs"])
    parser.add_argument("--adam", action="store_true", help="with Adam as a third")
    arguments = common.settle(parser.parse_args())
    opts = ["LM", "LBFGS", *(["Adam"] if arguments.adam else [])]
    seeds, share = (1, 25) if arguments.quick else (arguments.seeds, 1)
    cases = [Case(*case) for case in product(LAWS, arguments.score, arguments.lamb, range(seeds))]
    runs = race(opts, cases, share)
    common.publish(
        arguments,
        "The sparsity objective lowered by LM and by LBFGS",
        [summary(runs, opts), *(law_table(runs, opts, law) for law in LAWS)],
        {"runs": [{**case._asdict(), **of_case} for case, of_case in runs.items()]},
        common.environment(arguments.threads, common.installed("kansym", "torch")),
    )


Runs = Mapping[Case, Mapping[str, dict[str, Any]]]


def race(opts: Sequence[str], cases: Sequence[Case], share: int) -> Runs:
    """{case: {solver: what came out}}."""
    runs: dict[Case, dict[str, Any]] = {}
    with ExitStack() as stack:
        workers = {opt: stack.enter_context(Worker(warm_up)) for opt in opts}
        for turn, case in enumerate(cases):
            runs[case] = {
                opt: workers[opt].do(run, opt, max(CONTENDERS[opt] // share, 2), case)
                for opt in common.rotated(opts, turn)
            }
            print(*case, *(f"{opt} {runs[case][opt]}" for opt in opts), sep="  ", flush=True)
    return runs


# -- results ---------------------------------------------------------------------------------------


def summary(runs: Runs, opts: Sequence[str]) -> Table:
    """LM against each of the others: for every score and lamb, and for all together."""
    settings = settings_of(runs)
    rows = []
    for other, setting in product(opts[1:], [*settings, None]):
        pairs = [
            (of_case["LM"], of_case[other])
            for case, of_case in runs.items()
            if setting in (None, (case.score, case.lamb))
        ]
        rows.append(
            [
                other,
                *(setting or ("all", "all")),
                f"{sum(a['objective'] < b['objective'] for a, b in pairs)} of {len(pairs)}",
                f"{median(a['objective'] / b['objective'] for a, b in pairs):.3g}",
                f"{median(a['seconds'] / b['seconds'] for a, b in pairs):.3g}",
                f"{sum(a['structure'] == b['structure'] for a, b in pairs)} of {len(pairs)}",
            ]
        )
    columns = ["LM against", "score", "lamb", "objective lower"]
    columns += ["ratio of objectives", "of CPU s", "same structure"]
    return Table(columns, rows, note=NOTE)


def law_table(runs: Runs, opts: Sequence[str], law: str) -> Table:
    rows = []
    for setting, opt in product(settings_of(runs), opts):
        mine = [
            of_case[opt]
            for case, of_case in runs.items()
            if case.law == law and (case.score, case.lamb) == setting
        ]
        found = Counter(result["structure"] for result in mine).most_common()
        rows.append(
            [
                *setting,
                opt,
                *(spread_of(mine, name) for name in ("objective", "loss", "edges")),
                "; ".join(f"{count} x {name}" for name, count in found),
                spread_of(mine, "seconds"),
            ]
        )
    columns = ["score", "lamb", "", "objective", "loss", "edges", "structure", "CPU s"]
    return Table(columns, rows, f"{law}, {list(LAWS[law].width)}")


def settings_of(runs: Runs) -> list[tuple[str, float]]:
    return list(dict.fromkeys((case.score, case.lamb) for case in runs))


def spread_of(results: Sequence[Mapping[str, Any]], name: str) -> str:
    return common.shown(common.spread(result[name] for result in results))


if __name__ == "__main__":
    main()
