"""Spline networks: what there is to say where no formula is found.

Small shapes first, product nodes among them, two starts each; a coarse-to-fine fit by
Levenberg-Marquardt, judged on rows kept out of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from kansym.discovery.budget import Budget
from kansym.discovery.records import Table
from kansym.model import KAN
from kansym.workers import n_workers, side_by_side

STARTS = 2
STEPS = 40
GRIDS = (3, 6, 12)
LEAST_ROWS = 40
LEAST_SECONDS = 3.0
LEAST_SHARE = 0.1
MOST_COLUMNS = 12
MOST_COEFFICIENTS = 0.5  # per row


@dataclass(frozen=True)
class SplineNetwork:
    """A trained network and its RMSE on the rows held out."""

    model: KAN
    rmse: float


def shapes(m: int) -> list[list[int | list[int]]]:
    """From additive to two layers with sum and product nodes."""
    return [[m, 1], [m, [0, 1], 1], [m, [1, 1], 1], [m, [2, 2], 1], [m, 5, 1]]


def best_network(
    train: Table,
    held_out: Table,
    seed: int,
    n_jobs: int | None,
    budget: Budget,
    checkpoint: Path | None = None,
) -> SplineNetwork | None:
    """The network with the least error on held-out rows; None when there is too little to fit.

    checkpoint: folder in which every fit has one of its own, see `KAN.fit`. Ties are broken by the
    order of the shapes, so that the result does not depend on n_jobs. A fit that was lost with its
    worker is left out.
    """
    n, m = train.X.shape
    plans = [
        (width, seed + start)
        for width in shapes(m)
        for start in range(STARTS)
        if _n_coefficients(width) <= MOST_COEFFICIENTS * n
    ]
    if n < LEAST_ROWS or m > MOST_COLUMNS or not plans or len(held_out.y) == 0:
        return None
    workers = n_workers(n_jobs, len(plans))
    if workers == 1:
        found = []
        for turn, plan in enumerate(plans):
            if not budget.is_over:
                share = _share(budget, len(plans) - turn)
                found.append(_trained(train, held_out, *plan, share, _place(checkpoint, turn)))
    else:
        share = _share(budget, len(plans))
        tasks = [
            (turn, (train, held_out, *plan, share, _place(checkpoint, turn)))
            for turn, plan in enumerate(plans)
        ]
        with closing(side_by_side(_trained, tasks, workers)) as results:
            done = dict(results)
        found = [done[turn] for turn in range(len(plans))]
    usable = [n for n in found if isinstance(n, SplineNetwork) and np.isfinite(n.rmse)]
    return min(usable, key=lambda network: network.rmse, default=None)


def _place(checkpoint: Path | None, turn: int) -> Path | None:
    return None if checkpoint is None else checkpoint / f"network-{turn + 1}"


def _share(budget: Budget, n: int) -> float | None:
    """Seconds for one of n fits."""
    left = budget.seconds_left
    return max(left / n, LEAST_SHARE) if np.isfinite(left) else None


def _n_coefficients(width: Sequence[int | list[int]]) -> int:
    rows = [entry if isinstance(entry, list) else [entry, 0] for entry in width]
    edges = sum(sum(a) * (b[0] + 2 * b[1]) for a, b in pairwise(rows))
    return edges * (GRIDS[0] + 4)


def _trained(
    train: Table,
    held_out: Table,
    width: Sequence[int | list[int]],
    seed: int,
    share: float | None,
    checkpoint: Path | None,
) -> SplineNetwork:
    model = KAN(width, GRIDS[0], 3, mult_arity=2, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = model.fit(
            (train.X, train.y, held_out.X, held_out.y),
            "LM",
            STEPS,
            grids=GRIDS,
            max_time=share,
            sample_weight=train.weight,
            progress=False,
            checkpoint=checkpoint,
        )
    if history.stopped == "interrupted":
        raise KeyboardInterrupt
    with torch.no_grad():
        error = model(torch.as_tensor(held_out.X))[:, 0].numpy() - held_out.y
    return SplineNetwork(model, float(np.sqrt(np.mean(error**2))))
