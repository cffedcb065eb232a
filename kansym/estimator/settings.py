"""The arguments of an estimator, checked and in the words of the search."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sympy import Symbol

from kansym.discovery.records import Options
from kansym.errors import suggestion
from kansym.estimator.forms import Forms, read_forms
from kansym.estimator.inputs import check_int, check_number, draw_seed
from kansym.estimator.progress import is_watched
from kansym.functions import get_library
from kansym.symbolic import names as naming


@dataclass(frozen=True)
class Settings:
    """What holds for the searches of all outputs.

    variables: one symbol per column; `names` are the columns' headers. forms: further columns.
    options: of the search, but for what each output has its own. shows: a line of progress.
    """

    variables: tuple[Symbol, ...]
    names: tuple[str, ...] | None
    forms: Forms
    options: dict[str, Any]
    shows: bool


def read_settings(model: Any, names: Sequence[str] | None, n_columns: int) -> Settings:
    """The settings of an estimator for data with these columns. Raises ValueError."""
    given = model.get_params(deep=False)
    variables = naming.symbols(names, n_columns)
    shown = [str(v) for v in variables] if names is None else list(names)
    constants = _read_constants(given["constants"])
    forms = read_forms(given["features"], variables, shown, constants)
    required = _read_columns("required", given["required"], shown, variables)
    forbidden = _read_columns("forbidden", given["forbidden"], shown, variables)
    both = [name for name in given["required"] if name in given["forbidden"]]
    if both:
        raise ValueError(f"required and forbidden must not share a column, got {both[0]!r} in both")
    if given["max_time"] is not None:
        check_number("max_time", given["max_time"], "> 0 seconds or None", lambda t: t > 0)
    for name in ("max_candidates", "max_complexity"):
        if given[name] is not None:
            check_int(name, given[name], 1)
    if given["n_jobs"] is not None and check_int("n_jobs", given["n_jobs"], -(2**31)) == 0:
        raise ValueError("n_jobs must be a number of processes, -1 for all cores, or None, got 0")
    options = {
        "max_time": given["max_time"],
        "max_candidates": given["max_candidates"],
        "seed": draw_seed(given["random_state"]),
        "functions": _read_functions(given["functions"]),
        "max_complexity": given["max_complexity"],
        "required": required,
        "forbidden": forbidden,
        "features": forms.by_symbol or None,
        "constants": constants or None,
    }
    shows = bool(given["progress"]) and is_watched()
    return Settings(variables, None if names is None else tuple(names), forms, options, shows)


def make_options(**chosen: Any) -> Options:
    """Options of the search; what this search does not know is left out, with a warning unless it
    is None. Forms need no warning: their columns are in the table."""
    known = {field.name for field in fields(Options)}
    ignored = [n for n, v in chosen.items() if n not in known and v is not None and n != "features"]
    if ignored:
        warnings.warn(f"the search makes no use of {', '.join(ignored)}", stacklevel=5)
    return Options(**{name: value for name, value in chosen.items() if name in known})


def read_noise(noise: Any, n_outputs: int) -> list[float | None]:
    """The error of every output: one number for all, or one each; None where it is estimated."""
    if noise is None or (
        not isinstance(noise, (Sequence, Mapping)) and not hasattr(noise, "shape")
    ):
        values = [noise] * n_outputs
    else:
        values = list(noise)
    if isinstance(noise, (str, Mapping)) or len(values) != n_outputs:
        raise ValueError(
            f"noise must be one number, or one for each of {n_outputs} outputs, got {noise!r}"
        )
    rule = "a standard deviation >= 0 in units of y, or None"
    return [None if v is None else check_number("noise", v, rule, lambda s: s >= 0) for v in values]


def read_units(
    units: Any, names: Sequence[str], targets: Sequence[str], n_forms: int
) -> list[list[Any] | None]:
    """For every output: the unit of each column, of each form (None: it follows), and of the
    target last; None where no units are given.

    units: {column or target: unit}, or a list in the order of columns, then targets.
    """
    if units is None:
        return [None] * len(targets)
    known = [*names, *targets]
    if isinstance(units, Mapping):
        for name in units:
            if name not in known:
                raise ValueError(f"units has the unknown name {name!r};{suggestion(name, known)}")
        missing = [name for name in known if name not in units]
        if missing:
            raise ValueError(f"units must name every column and target, {missing[0]!r} is missing")
        units = [units[name] for name in known]
    if isinstance(units, str) or not isinstance(units, Sequence) or len(units) != len(known):
        raise ValueError(
            f"units must be a mapping for, or a list of {len(known)} units in the order of, "
            f"{', '.join(known)}, got {units!r}"
        )
    columns, own = list(units[: len(names)]), units[len(names) :]
    return [[*columns, *[None] * n_forms, unit] for unit in own]


def read_checkpoint(path: Any) -> Path | None:
    """A path in a folder that exists, or None."""
    if path is None:
        return None
    if not isinstance(path, (str, Path)):
        raise ValueError(f"checkpoint must be a path or None, got {path!r}")
    path = Path(path)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f"checkpoint must be a file in a folder that exists, got {str(path)!r}")
    return path


def _read_columns(
    argument: str, columns: Any, names: Sequence[str], variables: Sequence[Symbol]
) -> tuple[str, ...]:
    """The symbols' names of columns given by header."""
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise ValueError(f"{argument} must be a list of column names, got {columns!r}")
    symbol_of = {str(v): str(v) for v in variables}
    symbol_of |= {name: str(v) for name, v in zip(names, variables, strict=True)}
    for name in columns:
        if name not in symbol_of:
            raise ValueError(
                f"{argument} has the unknown column {name!r};{suggestion(name, list(names))}"
            )
    return tuple(symbol_of[name] for name in columns)


def _read_functions(functions: Any) -> tuple[str, ...] | None:
    """Names of functions; None for "default"."""
    if functions is None or (isinstance(functions, str) and functions == "default"):
        return None
    if isinstance(functions, str) or not isinstance(functions, Sequence):
        raise ValueError(f"functions must be 'default' or a list of names, got {functions!r}")
    return tuple(f.name for f in get_library(functions))


def _read_constants(constants: Any) -> dict[str, float]:
    """{name: value} of constants that a formula may hold."""
    if constants is None:
        return {}
    if not isinstance(constants, Mapping) or not all(isinstance(n, str) for n in constants):
        raise ValueError(f"constants must be a mapping {{name: number}}, got {constants!r}")
    return {
        name: check_number(f"constants[{name!r}]", value, "a finite number", lambda _: True)
        for name, value in constants.items()
    }
