"""What can be said on the command line: kinds of values, options that commands share."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kansym.errors import shown

MAX_WIDTH_TEXT, MAX_EDGES = 100, 100_000  # what --width may ask for
OUTLIERS = ("keep", "set-aside")
OUT_HELP = "Folder for the results; made if missing."
FILE = click.Path(path_type=Path)


class WidthType(click.ParamType):
    """2,5,1 or 2,3+1,1: nodes of each row; 3+1 is three sum nodes and one product node."""

    name = "width"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[int | list[int]]:
        if isinstance(value, list):
            return value
        text = str(value)
        if len(text) > MAX_WIDTH_TEXT or not re.fullmatch(r"-?[0-9]{1,9}([,+]-?[0-9]{1,9})*", text):
            self.fail(
                f"{shown(value)} is not a width; write for example 2,5,1 or 2,3+1,1", param, ctx
            )
        rows = [[int(n) for n in row.split("+")] for row in text.split(",")]
        edges = sum(sum(before) * sum(after) for before, after in itertools.pairwise(rows))
        if edges > MAX_EDGES:
            self.fail(f"{shown(value)} asks for {edges} edges, more than {MAX_EDGES}", param, ctx)
        return [row[0] if len(row) == 1 else row for row in rows]


class UnitsType(click.ParamType):
    """m=kg,v=m/s: the unit of every column, the target's included."""

    name = "units"

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, str]:
        if isinstance(value, dict):
            return value
        pairs = [part.partition("=") for part in str(value).split(",")]
        if not all(column.strip() and equals for column, equals, _ in pairs):
            self.fail(f"{shown(value)} are no units; write for example m=kg,v=m/s", param, ctx)
        return {column.strip(): unit.strip() for column, _, unit in pairs}


class ListType(click.ParamType):
    """Texts separated by commas."""

    name = "list"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[str]:
        return value if isinstance(value, list) else [part.strip() for part in value.split(",")]


def as_tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def outliers_rule(choice: str | None) -> str:
    """As `KANRegressor` calls it."""
    return (choice or OUTLIERS[0]).replace("-", " ")


def jobs_wanted(jobs: int | None, backend: str | None) -> int | None:
    """All cores where a backend was asked for."""
    return -1 if backend is not None and jobs is None else jobs


def check_options(width: Any, of_network: dict[str, Any], of_search: dict[str, Any]) -> None:
    """Refuse what would be ignored."""
    wrong = [name for name, value in (of_search if width else of_network).items() if value]
    if wrong:
        side = "cannot be used with" if width else "needs"
        raise ValueError(f"{wrong[0]} {side} --width")


def command_text() -> str:
    """The command that is running, with the options that were given."""
    context = click.get_current_context()
    words = ["kansym", str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        value = context.params.get(name)
        source = context.get_parameter_source(name)
        if source != click.core.ParameterSource.COMMANDLINE or isinstance(value, bool):
            continue
        words += [] if isinstance(parameter, click.Argument) else [parameter.opts[0]]
        words.append(_option_text(value))
    return shlex.join(words)


def _option_text(value: Any) -> str:
    """The value of an option as it is written: 2,3+1,1 or m=kg,v=m/s."""
    if isinstance(value, dict):
        return ",".join(f"{name}={unit}" for name, unit in value.items())
    if isinstance(value, list):
        return ",".join("+".join(map(str, v)) if isinstance(v, list) else str(v) for v in value)
    return str(value)


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every search can be told: which columns, their units, where it runs."""
    for option in reversed(
        [
            click.option(
                "--features",
                type=ListType(),
                help="Columns to explain it with; default: all others.",
            ),
            click.option(
                "--functions",
                "--lib",
                "functions",
                type=ListType(),
                help="Functions to use, e.g. x,x^2,sin,exp; default: all.",
            ),
            click.option(
                "--units",
                type=UnitsType(),
                help="Of every column and the target: m=kg,v=m/s,E=J.",
            ),
            click.option(
                "--outliers",
                type=click.Choice(OUTLIERS),
                help="Rows with gross errors: set-aside leaves them out of the search."
                "  [default: keep]",
            ),
            click.option(
                "--jobs",
                type=int,
                help="Processes, -1 for all cores; default: one, or all with --backend.",
            ),
            click.option(
                "--backend",
                type=click.Choice(["loky", "dask", "ray"]),
                help="What runs the processes; default with --jobs: loky, on this machine.",
            ),
            click.option("--scheduler", help="Address of the dask scheduler or the ray cluster."),
            click.option(
                "--seed",
                type=click.IntRange(0, 2**32 - 1),
                default=0,
                show_default=True,
                help="Of split and search.",
            ),
        ]
    ):
        command = option(command)
    return command


def max_time_option(text: str) -> Callable[..., Any]:
    return click.option("--max-time", type=float, default=60.0, show_default=True, help=text)
