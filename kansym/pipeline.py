"""The whole way in one call: train, sparsify, prune, merge, refine, name, snap.

Each width is taken through all stages, and the formula with the lowest

    n log2 (relative RMSE) + 6 complexity of the named edges

on the n rows of the test part (of the training part without one) is kept: the bits it takes to
write down what the formula leaves unexplained, and the formula. A width whose splines hardly better
the best formula so far is not named, and the search ends early when a formula fits to rounding.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from kansym.datasets import Dataset, as_dataset
from kansym.errors import (
    EmptyNetworkError,
    check_above_0,
    check_bool,
    check_callable,
    check_positive_int,
    check_seed,
    visible,
)
from kansym.files import in_use
from kansym.functions import get_library
from kansym.model import KAN
from kansym.network import parse_width
from kansym.symbolic import AutoStep, Formula, log_rmse, network_complexity
from kansym.training import History, tournament

if TYPE_CHECKING:
    from kansym.views.report import Contents, Entry

Width = Sequence[int | Sequence[int]]
T = TypeVar("T")
Report = Callable[[str], None]

FIRST_STEPS = 5  # of each start
COMPLEXITY_BITS = 6.0  # a function of complexity 2 has 3 or 4 constants of 3 to 4 bits
LITTLE_R2, DOUBTFUL_R2 = 0.3, 0.999
FAR_FROM_SPLINES = 1.5  # times their RMSE
LARGEST = 1e150  # the square of a larger number is not finite
WORTHWHILE = 0.9  # of the best formula's RMSE, which a wider network must get below
EXACT_RMSE = 1e-9  # relative to the spread of y; a formula this good needs no rival


@dataclass(frozen=True)
class Recipe:
    """How a network is trained and cut down; see `KAN` and `KAN.fit`.

    restarts: networks with other initial parameters that begin a tournament (see
    `kansym.training.tournament`): sparse training ends in different structures. The winner gets
    `steps` more steps when it is the only one, half of them otherwise.
    """

    opt: str = "LM"
    grid: int = 5
    k: int = 3
    steps: int = 60
    lamb: float = 1e-3
    restarts: int = 8
    node_th: float = 1e-2
    edge_th: float = 1e-2
    refined_grid: int = 10

    def __post_init__(self) -> None:
        check_positive_int("restarts", self.restarts)
        check_positive_int("refined_grid", self.refined_grid)


@dataclass(frozen=True)
class FormulaResult:
    """What `find_formula` found.

    model: every active edge named. spline_model: the same structure before naming.
    formula: constants snapped where the data bear it out. decimal_formula: equal to the model.
    r2, rmse: of `formula` on the rows named by `tested_on` ("test" or "train"), one number per
    output; spline_rmse: of the spline model there. The test part also chose the best step of each
    fit and between the widths, so these figures are a little kind; keep rows of your own for a last
    word. seconds: per stage, summed over all widths. data: what the formula was sought in. doubts:
    warnings about the names. arguments: of `find_formula`, but for the data.
    """

    model: KAN
    spline_model: KAN
    formula: Formula
    decimal_formula: Formula
    steps: tuple[AutoStep, ...]
    width: Width
    r2: tuple[float, ...]
    rmse: tuple[float, ...]
    spline_rmse: tuple[float, ...]
    tested_on: str
    seconds: dict[str, float] = field(repr=False)
    data: Dataset = field(repr=False)
    doubts: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Plain words about what the formula is not."""
        lines = []
        if self.tested_on == "train":
            lines.append("no rows were kept aside: judged on the rows it was fitted to")
        for target, r2, rmse, spline in zip(
            self.formula.target_names, self.r2, self.rmse, self.spline_rmse, strict=True
        ):
            target = visible(target)
            if not r2 > LITTLE_R2:
                lines.append(f"{target}: explains little or nothing")
            elif rmse > FAR_FROM_SPLINES * spline and r2 < DOUBTFUL_R2:
                lines.append(f"{target}: far behind the splines; the names may be wrong")
        return tuple(lines)

    def report(
        self, path: str | Path, *, title: str | None = None, code: str | None = None
    ) -> Path:
        """Write one HTML page about the result, which needs nothing else; the file it is in.

        It shows the formula, the same with decimal constants, and the splines, with network and
        residuals on the rows of `tested_on`. code: what to run to get it again, as text.
        """
        from kansym.views.report import write_report

        return write_report(_report_contents(self, title, code), path)


def find_formula(
    dataset: Any,
    width: Width | None = None,
    *,
    lib: Iterable[str] | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    max_time: float | None = None,
    progress: bool = False,
    report: Report | None = None,
    checkpoint: str | Path | None = None,
) -> FormulaResult:
    """A formula for a data set.

    dataset: as for `KAN.fit`. width: of the network; by default no hidden row, then a row of 5 sum
    nodes, then one of 2 sum and 2 product nodes, as far as the data determine them.
    lib: names of the functions to use. max_time: seconds; no width is begun after that, and fits
    end early; naming that is under way is finished. progress: show a bar while training.
    report: called with a line about each stage. checkpoint: a folder, made if missing, in which
    every fit is kept; the same call goes on from there, see `KAN.fit`. Naming begins anew.

    Ctrl-C ends the search with the best formula so far, or as an interrupt where there is none.
    Raises ValueError for bad data or arguments, a constant target among them; EmptyNetworkError
    when nothing in X explains y; for a checkpoint, what `KAN.fit` does.
    """
    recipe = Recipe() if recipe is None else recipe
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe must be a Recipe, got {recipe!r}")
    check_seed("seed", seed)
    check_bool("progress", progress)
    if width is not None:
        parse_width(width)
    data = as_dataset(dataset)
    _check_explainable(data)
    library = None if lib is None else [function.name for function in get_library(lib)]
    clock = _Clock(max_time, report)
    with nullcontext() if checkpoint is None else in_use(checkpoint, "checkpoint") as folder:
        fits = _Fits(data, clock, folder)
        return _best_formula(data, width, library, recipe, seed, progress, clock, fits)


def _best_formula(
    data: Dataset,
    width: Width | None,
    library: list[str] | None,
    recipe: Recipe,
    seed: int,
    progress: bool,
    clock: _Clock,
    fits: _Fits,
) -> FormulaResult:
    """The best over the widths."""
    best: tuple[float, FormulaResult] | None = None
    doubts: list[warnings.WarningMessage] = []
    failure: EmptyNetworkError | None = None
    for shape in default_widths(data, recipe) if width is None else [width]:
        if best is not None and clock.left() <= 0:
            break
        try:
            splines = _sparse_model(data, shape, recipe, seed, progress, clock, fits)
            if best is not None and not _is_worth_naming(splines, best[1], data):
                continue
            with warnings.catch_warnings(record=True) as raised:
                warnings.simplefilter("always")
                result = _named(splines, data, shape, library, clock)
        except EmptyNetworkError as error:
            failure = error
            continue
        except KeyboardInterrupt:
            if best is None:
                raise
            break
        score = _description_length(result.model, data)
        if best is None or score < best[0]:
            best, doubts = (score, result), raised
        if all(1 - r2 <= EXACT_RMSE**2 for r2 in result.r2):
            break
    if best is None:
        assert failure is not None
        raise failure
    for doubt in doubts:  # of the formula that is handed out, not of those that lost
        warnings.warn(doubt.message, stacklevel=3)
    given = {
        "width": width,
        "lib": library,
        "recipe": recipe,
        "seed": seed,
        "max_time": clock.max_time,
    }
    return replace(best[1], doubts=tuple(str(doubt.message) for doubt in doubts), arguments=given)


def _check_explainable(data: Dataset) -> None:
    for name, values in (("X", data.X), ("y", data.y)):
        if float(values.abs().max()) > LARGEST:
            raise ValueError(f"{name} must stay below {LARGEST:g} in size; choose larger units")
    if not bool(torch.diff(data.X, dim=0).any()):
        raise ValueError("X must vary; every column is constant, so that nothing can explain y")
    names = data.target_names or (["y"] if data.y.shape[1] == 1 else None)
    for o in torch.nonzero((data.y == data.y[0]).all(0)).flatten().tolist():
        name = names[o] if names else f"column {o} of y"
        raise ValueError(
            f"{visible(name)} must vary, got {float(data.y[0, o]):g} in every training row; "
            "there is nothing to explain"
        )


def default_widths(data: Dataset, recipe: Recipe) -> list[Width]:
    """Shapes from small to large. One with more coefficients than there are data values is left
    out, unless it is the first."""
    n_in, n_out = data.X.shape[1], data.y.shape[1]
    shapes: list[Width] = [[n_in, n_out], [n_in, 5, n_out], [n_in, [2, 2], n_out]]
    affordable = [shape for shape in shapes if _n_coefficients(shape, recipe) <= data.y.numel()]
    return affordable or shapes[:1]


def _n_coefficients(width: Width, recipe: Recipe) -> int:
    rows = parse_width(width)
    pairs = pairwise(rows)
    n_edges = sum(before.total * (after.n_sum + 2 * after.n_product) for before, after in pairs)
    return n_edges * (recipe.grid + recipe.k + 1)


class _Clock:
    """Seconds per stage, and what is left of the budget."""

    def __init__(self, max_time: float | None, report: Report | None):
        if max_time is not None:
            check_above_0("max_time", max_time)
        if report is not None:
            check_callable("report", report, "of a line")
        self.started = time.perf_counter()
        self.max_time, self.report = max_time, report
        self.seconds: dict[str, float] = {}

    def left(self) -> float:
        spent = time.perf_counter() - self.started
        return math.inf if self.max_time is None else self.max_time - spent

    def budget(self) -> float | None:
        """max_time for a fit: what is left, but always enough for a first step."""
        return None if self.max_time is None else max(self.left(), 0.1)

    def stage(self, name: str, detail: str, action: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = action()
        spent = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        if self.report is not None:
            self.report(f"{name} {detail}".strip() + f": {spent:.1f} s")
        return result


class _Fits:
    """The fits of a run, one after another; where there is a folder, each kept in its own there."""

    def __init__(self, data: Dataset, clock: _Clock, folder: Path | None):
        self.data, self.clock, self.folder, self.count = data, clock, folder, 0

    def fit(self, model: KAN, opt: str, steps: int, **options: Any) -> History:
        self.count += 1
        place = None if self.folder is None else self.folder / f"fit-{self.count}"
        begun, left = time.perf_counter(), self.clock.budget()
        history = model.fit(self.data, opt, steps, max_time=left, checkpoint=place, **options)
        # Seconds of the run that this one goes on from count as if spent in it.
        self.clock.started -= max(0.0, history.seconds - (time.perf_counter() - begun))
        if history.stopped == "interrupted":
            raise KeyboardInterrupt
        return history


def _sparse_model(
    data: Dataset,
    width: Width,
    recipe: Recipe,
    seed: int,
    progress: bool,
    clock: _Clock,
    fits: _Fits,
) -> KAN:
    """Train with the penalty, cut the structure out, and train that to the end on a finer grid."""

    def fit(model: KAN, steps: int) -> History:
        return fits.fit(model, recipe.opt, steps, lamb=recipe.lamb, progress=progress)

    def sparsify() -> KAN:
        seeds = np.random.SeedSequence(seed).generate_state(recipe.restarts).tolist()
        seeds = [seed] if recipe.restarts == 1 else seeds
        models = [KAN(width, recipe.grid, recipe.k, seed=start) for start in seeds]
        last = recipe.steps if recipe.restarts == 1 else (recipe.steps + 1) // 2
        return tournament(models, fit, FIRST_STEPS, last)

    def polish(model: KAN, update_grid: bool) -> None:
        fits.fit(model, "LM", 50, update_grid=update_grid, progress=False)

    def refit(model: KAN) -> KAN:
        coarse = model.prune(recipe.node_th, recipe.edge_th).merge()
        polish(coarse, update_grid=True)
        n_coefficients = coarse.n_active_edges * (recipe.refined_grid + recipe.k + 1)
        if n_coefficients > data.y.numel() or recipe.refined_grid <= recipe.grid:
            return coarse
        fine = coarse.refine(recipe.refined_grid)
        polish(fine, update_grid=False)
        return min(coarse, fine, key=lambda candidate: sum(_rmse(candidate, data)))

    sparse = clock.stage("train", f"width {list(width)}", sparsify)
    return clock.stage("prune and refit", "", lambda: refit(sparse))


def _description_length(model: KAN, data: Dataset) -> float:
    _, X, y = _judged(data)
    return len(y) * log_rmse(model, X, y) + COMPLEXITY_BITS * network_complexity(model, X)


def _is_worth_naming(splines: KAN, best: FormulaResult, data: Dataset) -> bool:
    """Naming costs more than training: only for splines clearly better than the best formula."""
    pairs = zip(_rmse(splines, data), best.rmse, strict=True)
    return any(new < WORTHWHILE * old for new, old in pairs)


def _named(
    splines: KAN, data: Dataset, width: Width, library: list[str] | None, clock: _Clock
) -> FormulaResult:
    model = splines.copy()
    steps = clock.stage("name", "", lambda: model.auto_symbolic(library, clock.budget()))
    decimal = model.symbolic_formula()
    formula = clock.stage("snap", "", lambda: model.symbolic_formula(snap=True))
    where, X, y = _judged(data)
    error = torch.as_tensor(formula.evaluate(X)) - y
    variance = y.var(0, correction=0)
    r2 = 1 - (error**2).mean(0) / torch.where(variance > 0, variance, 1.0)
    return FormulaResult(
        model=model,
        spline_model=splines,
        formula=formula,
        decimal_formula=decimal,
        steps=steps,
        width=width,
        r2=tuple(r2.tolist()),
        rmse=tuple((error**2).mean(0).sqrt().tolist()),
        spline_rmse=_rmse(splines, data),
        tested_on=where,
        seconds=clock.seconds,
        data=data,
    )


def _judged(data: Dataset) -> tuple[str, Tensor, Tensor]:
    """The rows to judge by: the test part if there is one."""
    if data.X_test is None or data.y_test is None:
        return "train", data.X, data.y
    return "test", data.X_test, data.y_test


@torch.no_grad()
def _rmse(model: KAN, data: Dataset) -> tuple[float, ...]:
    _, X, y = _judged(data)
    return tuple(((model(X) - y) ** 2).mean(0).sqrt().tolist())


def _report_contents(result: FormulaResult, title: str | None, code: str | None) -> Contents:
    from kansym.views.report import network_contents

    where, X, y = _judged(result.data)
    targets = result.formula.target_names
    contents = network_contents(
        result.model,
        X,
        y,
        result.model.network_view(X, {step.edge: step.r2 for step in result.steps}),
        names=result.data.feature_names,
        targets=targets,
        formula=result.formula,
        history=result.spline_model.history,
        warnings=(*result.remarks, *result.doubts),
        title=title,
        code=_call_text(result.arguments) if code is None else code,
    )
    (front,) = contents.fronts
    entries = [_formula_entry(result, result.formula, front.entries[0], X, y)]
    if result.decimal_formula.exprs != result.formula.exprs:
        entries.append(_formula_entry(result, result.decimal_formula, front.entries[0], X, y))
    entries.append(_spline_entry(result, X, y))
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in result.seconds.items())
    return replace(
        contents,
        kind="network, named",
        fronts=(replace(front, entries=tuple(entries)),),
        tested_on=f"of the {len(X)} {where} rows; {len(result.data.X)} rows were fitted",
        facts=(*contents.facts, ("seconds", seconds)),
    )


def _formula_entry(
    result: FormulaResult, formula: Formula, entry: Entry, X: Tensor, y: Tensor
) -> Entry:
    """The network's entry with the figures of a formula that is written a little differently."""
    from kansym.views.report import fits_of, judged_figures

    is_chosen = formula is result.formula
    predicted, observed = formula.evaluate(X), y.double().numpy()
    r2, rmse = judged_figures(observed, predicted)
    return replace(
        entry,
        formula=formula,
        complexity=formula.complexity(),
        r2=r2,
        error=rmse,
        fits=fits_of(formula.target_names, observed, predicted),
        label="" if is_chosen else "constants as fitted",
        is_chosen=is_chosen,
    )


def _spline_entry(result: FormulaResult, X: Tensor, y: Tensor) -> Entry:
    from kansym.views.report import Entry, fits_of, judged_figures

    with torch.no_grad():
        predicted, observed = result.spline_model(X).double().numpy(), y.double().numpy()
    r2, rmse = judged_figures(observed, predicted)
    fits = fits_of(result.formula.target_names, observed, predicted)
    view = result.spline_model.network_view(X)
    return Entry(None, None, r2, rmse, view, fits, label="splines, before naming")


def _call_text(arguments: dict[str, Any]) -> str:
    """The call of `find_formula` with these arguments."""
    defaults = {"seed": 0, "recipe": Recipe()}
    given = [f"{k}={v!r}" for k, v in arguments.items() if v != defaults.get(k)]
    imports = "Recipe, find_formula" if any("Recipe(" in text for text in given) else "find_formula"
    call = ", ".join(["(X, y)", *given])
    return f"from kansym import {imports}\n\nresult = find_formula({call})"
