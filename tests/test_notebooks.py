"""The examples that open as notebooks: their cells parse, and they run from end to end."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "examples"
NOTEBOOKS = sorted(FOLDER.glob("notebook_*.py"))

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path):
    """(kind, source) of every cell, as jupytext's percent format has them; the header first."""
    text = path.read_text(encoding="utf-8")
    parts = re.split(r"^# %%(.*)\n", text, flags=re.MULTILINE)
    kinds = ["header", *(part.strip() for part in parts[1::2])]
    return list(zip(kinds, parts[::2], strict=True))


def test_there_are_three():
    assert len(NOTEBOOKS) == 3


@every_notebook
def test_cells_parse(path):
    header, *rest = cells(path)
    assert "format_name: percent" in header[1]
    assert {kind for kind, _ in rest} == {"[markdown]", ""}
    assert rest[0][0] == "[markdown]"
    assert rest[0][1].startswith("# # ")
    for kind, source in rest:
        if kind == "[markdown]":
            lines = source.strip().splitlines()
            assert lines
            assert all(line == "#" or line.startswith("# ") for line in lines)
        else:
            assert ast.parse(source).body


@pytest.mark.slow
@every_notebook
def test_it_runs_and_writes_only_where_it_is_told(path, tmp_path):
    command = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "=" in done.stdout
    assert len(list((tmp_path / "out").glob("*.png"))) >= 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
