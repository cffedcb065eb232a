"""KAN: how it is made, trained, kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from kansym import symbolic
from kansym.arrays import as_pandas
from kansym.checkpoint import load_network, save_network
from kansym.datasets import Dataset, as_dataset, check_same_columns
from kansym.errors import CheckpointError, shown
from kansym.files import in_use
from kansym.model.pictured import Pictured
from kansym.model.seen import Sample
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


class KAN(Pictured):
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


def load(path: str | Path) -> KAN:
    """The model that `KAN.save` wrote to `path`."""
    return KAN.load(path)
