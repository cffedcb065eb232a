"""How well do spline networks predict, before any formula? Against the table of the KAN paper.

    make bench-networks        or        python benchmarks/spline_networks.py --budget 30

For every equation of a set with the columns human_kan_rmse, pruned_kan_rmse and unpruned_kan_rmse
(Liu et al. 2024, arXiv:2404.19756, table 2): the network that the search for formulas falls back
on, of five generic shapes and two starts, chosen on a fifth of the rows, and its RMSE on fresh
rows. The paper chose its shapes equation by equation; where its ranges are not known, the set's
are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import common
import numpy as np
import problems
from common import Failure, Table

SET = Path(__file__).parent / "equations" / "kan_paper_feynman.csv"
PAPER = ("human_kan_rmse", "pruned_kan_rmse", "unpruned_kan_rmse")
KEPT_ASIDE = 5  # every fifth row


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--budget", type=float, default=30.0, help="seconds for all starts")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--only", default="", metavar="ID,ID")
    arguments = common.settle(parser.parse_args())
    budget = 3.0 if arguments.quick else arguments.budget
    only = [name for name in arguments.only.split(",") if name]
    runs = []
    for equation in problems.read_set(SET):
        if not only or equation.id in only:
            runs.append(run(equation.id, budget, arguments.rows))
            print(runs[-1], flush=True)
    facts = common.environment(arguments.threads, common.installed("kansym", "torch", "numpy"))
    common.publish(arguments, "Spline networks", [table(runs)], {"runs": runs}, facts)


def run(name: str, budget: float, rows: int) -> dict[str, Any]:
    """One equation in a process of its own."""
    try:
        return {"equation": name, **common.alone(work, name, budget, rows)}
    except Failure as failure:
        return {"equation": name, "error": str(failure)}


def work(name: str, budget: float, rows: int) -> dict[str, Any]:
    from kansym.discovery.budget import Budget
    from kansym.discovery.networks import best_network
    from kansym.discovery.records import Table as Rows

    equation = next(e for e in problems.read_set(SET) if e.id == name)
    train = problems.training_sample(equation, rows, 0)
    test = problems.test_sample(equation, rows, 0)
    data = Rows(train.X, train.y, ())
    aside = np.arange(len(train.y)) % KEPT_ASIDE == 0
    found = best_network(data.rows(~aside), data.rows(aside), 0, None, Budget(budget))
    assert found is not None
    error = found.model.predict(test.X)[:, 0] - test.y
    paper = [float(value) for column in PAPER if (value := equation.row.get(column))]
    return {
        "width": [list(row) for row in found.model.width],
        "grid": found.model.grid,
        "rmse": float(np.sqrt(np.mean(error**2))),
        "paper": min(paper),
    }


def table(runs: list[dict[str, Any]]) -> Table:
    done = [run for run in runs if "rmse" in run]
    below = sum(run["rmse"] < run["paper"] for run in done)
    lines = [
        [
            run["equation"],
            str(run["width"]),
            run["grid"],
            f"{run['rmse']:.2e}",
            f"{run['paper']:.2e}",
        ]
        for run in done
    ]
    note = f"{below} of {len(runs)} below the paper's best column."
    heads = ["equation", "width (sum, product)", "grid", "test RMSE", "paper"]
    return Table(heads, lines, "Networks", note)


if __name__ == "__main__":
    main()
