"""Real tables: which formula for orbits, and how far from the best black box for everything else?

    make bench-tables        or        python benchmarks/real_tables.py --budget 60

orbits: Kepler's third law from the planets and dwarf planets, and from the moons of Jupiter. The
exponent of the period as a power of the semi-major axis should be 3/2.
tables: 5-fold cross-validated R2 and RMSE of `KANRegressor`, of histogram gradient boosting and of
a linear model, on tables that come with scikit-learn; and the formula for the whole table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np
from common import Failure, Table

FOLDS = 5
KANSYM, TREES, LINE = "KANRegressor", "boosted trees", "linear model"

# Mean semi-major axis in 1000 km and sidereal period in days, as NASA's fact sheet of the moons of
# Jupiter has them. The sun disturbs the outer ones: their periods are up to 1 % off Kepler's.
MOONS = {
    "Metis": (128.0, 0.294780),
    "Adrastea": (129.0, 0.298260),
    "Amalthea": (181.4, 0.498179),
    "Thebe": (221.9, 0.674536),
    "Io": (421.8, 1.769138),
    "Europa": (671.1, 3.551181),
    "Ganymede": (1070.4, 7.154553),
    "Callisto": (1882.7, 16.689018),
    "Leda": (11165.0, 240.92),
    "Himalia": (11461.0, 250.56),
    "Lysithea": (11717.0, 259.20),
    "Elara": (11741.0, 259.64),
    "Ananke": (21276.0, 629.77),
    "Carme": (23404.0, 734.17),
    "Pasiphae": (23624.0, 743.63),
    "Sinope": (23939.0, 758.90),
}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of a fit of kansym")
    parser.add_argument("--only", default="", metavar="NAME,NAME")
    arguments = common.settle(parser.parse_args())
    budget = 5.0 if arguments.quick else arguments.budget
    only = [name for name in arguments.only.split(",") if name]
    runs: list[dict[str, Any]] = []
    for name in only or [*ORBITS, *TABLES]:
        runs.append(run(name, budget, arguments.threads))
        print(runs[-1], flush=True)
    packages = ("kansym", "scikit-learn", "torch", "numpy", "sympy")
    facts = common.environment(arguments.threads, common.installed(*packages))
    tables = [table for table in (orbits(runs), errors(runs), formulas(runs)) if table.rows]
    common.publish(arguments, "Real tables", tables, {"runs": runs}, facts)


def run(name: str, budget: float, jobs: int) -> dict[str, Any]:
    """One table in a process of its own."""
    work = work_orbit if name in ORBITS else work_table
    try:
        return {"table": name, **common.alone(work, name, budget, jobs)}
    except Failure as failure:
        return {"table": name, "error": str(failure)}


# -- orbits ---------------------------------------------------------------------------------------


def planets() -> tuple[np.ndarray, np.ndarray, list[str]]:
    from kansym import solar_system

    bodies = solar_system()
    return (
        bodies[["semi_major_axis_au"]].to_numpy(),
        bodies["period_years"].to_numpy(),
        ["semi_major_axis_au"],
    )


def moons() -> tuple[np.ndarray, np.ndarray, list[str]]:
    table = np.array(list(MOONS.values()))
    return table[:, :1], table[:, 1], ["semi_major_axis"]


ORBITS = {"planets": planets, "moons of Jupiter": moons}


def work_orbit(name: str, budget: float, jobs: int) -> dict[str, Any]:
    """The formula and its largest relative error; for comparison those of a straight line through
    the logarithms, the textbook's way to the exponent."""
    X, y, names = ORBITS[name]()
    started = time.perf_counter()
    model = regressor(budget, jobs)()
    model.fit(frame(X, names), y)
    seconds = time.perf_counter() - started
    relative = np.abs(np.ravel(model.predict(frame(X, names))) / y - 1)
    slope, offset = np.polyfit(np.log(X[:, 0]), np.log(y), 1)
    power = np.abs(np.exp(offset + slope * np.log(X[:, 0])) / y - 1)
    return {
        "rows": len(y),
        "formula": str(model.sympy()),
        "verdict": verdict(model),
        "largest_relative_error": float(relative.max()),
        "exponent_of_line": float(slope),
        "largest_relative_error_of_line": float(power.max()),
        "seconds": seconds,
    }


# -- tables ---------------------------------------------------------------------------------------


def diabetes() -> tuple[np.ndarray, np.ndarray, list[str]]:
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    return data.data, data.target, list(data.feature_names)


def wine() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Colour intensity from what else was measured."""
    from sklearn.datasets import load_wine

    return one_column(load_wine(), "color_intensity")


def iris() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Petal width from the three other lengths."""
    from sklearn.datasets import load_iris

    return one_column(load_iris(), "petal width (cm)")


def breast_cancer() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Mean area of a nucleus from mean perimeter, smoothness, compactness and concavity: close to a
    law of geometry."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    columns = ["mean perimeter", "mean smoothness", "mean compactness", "mean concavity"]
    table = dict(zip(data.feature_names, data.data.T, strict=True))
    X = np.column_stack([table[column] for column in columns])
    return X, table["mean area"], [plain(column) for column in columns]


def one_column(data: Any, target: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The column `target` as y, the others as X."""
    names = list(data.feature_names)
    place = names.index(target)
    others = [plain(name) for name in names if name != target]
    return np.delete(data.data, place, 1), data.data[:, place], others


TABLES = {"diabetes": diabetes, "wine": wine, "iris": iris, "breast cancer": breast_cancer}


def work_table(name: str, budget: float, jobs: int) -> dict[str, Any]:
    """R2 and RMSE of every model on folds it has not seen, and the formula for all rows."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression

    X, y, names = TABLES[name]()
    makers: dict[str, Callable[[], Any]] = {
        KANSYM: regressor(budget, jobs),
        TREES: lambda: HistGradientBoostingRegressor(random_state=0),
        LINE: LinearRegression,
    }
    scores = {which: cross_validated(make, X, y, names) for which, make in makers.items()}
    model = makers[KANSYM]()
    started = time.perf_counter()
    model.fit(frame(X, names), y)
    seconds = time.perf_counter() - started
    return {
        "rows": len(y),
        "columns": len(names),
        "scores": scores,
        "formula": str(model.sympy()),
        "verdict": verdict(model),
        "seconds": seconds,
    }


def cross_validated(
    make: Callable[[], Any], X: np.ndarray, y: np.ndarray, names: list[str]
) -> dict[str, Any]:
    """R2 and RMSE of all rows, each predicted by the model that has not seen its fold."""
    from sklearn.model_selection import KFold

    found = np.empty_like(y, dtype=float)
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(X):
        model = make().fit(frame(X[train], names), y[train])
        found[test] = np.ravel(model.predict(frame(X[test], names)))
    error = float(np.sqrt(np.mean((found - y) ** 2)))
    return {"r2": 1 - error**2 / float(y.var()), "rmse": error}


# -- what both share ------------------------------------------------------------------------------


def regressor(budget: float, jobs: int) -> Callable[[], Any]:
    from kansym.estimator import KANRegressor

    return lambda: KANRegressor(max_time=budget, random_state=0, n_jobs=jobs, progress=False)


def frame(X: np.ndarray, names: list[str]) -> Any:
    import pandas as pd

    return pd.DataFrame(X, columns=names)


def verdict(model: Any) -> str:
    value = getattr(model, "verdict_", "")
    return str(getattr(value, "name", value))


def plain(name: str) -> str:
    """A name that can stand in a formula."""
    return "".join(c if c.isalnum() else "_" for c in name.replace("(cm)", "").strip())


# -- results --------------------------------------------------------------------------------------


def orbits(runs: list[dict[str, Any]]) -> Table:
    columns = ["bodies", "rows", "formula", "verdict", "largest relative error", "s",
               "straight line in logarithms: exponent", "and largest relative error"]  # fmt: skip
    lines = [
        [
            run["table"], run["rows"], f"`{run['formula']}`", run["verdict"],
            f"{run['largest_relative_error']:.1e}", f"{run['seconds']:.1f}",
            f"{run['exponent_of_line']:.4f}", f"{run['largest_relative_error_of_line']:.1e}",
        ]
        for run in runs
        if "exponent_of_line" in run
    ]  # fmt: skip
    return Table(columns, lines, "Orbits")


def errors(runs: list[dict[str, Any]]) -> Table:
    models = (KANSYM, TREES, LINE)
    heads = [f"{model}: R2, RMSE" for model in models]
    lines = [
        [run["table"], run["rows"], run["columns"], *(_score(run["scores"][m]) for m in models)]
        for run in runs
        if "scores" in run
    ]
    note = f"{FOLDS} folds, shuffled; every row predicted by the model that had not seen it."
    return Table(["table", "rows", "columns", *heads], lines, "Tables", note)


def formulas(runs: list[dict[str, Any]]) -> Table:
    lines = [
        [run["table"], run.get("error") or f"`{run['formula']}`", run.get("verdict", "-"),
         f"{run['seconds']:.1f}" if "seconds" in run else "-"]
        for run in runs
        if "exponent_of_line" not in run
    ]  # fmt: skip
    return Table(["table", "formula for all rows", "verdict", "s"], lines, "Formulas of the tables")


def _score(score: dict[str, float]) -> str:
    return f"{score['r2']:.3f}, {score['rmse']:.3g}"


if __name__ == "__main__":
    main()
