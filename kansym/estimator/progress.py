"""A line about the search, where somebody is looking."""

from __future__ import annotations

import sys
import time

from kansym.discovery.records import Finding
from kansym.errors import visible
from kansym.symbolic.formula import round_floats

WIDTH = 110  # of the line
PAUSE = 0.1  # seconds between two updates


def is_watched() -> bool:
    """Whether standard error is a terminal, or the code runs in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class ProgressLine:
    """One line on standard error, written over again: seconds, step, best formula so far."""

    def __init__(self, label: str):
        self.label, self.started, self.shown = visible(label), time.perf_counter(), 0.0

    def __call__(self, step: str, best: Finding | None) -> None:
        now = time.perf_counter()
        if now - self.shown < PAUSE:
            return
        self.shown = now
        text = f"{now - self.started:4.0f} s  {step}"
        if best is not None:
            text += f"  {self.label} = {round_floats(best.expr, 4)}  (R2 {best.r2:.6g})"
        self._write(text if len(text) <= WIDTH else text[: WIDTH - 3] + "...")

    def close(self) -> None:
        """Leave an empty line behind."""
        if self.shown:
            self._write("")

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r{text:{WIDTH}s}\r")
        sys.stderr.flush()
