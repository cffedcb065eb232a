"""kansym turns data into formulas a scientist can read, with Kolmogorov-Arnold networks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kansym.datasets import Dataset, create_dataset
    from kansym.errors import (
        CheckpointError,
        EmptyNetworkError,
        ExportError,
        ExtrapolationWarning,
        FolderInUseError,
        KansymError,
        NonFiniteWarning,
        NoSampleError,
        NotSymbolicError,
        OutsideGridWarning,
        PoorFitWarning,
    )
    from kansym.estimator import KANClassifier, KANRegressor
    from kansym.functions import SymbolicFunction, function_names, register_function
    from kansym.model import KAN, load
    from kansym.parquet import read_rows
    from kansym.pipeline import FormulaResult, Recipe, find_formula
    from kansym.relations import find_relations
    from kansym.symbolic import Formula
    from kansym.tables import read_table, solar_system, table_dataset
    from kansym.training import Equation, History

__version__ = "0.1.0"

__all__ = [
    # the model
    "KAN",
    "load",
    "KANRegressor",
    "KANClassifier",
    "find_formula",
    "FormulaResult",
    "Recipe",
    "find_relations",
    "Equation",
    # data
    "Dataset",
    "create_dataset",
    "read_table",
    "read_rows",
    "table_dataset",
    "solar_system",
    # functions and formulas
    "SymbolicFunction",
    "function_names",
    "register_function",
    "Formula",
    "History",
    # errors and warnings
    "KansymError",
    "CheckpointError",
    "EmptyNetworkError",
    "ExportError",
    "FolderInUseError",
    "NoSampleError",
    "NotSymbolicError",
    "ExtrapolationWarning",
    "NonFiniteWarning",
    "OutsideGridWarning",
    "PoorFitWarning",
]

_HOMES = {
    "kansym.model": ("KAN", "load"),
    "kansym.pipeline": ("FormulaResult", "Recipe", "find_formula"),
    "kansym.estimator": ("KANClassifier", "KANRegressor"),
    "kansym.relations": ("find_relations",),
    "kansym.datasets": ("Dataset", "create_dataset"),
    "kansym.parquet": ("read_rows",),
    "kansym.tables": ("read_table", "solar_system", "table_dataset"),
    "kansym.functions": ("SymbolicFunction", "function_names", "register_function"),
    "kansym.symbolic": ("Formula",),
    "kansym.training": ("Equation", "History"),
    "kansym.errors": (
        "KansymError",
        "CheckpointError",
        "EmptyNetworkError",
        "ExportError",
        "FolderInUseError",
        "NoSampleError",
        "NotSymbolicError",
        "ExtrapolationWarning",
        "NonFiniteWarning",
        "OutsideGridWarning",
        "PoorFitWarning",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # Imported on first use: the command line must answer --help without waiting for torch.
    if name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value
    if name == "nn":
        return import_module("kansym.nn")
    raise AttributeError(f"module 'kansym' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
