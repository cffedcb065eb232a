"""The pictures of the explanation show what its pages say."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from kansym import create_dataset

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def example():
    place = ROOT / "examples" / "how_it_works.py"
    spec = importlib.util.spec_from_file_location("how_it_works", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_edge_is_the_sum_of_its_parts(example):
    inside, _ = example.edge().axes
    *parts, base, total = [
        line.get_ydata() for line in inside.lines if len(line.get_ydata()) == 400
    ]
    assert len(parts) == 5 + 3
    assert sum([*parts, base]) == pytest.approx(total, abs=1e-12)


@pytest.mark.slow
def test_merged_nodes_lie_on_a_line(example):
    law = create_dataset(lambda x: torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2), n_var=2)
    titles = [ax.get_title() for ax in example.merging(law).axes]
    (correlation,) = [float(title.split()[1]) for title in titles if "correlation" in title]
    assert abs(correlation) > 0.99


@pytest.mark.slow
def test_every_picture_is_drawn_and_shown(example, tmp_path, capsys):
    example.main(tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "explanation").glob("*.md"))
    assert drawn == set(re.findall(r"how_\w+\.png", pages))
    verdicts = re.findall(r": ([A-Z]+): ", capsys.readouterr().out)
    assert verdicts == ["EXACT", "CONSISTENT", "AMBIGUOUS", "APPROXIMATE"]
