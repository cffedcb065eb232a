"""KAN: a network with the familiar verbs. Each verb checks its arguments and delegates.

Verbs that need activations take data (`X`), or use the sample the last `fit` kept. `fit`,
`fix_symbolic`, `unfix_symbolic` and `auto_symbolic` act in place; `prune`, `merge`, `refine`,
`widen`, `deepen` and `perturb` return a new model; everything else is a query and changes nothing.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from kansym import bspline, scores, structure, symbolic
from kansym.arrays import as_matrix, as_pandas, as_targets, columns_by_name
from kansym.checkpoint import load_network, save_network
from kansym.datasets import Dataset, as_dataset, check_same_columns
from kansym.derivatives import Field, fields, jet
from kansym.errors import (
    CheckpointError,
    ExtrapolationWarning,
    NoSampleError,
    PoorFitWarning,
    check_choice,
    check_index,
    check_positive_int,
    shown,
    visible,
)
from kansym.files import in_use
from kansym.functions import get_library
from kansym.jacobian import FreeParameters
from kansym.network import Network
from kansym.nn import to_kan
from kansym.partitions import Partitions, as_partitions, is_in_parts
from kansym.scaling import choose_scaling, scale_by
from kansym.symbolic.names import check_names
from kansym.training import (
    Equation,
    FitOptions,
    History,
    Penalty,
    System,
    check_grids,
    check_judge,
    train,
    train_on_grids,
)

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd
    from matplotlib.axes import Axes

EXTRAPOLATION_MARGIN = 0.05  # of a column's range; less is no extrapolation worth a warning
POOR_SHARE = 0.1  # of the outputs' variation, lost with an edge's name, from which it is doubted


@dataclass(frozen=True)
class Sample:
    """The rows the last fit saw. y is [n, out], or labels [n]."""

    X: Tensor
    y: Tensor | None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # never written to, and may be large


class KAN(Network):
    """A Kolmogorov-Arnold network: a learnable univariate function on every edge.

    width: nodes of each row, inputs first; an entry is n_sum or [n_sum, n_product].
    grid: intervals of each spline, >= 1. k: degree of the splines, >= 1.
    mult_arity: factors of each product node, >= 2.
    base: "silu", "identity", "tanh" or "zero": the function beside the spline on each edge.
    grid_range: (low, high) of the first grids.
    grid_eps: in [0, 1]: 1 uniform grids, 0 quantiles of the data, between: a mixture.
    outside: "linear", "zero", "clamp", "reflect", "periodic" or "base": see `kansym.edge`.
    seed: of the initial parameters; the global random state is never touched.
    dtype: float64 unless a formula is not at stake.

    Source: Liu et al. 2024, arXiv:2404.19756; product nodes: Liu et al. 2024, arXiv:2408.10205.
    """

    sample: Sample | None = None
    is_fitted: bool = False
    """Whether `fit` has run: units are chosen once, and a trained function never changes them."""
    feature_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None
    history: History | None = None
    """Of the last `fit`; it is not saved with the model."""

    @classmethod
    def from_formula(
        cls,
        formula: Any,
        X: Any = None,
        y: Any = None,
        *,
        variables: Sequence[str] | None = None,
        ranges: Any = None,
        **options: Any,
    ) -> Self:
        """A network that equals the formula to rounding, every edge named: to draw it, doubt it
        (`unfix_symbolic` or `perturb`, `fit`, look again) and grow it (`widen`, `deepen`).

        formula: a Formula, text such as "x1*sin(x2) + exp(-x1**2)", a SymPy expression, a list of
        these, or a dict from names of outputs: sums, products, powers and functions of the library.
        Text is read by `kansym.symbolic.reading` and never run.
        variables: names in the order of the columns; by default x1, x2, ... are columns by their
        numbers, and other names go in the order of X's columns or of the alphabet. Variables that
        the formula does not use stay inputs.
        X: rows that the grids shall cover, kept with y as after `fit`. Without X, 1,000 rows are
        drawn from `ranges`: (low, high) for all inputs, or a dict from names to such pairs; [-1, 1]
        by default. options: of `KAN`, but for width; mult_arity may be larger than the formula
        needs. Units are those of the formula.

        Raises ValueError, with the part, for what has no edge: Piecewise, integrals, I, ...
        """
        given = symbolic.as_formula(formula, variables, *_columns_of(X))
        model = symbolic.build_network(given, cls, **options)
        plain = symbolic.Formula(given.exprs, given.variables, given.names)
        if given.names != tuple(f"x{i + 1}" for i in range(model.n_in)):
            model.feature_names = given.names
        if given.target_names != plain.target_names:
            model.target_names = given.target_names
        if X is not None and ranges is not None:
            raise ValueError("ranges stand in the place of X; pass one of them")
        if X is None and y is not None:
            raise ValueError("y needs the rows it belongs to; pass X too")
        if X is not None:
            table = model._matrix(X)
            targets = model._sample_y(X, y, len(table))
        else:
            table = symbolic.draw_rows(model, given.names, ranges, options.get("seed", 0))
            if table is None:
                return model
            with torch.no_grad():
                targets = model(table)
        symbolic.cover(model, table)
        model.sample = Sample(table, targets)
        # Nobody said that inputs lie in [-1, 1]: predict need not warn of others.
        model.is_fitted = X is not None or ranges is not None
        return model

    @classmethod
    def from_layers(cls, *layers: Any, X: Any = None, y: Any = None, **options: Any) -> Self:
        """A network with the outputs of a stack of `kansym.nn.KANLinear`: to prune and name it.

        layers: `nn.Sequential`, lists or layers, in order; see `kansym.nn.to_kan` for which. X:
        rows to prune and name by, kept with y as after `fit`. options: of `KAN`, but for width,
        grid, k, base and outside.

        Raises ValueError, naming the layer, for one that has no counterpart.
        """
        model = to_kan(*layers, cls=cls, **options)
        if X is None and y is not None:
            raise ValueError("y needs the rows it belongs to; pass X too")
        if X is not None:
            table = model._matrix(X)
            model.sample = Sample(table, model._sample_y(X, y, len(table)))
        model.is_fitted = True
        return model

    # -- training ---------------------------------------------------------------------------------

    def fit(
        self,
        dataset: Any,
        opt: str = "auto",
        steps: int = 50,
        *,
        sample_weight: Any = None,
        lamb: float = 0.0,
        lamb_l1: float = 1.0,
        lamb_entropy: float = 2.0,
        lamb_coef: float = 0.0,
        lamb_coefdiff: float = 0.0,
        score: str = "std",
        lr: float | None = None,
        batch: int | None = None,
        update_grid: bool = True,
        grid_update_num: int = 5,
        stop_grid_update_step: int = 25,
        grids: Sequence[int] | str | None = None,
        loss: str | Callable[[Tensor, Tensor], Tensor] = "mse",
        huber_delta: float = 0.1,
        smooth: float | None = None,
        metrics: Mapping[str, Callable[[Tensor, Tensor], Any]] | None = None,
        callbacks: Sequence[Callable[..., Any]] = (),
        patience: int | None = None,
        max_time: float | None = None,
        progress: bool = True,
        scale: str = "auto",
        seed: int = 0,
        checkpoint: str | Path | None = None,
    ) -> History:
        """Train in place; the model ends with the best parameters seen.

        dataset: from `create_dataset`, or (X, y), or (X, y, X_test, y_test): torch, NumPy, pandas.
        Rows that do not fit into memory: `read_rows` of Parquet, an object that gives batches
        (X, y) or (X, y, weight) whenever it is iterated (or a pair of them, the second to judge
        by), or Dask arrays or frames. Of these only sums are taken, so opt is "LM" and loss "mse"
        or "huber", and batch, lr, metrics and, with a penalty, score="attribution" are refused; the
        fit is that of the same rows in memory. The sample it keeps is at most 10,000 rows, evenly
        spaced.
        opt: "LM" (Levenberg-Marquardt: "mse" and "huber" only; by far the fastest for networks of
        up to 2,000 parameters), "LBFGS" (a step is up to 20 iterations), "Adam", or "auto", which
        chooses one of them; `History.opt` and `History.reason` say which and why.
        steps: at most so many. lr: of LBFGS (default 1) or Adam (default 0.01).
        sample_weight: [n], how much each training row counts; only ratios matter.
        lamb: weight of the sparsity penalty; lamb_l1, lamb_entropy, lamb_coef and lamb_coefdiff
        weigh its parts. score: what the penalty is taken of, "std" (default: a constant costs
        nothing, and the sparse structure was found more often), "mean_abs" (the paper's) or
        "attribution".
        batch: rows per step; all by default.
        update_grid: whether grids follow the activations, `grid_update_num` times before step
        `stop_grid_update_step`.
        grids: rising numbers of intervals, for example (5, 10, 30), or "auto": trains on one after
        another, `steps` each, and keeps the best by the loss on the test part, or without one by
        generalised cross-validation ("mse" and "huber" only); "auto" begins coarse and does not
        overfit small tables.
        loss: "mse", "huber" (outliers, beyond `huber_delta`, pull with a constant force),
        "cross_entropy" (y: labels 0, 1, ...) or a function (prediction, y) -> scalar. Errors and
        huber_delta are in units of the network's output scale (1 unless outputs were scaled).
        smooth: weight of a prior on the second differences of each spline's coefficients, which
        says what they are where there are no data; by default 1e-14 for LM and 0 otherwise. With
        0, base="zero" and update_grid=False a network of one layer keeps every bit of those that
        no row reaches, so that fits on one stretch after another forget nothing.
        metrics: {name: function (prediction, y) -> number}, recorded on the test part if any.
        callbacks: functions (model, StepRecord); one that returns True ends the fit.
        patience: stop after so many steps without a better one. max_time: seconds.
        scale: "auto", "always" or "never" give inputs and outputs units of their own at the first
        fit; formulas and predictions stay in raw units (see `kansym.scaling`).
        checkpoint: a folder, made if missing, to keep the fit in every five seconds and at its end.
        The same call on the same start, data and settings goes on from what is there and ends with
        the same bits as if it had never been interrupted, on as many threads; `steps` and
        `max_time`, which counts the seconds before too, may be others. Functions of your own are
        told by their names. One process works in a folder at a time.

        Steps that are not finite are taken back, with one NonFiniteWarning. Ctrl-C returns what
        there is. Raises ValueError for a bad argument, bad data, or a checkpoint of another fit;
        FolderInUseError, CheckpointError and OSError for a checkpoint that is in use, is damaged or
        cannot be written.
        """
        options = FitOptions(
            opt=opt,
            steps=steps,
            lr=lr,
            batch=batch,
            penalty=Penalty(lamb, lamb_l1, lamb_entropy, lamb_coef, lamb_coefdiff, score),
            loss=loss,
            huber_delta=huber_delta,
            smooth=smooth,
            update_grid=update_grid,
            grid_update_num=grid_update_num,
            stop_grid_update_step=stop_grid_update_step,
            metrics={} if metrics is None else metrics,
            callbacks=callbacks,
            patience=patience,
            max_time=max_time,
            progress=progress,
            seed=seed,
        )
        self._check_dtype()
        chosen_grids = None if grids is None else check_grids(grids)
        is_labelled = loss == "cross_entropy"
        n_out = self.n_out if isinstance(loss, str) else None
        data: Dataset | Partitions
        if is_in_parts(dataset):
            options.check_for_parts()
            data = as_partitions(
                dataset, self.n_in, self.n_out, self.dtype, self.device, sample_weight
            )
        else:
            data = as_dataset(
                dataset, self.n_in, n_out, self.dtype, self.device, is_labelled, sample_weight
            )
        if self.is_fitted:
            check_same_columns("X", data.feature_names, self.feature_names)
        is_weighted = isinstance(data, Dataset) and data.weight is not None
        if is_weighted and not isinstance(loss, str):
            raise ValueError("sample_weight cannot be used with a loss of your own; weigh in it")
        if chosen_grids is not None:
            check_judge(data, options)
        # The constants of a named function are in units of their own already.
        if not self.is_fitted and not any(layer.symbolic for layer in self.kan_layers):
            has_residuals = loss in ("mse", "huber")
            if isinstance(data, Partitions):
                ends, size = (data.smallest, data.largest), data.y_size
                scale_by(self, ends, (size, *data.y_moments()), scale)
            else:
                choose_scaling(self, data.X, data.y if has_residuals else None, scale)
        self.is_fitted = True
        kept = data.sample() if isinstance(data, Partitions) else (data.X, data.y)
        self.sample = Sample(*kept)
        self.feature_names = data.feature_names or self.feature_names
        self.target_names = data.target_names or self.target_names
        with nullcontext() if checkpoint is None else in_use(checkpoint, "checkpoint") as folder:
            if chosen_grids is not None:
                self.history = train_on_grids(self, data, options, chosen_grids, folder)
            else:
                file = None if folder is None else folder / "fit.kansym"
                self.history = train(self, data, options, file)
        return self.history

    def solve(
        self,
        equations: Equation | Iterable[Equation],
        steps: int = 50,
        *,
        names: Sequence[str] | None = None,
        grids: Sequence[int] | str | None = None,
        lamb: float = 0.0,
        smooth: float | None = None,
        update_grid: bool = True,
        callbacks: Sequence[Callable[..., Any]] = (),
        patience: int | None = None,
        max_time: float | None = None,
        progress: bool = True,
        scale: str = "auto",
    ) -> History:
        """Solve differential equations in place, by Levenberg-Marquardt on their residuals.

        equations: `Equation`s: the differential ones, and boundary values, initial values and data
        beside them. names: of the inputs, for their functions to use (`u.d("x")`) and for formulas;
        by default those the model knows, or x1, x2, ... Splines need k >= 3, better 5.
        All else is as in `fit`; grids are judged by generalised cross-validation. The loss is the
        weighted sum of the mean squared residuals, in raw units; `StepRecord.metrics` holds the
        mean square of each equation. The sample it keeps are the points with the outputs there, so
        that `auto_symbolic` can name the solution; solving again then settles the constants.

        Raises ValueError for a bad argument or equation.
        """
        options = FitOptions(
            opt="LM",
            steps=steps,
            penalty=Penalty(lamb, score="std"),
            smooth=smooth,
            update_grid=update_grid,
            callbacks=callbacks,
            patience=patience,
            max_time=max_time,
            progress=progress,
        )
        chosen_grids = None if grids is None else check_grids(grids)
        inputs = self._input_names(names)
        system = System(self, equations, inputs)
        if not self.is_fitted and not any(layer.symbolic for layer in self.kan_layers):
            choose_scaling(self, system.points, system.targets, scale)
        self.is_fitted = True
        self.feature_names = self.feature_names if names is None else tuple(inputs)
        self.history = (
            train(self, system, options)
            if chosen_grids is None
            else train_on_grids(self, system, options, chosen_grids)
        )
        with torch.no_grad():
            self.sample = Sample(system.points, self(system.points))
        return self.history

    def field(self, X: Any, output: int = 0) -> Field:
        """An output at X [n, in] with its first and second derivatives by the inputs, exact, in raw
        units: `field.value`, `field.d("x")`, `field.d("x", "t")`."""
        at = check_index("output", output, self.n_out)
        table = self._matrix(X)
        return fields(jet(self, table), table, self._input_names(None))[at]

    def predict(self, X: Any) -> Any:
        """Outputs [n, out] for X [n, in], as a NumPy array, or a tensor when X is one.

        Columns of a frame are taken by name when the model knows its names. Warns
        (ExtrapolationWarning) when X leaves the range of the grids by more than 5 %, and when an
        output is not finite: X is then outside the domain of a named function.
        """
        table = self._matrix(X)
        self._warn_outside(table)
        with torch.no_grad():
            prediction = self(table)
        bad = int((~torch.isfinite(prediction)).any(1).sum())
        if bad:
            warnings.warn(
                f"{bad} of {len(table)} predictions are not finite: X is outside the domain of a "
                "function on an edge",
                ExtrapolationWarning,
                stacklevel=2,
            )
        return prediction if isinstance(X, Tensor) else prediction.cpu().numpy()

    def _warn_outside(self, X: Tensor) -> None:
        if not self.is_fitted:
            return  # no data were seen that X could leave
        layer = self.kan_layers[0]
        low, high = bspline.grid_range(layer.knots, layer.k)
        margin = EXTRAPOLATION_MARGIN * (high - low)
        x = self.scale_inputs(X)
        outside = (((x < low - margin) | (x > high + margin)) & layer.mask.any(0)).any(0)
        if bool(outside.any()):
            names = self._input_names(None)
            columns = ", ".join(
                visible(names[i]) for i in torch.nonzero(outside).flatten().tolist()
            )
            warnings.warn(
                f"X leaves the range the model was fitted on in: {columns}; outside it a spline "
                f"follows the rule {layer.outside!r} and a named function goes on",
                ExtrapolationWarning,
                stacklevel=3,
            )

    @property
    def n_parameters(self) -> int:
        """Free parameters: coefficients and base weights of active splines, constants of names."""
        return FreeParameters(self).count

    # -- structure --------------------------------------------------------------------------------

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

    # -- symbols ----------------------------------------------------------------------------------

    def suggest_symbolic(
        self,
        l: int,
        i: int,
        j: int,
        lib: Iterable[str] | None = None,
        topk: int = 5,
        X: Any = None,
    ) -> pd.DataFrame:
        """The best functions for edge (l, i, j) (layer, input node, output node), best first.

        Columns: name, R2, complexity, a, b, c, d, score, with y = c f(a x + b) + d in the units the
        edge sees and score = log2 sqrt(1 - R2) + complexity (lower is better). lib: names of the
        functions to try; all registered ones by default.
        """
        import pandas as pd

        check_positive_int("topk", topk)
        symbolic.check_edge(self, l, i, j)
        table = symbolic.suggest(self, self._sample_X(X), [(l, i, j)], get_library(lib))
        rows = [asdict(candidate) for candidate in table[l, i, j][:topk]]
        columns = ["name", "R2", "complexity", "a", "b", "c", "d", "score"]
        return pd.DataFrame(rows).rename(columns={"r2": "R2"}).reindex(columns=columns)

    def fix_symbolic(
        self,
        l: int,
        i: int,
        j: int,
        name: str,
        params: Sequence[float] | None = None,
        X: Any = None,
    ) -> symbolic.Candidate | None:
        """Make edge (l, i, j) the function c f(a x + b) + d, in place.

        params: (a, b, c, d); by default the best ones for the edge as it is, and the candidate that
        was fitted is returned. `fit` then trains these constants together with the other edges.
        """
        data = self._sample_X(X) if params is None else None
        return symbolic.fix_symbolic(self, l, i, j, name, params, data)

    def unfix_symbolic(self, l: int, i: int, j: int) -> None:
        """Turn edge (l, i, j) back into a spline, in place; it follows the function it had."""
        symbolic.unfix_symbolic(self, l, i, j)
        self.is_fitted = True  # its spline follows a function in these units

    def auto_symbolic(
        self,
        lib: Iterable[str] | None = None,
        max_time: float | None = None,
        X: Any = None,
        y: Any = None,
    ) -> tuple[symbolic.AutoStep, ...]:
        """Name every numeric edge, in place; returns the names in the order they were given.

        The surest edge is named first and the rest is refitted to y after each name (see
        `kansym.symbolic.auto`). Without targets (X alone, or labels) nothing is refitted. Warns
        (PoorFitWarning) about edges that no function describes well, unless they hardly matter.
        """
        data = self._sample_X(X)
        weights = self.edge_scores("attribution", data)
        targets = self._sample_y(X, y, len(data))
        named, steps = symbolic.auto_symbolic(self, data, targets, get_library(lib), max_time)
        self.load_state_dict(named.state_dict())
        poor = [
            f"{step.edge} {step.name} (R2 {step.r2:.3f})"
            for step in steps
            if (1 - step.r2) * _at(weights, step.edge) > POOR_SHARE
        ]
        if poor:
            warnings.warn(
                f"no function in lib describes well: {', '.join(poor)}. Train longer, add "
                "functions with register_function, or keep the spline with unfix_symbolic",
                PoorFitWarning,
                stacklevel=2,
            )
        return steps

    def symbolic_formula(
        self,
        digits: int | None = None,
        names: Sequence[str] | None = None,
        simplify: bool = True,
        snap: bool = False,
        X: Any = None,
        y: Any = None,
    ) -> symbolic.Formula:
        """`exprs, variables = model.symbolic_formula()`: the network as SymPy expressions.

        In raw units of the data; equal to the network unless `digits` rounds or `snap` replaces
        constants. digits: significant digits. names: of the inputs; by default those of the data.
        snap: replace constants that are nearly 0, integers, simple rationals, multiples of pi, e or
        roots where a refit of the others to the data bears it out.
        Raises NotSymbolicError while an active edge is a spline.
        """
        shown = self._shown_names(names)
        formula = symbolic.network_formula(self, shown, self.target_names, simplify)
        if snap:
            data = self._sample_X(X)
            targets = self._sample_y(X, y, len(data))
            if targets is None:
                raise NoSampleError(
                    "snap=True refits constants and needs numeric targets; pass X and y"
                )
            formula = symbolic.snap_formula(formula, _numpy(data), _numpy(targets))
        return formula if digits is None else formula.rounded(digits)

    def latex(
        self, digits: int | None = 4, names: Sequence[str] | None = None, **options: Any
    ) -> str:
        """LaTeX of the formula; `options` go to `symbolic_formula`."""
        return self.symbolic_formula(names=names, **options).latex(digits)

    # -- views ------------------------------------------------------------------------------------

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
        return plot_fit(_numpy(targets[:, column]), _numpy(prediction), ax, name)

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
            seen = table_columns(_numpy(self.sample.X), self.feature_names)
            warned = outside_rows(_numpy(data), seen)
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

    # -- keeping it -------------------------------------------------------------------------------

    def save(self, path: str | Path, sample: bool = False) -> None:
        """Write the model to one file (see `kansym.checkpoint`); `kansym.load` reads it.

        sample: write the rows of the last fit too, so that the loaded model can plot, prune and
        suggest at once. Off by default: a model file should not carry data unasked.
        """
        arrays: dict[str, Tensor] = {}
        if sample:
            arrays["X"] = self._sample_X(None)
            if self.sample is not None and self.sample.y is not None:
                arrays["y"] = self.sample.y
        names = {"feature_names": self.feature_names, "target_names": self.target_names}
        extra = {"is_fitted": self.is_fitted, **names}
        save_network(self, path, arrays, extra)

    def to_onnx(self, path: str | Path) -> None:
        """Write the network, splines and all, as an ONNX file: input "X" [batch, inputs], output
        "y" [batch, outputs], in the network's dtype.

        Raises ExportError for an edge named with a function that ONNX has not in float64, and
        ImportError without the package onnx (`kansym[onnx]`).
        """
        from kansym.symbolic.exports.onnx import write_onnx

        names = {"inputs": self.feature_names, "outputs": self.target_names}
        write_onnx(self, path, {key: json.dumps(list(n)) for key, n in names.items() if n})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The model `save` wrote. Raises CheckpointError for a damaged or foreign file."""
        model, arrays, extra = load_network(path, cls)
        try:
            model.sample = _checked_sample(arrays, model.n_in, model.n_out)
            model.is_fitted = extra.get("is_fitted") is True
            for name, count in (("feature_names", model.n_in), ("target_names", model.n_out)):
                if extra.get(name) is not None:
                    setattr(model, name, tuple(check_names(extra[name], count, name)))
        except (TypeError, ValueError) as error:  # sound in themselves, but not of this network
            raise CheckpointError(f"cannot load {str(path)!r}: {shown(str(error))}") from error
        return model

    def extra_repr(self) -> str:
        rows = [row.n_sum if not row.n_product else list(row) for row in self.width]
        named = sum(int(layer.is_symbolic.sum()) for layer in self.kan_layers)
        return f"width={rows}, {self.n_active_edges} active edges, {named} of them named"

    # -- helpers ----------------------------------------------------------------------------------

    def _input_names(self, names: Sequence[str] | None) -> list[str]:
        """The names asked for, those of the data, or x1, x2, ..."""
        shown = self._shown_names(names)
        return [f"x{i + 1}" for i in range(self.n_in)] if shown is None else list(shown)

    def _shown_names(self, names: Sequence[str] | None) -> Sequence[str] | None:
        """The names asked for, or those of the data."""
        shown = self.feature_names if names is None else names
        return None if shown is None else check_names(shown, self.n_in)

    def _check_dtype(self) -> None:
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"the model must be of float32 or float64, got {self.dtype}; use model.double()"
            )

    def _matrix(self, X: Any) -> Tensor:
        self._check_dtype()
        if self.feature_names:
            X = columns_by_name(X, self.feature_names)
        return as_matrix(X, "X", self.n_in, self.dtype, self.device)

    def _sample_X(self, X: Any) -> Tensor:
        if X is not None:
            return self._matrix(X)
        if self.sample is None:
            raise NoSampleError("this needs data and the model has seen none; call fit or pass X")
        return self.sample.X

    def _target_name(self, output: int) -> str:
        if self.target_names is not None:
            return self.target_names[output]
        return "y" if self.n_out == 1 else f"y{output + 1}"

    def _known_X(self, X: Any) -> Tensor | None:
        """The rows given, those of the last fit, or None."""
        return None if X is None and self.sample is None else self._sample_X(X)

    def _sample_y(self, X: Any, y: Any, n_rows: int) -> Tensor | None:
        if y is not None:
            return as_targets(y, n_rows, self.n_out, dtype=self.dtype, device=self.device)
        if X is not None or self.sample is None or self.sample.y is None:
            return None
        return self.sample.y if self.sample.y.ndim == 2 else None


def _checked_sample(arrays: dict[str, Tensor], n_in: int, n_out: int) -> Sample | None:
    """The rows in a file. Raises ValueError for rows that no fit of the network could have kept."""
    X, y = arrays.get("X"), arrays.get("y")
    if X is None:
        return None
    if not X.is_floating_point() or X.ndim != 2 or X.shape[1] != n_in:
        raise ValueError(f"sample X must have {n_in} columns, got {tuple(X.shape)}")
    if y is not None and tuple(y.shape) not in ((len(X), n_out), (len(X),)):
        raise ValueError(f"sample y must be {(len(X), n_out)} or labels, got {tuple(y.shape)}")
    return Sample(X, y)


def _columns_of(X: Any) -> tuple[list[str] | None, int | None]:
    """Names of the columns, if they have some, and how many there are, if there are data."""
    if X is None:
        return None, None
    table = as_pandas(X)
    if hasattr(table, "columns"):
        return [str(name) for name in table.columns], len(table.columns)
    shape = np.shape(table)
    return None, shape[1] if len(shape) == 2 else None


def _at(values: Sequence[Tensor], edge: tuple[int, int, int]) -> float:
    l, i, j = edge
    return float(values[l][j, i])


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()


def load(path: str | Path) -> KAN:
    """The model that `KAN.save` wrote to `path`."""
    return KAN.load(path)
