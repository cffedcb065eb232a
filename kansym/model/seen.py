"""What a model has seen: the rows of its last fit, the names of its columns, and what it says of
other rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from kansym import bspline
from kansym.arrays import as_matrix, as_targets, columns_by_name
from kansym.derivatives import Field, fields, jet
from kansym.errors import (
    ExtrapolationWarning,
    NoSampleError,
    check_index,
    visible,
)
from kansym.jacobian import FreeParameters
from kansym.network import Network
from kansym.symbolic.names import check_names
from kansym.training import History

EXTRAPOLATION_MARGIN = 0.05  # of a column's range; less is no extrapolation worth a warning


@dataclass(frozen=True)
class Sample:
    """The rows the last fit saw. y is [n, out], or labels [n]."""

    X: Tensor
    y: Tensor | None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # never written to, and may be large


class Seen(Network):
    """A network that knows its rows and the names of its columns."""

    sample: Sample | None = None
    is_fitted: bool = False
    """Whether `fit` has run: units are chosen once, and a trained function never changes them."""
    feature_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None
    history: History | None = None
    """Of the last `fit`; it is not saved with the model."""

    @property
    def n_parameters(self) -> int:
        """Free parameters: coefficients and base weights of active splines, constants of names."""
        return FreeParameters(self).count

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

    def field(self, X: Any, output: int = 0) -> Field:
        """An output at X [n, in] with its first and second derivatives by the inputs, exact, in raw
        units: `field.value`, `field.d("x")`, `field.d("x", "t")`."""
        at = check_index("output", output, self.n_out)
        table = self._matrix(X)
        return fields(jet(self, table), table, self._input_names(None))[at]

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

    def _known_X(self, X: Any) -> Tensor | None:
        """The rows given, those of the last fit, or None."""
        return None if X is None and self.sample is None else self._sample_X(X)

    def _sample_y(self, X: Any, y: Any, n_rows: int) -> Tensor | None:
        if y is not None:
            return as_targets(y, n_rows, self.n_out, dtype=self.dtype, device=self.device)
        if X is not None or self.sample is None or self.sample.y is None:
            return None
        return self.sample.y if self.sample.y.ndim == 2 else None

    def _target_name(self, output: int) -> str:
        if self.target_names is not None:
            return self.target_names[output]
        return "y" if self.n_out == 1 else f"y{output + 1}"
