"""Layers in two processes: under DistributedDataParallel and both kinds of FSDP they are those of
one process that sees the whole batch."""

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
PATIENCE = 300  # seconds, after which processes that wait for each other have failed
STEPS, ROWS = 6, 40
KINDS = (
    {"range": "fixed", "grid_range": (-30.0, 30.0)},
    {"range": "adaptive"},
    {"range": "adaptive", "basis": "rational"},
    {"range": "adaptive", "groups": 2},
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
    return nn.Sequential(KANLinear(4, 6, **options), KANLinear(6, 2, **options))


def batches(rows=ROWS):
    """Inputs that spread and drift, so that grids have somewhere to go."""
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        u = torch.rand(rows, 4, generator=generator, dtype=torch.float64)
        yield (1 + step) * u + 4 * step * (step > 3) - 0.5


def train(model, optimiser, parts):
    for x in parts:
        optimiser.zero_grad()
        y = model(x)
        (y - x[:, :2].sin()).square().mean().backward()
        optimiser.step()


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)


def part_of(rank, x):
    return x.chunk(TWO)[rank]


def assert_same(found, want):
    """The state of models, or of models in two processes."""
    assert found.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-7, msg=lambda m: name + m)  # noqa: B023


def alone(kind, rows=ROWS):
    net = network(**kind)
    train(net, sgd(net), batches(rows))
    return net


# -- DistributedDataParallel ----------------------------------------------------------------------


def ddp(rank, kinds, rows=ROWS):
    states = []
    for kind in kinds:
        net = network(**kind)
        model = nn.parallel.DistributedDataParallel(net)
        train(model, sgd(model), (part_of(rank, x) for x in batches(rows)))
        twin = nn.parallel.DistributedDataParallel(network(**kind))
        twin.load_state_dict(model.state_dict())
        x = next(iter(batches()))
        assert torch.equal(twin.eval()(x), model.eval()(x))
        if kind == {"range": "adaptive"}:
            torch.testing.assert_close(to_kan(model)(x), model(x))
        states.append(net.state_dict())
    return states


def test_ddp_is_one_process(tmp_path):
    first, second = in_two_processes(ddp, tmp_path, KINDS)
    for kind, state, other in zip(KINDS, first, second, strict=True):
        want = alone(kind)
        if kind["range"] == "adaptive":
            assert want[0].range_report().moves >= 3
            assert all(torch.equal(state[name], other[name]) for name in state)
        for found in (state, other):
            assert_same(counted(found, kind), counted(want.state_dict(), kind))


def counted(state, kind):
    """Fixed layers count the rows of their own process."""
    is_adaptive = kind["range"] == "adaptive"
    return {name: value for name, value in state.items() if is_adaptive or ".seen." not in name}


def range_of_parts(rank):
    """Processes of unequal parts, one of them once without rows, with NaN in some."""
    found = []
    for parts in PARTS:
        seen = RunningRange(2, 2, 0.5, dtype=torch.float64)
        for sizes in parts:
            x = values(sum(sizes)).split(sizes)[rank]
            seen.update_together(x, *ENDS, False, None)
        found.append(seen.state_dict())
    return found


ENDS = torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
PARTS = (
    [(7, 9), (1, 0), (0, 12)],
    [(4, 5)],  # below ten rows the extremes count
    [(30, 34)],
    [(4 * ENOUGH, 4 * ENOUGH)],  # of which every eighth is looked at
    [(0, 0)],
)


def values(rows):
    x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)
    x[::5, 1] = torch.nan
    return x


def test_ranges_of_parts_are_those_of_the_whole(tmp_path):
    for found in in_two_processes(range_of_parts, tmp_path):
        for state, parts in zip(found, PARTS, strict=True):
            seen = RunningRange(2, 2, 0.5, dtype=torch.float64)
            for sizes in parts:
                if sum(sizes):
                    seen.update(values(sum(sizes)), *ENDS)
            assert_same(state, seen.state_dict())


def apart(rank):
    """Each process on its own, until `follow_ranges` joins what they saw."""
    (layer, _) = net = network(range="adaptive", sync=False)
    model = nn.parallel.DistributedDataParallel(net, broadcast_buffers=False)
    optimiser = sgd(model)
    for _ in range(3):
        train(
            model,
            optimiser,
            [torch.rand(30, 4, dtype=torch.float64, generator=seeded(rank)) + 9 * rank],
        )
    report = layer.range_report()
    assert report.moves == 0
    assert (report.seen_low > 9 * rank - 0.1).all()
    assert (report.seen_high < 9 * rank + 1.1).all()
    assert follow_ranges(model) == 2
    return net.state_dict()


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.slow
def test_processes_apart_join_when_asked(tmp_path):
    first, second = in_two_processes(apart, tmp_path)
    for name in ("0.coef", "1.coef", "0.basis.knots", "1.basis.knots"):
        assert torch.equal(first[name], second[name])
    assert first["0.basis.knots"].min() < 0.1
    assert first["0.basis.knots"].max() > 9.9


def one_objects(rank):
    """A graph waits in one process: no grid moves in any."""
    layer = network(range="adaptive")[0]
    x = next(iter(batches()))
    layer(x)
    if rank == 1:
        with torch.no_grad():
            layer.coef.add_(0)  # an optimiser's step, in this process alone
    for _ in range(20):
        with torch.no_grad():
            layer(9 + x)
    return layer.range_report().moves


@pytest.mark.slow
def test_grids_move_if_all_processes_agree(tmp_path):
    assert in_two_processes(one_objects, tmp_path) == [1, 1]


# -- FSDP -----------------------------------------------------------------------------------------


def sharded(way, net):
    if way == "fully_shard":
        fsdp = pytest.importorskip("torch.distributed.fsdp")
        mesh = dist.device_mesh.init_device_mesh("cpu", (TWO,))
        for layer in net:
            fsdp.fully_shard(layer, mesh=mesh)
        return fsdp.fully_shard(net, mesh=mesh)
    from torch.distributed.fsdp import FullyShardedDataParallel as FSDP

    options = {"device_id": torch.device("cpu"), "use_orig_params": way == "fsdp"}
    return FSDP(nn.Sequential(*(FSDP(layer, **options) for layer in net)), **options)


def fsdp(rank, way, kinds):
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_model_state_dict,
        set_model_state_dict,
    )

    # On the CPU, offloading frees what the older kind needs afterwards.
    offload = way == "fully_shard"
    full = StateDictOptions(full_state_dict=True, cpu_offload=offload)
    states = []
    for kind in kinds:
        model = sharded(way, network(**kind))
        optimiser = sgd(model)
        follow_after_steps(model, optimiser)
        paths = native_calls(model, part_of(rank, next(iter(batches()))))
        train(model, optimiser, (part_of(rank, x) for x in batches()))
        state = get_model_state_dict(model, options=full)
        twin = sharded(way, network(**kind))
        everywhere = [state]
        dist.broadcast_object_list(everywhere)  # whole in the first process only
        set_model_state_dict(twin, dict(everywhere[0]), options=full)  # it changes what it is given
        x = next(iter(batches()))
        assert torch.equal(twin.eval()(x), model.eval()(x))
        layer = next(part for part in model.modules() if isinstance(part, KANLinear))
        refused = [refusal(layer.edge_scores)]
        if len(kind) == 1 or kind["range"] == "fixed":
            refused.append(refusal(to_kan, layer))
        if way != "fully_shard":
            assert "follow_ranges(model)" in refusal(layer.follow_range)
        states.append((everywhere[0], paths, refused))
    return states


def native_calls(model, x):
    """How often a pass in eval mode goes to the kernels in C."""
    count = []
    original = kernels.native.forward

    @functools.wraps(original)
    def counting(*arguments):
        count.append(1)
        return original(*arguments)

    kernels.native.forward = counting
    try:
        with torch.no_grad():
            model.eval()(x)
    finally:
        kernels.native.forward = original
        model.train()
    return len(count)


def refusal(call, *arguments):
    try:
        call(*arguments)
    except NotWholeError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "way",
    [
        "fully_shard",
        pytest.param("fsdp", marks=pytest.mark.slow),
        pytest.param("fsdp_flat", marks=pytest.mark.slow),
    ],
)
def test_fsdp_is_one_process(way, tmp_path, monkeypatch):
    # Sharded layers move after steps and not in passes.
    monkeypatch.setattr(KANLinear, "_may_move", lambda layer: False)
    for found in in_two_processes(fsdp, tmp_path, way, KINDS):
        for kind, (state, paths, refused) in zip(KINDS, found, strict=True):
            want = network(**kind)
            optimiser = sgd(want)
            follow_after_steps(want, optimiser)
            x = next(iter(batches()))
            assert paths == native_calls(want, x)
            train(want, optimiser, batches())
            if kind["range"] == "adaptive":
                assert want[0].range_report().moves >= 2
            assert_same(counted(state, kind), counted(want.state_dict(), kind))
            assert "forward pass of the module it wraps" in refused[0]
            assert refused[1:] in ([], refused[:1])


def penalised(rank, way):
    """A penalty within the forward pass of the wrapped module."""
    model = sharded_whole(way, Penalised())
    optimiser = sgd(model)
    for x in batches():
        optimiser.zero_grad()
        y, penalty = model(part_of(rank, x))
        (y.square().mean() + 0.01 * penalty).backward()
        optimiser.step()
        follow_ranges(model)
    return float(penalty.detach())


class Penalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = network(range="adaptive")

    def forward(self, x):
        penalty = sum(layer.regularization_loss() for layer in self.layers)
        return self.layers(x), penalty


def sharded_whole(way, model):
    import torch.distributed.fsdp as fsdp

    if way == "fully_shard":
        return fsdp.fully_shard(model, mesh=dist.device_mesh.init_device_mesh("cpu", (TWO,)))
    device = torch.device("cpu")
    return fsdp.FullyShardedDataParallel(model, device_id=device, use_orig_params=way == "fsdp")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fully_shard", "fsdp", "fsdp_flat"])
def test_penalties_within_fsdp(way, tmp_path, monkeypatch):
    monkeypatch.setattr(KANLinear, "_may_move", lambda layer: False)
    found = in_two_processes(penalised, tmp_path, way)
    model = Penalised()
    optimiser = sgd(model)
    for x in batches():
        optimiser.zero_grad()
        y, penalty = model(x)
        (y.square().mean() + 0.01 * penalty).backward()
        optimiser.step()
        follow_ranges(model)
    assert found == pytest.approx([float(penalty.detach())] * TWO, rel=1e-8)


def test_sync_is_checked():
    with pytest.raises(ValueError, match="sync must be True, False or a"):
        KANLinear(2, 1, sync="yes")
