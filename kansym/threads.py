"""Small problems run on one thread.

The tensors of a network people read are too small to share out: a second thread gains a few per cent
on an idle machine, and on a busy one its waiting costs a factor of ten. One thread also makes the
result independent of how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

LARGE = 5_000_000  # numbers in a problem's largest tensor from which threads pay


@contextmanager
def one_thread_if_small(n_numbers: int) -> Iterator[None]:
    """Within the block torch uses one thread, unless the problem is large or on another device."""
    before = torch.get_num_threads()
    if before == 1 or n_numbers >= LARGE:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
