"""Known inner forms, such as "x1 - x2": text from outside, read without ever being run.

A form becomes one more column of the search, under a symbol of its own, and is put back into the
formulas that use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from sympy import Symbol

from kansym.symbolic.constants import NamedConstant
from kansym.symbolic.formula import Expr
from kansym.symbolic.reading import Reader, library_functions

MAX_LENGTH = 400  # of a form's text


@dataclass(frozen=True)
class Forms:
    """Forms and the symbols that stand for them."""

    exprs: tuple[Expr, ...] = ()
    symbols: tuple[Symbol, ...] = ()

    @property
    def by_symbol(self) -> dict[Symbol, Expr]:
        return dict(zip(self.symbols, self.exprs, strict=True))

    def substitute(self, expr: Expr) -> Expr:
        """The expression with every form in the place of its symbol."""
        return expr.xreplace(self.by_symbol) if self.symbols else expr

    def columns(self, variables: Sequence[Symbol], X: np.ndarray) -> np.ndarray:
        """Values of the forms, [n, forms]. Raises ValueError where one is not finite."""
        values = np.empty((len(X), len(self.exprs)))
        for f, expr in enumerate(self.exprs):
            compiled = sympy.lambdify(list(variables), expr, modules=["scipy", "numpy"])
            with np.errstate(all="ignore"):
                values[:, f] = compiled(*X.T)
            bad = np.flatnonzero(~np.isfinite(values[:, f]))
            if len(bad):
                raise ValueError(
                    f"features[{f}], {expr}, must be finite in every row; it is not in {len(bad)} "
                    f"of {len(X)} (row {bad[0]}). Drop those rows or the form"
                )
        return values


def read_forms(
    features: Sequence[str] | None,
    variables: Sequence[Symbol],
    names: Sequence[str],
    constants: Mapping[str, NamedConstant],
) -> Forms:
    """Forms from texts in the names of the columns (or v1, v2, ... for a column whose name is no
    plain identifier), numbers, + - * / **, functions of the library, and named constants.

    Raises ValueError for any other text.
    """
    if features is None:
        return Forms()
    if isinstance(features, str) or not isinstance(features, Sequence):
        raise ValueError(f"features must be a list of formulas in the columns, got {features!r}")
    known: dict[str, Any] = {"pi": sympy.pi}
    known |= constants
    known |= dict(zip(names, variables, strict=True)) | {str(v): v for v in variables}
    exprs = tuple(_read(f, text, known) for f, text in enumerate(features))
    taken = set(known)
    letter = next(c for c in ("u", "w", "form_") if not any(n.startswith(c) for n in taken))
    return Forms(exprs, tuple(Symbol(f"{letter}{f + 1}", real=True) for f in range(len(exprs))))


def _read(place: int, text: Any, known: Mapping[str, Any]) -> Expr:
    label = f"features[{place}]"
    expr = Reader(text, label, "columns", MAX_LENGTH).expression(known, library_functions())
    if not expr.free_symbols or expr.is_Symbol:
        raise ValueError(
            f"{label} must be a real formula in the columns, more than one of them alone, "
            f"got {text!r}"
        )
    return expr
