"""Processes that train the same layer: what they tell each other, and where its weights are.

**Samples.** The range of a batch is read off some of its rows. In distributed training these rows
are gathered from all processes, so that each sees those of the whole batch and does the same
arithmetic with them: `ENOUGH` rows of numbers per layer and step, however many processes there are.

**Shards.** `FullyShardedDataParallel` cuts the weights up and puts them together for a pass only;
what is written into them then is lost. So sharded layers move between steps: `unsharded` puts
those of `FullyShardedDataParallel` together, `whole` and `assign` those of `fully_shard`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

Group: TypeAlias = Any  # dist.ProcessGroup, which is not there in every build of torch


def is_distributed(group: Group = None) -> bool:
    """Whether other processes, of the group or at all, train the same weights."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1


def is_group(value: object) -> bool:
    """Whether it is a process group."""
    return dist.is_available() and isinstance(value, dist.ProcessGroup)


def gathered(
    sample: Float[Tensor, "rows in"], room: int, group: Group
) -> Float[Tensor, "all_rows in"]:
    """The rows of all processes, at most `room` from each; NaN where one has fewer."""
    padded = sample.new_full((room, sample.shape[1]), torch.nan)
    padded[: len(sample)] = sample
    parts = [torch.empty_like(padded) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, padded, group=group)
    return torch.cat(parts)


def summed(counts: Tensor, group: Group) -> Tensor:
    """`counts`, in place, over all processes."""
    dist.all_reduce(counts, group=group)
    return counts


# -- shards ---------------------------------------------------------------------------------------


def is_managed(module: nn.Module) -> bool:
    """Whether FSDP, of either kind, puts the weights of a module together for its passes."""
    return getattr(module, "_is_fsdp_managed_module", False)


def is_dtensor(weights: Tensor) -> bool:
    """Whether it is a `torch.distributed.tensor.DTensor`, which is slow to import."""
    return hasattr(weights, "full_tensor")


def is_cut(module: nn.Module, weights: Tensor, ndim: int) -> bool:
    """Whether the weights of a module, of `ndim` dimensions, are not in one piece here and now."""
    if is_dtensor(weights):
        return True
    if not is_managed(module):  # the storage of tensors within torch.func may not be asked for
        return False
    is_freed = weights.untyped_storage().size() == 0
    return weights.ndim != ndim or (is_freed and weights.numel() > 0)


def whole(weights: Tensor) -> Tensor:
    """The weights in one piece, gathered from all processes if they are a DTensor."""
    return weights.full_tensor() if is_dtensor(weights) else weights  # pyright: ignore


@torch.no_grad()
def assign(weights: Tensor, values: Tensor) -> None:
    """Copy whole values into weights, of which each process may hold a part."""
    if is_dtensor(weights):
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(weights, DTensor)
        values = values.to(weights.dtype)
        values = distribute_tensor(values, weights.device_mesh, weights.placements)
    weights.copy_(values)


def units(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """The innermost `FullyShardedDataParallel` around every module that has one."""
    if not dist.is_available() or not any(map(is_managed, model.modules())):
        return {}
    from torch.distributed.fsdp import FullyShardedDataParallel

    found: dict[nn.Module, nn.Module] = {}
    for unit in FullyShardedDataParallel.fsdp_modules(model):  # outer ones first
        found |= dict.fromkeys(unit.modules(), unit)
    return found


@contextmanager
def unsharded(unit: nn.Module | None) -> Iterator[None]:
    """The weights of a unit in one piece; what is written into them stays."""
    if unit is None:
        yield
        return
    from torch.distributed.fsdp import FullyShardedDataParallel

    with FullyShardedDataParallel.summon_full_params(unit, recurse=False, writeback=True):
        yield


def is_recomputing() -> bool:
    """Whether a backward pass is under way: a forward pass within it is that of a checkpoint,
    which was made before. Asked as `torch.utils.checkpoint` does."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
