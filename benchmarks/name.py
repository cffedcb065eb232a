"""Naming edges: seconds, and how well the functions found describe the curve.

    make bench-name        or        python benchmarks/name.py

suggest: the whole library of each on one edge, at 250 and 1,000 rows. kansym learns each curve with
a [1, 1] network; pykan is handed the values of that very edge, so that both describe one curve.
A first call with one function warms up. R2 is worked out from the constants each found, and
compared function by function, for those that both libraries have.

auto: `auto_symbolic` with the whole library on a trained network for exp(sin(pi x) + y^2): kansym's
is what sparse training and pruning leave of [2, 5, 1], pykan's a [2, 1, 1] trained with LBFGS.
kansym refits as it names; pykan does not, and is given 50 steps of LBFGS afterwards, counted in its
seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import common
import peers
from common import Failure, Table

KANSYM, PYKAN = "kansym", "pykan"
ROWS = (250, 1000)
NAMES_IN_PYKAN = {"1/sqrt": "1/sqrt(x)", "sign": "sgn"}  # where they differ from kansym's
CLOSE = 1e-6  # R2 this much lower still counts as equally high


def curves() -> dict[str, Callable[[Any], Any]]:
    import torch

    return {
        "sin(pi x)": lambda x: torch.sin(torch.pi * x),
        "x^2": lambda x: x**2,
        "exp(2 x)": lambda x: torch.exp(2 * x),
        "tanh(3 x)": lambda x: torch.tanh(3 * x),
        "1/(x + 1.5)": lambda x: 1 / (x + 1.5),
        "sqrt(x + 1.1)": lambda x: torch.sqrt(x + 1.1),
    }


CURVES = ("sin(pi x)", "x^2", "exp(2 x)", "tanh(3 x)", "1/(x + 1.5)", "sqrt(x + 1.1)")


# -- suggest: run(curve, rows) -> {"sample", "r2": {name: R2}} ------------------------------------


def learned(curve: str, n: int) -> tuple[Any, Any, Any]:
    """A [1, 1] network that has learned the curve, its inputs and the values of its edge."""
    from kansym import KAN, create_dataset

    data = create_dataset(curves()[curve], 1, train_num=n, test_num=0)
    model = KAN([1, 1], grid=10)
    model.fit(data, "LM", 20, progress=False)
    trace = model.trace(data.X)
    return model, trace.nodes[0].detach(), trace.edges[0].detach()


def suggest_kansym(curve: str, n: int) -> dict[str, Any]:
    from kansym import function_names

    model, _, _ = learned(curve, n)
    model.suggest_symbolic(0, 0, 0, lib=["x"])
    tables: list[Any] = []
    sample = common.time_calls(
        lambda: tables.append(model.suggest_symbolic(0, 0, 0, topk=len(function_names())))
    )
    return {"sample": sample, "r2": dict(zip(tables[0].name, tables[0].R2, strict=True))}


def suggest_pykan(curve: str, n: int) -> dict[str, Any]:
    import torch

    _, x, y = learned(curve, n)
    kan = peers.PEERS[PYKAN].load()
    torch.set_default_dtype(torch.float64)
    model = kan.KAN(width=[1, 1], auto_save=False)
    model(x)
    model.acts[0], model.spline_postacts[0] = x, y
    model.suggest_symbolic(0, 0, 0, lib=["x"], verbose=False)
    constants: dict[str, list[float]] = {}
    fix = model.fix_symbolic

    def fix_and_note(l: int, i: int, j: int, name: str, **options: Any) -> Any:
        found = fix(l, i, j, name, **options)
        constants[name] = model.symbolic_fun[0].affine[0, 0].tolist()
        return found

    model.fix_symbolic = fix_and_note
    sample = common.time_calls(lambda: model.suggest_symbolic(0, 0, 0, verbose=False))
    r2 = {
        name: r_squared(c * kan.utils.SYMBOLIC_LIB[name][0](a * x[:, 0] + b) + d, y[:, 0, 0])
        for name, (a, b, c, d) in constants.items()
    }
    return {"sample": sample, "r2": r2}


def r_squared(found: Any, y: Any) -> float:
    """0 for a function that is not finite on every row."""
    r2 = 1 - float(((found - y) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    return r2 if r2 > 0 else 0.0  # nan included


# -- auto: run(seed) -> {"sample", "rmse", "formula"} ---------------------------------------------


def problem(seed: int) -> Any:
    import torch

    from kansym import create_dataset

    return create_dataset(
        lambda x: torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2), 2, seed=seed
    )


def auto_kansym(seed: int) -> dict[str, Any]:
    from kansym import KAN

    data = problem(seed)
    model = KAN([2, 5, 1], seed=seed)
    model.fit(data, lamb=1e-3, progress=False)
    model = model.prune().merge()
    model.fit(data, progress=False)
    sample = common.time_calls(model.auto_symbolic)
    formula = str(model.symbolic_formula(digits=4).exprs[0])
    return {"sample": sample, "rmse": rmse(model, data), "formula": formula}


def auto_pykan(seed: int) -> dict[str, Any]:
    import torch

    kan = peers.PEERS[PYKAN].load()
    torch.set_default_dtype(torch.float64)
    data = problem(seed)
    dataset = {"train_input": data.X, "train_label": data.y}
    dataset |= {"test_input": data.X_test, "test_label": data.y_test}
    model = kan.KAN(width=[2, 1, 1], grid=5, k=3, seed=seed, auto_save=False)
    model.fit(dataset, opt="LBFGS", steps=50)

    def name() -> None:
        model.auto_symbolic(verbose=0)
        model.fit(dataset, opt="LBFGS", steps=50)

    sample = common.time_calls(name)
    formula = str(model.symbolic_formula()[0][0].evalf(4))[:200]
    return {"sample": sample, "rmse": rmse(model, data), "formula": formula}


def rmse(model: Any, data: Any) -> float:
    return float(((model(data.X_test) - data.y_test) ** 2).mean().detach().sqrt())


# -- the race -------------------------------------------------------------------------------------

RUNS = {
    "suggest": {KANSYM: suggest_kansym, PYKAN: suggest_pykan},
    "auto": {KANSYM: auto_kansym, PYKAN: auto_pykan},
}


def main() -> None:
    parser = common.parser(__doc__, rounds=1)
    parser.add_argument("--seeds", type=int, default=5, help="of auto")
    arguments = common.settle(parser.parse_args())
    rows, names, seeds = ROWS, CURVES, range(arguments.seeds)
    if arguments.quick:
        rows, names, seeds = (100,), CURVES[:1], range(1)
    suggested = {
        n: race("suggest", [(curve, n) for _ in range(arguments.rounds) for curve in names])
        for n in rows
    }
    named = race("auto", [] if arguments.quick else [(seed,) for seed in seeds])
    facts = common.environment(
        arguments.threads, common.installed("kansym", "torch") | peers.versions()
    )
    tables = [suggest_table(suggested), auto_table(named)]
    common.publish(arguments, "Naming edges", tables, {"suggest": suggested, "auto": named}, facts)


def race(kind: str, problems: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """One round per problem: {"problem", library: its result, or why there is none}."""
    results = []
    for turn, arguments in enumerate(problems):
        result: dict[str, Any] = {"problem": arguments}
        for library in common.rotated([KANSYM, PYKAN], turn):
            result[library] = attempt(RUNS[kind][library], library, arguments)
        print(kind, *arguments, {name: seconds(result, name) for name in RUNS[kind]}, flush=True)
        results.append(result)
    return results


def attempt(run: Callable[..., Any], library: str, arguments: Sequence[Any]) -> dict[str, Any]:
    if peers.is_missing(library):
        return {"error": peers.NOT_INSTALLED}
    try:
        return common.alone(run, *arguments)
    except Failure as failure:
        return {"error": str(failure)}


def seconds(result: dict[str, Any], library: str) -> Any:
    mine = result[library]
    return mine["error"] if "error" in mine else round(mine["sample"].wall, 3)


# -- results --------------------------------------------------------------------------------------


def done(results: Sequence[dict[str, Any]], library: str) -> list[dict[str, Any]]:
    """Rounds in which a library, and kansym beside it, came to an end."""
    return [r for r in results if "error" not in r[library] and "error" not in r[KANSYM]]


def speed(results: Sequence[dict[str, Any]], library: str) -> list[str]:
    both = done(results, library)
    if not both:
        return [results[0][library].get("error", "-") if results else "-", "", ""]
    samples, paired = ([r[name]["sample"] for r in both] for name in (library, KANSYM))
    return [
        common.shown(common.clock(samples)),
        f"{common.clock(samples, 'cpu').median:.3g}",
        f"{common.ratio(samples, paired).median:.3g}",
    ]


def suggest_table(suggested: dict[int, list[dict[str, Any]]]) -> Table:
    rows = []
    for n, results in suggested.items():
        rows += [[library, n, *speed(results, library)] for library in (KANSYM, PYKAN)]
    notes = [f"{n} rows: {compared(results)}" for n, results in suggested.items()]
    columns = ["library", "rows", "seconds", "CPU seconds", "x kansym"]
    return Table(columns, rows, "suggest_symbolic, one edge", ".\n".join(notes) + ".")


def compared(results: Sequence[dict[str, Any]]) -> str:
    """How often kansym's R2 is at least as high, over curves and functions both know."""
    pairs = [
        (r2, result[PYKAN]["r2"][NAMES_IN_PYKAN.get(name, name)])
        for result in done(results, PYKAN)
        for name, r2 in result[KANSYM]["r2"].items()
        if NAMES_IN_PYKAN.get(name, name) in result[PYKAN]["r2"]
    ]
    higher = sum(ours >= theirs - CLOSE for ours, theirs in pairs)
    return f"kansym's R2 is at least as high in {higher} of {len(pairs)} fits (to {CLOSE:g})"


def auto_table(named: Sequence[dict[str, Any]]) -> Table:
    rows = []
    for library in (KANSYM, PYKAN):
        errors = [r[library]["rmse"] for r in named if "error" not in r[library]]
        shown = common.shown(common.spread(errors)) if errors else ""
        rows.append([library, *speed(named, library), shown])
    columns = ["library", "seconds", "CPU seconds", "x kansym", "test RMSE"]
    return Table(columns, rows, "auto_symbolic")


if __name__ == "__main__":
    main()
