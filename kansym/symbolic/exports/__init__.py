"""A formula in other languages: `formula.to("c")`.

`EXPORTS` holds one function per target, from a Formula and options of its own to text. Add yours:

    EXPORTS["stan"] = lambda formula: ...

A target refuses what it cannot say (ExportError) rather than say something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kansym.errors import check_choice
from kansym.symbolic.exports.c import c_source
from kansym.symbolic.exports.excel import excel_formula
from kansym.symbolic.exports.fortran import fortran_source
from kansym.symbolic.exports.jax import jax_source
from kansym.symbolic.exports.julia import julia_source
from kansym.symbolic.exports.latex import latex, latex_align
from kansym.symbolic.exports.matlab import matlab_source
from kansym.symbolic.exports.numpy import numpy_source
from kansym.symbolic.exports.python import python_source
from kansym.symbolic.exports.sympy import sympy_source
from kansym.symbolic.exports.torch import torch_source
from kansym.symbolic.formula import Formula

__all__ = ["EXPORTS", "export"]

EXPORTS: dict[str, Callable[..., str]] = {
    "sympy": sympy_source,
    "latex": latex,
    "align": latex_align,
    "python": python_source,
    "numpy": numpy_source,
    "torch": torch_source,
    "jax": jax_source,
    "c": c_source,
    "fortran": fortran_source,
    "julia": julia_source,
    "matlab": matlab_source,
    "excel": excel_formula,
}


def export(formula: Formula, target: str, **options: Any) -> str:
    """The formula as text for one of `EXPORTS`; options go to its function."""
    return EXPORTS[check_choice("target", target, EXPORTS)](formula, **options)
