"""Small charts as data: marks and ticks in the units of their SVG, y downwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from kansym.training.history import History
from kansym.views.axes import finite
from kansym.views.history import joined
from kansym.views.report.contents import Fit
from kansym.views.text import number_text

WIDTH, HEIGHT = 340.0, 230.0

LEFT, RIGHT, TOP, BOTTOM = 66.0, 10.0, 10.0, 40.0

MOST_POINTS = 300

MOST_STEPS = 200

LEAST_LOG = 1e-300


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A path and its class in the style sheet; name: for the legend."""

    path: str
    kind: str
    name: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart; summary: what it shows, in words."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_label: str
    y_label: str
    summary: str
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


class _Axis:
    """Values to places between two ends."""

    def __init__(self, values: np.ndarray, start: float, end: float, is_log: bool = False):
        self.start, self.end, self.is_log = start, end, is_log
        values = self._scaled(values)
        low, high = float(values.min()), float(values.max())
        if high - low <= 1e-12 * max(abs(low), abs(high)):
            gap = 0.5 * abs(high) or 1.0
            low, high = low - gap, high + gap
        margin = 0.04 * (high - low)
        self.low, self.high = low - margin, high + margin

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return np.log10(np.maximum(values, LEAST_LOG)) if self.is_log else np.asarray(values)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        share = (self._scaled(values) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5, is_whole: bool = False) -> tuple[Tick, ...]:
        locator = MaxNLocator(count, integer=is_whole or self.is_log)
        marks = [float(m) for m in locator.tick_values(self.low, self.high)]
        marks = [m for m in marks if self.low <= m <= self.high]
        if self.is_log and len(marks) < 2:
            marks = [self.low, self.high]
        values = [10.0**m if self.is_log else m for m in marks]
        places = self(np.array(values)).tolist() if values else []
        return tuple(Tick(round(p, 1), number_text(v)) for p, v in zip(places, values, strict=True))


def fit_charts(fit: Fit) -> tuple[Chart, Chart] | None:
    """Observed over predicted, and residuals over predicted; None without a finite row.

    At most `MOST_POINTS` rows are shown, evenly spread over the predicted values.
    """
    x, y = finite(fit.predicted, fit.observed)
    if not len(x):
        return None
    order = np.argsort(x, kind="stable")
    kept = order[
        np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int))
    ]
    what = fit.note or (f"{len(kept)} of {len(x)} rows" if len(kept) < len(x) else f"{len(x)} rows")
    across = _Axis(x, LEFT, WIDTH - RIGHT)
    both = _Axis(np.concatenate([x, y]), HEIGHT - BOTTOM, TOP)
    ends = np.array([x.min(), x.max()])
    observed = Chart(
        lines=(
            Line(_polyline(across(ends), both(ends)), "guide", "predicted = observed"),
            Line(_points(across(x[kept]), both(y[kept])), "points"),
        ),
        x_ticks=across.ticks(),
        y_ticks=both.ticks(),
        x_label="predicted",
        y_label="observed",
        summary=f"Observed over predicted values, {what}.",
    )
    left = y - x
    down = _Axis(np.append(left, 0.0), HEIGHT - BOTTOM, TOP)
    residual = Chart(
        lines=(
            Line(_polyline(across(ends), down(np.zeros(2))), "guide"),
            Line(_points(across(x[kept]), down(left[kept])), "points"),
        ),
        x_ticks=across.ticks(),
        y_ticks=down.ticks(),
        x_label="predicted",
        y_label="residual",
        summary=f"Residuals, observed minus predicted, from {number_text(left.min())}"
        f" to {number_text(left.max())}.",
    )
    return observed, residual


def history_chart(history: History) -> Chart | None:
    """Losses over the steps of a fit; None without a step that is finite."""
    if not history.steps:
        return None
    records = joined([history])
    kept = np.unique(np.linspace(0, len(records) - 1, min(len(records), MOST_STEPS)).round())
    records = [records[int(n)] for n in kept]
    step = np.array([r.step for r in records], dtype=float)
    losses = {
        ("first", "training loss"): np.array([r.train_loss for r in records], dtype=float),
        ("second", "test loss"): np.array(
            [math.nan if r.test_loss is None else r.test_loss for r in records], dtype=float
        ),
    }
    seen = {key: finite(step, values) for key, values in losses.items()}
    seen = {key: pair for key, pair in seen.items() if len(pair[0])}
    if not seen:
        return None
    together = np.concatenate([values for _, values in seen.values()])
    across = _Axis(step, LEFT, WIDTH - RIGHT)
    up = _Axis(together, HEIGHT - BOTTOM, TOP, is_log=bool((together > 0).all()))
    lines = tuple(
        Line(_polyline(across(x), up(y)), kind, name) for (kind, name), (x, y) in seen.items()
    )
    ends = ", ".join(
        f"{name} {number_text(y[0])} to {number_text(y[-1])}" for (_, name), (_, y) in seen.items()
    )
    return Chart(
        lines=lines,
        x_ticks=across.ticks(is_whole=True),
        y_ticks=up.ticks(),
        x_label="step",
        y_label="loss",
        summary=f"Losses over {len(history.steps)} steps: {ends}.",
    )


def _polyline(x: np.ndarray, y: np.ndarray) -> str:
    return path_of([(float(a), float(b)) for a, b in zip(x, y, strict=True)])


def _points(x: np.ndarray, y: np.ndarray) -> str:
    # A line of no length with round ends is a dot.
    return "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, y, strict=True))


def path_of(points: Sequence[tuple[float, float]]) -> str:
    """The line through the points, broken where one is not finite."""
    parts, pen = [], "M"
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        parts.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return "".join(parts)
