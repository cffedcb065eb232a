"""The kernels in C (core/kansym.h), called through ctypes.

First derivatives are native too. Where a gradient is to be differentiated again, the backward pass
is that of the reference.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from kansym.edge import EdgeShape
from kansym.kernels import reference
from kansym.kernels.library import GradientStruct, LayerStruct, NetworkStruct, load
from kansym.kernels.records import LayerGradient, NumericEdges, NumericNetwork

T = TypeVar("T")
MAX_DEGREE = 7
BASES = {"silu": 0, "identity": 1, "tanh": 2, "zero": 3}
OUTSIDE = {"linear": 0, "clamp": 1, "base": 2, "reflect": 3, "periodic": 4}
SUFFIX = {torch.float64: "f64", torch.float32: "f32"}


def supports(x: Tensor, shape: EdgeShape, *weights: Tensor) -> bool:
    """Whether the native kernels are there and can run this.

    They work on addresses: what PyTorch would convert, or refuse with a message, is left to it.
    """
    return (
        load().library is not None
        and x.dtype in SUFFIX
        and x.ndim == 2
        and x.shape[1] == len(shape.knots)
        and all(_is_plain(tensor, x.dtype) for tensor in (x, shape.knots, *weights))
        and shape.k <= MAX_DEGREE
        and shape.base in BASES
        and shape.outside in OUTSIDE
        and not torch.compiler.is_compiling()
    )


def _is_plain(tensor: Tensor, dtype: torch.dtype) -> bool:
    return (
        tensor.is_cpu
        and tensor.dtype == dtype
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # pyright: ignore[reportAttributeAccessIssue]
    )


def supports_network(x: Tensor, network: NumericNetwork) -> bool:
    """Whether a whole network can be run; all its layers must have the same degree."""
    degree = network.layers[0].shape.k
    return supports(x, network.layers[0].shape) and all(
        edges.shape.k == degree and supports_edges(x.dtype, edges) for edges in network.layers
    )


def supports_edges(dtype: torch.dtype, edges: NumericEdges) -> bool:
    """Whether inputs of this dtype could be run."""
    inputs = torch.empty(0, len(edges.shape.knots), dtype=dtype)
    return supports(inputs, edges.shape, edges.coef, edges.base_weight)


def features(x: Float[Tensor, "batch in"], shape: EdgeShape) -> Float[Tensor, "in features batch"]:
    if _is_tracked(x):
        return _Features.apply(x, shape)  # pyright: ignore[reportReturnType]
    return _run_features(x, shape, 0)


def slopes(x: Float[Tensor, "batch in"], shape: EdgeShape) -> Float[Tensor, "in features batch"]:
    # Differentiating slopes takes second derivatives, which only the reference has.
    return reference.slopes(x, shape) if _is_tracked(x) else _run_features(x, shape, 1)


def moments(
    x: Float[Tensor, "batch in"], shape: EdgeShape
) -> tuple[Float[Tensor, "in features"], Float[Tensor, "in features features"]]:
    if _is_tracked(x):
        return _Moments.apply(x, shape)  # pyright: ignore[reportReturnType]
    return _run_moments(x, shape)


def variances(
    cov: Float[Tensor, "in features features"], edges: NumericEdges
) -> Float[Tensor, "out in"]:
    if not _is_tracked(cov, edges.coef, edges.base_weight):
        return _run_variances(cov, edges)
    return _Variances.apply(cov, edges.coef, edges.base_weight, edges)  # pyright: ignore[reportReturnType]


def forward(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out"]:
    return _apply(_Forward, x, edges)


def edge_values(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out in"]:
    return _apply(_EdgeValues, x, edges)


def edge_slopes(x: Float[Tensor, "batch in"], edges: NumericEdges) -> Float[Tensor, "batch out in"]:
    if _is_tracked(x, edges.coef, edges.base_weight):
        return reference.edge_slopes(x, edges)
    return _run_edges(x, edges, 1)


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
        pairs = [_layer_struct(e.shape, len(e.is_numeric), e) for e in network.layers]
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
            _call("network_forward", x, self._struct, _n(rows), *_places(rows, x, h))

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
            gradients = [_zero_gradient(edges) for edges in self._layers]
            structs = (GradientStruct * len(gradients))(*(_gradient_struct(g) for g in gradients))
            loss = ctypes.c_double()
            places = _places(rows, x, target, weight)
            _call("network_loss", x, self._struct, _n(rows), *places, loss, structs)
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
            _call("network_jacobian", x, self._struct, _n(rows), self.n_free, *places)

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
            _call(
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
        _check_like(x, "target", target, (len(x), self.n_last))
        if weight is not None:
            _check_like(x, "weight", weight, (len(x),))


def _check_like(x: Tensor, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """C would read on behind the end of an array that is too short."""
    if tensor.shape != shape or tensor.dtype != x.dtype or not tensor.is_cpu:
        raise ValueError(
            f"{name} must be of shape {shape} and {x.dtype} on the CPU, got"
            f" {tuple(tensor.shape)} and {tensor.dtype} on {tensor.device}"
        )


# -- threads --------------------------------------------------------------------------------------

# Operations from which a second thread pays: about two milliseconds of work.
WORTH_A_THREAD = 4_000_000


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


# -- calls ----------------------------------------------------------------------------------------


def _call(name: str, x: Tensor, *arguments: Any) -> None:
    if getattr(load().library, f"kansym_{name}_{SUFFIX[x.dtype]}")(*arguments):
        raise MemoryError(f"no memory left for {len(x)} rows")


def _layer_struct(
    shape: EdgeShape, n_out: int = 0, edges: NumericEdges | None = None
) -> tuple[LayerStruct, list[Tensor]]:
    """The struct, and the tensors it points into, which must outlive it."""
    n_in, n_knots = shape.knots.shape
    held = [shape.knots]
    if edges is not None:
        held += [edges.coef, edges.base_weight, edges.is_numeric]
    else:
        held += [held[0], held[0], torch.ones(1, n_in, dtype=torch.bool)]
    held = [tensor.detach().contiguous() for tensor in held]
    struct = LayerStruct(
        n_in, n_out, n_knots - 2 * shape.k - 1, shape.k, BASES[shape.base], OUTSIDE[shape.outside],
        *(tensor.data_ptr() for tensor in held),
    )  # fmt: skip
    return struct, held


def _zero_gradient(edges: NumericEdges) -> LayerGradient:
    shape = edges.base_weight.shape
    return LayerGradient(edges.coef.new_zeros(edges.coef.shape), edges.coef.new_zeros(shape))


def _gradient_struct(gradient: LayerGradient) -> GradientStruct:
    return GradientStruct(gradient.coef.data_ptr(), gradient.base_weight.data_ptr())


def _run_features(x: Tensor, shape: EdgeShape, derivative: int) -> Tensor:
    x = x.detach().contiguous()
    struct, _held = _layer_struct(shape, 1)
    n_in, n_knots = shape.knots.shape
    found = x.new_empty(n_in, n_knots - shape.k, len(x))
    places = [None, found.data_ptr()] if derivative else [found.data_ptr(), None]
    _call("features", x, struct, len(x), x.data_ptr(), *places)
    return found


def _run_moments(x: Tensor, shape: EdgeShape) -> tuple[Tensor, Tensor]:
    x = x.detach().contiguous()
    struct, _held = _layer_struct(shape, 1)
    n_in, n_knots = shape.knots.shape
    first = x.new_empty(n_in, n_knots - shape.k, dtype=torch.float64)
    second = x.new_empty(*first.shape, first.shape[1], dtype=torch.float64)
    _call("moments", x, struct, len(x), x.data_ptr(), first.data_ptr(), second.data_ptr())
    return first / len(x), second / len(x)


def _run_variances(cov: Tensor, edges: NumericEdges) -> Tensor:
    cov = cov.detach().double().contiguous()
    struct, _held = _layer_struct(edges.shape, len(edges.is_numeric), edges)
    found = torch.empty_like(edges.base_weight, memory_format=torch.contiguous_format)
    _call("variances", found, struct, cov.data_ptr(), found.data_ptr(), None, GradientStruct())
    return found


def _run_forward(x: Tensor, edges: NumericEdges) -> Tensor:
    x = x.detach().contiguous()
    struct, _held = _layer_struct(edges.shape, len(edges.is_numeric), edges)
    y = x.new_empty(len(x), struct.n_out)
    _call("forward", x, struct, len(x), x.data_ptr(), y.data_ptr())
    return y


def _run_edges(x: Tensor, edges: NumericEdges, derivative: int) -> Tensor:
    x = x.detach().contiguous()
    struct, _held = _layer_struct(edges.shape, len(edges.is_numeric), edges)
    found = x.new_empty(len(x), *edges.is_numeric.shape)
    places = [None, found.data_ptr()] if derivative else [found.data_ptr(), None]
    _call("edges", x, struct, len(x), x.data_ptr(), *places)
    return found


# -- gradients ------------------------------------------------------------------------------------


def _is_tracked(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _apply(function: type[_LayerFunction], x: Tensor, edges: NumericEdges) -> Tensor:
    if not _is_tracked(x, edges.coef, edges.base_weight):
        return function.run(x, edges)
    return function.apply(x, edges.coef, edges.base_weight, edges)  # pyright: ignore[reportReturnType]


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, shape: EdgeShape) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, shape.knots)
        ctx.shape = shape._replace(knots=None)
        return _run_features(x, shape, 0)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, knots = ctx.saved_tensors
        shape = ctx.shape._replace(knots=knots)
        if torch.is_grad_enabled():
            return torch.einsum("ifn,ifn->ni", gradient, reference.slopes(x, shape)), None
        x, gradient = x.contiguous(), gradient.contiguous()
        struct, _held = _layer_struct(shape, 1)
        found = torch.empty_like(x)
        _call(
            "features_backward", x, struct, len(x), x.data_ptr(), gradient.data_ptr(),
            found.data_ptr(),
        )  # fmt: skip
        return found, None


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, shape: EdgeShape) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, shape.knots)
        ctx.shape = shape._replace(knots=None)
        return _run_moments(x, shape)

    @staticmethod
    def backward(ctx, by_first: Tensor, by_second: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, knots = ctx.saved_tensors
        shape = ctx.shape._replace(knots=knots)
        if torch.is_grad_enabled():
            found = reference.moments(x, shape)
            return *torch.autograd.grad(found, x, (by_first, by_second), create_graph=True), None
        x = x.contiguous()
        by_first = (by_first / len(x)).contiguous()
        by_second = ((by_second + by_second.transpose(1, 2)) / (2 * len(x))).contiguous()
        struct, _held = _layer_struct(shape, 1)
        found = torch.empty_like(x)
        _call(
            "moments_backward", x, struct, len(x), x.data_ptr(), by_first.data_ptr(),
            by_second.data_ptr(), found.data_ptr(),
        )  # fmt: skip
        return found, None


class _Variances(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, cov: Tensor, coef: Tensor, base_weight: Tensor, edges: NumericEdges
    ) -> Tensor:
        ctx.save_for_backward(cov, coef, base_weight, edges.shape.knots, edges.is_numeric)
        ctx.shape = edges.shape._replace(knots=None)
        return _run_variances(cov, edges)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        cov, coef, base_weight, knots, is_numeric = ctx.saved_tensors
        edges = NumericEdges(ctx.shape._replace(knots=knots), coef, base_weight, is_numeric)
        if torch.is_grad_enabled():
            inputs = [t for t in (cov, coef, base_weight) if t.requires_grad]
            found = iter(
                torch.autograd.grad(
                    reference.variances(cov, edges), inputs, gradient, create_graph=True
                )
            )
            return *(next(found) if n else None for n in ctx.needs_input_grad[:3]), None
        gradient, wide = gradient.contiguous(), cov.double().contiguous()
        struct, _held = _layer_struct(edges.shape, len(is_numeric), edges)
        found = _zero_gradient(edges)
        _call(
            "variances", gradient, struct, wide.data_ptr(), None, gradient.data_ptr(),
            _gradient_struct(found),
        )  # fmt: skip
        by_cov = None
        if ctx.needs_input_grad[0]:
            weights = reference.weights(edges).transpose(0, 1)  # [in, out, features]
            by_cov = ((gradient.T[..., None] * weights).transpose(1, 2) @ weights).to(cov)
        return by_cov, found.coef, found.base_weight, None


class _LayerFunction(torch.autograd.Function):
    """A function of x and the weights of a layer, with a kernel for its gradient."""

    run: Callable[[Tensor, NumericEdges], Tensor]
    reference: Callable[[Tensor, NumericEdges], Tensor]
    kernel: str

    @classmethod
    def save(cls, ctx: Any, x: Tensor, coef: Tensor, base_weight: Tensor, edges: NumericEdges):
        shape = edges.shape
        ctx.save_for_backward(x, coef, base_weight, shape.knots, edges.is_numeric)
        ctx.shape = shape._replace(knots=None)
        return cls.run(x, edges)

    @classmethod
    def gradients(cls, ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, coef, base_weight, knots, is_numeric = ctx.saved_tensors
        edges = NumericEdges(ctx.shape._replace(knots=knots), coef, base_weight, is_numeric)
        if torch.is_grad_enabled():
            inputs = [t for t in (x, coef, base_weight) if t.requires_grad]
            y = cls.reference(x, edges)
            if not y.requires_grad:  # no edge is numeric
                return None, None, None, None
            found = iter(
                torch.autograd.grad(y, inputs, gradient, create_graph=True, materialize_grads=True)
            )
            return *(next(found) if n else None for n in ctx.needs_input_grad[:3]), None
        x, gradient = x.contiguous(), gradient.contiguous()
        struct, _held = _layer_struct(edges.shape, len(is_numeric), edges)
        weights = _zero_gradient(edges)
        by_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        _call(
            cls.kernel, x, struct, len(x), x.data_ptr(), gradient.data_ptr(),
            None if by_x is None else by_x.data_ptr(), _gradient_struct(weights),
        )  # fmt: skip
        return by_x, weights.coef, weights.base_weight, None


class _Forward(_LayerFunction):
    run, reference, kernel = staticmethod(_run_forward), staticmethod(reference.forward), "backward"

    @staticmethod
    def forward(ctx, *arguments: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Forward.save(ctx, *arguments)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Forward.gradients(ctx, gradient)


class _EdgeValues(_LayerFunction):
    run = staticmethod(lambda x, edges: _run_edges(x, edges, 0))
    reference, kernel = staticmethod(reference.edge_values), "edges_backward"

    @staticmethod
    def forward(ctx, *arguments: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _EdgeValues.save(ctx, *arguments)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _EdgeValues.gradients(ctx, gradient)
