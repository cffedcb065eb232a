"""Pictures of a model: its graph as an object, and the diagram drawn from it."""

from kansym.views.diagram import draw, edge_alpha
from kansym.views.graph import network_graph

__all__ = ["draw", "edge_alpha", "network_graph"]
