"""Parquet files larger than memory, read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kansym.errors import check_positive_int, shown, suggestion

READAHEAD = 2  # batches and files that are read before they are asked for


class ParquetRows:
    """Batches (X, y), or (X, y, weight), of Parquet files, the same whenever it is iterated; see
    `read_rows`."""

    def __init__(
        self,
        dataset: Any,
        path: str,
        names: tuple[tuple[str, ...], tuple[str, ...], str | None],
        batch_rows: int,
    ):
        self._dataset, self._path = dataset, path
        self.feature_names, self.target_names, self.weight_name = names
        self.batch_rows = batch_rows

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        import pyarrow as pa

        weight = () if self.weight_name is None else (self.weight_name,)
        blocks = [names for names in (self.feature_names, self.target_names, weight) if names]
        try:
            for batch in self._dataset.to_batches(
                columns=[name for names in blocks for name in names],
                batch_size=self.batch_rows,
                batch_readahead=READAHEAD,
                fragment_readahead=READAHEAD,
            ):
                yield tuple(_matrix(batch, names) for names in blocks)
        except (OSError, pa.ArrowInvalid) as error:  # so does Arrow call what is damaged
            raise ValueError(f"{self._path!r} cannot be read as Parquet: {error}") from error


def read_rows(
    path: str | Path,
    target: str | Sequence[str],
    features: Sequence[str] | None = None,
    weight: str | None = None,
    batch_rows: int = 65_536,
) -> ParquetRows:
    """The rows of a Parquet file, or of all Parquet files in a folder in the order of their names,
    for `KAN.fit`: read anew in every pass, so they need not fit into memory.

    target: name of the column of y, or names of several. features: names of the input columns; by
    default all others. weight: name of a column that says how much each row counts, >= 0. Columns
    are numbers or booleans. batch_rows: rows at once, >= 1; a row group is read at once too, so
    files should not consist of one huge group.

    Raises FileNotFoundError when there is no such path, ValueError for what is no Parquet, for
    names that are unknown or used twice and for columns of another kind; missing values are found
    by `fit`.
    """
    import pyarrow.dataset as ds

    if not Path(path).exists():
        raise FileNotFoundError(f"path {str(path)!r} does not exist")
    check_positive_int("batch_rows", batch_rows)
    try:
        # Folders called a=1 do not become columns: no file has them.
        dataset = ds.dataset(str(path), format="parquet", partitioning=None)
    except (OSError, ValueError) as error:  # Arrow's own errors are both
        raise ValueError(f"path {str(path)!r} cannot be read as Parquet: {error}") from error
    names = dataset.schema.names
    if not names:
        raise ValueError(f"path {str(path)!r} holds no Parquet file")
    targets = (target,) if isinstance(target, str) else tuple(target)
    if isinstance(features, str):
        raise ValueError(f"features must be a list of column names, got the string {features!r}")
    others = {*targets, weight}
    chosen = tuple(n for n in names if n not in others) if features is None else tuple(features)
    wanted = [*targets, *([] if weight is None else [weight]), *chosen]
    for argument, given in (("features", chosen), ("target", targets)):
        if not given:
            raise ValueError(f"{argument} must name at least one column")
    for name in wanted:
        _check_column(dataset.schema, name, wanted)
    return ParquetRows(dataset, str(path), (chosen, targets, weight), batch_rows)


def _check_column(schema: Any, name: str, wanted: list[str]) -> None:
    import pyarrow as pa

    if schema.names.count(name) == 0:
        raise ValueError(f"unknown column {shown(name)};{suggestion(name, schema.names)}")
    if schema.names.count(name) > 1 or wanted.count(name) > 1:
        raise ValueError(f"column {shown(name)} must be used once, got it twice")
    kind = schema.field(name).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise ValueError(
            f"column {shown(name)} must be numeric, got {kind}; choose the numeric ones with"
            " features"
        )


def _matrix(batch: Any, names: Sequence[str]) -> np.ndarray:
    """[n, names] in float64; missing values are NaN."""
    values = np.empty((batch.num_rows, len(names)))
    for c, name in enumerate(names):
        values[:, c] = batch.column(name).to_numpy(zero_copy_only=False)
    return values
