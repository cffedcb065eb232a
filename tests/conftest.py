"""What holds while any test runs: shapes are checked, the working directory and the global random
state stay as they were, and no window opens."""

import os

os.environ["MPLBACKEND"] = "Agg"

import jaxtyping

# Before kansym is imported: its shape annotations are then checked at every call. `network` is left
# out, for it answers bad shapes and arguments with messages of its own, which the tests read.
jaxtyping.install_import_hook(
    ["kansym.bspline", "kansym.edge", "kansym.layer"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from reliability_table import read_rows, summary, write_table  # noqa: E402

from kansym import functions  # noqa: E402

torch.set_num_threads(1)

# A slow moment of a shared machine is no failure, and a failure must come back in the next run.
hypothesis.settings.register_profile("kansym", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("kansym")


def pytest_addoption(parser):
    parser.addoption("--reliability-table", help="page to write the reliability table into")


def pytest_terminal_summary(terminalreporter, config):
    rows = read_rows(terminalreporter.stats)
    if rows:
        terminalreporter.section("reliability", sep="-")
    for row in rows:
        terminalreporter.write_line(summary(row))
    if rows and config.getoption("--reliability-table"):
        write_table(config.getoption("--reliability-table"), rows)


@pytest.fixture(autouse=True)
def empty_working_directory(tmp_path_factory, monkeypatch):
    """Nothing is written unless a path was given."""
    directory = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(directory)
    yield
    written = sorted(p.name for p in directory.iterdir() if p.name != ".hypothesis")
    assert not written, f"written into the working directory: {written}"


@pytest.fixture(autouse=True)
def global_random_state():
    """Nobody draws from, or seeds, the random states of the process; tests use `generator`."""
    before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    yield
    after = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    assert torch.equal(before[0], after[0]), "torch's global random state was touched"
    same = before[1][2:] == after[1][2:] and np.array_equal(before[1][1], after[1][1])
    assert same, "NumPy's global random state was touched"


@pytest.fixture
def generator():
    """Random numbers of a test's own, the same in every run."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def library():
    """The library is as before when a test that registers is over."""
    before = dict(functions._REGISTRY)
    yield
    functions._REGISTRY.clear()
    functions._REGISTRY.update(before)
