"""From splines to names to a formula."""

from kansym.symbolic.auto import AutoStep, auto_symbolic, log_rmse, network_complexity
from kansym.symbolic.fix import fix_symbolic, unfix_symbolic
from kansym.symbolic.formula import Formula, network_formula
from kansym.symbolic.snap import snap_formula
from kansym.symbolic.suggest import Candidate, check_edge, suggest

__all__ = [
    "AutoStep",
    "Candidate",
    "Formula",
    "auto_symbolic",
    "check_edge",
    "fix_symbolic",
    "network_formula",
    "log_rmse",
    "network_complexity",
    "snap_formula",
    "suggest",
    "unfix_symbolic",
]
