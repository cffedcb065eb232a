"""Small problems run on one thread.

The tensors of a network people read are too small to share out, and on a busy machine waiting for a
second thread is costly: 30 Levenberg-Marquardt steps of [2, 5, 1] on 1,000 rows took 0.7 s on one
thread and 11 s on two, with both cores in use. One thread also makes the result independent of how
many there are.
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
