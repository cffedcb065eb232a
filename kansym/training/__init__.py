"""Training: an objective, solvers that lower it, a schedule for the grids, and the loop."""

from kansym.training.gradient import loss_and_gradient
from kansym.training.history import History, StepRecord
from kansym.training.loop import FitOptions, train
from kansym.training.objective import Penalty
from kansym.training.solvers import SOLVERS

__all__ = ["SOLVERS", "FitOptions", "History", "Penalty", "StepRecord", "loss_and_gradient", "train"]
