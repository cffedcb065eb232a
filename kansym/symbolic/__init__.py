"""From splines to names to a formula."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kansym.symbolic.auto import AutoStep, auto_symbolic, log_rmse, network_complexity
    from kansym.symbolic.build import build_network, cover
    from kansym.symbolic.candidates import Candidate, check_edge, numeric_edges, suggest
    from kansym.symbolic.fix import fix_symbolic, unfix_symbolic
    from kansym.symbolic.formula import Formula, network_formula
    from kansym.symbolic.ranges import draw_rows
    from kansym.symbolic.reading import as_formula
    from kansym.symbolic.snap import snap_formula

__all__ = [
    "AutoStep",
    "Candidate",
    "Formula",
    "as_formula",
    "auto_symbolic",
    "build_network",
    "check_edge",
    "cover",
    "draw_rows",
    "fix_symbolic",
    "network_formula",
    "log_rmse",
    "numeric_edges",
    "network_complexity",
    "snap_formula",
    "suggest",
    "unfix_symbolic",
]

_HOMES = {
    "auto": ("AutoStep", "auto_symbolic", "log_rmse", "network_complexity"),
    "build": ("build_network", "cover"),
    "fix": ("fix_symbolic", "unfix_symbolic"),
    "formula": ("Formula", "network_formula"),
    "ranges": ("draw_rows",),
    "reading": ("as_formula",),
    "snap": ("snap_formula",),
    "candidates": ("Candidate", "check_edge", "numeric_edges", "suggest"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # SymPy and SciPy take more than a second to import: only when a formula is asked for.
    if name in _HOME_OF:
        value = getattr(import_module(f"kansym.symbolic.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'kansym.symbolic' has no attribute {name!r}")
