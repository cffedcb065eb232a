"""Pictures of a model: its graph as an object, and what is drawn from it.

Every picture takes an Axes, or makes one in a Figure that pyplot does not know, and returns it.
"""

from kansym.views.diagram import draw, edge_alpha
from kansym.views.edge import plot_edge
from kansym.views.features import plot_features
from kansym.views.fit import plot_fit
from kansym.views.graph import network_graph
from kansym.views.history import plot_history
from kansym.views.pareto import plot_pareto
from kansym.views.recorder import Recorder
from kansym.views.tree import plot_tree

__all__ = [
    "Recorder",
    "draw",
    "edge_alpha",
    "network_graph",
    "plot_edge",
    "plot_features",
    "plot_fit",
    "plot_history",
    "plot_pareto",
    "plot_tree",
]
