"""What a search is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from sympy import Symbol

from kansym.symbolic.formula import Expr


class Verdict(StrEnum):
    """How far a formula can be trusted.

    EXACT: the residual is rounding, also on the outermost rows, which were kept out of the fit.
    CONSISTENT: the residual is noise without structure, and no other formula comes close.
    AMBIGUOUS: so it is, but other formulas describe the data as well, or the rows do not determine
    this one: they are few, noise hides too much, or fitted numbers of it could be others.
    APPROXIMATE: the residual has structure that the formula misses.
    NONE: no formula is better than a constant, or only splines describe the data.
    """

    EXACT = "EXACT"
    CONSISTENT = "CONSISTENT"
    AMBIGUOUS = "AMBIGUOUS"
    APPROXIMATE = "APPROXIMATE"
    NONE = "NONE"


@dataclass(frozen=True)
class Table:
    """The rows a law is sought for.

    X: [n, columns]. y: [n]. weight: [n], or None where all rows count the same.
    variables: one real symbol per column, in which formulas are written.
    """

    X: np.ndarray
    y: np.ndarray
    variables: tuple[Symbol, ...]
    weight: np.ndarray | None = None

    def rows(self, which: np.ndarray) -> Table:
        """The rows that an index or mask picks."""
        weight = None if self.weight is None else self.weight[which]
        return Table(self.X[which], self.y[which], self.variables, weight)


@dataclass(frozen=True)
class Options:
    """How a search goes about it.

    max_time: seconds. max_candidates: formulas that are fitted to the data; with this budget alone
    the result does not depend on the speed of the machine. n_jobs: as in joblib.
    functions: names of the library's functions that a formula may use; None for all.
    max_complexity: nodes of the expression tree. noise: standard deviation of y's error, in units
    of y; estimated when None. required, forbidden: names of columns. monotone: {column:
    "increasing" or "decreasing"} and parity: {column: "even" or "odd"}, rules for the formula on
    the rows. forms: {column: expression in the others} of columns that are formulas themselves;
    the rules look inside. units: of the columns and of y, as `kansym.discovery.units.parse_units`
    takes them; target_name: y's name there. checkpoint: folder that keeps what the search has
    done; one that finds its own there goes on from it.
    """

    max_time: float | None = 60.0
    max_candidates: int | None = None
    seed: int = 0
    n_jobs: int | None = None
    functions: tuple[str, ...] | None = None
    max_complexity: int | None = None
    noise: float | None = None
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    monotone: Mapping[str, str] = field(default_factory=dict)
    parity: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[Symbol, Expr] = field(default_factory=dict)
    units: Any = None
    target_name: str = "y"
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Finding:
    """One formula.

    complexity: nodes of the expression tree. loss: mean squared error on the rows kept out of the
    search (the training rows where there are too few). r2: there. score: bits it takes to write
    down the formula and what it leaves unexplained, lower is better.
    found_by: the step of the search.
    """

    expr: Expr
    complexity: int
    loss: float
    r2: float
    score: float
    found_by: str = ""


@dataclass(frozen=True)
class Discovery:
    """What a search found.

    findings: the Pareto front, simplest first; `chosen` is one of them.
    rivals: other formulas that the data hardly tell from the chosen one.
    noise: standard deviation of y's error, given or estimated.
    network: the best spline network (`KAN`) where a formula was not enough; splines_rmse: its error
    on held-out rows, NaN where none was trained.
    n_candidates: formulas fitted. seconds: spent. stopped: "done", "time", "candidates",
    "interrupted".
    """

    findings: tuple[Finding, ...]
    chosen: Finding
    verdict: Verdict
    reason: str
    rivals: tuple[Finding, ...] = ()
    noise: float = 0.0
    splines_rmse: float = float("nan")
    network: Any = None
    n_candidates: int = 0
    seconds: float = 0.0
    stopped: str = "done"


Report = Callable[[str, Finding | None], None]
"""Called with what the search is doing and the best formula so far."""
