"""A fit on disk: everything that a fit interrupted between two steps needs to go on.

One file of `kansym.checkpoint`: the network as it is, the best parameters so far, what the solver
remembers, the history, and the state of the generator that draws batches. A fit that went on from
such a file ends with the same bits as one that was never interrupted, on as many threads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kansym.checkpoint import load_network, save_network
from kansym.datasets import Dataset
from kansym.errors import CheckpointError
from kansym.network import Network
from kansym.partitions import Partitions
from kansym.training.history import History, StepRecord

EVERY = 5.0  # seconds between two writings of a fit

# Of a history: what each step has, what the whole has, and what is a whole number or None.
_COLUMNS = tuple(f.name for f in fields(StepRecord) if f.name != "metrics")
_ENDS = ("opt", "reason", "stopped", "best_step", "best_objective", "taken_back")
_COUNTS = ("step", "n_edges", "grid", "n_active")


@dataclass(frozen=True)
class FitState:
    """A fit between two steps.

    step: the next one. network, best: state dicts, of now and of the best step. solver: what
    `Solver.state` gave. generator: state of the generator of batches. failures: non-finite steps in
    a row. seconds: spent.
    """

    step: int
    network: dict[str, Any]
    best: dict[str, Any]
    solver: Any
    generator: Tensor
    history: History
    failures: int
    seconds: float


def fingerprint(network: Network, data: Dataset | Partitions, settings: Mapping[str, Any]) -> str:
    """Of the start, the data, the settings and the version: what a stored fit must agree with."""
    digest = hashlib.sha256()
    described = [version("kansym"), version("torch"), repr(network), str(network.width)]
    digest.update(json.dumps([*described, settings], default=str).encode())
    layers = [(l.k, l.base, l.outside, sorted(l.symbolic.items())) for l in network.kan_layers]
    digest.update(repr([layers, network.mult_arity, network.grid_eps]).encode())
    if isinstance(data, Partitions):
        rows = [data.digests(), None if data.test is None else data.test.digests()]
    else:
        rows = [data.X, data.y, data.X_test, data.y_test, data.weight]
    for tensor in (*network.state_dict().values(), *rows):
        if isinstance(tensor, Tensor):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        else:
            digest.update(f"{tensor!r} ".encode())
    return digest.hexdigest()


def save_fit(path: Path, key: str, network: Network, state: FitState) -> None:
    """Write a fit; `network` is as `state.network` has it."""
    tensors: dict[str, Tensor] = {"generator": state.generator.long()}
    names = sorted({name for record in state.history.steps for name in record.metrics})
    tensors["history"] = _as_matrix(state.history, names)
    extra = {
        "key": key,
        "step": state.step,
        "best": _without_tensors(state.best, tensors),
        "solver": _without_tensors(state.solver, tensors),
        "metrics": names,
        "has_test": any(record.test_loss is not None for record in state.history.steps),
        "history": {name: getattr(state.history, name) for name in _ENDS},
        "failures": state.failures,
        "seconds": state.seconds,
    }
    save_network(network, path, tensors, extra)


def load_fit(path: Path, key: str) -> FitState | None:
    """The fit stored at `path`; None when there is no file.

    Raises ValueError when it is another fit, CheckpointError when it is none or damaged.
    """
    if not path.exists():
        return None
    network, tensors, extra = load_network(path)
    if extra.get("key") != key:
        raise ValueError(
            f"checkpoint {str(path)!r} belongs to another fit (other data, settings, start or "
            "version); remove it or choose another folder"
        )
    try:
        history = History(**{name: extra["history"][name] for name in _ENDS})
        history.steps = _from_matrix(tensors["history"], extra["metrics"], extra["has_test"])
        return FitState(
            extra["step"],
            network.state_dict(),
            _with_tensors(extra["best"], tensors),
            _with_tensors(extra["solver"], tensors),
            tensors["generator"].to(torch.uint8),
            history,
            extra["failures"],
            extra["seconds"],
        )
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"cannot load {str(path)!r}: it is no fit ({error!r})") from error


def _as_matrix(history: History, names: list[str]) -> Tensor:
    """A row for each step; NaN for what a record has not."""

    def row(record: StepRecord) -> list[float]:
        values = [getattr(record, name) for name in _COLUMNS]
        values += [record.metrics.get(name) for name in names]
        return [torch.nan if value is None else float(value) for value in values]

    rows = [row(record) for record in history.steps]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(_COLUMNS) + len(names))


def _from_matrix(rows: Tensor, names: list[str], has_test: bool) -> list[StepRecord]:
    records = []
    for row in rows.tolist():
        given: dict[str, Any] = dict(zip(_COLUMNS, row, strict=False))
        for name in _COUNTS:
            given[name] = None if given[name] != given[name] else int(given[name])
        given["moved_grid"] = bool(given["moved_grid"])
        given["test_loss"] = given["test_loss"] if has_test else None
        metrics = dict(zip(names, row[len(_COLUMNS) :], strict=True))
        records.append(StepRecord(**given, metrics=metrics))
    return records


def _without_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A tree of plain values as JSON holds it; its tensors go into `tensors`."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):  # whose keys need not be text
        pairs = [[k, _without_tensors(v, tensors)] for k, v in value.items()]
        return {"items": pairs}
    if isinstance(value, (list, tuple)):
        return [_without_tensors(item, tensors) for item in value]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict) and "tensor" in value:
        return tensors[value["tensor"]]
    if isinstance(value, dict):
        return {k: _with_tensors(v, tensors) for k, v in value["items"]}
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    return value
