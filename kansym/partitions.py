"""Rows in parts: data that need not fit into memory, as sums over batches or Dask partitions.

Training by Levenberg-Marquardt needs only sums over rows. `Partitions` holds rows that come part by
part, and reduces what a task makes of each part; a task sees one part at a time, and only its
result travels. Every pass must give the same rows in the same order.
"""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from kansym.arrays import as_matrix, as_targets, column_names
from kansym.datasets import Dataset

T = TypeVar("T")
SAMPLE_ROWS = 10_000
FAN_IN = 16  # results of Dask tasks that one task adds up


@dataclass(frozen=True)
class Part:
    """Some of the rows. X: [n, in]. y: [n, out]. weight: [n], of mean 1 over all parts; None for
    ones. start: rows before these."""

    X: Tensor
    y: Tensor
    weight: Tensor | None
    start: int


@dataclass(frozen=True)
class Reader:
    """Makes a checked `Part` of a batch (X, y) or (X, y, weight); see `as_partitions`."""

    n_in: int
    n_out: int
    dtype: torch.dtype
    device: torch.device | str | None
    feature_names: tuple[str, ...] | None = None
    mean_weight: float = 1.0

    def __call__(self, batch: Any, index: int, start: int) -> Part | None:
        """None for a batch without rows. Raises ValueError, naming the batch."""
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise ValueError(
                f"batch {index} must be (X, y) or (X, y, weight), got {_described(batch)}"
            )
        X, y, given = (*batch, None)[:3]
        if _is_empty(X) and _is_empty(y):
            return None
        names = column_names(X)
        if names is not None and self.feature_names is not None and names != self.feature_names:
            raise ValueError(
                f"batch {index} must have the columns {list(self.feature_names)} of the first one, "
                f"in this order, got {list(names)}"
            )
        try:
            inputs = as_matrix(X, "X", self.n_in, self.dtype, self.device)
            targets = as_targets(y, len(inputs), self.n_out, "y", self.dtype, self.device)
            weight = None if given is None else self._weight(given, inputs)
        except ValueError as error:
            raise ValueError(f"batch {index}: {error}") from error
        return Part(inputs, targets, weight, start)

    def _weight(self, given: Any, X: Tensor) -> Tensor:
        weight = as_targets(given, len(X), 1, "weight", X.dtype, X.device)[:, 0]
        if bool((weight < 0).any()):
            raise ValueError(f"weight must be >= 0, got {float(weight.min()):g}")
        return weight / self.mean_weight


def add(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Sums of results, entry by entry."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def largest(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The larger of results, entry by entry; NaN where one is."""
    return tuple(torch.maximum(x, y) for x, y in zip(a, b, strict=True))


class Partitions(ABC):
    """Rows in parts, counted and checked once.

    n: rows. n_counting: rows whose weight is not 0. smallest, largest: of each column of X. y_size:
    the largest absolute value of each output. test: rows kept aside to judge by.
    """

    n: int = 0
    n_counting: int = 0
    smallest: Tensor
    largest: Tensor
    y_size: Tensor
    target_names: tuple[str, ...] | None = None
    test: Partitions | None = None

    def __init__(self, reader: Reader):
        self.reader = reader

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        return self.reader.feature_names

    @abstractmethod
    def reduce(self, task: Callable[[Part], T], merge: Callable[[T, T], T]) -> T:
        """What `merge` makes of the results of `task` on every part, in the order of the rows.

        Both are pickled where parts lie on other machines: functions of a module, or partials.
        """

    def sum(self, task: Callable[[Part], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        return self.reduce(task, add)

    @torch.no_grad()
    def survey(self, name: str) -> None:
        """Count the rows and note what is known of them, in one pass over all."""
        counts, ends = self.reduce(_survey, _merged_survey)
        self.n, self.n_counting = int(counts[0]), int(counts[1])
        n_in = self.reader.n_in
        self.smallest, self.largest = -ends[:n_in], ends[n_in : 2 * n_in]
        self.y_size = ends[2 * n_in :]
        if self.n < 2:
            raise ValueError(f"{name} must have at least 2 rows, got {self.n}")
        mean = float(counts[2]) / self.n
        if not 0 < mean < float("inf"):
            raise ValueError("weight must not be 0 in every row")
        if int(counts[3]) not in (0, self.n):
            raise ValueError("weight must come with every batch or with none")
        if int(counts[3]):
            self.reader = replace(self.reader, mean_weight=mean)

    @torch.no_grad()
    def sample(self, count: int = SAMPLE_ROWS) -> tuple[Tensor, Tensor]:
        """X and y of at most `count` rows, evenly spaced: the same however rows are parted."""
        stride = -(-self.n // count)
        X, y = self.reduce(partial(_spaced, stride), _joined)
        return X, y

    @torch.no_grad()
    def y_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each output, in two passes."""
        size = self.y_size.clamp(min=torch.finfo(self.y_size.dtype).tiny)
        zero = torch.zeros_like(size)
        mean = self.sum(partial(_powers, size, zero, 1))[0] / self.n
        variance = self.sum(partial(_powers, size, mean, 2))[0] / self.n
        return mean * size, variance.sqrt() * size

    def digests(self) -> tuple[str, ...]:
        """Of every part: the same rows in other parts have others."""
        return self.reduce(_digest, _joined_text)


class Batches(Partitions):
    """Parts that an object gives anew whenever it is iterated."""

    def __init__(self, batches: Iterable[Any], reader: Reader):
        super().__init__(reader)
        self.batches = batches

    def reduce(self, task: Callable[[Part], T], merge: Callable[[T, T], T]) -> T:
        total, start = None, 0
        for index, batch in enumerate(self.batches):
            part = self.reader(batch, index, start)
            if part is None:
                continue
            result = task(part)
            total = result if total is None else merge(total, result)
            start += len(part.X)
        if total is None:
            raise ValueError("dataset must have at least 2 rows, got 0")
        if self.n and start != self.n:
            raise ValueError(
                f"dataset must give the same rows whenever it is iterated, got {self.n} rows at "
                f"first and {start} now"
            )
        return total


class DaskPartitions(Partitions):
    """Parts that are partitions of Dask collections: tasks run where Dask runs them, results are
    added up in a tree."""

    def __init__(self, parts: Sequence[tuple[Any, ...]], starts: Sequence[int], reader: Reader):
        super().__init__(reader)
        self.parts, self.starts = parts, starts

    def reduce(self, task: Callable[[Part], T], merge: Callable[[T, T], T]) -> T:
        from dask import compute, delayed  # pyright: ignore[reportMissingImports]

        on_part = delayed(partial(_on_part, self.reader, task), pure=False, traverse=False)
        fold = delayed(partial(_fold, merge), pure=False, traverse=False)
        results = [
            on_part(index, start, *part)
            for index, (start, part) in enumerate(zip(self.starts, self.parts, strict=True))
        ]
        while len(results) > 1:
            results = [fold(results[at : at + FAN_IN]) for at in range(0, len(results), FAN_IN)]
        (total,) = compute(*results)
        if total is None:
            raise ValueError("dataset must have at least 2 rows, got 0")
        return total


def as_partitions(
    data: Any,
    n_in: int,
    n_out: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    sample_weight: Any = None,
) -> Partitions:
    """Rows in parts, surveyed, of data that `is_in_parts`.

    data: an object that gives batches whenever it is iterated (a list of tuples, a `read_rows`, a
    class with __iter__), or a pair of them, to learn from and to judge by; or (X, y) or
    (X, y, X_test, y_test) of Dask arrays or frames. A batch is (X, y) or (X, y, weight), weights of
    any scale; of Dask data, `sample_weight` is a Dask array or series.

    Raises ValueError for what can be iterated only once, for batches that cannot be learnt from
    (naming the batch) and for Dask collections whose partitions do not match.
    """
    reader = Reader(n_in, n_out, dtype, device)
    if _is_dask_data(data):
        parts = _dask_partitions((*data[:2], sample_weight), reader)
        test = _dask_partitions((*data[2:], None), parts.reader) if len(data) == 4 else None
    else:
        if sample_weight is not None:
            raise ValueError(
                "sample_weight must be left out for batches: give it as third part of each, "
                "(X, y, weight)"
            )
        given = data if isinstance(data, tuple) else (data,)
        parts = _batches(given[0], reader)
        test = _batches(given[1], parts.reader) if len(given) == 2 else None
    parts.survey("dataset")
    if test is not None:
        test.survey("the test part")
        parts.test = test
    return parts


def is_in_parts(data: Any) -> bool:
    """Whether `as_partitions` is for this data; all else is for `as_dataset`."""
    given = data if isinstance(data, tuple) and len(data) == 2 else (data,)
    return _is_dask_data(data) or all(map(_is_batches, given))


def _is_batches(data: Any) -> bool:
    if isinstance(data, list):
        return bool(data) and all(
            isinstance(batch, tuple) and len(batch) in (2, 3) and _n_dimensions(batch[0]) == 2
            for batch in data
        )
    is_table = isinstance(data, (tuple, set, str, bytes, Mapping, Dataset, Tensor, np.ndarray))
    return isinstance(data, Iterable) and not is_table and not hasattr(data, "__array__")


def _n_dimensions(data: Any) -> int:
    return int(getattr(data, "ndim", 0))


def _batches(data: Iterable[Any], reader: Reader) -> Batches:
    if iter(data) is data:
        raise ValueError(
            f"dataset must be iterable again and again, got a {type(data).__name__}, which is read "
            "only once; pass a list of batches or an object of a class with __iter__"
        )
    first = next((b for b in data if isinstance(b, (tuple, list)) and not _is_empty(b[0])), None)
    features = getattr(data, "feature_names", None)
    targets = getattr(data, "target_names", None)
    if first is not None:
        features = features or column_names(first[0])
        targets = targets or column_names(first[1])
    parts = Batches(data, replace(reader, feature_names=features))
    parts.target_names = targets
    return parts


def _is_dask(data: Any) -> bool:
    return "dask" in sys.modules and hasattr(data, "__dask_graph__") and hasattr(data, "to_delayed")


def _is_dask_data(data: Any) -> bool:
    is_pair = isinstance(data, (tuple, list)) and len(data) in (2, 4)
    return is_pair and any(_is_dask(item) for item in data)


def _dask_partitions(data: tuple[Any, ...], reader: Reader) -> DaskPartitions:
    from dask import compute, delayed  # pyright: ignore[reportMissingImports]

    given = [item for item in data if item is not None]
    if not all(_is_dask(item) for item in given):
        kinds = ", ".join(type(item).__name__ for item in given)
        raise ValueError(
            f"X, y and sample_weight must be Dask collections all or none, got {kinds}; use "
            "dask.array.from_array or dask.dataframe.from_pandas"
        )
    columns = [_pieces(item) for item in given]
    counts = [len(column) for column in columns]
    if len(set(counts)) != 1:
        raise ValueError(
            f"X, y and sample_weight must have the same partitions of rows, got {counts} of them; "
            "use repartition or rechunk"
        )
    lengths = compute(*(delayed(len)(piece) for piece in columns[0]))
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    features, targets = (_dask_names(item) for item in data[:2])
    parts = DaskPartitions(
        list(zip(*columns, strict=True)),
        starts,
        replace(reader, feature_names=reader.feature_names or features),
    )
    parts.target_names = targets
    return parts


def _pieces(data: Any) -> list[Any]:
    """The partitions of rows of a Dask collection."""
    if hasattr(data, "rechunk") and data.ndim == 2:
        data = data.rechunk({1: -1})
    pieces = data.to_delayed()
    return list(pieces.ravel()) if isinstance(pieces, np.ndarray) else list(pieces)


def _dask_names(data: Any) -> tuple[str, ...] | None:
    return column_names(data._meta) if hasattr(data, "npartitions") else None


def _on_part(
    reader: Reader, task: Callable[[Part], T], index: int, start: int, *batch: Any
) -> T | None:
    part = reader(batch, index, start)
    return None if part is None else task(part)


def _fold(merge: Callable[[T, T], T], results: list[T | None]) -> T | None:
    total = None
    for result in results:
        if result is not None:
            total = result if total is None else merge(total, result)
    return total


def _survey(part: Part) -> tuple[Tensor, Tensor]:
    n = len(part.X)
    weight = part.weight
    total = float(n) if weight is None else float(weight.double().sum())
    counting = n if weight is None else int((weight > 0).sum())
    counts = [n, counting, total, 0 if weight is None else n]
    ends = torch.cat([-part.X.amin(0), part.X.amax(0), part.y.abs().amax(0)])
    return torch.tensor(counts, dtype=torch.float64), ends


def _merged_survey(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return a[0] + b[0], torch.maximum(a[1], b[1])


def _powers(size: Tensor, centre: Tensor, power: int, part: Part) -> tuple[Tensor]:
    return (((part.y / size - centre) ** power).sum(0),)


def _spaced(stride: int, part: Part) -> tuple[Tensor, Tensor]:
    first = -part.start % stride
    return part.X[first::stride].clone(), part.y[first::stride].clone()


def _joined(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])


def _digest(part: Part) -> tuple[str]:
    digest = hashlib.sha256()
    for tensor in (part.X, part.y, part.weight):
        if tensor is not None:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return (digest.hexdigest(),)


def _joined_text(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    return a + b


def _is_empty(data: Any) -> bool:
    try:
        return len(data) == 0
    except TypeError:
        return False


def _described(batch: Any) -> str:
    size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
    return f"{type(batch).__name__}{size}"
