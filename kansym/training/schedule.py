"""Coarse to fine: train on one grid after another as long as that pays.

A fine grid from random parameters overfits; refined from a trained coarse one it starts where that
ended (Liu et al. 2024, arXiv:2404.19756, sec. 2.4). Whether it pays is judged by the loss on the
test part, or without one by generalised cross-validation (Golub, Heath and Wahba 1979,
doi:10.1080/00401706.1979.10489751),

    GCV = (RSS / n) / (1 - df / n)^2,      df = tr (J'J + K)^-1 J'J,

which charges every degree of freedom and is infinite for a network that could follow any data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch

from kansym.errors import check_grid
from kansym.jacobian import FreeParameters
from kansym.network import Network
from kansym.training.grids import refine_grids
from kansym.training.history import GridScore, History
from kansym.training.loop import FitOptions, train
from kansym.training.objective import Objective
from kansym.training.quadratic import roughness_matrix
from kansym.training.sides import Data, side_of

DEFAULT_GRIDS = (1, 2, 3, 5, 10, 20, 40, 80)
WORTHWHILE = 0.9  # of the best score so far, which a finer grid must get below
MIN_FREEDOM = 0.05  # 1 - df / n below which a fit says nothing about data it has not seen


def check_grids(grids: Sequence[int] | str) -> tuple[int, ...]:
    """Rising numbers of intervals; "auto" stands for `DEFAULT_GRIDS`."""
    if isinstance(grids, str) and grids == "auto":
        return DEFAULT_GRIDS
    if isinstance(grids, str) or not isinstance(grids, Iterable):
        raise ValueError(f"grids must be 'auto' or numbers of intervals, got {grids!r}")
    checked = tuple(check_grid("grids", grid) for grid in grids)
    if not checked or any(b <= a for a, b in pairwise(checked)):
        raise ValueError(f"grids must rise, for example (5, 10, 30), got {list(grids)!r}")
    return checked


def check_judge(data: Data, options: FitOptions) -> None:
    """ValueError where nothing could say how a grid did."""
    if not side_of(data).has_test and not options.objective(options.opt).has_residuals:
        raise ValueError(
            "grids need a test part to be judged by, (X, y, X_test, y_test), unless loss is 'mse' "
            "or 'huber'"
        )


def train_on_grids(
    network: Network,
    data: Data,
    options: FitOptions,
    grids: Sequence[int],
    folder: Path | None = None,
) -> History:
    """`train` on each grid in turn, in place, until a grid does not better the one before by a
    tenth; the network ends on the best. Every grid gets `options.steps` steps.

    The history holds the steps on all grids, and how each did; `best_step` lies on the grid that
    was kept. folder: where to keep a file for each grid, see `train`; grids that were done are then
    passed over.
    """
    whole: History | None = None
    judge = "test" if side_of(data).has_test else "gcv"
    best = network.layers
    scores: list[GridScore] = []
    started, left = time.perf_counter(), options.max_time
    try:
        for grid in grids:
            refine_grids(network, grid)
            begun = time.perf_counter()
            file = None if folder is None else folder / f"grid-{grid}.kansym"
            history = train(network, data, replace(options, max_time=left), file)
            # Seconds of the run that this one goes on from count as if spent in it.
            started -= max(0.0, history.seconds - (time.perf_counter() - begun))
            score = _score(network, data, options.objective(history.opt), history)
            is_better = not scores or score < WORTHWHILE * min(s.score for s in scores)
            scores.append(GridScore(grid, judge, score))
            whole = history if whole is None else whole.followed_by(history, is_better)
            if is_better:
                best = network.copy().layers
            if history.stopped in ("interrupted", "callback", "max_time"):
                break
            # While all are infinite, none says anything: the next may.
            if not is_better and math.isfinite(min(s.score for s in scores)):
                break
            if options.max_time is not None:
                left = options.max_time - (time.perf_counter() - started)
                if left <= 0:
                    whole.stopped = "max_time"
                    break
    finally:  # also when a callback raised
        network.layers = best
    assert whole is not None
    return replace(whole, grids=tuple(scores))


@torch.no_grad()
def _score(network: Network, data: Data, objective: Objective, history: History) -> float:
    """How good the network is; infinite, and the history interrupted, where Ctrl-C came first."""
    try:
        side = side_of(data)
        if side.has_test:
            value, _ = side.judge(network, objective, {})
            return value if value is not None and math.isfinite(value) else math.inf
        return gcv(network, data, objective)
    except KeyboardInterrupt:
        history.stopped = "interrupted"
        return math.inf


@torch.no_grad()
def gcv(network: Network, data: Data, objective: Objective) -> float:
    """Generalised cross-validation of a network at the rows it was trained on; see the module."""
    free = FreeParameters(network)
    side = side_of(data)
    model, _ = side.rows(network, objective).normal_equations()
    if not math.isfinite(model.value):
        return math.inf
    held = model.curvature + roughness_matrix(network, free, objective.penalty)
    # What neither data nor prior determine takes no part.
    held = held + 1e-14 * torch.diag(model.curvature.diagonal().clamp(min=1e-300))
    # On the CPU: a GPU has no driver for matrices that lack rank.
    smoother = torch.linalg.lstsq(held.cpu(), model.curvature.cpu(), driver="gelsd").solution
    freedom = float(smoother.trace())
    left = 1 - freedom / (side.n_residuals(network))
    return model.value / left**2 if left > MIN_FREEDOM else math.inf
