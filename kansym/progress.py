"""A bar of progress, in a terminal or a notebook.

In a notebook with ipywidgets it is a widget; without them, and in a terminal, it is text. The
choice is made here rather than by `tqdm.auto`, which warns where ipywidgets are missing.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any


def new_bar(**options: Any) -> Any:
    """A tqdm bar with these options of tqdm's."""
    return _bar_class()(**options)


def in_notebook() -> bool:
    """Whether the code runs in a kernel whose output is shown on a page."""
    ipython = sys.modules.get("IPython")  # whoever runs in a kernel has imported it
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _bar_class() -> Any:
    if in_notebook() and importlib.util.find_spec("ipywidgets"):
        from tqdm.notebook import tqdm
    else:
        from tqdm.std import tqdm
    return tqdm
