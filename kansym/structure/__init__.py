"""Which nodes and edges there are: every function takes a network and returns a new one."""

from kansym.structure.expand import deepen, widen
from kansym.structure.groups import Group
from kansym.structure.hypotheses import THRESHOLD, Hypotheses, Hypothesis, hypotheses
from kansym.structure.merge import merge
from kansym.structure.perturb import perturb
from kansym.structure.prune import (
    Removal,
    prune,
    prune_edges,
    prune_inputs,
    prune_nodes,
    removals,
)
from kansym.structure.refine import refine

__all__ = [
    "THRESHOLD",
    "Group",
    "Hypotheses",
    "Hypothesis",
    "Removal",
    "deepen",
    "hypotheses",
    "merge",
    "perturb",
    "prune",
    "prune_edges",
    "prune_inputs",
    "prune_nodes",
    "refine",
    "removals",
    "widen",
]
