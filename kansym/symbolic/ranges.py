"""Rows for a network that was built from a formula, where there are no data: uniform in ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kansym.errors import is_number, shown, suggestion
from kansym.network import Network

DEFAULT_RANGE = (-1.0, 1.0)
N_ROWS = 1000
MOST_DRAWS = 20  # times N_ROWS, of which those outside the domain do not count


@torch.no_grad()
def draw_rows(
    network: Network, names: Sequence[str], ranges: Any, seed: int
) -> Float[Tensor, "n in"] | None:
    """1,000 rows, or less where the network is rarely finite, uniform in `ranges`: one (low, high)
    for all inputs, or a dict from names to them; what is not named lies in [-1, 1].

    Without ranges, None where no row of [-1, 1] is in the domain. Raises ValueError for bad ranges,
    and for such in which the network is nowhere finite.
    """
    ends = torch.tensor(_ends(names, ranges), dtype=network.dtype, device=network.device)
    low, high = ends.T
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    for _ in range(MOST_DRAWS):
        share = torch.rand(N_ROWS, len(names), generator=generator, dtype=torch.float64)
        rows = low + (high - low) * share.to(ends)
        found.append(rows[torch.isfinite(network(rows)).all(1)])
        if sum(map(len, found)) >= N_ROWS:
            break
    rows = torch.cat(found)[:N_ROWS]
    if len(rows):
        return rows
    if ranges is None:
        return None
    raise ValueError(
        f"ranges must reach into the formula's domain; it is finite nowhere in {shown(ranges)}"
    )


def _ends(names: Sequence[str], ranges: Any) -> list[tuple[float, float]]:
    """(low, high) of every input."""
    if not isinstance(ranges, Mapping):
        return [DEFAULT_RANGE if ranges is None else _pair("ranges", ranges)] * len(names)
    for name in ranges:
        if name not in names:
            raise ValueError(f"ranges has the unknown name {shown(name)};{suggestion(name, names)}")
    return [_pair(f"ranges[{n!r}]", ranges[n]) if n in ranges else DEFAULT_RANGE for n in names]


def _pair(label: str, ends: Any) -> tuple[float, float]:
    is_pair = isinstance(ends, (tuple, list)) and len(ends) == 2 and all(map(is_number, ends))
    if not is_pair or not float(ends[0]) < float(ends[1]):
        raise ValueError(f"{label} must be (low, high), finite, with low < high, got {shown(ends)}")
    return float(ends[0]), float(ends[1])
