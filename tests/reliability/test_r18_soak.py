"""Two hundred fits in one process: memory grows by less than 20 MB after the first fifty, and no
file handle, thread, network or picture is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads Linux's /proc")

SCRIPT = """
import gc, os, sys, tempfile, threading
import numpy as np, torch
from matplotlib.figure import Figure
from kansym import KAN, KANRegressor, load

torch.set_num_threads(1)
rng = np.random.default_rng(0)
X = rng.uniform(0.5, 2.0, (100, 2))
y = X[:, 0] ** 2 + np.sin(X[:, 1])


def once(seed):
    model = KAN([2, 2, 1], grid=3, seed=seed)
    model.fit((X, y), steps=6, lamb=1e-3, progress=False)
    small = model.prune(1e-4, 1e-4).merge().refine(5)
    small.suggest_symbolic(0, 0, 0, lib=["x", "x^2", "sin"])
    with tempfile.TemporaryDirectory() as folder:
        small.save(os.path.join(folder, "m.kansym"), sample=True)
        load(os.path.join(folder, "m.kansym")).predict(X)
    small.plot()
    if seed % 10 == 0:
        KANRegressor(max_time=5, random_state=seed).fit(X, X[:, 0] * X[:, 1]).latex()


def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def held():
    gc.collect()
    things = sum(isinstance(o, (torch.nn.Module, Figure)) for o in gc.get_objects())
    return len(os.listdir("/proc/self/fd")), threading.active_count(), things


for seed in range(WARM):
    once(seed)
before, held_before = resident(), held()
for seed in range(WARM, FITS):
    once(seed)
print(resident() - before, *(b - a for a, b in zip(held_before, held())))
"""


def soak(warm, fits):
    """Growth in MB, file handles, threads, and networks and pictures that are still there."""
    script = SCRIPT.replace("WARM", str(warm)).replace("FITS", str(fits))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [float(value) for value in done.stdout.split()]


@pytest.mark.slow
def test_two_hundred_fits():
    growth, *held = soak(50, 200)
    assert growth < 20
    assert max(held) <= 0


def test_thirty_fits():
    growth, *held = soak(15, 30)
    assert growth < 20
    assert max(held) <= 0
