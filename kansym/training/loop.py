"""The training loop: steps, grid updates, the best state, and every way a fit may end."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kansym.errors import (
    NonFiniteWarning,
    check_above_0,
    check_bool,
    check_callable,
    check_choice,
    check_positive_int,
    check_seed,
)
from kansym.network import Network
from kansym.partitions import Partitions
from kansym.progress import new_bar
from kansym.threads import one_thread_if_small
from kansym.training.choice import choose_opt
from kansym.training.equations import System
from kansym.training.grids import is_grid_step
from kansym.training.history import History, StepRecord
from kansym.training.lm import LM
from kansym.training.objective import RESIDUAL_LOSSES, Loss, Metric, Objective, Penalty, Value
from kansym.training.resume import EVERY, FitState, fingerprint, load_fit, save_fit
from kansym.training.sides import Data, side_of
from kansym.training.solvers import SOLVERS, Solver
from kansym.training.summed import SCORES

Callback = Callable[[Network, StepRecord], Any]

MAX_SHOWN = 8  # of the steps that a warning names
MAX_FAILURES = 3  # steps in a row that may turn out non-finite before the fit gives up
AUTO = "auto"
# Of LM, which has to say what a coefficient without data is. It moves the others by less than 1e-12
# of the outputs' scale.
DEFAULT_SMOOTH = 1e-14


@dataclass(frozen=True)
class FitOptions:
    """How to train; see `KAN.fit` for what each option means."""

    opt: str = AUTO
    steps: int = 50
    lr: float | None = None
    batch: int | None = None
    penalty: Penalty = field(default_factory=Penalty)
    loss: str | Loss = "mse"
    huber_delta: float = 0.1
    smooth: float | None = None
    update_grid: bool = True
    grid_update_num: int = 5
    stop_grid_update_step: int = 25
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    callbacks: Sequence[Callback] = ()
    patience: int | None = None
    max_time: float | None = None
    progress: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("opt", self.opt, (AUTO, *SOLVERS))
        check_positive_int("steps", self.steps)
        check_seed("seed", self.seed)
        for name in ("grid_update_num", "stop_grid_update_step"):
            check_positive_int(name, getattr(self, name), 0)
        for name in ("update_grid", "progress"):
            check_bool(name, getattr(self, name))
        _check_watchers(self.metrics, self.callbacks)
        for name in ("batch", "patience"):
            if getattr(self, name) is not None:
                check_positive_int(name, getattr(self, name))
        for name in ("lr", "max_time", "huber_delta"):
            if name == "huber_delta" or getattr(self, name) is not None:
                check_above_0(name, getattr(self, name))
        if self.smooth is not None:
            replace(self.penalty, smooth=self.smooth)  # refuses what it cannot be
        objective = self.objective(self.opt)  # refuses a loss it does not know
        if self.opt == "LM":
            LM.check(objective, self.lr)

    def settings(self, opt: str) -> dict[str, Any]:
        """What a stored fit must agree with: all but how long to go on and what is shown."""
        names = ("lr", "batch", "penalty", "huber_delta", "smooth", "update_grid", "patience")
        names += ("grid_update_num", "stop_grid_update_step", "seed")
        loss = self.loss if isinstance(self.loss, str) else getattr(self.loss, "__qualname__", "")
        known = {name: getattr(self, name) for name in names}
        return {**known, "opt": opt, "loss": loss, "metrics": sorted(self.metrics)}

    def check_for_parts(self) -> None:
        """ValueError for what rows in parts cannot do: only sums over rows are taken of them."""
        got, rule = None, ""
        if self.opt not in ("LM", AUTO):
            rule, got = "opt must be 'LM' or 'auto'", self.opt
        elif self.loss not in RESIDUAL_LOSSES:
            rule, got = "loss must be 'mse' or 'huber'", self.loss
        elif self.penalty.lamb > 0 and self.penalty.score not in SCORES:
            rule, got = f"score must be one of {', '.join(SCORES)}", self.penalty.score
        for name in ("lr", "batch", "metrics"):
            if getattr(self, name):
                rule, got = f"{name} must be left out", getattr(self, name)
        if rule:
            raise ValueError(
                f"{rule} for rows in parts, of which only sums over all are taken, got {got!r}; "
                "pass arrays for anything else"
            )

    def objective(self, opt: str) -> Objective:
        """What the solver named `opt` is to lower."""
        smooth = self.smooth
        if smooth is None:
            smooth = DEFAULT_SMOOTH if opt == "LM" else 0.0
        return Objective(self.loss, replace(self.penalty, smooth=smooth), self.huber_delta)


def _check_watchers(metrics: object, callbacks: object) -> None:
    if not isinstance(metrics, Mapping):
        raise ValueError(f"metrics must be a mapping {{name: function}}, got {metrics!r}")
    for name, metric in metrics.items():
        check_callable(f"metrics[{name!r}]", metric, "(prediction, y) -> number")
    if not isinstance(callbacks, Iterable):
        raise ValueError(f"callbacks must be a list of functions, got {callbacks!r}")
    for callback in callbacks:
        check_callable("each of callbacks", callback, "(model, StepRecord)")


def train(
    network: Network,
    data: Data,
    options: FitOptions,
    checkpoint: Path | None = None,
) -> History:
    """Train in place; the network ends with the best parameters seen, the first ones included.

    Best is the lowest loss plus penalty, with the test loss where there is a test part. Steps that
    end in NaN or inf are taken back; one NonFiniteWarning at the end names them. Ctrl-C ends the
    fit like a time limit.

    checkpoint: a file to keep the fit in every few seconds, and at its end; one that is there
    already is gone on with. Raises ValueError when it is another fit's, CheckpointError when it is
    damaged.
    """
    n_features = sum(layer.coef.numel() + layer.mask.numel() for layer in network.kan_layers)
    with one_thread_if_small(side_of(data).n * n_features):
        return _Run(network, data, options, checkpoint).run()


class _Run:
    """The state of one fit."""

    def __init__(
        self,
        network: Network,
        data: Data,
        options: FitOptions,
        checkpoint: Path | None,
    ):
        self.network, self.side, self.options = network, side_of(data), options
        opt, reason = options.opt, "asked for"
        if opt == AUTO and isinstance(data, Partitions):
            opt, reason = "LM", "of rows in parts, only sums are taken"
        elif opt == AUTO:
            opt, reason = choose_opt(network, options.objective(AUTO), options.lr, options.batch)
        self.opt, self.objective = opt, options.objective(opt)
        self.history = History(opt, reason)
        self.generator = torch.Generator().manual_seed(options.seed)
        self.started = time.perf_counter()
        self.best_state = self.last_finite = _snapshot(network)
        self.failures = 0  # in a row
        self.step = 0  # the next
        self.solver = self._new_solver()
        self.checkpoint, self.stored = checkpoint, self.started
        if checkpoint is not None:
            assert not isinstance(data, System)  # functions have no fingerprint
            self.key = fingerprint(network, data, options.settings(opt))
            state = load_fit(checkpoint, self.key)
            if state is not None:
                self._go_on(state)

    @torch.enable_grad()
    def run(self) -> History:
        bar = _ProgressBar(self.options, self.opt, self.step)
        try:
            if not self.step:
                self._keep_best(self._record(-1, self._value()))
            while self.step < self.options.steps and not self._has_ended():
                if self._moves_grid(self.step):
                    self.side.move_grids(self.network)
                    self.solver = self._new_solver()
                reason = self._step(self.step, bar)
                self.step += 1
                self.history.stopped = reason or "finished"
                if self.checkpoint is not None and time.perf_counter() - self.stored > EVERY:
                    self._store()
            self._store()
        except KeyboardInterrupt:
            self.history.stopped = "interrupted"
        finally:
            bar.close()
            self.network.load_state_dict(self.best_state)
            self.network.zero_grad()
        if self.history.taken_back:
            self._warn_of_steps_taken_back()
        return self.history

    def _has_ended(self) -> bool:
        """Whether something other than the number of steps ended the fit."""
        if self.history.stopped == "max_time":  # there may be more of it than there was
            return self.history.seconds >= (self.options.max_time or math.inf)
        return self.history.stopped != "finished"

    def _store(self) -> None:
        """Keep the fit, between two steps: within one, no two parts of it would fit together."""
        if self.checkpoint is None:
            return
        state = FitState(
            self.step, self.network.state_dict(), self.best_state, self.solver.state(),
            self.generator.get_state(), self.history, self.failures,
            time.perf_counter() - self.started,
        )  # fmt: skip
        save_fit(self.checkpoint, self.key, self.network, state)
        self.stored = time.perf_counter()

    def _go_on(self, state: FitState) -> None:
        """Be where the stored fit was; its seconds count."""
        self.network.load_state_dict(state.network)
        self.best_state, self.last_finite = state.best, _snapshot(self.network)
        self.solver = self._new_solver()
        self.solver.go_on(state.solver)
        self.generator.set_state(state.generator)
        self.history, self.failures, self.step = state.history, state.failures, state.step
        self.started -= state.seconds

    def _new_solver(self) -> Solver:
        return SOLVERS[self.opt](self.network, self.objective, self.options.lr)

    def _moves_grid(self, step: int) -> bool:
        o = self.options
        return o.update_grid and is_grid_step(step, o.grid_update_num, o.stop_grid_update_step)

    def _step(self, step: int, bar: _ProgressBar) -> str | None:
        """One step; the reason to stop after it, if any."""
        value = self.side.step(self.solver, self.objective, self.options.batch, self.generator)
        if value is None:
            value = self._value()
        if not bool(torch.isfinite(value.objective)):
            return self._take_back(step)
        self.failures = 0
        self.last_finite = _snapshot(self.network)
        record = self._record(step, value)
        self.history.steps.append(record)
        bar.show(record)
        self._keep_best(record)
        return self._reason_to_stop(record)

    @torch.no_grad()
    def _value(self) -> Value:
        return self.side.value(self.network, self.objective)

    def _take_back(self, step: int) -> str | None:
        self.network.load_state_dict(self.last_finite)
        self.failures += 1
        self.history.taken_back.append(step)
        self.solver = self._new_solver()
        return "non-finite" if self.failures >= MAX_FAILURES else None

    def _warn_of_steps_taken_back(self) -> None:
        shown = ", ".join(map(str, self.history.taken_back[:MAX_SHOWN]))
        left = len(self.history.taken_back) - MAX_SHOWN
        if left > 0:
            shown = f"{shown} and {left} more"
        warnings.warn(
            f"these steps of {self.opt} gave a loss or a gradient that is not finite, and were "
            f"taken back: {shown}. A smaller lr or scaled data may help",
            NonFiniteWarning,
            stacklevel=6,
        )

    @torch.no_grad()
    def _record(self, step: int, value: Value) -> StepRecord:
        test_loss, metrics = self.side.judge(self.network, self.objective, self.options.metrics)
        return StepRecord(
            step=step,
            train_loss=float(value.loss),
            test_loss=test_loss,
            penalty=float(value.penalty),
            n_edges=value.n_edges,
            seconds=time.perf_counter() - self.started,
            metrics=metrics,
            grid=self.network.grid,
            moved_grid=step >= 0 and self._moves_grid(step),
            n_active=self.network.n_active_edges,
        )

    def _keep_best(self, record: StepRecord) -> None:
        loss = record.train_loss if record.test_loss is None else record.test_loss
        if loss + record.penalty < self.history.best_objective:
            self.best_state = self.last_finite
            self.history.best_step = record.step
            self.history.best_objective = loss + record.penalty

    def _reason_to_stop(self, record: StepRecord) -> str | None:
        o = self.options
        if any(callback(self.network, record) is True for callback in o.callbacks):
            return "callback"
        if o.max_time is not None and record.seconds >= o.max_time:
            return "max_time"
        if o.patience is not None and record.step - self.history.best_step >= o.patience:
            return "patience"
        return "converged" if self.solver.converged else None


def _snapshot(network: Network) -> dict[str, Any]:
    state = network.state_dict()
    return {k: v.clone() if isinstance(v, Tensor) else copy.deepcopy(v) for k, v in state.items()}


class _ProgressBar:
    """A line on standard error with loss, test loss, penalty and active edges."""

    def __init__(self, options: FitOptions, opt: str, step: int):
        self.bar = None
        if options.progress:
            self.bar = new_bar(total=options.steps, initial=step, desc=opt, leave=True)

    def show(self, record: StepRecord) -> None:
        if self.bar is None:
            return
        parts = {"loss": f"{record.train_loss:.2e}"}
        if record.test_loss is not None:
            parts["test"] = f"{record.test_loss:.2e}"
        if record.n_edges is not None:
            parts |= {"penalty": f"{record.penalty:.2e}", "edges": str(record.n_edges)}
        self.bar.set_postfix(parts, refresh=False)
        self.bar.update(1)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
