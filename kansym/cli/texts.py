"""What commands print of a search, a result and a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kansym.cli.options import OUTLIERS
from kansym.errors import NotSymbolicError, visible

if TYPE_CHECKING:
    from kansym.estimator import KANRegressor
    from kansym.model import KAN
    from kansym.pipeline import FormulaResult
    from kansym.symbolic import Formula


def search_text(est: KANRegressor, judged: tuple[float, float, str], seconds: float) -> str:
    r2, rmse, where = judged
    target = visible(est.formula_.target_names[0])
    lines = ["", *(f"  {line}" for line in str(est.formula_).splitlines()), ""]
    lines += [
        f"  {est.verdict_}: {est.reason_}",
        f"  {target}: R2 = {r2:.10g}, RMSE = {rmse:.3g} on the {where} rows "
        f"(splines: {est.spline_rmse_:.3g}, noise: {est.noise_:.3g})",
    ]
    if est.outliers != OUTLIERS[0]:
        n_rows = len(est._rows[0])
        lines.append(f"  outliers: {len(est.outliers_)} of {n_rows} rows are far from the formula")
    lines += [f"  rival: {target} = {formula}" for formula in formulas(est.rivals_)]
    lines += ["", "  complexity     R2           formula"]
    for row in records(est.equations_):
        mark = "*" if row["chosen"] else " "
        lines.append(f"  {row['complexity']:6d} {mark}   {row['R2']:12.9g}  {row['formula']}")
    return "\n".join([*lines, f"\n  search {seconds:.1f} s"])


def summary_text(result: FormulaResult) -> str:
    lines = ["", *(f"  {line}" for line in str(result.formula).splitlines()), ""]
    for target, r2, rmse, spline in zip(
        result.formula.target_names, result.r2, result.rmse, result.spline_rmse, strict=True
    ):
        lines.append(
            f"  {visible(target)}: R2 = {r2:.10g}, RMSE = {rmse:.3g} on the {result.tested_on} "
            f"rows (splines: {spline:.3g})"
        )
    lines += [f"  note: {remark}" for remark in result.remarks]
    named = ", ".join(f"{step.edge} {step.name}" for step in result.steps)
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
    return "\n".join([*lines, f"  edges (layer, input, output): {named}", f"  {stages}"])


def model_text(kan: KAN) -> str:
    lines = [f"width {[tuple(row) for row in kan.width]}, {kan.n_active_edges} active edges"]
    try:
        lines += [str(formula_of(kan))]
    except NotSymbolicError as error:
        lines += [f"no formula yet: {error}"]
    if kan.sample is not None:
        names = kan.feature_names or [f"x{i + 1}" for i in range(kan.n_in)]
        for name, score in zip(names, kan.feature_scores().tolist(), strict=True):
            lines.append(f"  {visible(name)}: score {score:.3f}")
    return "\n".join(lines)


def formula_of(kan: KAN) -> Formula:
    """With exact constants where there are rows to judge them by."""
    has_targets = kan.sample is not None and kan.sample.y is not None
    return kan.symbolic_formula(snap=has_targets)


def formulas(frame: Any) -> list[str]:
    return list(frame["formula"])


def records(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")
