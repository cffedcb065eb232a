"""exp(sin(pi x) + y^2) from 1,000 rows, network [2, 5, 1]: is the formula found, and how long does
it take? One line per seed and library, interleaved, one process at a time, one thread.

    make bench-pipeline        or        python benchmarks/pipeline.py --seeds 10

kansym-LBFGS and pykan follow the paper's recipe: LBFGS with lamb = 1e-3, prune, refit, name, refit.
kansym-LM is what `find_formula` does by default: Levenberg-Marquardt with the same penalty, four
starts. kansym names with all its functions and snaps; pykan with the ten of its own tutorial.

exact: SymPy says that the formula minus the law is 0 (decimal constants count as they are).
right: the formula is within 1e-3 of the law, relative to its maximum, on the box [-2, 2]^2, four
times the area it was trained on.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import common
import peers
from common import Failure, Table

LIBRARIES = ("kansym-LBFGS", "kansym-LM", "pykan")
VERDICTS = ("exact", "right")
TIMEOUT = 1800  # seconds for one run


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="one round each")
    parser.add_argument("--libraries", default=",".join(LIBRARIES))
    arguments = common.settle(parser.parse_args())
    libraries = arguments.libraries.split(",")
    rows = []
    for seed in range(1 if arguments.quick else arguments.seeds):
        for library in common.rotated(libraries, seed):
            rows.append(run(library, seed))
            print(line(rows[-1]), flush=True)
    packages = ("kansym", "pykan", "torch", "sympy", "numpy", "scipy")
    facts = common.environment(arguments.threads, common.installed(*packages))
    log = [line(row) for row in rows]
    tables = [summary(rows, libraries)]
    common.publish(arguments, "exp(sin(pi x) + y^2)", tables, {"rows": rows}, facts, log)


def run(library: str, seed: int) -> dict[str, Any]:
    """One run in a process of its own, in an empty folder."""
    row: dict[str, Any] = {"library": library, "seed": seed}
    if peers.is_missing(library):
        return row | {"error": peers.NOT_INSTALLED}
    try:
        return row | common.alone(WORKERS[library], seed, patience=TIMEOUT)
    except Failure as failure:
        return row | {"error": str(failure)}


def work_kansym(seed: int, options: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    from kansym import Recipe, create_dataset, find_formula

    imported = time.perf_counter() - started
    data = create_dataset(law, 2, seed=seed)
    result = find_formula(data, [2, 5, 1], recipe=Recipe(**options), seed=seed, progress=False)
    expression = result.formula.exprs[0]
    stages = {"import": imported, **result.seconds}
    return {"stages": stages, "formula": str(result.formula.rounded(4).exprs[0])} | judge(
        expression, list(result.formula.variables)
    )


def work_pykan(seed: int) -> dict[str, Any]:
    started = time.perf_counter()
    import torch
    from kan import KAN
    from kan import create_dataset as create

    stages = {"import": time.perf_counter() - started}
    torch.set_default_dtype(torch.float64)

    def stage(name: str, action: Any) -> Any:
        start = time.perf_counter()
        value = action()
        stages[name] = stages.get(name, 0.0) + time.perf_counter() - start
        return value

    data = create(lambda x: law(x)[:, None], n_var=2, train_num=1000, test_num=1000, seed=seed)
    model = stage("train", lambda: KAN(width=[2, 5, 1], grid=3, k=3, seed=seed))
    stage("train", lambda: model.fit(data, opt="LBFGS", steps=50, lamb=0.001))
    model = stage("prune and refit", model.prune)
    stage("prune and refit", lambda: model.fit(data, opt="LBFGS", steps=50))
    model = stage("prune and refit", lambda: model.refine(10))
    stage("prune and refit", lambda: model.fit(data, opt="LBFGS", steps=50))
    library = ["x", "x^2", "x^3", "x^4", "exp", "log", "sqrt", "tanh", "sin", "abs"]
    stage("name", lambda: model.auto_symbolic(lib=library))
    stage("name", lambda: model.fit(data, opt="LBFGS", steps=50))
    formulas, variables = stage("name", model.symbolic_formula)
    return {"stages": stages, "formula": str(formulas[0].evalf(4))[:200]} | judge(
        formulas[0], list(variables)
    )


def work_lbfgs(seed: int) -> dict[str, Any]:
    return work_kansym(seed, {"opt": "LBFGS", "steps": 50, "restarts": 1})


def work_lm(seed: int) -> dict[str, Any]:
    return work_kansym(seed, {})


WORKERS = {"kansym-LBFGS": work_lbfgs, "kansym-LM": work_lm, "pykan": work_pykan}


def law(x: Any) -> Any:
    import torch

    return torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2)


def judge(expression: Any, variables: list[Any]) -> dict[str, bool]:
    import numpy as np
    import sympy

    x, y = variables
    target = sympy.exp(sympy.sin(sympy.pi * x) + y**2)
    a, b = np.meshgrid(np.linspace(-2, 2, 101), np.linspace(-2, 2, 101))
    truth = np.exp(np.sin(np.pi * a) + b**2)
    with np.errstate(all="ignore"):
        found = sympy.lambdify(variables, expression, modules=["scipy", "numpy"])(a, b)
    error = np.abs(found - truth).max() / truth.max()
    return {
        "exact": bool(sympy.simplify(expression - target) == 0),
        "right": bool(np.isfinite(error) and error < 1e-3),
    }


def line(row: dict[str, Any]) -> str:
    head = f"seed {row['seed']}  {row['library']:12s}"
    if "error" in row:
        return f"{head} failed: {row['error']}"
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in row["stages"].items())
    verdict = "exact" if row["exact"] else "right" if row["right"] else "wrong"
    return f"{head} {verdict}  {total(row):6.1f} s ({stages})  {row['formula']}"


def total(row: dict[str, Any]) -> float:
    """Seconds after import."""
    return sum(seconds for name, seconds in row["stages"].items() if name != "import")


def summary(rows: list[dict[str, Any]], libraries: list[str]) -> Table:
    lines = []
    for library in libraries:
        mine = [row for row in rows if row["library"] == library]
        done = [row for row in mine if "error" not in row]
        seconds = f"{median(map(total, done)):.1f}" if done else "-"
        exact, right = (f"{sum(row[key] for row in done)} of {len(mine)}" for key in VERDICTS)
        lines.append([library, exact, right, len(mine) - len(done), seconds])
    return Table(["library", *VERDICTS, "failed", "median seconds after import"], lines)


if __name__ == "__main__":
    main()
