"""KANRegressor: the search for formulas as a scikit-learn regressor."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted
from sympy import Symbol

from kansym.arrays import column_names
from kansym.discovery.outliers import ROUNDING, far_from, find_outliers
from kansym.discovery.records import Discovery, Options, Table
from kansym.discovery.surrogate import MAX_ROWS, Surface
from kansym.errors import ExtrapolationWarning, check_choice, check_index, visible
from kansym.estimator.base import FormulaModel, default_targets
from kansym.estimator.inputs import (
    check_given,
    distinct_rows,
    is_flat,
    read_columns,
    read_targets,
    read_weights,
)
from kansym.estimator.searches import (
    LEAST_TIME,
    checkpoint_of,
    search_all,
    substituted,
    with_columns,
    with_names,
)
from kansym.estimator.settings import (
    ColumnUnits,
    Settings,
    read_checkpoint,
    read_noise,
    read_settings,
    read_units,
)
from kansym.files import in_use

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTLIERS = ("keep", "set aside")


class KANRegressor(RegressorMixin, FormulaModel):
    """Formulas for a table: y = f(columns), with a verdict on how far each can be trusted.

    max_time: seconds for all outputs together, or None.
    random_state: int, None (another search every time) or a RandomState.
    n_jobs: processes, as in joblib; several outputs are searched side by side.
    functions: names from `function_names()` that a formula may use; "default": the search's choice.
    units: {column, target or constant: unit}, or a list, columns first and then targets; formulas
    that break them are not offered. A unit is text ("m/s^2", read by pint) or of
    sympy.physics.units. A constant with a unit takes part in dimensional analysis as a column does.
    max_complexity: nodes of the expression tree, or None.
    noise: standard deviation of y's error, in units of y (several outputs: one each); estimated
    when None.
    progress: show a line about the search, on a terminal or in a notebook.
    checkpoint: a folder, made if missing, where the search keeps its finished steps, at most every
    second. The same fit on the same data, in another process say, goes on from there, its seconds
    counted, and finds what it would have found without the interruption; `max_time`,
    `max_candidates` and `n_jobs` may be others. One process works in a folder at a time.
    required, forbidden: columns that a formula must and must not use.
    features: known inner forms as text, such as "x1 - x2", or "v1" for a column with another name
    than an identifier; they are columns of the search and put back into its formulas.
    constants: {name: value} of known constants, {"g": 9.81}: a fitted number that the data cannot
    tell from one, or from a simple multiple, is shown by its name; `features` may name them too.
    monotone: {column: "increasing" or "decreasing"}, parity: {column: "even" or "odd"}: what every
    formula offered does on the rows.
    max_candidates: formulas to fit; with max_time=None the result does not depend on the machine.
    outliers: "keep", or "set aside": rows that no smooth law can meet (see
    `kansym.discovery.outliers`) are left out of the search, up to a quarter of them; `outliers_`
    says which rows the formula misses.

    Fitted attributes: `equations_`, `formula_`, `verdict_`, `reason_`, `exact_`, `rivals_`,
    `noise_`, `outliers_`, `spline_rmse_`, `feature_importances_`, `network_`; see there. A row of
    weight 2 counts as a row given twice. The order of the rows does not matter.
    """

    def __init__(
        self,
        *,
        max_time: float | None = 60,
        random_state: Any = 0,
        n_jobs: int | None = None,
        functions: str | Sequence[str] = "default",
        units: Mapping[str, Any] | Sequence[Any] | None = None,
        max_complexity: int | None = None,
        noise: float | Sequence[float] | None = None,
        progress: bool = True,
        checkpoint: str | Path | None = None,
        required: Sequence[str] = (),
        forbidden: Sequence[str] = (),
        features: Sequence[str] | None = None,
        constants: Mapping[str, float] | None = None,
        monotone: Mapping[str, str] | None = None,
        parity: Mapping[str, str] | None = None,
        max_candidates: int | None = None,
        outliers: str = "keep",
    ):
        self.max_time = max_time
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.functions = functions
        self.units = units
        self.max_complexity = max_complexity
        self.noise = noise
        self.progress = progress
        self.checkpoint = checkpoint
        self.required = required
        self.forbidden = forbidden
        self.features = features
        self.constants = constants
        self.monotone = monotone
        self.parity = parity
        self.max_candidates = max_candidates
        self.outliers = outliers

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Search for a formula of every column of y.

        X: [n, columns], y: [n] or [n, outputs], finite, at least two rows; arrays, frames, tensors
        or lists. Names come from frames and series. sample_weight: [n], how often each row counts.
        Ctrl-C ends the search with the best formulas so far. Warns about a constant target.
        Raises ValueError for bad data or arguments, and for a checkpoint of another search;
        FolderInUseError and OSError for one that is in use or cannot be written.
        """
        check_given(self, y)
        check_choice("outliers", self.outliers, OUTLIERS)
        table = read_columns(self, X, is_fit=True)
        values = read_targets(y, len(table))
        weight = read_weights(sample_weight, len(table))
        names = getattr(self, "feature_names_in_", None)
        setting = read_settings(self, names, table.shape[1])
        columns = [str(v) for v in setting.variables] if names is None else list(names)
        targets = column_names(y)
        labels = targets or default_targets(columns, values.shape[1])
        noise = read_noise(self.noise, values.shape[1])
        units = read_units(self.units, columns, labels, setting)
        place = read_checkpoint(self.checkpoint)
        tables, options = [], []
        started = time.perf_counter()
        for o, label in enumerate(labels):
            rows = distinct_rows(table, values[:, [o]], weight)
            tables.append(_table(*self._trusted(*rows), setting, units[o]))
            if (tables[o].y == tables[o].y[0]).all():
                warnings.warn(
                    f"{visible(label)} is {tables[o].y[0]:g} in every row that counts; "
                    "there is nothing to explain",
                    stacklevel=2,
                )
            given: dict[str, Any] = {"noise": noise[o], "target_name": label}
            options.append(Options(**setting.options, **given, **_of_units(units[o])))
        options = _less_time(options, time.perf_counter() - started)
        with nullcontext() if place is None else in_use(place, "checkpoint") as folder:
            kept = [
                replace(given, checkpoint=checkpoint_of(folder, o, len(labels)))
                for o, given in enumerate(options)
            ]
            found = search_all(tables, kept, labels, self.n_jobs, setting.shows)
        self._found = tuple(_in_columns(f, t, setting) for f, t in zip(found, tables, strict=True))
        self._variables, self._names, self._targets = setting.variables, setting.names, targets
        self._rows, self._network = (table, values), None
        self._counts = np.ones(len(table)) if weight is None else weight
        self._is_flat = is_flat(y)
        return self

    def _trusted(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The rows that the search is to see."""
        if self.outliers == "keep":
            return X, y, weight
        kept = ~find_outliers(X, y[:, 0], weight)
        return X[kept], y[kept], None if weight is None else weight[kept]

    @property
    def outliers_(self) -> np.ndarray | list[np.ndarray]:
        """Indices of the rows of `fit`, of those that count, which lie more than six robust
        standard deviations from the chosen formula; none unless outliers="set aside"."""
        check_is_fitted(self)
        X, Y = self._rows
        assert Y is not None
        distance = (Y - self.formula_.evaluate(X)) * np.sqrt(self._counts)[:, None]
        found = []
        for y, d in zip(Y.T, distance.T, strict=True):
            is_far = far_from(d, ROUNDING * float(np.abs(y).max())) & (self._counts > 0)
            found.append(np.flatnonzero(is_far & (self.outliers != "keep")))
        return self._one_or_all(found)

    @property
    def spline_rmse_(self) -> float | list[float]:
        """Root mean squared error of a smooth surface when every row is left out in turn: what can
        be had without a formula. Of at most 500 rows; worked out when asked for."""
        check_is_fitted(self)
        X, Y = self._rows
        assert Y is not None
        errors = []
        for y in Y.T:
            rows, values, _ = distinct_rows(X, y[:, None], None)
            picked = np.random.default_rng(0).permutation(len(rows))[:MAX_ROWS]
            surface = Surface(rows[picked], values[picked, 0])
            errors.append(surface.error * surface.spread)
        return self._one_or_all(errors)

    def predict(self, X: Any, i: int | Sequence[int] | None = None) -> np.ndarray:
        """Values of the chosen formulas, or of those of row i of `equations_`, in the shape that y
        had. NaN, with an ExtrapolationWarning, where a formula is not real."""
        formula = self._formula(i)
        values = formula.evaluate(read_columns(self, X, is_fit=False))
        bad = int((~np.isfinite(values)).any(1).sum())
        if bad:
            warnings.warn(
                f"{bad} of {len(values)} predictions are not finite: X is outside the domain of "
                "the formula",
                ExtrapolationWarning,
                stacklevel=2,
            )
        return values[:, 0] if self._is_flat else values

    def plot_fit(
        self,
        X: Any,
        y: Any,
        ax: Axes | None = None,
        output: int = 0,
        i: int | Sequence[int] | None = None,
    ) -> Axes:
        """Draw observed values of one output over predicted ones, and residuals below; the upper
        Axes. i: row of `equations_`, as in `predict`."""
        from kansym.views import plot_fit

        formula = self._formula(i)
        table = read_columns(self, X, is_fit=False)
        values = read_targets(y, len(table))
        column = check_index("output", output, len(formula.exprs))
        if values.shape[1] != len(formula.exprs):
            raise ValueError(
                f"y must have {len(formula.exprs)} columns, as in fit, got {values.shape[1]}"
            )
        name = formula.target_names[column]
        return plot_fit(values[:, column], formula.evaluate(table)[:, column], ax, name)

    def report(
        self,
        path: str | Path,
        X: Any = None,
        y: Any = None,
        *,
        title: str | None = None,
        code: str | None = None,
    ) -> Path:
        """Write one HTML page about what was found, which needs nothing else; the file it is in.

        Every row of `equations_` is on it, with network and residuals, and the rivals too. X, y:
        rows to judge formulas by; by default figures are of the rows that the search held out, and
        residuals of the rows of `fit`. code: what to run to get it again, as text. The page shows
        names and figures of the data, and a few hundred predictions.
        """
        from kansym.estimator import report
        from kansym.views.report import write_report

        check_is_fitted(self)
        seen, values = self._rows
        assert values is not None
        rows, judge = seen, report.held_out
        tested_on = f"of rows held out in the search; it had {len(seen)} rows"
        if X is not None:
            rows = read_columns(self, X, is_fit=False)
            values = read_targets(y, len(rows))
            judge, tested_on = report.judge_on(rows, values), f"of {len(rows)} rows kept aside"
        fronts = report.fronts(
            self._found, self.formula_, seen, report.fit_on(rows, values), self._splines, judge
        )
        names, targets = self.formula_.names, self.formula_.target_names
        units = report.unit_texts(self.units, names, targets)
        contents = report.search_contents(
            self, fronts, rows, values, seen, units=units, title=title, code=code,
            tested_on=tested_on,
        )  # fmt: skip
        return write_report(contents, path)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _table(
    rows: np.ndarray,
    target: np.ndarray,
    counts: np.ndarray | None,
    setting: Settings,
    units: ColumnUnits | None,
) -> Table:
    """The rows of one output, with forms and with the constants that have units as columns."""
    forms = setting.forms.columns(setting.variables, rows)
    table = Table(rows, target[:, 0], setting.variables, counts)
    further = dict(zip(setting.forms.symbols, forms.T, strict=True))
    names = () if units is None else units.constants
    return with_columns(
        table,
        further | {s: np.full(len(rows), setting.constants[str(s)].value) for s in _symbols(names)},
    )


def _less_time(options: Sequence[Options], spent: float) -> list[Options]:
    """The same, with what is left of max_time."""
    return [
        o if o.max_time is None else replace(o, max_time=max(o.max_time - spent, LEAST_TIME))
        for o in options
    ]


def _of_units(units: ColumnUnits | None) -> dict[str, Any]:
    if units is None:
        return {}
    return {"units": [*units.columns, *units.constants.values(), units.target]}


def _symbols(constants: Iterable[str]) -> list[Symbol]:
    return [Symbol(name, real=True) for name in constants]


def _in_columns(found: Discovery, table: Table, setting: Settings) -> Discovery:
    """What was found, in columns and constants by name."""
    constants = setting.constants
    of_symbol = dict(zip(_symbols(constants), constants.values(), strict=True))
    # One with a unit was a column of the search: other numbers cannot be it.
    numbers = [c for symbol, c in of_symbol.items() if symbol not in table.variables]
    found = with_names(found, table, numbers)
    return substituted(found, setting.forms.by_symbol | of_symbol)
