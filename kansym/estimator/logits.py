"""A spline network for class labels: smooth log-odds, and how well each is known.

First additive, [columns, classes - 1], with the smoothness that predicts held-out labels best; then
with a hidden row of sums and products, which is kept when it predicts them clearly better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kansym.estimator.likelihood import (
    PRIOR_ROWS,
    Fitted,
    Labels,
    maximise,
    probabilities,
    row_losses,
)
from kansym.jacobian import FreeParameters, jacobian
from kansym.model import KAN
from kansym.scaling import choose_scaling
from kansym.training.grids import update_grids
from kansym.training.lm import roughness_matrix
from kansym.training.objective import Penalty

GRID = 4
SMOOTH = (0.1, 1.0, 10.0, 100.0)  # inverse variances of the second differences, in log-odds
USUAL_SMOOTH = 10.0  # where there are too few rows to choose
HELD = 0.01  # inverse variance of every parameter, for columns that cannot be told apart
HIDDEN = (2, 1)  # sums and products
HIDDEN_STEPS = 15
ROWS_TO_CHOOSE, ROWS_FOR_HIDDEN = 60, 200
TOLERANCE = 1e-5  # relative; the network is only a guide
FIRST_FOLDS = 2  # after which a hidden row that is behind is given up
WIDEST = 1000  # parameters; beyond, smoothness is not chosen


@dataclass(frozen=True)
class SplineLogits:
    """Log-odds against the first class at the training rows, [n, classes - 1].

    information: p (1 - p) of each: what a row says about it. errors: standard error of each.
    held_out: - log P(own class) when the row was not trained on, [n].
    """

    logits: np.ndarray
    information: np.ndarray
    errors: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class _Plan:
    """hidden: sums and products of a hidden row, or none. smooth: one of SMOOTH."""

    hidden: tuple[int, int] | None
    smooth: float
    seed: int
    max_time: float | None


def spline_logits(
    X: np.ndarray, labels: Labels, folds: np.ndarray, seed: int, max_time: float | None
) -> SplineLogits:
    """Fit the network. folds: number of the part that each row belongs to, [n]; max_time: seconds
    that the hidden row may take."""
    n, k = len(X), labels.n_classes - 1
    additive = _Plan(None, USUAL_SMOOTH, seed, max_time)
    n_parameters = X.shape[1] * k * (GRID + 4)
    chooses = labels.weight.sum() >= ROWS_TO_CHOOSE and n_parameters <= WIDEST
    plans = [replace(additive, smooth=s) for s in SMOOTH] if chooses else [additive]
    tried = [(_held_out(plan, X, labels, folds), plan) for plan in plans]
    held_out, plan = min(tried, key=lambda pair: labels.mean(pair[0]))
    # One column has no partner, and what is separated already cannot be separated better.
    if chooses and n >= ROWS_FOR_HIDDEN and X.shape[1] > 1 and labels.mean(held_out) > 0.05 * k:
        share = None if max_time is None else max_time / (folds.max() + 2)
        rival = replace(plan, hidden=HIDDEN, max_time=share)
        rival_loss = _held_out(rival, X, labels, folds, bar=held_out)
        if np.isfinite(rival_loss).all():
            gain = held_out - rival_loss
            if labels.mean(gain) > labels.standard_error(gain):
                plan, held_out = rival, rival_loss
    network, fitted = _fit(plan, X, labels)
    logits, slopes = _outputs(network, X)
    p = probabilities(logits)[:, 1:]
    covariance = np.linalg.pinv(fitted.curvature, hermitian=True)
    variance = np.einsum("nkp,pq,nkq->nk", slopes, covariance, slopes, optimize=True)
    return SplineLogits(logits, p * (1 - p), np.sqrt(np.maximum(variance, 0)), held_out)


def splits(folds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows to fit, rows to judge), once for each part; all rows for both where there is one."""
    for part in range(folds.max() + 1):
        judged = folds == part
        yield (~judged if folds.max() else judged), judged


def _held_out(
    plan: _Plan, X: np.ndarray, labels: Labels, folds: np.ndarray, bar: np.ndarray | None = None
) -> np.ndarray:
    """Losses of rows held out; infinite after `FIRST_FOLDS` parts that are no better than `bar`."""
    losses = np.full(len(X), np.inf)
    for turn, (fitted, judged) in enumerate(splits(folds)):
        if turn == FIRST_FOLDS and bar is not None:
            seen = folds < turn
            if not labels.rows(seen).mean((bar - losses)[seen]) > 0:
                break
        network, _ = _fit(plan, X[fitted], labels.rows(fitted))
        logits, _ = _outputs(network, X[judged])
        losses[judged] = row_losses(logits, labels.rows(judged))
    return losses


def _fit(plan: _Plan, X: np.ndarray, labels: Labels) -> tuple[KAN, Fitted]:
    k = labels.n_classes - 1
    width = [X.shape[1], k] if plan.hidden is None else [X.shape[1], list(plan.hidden), k]
    network = KAN(width, grid=GRID, k=3, base="identity", seed=plan.seed)
    if plan.hidden is None:
        choose_scaling(network, torch.from_numpy(X), None, "always")
        update_grids(network, torch.from_numpy(X))
        start = np.zeros(FreeParameters(network).count)
    else:
        _train(network, X, labels, plan)
        start = FreeParameters(network).get().numpy()
    free = FreeParameters(network)
    prior = roughness_matrix(network, free, Penalty(smooth=plan.smooth)).numpy()
    prior = prior + HELD * np.eye(free.count)

    def model(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        free.set(torch.from_numpy(theta))
        return _outputs(network, X)

    fitted = maximise(model, start, labels, prior, TOLERANCE)
    assert fitted is not None, "a spline is finite everywhere"
    free.set(torch.from_numpy(fitted.theta))
    return network, fitted


def _train(network: KAN, X: np.ndarray, labels: Labels, plan: _Plan) -> None:
    """Bring a network with hidden nodes near a good place, grids included."""
    codes = torch.from_numpy(labels.codes)
    weight = torch.from_numpy(labels.weight / labels.weight.mean())
    row = PRIOR_ROWS / labels.weight.sum()

    def loss(output: Tensor, _: Tensor) -> Tensor:
        full = torch.cat([output.new_zeros(len(output), 1), output], 1)
        each = F.cross_entropy(full, codes, reduction="none") + 0.5 * row * (output**2).sum(1)
        return (weight * each).mean()

    history = network.fit(
        (X, labels.codes[:, None]),
        "LBFGS",
        HIDDEN_STEPS,
        loss=loss,
        smooth=0.5 * plan.smooth / labels.weight.sum(),
        progress=False,
        max_time=plan.max_time,
        scale="always",
    )
    if history.stopped == "interrupted":  # there is no formula yet to end with
        raise KeyboardInterrupt


def _outputs(network: KAN, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, slopes = jacobian(network, torch.from_numpy(X))
    return logits.numpy(), slopes.numpy()
