"""The rows of the recovery benchmark, summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any, NamedTuple

import judge
from common import Table

VERDICTS = ("EXACT", "CONSISTENT", "AMBIGUOUS", "APPROXIMATE", "NONE")
WIDEST = 100  # characters of a formula in a table
Row = dict[str, Any]


class Of(NamedTuple):
    """The rows of a method; None when it is not installed."""

    method: str
    rows: list[Row] | None


def line(row: Row) -> str:
    """A run in a line."""
    head = f"{row['id']:14s} seed {row['seed']}  {row['method']:8s}"
    if row.get("error"):
        return f"{head} failed: {row['error']}"
    said = row["criterion"] if row["recovered"] is True else f"no ({row.get('why')})"
    verdict = f"  {row['verdict']}" if row.get("verdict") else ""
    seconds = f"{row.get('wall_s', 0):.1f} s"
    return f"{head} {said}{verdict}  {seconds}  {_short(row.get('formula') or '')}"


def summary(methods: Sequence[Of], noise: float) -> list[Table]:
    tables = [rates(methods, noise), verdicts(methods), failures(methods)]
    return [table for table in tables if table.rows]


def rates(methods: Sequence[Of], noise: float) -> Table:
    columns = ["method", "recovered", "equations in every seed", "how", "false EXACT",
               "false EXACT or CONSISTENT", "R2 within 0.001 of the law's", "so, but wrong",
               "failed", "median s to a right formula", "median s", "median CPU s", "rows",
               "budget s", "version"]  # fmt: skip
    lines = [_rates(*of, width=len(columns)) for of in methods]
    ceiling = 1 - noise**2 / (1 + noise**2)
    note = f"Recovered: {judge.CRITERIA[noise > 0]}."
    if noise:
        note += f" Noise in the training targets alone; R2 of the law on noisy rows {ceiling:.6f}."
    return Table(columns, lines, note=note)


def _rates(method: str, rows: list[Row] | None, width: int) -> list[Any]:
    if not rows:
        reason = "not installed" if rows is None else "no rows"
        return [method, reason, *["-"] * (width - 2)]
    right = [row for row in rows if is_right(row)]
    wrong = [row for row in rows if not is_right(row)]
    per_equation = Counter(row["id"] for row in right)
    seeds = Counter(row["id"] for row in rows)
    every = sum(per_equation[name] == count for name, count in seeds.items())
    claims = [row["verdict"] for row in wrong]
    claiming = any(row["verdict"] for row in rows)
    close = [row for row in rows if _number(row, "r2_clean") > 0.999]
    return [
        method,
        _share(len(right), len(rows)),
        f"{every} of {len(seeds)}",
        ", ".join(f"{n} {name}" for name, n in Counter(r["criterion"] for r in right).items()),
        claims.count("EXACT") if claiming else "-",
        claims.count("EXACT") + claims.count("CONSISTENT") if claiming else "-",
        _share(len(close), len(rows)),
        sum(not is_right(row) for row in close),
        sum(bool(row["error"]) for row in rows),
        _median(right, "wall_s"),
        _median(rows, "wall_s"),
        _median(rows, "cpu_s"),
        _all(rows, "rows"),
        _all(rows, "budget"),
        _all(rows, "version"),
    ]


def verdicts(methods: Sequence[Of]) -> Table:
    """What was claimed against what was so."""
    lines = []
    for method, rows in methods:
        claiming = [row for row in rows or [] if row["verdict"]]
        for verdict in sorted({row["verdict"] for row in claiming}, key=_order):
            mine = [row for row in claiming if row["verdict"] == verdict]
            right = sum(map(is_right, mine))
            lines.append([method, verdict, right, len(mine) - right])
    return Table(["method", "verdict", "right", "wrong"], lines, "Verdicts")


def failures(methods: Sequence[Of]) -> Table:
    lines = [
        [
            row["method"], row["id"], row["seed"], row["verdict"] or "-",
            row["r2_clean"] or "-", row["error"] or row["why"],
            f"`{_short(row['truth'])}`", f"`{_short(row['formula'])}`" if row["formula"] else "-",
        ]
        for _, rows in methods
        for row in rows or []
        if not is_right(row)
    ]  # fmt: skip
    columns = ["method", "equation", "seed", "verdict", "R2", "why not", "law", "found"]
    safe = [[str(cell).replace("|", "\\|") for cell in cells] for cells in lines]
    return Table(columns, safe, "Not recovered")


def numbers(methods: Sequence[Of]) -> dict[str, Any]:
    """The summary for machines; every run is in the CSV files."""
    return {
        "recovered": {
            method: {"right": sum(map(is_right, rows)), "runs": len(rows)}
            for method, rows in methods
            if rows is not None
        }
    }


def is_right(row: Row) -> bool:
    return row["recovered"] == "True"


# -- cells ----------------------------------------------------------------------------------------


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.0%})"


def _median(rows: Iterable[Row], column: str) -> str:
    values = [float(row[column]) for row in rows if row[column]]
    return f"{median(values):.1f}" if values else "-"


def _all(rows: Iterable[Row], column: str) -> str:
    values = sorted({row[column] for row in rows if row[column]}, key=_natural)
    return ", ".join(values) if len(values) < 4 else f"{values[0]} to {values[-1]}"


def _natural(text: str) -> tuple[float, str]:
    return (float(text), "") if text.replace(".", "", 1).isdigit() else (0.0, text)


def _number(row: Row, column: str) -> float:
    return float(row[column]) if row[column] else float("-inf")


_order: Callable[[str], Any] = lambda v: (VERDICTS.index(v) if v in VERDICTS else 9, v)  # noqa: E731


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."
