"""KANClassifier: formulas of log-odds as a scikit-learn classifier."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import sympy
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d
from torch import Tensor

from kansym.arrays import as_numbers, as_pandas, check_unmasked
from kansym.discovery.constraints import passes, rules
from kansym.discovery.records import Discovery, Finding, Options, Table, Verdict
from kansym.errors import ExtrapolationWarning
from kansym.estimator.base import FormulaModel
from kansym.estimator.growth import COMPLEXITY_BITS, grow, names, parts, simple_terms
from kansym.estimator.inputs import check_given, distinct_rows, read_columns, read_weights
from kansym.estimator.likelihood import Labels, probabilities, row_losses, with_reference
from kansym.estimator.log_odds import LabelProblem
from kansym.estimator.logits import SplineLogits, spline_logits
from kansym.estimator.searches import count_nodes, search_all, substituted, with_columns
from kansym.estimator.settings import Settings, read_settings
from kansym.functions import get_library
from kansym.symbolic.formula import Expr

FOLDS = 5
SPLINE_SHARE = 0.25  # of max_time
CLEARLY = 2.0  # standard errors by which splines must be better for a formula to miss something
SAME_LOGITS = 0.999  # correlation from which two formulas say the same about the data


class KANClassifier(ClassifierMixin, FormulaModel):
    """Formulas of the log-odds of classes.

    Two classes: log P(second) / P(first) = f(columns). More: one formula for each class but the
    first, log P(class) / P(first class), and attributes are lists with one entry for each.

    A spline network is fitted to the labels; the search finds formulas for its log-odds; sums of
    their parts, of columns, squares, products and logarithms are grown by what the labels say
    themselves. Constants are fitted to the labels by maximum likelihood. Chosen is the simplest
    formula whose held-out log-loss is within one standard error of the best. In `equations_` loss
    is that log-loss, R2 its gain over the frequencies of the classes (McFadden's), score the bits
    of labels and formula. The verdict is at most CONSISTENT: labels cannot show that log-odds are
    exact.

    Parameters as in `KANRegressor`; `constants` are for `features`, since labels fit all others.
    """

    def __init__(
        self,
        *,
        max_time: float | None = 60,
        random_state: Any = 0,
        n_jobs: int | None = None,
        functions: str | Sequence[str] = "default",
        max_complexity: int | None = None,
        progress: bool = True,
        required: Sequence[str] = (),
        forbidden: Sequence[str] = (),
        features: Sequence[str] | None = None,
        constants: Mapping[str, float] | None = None,
        max_candidates: int | None = None,
    ):
        self.max_time = max_time
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.functions = functions
        self.max_complexity = max_complexity
        self.progress = progress
        self.required = required
        self.forbidden = forbidden
        self.features = features
        self.constants = constants
        self.max_candidates = max_candidates

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Search for formulas of the log-odds.

        X: [n, columns], finite, at least two rows. y: [n], labels of two classes or more, numbers
        or text. sample_weight: [n], how often each row counts. Raises ValueError for bad data or
        arguments.
        """
        check_given(self, y)
        started = time.perf_counter()
        table = read_columns(self, X, is_fit=True)
        weight = read_weights(sample_weight, len(table))
        given = _read_labels(y, len(table))
        classes, codes = np.unique(
            given if weight is None else given[weight > 0], return_inverse=True
        )
        if len(classes) < 2:
            raise ValueError(
                f"y must have at least two classes, got only the class {classes.tolist()[0]!r}"
            )
        if weight is not None:
            everywhere = np.zeros(len(table), dtype=int)
            everywhere[weight > 0] = codes
            codes = everywhere
        names = getattr(self, "feature_names_in_", None)
        setting = read_settings(self, names, table.shape[1])
        rows, sorted_codes, counts = distinct_rows(table, codes[:, None].astype(float), weight)
        counts = np.ones(len(rows)) if counts is None else counts
        labels = Labels(sorted_codes[:, 0].astype(np.int64), counts, len(classes))
        folds = _folds(labels, setting.options["seed"])
        share = None if self.max_time is None else SPLINE_SHARE * self.max_time
        splines = spline_logits(rows, labels, folds, setting.options["seed"], share)
        targets = tuple(f"logit({c})" for c in classes[1:].tolist())
        found = self._search(rows, labels, splines, setting, targets, started)
        problem = LabelProblem(setting.variables, rows, labels, folds)
        self._found = choose(found, problem, splines)
        self.classes_ = classes
        self._variables, self._names, self._targets = setting.variables, setting.names, targets
        self._frequencies = np.array([labels.mean(labels.codes == c) for c in range(len(classes))])
        self._rows, self._network = (table, None), None
        self._codes = codes if weight is None else np.where(weight > 0, codes, -1)
        return self

    def _search(
        self,
        X: np.ndarray,
        labels: Labels,
        splines: SplineLogits,
        setting: Settings,
        targets: Sequence[str],
        started: float,
    ) -> tuple[Discovery, ...]:
        """Formulas of the splines' log-odds."""
        forms = setting.forms.columns(setting.variables, X)
        columns = dict(zip(setting.forms.symbols, forms.T, strict=True))
        tables, options = [], []
        left = setting.options["max_time"]
        if left is not None:
            left = max(left - (time.perf_counter() - started), 0.1)
        for k in range(labels.n_classes - 1):
            information = labels.weight * splines.information[:, k]
            table = Table(X, splines.logits[:, k], setting.variables, information)
            tables.append(with_columns(table, columns))
            noise = math.sqrt(np.average(splines.errors[:, k] ** 2, weights=information))
            options.append(Options(**setting.options | {"noise": noise, "max_time": left}))
        found = search_all(tables, options, targets, self.n_jobs, setting.shows)
        found = [substituted(f, setting.forms.by_symbol) for f in found]
        return tuple(
            replace(f, rivals=(*f.rivals, *_grown(f, k, X, labels, setting, tables[k - 1])))
            for k, f in enumerate(found, start=1)
        )

    def decision_function(self, X: Any, i: int | Sequence[int] | None = None) -> np.ndarray:
        """Two classes: log-odds of the second, [n]. More: log-odds of every class against the
        geometric mean of all, [n, classes]."""
        logits = self._logits(X, i)
        if logits.shape[1] == 1:
            return logits[:, 0]
        full = with_reference(logits)
        return full - full.mean(1, keepdims=True)

    def predict_proba(self, X: Any, i: int | Sequence[int] | None = None) -> np.ndarray:
        """Probability of every class, [n, classes]. i: rows of `equations_`."""
        return probabilities(self._logits(X, i))

    def predict(self, X: Any, i: int | Sequence[int] | None = None) -> np.ndarray:
        """The most probable class of every row."""
        best = np.argmax(with_reference(self._logits(X, i)), axis=1)
        return self.classes_[best]

    def report(
        self, path: str | Path, *, title: str | None = None, code: str | None = None
    ) -> Path:
        """Write one HTML page about what was found, which needs nothing else; the file it is in.

        Every row of `equations_` is on it, with its network and how often a class came where it was
        said to be so probable, on the rows of `fit`. code: what to run to get it again, as text.
        """
        from kansym.estimator import report
        from kansym.views.report import write_report

        check_is_fitted(self)
        counted = self._codes >= 0
        rows, codes, names = self._rows[0][counted], self._codes[counted], self.classes_.tolist()
        fit_of = report.calibration(rows, codes, names, self.formula_)
        fronts = report.fronts(
            self._found, self.formula_, rows, fit_of, None, lambda f, *_: (f.r2, f.loss)
        )
        right = float(np.mean(self.predict(rows) == self.classes_[codes]))
        contents = report.search_contents(
            self, fronts, rows, None, rows, title=title, code=code,
            tested_on=f"of rows held out; {right:.1%} of the {len(rows)} rows get their class",
            error_name="log-loss", r2_name="R² (McFadden)",
        )  # fmt: skip
        return write_report(contents, path)

    def _logits(self, X: Any, i: int | Sequence[int] | None) -> np.ndarray:
        """Log-odds [n, classes - 1]; those of the classes' frequencies, with an
        ExtrapolationWarning, where a formula is not real."""
        formula = self._formula(i)
        logits = formula.evaluate(read_columns(self, X, is_fit=False))
        bad = ~np.isfinite(logits).all(1)
        if bad.any():
            logits = logits.copy()
            logits[bad] = np.log(self._frequencies[1:] / self._frequencies[0])
            warnings.warn(
                f"{int(bad.sum())} of {len(logits)} rows of X are outside the domain of the "
                "formula; they get the frequencies of the classes",
                ExtrapolationWarning,
                stacklevel=3,
            )
        return logits


def _read_labels(y: Any, n_rows: int) -> np.ndarray:
    y = as_pandas(y, "y")
    check_unmasked(y, "y")
    if isinstance(y, Tensor) or (isinstance(y, np.ndarray) and y.dtype.kind == "c"):
        as_numbers(y, "y")  # says what sparse and complex ones are refused for
    if isinstance(y, Tensor):
        y = y.detach().cpu()
    labels = column_or_1d(y.to_numpy() if isinstance(y, pd.DataFrame) else y, warn=True)
    check_consistent_length(np.empty(n_rows), labels)
    if labels.dtype.kind in "VmM":
        raise ValueError(f"y must hold labels, got {labels.dtype} values; make text of them")
    missing = np.isinf(labels) if labels.dtype.kind == "f" else np.zeros(len(labels), dtype=bool)
    missing |= np.asarray(pd.isna(labels))
    if missing.any():
        row = int(missing.argmax())
        raise ValueError(f"y must hold labels, got {labels[row]!s} in row {row}; drop such rows")
    check_classification_targets(labels)
    return labels


def _folds(labels: Labels, seed: int) -> np.ndarray:
    """Parts with an equal share of every class; one part where a class has a single row."""
    smallest = int(np.bincount(labels.codes).min())
    count = min(FOLDS, smallest) if smallest > 1 else 1
    rng = np.random.default_rng(seed)
    folds = np.zeros(len(labels.codes), dtype=int)
    for c in range(labels.n_classes):
        rows = np.flatnonzero(labels.codes == c)
        folds[rng.permutation(rows)] = np.arange(len(rows)) % count
    return folds


# -- the choice among the formulas that were found ----------------------------------------------


@dataclass(frozen=True)
class _Judged:
    """A formula of one log-odds, and how all formulas did with it on rows held out, [n]."""

    expr: Expr
    losses: np.ndarray
    found_by: str


def choose(
    found: Sequence[Discovery], problem: LabelProblem, splines: SplineLogits
) -> tuple[Discovery, ...]:
    """For each log-odds the simplest formula that predicts held-out labels as well as the best, the
    others as they are; constants of maximum likelihood; verdicts."""
    current = [_first(f, problem) for f in found]
    judged: list[list[_Judged]] = []
    for k, f in enumerate(found):
        rivals = [
            _Judged(expr, problem.held_out([*current[:k], expr, *current[k + 1 :]]), by)
            for expr, by in _candidates(f)
        ]
        rivals = [r for r in rivals if np.isfinite(r.losses).all()]
        judged.append(rivals)
        current[k] = _simplest(rivals, problem.labels).expr
    return tuple(
        _discovery(f, k, current, judged[k], problem, splines) for k, f in enumerate(found)
    )


def _grown(
    found: Discovery, k: int, X: np.ndarray, labels: Labels, setting: Settings, table: Table
) -> list[Finding]:
    """Sums that the labels ask for, of what the search may use; their constants are judged later,
    as those of all formulas."""
    options = Options(**setting.options)
    variables = setting.variables
    allowed = [*simple_terms(variables, X), *setting.forms.exprs]
    found_parts = parts(f.expr for f in (*found.findings, *found.rivals))
    allowed += [*found_parts, *names(found_parts, variables, X, get_library(options.functions))]
    forbidden = {v for v in variables if str(v) in options.forbidden}
    terms = [t for t in dict.fromkeys(allowed) if not t.free_symbols & forbidden]
    first = [v for v in variables if str(v) in options.required]
    keep = rules(table, options)
    sums = [
        Finding(expr, count_nodes(expr), math.nan, math.nan, math.nan, "growth")
        for expr in grow(terms, variables, X, labels, k, first)
        if passes(expr, keep)
    ]
    most = options.max_complexity or math.inf
    return [f for f in sums if f.complexity <= most]


def _first(found: Discovery, problem: LabelProblem) -> Expr:
    """The search's choice, or 0 where labels cannot be fitted with it."""
    form = problem.free(found.chosen.expr)
    if form is None:
        return sympy.Integer(0)
    with np.errstate(all="ignore"):
        value = form.compiled(*problem.X.T, *form.start)[0]
    return found.chosen.expr if np.isfinite(value).all() else sympy.Integer(0)


def _candidates(found: Discovery) -> list[tuple[Expr, str]]:
    """Formulas to judge, simplest first, the constant among them."""
    unique: dict[Expr, str] = {sympy.Integer(0): "constant"}
    for finding in sorted((*found.findings, *found.rivals), key=lambda f: f.complexity):
        if finding.expr.free_symbols:
            unique.setdefault(finding.expr, finding.found_by)
    return list(unique.items())


def _simplest(rivals: Sequence[_Judged], labels: Labels) -> _Judged:
    best = min(rivals, key=lambda r: labels.mean(r.losses))
    for rival in rivals:
        worse = rival.losses - best.losses
        if labels.mean(worse) <= labels.standard_error(worse):
            return rival
    return best


def _discovery(
    found: Discovery,
    k: int,
    current: Sequence[Expr],
    judged: Sequence[_Judged],
    problem: LabelProblem,
    splines: SplineLogits,
) -> Discovery:
    """What was found about log-odds k, in terms of labels."""
    labels = problem.labels
    findings: dict[Expr, Finding] = {}
    for j in judged:
        fitted = problem.fit([*current[:k], j.expr, *current[k + 1 :]])
        if fitted is not None:
            findings[j.expr] = _finding(fitted[k], j, labels)
    chosen_before = next(j for j in judged if j.expr == current[k])
    chosen = findings[current[k]]
    rivals = tuple(
        findings[j.expr]
        for j in judged
        if j.expr in findings and _is_rival(j, chosen_before, findings, problem)
    )
    front, lowest = [], math.inf
    for finding in sorted(findings.values(), key=lambda f: f.complexity):
        if finding.loss < lowest or finding is chosen:
            front.append(finding)
        lowest = min(lowest, finding.loss)
    missed = chosen_before.losses - splines.held_out
    error = labels.standard_error(missed) if np.isfinite(missed).all() else 0.0
    if not chosen.expr.free_symbols:
        verdict, reason = Verdict.NONE, "no formula is better than the frequencies of the classes"
    elif labels.mean(missed) > CLEARLY * error:
        verdict = Verdict.APPROXIMATE
        reason = (
            f"splines predict held-out labels better: log-loss {labels.mean(splines.held_out):.4g}"
            f", the formula {chosen.loss:.4g}"
        )
    elif rivals:
        verdict, reason = Verdict.AMBIGUOUS, "other formulas predict held-out labels as well"
    else:
        verdict, reason = Verdict.CONSISTENT, "splines do not predict held-out labels better"
    return replace(
        found,
        findings=tuple(front),
        chosen=chosen,
        rivals=rivals,
        verdict=verdict,
        reason=reason,
        network=None,  # it follows the splines' log-odds, and nobody judged it by labels
    )


def _finding(expr: Expr, judged: _Judged, labels: Labels) -> Finding:
    loss = labels.mean(judged.losses)
    frequencies = np.bincount(labels.codes, labels.weight) / labels.weight.sum()
    base = np.log(frequencies[1:] / frequencies[0])
    nothing = labels.mean(row_losses(np.tile(base, (len(labels.codes), 1)), labels))
    complexity = count_nodes(expr)
    bits = float(labels.weight.sum()) * loss / math.log(2) + COMPLEXITY_BITS * complexity
    return Finding(expr, complexity, loss, 1 - loss / nothing, bits, judged.found_by)


def _is_rival(
    judged: _Judged, chosen: _Judged, findings: Mapping[Expr, Finding], problem: LabelProblem
) -> bool:
    """Whether a formula as simple predicts as well and yet says something else."""
    if judged is chosen or not judged.expr.free_symbols or not chosen.expr.free_symbols:
        return False
    this, that = findings[judged.expr], findings[chosen.expr]
    worse = judged.losses - chosen.losses
    if this.complexity > that.complexity:
        return False
    if problem.labels.mean(worse) > problem.labels.standard_error(worse):
        return False
    f = sympy.lambdify(list(problem.variables), [this.expr, that.expr], ["scipy", "numpy"])
    with np.errstate(all="ignore"):
        values = [np.broadcast_to(v, len(problem.X)) for v in f(*problem.X.T)]
    return not abs(np.corrcoef(values)[0, 1]) > SAME_LOGITS
