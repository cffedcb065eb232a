"""What commands write: every file of a folder of results."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kansym.cli.run import to_stderr, versions
from kansym.cli.texts import formulas
from kansym.errors import KansymError
from kansym.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from kansym.datasets import Dataset
    from kansym.estimator import KANRegressor
    from kansym.model import KAN
    from kansym.pipeline import FormulaResult
    from kansym.symbolic import Formula


def frame_of(dataset: Dataset, X: Tensor) -> pd.DataFrame:
    """Rows of the table under the names of its columns."""
    import pandas as pd

    return pd.DataFrame(X.numpy(), columns=list(dataset.feature_names or ()))


def write_search(
    est: KANRegressor,
    dataset: Dataset,
    judged: tuple[float, float, str],
    seconds: float,
    interrupted: bool,
    out: Path,
    command: str,
) -> None:
    formula = est.formula_
    _write_formula(formula, out)
    write_atomically(out / "equations.csv", equations_csv(est))
    r2, rmse, where = judged
    (target,), names = formula.target_names, formula.names
    summary = {
        "formula": {target: str(formula.exprs[0])},
        "variables": dict(zip(map(str, formula.variables), names, strict=True)),
        "verdict": str(est.verdict_),
        "reason": est.reason_,
        "rivals": formulas(est.rivals_),
        "noise": est.noise_,
        "outliers": len(est.outliers_),
        "importance": dict(zip(names, est.feature_importances_.tolist(), strict=True)),
        "tested_on": where,
        "R2": [r2],
        "RMSE": [rmse],
        "spline_RMSE": [est.spline_rmse_],
        **_run_facts(dataset, est.random_state),
        "interrupted": interrupted,
        "seconds": {"search": round(seconds, 3)},
    }
    write_atomically(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    try:
        network = est.network_
    except (ValueError, KansymError) as error:
        to_stderr(f"no network and no model.kansym: {error}")
    else:
        _write_network(network, formula, out)
    kept = None if dataset.X_test is None else frame_of(dataset, dataset.X_test)
    est.report(out / "report.html", kept, dataset.y_test, code=command)
    _tell_folder(out)


def equations_csv(est: KANRegressor) -> str:
    """`equations_table` for a spreadsheet: no cell is a formula there."""
    from kansym.symbolic.names import cell_text

    table = est.equations_table()
    for column in ("target", "formula"):
        table[column] = [cell_text(text) for text in table[column]]
    return table.to_csv(index=False)


def write_results(
    result: FormulaResult, dataset: Dataset, seed: int, out: Path, command: str
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    _write_formula(result.formula, out)
    write_atomically(out / "summary.json", _summary_json(result, dataset, seed))
    _write_network(result.model, result.formula, out)
    result.report(out / "report.html", code=command)
    _tell_folder(out)


def _summary_json(result: FormulaResult, dataset: Dataset, seed: int) -> str:
    formula = result.formula
    summary = {
        "formula": {t: str(e) for t, e in zip(formula.target_names, formula.exprs, strict=True)},
        "variables": dict(zip(map(str, formula.variables), formula.names, strict=True)),
        "snapped": [{"value": value, "exact": str(exact)} for value, exact in formula.snapped],
        "edges": [
            {"edge": step.edge, "function": step.name, "R2": step.r2} for step in result.steps
        ],
        "tested_on": result.tested_on,
        "R2": result.r2,
        "RMSE": result.rmse,
        "spline_RMSE": result.spline_rmse,
        "width": result.width,
        **_run_facts(dataset, seed),
        "seconds": {name: round(seconds, 3) for name, seconds in result.seconds.items()},
    }
    return json.dumps(summary, indent=2) + "\n"


def _run_facts(dataset: Dataset, seed: int) -> dict[str, Any]:
    """What it takes to repeat a run."""
    n_test = 0 if dataset.X_test is None else len(dataset.X_test)
    return {
        "rows": {"train": len(dataset.X), "test": n_test},
        "seed": seed,
        "versions": versions(["kansym", "torch", "sympy", "numpy", "scipy"]),
    }


def _write_formula(formula: Formula, out: Path) -> None:
    write_atomically(out / "formula.txt", f"{formula}\n")
    write_atomically(out / "formula.tex", f"{formula.latex()}\n")


def _write_network(kan: KAN, formula: Formula, out: Path) -> None:
    for name in ("network.svg", "network.png"):
        save_picture(kan, out / name, formula)
    kan.save(out / "model.kansym", sample=True)


def save_picture(kan: KAN, path: Path, formula: Formula | None = None) -> None:
    figure = kan.plot(formula=formula or False).get_figure(root=True)
    assert figure is not None
    picture = io.BytesIO()
    figure.savefig(picture, dpi=200, format=path.suffix.removeprefix(".") or "png")
    write_atomically(path, picture.getvalue())


def _tell_folder(out: Path) -> None:
    click.echo(f"  written to {out}{'' if str(out).endswith('/') else '/'}", err=True)
