"""The arguments of an estimator, checked and in the words of the search."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sympy import Symbol

from kansym.discovery.constraints import MONOTONE, PARITY
from kansym.discovery.dimensions import Dimension, units_of
from kansym.discovery.units import parse_unit
from kansym.errors import UnitError, check_choice, shown, suggestion, visible
from kansym.estimator.forms import Forms, read_forms
from kansym.estimator.inputs import check_int, check_number, draw_seed
from kansym.estimator.progress import is_watched
from kansym.functions import get_library
from kansym.symbolic import names as naming
from kansym.symbolic.constants import NamedConstant

MAX_NAME = 40


@dataclass(frozen=True)
class Settings:
    """What holds for the searches of all outputs.

    variables: one symbol per column; `names` are the columns' headers. forms: further columns.
    constants: known numbers by name. options: of the search, but for what each output has its own.
    shows: a line of progress.
    """

    variables: tuple[Symbol, ...]
    names: tuple[str, ...] | None
    forms: Forms
    constants: dict[str, NamedConstant]
    options: dict[str, Any]
    shows: bool


def read_settings(model: Any, names: Sequence[str] | None, n_columns: int) -> Settings:
    """The settings of an estimator for data with these columns. Raises ValueError."""
    given = model.get_params(deep=False)
    variables = naming.symbols(names, n_columns)
    shown = [str(v) for v in variables] if names is None else list(names)
    constants = _read_constants(given["constants"], [*shown, *map(str, variables)])
    forms = read_forms(given["features"], variables, shown, constants)
    required = _read_columns("required", given["required"], shown, variables)
    forbidden = _read_columns("forbidden", given["forbidden"], shown, variables)
    both = [name for name in given["required"] if name in given["forbidden"]]
    if both:
        raise ValueError(f"required and forbidden must not share a column, got {both[0]!r} in both")
    for place, expr in enumerate(forms.exprs):
        used = sorted(str(v) for v in expr.free_symbols if str(v) in forbidden)
        if used:
            raise ValueError(
                f"features[{place}], {expr}, must not use the forbidden column {used[0]!r}"
            )
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
        "forms": forms.by_symbol,
    }
    for name, kinds in (("monotone", MONOTONE), ("parity", PARITY)):
        if name in given:
            options[name] = _read_rules(name, given[name], kinds, shown, variables)
    shows = bool(given["progress"]) and is_watched()
    own_names = None if names is None else tuple(names)
    return Settings(variables, own_names, forms, constants, options, shows)


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


@dataclass(frozen=True)
class ColumnUnits:
    """columns: dimension of every column and form. constants: of those that have one, by name.
    target: of one output."""

    columns: tuple[Dimension, ...]
    constants: dict[str, Dimension]
    target: Dimension


def read_units(
    units: Any, names: Sequence[str], targets: Sequence[str], setting: Settings
) -> list[ColumnUnits | None]:
    """What every output's search is told of units; None where none are given.

    units: {column, target or constant: unit}, all columns and targets among them, or a list in the
    order of columns, then targets. Forms have the units that follow from them. Raises ValueError.
    """
    if units is None:
        return [None] * len(targets)
    needed = [*names, *targets]
    if isinstance(units, Mapping):
        known = [*needed, *setting.constants]
        if len(set(known)) < len(known):
            raise ValueError(f"units must be a list where a name appears twice, as in {known}")
        for name in units:
            if name not in known:
                raise ValueError(f"units has the unknown name {name!r};{suggestion(name, known)}")
        missing = [name for name in needed if name not in units]
        if missing:
            raise ValueError(f"units must name every column and target, {missing[0]!r} is missing")
        given = [(name, units[name]) for name in known if name in units]
    elif isinstance(units, str) or not isinstance(units, Sequence) or len(units) != len(needed):
        raise ValueError(
            f"units must be a mapping for, or a list of {len(needed)} units in the order of, "
            f"{', '.join(map(visible, needed))}, got {units!r}"
        )
    else:
        given = list(zip(needed, units, strict=True))
    found = [parse_unit(unit, repr(name)) for name, unit in given]
    columns, own = found[: len(names)], found[len(names) : len(needed)]
    constants = {name: d for (name, _), d in zip(given, found, strict=True)}
    constants = {name: d for name, d in constants.items() if name in setting.constants}
    dims: dict[Any, Dimension] = dict(zip(setting.variables, columns, strict=True))
    dims |= {Symbol(name, real=True): d for name, d in constants.items()}
    columns += [_unit_of_form(f, setting, dims) for f in range(len(setting.forms.exprs))]
    return [ColumnUnits(tuple(columns), constants, dimension) for dimension in own]


def _unit_of_form(place: int, setting: Settings, dims: Mapping[Any, Dimension]) -> Dimension:
    expr = setting.forms.exprs[place]
    stands_for = {c: Symbol(n, real=True) for n, c in setting.constants.items()}
    with_unit = {c: symbol for c, symbol in stands_for.items() if symbol in dims}
    try:
        return units_of(expr.xreplace(with_unit), dims)
    except UnitError as error:
        raise ValueError(f"features[{place}] must have consistent units: {error}") from error


def read_checkpoint(path: Any) -> Path | None:
    """A path, or None."""
    if path is not None and not isinstance(path, (str, Path)):
        raise ValueError(f"checkpoint must be a path or None, got {path!r}")
    return None if path is None else Path(path)


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
                f"{argument} has the unknown column {shown(name)};{suggestion(name, list(names))}"
            )
    return tuple(symbol_of[name] for name in columns)


def _read_functions(functions: Any) -> tuple[str, ...] | None:
    """Names of functions; None for "default"."""
    if functions is None or (isinstance(functions, str) and functions == "default"):
        return None
    if isinstance(functions, str) or not isinstance(functions, Sequence):
        raise ValueError(f"functions must be 'default' or a list of names, got {shown(functions)}")
    return tuple(f.name for f in get_library(functions))


def _read_constants(constants: Any, taken: Sequence[str]) -> dict[str, NamedConstant]:
    """Constants that a formula may hold, by name."""
    if constants is None:
        return {}
    if not isinstance(constants, Mapping) or not all(isinstance(n, str) for n in constants):
        raise ValueError(f"constants must be a mapping {{name: number}}, got {shown(constants)}")
    printed = naming.printed_words() if constants else frozenset()
    for name in constants:
        is_word = len(name) <= MAX_NAME and name.isidentifier() and not keyword.iskeyword(name)
        # A name that Python reads as another one would never be found.
        if not is_word or unicodedata.normalize("NFKC", name) != name:
            raise ValueError(
                f"the name of a constant must be a plain word of at most {MAX_NAME} letters, got"
                f" {shown(name)}"
            )
        if name in taken or name in printed:
            raise ValueError(
                "constants must not be called as a column, a function, or a number such as pi, got"
                f" {name!r}; choose another name"
            )
    rule = "a finite number other than 0"
    return {
        name: NamedConstant(name, check_number(f"constants[{name!r}]", value, rule, bool))
        for name, value in constants.items()
    }


def _read_rules(
    argument: str,
    rules: Any,
    kinds: Sequence[str],
    names: Sequence[str],
    variables: Sequence[Symbol],
) -> dict[str, str]:
    """{symbol's name: kind} of the columns that a rule is given for."""
    if rules is None:
        return {}
    if not isinstance(rules, Mapping):
        raise ValueError(
            f"{argument} must be a mapping {{column: {kinds[0]!r} or {kinds[1]!r}}}, got {rules!r}"
        )
    for name, kind in rules.items():
        check_choice(f"{argument}[{name!r}]", kind, kinds)
    symbols = _read_columns(argument, list(rules), names, variables)
    return dict(zip(symbols, rules.values(), strict=True))
