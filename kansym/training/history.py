"""What a fit did, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class StepRecord:
    """One step. Losses are the loss that was asked for, itself ("mse": mean squared error, in units
    of the output scale; see `KAN.fit`). n_edges: edges that the penalty counts, None without one.
    grid: intervals of the first layer. moved_grid: whether the grids were moved before the step.
    n_active: edges that are not switched off."""

    step: int
    train_loss: float
    test_loss: float | None
    penalty: float
    n_edges: int | None
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    grid: int | None = None
    moved_grid: bool = False
    n_active: int | None = None


@dataclass(frozen=True)
class GridScore:
    """How a grid did: `score` is the loss on the test part ("test") or generalised
    cross-validation ("gcv")."""

    grid: int
    judge: str
    score: float


@dataclass
class History:
    """The steps of one fit and how it ended.

    opt: the solver; reason: why that one. stopped: "finished", "patience", "max_time", "callback",
    "interrupted", "converged" or "non-finite". best_step: the step whose parameters the model now
    has, -1 when no step bettered the start. best_objective: loss (of the test part if any) plus
    penalty there. grids: of a fit on several grids, in the order they were tried.
    """

    opt: str
    reason: str = "asked for"
    steps: list[StepRecord] = field(default_factory=list)
    stopped: str = "finished"
    best_step: int = -1
    best_objective: float = math.inf
    grids: tuple[GridScore, ...] = ()
    taken_back: list[int] = field(default_factory=list)
    """Steps that ended in NaN or inf, and were taken back."""

    @property
    def train_loss(self) -> np.ndarray:
        return np.array([record.train_loss for record in self.steps])

    @property
    def test_loss(self) -> np.ndarray:
        """NaN where there was no test part."""
        values = [record.test_loss for record in self.steps]
        return np.array([np.nan if value is None else value for value in values])

    @property
    def penalty(self) -> np.ndarray:
        return np.array([record.penalty for record in self.steps])

    @property
    def seconds(self) -> float:
        """Wall-clock time of the whole fit."""
        return self.steps[-1].seconds if self.steps else 0.0

    @property
    def best(self) -> StepRecord | None:
        """The record of the step whose parameters the model now has."""
        return next((record for record in self.steps if record.step == self.best_step), None)

    def followed_by(self, other: History, is_better: bool) -> History:
        """Both fits in a row; the best step is that of `other` if it `is_better` and has one: its
        start was the best of this one."""
        offset = self.steps[-1].step + 1 if self.steps else 0
        moved = [
            replace(record, step=record.step + offset, seconds=record.seconds + self.seconds)
            for record in other.steps
        ]
        has_better_step = is_better and other.best_step >= 0
        return replace(
            other,
            steps=self.steps + moved,
            taken_back=self.taken_back + [step + offset for step in other.taken_back],
            best_step=other.best_step + offset if has_better_step else self.best_step,
            best_objective=other.best_objective if is_better else self.best_objective,
        )

    def __repr__(self) -> str:
        best = self.best
        if not self.steps:
            return f"History({self.opt}, no steps, {self.stopped})"
        head = (
            f"History({self.opt}, {len(self.steps)} steps in {self.seconds:.1f} s, {self.stopped}"
        )
        if best is None:
            return f"{head}; no step bettered the start)"
        test = "" if best.test_loss is None else f", test_loss={best.test_loss:.3g}"
        return f"{head}; best step {best.step}: train_loss={best.train_loss:.3g}{test})"
