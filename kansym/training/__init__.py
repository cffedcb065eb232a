"""Training: an objective, solvers that lower it, a schedule for the grids, and the loop."""

from kansym.training.equations import Equation, System
from kansym.training.gradient import Gradient, loss_and_gradient
from kansym.training.history import GridScore, History, StepRecord
from kansym.training.loop import FitOptions, train
from kansym.training.objective import Penalty
from kansym.training.schedule import check_grids, check_judge, train_on_grids
from kansym.training.solvers import SOLVERS
from kansym.training.tournament import tournament

__all__ = [
    "SOLVERS",
    "Equation",
    "FitOptions",
    "Gradient",
    "GridScore",
    "History",
    "Penalty",
    "StepRecord",
    "System",
    "check_grids",
    "check_judge",
    "loss_and_gradient",
    "tournament",
    "train",
    "train_on_grids",
]
