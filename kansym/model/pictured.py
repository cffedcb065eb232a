"""A model as others see it: graph, pictures, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kansym import scores, symbolic
from kansym.arrays import to_numpy
from kansym.errors import NoSampleError, check_choice, check_index
from kansym.functions import get_library
from kansym.model.named import Named

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.axes import Axes


class Pictured(Named):
    """The views. Each takes an Axes or makes one, returns it, and writes nothing."""

    def graph(
        self, X: Any = None, names: Sequence[str] | None = None, score: str = "attribution"
    ) -> nx.DiGraph:
        """The network as a networkx graph with scores, functions and curves on its edges."""
        from kansym.views import network_graph

        check_choice("score", score, scores.SCORES)
        data = self._sample_X(X)
        shown = self._shown_names(names)
        with torch.no_grad():
            trace = self.trace(data)
            edges = scores.edge_scores(self, trace, score)
            nodes = scores.node_scores(self, trace, score, edges)
        return network_graph(self, data, edges, shown, self.target_names, node_scores=nodes)

    def plot(
        self,
        x: Any = None,
        ax: Axes | None = None,
        names: Sequence[str] | None = None,
        beta: float = 3.0,
        score: str = "attribution",
        formula: bool | symbolic.Formula = False,
    ) -> Axes:
        """Draw the network; returns the Axes and writes nothing.

        Edges are as opaque as tanh(beta score). formula=True prints the formula above; every edge
        must then be fixed. A Formula is printed as it is, for instance a snapped one.
        `ax.figure.savefig(path)` writes the picture.
        """
        from kansym.views import draw

        shown = self.symbolic_formula(names=names) if formula is True else formula or None
        text = None if shown is None else shown.latex()
        return draw(self.graph(x, names, score), ax, beta=beta, formula=text)

    def plot_edge(
        self,
        l: int,
        i: int,
        j: int,
        ax: Axes | None = None,
        suggest: bool = True,
        X: Any = None,
        names: Sequence[str] | None = None,
    ) -> Axes:
        """Draw edge (l, i, j): rows, curve and grid, in the units the edge sees; the upper Axes.

        A numeric edge is compared with the best function that `suggest_symbolic` finds, unless
        suggest=False; what that leaves is drawn below.
        """
        from kansym.views import plot_edge

        symbolic.check_edge(self, l, i, j)
        data = self._sample_X(X)
        best = None
        if suggest and (j, i) not in self.kan_layers[l].symbolic:
            found = symbolic.suggest(self, data, [(l, i, j)], get_library(None))[l, i, j]
            best = (found[0].name, found[0].params) if found else None
        return plot_edge(self.graph(data, names), l, i, j, ax, best)

    def plot_fit(
        self, X: Any = None, y: Any = None, ax: Axes | None = None, output: int = 0
    ) -> Axes:
        """Draw observed values of one output over predicted ones, and residuals below; the upper
        Axes. X and y: by default those of the last fit."""
        from kansym.views import plot_fit

        data = self._sample_X(X)
        targets = self._sample_y(X, y, len(data))
        if targets is None:
            raise NoSampleError("plot_fit needs numeric targets; call fit or pass X and y")
        column = check_index("output", output, self.n_out)
        with torch.no_grad():
            prediction = self(data)[:, column]
        name = "" if self.target_names is None else self.target_names[column]
        return plot_fit(to_numpy(targets[:, column]), to_numpy(prediction), ax, name)

    def plot_history(self, ax: Axes | None = None) -> Axes:
        """Draw losses and penalty of the last fit over its steps. For several fits in a row see
        `kansym.views.plot_history`. Raises NoSampleError before the first fit."""
        from kansym.views import plot_history

        if self.history is None:
            raise NoSampleError(
                "plot_history draws what the last fit did and there was none yet; call "
                "fit, or give its History to kansym.views.plot_history"
            )
        return plot_history(self.history, ax)

    def plot_features(
        self, ax: Axes | None = None, names: Sequence[str] | None = None, X: Any = None
    ) -> Axes:
        """Draw how much of the outputs' variation is attributed to each input, the most on top."""
        from kansym.views import plot_features

        shown = self._shown_names(names)
        return plot_features(self.feature_scores(X), shown, ax, label="attribution")

    def plot_tree(self, X: Any = None, ax: Axes | None = None, output: int = 0) -> Axes:
        """Draw the groups of variables that `hypotheses` finds, as a tree."""
        from kansym.views import plot_tree

        found = self.hypotheses(X, output)
        return plot_tree(found.tree, ax, self._target_name(output))

    def report(
        self,
        path: str | Path,
        X: Any = None,
        y: Any = None,
        *,
        formula: symbolic.Formula | None = None,
        title: str | None = None,
        code: str | None = None,
    ) -> Path:
        """Write one HTML page about the network, which needs nothing else; the file it is in.

        X, y: rows to show and judge it by; by default those of the last fit. formula: to show, for
        instance a snapped one; by default that of the network, where every edge is named. code:
        what to run to get the network again, as text. The page shows names and figures of the data,
        and a few hundred predictions.
        """
        from kansym.views.graph import node_names
        from kansym.views.report import network_contents, outside_rows, table_columns, write_report

        data = self._sample_X(X)
        given = self._sample_y(X, y, len(data))
        if formula is None and self.n_active_edges and not symbolic.numeric_edges(self):
            formula = self.symbolic_formula()
        warned = []
        if X is not None and self.sample is not None:
            seen = table_columns(to_numpy(self.sample.X), self.feature_names)
            warned = outside_rows(to_numpy(data), seen)
        contents = network_contents(
            self,
            data,
            given,
            self.network_view(data),
            names=self.feature_names,
            targets=node_names("target_names", self.target_names, self.n_out, "y"),
            formula=formula,
            history=self.history,
            warnings=warned,
            title=title,
            code=code,
        )
        return write_report(contents, path)

    def network_view(self, X: Any = None, r2: Mapping[Any, float] | None = None) -> Any:
        """What a report draws of the network, a `kansym.views.report.NetworkView`, or why it draws
        nothing, as text. r2: of the names of edges (l, i, j)."""
        from kansym.views.report import network_view, too_large

        reason = too_large(self)
        if reason:
            return reason
        data = self._sample_X(X)
        return network_view(self, data, self.graph(data), get_library(None), r2)

    def _repr_html_(self) -> str:
        from kansym.views.notebook import MOST_EDGES, panel
        from kansym.views.report import network_facts

        named = sum(int(layer.is_symbolic.sum()) for layer in self.kan_layers)
        facts = [
            *network_facts(self),
            ("fitted", "no" if not self.is_fitted else "yes"),
        ]
        is_drawn = self.sample is not None and self.n_active_edges <= MOST_EDGES
        is_named = named == self.n_active_edges > 0
        return panel(
            type(self).__name__,
            facts,
            self.symbolic_formula() if is_named else None,
            self.graph() if is_drawn else None,
        )
