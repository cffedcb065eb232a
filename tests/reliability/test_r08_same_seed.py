"""The same seed, twice here and in another process with another hash seed: the same bits, and the
global random states of Python, NumPy and PyTorch untouched.

Every task returns bytes that hold all it found, to the last bit.
"""

import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from kansym import KAN, KANClassifier, KANRegressor, create_dataset, find_formula, nn
from kansym.pipeline import Recipe

RNG = np.random.default_rng(0)
X = RNG.uniform(0.5, 2.0, (120, 3))
Y = X[:, 0] * X[:, 1] + 0.01 * RNG.normal(size=120)


def bits(model):
    return b"".join(value.detach().numpy().tobytes() for value in model.parameters())


def trained(opt="LM", **options):
    model = KAN([3, 3, 1], grid=3, seed=7)
    model.fit((X, Y), opt, 8, seed=7, lamb=1e-3, progress=False, **options)
    return model


def simplified():
    model = trained().prune(1e-3, 1e-3).merge().refine(6)
    model.fit((X, Y), "LM", 5, progress=False)
    return model


def named():
    model = KAN([3, 1], grid=3, seed=7)
    model.fit((X, X[:, 0] ** 2 + np.sin(2 * X[:, 1]) + np.log(X[:, 2])), steps=20, progress=False)
    model.auto_symbolic()
    return bits(model) + str(model.symbolic_formula(snap=True).exprs).encode()


def saved():
    with tempfile.TemporaryDirectory() as folder:
        trained().save(Path(folder) / "model.kansym", sample=True)
        return (Path(folder) / "model.kansym").read_bytes()


def picture(kind):
    target = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "kansym"}):  # matplotlib's own ids are random
        trained().plot().figure.savefig(
            target, format=kind, metadata={"Date": None} if kind == "svg" else None
        )
    return target.getvalue()


def layers():
    generator = torch.Generator().manual_seed(1)
    sizes = ((3, 4), (4, 1))
    stack = torch.nn.Sequential(
        *(nn.KANLinear(*size, grid_range=(-2, 2), generator=generator) for size in sizes)
    )
    rows = torch.as_tensor(X, dtype=torch.float32)
    target = torch.as_tensor(Y, dtype=torch.float32)[:, None]
    optimiser = torch.optim.Adam(stack.parameters(), lr=0.01)
    for _ in range(5):
        optimiser.zero_grad()
        (stack(rows) - target).pow(2).mean().backward()
        optimiser.step()
    return bits(stack)


def searched(n_jobs=None):
    est = KANRegressor(max_time=60, random_state=3, n_jobs=n_jobs)
    targets = np.stack([X[:, 0] * X[:, 1] / X[:, 2], np.exp(-X[:, 0]) * X[:, 2]], 1)
    est.fit(X, targets)
    return (repr(est.formula_.exprs) + est.predict(X).tobytes().hex()).encode()


def classified():
    est = KANClassifier(max_time=60, random_state=3).fit(X, X[:, 0] * X[:, 1] > 1.4)
    return (repr(est.formula_.exprs) + est.predict_proba(X).tobytes().hex()).encode()


def piped():
    found = find_formula((X, X[:, 0] ** 2 + X[:, 1]), [3, 1], recipe=Recipe(restarts=2), seed=2)
    return bits(found.model) + str(found.formula.exprs).encode()


def drawn():
    data = create_dataset(lambda x: x[:, [0]] ** 2, n_var=2, train_num=50, test_num=20, seed=4)
    return b"".join(part.numpy().tobytes() for part in (data.X, data.y, data.X_test, data.y_test))


TASKS = {
    "initial parameters": lambda: bits(KAN([3, [2, 1], 1], seed=5)),
    "LM": lambda: bits(trained()),
    "LBFGS": lambda: bits(trained("LBFGS")),
    "Adam": lambda: bits(trained("Adam", lr=0.01)),
    "Adam in batches": lambda: bits(trained("Adam", lr=0.01, batch=32)),
    "grids by cross-validation": lambda: bits(trained(grids="auto")),
    "prune, merge, refine": lambda: bits(simplified()),
    "names and formula": named,
    "model file": saved,
    "SVG": lambda: picture("svg"),
    "PNG": lambda: picture("png"),
    "layers in a network": layers,
    "regressor": searched,
    "regressor in two processes": lambda: searched(n_jobs=2),
    "classifier": classified,
    "pipeline": piped,
    "data set": drawn,
}


def random_states():
    states = random.getstate(), np.random.get_state(), torch.get_rng_state().tolist()  # noqa: NPY002
    return repr(states)


def digest(name):
    return hashlib.sha256(TASKS[name]()).hexdigest()


@pytest.fixture(scope="module")
def elsewhere():
    """Of all tasks, from another process: what they found, and whether they touched a random state.

    Here the shape checks of the tests draw from Python's own random numbers.
    """
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", TASKS)
def test_the_same_bits(name, elsewhere):
    assert digest(name) == digest(name) == elsewhere[name]["digest"]


@pytest.mark.parametrize("name", TASKS)
def test_global_random_states(name, elsewhere):
    assert elsewhere[name]["untouched"]


def test_jobs_do_not_matter(elsewhere):
    one, two = (elsewhere[name] for name in ("regressor", "regressor in two processes"))
    assert one["digest"] == two["digest"]


def test_another_seed_gives_other_bits():
    first, second = (bits(KAN([3, 3, 1], seed=seed)) for seed in (0, 1))
    assert first != second


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {}
    for name in TASKS:
        before = random_states()
        found[name] = {"digest": digest(name), "untouched": random_states() == before}
    print(json.dumps(found))
