"""Layers in two processes: under DistributedDataParallel and both kinds of FSDP they are those of
one process that sees the whole batch."""

import copy
import functools
import os
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import nn

from kansym import kernels
from kansym.errors import NotWholeError
from kansym.nn import KANLinear, follow_after_steps, follow_ranges, to_kan
from kansym.nn.ranges import ENOUGH, RunningRange

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="no gloo")
TWO = 2
PATIENCE = 150  # seconds, after which processes that wait for each other have failed
STEPS, ROWS = 6, 40
KINDS = (
    {"range": "fixed"},
    {"range": "adaptive"},
    {"range": "adaptive", "basis": "rational"},
    {"range": "adaptive", "groups": 1},
)


def in_two_processes(work, folder, *arguments):
    """What `work(rank, *arguments)` returns in each of two processes that know of each other."""
    context = torch.multiprocessing.spawn(run, (work, folder, arguments), TWO, join=False)
    end = time.monotonic() + PATIENCE
    try:
        while not context.join(timeout=5):
            assert time.monotonic() < end, f"{work.__name__} hangs"
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(TWO)]


def run(rank, work, folder, arguments):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    patience = timedelta(seconds=PATIENCE / 3)
    dist.init_process_group("gloo", meeting, patience, TWO, rank)
    torch.save(work(rank, *arguments), folder / f"{rank}.pt")
    dist.destroy_process_group()


def network(**options):
    options = {"dtype": torch.float64, "generator": torch.Generator().manual_seed(0)} | options
    return nn.Sequential(KANLinear(3, 5, **options), KANLinear(5, 2, **options))


def batches(rows=ROWS):
    """Inputs that spread and drift, so that grids have somewhere to go."""
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        u = torch.rand(rows, 3, generator=generator, dtype=torch.float64)
        yield (1 + step) * u + 4 * step * (step > 3) - 0.5


def train(model, optimiser, parts):
    for x in parts:
        optimiser.zero_grad()
        y = model(x)
        (y - x[:, :2].sin()).square().mean().backward()
        optimiser.step()


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def part_of(rank, x):
    return x.chunk(TWO)[rank]


def assert_same(found, want):
    """The state of models, or of models in two processes."""
    assert found.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-9, msg=lambda m: name + m)  # noqa: B023


# -- DistributedDataParallel ----------------------------------------------------------------------


def ddp(rank, options, rows=ROWS):
    states = []
    for kind in options:
        net = network(**kind)
        model = nn.parallel.DistributedDataParallel(net)
        train(model, sgd(model), (part_of(rank, x) for x in batches(rows)))
        twin = nn.parallel.DistributedDataParallel(network(**kind))
        twin.load_state_dict(model.state_dict())
        x = next(iter(batches()))
        assert torch.equal(twin.eval()(x), model.eval()(x))
        assert torch.equal(to_kan(model, check=False) if False else model.module(x), net(x))
        states.append(net.state_dict())
    return states


def alone(kind, rows=ROWS):
    net = network(**kind)
    train(net, sgd(net), batches(rows))
    return net


@pytest.mark.parametrize("rows", [ROWS, 4 * ENOUGH])
def test_ddp_is_one_process(rows, tmp_path):
    kinds = KINDS if rows == ROWS else KINDS[1:2]
    found = in_two_processes(ddp, tmp_path, kinds, rows)
    for kind, *states in zip(kinds, *found, strict=True):
        want = alone(kind, rows)
        if kind["range"] == "adaptive":
            assert want[0].range_report().moves >= 3
        for state in states:
            adaptive = kind["range"] == "adaptive"
            same = state if adaptive else without_ranges(state)
            assert_same(same, want.state_dict() if adaptive else without_ranges(want.state_dict()))


def without_ranges(state):
    """Fixed layers take in the rows of their own process."""
    return {name: value for name, value in state.items() if ".seen." not in name}
