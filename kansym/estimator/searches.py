"""One search for each output: one after another, or side by side."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import sympy
from sympy import Symbol

from kansym.boards import Board, board
from kansym.discovery.offsets import with_offsets, without_offsets
from kansym.discovery.records import Discovery, Finding, Options, Report, Table, Verdict
from kansym.discovery.search import concluded, discover
from kansym.errors import WorkerError, visible
from kansym.estimator.progress import ProgressLine
from kansym.symbolic.constants import ConstantProblem, NamedConstant, decimal
from kansym.symbolic.formula import Expr
from kansym.symbolic.snap import snap_expression
from kansym.workers import n_workers, side_by_side

LEAST_TIME = 0.1  # seconds for an output whose turn comes when none are left
LAST_WORDS = 10.0  # seconds for judging what interrupted searches had, all together
PAUSE = 0.5  # seconds between two looks at what searches elsewhere have


def search_all(
    tables: Sequence[Table],
    options: Sequence[Options],
    labels: Sequence[str],
    n_jobs: int | None,
    shows: bool,
) -> tuple[Discovery, ...]:
    """The law behind each table. `max_time` and `n_jobs` of the options are for all together.

    labels: what the targets are called. shows: whether to show a line about the search. Ctrl-C ends
    the searches with what they have.
    """
    workers = n_workers(n_jobs, len(tables))
    if workers == 1 or len(tables) == 1:
        return _one_after_another(tables, options, labels, n_jobs, shows)
    return _side_by_side(tables, options, labels, workers, shows)


def _side_by_side(
    tables: Sequence[Table],
    options: Sequence[Options],
    labels: Sequence[str],
    workers: int,
    shows: bool,
) -> tuple[Discovery, ...]:
    share = workers / len(tables)
    alone = [
        replace(o, n_jobs=1, max_time=None if o.max_time is None else o.max_time * share)
        for o in options
    ]
    found: dict[int, Discovery] = {}
    with board() as words:
        tasks = [
            (turn, (turn, t, o, words))
            for turn, (t, o) in enumerate(zip(tables, alone, strict=True))
        ]
        try:
            with (
                _shown(labels, workers, words, found, shows) as show,
                closing(side_by_side(_search_apart, tasks, workers)) as results,
            ):
                for turn, result in results:
                    if isinstance(result, WorkerError):
                        raise result
                    found[turn] = result
                    show(turn, result.chosen)
        except KeyboardInterrupt:
            left = [turn for turn in range(len(tables)) if turn not in found]
            said = words.read()
            for turn in left:
                o = replace(alone[turn], max_time=LAST_WORDS / len(left))
                found[turn] = _cut_short(tables[turn], o, said.get(turn))
    return tuple(found[turn] for turn in range(len(tables)))


def _search_apart(turn: int, table: Table, options: Options, words: Board) -> Discovery:
    """In a worker: the best formula so far goes on the board, key `turn`."""
    said: Finding | None = None

    def report(step: str, best: Finding | None) -> None:
        nonlocal said
        if best is not None and best != said:
            words.write(turn, best)
            said = best

    return _search(table, options, report)


def _cut_short(table: Table, options: Options, best: Finding | None) -> Discovery:
    """The answer with the best formula that the search had; the mean where it had none."""
    why = "the search was interrupted before its end"
    if best is None:
        return replace(constant(table, why, options.noise), stopped="interrupted")
    centred, offsets = _centred(table, options)
    found = _with_offsets(concluded(centred, options, best), table, offsets)
    return replace(found, reason=f"{found.reason}; {why}")


@contextmanager
def _shown(
    labels: Sequence[str], workers: int, words: Board, found: Mapping[int, Discovery], shows: bool
) -> Iterator[Callable[[int, Finding], None]]:
    """Yields what shows the formula of a search in a line; so does, within the block, what searches
    that go on write on the board."""
    if not shows:
        yield lambda turn, best: None
        return
    line, lock, over = ProgressLine(""), threading.Lock(), threading.Event()
    line(f"{len(labels)} searches, {workers} at a time", None)

    def show(turn: int, best: Finding) -> None:
        with lock:
            line.label = visible(labels[turn])
            line(f"{len(found)} of {len(labels)} searches done", best)

    def follow() -> None:
        before: dict[int, Finding] = {}
        while not over.wait(PAUSE):
            said = words.read()
            for turn, best in said.items():
                if turn not in found and best != before.get(turn):
                    show(turn, best)
            before = said

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield show
    finally:
        over.set()
        thread.join()
        line.close()


def _one_after_another(
    tables: Sequence[Table],
    options: Sequence[Options],
    labels: Sequence[str],
    n_jobs: int | None,
    shows: bool,
) -> tuple[Discovery, ...]:
    found: list[Discovery] = []
    started = time.perf_counter()
    for turn, (table, o, label) in enumerate(zip(tables, options, labels, strict=True)):
        if found and found[-1].stopped == "interrupted":
            why = "the search was interrupted before its turn"
            found.append(replace(constant(table, why, o.noise), stopped="interrupted"))
            continue
        left = None
        if o.max_time is not None:
            # A search that was gone on with had seconds before this process began.
            spent = max(time.perf_counter() - started, sum(one.seconds for one in found))
            left = max((o.max_time - spent) / (len(tables) - turn), LEAST_TIME)
        line = ProgressLine(label) if shows else None
        try:
            found.append(_search(table, replace(o, n_jobs=n_jobs, max_time=left), line))
        finally:
            if line is not None:
                line.close()
    return tuple(found)


def _search(table: Table, options: Options, report: Report | None) -> Discovery:
    if (table.y == table.y[0]).all():
        return constant(table, "the target is the same in every row", options.noise)
    if (np.ptp(table.X, axis=0) == 0).all():
        return constant(table, "no column varies, so that nothing can explain it", options.noise)
    centred, offsets = _centred(table, options)
    return _with_offsets(discover(centred, options, report), table, offsets)


def _centred(table: Table, options: Options) -> tuple[Table, dict[str, float]]:
    """The table that is searched: columns without their offsets, and these."""
    # Parity is about 0, and a number taken from a column with a unit would have none.
    kept = [str(v) for v in table.variables] if options.units is not None else options.parity
    return without_offsets(table, kept or ())


def _with_offsets(found: Discovery, table: Table, offsets: Mapping[str, float]) -> Discovery:
    """What was found of columns without their offsets, in the columns themselves."""
    if not offsets:
        return found
    if found.network is not None:
        shift = [offsets.get(str(v), 0.0) for v in table.variables]
        found.network.input_shift += found.network.input_shift.new_tensor(shift)
    return substituted(found, with_offsets(table.variables, offsets))


def constant(table: Table, reason: str, noise: float | None = None) -> Discovery:
    """The mean as the only formula."""
    mean = float(np.average(table.y, weights=table.weight))
    loss = float(np.average((table.y - mean) ** 2, weights=table.weight))
    whole = math.isfinite(mean) and mean == int(mean) and abs(mean) < 1e15
    expr: Expr = sympy.Integer(int(mean)) if whole else decimal(mean)
    finding = Finding(expr, 1, loss, 0.0 if loss else 1.0, 0.0, "constant")
    return Discovery(
        (finding,),
        finding,
        Verdict.NONE,
        reason,
        noise=math.sqrt(loss) if noise is None else noise,
    )


def with_columns(table: Table, columns: Mapping[Symbol, np.ndarray]) -> Table:
    """The table with further columns, values [n] each."""
    if not columns:
        return table
    X = np.column_stack([table.X, *columns.values()])
    return replace(table, X=X, variables=(*table.variables, *columns))


def substituted(found: Discovery, exprs: Mapping[Symbol, Expr]) -> Discovery:
    """The discovery with expressions in the places of symbols, and the complexity they have."""

    def back(expr: Expr) -> Expr:
        return expr.xreplace(dict(exprs))

    return _with_formulas(found, back) if exprs else found


def with_names(found: Discovery, table: Table, known: Sequence[NamedConstant]) -> Discovery:
    """The discovery with known constants by their names, where the data bear them out."""
    if not known:
        return found
    problem = ConstantProblem(table.variables, table.X, table.y, table.weight)

    def named(expr: Expr) -> Expr:
        return snap_expression(expr, problem, known=known)[0]

    return _with_formulas(found, named)


def _with_formulas(found: Discovery, change: Callable[[Expr], Expr]) -> Discovery:
    """Every formula changed, losses as they are."""

    def changed(finding: Finding) -> Finding:
        expr = change(finding.expr)
        return replace(finding, expr=expr, complexity=count_nodes(expr))

    findings = {f: changed(f) for f in (*found.findings, found.chosen, *found.rivals)}
    return replace(
        found,
        findings=tuple(sorted((findings[f] for f in found.findings), key=lambda f: f.complexity)),
        chosen=findings[found.chosen],
        rivals=tuple(findings[f] for f in found.rivals),
    )


def count_nodes(expr: Expr) -> int:
    """Nodes of the expression tree."""
    return sum(1 for _ in sympy.preorder_traversal(expr))


def checkpoint_of(folder: Path | None, output: int, n_outputs: int) -> Path | None:
    """Where one output's search is kept: the folder itself, or its own within it, made."""
    if folder is None or n_outputs == 1:
        return folder
    own = folder / f"output-{output + 1}"
    own.mkdir(exist_ok=True)
    return own
