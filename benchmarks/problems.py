"""Sets of equations, and samples of them to learn from.

A set is a CSV with one equation per row: id, formula, variables, low, high; the last three hold
one entry per variable, separated by semicolons (one range may serve all). `sampling` and
`n_or_step`, if there, say how a variable is drawn: U uniformly, n rows; E evenly spaced, n points
or, where the number is no whole one, that far apart, all variables together a grid. Without them:
uniformly, independently, as many rows as asked for. Further columns are kept and passed on.

A sample depends on the equation's id and on the seed alone. Rows at which the formula is not real
and finite are drawn anew.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import formulas
import numpy as np

REQUIRED = ("id", "formula", "variables", "low", "high")
ROUNDS = 200  # of drawing rows anew
STREAMS = ("train", "test", "noise", "judge")


@dataclass(frozen=True)
class Equation:
    """A row of a set. sampling: (letter, number) per variable, or None."""

    id: str
    formula: str
    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    sampling: tuple[tuple[str, float], ...] | None
    row: Mapping[str, str]

    @cached_property
    def expression(self) -> Any:
        return formulas.read(self.formula, self.names)

    @cached_property
    def function(self) -> Callable[..., np.ndarray]:
        return formulas.function(self.expression, formulas.variables(self.names))

    def values(self, X: np.ndarray) -> np.ndarray:
        """[n] at the rows of X [n, in]; NaN where the formula is not real."""
        return np.broadcast_to(self.function(*X.T), (len(X),))

    def box(self, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """(low, high), each range `factor` times as wide about its centre. A range on one side of 0
        stays there, and comes no closer to 0 than half way: many laws have their pole at 0."""
        low, high = np.array(self.low), np.array(self.high)
        centre, half = (low + high) / 2, (high - low) / 2
        wide_low, wide_high = centre - factor * half, centre + factor * half
        if factor == 1:
            return low, high
        wide_low = np.where(low >= 0, np.maximum(wide_low, low / 2), wide_low)
        wide_high = np.where(high <= 0, np.minimum(wide_high, high / 2), wide_high)
        return wide_low, wide_high


class Sample(NamedTuple):
    """X [n, in] and the formula's values [n]."""

    X: np.ndarray
    y: np.ndarray


# -- sets -----------------------------------------------------------------------------------------


def read_set(path: Path) -> list[Equation]:
    """The equations of a CSV. Raises ValueError that names the row."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in REQUIRED if not rows or name not in rows[0]]
    if missing:
        raise ValueError(f"{path.name} needs the columns {', '.join(REQUIRED)}; lacks {missing}")
    equations = [_equation(path, row) for row in rows]
    names = [equation.id for equation in equations]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path.name}: ids must differ; more than once: {twice}")
    return equations


def from_row(row: Mapping[str, str]) -> Equation:
    """Raises ValueError."""
    names = tuple(name.strip() for name in row["variables"].split(";"))
    if len(set(names)) < len(names) or not all(names):
        raise ValueError(f"variables must be names, each its own, got {row['variables']!r}")
    low, high = (_each(row[side], len(names), float) for side in ("low", "high"))
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise ValueError(f"low must not exceed high, got {low} and {high}")
    letters = _each(row.get("sampling") or "", len(names), str.strip)
    numbers = _each(row.get("n_or_step") or "0", len(names), float)
    sampling = tuple(zip(letters, numbers, strict=True)) if all(letters) else None
    if sampling and not all(letter in "UE" and number > 0 for letter, number in sampling):
        raise ValueError(f"sampling must be U or E with a number above 0, got {sampling}")
    equation = Equation(row["id"].strip(), row["formula"], names, low, high, sampling, dict(row))
    equation.expression  # noqa: B018 - unreadable formulas are refused here
    return equation


def _equation(path: Path, row: Mapping[str, str]) -> Equation:
    try:
        return from_row(row)
    except ValueError as error:
        raise ValueError(f"{path.name}, {row['id']}: {error}") from None


def _each(text: str, count: int, convert: Callable[[str], Any]) -> tuple[Any, ...]:
    parts = text.split(";")
    if len(parts) not in (1, count):
        raise ValueError(f"{text!r} needs one entry, or one for each of {count} variables")
    return tuple(convert(part) for part in (parts * count if len(parts) == 1 else parts))


# -- samples --------------------------------------------------------------------------------------


def generator(equation: Equation, seed: int, stream: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(equation.id.encode()), seed, STREAMS.index(stream)])


def training_sample(equation: Equation, rows: int, seed: int, as_set: bool = True) -> Sample:
    """as_set: as many rows, and as spaced, as the set itself says."""
    rng = generator(equation, seed, "train")
    plan = equation.sampling if as_set else None
    if plan is None:
        return draw(equation, rows, rng)
    if all(letter == "U" for letter, _ in plan):
        return draw(equation, int(max(number for _, number in plan)), rng)
    axes = [_axis(*each) for each in zip(equation.low, equation.high, plan, strict=True)]
    X = np.array(list(product(*axes)))
    y = equation.values(X)
    return Sample(X[np.isfinite(y)], y[np.isfinite(y)])


def test_sample(equation: Equation, rows: int, seed: int) -> Sample:
    return draw(equation, rows, generator(equation, seed, "test"))


def noise(equation: Equation, y: np.ndarray, level: float, seed: int) -> np.ndarray:
    """Gaussian noise of `level` times the spread of y."""
    return level * y.std() * generator(equation, seed, "noise").standard_normal(len(y))


def draw(equation: Equation, n: int, rng: np.random.Generator) -> Sample:
    """n rows inside the ranges. Raises ValueError when the formula has hardly a value there."""
    sample = _draw(equation, n, rng, 1.0, lambda X, y: np.isfinite(y))
    if len(sample.y) < n:
        raise ValueError(f"{equation.id}: its formula has hardly a real value in its ranges")
    return sample


def draw_outside(
    equation: Equation, n: int, rng: np.random.Generator, factor: float, inside: Sample
) -> Sample:
    """Up to n rows of the wider box, outside the ranges. Rows near a pole, further than ten times
    as far from the mean as any inside, are left out: they alone would make up any error."""
    low, high = equation.box()
    far = 10 * np.abs(inside.y - inside.y.mean()).max()

    def keep(X: np.ndarray, y: np.ndarray) -> np.ndarray:
        beyond = ((low > X) | (high < X)).any(1)
        return beyond & np.isfinite(y) & (np.abs(y - inside.y.mean()) <= far)

    return _draw(equation, n, rng, factor, keep)


def _draw(
    equation: Equation,
    n: int,
    rng: np.random.Generator,
    factor: float,
    keep: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Sample:
    low, high = equation.box(factor)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(ROUNDS):
        X = rng.uniform(low, high, (n, len(low)))
        y = equation.values(X)
        kept = keep(X, y)
        found.append((X[kept], y[kept]))
        if sum(len(part) for _, part in found) >= n:
            break
    X, y = (np.concatenate(parts)[:n] for parts in zip(*found, strict=True))
    return Sample(X, y)


def _axis(low: float, high: float, plan: tuple[str, float]) -> np.ndarray:
    letter, number = plan
    if letter == "U":
        raise ValueError("a grid needs E for every variable")
    if number == int(number):
        return np.linspace(low, high, int(number))
    return np.arange(low, high + number / 2, number)
