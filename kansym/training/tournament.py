"""Restarts as a tournament: many networks for a few steps, the better half for twice as many.

Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): training ends in different
structures from different starts, a bad one shows early, and most of the steps go to the good ones.
At equal cost eight starts halved were as good as the best of four on two laws of four, and better
on the other two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from kansym.training.history import History

N = TypeVar("N")


def tournament(
    networks: Sequence[N], fit: Callable[[N, int], History], first_steps: int, last_steps: int
) -> N:
    """The network that wins, trained.

    fit: trains a network in place for so many steps. Each round ranks by `best_objective`; rounds
    have first_steps, 2 first_steps, ... steps, and the winner gets `last_steps` more.
    """
    left, steps = list(networks), first_steps
    while len(left) > 1:
        ends = [fit(network, steps).best_objective for network in left]
        order = sorted(range(len(left)), key=ends.__getitem__)
        left = [left[n] for n in order[: (len(left) + 1) // 2]]
        steps *= 2
    fit(left[0], last_steps)
    return left[0]
