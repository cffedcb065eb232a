"""Progress: one bar, text where there are no widgets, and nothing left of a search."""

import importlib.util
import sys
import types

import numpy as np
import pytest
import sympy

from kansym import KAN
from kansym.discovery.records import Finding
from kansym.estimator.progress import ProgressLine, is_watched
from kansym.progress import in_notebook, new_bar

DATA = np.random.default_rng(0).uniform(1, 2, (30, 2))


@pytest.fixture
def kernel(monkeypatch):
    """As in a kernel whose output is shown on a page."""
    shell = type("ZMQInteractiveShell", (), {})()
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "IPython", ipython)


def test_a_terminal_gets_text(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    assert not is_watched()
    with new_bar(total=1) as bar:
        assert type(bar).__module__ == "tqdm.std"


def test_a_notebook_without_widgets_gets_text_and_no_warning(kernel, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert in_notebook()
    assert is_watched()
    with new_bar(total=1) as bar:
        assert type(bar).__module__ == "tqdm.std"


def test_a_notebook_with_widgets_gets_a_widget(kernel, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    widget = types.ModuleType("tqdm.notebook")
    widget.tqdm = dict  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "tqdm.notebook", widget)
    assert new_bar(total=3) == {"total": 3}


def test_a_fit_shows_one_bar_to_its_end(capsys):
    KAN([2, 1]).fit((DATA, DATA[:, 0]), steps=3, patience=3)
    lines = capsys.readouterr().err.split("\n")
    assert len(lines) == 2
    assert lines[1] == ""
    assert "3/3" in lines[0].split("\r")[-1]
    KAN([2, 1]).fit((DATA, DATA[:, 0]), steps=3, progress=False)
    assert capsys.readouterr().err == ""


def test_nothing_is_left_of_a_search(capsys):
    line = ProgressLine("E\x1b[31m\n")
    best = Finding(sympy.Symbol("m") * sympy.Float(2.123456789), 3, 0.1, 0.9, 1.0)
    line("monomials", best)
    line.close()
    parts = capsys.readouterr().err.split("\r")
    assert r"monomials  E\x1b[31m\n = 2.123*m  (R2 0.9)" in parts[1]
    assert not any("\n" in part or "\x1b[31m" in part for part in parts)
    assert "".join(parts[2:]).strip() == ""


def test_a_search_that_ends_at_once_shows_nothing(capsys):
    ProgressLine("y").close()
    assert capsys.readouterr().err == ""
