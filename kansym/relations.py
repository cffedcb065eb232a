"""Relations among the columns of a table of which none is known to be the outcome.

Every column is asked for: a smooth surface over the others tells whether it follows from them at
all, and from which; where it does, `KANRegressor` looks for the formula. One relation is found
again and again that way, solved for each of its columns, and so are its consequences together
with others. As g(columns) = 0 they all have the same tangent space: a relation whose gradient lies
in the span of those of simpler ones, at the rows, says nothing new and is dropped.

The question is that of Liu et al. 2024, arXiv:2404.19756, sec. 4.3, who train one network to tell
rows from rows with shuffled columns.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy

from kansym.arrays import as_matrix, as_pandas, column_names
from kansym.discovery.records import Verdict
from kansym.discovery.surrogate import Surface
from kansym.errors import check_above_0, check_positive_int, check_seed, is_number, shown
from kansym.symbolic import names as naming
from kansym.symbolic.formula import Expr, Formula, round_floats

if TYPE_CHECKING:
    import pandas as pd

    from kansym.estimator import KANRegressor

Symbols = tuple[sympy.Symbol, ...]

ROWS = 300  # of a surface, and of the rows where gradients are compared
MATTERS = 0.02  # slope of a column, in standard deviations, from which it is part of a relation
IMPLIED = 0.1  # share of a gradient outside the span of others, up to which it is theirs
STEP = 1e-4  # of a column's standard deviation, for a slope
LEAST_TIME = 1.0  # seconds for one search, whatever is left
FEWEST_ROWS = 12
DIGITS = 4  # of constants in text
COLUMNS = ("relation", "columns", "formula", "R2", "verdict", "law")


@dataclass(frozen=True)
class _Solved:
    """A relation, solved for column `target`. expr: in `symbols`, one for each column."""

    target: int
    expr: Expr
    complexity: int
    r2: float
    verdict: Verdict


def find_relations(
    frame: Any,
    *,
    least_r2: float = 0.9,
    max_time: float | None = 120.0,
    max_candidates: int | None = None,
    random_state: int = 0,
) -> pd.DataFrame:
    """The relations that hold among the columns, simplest first.

    frame: [n, columns], at least two columns and 12 rows of finite numbers. least_r2: in (0, 1);
    share of a column's variance that the others must explain, left-out rows of a surface and then
    of the formula. max_time: seconds for all searches, or None; max_candidates: formulas to fit in
    one search; with max_time=None the result does not depend on the machine.

    Columns of the answer: relation (text, "pressure*volume - 8.314*T = 0"), columns (the names in
    it), formula (text, "pressure = 8.314*T/volume": solved for the column that was looked for), R2
    and verdict of that search, law (the formula as `Formula`). A relation solved for another
    column, or one that follows from simpler ones, is not listed again. Ctrl-C ends the call with
    the relations so far. Every column costs a surface over all others: meant for dozens of columns.
    Raises ValueError for bad data or arguments.
    """
    import pandas as pd

    from kansym.estimator import KANRegressor

    if not is_number(least_r2) or not 0 < float(least_r2) < 1:
        raise ValueError(f"least_r2 must be a number between 0 and 1, got {shown(least_r2)}")
    seed = check_seed("random_state", random_state)
    if max_candidates is not None:
        check_positive_int("max_candidates", max_candidates)
    seconds = None if max_time is None else check_above_0("max_time", max_time)
    started = time.perf_counter()
    frame = as_pandas(frame, "frame")
    X = as_matrix(frame, "frame").double().cpu().numpy()
    if X.shape[1] < 2 or len(X) < FEWEST_ROWS:
        raise ValueError(
            f"frame must have at least 2 columns and {FEWEST_ROWS} rows, got shape {X.shape}"
        )
    names = column_names(frame)
    symbols = naming.symbols(names, X.shape[1])
    names = names or tuple(str(s) for s in symbols)
    picked = np.random.default_rng(seed).permutation(len(X))[:ROWS]
    followed = _followed(X[picked], least_r2)
    solved: list[_Solved] = []
    for done, (target, others) in enumerate(followed.items()):
        if any(set(others) | {target} == _columns(s, symbols) for s in solved):
            continue  # the same relation, solved for another column
        share = None
        if seconds is not None:
            left = seconds - (time.perf_counter() - started)
            share = max(left / (len(followed) - done), LEAST_TIME)
        est = KANRegressor(
            max_time=share, max_candidates=max_candidates, random_state=seed, progress=False
        )
        found = _solve(est, X, target, others, symbols)
        if found is None:
            break  # Ctrl-C
        if found.verdict != Verdict.NONE and found.r2 >= least_r2:
            solved.append(found)
    kept = _independent(sorted(solved, key=lambda s: s.complexity), X[picked], symbols)
    rows = [_row(s, symbols, names) for s in kept]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _followed(X: np.ndarray, least_r2: float) -> dict[int, list[int]]:
    """{column: others it follows from}, the best explained first."""
    varies = np.flatnonzero(np.ptp(X, axis=0) > 0)
    found = {}
    for target in varies.tolist():
        others = varies[varies != target]
        if not len(others):
            continue
        surface = Surface(X[:, others], X[:, target])
        moves = np.sqrt(np.mean(surface.slopes() ** 2, 0)) * X[:, others].std(0)
        matter = others[moves > MATTERS * X[:, target].std()].tolist()
        if surface.error**2 <= 1 - least_r2 and matter:
            found[target] = (surface.error, matter)
    ordered = sorted(found, key=lambda target: (len(found[target][1]), found[target][0]))
    return {target: found[target][1] for target in ordered}


def _solve(
    est: KANRegressor, X: np.ndarray, target: int, others: list[int], symbols: Symbols
) -> _Solved | None:
    """What the search found; None where it was interrupted."""
    est.fit(X[:, others], X[:, target])
    (found,) = est._discoveries()
    if found.stopped == "interrupted":
        return None
    chosen = found.chosen
    columns = [symbols[i] for i in others]
    expr = chosen.expr.xreplace(dict(zip(est.formula_.variables, columns, strict=True)))
    return _Solved(target, expr, chosen.complexity, chosen.r2, found.verdict)


def _columns(solved: _Solved, symbols: Symbols) -> set[int]:
    used = {i for i, s in enumerate(symbols) if s in solved.expr.free_symbols}
    return used | {solved.target}


def _independent(solved: list[_Solved], X: np.ndarray, symbols: Symbols) -> list[_Solved]:
    """Those whose gradients are not in the span of those before them, at most rows."""
    kept: list[_Solved] = []
    spans = np.zeros((len(X), X.shape[1], 0))  # [row, column, relation], orthonormal
    for s in solved:
        gradient = _gradient(s, X, symbols)
        length = np.linalg.norm(gradient, axis=1, keepdims=True)
        gradient = gradient / np.where(length > 0, length, 1.0)
        rest = gradient - np.einsum("ncr,nmr,nm->nc", spans, spans, gradient)
        left = np.linalg.norm(rest, axis=1)
        known = np.isfinite(left)
        if known.any() and np.median(left[known]) > IMPLIED:
            kept.append(s)
            new = np.nan_to_num(rest / np.where(left > 0, left, 1.0)[:, None])
            spans = np.concatenate([spans, new[:, :, None]], axis=2)
    return kept


def _gradient(solved: _Solved, X: np.ndarray, symbols: Symbols) -> np.ndarray:
    """d(target - expr) / d column at rows X, times the column's standard deviation, [n, columns].

    By central differences, for not every function that a formula may use has a derivative.
    """
    law, deviation = Formula([solved.expr], symbols), X.std(0)
    gradient = np.zeros(X.shape)
    for i in _columns(solved, symbols) - {solved.target}:
        step = np.zeros(X.shape[1])
        step[i] = STEP * deviation[i]
        gradient[:, i] = (law.evaluate(X - step) - law.evaluate(X + step))[:, 0] / (2 * STEP)
    gradient[:, solved.target] = deviation[solved.target]
    return gradient


def _row(solved: _Solved, symbols: Symbols, names: tuple[str, ...]) -> tuple[Any, ...]:
    target, name = symbols[solved.target], names[solved.target]
    implicit = sympy.numer(sympy.together(target - solved.expr))
    law = Formula([solved.expr], symbols, names, [name])
    columns = tuple(names[i] for i in sorted(_columns(solved, symbols)))
    relation = f"{round_floats(implicit, DIGITS)} = 0"
    return relation, columns, str(law), solved.r2, solved.verdict, law
