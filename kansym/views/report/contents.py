"""What a report is made of, as plain data: models fill these records in, `page` turns them to HTML.

All text in them may come from outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import networkx as nx
import numpy as np

from kansym.structure import Removal
from kansym.symbolic.formula import Formula
from kansym.training.history import History
from kansym.views.text import number_text

Edge = tuple[int, int, int]

PACKAGES = ("kansym", "torch", "sympy", "numpy", "scipy")


@dataclass(frozen=True)
class Column:
    """A column of the data: values [n]; role: "input", "target" or "label"."""

    name: str
    values: np.ndarray
    role: str = "input"
    unit: str = ""


@dataclass(frozen=True)
class EdgeName:
    """A function that describes an edge, c f(a x + b) + d with params (a, b, c, d) in the units the
    edge sees, and how well: NaN where nobody knows. Without is_kept it is only the nearest name
    for a spline."""

    function: str
    params: Sequence[float]
    r2: float = float("nan")
    is_kept: bool = True


@dataclass(frozen=True)
class NetworkView:
    """A network to draw. graph: from `network_graph`. removals: what pruning would take, for rising
    thresholds. names: of edges."""

    graph: nx.DiGraph
    removals: tuple[Removal, ...] = ()
    names: Mapping[Edge, EdgeName] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """Observed and predicted values of one output, [n] each. note: what a point is, where it is not
    a row."""

    name: str
    observed: np.ndarray
    predicted: np.ndarray
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """One answer: a formula, a network, or both. r2, error: of each output. network: or the reason
    why there is none, as text. label: what is special about it, such as "rival"."""

    formula: Formula | None
    complexity: int | None
    r2: tuple[float, ...]
    error: tuple[float, ...]
    network: NetworkView | str
    fits: tuple[Fit, ...] = ()
    label: str = ""
    is_chosen: bool = False


@dataclass(frozen=True)
class Front:
    """The answers for one target, or for all together, one of them chosen; simplest first."""

    target: str
    entries: tuple[Entry, ...]
    verdict: str = ""
    reason: str = ""

    @property
    def chosen(self) -> Entry:
        return next(entry for entry in self.entries if entry.is_chosen)


@dataclass(frozen=True)
class Contents:
    """A whole report.

    kind: what was reported on, in a few words. error_name, r2_name: of `Entry.error` and `r2`.
    tested_on: which rows these figures are of. importance: (column, share) pairs.
    warnings: sentences. facts: (what, value) pairs. code: what to run to get the same again.
    """

    title: str
    kind: str
    fronts: tuple[Front, ...]
    columns: tuple[Column, ...]
    tested_on: str
    importance: tuple[tuple[str, float], ...] = ()
    importance_note: str = ""
    history: History | None = None
    warnings: tuple[str, ...] = ()
    facts: tuple[tuple[str, Any], ...] = ()
    code: str = ""
    error_name: str = "RMSE"
    r2_name: str = "R²"


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return {package: version(package) for package in PACKAGES}


def outside_note(columns: Sequence[Column]) -> str:
    """Where a formula stops being an interpolation."""
    names = ", ".join(
        f"{column.name} from {number_text(column.values.min(), 4)}"
        f" to {number_text(column.values.max(), 4)}"
        for column in columns[:4]
        if column.role == "input"
    )
    more = sum(column.role == "input" for column in columns) - 4
    rest = f" and {more} more columns as in the table below" if more > 0 else ""
    return (
        f"Judged within the ranges of the data only ({names}{rest}); beyond them it extrapolates."
    )
