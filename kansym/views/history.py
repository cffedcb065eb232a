"""How training went: losses and penalty, where grids moved and grew, where edges went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from kansym.training.history import History, StepRecord
from kansym.views.axes import BLACK, BLUE, GREEN, GREY, VERMILION, count_x, place

MARKS = 12  # markers on a line, about

LEAST_GAP = 0.035  # between two events with words, in lengths of the axis


class Event(NamedTuple):
    """What happened before a step: "grid 5 to 10" or "15 to 4 edges"."""

    step: int
    text: str


def plot_history(history: History | Sequence[History], ax: Axes | None = None) -> Axes:
    """Draw the losses and the penalty of one fit, or of several in a row, over the steps.

    Small marks at the bottom say where grids moved; lines say where they got other numbers of
    intervals, and where edges were switched off between fits. The scale is logarithmic unless a
    loss is negative. Raises ValueError for a history without steps.
    """
    records = joined([history] if isinstance(history, History) else history)
    ax = place(ax)
    step = np.array([record.step for record in records])
    lines = {
        "training loss": ([r.train_loss for r in records], BLUE, "-", "o"),
        "test loss": ([r.test_loss for r in records], VERMILION, "--", "s"),
        # Without a sparsity penalty, what is recorded is a prior of the order of rounding.
        "penalty": ([np.nan if r.n_edges is None else r.penalty for r in records], GREEN, ":", "^"),
    }
    values = {name: np.array(line[0], dtype=float) for name, line in lines.items()}
    is_log = not any((v < 0).any() for v in values.values())
    for name, (_, color, style, marker) in lines.items():
        shown = values[name]
        if not (np.isfinite(shown) & (shown != 0)).any():
            continue
        shown = np.where(shown > 0, shown, np.nan) if is_log else shown
        every = max(1, len(step) // MARKS)
        ax.plot(
            step, shown, color=color, ls=style, marker=marker, ms=4, markevery=every, label=name
        )
    ax.set_yscale("log" if is_log else "linear")
    moved = [r.step for r in records if r.moved_grid]
    if moved:
        ax.plot(
            moved, np.zeros(len(moved)), transform=ax.get_xaxis_transform(), ls="", marker="|",
            ms=12, mew=1.5, color=BLACK, label="grids moved", clip_on=False,
        )  # fmt: skip
    _draw_events(ax, events(records), len(records))
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    count_x(ax)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    return ax


def joined(histories: Sequence[History]) -> list[StepRecord]:
    """The steps of all fits, counted on; ValueError when there are none."""
    records: list[StepRecord] = []
    for history in histories:
        if not isinstance(history, History):
            raise ValueError(
                f"history must be what fit returned, or a list of such, got "
                f"{type(history).__name__}"
            )
        offset = records[-1].step + 1 if records else 0
        records += [replace(record, step=record.step + offset) for record in history.steps]
    if not records:
        raise ValueError(
            "history must have at least one step to draw, got none; fit for one step or more"
        )
    return records


def events(records: Sequence[StepRecord]) -> list[Event]:
    """Where the number of intervals or of active edges changed."""
    found = []
    for before, after in pairwise(records):
        parts = []
        if None not in (before.n_active, after.n_active) and before.n_active != after.n_active:
            parts.append(f"{before.n_active} → {after.n_active} edges")
        if None not in (before.grid, after.grid) and before.grid != after.grid:
            parts.append(f"grid {before.grid} → {after.grid}")
        if parts:
            found.append(Event(after.step, ", ".join(parts)))
    return found


def _draw_events(ax: Axes, found: Sequence[Event], n_steps: int) -> None:
    last = -np.inf
    for event in found:
        ax.axvline(event.step - 0.5, color=GREY, lw=0.9, ls=(0, (1, 2)), zorder=1)
        if event.step - last < LEAST_GAP * n_steps:
            continue
        last = event.step
        ax.annotate(
            event.text, (event.step - 0.5, 1.0), xycoords=ax.get_xaxis_transform(),
            xytext=(-2, -3), textcoords="offset points", rotation=90, ha="right", va="top",
            size="small", color=GREY, zorder=5,
        )  # fmt: skip
