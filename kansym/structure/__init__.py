"""Which nodes and edges stay: every function takes a network and returns a new one."""

from kansym.structure.merge import merge
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
    "Removal",
    "merge",
    "prune",
    "prune_edges",
    "prune_inputs",
    "prune_nodes",
    "refine",
    "removals",
]
