"""A report as one HTML file that fetches nothing and runs nothing but its own script.

The content security policy of the page names the hashes of its one style sheet and its one script:
whatever else a name from outside might try to be, a browser neither runs nor loads it. Markup is
written by the template, which escapes; only MathML, escaped by `views.mathml`, goes in as it is.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kansym.files import target_file, write_atomically
from kansym.symbolic.formula import Formula, round_floats
from kansym.views.mathml import DIGITS, equation_parts
from kansym.views.report.charts import Chart, fit_charts, history_chart
from kansym.views.report.contents import Column, Contents, Entry, NetworkView, versions
from kansym.views.report.network import Drawing, drawing
from kansym.views.text import number_text, printable, shortened

MOST_NODES = 150  # of an expression that is set as mathematics

HERO_SIZES = (30, 60)  # nodes up to which a formula is set large, and of medium size

MOST_ROWS = 60  # of a table about columns

NAME_LENGTH = 300


@dataclass(frozen=True)
class _Shown:
    """An entry as the template takes it."""

    key: str
    label: str
    is_chosen: bool
    complexity: str
    r2: str
    error: str
    lines: list[list[Markup]]
    right_sides: list[list[Markup]]
    text: str
    size: str
    latex: str
    drawing: Drawing | None
    reason: str
    charts: list[tuple[str, tuple[Chart, Chart] | None]]


@dataclass(frozen=True)
class _ColumnRow:
    name: str
    unit: str
    role: str
    low: str
    median: str
    high: str
    missing: int
    is_constant: bool


def write_report(contents: Contents, path: str | Path) -> Path:
    """Write the page; the file it is in. A file that is already there stays whole until the new one
    is. Raises ValueError or FileNotFoundError for a path that cannot be, OSError when writing
    fails."""
    target = target_file(path)
    write_atomically(target, render(contents).encode("utf-8"))
    return target


def render(contents: Contents) -> str:
    """The page. The same contents give the same text."""
    style, script = _source("report.css"), _source("report.js")
    fronts = [
        (front, [_shown(entry, f"{f}-{e}") for e, entry in enumerate(front.entries)])
        for f, front in enumerate(contents.fronts)
    ]
    n_rows = len(contents.columns[0].values) if contents.columns else 0
    page = _environment().get_template("report.html.jinja")
    return page.render(
        contents=contents,
        fronts=fronts,
        n_rows=n_rows,
        columns=[_column_row(column) for column in contents.columns[:MOST_ROWS]],
        more_columns=max(len(contents.columns) - MOST_ROWS, 0),
        importance=sorted(contents.importance, key=lambda pair: -pair[1])[:MOST_ROWS],
        history=None if contents.history is None else history_chart(contents.history),
        versions=versions(),
        style=Markup(style),
        script=Markup(script),
        policy="; ".join(
            [
                "default-src 'none'",
                f"style-src '{source_hash(style)}'",
                f"script-src '{source_hash(script)}'",
                "base-uri 'none'",
                "form-action 'none'",
            ]
        ),
    )


def source_hash(text: str) -> str:
    """What a content security policy calls an inline style sheet or script by."""
    return f"sha256-{b64encode(sha256(text.encode('utf-8')).digest()).decode('ascii')}"


@cache
def _source(name: str) -> str:
    return files("kansym.views.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("kansym.views.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "name": _name,
        "lines": _lines,
        "sentence": _sentence,
        "json": json.dumps,
    }
    return environment


def _name(value: Any, length: int = NAME_LENGTH) -> str:
    """Text from outside on one line, without characters that nobody sees."""
    return shortened(printable(str(value)), length) or "(no name)"


def _lines(value: Any) -> str:
    """Text from outside on as many lines as it has."""
    return "\n".join(printable(line) for line in str(value).splitlines())


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _shown(entry: Entry, key: str) -> _Shown:
    formula = entry.formula
    is_set = formula is not None and formula.complexity() <= MOST_NODES
    has_view = isinstance(entry.network, NetworkView)
    return _Shown(
        key=key,
        label=entry.label,
        is_chosen=entry.is_chosen,
        complexity="" if entry.complexity is None else str(entry.complexity),
        r2=_numbers(entry.r2, 6),
        error=_numbers(entry.error, 3),
        lines=_set(formula, True) if formula is not None and is_set else [],
        right_sides=_set(formula, len(formula.exprs) > 1) if formula is not None and is_set else [],
        text=str(formula) if formula is not None else "",
        size=_size(formula),
        latex=formula.latex() if formula is not None else "",
        drawing=drawing(entry.network) if isinstance(entry.network, NetworkView) else None,
        reason="" if has_view else str(entry.network),
        charts=[(fit.name, fit_charts(fit)) for fit in entry.fits],
    )


def _numbers(values: Sequence[float], digits: int) -> str:
    return ", ".join(number_text(value, digits) for value in values)


def _size(formula: Formula | None) -> str:
    nodes = 0 if formula is None else formula.complexity() / len(formula.exprs)
    return ("large", "medium", "small")[sum(nodes > limit for limit in HERO_SIZES)]


def _set(formula: Formula, has_left: bool) -> list[list[Markup]]:
    """MathML of every output, in pieces between which a line may break; has_left: with "y ="."""
    names = dict(zip(formula.variables, formula.names, strict=True))
    return [
        [
            Markup(part)
            for part in equation_parts(
                target if has_left else None, round_floats(expr, DIGITS), names
            )
        ]
        for target, expr in zip(formula.target_names, formula.exprs, strict=True)
    ]


def _column_row(column: Column) -> _ColumnRow:
    values = np.asarray(column.values)
    is_number = values.dtype.kind in "fiub"
    kept = values[np.isfinite(values)] if is_number else values
    low, median, high = (
        np.quantile(kept.astype(float), (0, 0.5, 1)) if is_number and len(kept) else [np.nan] * 3
    )
    return _ColumnRow(
        name=column.name,
        unit=column.unit,
        role=column.role,
        low=_cell(low),
        median=_cell(median),
        high=_cell(high),
        missing=len(values) - len(kept),
        is_constant=len(kept) > 0 and bool((kept == kept[0]).all()),
    )


def _cell(value: float) -> str:
    return "" if np.isnan(value) else number_text(value, 4)
