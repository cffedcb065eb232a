"""A line about the search, where somebody is looking."""

from __future__ import annotations

import sys
from typing import Any

from kansym.discovery.records import Finding
from kansym.errors import visible
from kansym.progress import in_notebook, new_bar
from kansym.symbolic.formula import round_floats

WIDTH = 100  # of the text
FORMAT = "{elapsed}  {desc}"
PAUSE = 0.1  # seconds between two updates


def is_watched() -> bool:
    """Whether standard error is a terminal, or the code runs in a notebook."""
    return sys.stderr.isatty() or in_notebook()


class ProgressLine:
    """One line, written over again: seconds, step, best formula so far. It is gone at the end."""

    def __init__(self, label: str):
        self.label = visible(label)
        self.bar: Any = None

    def __call__(self, step: str, best: Finding | None) -> None:
        text = step
        if best is not None:
            text += f"  {self.label} = {round_floats(best.expr, 4)}  (R2 {best.r2:.6g})"
        text = text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."
        if self.bar is None:
            self.bar = new_bar(
                desc=text, bar_format=FORMAT, leave=False, mininterval=PAUSE, miniters=1
            )
        self.bar.set_description_str(text, refresh=False)
        self.bar.update(1)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.bar is not None:
            self.bar.close()
