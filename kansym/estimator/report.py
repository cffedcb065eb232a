"""What the report on a fitted estimator shows: every formula of its fronts, as pictures too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kansym.discovery.records import Discovery, Finding
from kansym.errors import KansymError
from kansym.estimator.likelihood import probabilities
from kansym.model import KAN
from kansym.symbolic.formula import Formula
from kansym.views.report import (
    Contents,
    Entry,
    Fit,
    Front,
    NetworkView,
    judged_figures,
    outside_note,
    outside_rows,
    poor_fit,
    table_columns,
    thinned,
)

MOST_ENTRIES = 24  # of a front, rivals among them

FitOf = Callable[[Formula, int], tuple[Fit, ...]]
"""Pictures of a formula of one output, by its number."""

Judge = Callable[[Finding, Formula, int], tuple[float, float]]
"""R2 and error of a formula of one output."""


def fronts(
    found: Sequence[Discovery],
    formulas: Formula,
    X: np.ndarray,
    fit_of: FitOf,
    network: KAN | None,
    judge: Judge,
) -> tuple[Front, ...]:
    """The front of every output.

    formulas: the chosen ones. X: rows of the fit. network: that carries the chosen formula where
    there is one output, or splines without a formula.
    """
    shown = []
    rows = X[thinned(len(X))]
    for o, (discovery, target) in enumerate(zip(found, formulas.target_names, strict=True)):
        findings = [(finding, "") for finding in discovery.findings]
        findings += [(r, "rival") for r in discovery.rivals if r not in discovery.findings]
        chosen = next(f for f in discovery.findings if f == discovery.chosen)
        kept = [pair for pair in findings if pair[0] is chosen]
        kept += [pair for pair in findings if pair[0] is not chosen][: MOST_ENTRIES - 1]
        kept.sort(key=lambda pair: pair[0].complexity)
        entries = [
            _entry(finding, label, finding is chosen, o, formulas, rows, fit_of, network, judge)
            for finding, label in kept
        ]
        shown.append(Front(target, tuple(entries), str(discovery.verdict), discovery.reason))
    return tuple(shown)


def _entry(
    finding: Finding,
    label: str,
    is_chosen: bool,
    output: int,
    formulas: Formula,
    rows: np.ndarray,
    fit_of: FitOf,
    network: KAN | None,
    judge: Judge,
) -> Entry:
    target = formulas.target_names[output]
    formula = Formula([finding.expr], formulas.variables, formulas.names, [target])
    r2, error = judge(finding, formula, output)
    own = network if is_chosen and len(formulas.exprs) == 1 else None
    return Entry(
        formula,
        finding.complexity,
        (r2,),
        (error,),
        _view(formula, rows, own),
        fit_of(formula, output),
        label,
        is_chosen,
    )


def _view(formula: Formula, rows: np.ndarray, network: KAN | None) -> NetworkView | str:
    """The network of a formula, or why there is none."""
    try:
        built = KAN.from_formula(formula, rows) if network is None else network
        return built.network_view(rows)
    except (ValueError, KansymError) as error:
        return f"No network carries this formula: {error}"


def held_out(finding: Finding, formula: Formula, output: int) -> tuple[float, float]:
    """R2 and RMSE as the search measured them."""
    return finding.r2, math.sqrt(finding.loss)


def judge_on(X: np.ndarray, Y: np.ndarray) -> Judge:
    """R2 and RMSE of a formula at rows X, Y [n, outputs]."""

    def judge(finding: Finding, formula: Formula, output: int) -> tuple[float, float]:
        r2, rmse = judged_figures(Y[:, [output]], formula.evaluate(X))
        return r2[0], rmse[0]

    return judge


def fit_on(X: np.ndarray, Y: np.ndarray) -> FitOf:
    """Observed and predicted values at rows X, Y [n, outputs]."""

    def fit_of(formula: Formula, output: int) -> tuple[Fit, ...]:
        return (Fit(formula.target_names[0], Y[:, output], formula.evaluate(X)[:, 0]),)

    return fit_of


def search_contents(
    est: Any,
    shown: tuple[Front, ...],
    X: np.ndarray,
    Y: np.ndarray | None,
    seen: np.ndarray,
    *,
    units: Mapping[str, str] | None = None,
    title: str | None,
    code: str | None,
    **texts: Any,
) -> Contents:
    """The report of an estimator. X, Y: rows shown; seen: rows of the fit; texts: of `Contents`."""
    names = est.formula_.names
    targets = est.formula_.target_names
    columns = table_columns(X, names, Y, targets, units)
    inputs = table_columns(seen, names)
    doubts = outside_rows(X, inputs)
    if "r2_name" not in texts:  # what is little of another measure, nobody knows
        doubts += poor_fit(targets, [front.chosen.r2[0] for front in shown])
    found = est._discoveries()
    stopped = ", ".join(
        f"{f.n_candidates} formulas in {f.seconds:.1f} s, {f.stopped}" for f in found
    )
    arguments = {k: v for k, v in est.get_params(deep=False).items() if v != _default(est, k)}
    of = ", ".join(targets)
    return Contents(
        title=title or f"A formula for {of}",
        kind="search for a formula",
        fronts=shown,
        columns=columns,
        importance=tuple(zip(names, est.feature_importances_.tolist(), strict=True)),
        warnings=(*doubts, outside_note(inputs)),
        facts=(
            ("search", stopped),
            ("noise of what was searched", ", ".join(f"{f.noise:.3g}" for f in found)),
            ("random_state", repr(est.random_state)),
            ("fitted on", f"{len(seen)} rows"),
        ),
        code=_call_text(est, arguments) if code is None else code,
        **texts,
    )


def _default(est: Any, name: str) -> Any:
    return type(est)().get_params(deep=False)[name]


def _call_text(est: Any, arguments: Mapping[str, Any]) -> str:
    name = type(est).__name__
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f"from kansym import {name}\n\nest = {name}({given})\nest.fit(X, y)"


def unit_texts(units: Any, names: Sequence[str], targets: Sequence[str]) -> dict[str, str]:
    """{column or target: unit} of what an estimator was given."""
    if units is None:
        return {}
    if isinstance(units, Mapping):
        pairs = units.items()
    else:
        pairs = zip((*names, *targets), units, strict=True)
    return {str(name): str(unit) for name, unit in pairs}


def calibration(
    X: np.ndarray, codes: np.ndarray, classes: Sequence[Any], formulas: Formula
) -> FitOf:
    """How often a class came, over how probable it was said to be, in bins of rows X.

    codes: classes of the rows. formulas: the chosen ones.
    """
    chosen = formulas.evaluate(X)

    def fit_of(formula: Formula, output: int) -> tuple[Fit, ...]:
        logits = chosen.copy()
        logits[:, [output]] = formula.evaluate(X)
        kept = np.isfinite(logits).all(1)
        share, came = probabilities(logits[kept])[:, output + 1], codes[kept] == output + 1
        bins = np.array_split(np.argsort(share, kind="stable"), min(10, max(len(share) // 10, 1)))
        observed = np.array([came[rows].mean() if len(rows) else np.nan for rows in bins])
        predicted = np.array([share[rows].mean() if len(rows) else np.nan for rows in bins])
        note = f"{len(bins)} bins of about {len(share) // len(bins)} rows"
        return (Fit(f"P({classes[output + 1]})", observed, predicted, note),)

    return fit_of
