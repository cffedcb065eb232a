"""Whole networks in C: nodes, loss with gradient, Jacobian and normal equations, no autograd.

Rows are shared out among as many threads as torch has, where there is work enough.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from kansym.kernels.calls import call, check_like, gradient_struct, layer_struct, zero_gradient
from kansym.kernels.library import GradientStruct, LayerStruct, NetworkStruct
from kansym.kernels.records import LayerGradient, NumericNetwork

T = TypeVar("T")
# Operations from which a second thread pays: about two milliseconds of work.
WORTH_A_THREAD = 4_000_000


class NativeNetwork:
    """A network made ready for the kernels, for as many calls as one likes.

    It reads the tensors of the network where they are: weights may change in place between calls,
    and nothing else may.
    """

    def __init__(self, network: NumericNetwork):
        # A copy that makes a tensor contiguous would not see the changes of the original.
        self.is_live = all(t.is_contiguous() for edges in network.layers for t in edges[1:])
        self._layers = network.layers
        count = len(network.layers)
        pairs = [layer_struct(e.shape, len(e.is_numeric), e) for e in network.layers]
        self._structs = (LayerStruct * count)(*(struct for struct, _ in pairs))
        self._held = [held for _, held in pairs]
        integers = ctypes.c_int64 * count
        self._rows = integers(*network.n_sum), integers(*network.n_product)
        self._struct = NetworkStruct(count, network.arity, self._structs, *self._rows)
        self.n_last = network.n_sum[-1] + network.n_product[-1]
        self.n_edges = sum(e.is_numeric.numel() for e in network.layers)
        self.n_free = sum(
            int(e.is_numeric.sum()) * (e.coef.shape[2] + (e.shape.base != "zero"))
            for e in network.layers
        )

    def nodes(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        """The last nodes h."""
        x = x.detach().contiguous()
        h = x.new_empty(len(x), self.n_last)

        def run(rows: slice) -> None:
            call("network_forward", x, self._struct, _n(rows), *_places(rows, x, h))

        _in_parallel(run, len(x), self.n_edges)
        return h

    def loss(
        self,
        x: Float[Tensor, "batch in"],
        target: Float[Tensor, "batch out"],
        weight: Float[Tensor, " batch"] | None = None,
    ) -> tuple[float, list[LayerGradient]]:
        """Sum of weight (h - target)^2 and its gradient by every layer."""
        self._check(x, target, weight)
        x, target = x.detach().contiguous(), target.contiguous()
        weight = None if weight is None else weight.contiguous()

        def run(rows: slice) -> tuple[float, list[LayerGradient]]:
            gradients = [zero_gradient(edges) for edges in self._layers]
            structs = (GradientStruct * len(gradients))(*(gradient_struct(g) for g in gradients))
            loss = ctypes.c_double()
            places = _places(rows, x, target, weight)
            call("network_loss", x, self._struct, _n(rows), *places, loss, structs)
            return loss.value, gradients

        parts = _in_parallel(run, len(x), 3 * self.n_edges)
        loss, gradients = parts[0]
        for more, others in parts[1:]:  # in the order of the rows: the same sum every time
            loss += more
            for mine, its in zip(gradients, others, strict=True):
                mine.coef.add_(its.coef)
                mine.base_weight.add_(its.base_weight)
        return loss, gradients

    def jacobian(
        self, x: Float[Tensor, "batch in"]
    ) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "batch out p"]]:
        """h and d h / d theta; theta as in `kansym.jacobian`."""
        x = x.detach().contiguous()
        h = x.new_empty(len(x), self.n_last)
        jacobian = x.new_empty(*h.shape, self.n_free)

        def run(rows: slice) -> None:
            places = _places(rows, x, h, jacobian)
            call("network_jacobian", x, self._struct, _n(rows), self.n_free, *places)

        _in_parallel(run, len(x), self.n_free)
        return h, jacobian

    def normal(
        self,
        x: Float[Tensor, "batch in"],
        target: Float[Tensor, "batch out"],
        weight: Float[Tensor, " batch"] | None = None,
        delta: float = 0.0,
    ) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "p p"], Float[Tensor, " p"], float]:
        """h, J'WJ, J'Wr and the loss summed over rows and outputs, with r = h - target.

        W: `weight` of the rows, and for delta > 0 what makes least squares of Huber's loss.
        """
        self._check(x, target, weight)
        x, target = x.detach().contiguous(), target.contiguous()
        weight = None if weight is None else weight.contiguous()
        h, n_free = x.new_empty(len(x), self.n_last), self.n_free

        def run(rows: slice) -> tuple[Tensor, Tensor, float]:
            normal, gradient = x.new_zeros(n_free, n_free), x.new_zeros(n_free)
            loss = ctypes.c_double()
            call(
                "network_normal", x, self._struct, _n(rows), n_free,
                *_places(rows, x, target, weight), delta,
                *_places(rows, h), normal.data_ptr(), gradient.data_ptr(), loss,
            )  # fmt: skip
            return normal, gradient, loss.value

        parts = _in_parallel(run, len(x), n_free * n_free)
        normal, gradient, loss = parts[0]
        for other, slope, more in parts[1:]:
            normal, gradient, loss = normal + other, gradient + slope, loss + more
        return h, normal + normal.tril(-1).T, gradient, loss

    def _check(self, x: Tensor, target: Tensor, weight: Tensor | None) -> None:
        check_like(x, "target", target, (len(x), self.n_last))
        if weight is not None:
            check_like(x, "weight", weight, (len(x),))


def _in_parallel(run: Callable[[slice], T], n: int, work: int) -> list[T]:
    """`run` on parts of n rows of `work` operations each, as many as torch has threads."""
    count = min(torch.get_num_threads(), max(1, n * work // WORTH_A_THREAD))
    if count == 1:
        return [run(slice(0, n))]
    ends = [n * part // count for part in range(count + 1)]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, map(slice, ends[:-1], ends[1:])))


def _n(rows: slice) -> int:
    return rows.stop - rows.start


def _places(rows: slice, *tensors: Tensor | None) -> list[int | None]:
    """Where these rows of contiguous tensors begin."""
    return [
        None if t is None else t.data_ptr() + rows.start * t.stride(0) * t.element_size()
        for t in tensors
    ]
