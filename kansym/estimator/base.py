"""What regressor and classifier share: formulas in tables, as SymPy, LaTeX and network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted
from sympy import Symbol

from kansym.discovery.records import Discovery, Finding, Verdict
from kansym.errors import as_int, check_index
from kansym.symbolic.exports.latex import FrontRow, latex_table
from kansym.symbolic.formula import Expr, Formula, round_floats

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from kansym.model import KAN

IMPORTANCE_ROWS = 2000
COLUMNS = ("complexity", "loss", "R2", "score", "formula", "chosen")


class FormulaModel(BaseEstimator):
    """An estimator whose fit leaves one `Discovery` per output.

    Where there is one output, attributes are single values; where there are several, they are lists
    with one for each.
    """

    _found: tuple[Discovery, ...]
    _variables: tuple[Symbol, ...]
    _names: tuple[str, ...] | None
    _targets: tuple[str, ...] | None
    _rows: tuple[np.ndarray, np.ndarray | None]
    _network: KAN | None

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_found")

    def _discoveries(self) -> tuple[Discovery, ...]:
        check_is_fitted(self)
        return self._found

    def _one_or_all(self, values: Sequence[Any]) -> Any:
        return values[0] if len(values) == 1 else list(values)

    # -- formulas ---------------------------------------------------------------------------------

    @property
    def equations_(self) -> pd.DataFrame | list[pd.DataFrame]:
        """The formulas worth knowing, simplest first; constants to four digits.

        Columns: complexity, loss, R2, score, formula, chosen. Row i is what `predict(X, i)`,
        `sympy(i)` and `latex(i)` take.
        """
        return self._one_or_all([findings_frame(f.findings, f.chosen) for f in self._discoveries()])

    def equations_table(self, digits: int | None = None) -> pd.DataFrame:
        """`equations_` of all outputs in one table with a column "target"; digits: of the
        constants, None for all."""
        import pandas as pd

        frames = []
        for target, f in zip(self._formula(None).target_names, self._discoveries(), strict=True):
            frame = findings_frame(f.findings, f.chosen, digits)
            frame.insert(0, "target", target)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    @property
    def rivals_(self) -> pd.DataFrame | list[pd.DataFrame]:
        """Other formulas that the data hardly tell from the chosen one; columns as above."""
        return self._one_or_all([findings_frame(f.rivals, None) for f in self._discoveries()])

    @property
    def formula_(self) -> Formula:
        """The chosen formulas of all outputs, with names; it prints and evaluates itself."""
        return self._formula(None)

    def sympy(self, i: int | Sequence[int] | None = None) -> Expr | list[Expr]:
        """The chosen SymPy expression, or that of row i of `equations_` (several outputs: one row
        for all, or a list with one each)."""
        return self._one_or_all(self._formula(i).exprs)

    def latex(self, i: int | Sequence[int] | None = None, digits: int | None = 4) -> str:
        """LaTeX of the chosen formulas, or of those of row i, one line per output."""
        return self._formula(i).latex(digits)

    def latex_table(self, digits: int = 4) -> str:
        """A LaTeX table (booktabs) of `equations_`, for each output one."""
        formulas, tables = self._formula(None), []
        for o, found in enumerate(self._discoveries()):
            rows = [
                FrontRow(f.complexity, f.loss, f.r2, self._alone(o, f.expr, formulas))
                for f in found.findings
            ]
            tables.append(latex_table(rows, digits))
        return "\n\n".join(tables)

    @property
    def network_(self) -> KAN:
        """The network that carries the chosen formulas of all outputs, every edge named; built when
        first asked for. With one output and the verdict NONE, the best spline network instead,
        where the search trained one. Raises ValueError for a formula that no network carries."""
        from kansym.model import KAN

        check_is_fitted(self)
        if self._network is None:
            splines = self._splines
            built = KAN.from_formula(self.formula_, *self._rows) if splines is None else splines
            built.feature_names, built.target_names = self._names, self._targets
            self._network = built
        return self._network

    @property
    def _splines(self) -> KAN | None:
        """The smooth network that is the answer where there is no formula, of one output. One that
        takes forms or constants as well has other columns than the table, and is none."""
        first, *further = self._discoveries()
        if further or first.verdict != Verdict.NONE or first.network is None:
            return None
        return first.network if first.network.n_in == len(self._variables) else None

    # -- what the search says about them ----------------------------------------------------------

    @property
    def verdict_(self) -> Verdict | list[Verdict]:
        """How far the formula can be trusted: EXACT, CONSISTENT, AMBIGUOUS, APPROXIMATE, NONE."""
        return self._one_or_all([f.verdict for f in self._discoveries()])

    @property
    def reason_(self) -> str | list[str]:
        """Why the verdict is what it is."""
        return self._one_or_all([f.reason for f in self._discoveries()])

    @property
    def exact_(self) -> bool | list[bool]:
        """Whether the formula holds to rounding."""
        return self._one_or_all([f.verdict == Verdict.EXACT for f in self._discoveries()])

    @property
    def noise_(self) -> float | list[float]:
        """Standard deviation of the error of what was searched, given or estimated."""
        return self._one_or_all([f.noise for f in self._discoveries()])

    @property
    def feature_importances_(self) -> np.ndarray:
        """Share of a formula's variance that is lost without a column, the mean over outputs:
        [columns].

        Total effects (Jansen 1999, Comput. Phys. Commun. 117, 35): half the mean square of what
        changes when a column's rows are shuffled, of at most 2,000 rows of `fit`. Where `network_`
        is made of splines, its `feature_scores`.
        """
        formula, X = self._formula(None), self._rows[0]
        rng = np.random.default_rng(0)
        X = X[rng.permutation(len(X))[:IMPORTANCE_ROWS]]
        splines = self._splines
        if splines is not None:
            return splines.feature_scores(X).numpy()
        here = formula.evaluate(X)
        variance = np.nanvar(here, 0)
        shares = np.zeros((X.shape[1], len(formula.exprs)))
        for column, symbol in enumerate(formula.variables):
            mixed = X.copy()
            mixed[:, column] = rng.permutation(mixed[:, column])
            if any(symbol in expr.free_symbols for expr in formula.exprs):
                moved = formula.evaluate(mixed) - here
                moved[~np.isfinite(moved)] = 0.0  # shuffled out of the formula's domain
                shares[column] = np.mean(moved**2, 0) / 2
        return np.minimum(shares / np.where(variance > 0, variance, 1.0), 1.0).mean(1)

    # -- pictures ---------------------------------------------------------------------------------

    def plot_pareto(self, ax: Axes | None = None, output: int = 0) -> Axes:
        """Draw held-out loss over complexity of `equations_`, for one output, with the formulas."""
        from kansym.views import plot_pareto

        found = self._discoveries()
        found = found[check_index("output", output, len(found))]
        names = self._formula(None)
        return plot_pareto(
            found.findings,
            found.chosen,
            ax,
            lambda expr: Formula([expr], names.variables, names.names).latex(3).partition(" = ")[2],
        )

    def plot_features(self, ax: Axes | None = None) -> Axes:
        """Draw `feature_importances_` as bars, the greatest on top."""
        from kansym.views import plot_features

        check_is_fitted(self)
        return plot_features(self.feature_importances_, self._names, ax)

    def _repr_html_inner(self) -> str:
        # Not fitted, or inside of a pipeline, scikit-learn's own diagram is the better one.
        return self._html() if self.__sklearn_is_fitted__() else estimator_html_repr(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] = self._repr_html_inner()
        return bundle

    def _html(self) -> str:
        from kansym.views.notebook import MOST_EDGES, panel

        names = self._formula(None).target_names
        facts = []
        for target, found in zip(names, self._discoveries(), strict=True):
            of = "" if len(names) == 1 else f" of {target}"
            facts += [
                (f"verdict{of}", f"{found.verdict}: {found.reason}"),
                ("R2, held out", f"{found.chosen.r2:.6g}"),
                ("complexity", found.chosen.complexity),
            ]
        try:
            network = self.network_
        except ValueError:  # a formula that no network carries
            network = None
        is_drawn = network is not None and network.n_active_edges <= MOST_EDGES
        graph = network.graph(self._rows[0]) if network is not None and is_drawn else None
        return panel(type(self).__name__, facts, self.formula_, graph)

    # -- helpers ----------------------------------------------------------------------------------

    def _formula(self, i: int | Sequence[int] | None) -> Formula:
        findings = self._rows_of_equations(i)
        exprs = [finding.expr for finding in findings]
        return Formula(exprs, self._variables, self._names, self._targets)

    def _alone(self, output: int, expr: Expr, formulas: Formula) -> Formula:
        return Formula([expr], self._variables, self._names, [formulas.target_names[output]])

    def _rows_of_equations(self, i: int | Sequence[int] | None) -> list[Finding]:
        found = self._discoveries()
        if i is None:
            return [f.chosen for f in found]
        given: Any = i
        is_listed = isinstance(given, Iterable) and not isinstance(given, str)
        rows = list(given) if is_listed else [given] * len(found)
        if len(rows) != len(found):
            raise ValueError(f"i must be one row of equations_, or {len(found)} rows, got {i!r}")
        findings = []
        for row, f in zip(rows, found, strict=True):
            number = as_int(row)
            if number is None or not -len(f.findings) <= number < len(f.findings):
                raise ValueError(
                    f"i must be a row of equations_, 0 to {len(f.findings) - 1}, got {row!r}"
                )
            findings.append(f.findings[number])
        return findings


def findings_frame(
    findings: Sequence[Finding], chosen: Finding | None, digits: int | None = 4
) -> pd.DataFrame:
    """Findings as a table; digits: of the constants, None for all."""
    import pandas as pd

    rows = [
        (
            f.complexity,
            f.loss,
            f.r2,
            f.score,
            str(f.expr if digits is None else round_floats(f.expr, digits)),
            f is chosen or f == chosen,
        )
        for f in findings
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def default_targets(columns: Sequence[str], n_outputs: int) -> tuple[str, ...]:
    """Names of targets that came without: those that `Formula` gives them."""
    blank = [Symbol(name) for name in columns]
    return Formula([0] * n_outputs, blank).target_names
