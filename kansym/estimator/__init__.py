"""kansym as scikit-learn knows its estimators."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kansym.estimator.classifier import KANClassifier
    from kansym.estimator.regressor import KANRegressor

__all__ = ["KANClassifier", "KANRegressor"]

_HOME_OF = {"KANClassifier": "classifier", "KANRegressor": "regressor"}


def __getattr__(name: str) -> Any:
    # scikit-learn takes more than a second to import: only for those who estimate.
    if name in _HOME_OF:
        value = getattr(import_module(f"kansym.estimator.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'kansym.estimator' has no attribute {name!r}")
