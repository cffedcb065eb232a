"""Names for edges, and the formula they make."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torch import Tensor

from kansym import symbolic
from kansym.arrays import to_numpy
from kansym.errors import NoSampleError, PoorFitWarning, check_positive_int
from kansym.functions import get_library
from kansym.model.structured import Structured

if TYPE_CHECKING:
    import pandas as pd


POOR_SHARE = 0.1  # of the outputs' variation, lost with an edge's name, from which it is doubted


class Named(Structured):
    """The verbs of names: `fix_symbolic`, `unfix_symbolic` and `auto_symbolic` act in place."""

    def suggest_symbolic(
        self,
        l: int,
        i: int,
        j: int,
        lib: Iterable[str] | None = None,
        topk: int = 5,
        X: Any = None,
    ) -> pd.DataFrame:
        """The best functions for edge (l, i, j) (layer, input node, output node), best first.

        Columns: name, R2, complexity, a, b, c, d, score, with y = c f(a x + b) + d in the units the
        edge sees and score = log2 sqrt(1 - R2) + complexity (lower is better). lib: names of the
        functions to try; all registered ones by default.
        """
        import pandas as pd

        check_positive_int("topk", topk)
        symbolic.check_edge(self, l, i, j)
        table = symbolic.suggest(self, self._sample_X(X), [(l, i, j)], get_library(lib))
        rows = [asdict(candidate) for candidate in table[l, i, j][:topk]]
        columns = ["name", "R2", "complexity", "a", "b", "c", "d", "score"]
        return pd.DataFrame(rows).rename(columns={"r2": "R2"}).reindex(columns=columns)

    def fix_symbolic(
        self,
        l: int,
        i: int,
        j: int,
        name: str,
        params: Sequence[float] | None = None,
        X: Any = None,
    ) -> symbolic.Candidate | None:
        """Make edge (l, i, j) the function c f(a x + b) + d, in place.

        params: (a, b, c, d); by default the best ones for the edge as it is, and the candidate that
        was fitted is returned. `fit` then trains these constants together with the other edges.
        """
        data = self._sample_X(X) if params is None else None
        return symbolic.fix_symbolic(self, l, i, j, name, params, data)

    def unfix_symbolic(self, l: int, i: int, j: int) -> None:
        """Turn edge (l, i, j) back into a spline, in place; it follows the function it had."""
        symbolic.unfix_symbolic(self, l, i, j)
        self.is_fitted = True  # its spline follows a function in these units

    def auto_symbolic(
        self,
        lib: Iterable[str] | None = None,
        max_time: float | None = None,
        X: Any = None,
        y: Any = None,
    ) -> tuple[symbolic.AutoStep, ...]:
        """Name every numeric edge, in place; returns the names in the order they were given.

        The surest edge is named first and the rest is refitted to y after each name (see
        `kansym.symbolic.auto`). Without targets (X alone, or labels) nothing is refitted. Warns
        (PoorFitWarning) about edges that no function describes well, unless they hardly matter.
        """
        data = self._sample_X(X)
        weights = self.edge_scores("attribution", data)
        targets = self._sample_y(X, y, len(data))
        named, steps = symbolic.auto_symbolic(self, data, targets, get_library(lib), max_time)
        self.load_state_dict(named.state_dict())
        poor = [
            f"{step.edge} {step.name} (R2 {step.r2:.3f})"
            for step in steps
            if (1 - step.r2) * _at(weights, step.edge) > POOR_SHARE
        ]
        if poor:
            warnings.warn(
                f"no function in lib describes well: {', '.join(poor)}. Train longer, add "
                "functions with register_function, or keep the spline with unfix_symbolic",
                PoorFitWarning,
                stacklevel=2,
            )
        return steps

    def symbolic_formula(
        self,
        digits: int | None = None,
        names: Sequence[str] | None = None,
        simplify: bool = True,
        snap: bool = False,
        X: Any = None,
        y: Any = None,
    ) -> symbolic.Formula:
        """`exprs, variables = model.symbolic_formula()`: the network as SymPy expressions.

        In raw units of the data; equal to the network unless `digits` rounds or `snap` replaces
        constants. digits: significant digits. names: of the inputs; by default those of the data.
        snap: replace constants that are nearly 0, integers, simple rationals, multiples of pi, e or
        roots where a refit of the others to the data bears it out.
        Raises NotSymbolicError while an active edge is a spline.
        """
        shown = self._shown_names(names)
        formula = symbolic.network_formula(self, shown, self.target_names, simplify)
        if snap:
            data = self._sample_X(X)
            targets = self._sample_y(X, y, len(data))
            if targets is None:
                raise NoSampleError(
                    "snap=True refits constants and needs numeric targets; pass X and y"
                )
            formula = symbolic.snap_formula(formula, to_numpy(data), to_numpy(targets))
        return formula if digits is None else formula.rounded(digits)

    def latex(
        self, digits: int | None = 4, names: Sequence[str] | None = None, **options: Any
    ) -> str:
        """LaTeX of the formula; `options` go to `symbolic_formula`."""
        return self.symbolic_formula(names=names, **options).latex(digits)


def _at(values: Sequence[Tensor], edge: tuple[int, int, int]) -> float:
    l, i, j = edge
    return float(values[l][j, i])
