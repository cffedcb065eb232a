"""exp(sin(pi x) + y^2) from 1,000 rows, network [2, 5, 1]: is the formula found, and how long does
it take? One line per seed and library, interleaved, one process at a time, one thread.

    make bench-hello        or        python benchmarks/hello_world.py --seeds 10

kansym-LBFGS and pykan follow the paper's recipe: LBFGS with lamb = 1e-3, prune, refit, name, refit.
kansym-LM is what `find_formula` does by default: Levenberg-Marquardt with the same penalty, four
starts. kansym names with all its functions and snaps; pykan with the ten of its own tutorial.

exact: SymPy says that the formula minus the law is 0 (decimal constants count as they are).
right: the formula is within 1e-3 of the law, relative to its maximum, on the box [-2, 2]^2, four
times the area it was trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("kansym-LBFGS", "kansym-LM", "pykan")
TIMEOUT = 1800  # seconds for one run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--libraries", default=",".join(LIBRARIES))
    parser.add_argument("--out", type=Path, help="stem of a .json and a .md file for the results")
    parser.add_argument("--worker", choices=LIBRARIES, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(WORKERS[arguments.worker](arguments.seed)))
        return
    libraries = arguments.libraries.split(",")
    rows = []
    for seed in range(arguments.seeds):
        for library in libraries:
            rows.append(run(library, seed))
            print(line(rows[-1]), flush=True)
    text = summary(rows, libraries)
    print(text)
    if arguments.out:
        write(arguments.out, rows, text)


def run(library: str, seed: int) -> dict[str, Any]:
    """One run in a process of its own, in an empty folder."""
    row: dict[str, Any] = {"library": library, "seed": seed}
    script = str(Path(__file__).resolve())
    command = [sys.executable, script, "--worker", library, "--seed", str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return row | {"error": f"no answer in {TIMEOUT} s"}
    if done.returncode:
        return row | {"error": done.stderr.strip().splitlines()[-1][:200]}
    return row | json.loads(done.stdout.strip().splitlines()[-1])


def work_kansym(seed: int, options: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    import torch

    from kansym import Recipe, create_dataset, find_formula

    imported = time.perf_counter() - started
    torch.set_num_threads(1)
    data = create_dataset(law, 2, seed=seed)
    result = find_formula(data, [2, 5, 1], recipe=Recipe(**options), seed=seed, progress=False)
    expression = result.formula.exprs[0]
    stages = {"import": imported, **result.seconds}
    return {"stages": stages, "formula": str(result.formula.rounded(4).exprs[0])} | judge(
        expression, list(result.formula.variables)
    )


def work_pykan(seed: int) -> dict[str, Any]:
    started = time.perf_counter()
    import contextlib
    import io

    import torch
    from kan import KAN
    from kan import create_dataset as create

    stages = {"import": time.perf_counter() - started}
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)

    def stage(name: str, action: Any) -> Any:
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
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


WORKERS = {
    "kansym-LBFGS": lambda seed: work_kansym(seed, {"opt": "LBFGS", "steps": 50, "restarts": 1}),
    "kansym-LM": lambda seed: work_kansym(seed, {}),
    "pykan": work_pykan,
}


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


def summary(rows: list[dict[str, Any]], libraries: list[str]) -> str:
    from statistics import median

    lines = [
        "| library | exact | right | failed | median seconds after import |",
        "|---|---|---|---|---|",
    ]
    for library in libraries:
        mine = [row for row in rows if row["library"] == library]
        done = [row for row in mine if "error" not in row]
        seconds = f"{median(map(total, done)):.1f}" if done else "-"
        exact, right = (sum(row[key] for row in done) for key in ("exact", "right"))
        failed = len(mine) - len(done)
        lines.append(
            f"| {library} | {exact} of {len(mine)} | {right} of {len(mine)} "
            f"| {failed} | {seconds} |"
        )
    return "\n".join(lines)


def write(stem: Path, rows: list[dict[str, Any]], text: str) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    packages = ("kansym", "pykan", "torch", "sympy", "numpy", "scipy")
    facts = {
        "command": "python benchmarks/hello_world.py " + " ".join(sys.argv[1:]),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread per run",
        "versions": {name: version(name) for name in packages},
    }
    stem.with_suffix(".json").write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")
    header = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    lines = "\n".join(line(row) for row in rows)
    stem.with_suffix(".md").write_text(
        f"# exp(sin(pi x) + y^2)\n\n{header}\n\n{text}\n\n```\n{lines}\n```\n"
    )


if __name__ == "__main__":
    main()
