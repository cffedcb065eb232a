"""The tree of groups of variables: which enter a function through one value of their own.

A set A of variables is a group when f = F(h(x_A), others): the directions (f_i, f_j) of the slopes
in A do not depend on any variable outside. Groups overlap where an operation is associative: of
x1 + x2 + x3 every two are one. Those that overlap no other form a tree, as in the modular
decomposition of a graph (Gallai 1967), and a node whose children may be grouped at will is a sum
within a function. Liu et al. 2024, arXiv:2408.10205, sec. 4.3, draw such trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

Triples = Mapping[tuple[int, int, int], float]
"""misfit[i, j, k], i < j: how far the direction (f_i, f_j) depends on x_k."""


@dataclass(frozen=True)
class Group:
    """variables: names, in the order of the columns. parts: the groups and single variables that
    it is made of; none for a single variable. form: how it is made of them, as text."""

    variables: tuple[str, ...]
    parts: tuple[Group, ...] = ()
    form: str = ""

    def __str__(self) -> str:
        return "\n".join(self._lines(0))

    def _lines(self, depth: int) -> list[str]:
        name = ", ".join(self.variables)
        line = "  " * depth + (f"{name}: {self.form}" if self.parts else name)
        return [line, *(text for part in self.parts for text in part._lines(depth + 1))]


def strong_groups(count: int, misfit: Triples, threshold: float) -> list[frozenset[int]]:
    """The groups of two and more of `count` variables that overlap no other, all of them first."""
    everything = frozenset(range(count))
    pairs = {
        _closure(frozenset(pair), everything, misfit, threshold)
        for pair in combinations(range(count), 2)
    }
    # A sum of three and more parts is the least group of no pair, but a union of such groups.
    candidates = pairs | {everything} | _unions(pairs)
    strong = [group for group in candidates if not any(_overlap(group, pair) for pair in pairs)]
    return sorted(strong, key=lambda group: (-len(group), sorted(group)))


def tree(
    names: tuple[str, ...],
    groups: list[frozenset[int]],
    form: Callable[[frozenset[int], list[frozenset[int]]], str],
) -> Group:
    """The groups inside each other. form: says how a group is made of its parts."""
    if len(names) == 1:
        return Group(names)
    nodes = [*groups, *(frozenset([i]) for i in range(len(names)))]

    def made(node: frozenset[int]) -> Group:
        inside = [other for other in nodes if other < node]
        parts = [part for part in inside if not any(part < other for other in inside)]
        parts.sort(key=min)
        text = form(node, parts) if parts else ""
        return Group(tuple(names[i] for i in sorted(node)), tuple(map(made, parts)), text)

    return made(frozenset(range(len(names))))


def _closure(
    group: frozenset[int], everything: frozenset[int], misfit: Triples, threshold: float
) -> frozenset[int]:
    """The least group that holds these variables."""
    while True:
        more = {
            k
            for i, j in combinations(sorted(group), 2)
            for k in everything - group
            if misfit[i, j, k] >= threshold
        }
        if not more:
            return group
        group |= more


def _overlap(a: frozenset[int], b: frozenset[int]) -> bool:
    return bool(a & b) and not a <= b and not b <= a


def _unions(groups: set[frozenset[int]]) -> set[frozenset[int]]:
    """Unions of groups that overlap, directly or by way of others."""
    found, left = set(), set(groups)
    while left:
        chain = {left.pop()}
        while linked := {g for g in left if any(_overlap(g, other) for other in chain)}:
            chain |= linked
            left -= linked
        found.add(frozenset().union(*chain))
    return found
