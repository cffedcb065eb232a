"""Which nodes and edges matter, and networks with fewer or more of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from kansym import scores, structure
from kansym.errors import check_choice, check_index
from kansym.model.seen import Seen


class Structured(Seen):
    """The verbs of structure. They return a new model or a query's answer; nothing changes."""

    @torch.no_grad()
    def edge_scores(self, score: str = "attribution", X: Any = None) -> list[Tensor]:
        """Scores of the edges of every layer, [out, in]; see `kansym.scores`."""
        return scores.edge_scores(self, self.trace(self._sample_X(X)), score)

    @torch.no_grad()
    def node_scores(self, score: str = "attribution", X: Any = None) -> list[Tensor]:
        """Scores of the nodes of every row, inputs first."""
        check_choice("score", score, scores.SCORES)
        return scores.node_scores(self, self.trace(self._sample_X(X)), score)

    @torch.no_grad()
    def feature_scores(self, X: Any = None) -> Tensor:
        """How much of the outputs' variation is attributed to each input, [in]."""
        return scores.feature_scores(self, self.trace(self._sample_X(X)))

    def prune(
        self,
        node_th: float = 1e-2,
        edge_th: float = 1e-2,
        score: str = "attribution",
        X: Any = None,
    ) -> Self:
        """A new model without hidden nodes below `node_th` and edges below `edge_th`.

        The paper's rule is score="mean_abs". What a removed edge contributed on average is kept as
        a constant. Raises EmptyNetworkError when nothing would be left.
        """
        check_choice("score", score, scores.SCORES)
        return structure.prune(self, self._sample_X(X), node_th, edge_th, score)

    def prune_nodes(
        self, threshold: float = 1e-2, score: str = "attribution", X: Any = None
    ) -> Self:
        """A new model without hidden nodes whose score is below `threshold`."""
        check_choice("score", score, scores.SCORES)
        return structure.prune_nodes(self, self._sample_X(X), threshold, score)

    def prune_edges(
        self, threshold: float = 1e-2, score: str = "attribution", X: Any = None
    ) -> Self:
        """A new model without edges whose score is below `threshold`."""
        check_choice("score", score, scores.SCORES)
        return structure.prune_edges(self, self._sample_X(X), threshold, score)

    def prune_inputs(
        self, threshold: float = 1e-2, score: str = "attribution", X: Any = None
    ) -> Self:
        """A new model that ignores inputs whose score is below `threshold`; it still takes the same
        columns."""
        check_choice("score", score, scores.SCORES)
        return structure.prune_inputs(self, self._sample_X(X), threshold, score)

    def merge(self, tolerance: float = 0.01, X: Any = None) -> Self:
        """A new model in which hidden nodes that carry the same function up to scale and shift
        (1 - correlation^2 <= tolerance) have become one. Train it again afterwards."""
        return structure.merge(self, self._sample_X(X), tolerance)

    def refine(self, grid: int) -> Self:
        """A new model with `grid` intervals on every edge and the same functions."""
        return structure.refine(self, grid)

    def widen(
        self, l: int, n_sum: int = 1, n_product: int = 0, seed: int = 0, X: Any = None
    ) -> Self:
        """A new model with more sum and product nodes in hidden row l and the same outputs: new
        nodes count only once they are trained. See `kansym.structure.expand`."""
        return structure.widen(self, l, n_sum, n_product, self._known_X(X), seed)

    def deepen(self, l: int, X: Any = None) -> Self:
        """A new model with one more row, a copy of row l, after it and the same outputs (l = 0: the
        inputs)."""
        return structure.deepen(self, l, self._known_X(X))

    def perturb(
        self, size: float, edges: Iterable[Sequence[int]] | str | None = None, seed: int = 0
    ) -> Self:
        """A new model in which `edges` (l, i, j), by default all active ones, are splines again,
        with noise of `size` times what edges vary by; "all": edges that are off, too. See
        `kansym.structure.perturb`."""
        new = structure.perturb(self, size, edges, seed)
        new.is_fitted = True  # its splines follow functions in these units
        return new

    def hypotheses(
        self, X: Any = None, output: int = 0, threshold: float = structure.THRESHOLD
    ) -> structure.Hypotheses:
        """What one output says about its structure: sums, products, groups of variables and how
        pairs enter, each with a score that is 0 where it holds; see `structure.hypotheses`."""
        column = check_index("output", output, self.n_out)
        return structure.hypotheses(
            self,
            self._sample_X(X),
            output=column,
            target=self._target_name(column),
            threshold=threshold,
        )
