"""A network, splines and all, as an ONNX graph: a file that other runtimes can run.

A layer becomes its basis by Cox-de Boor's recursion over [batch, in, functions], the rule outside
the grid included, and one matrix product with the coefficients; symbolic edges become the operators
of their function; product nodes become products. The graph computes in the network's dtype, and
uses only operators that onnxruntime has in float64. Needs the package onnx (kansym[onnx]).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kansym import bspline
from kansym.errors import ExportError
from kansym.files import write_atomically
from kansym.layer import KANLayer, SymbolicGroup
from kansym.network import Network

OPSET = 17
IR_VERSION = 8  # of that opset's time, so that older runtimes read the file


def write_onnx(network: Network, path: str | Path, names: dict[str, str] | None = None) -> None:
    """Write the network to `path`: input "X" [batch, n_in], output "y" [batch, n_out].

    names: further metadata. Raises ExportError for an edge whose function ONNX has not, ImportError
    without onnx.
    """
    onnx = _import_onnx()
    model = network_graph(network, names)
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())


def _import_onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "writing ONNX needs the package onnx: pip install 'kansym[onnx]'"
        ) from error
    return onnx


def network_graph(network: Network, names: dict[str, str] | None = None) -> Any:
    """The network as an `onnx.ModelProto`."""
    onnx = _import_onnx()
    g = Graph(np.dtype(str(network.dtype).removeprefix("torch.")))
    h = g.mul(g.sub("X", g.constant(network.input_shift)), g.constant(network.input_scale))
    for l, layer in enumerate(network.kan_layers):
        h = _combine(g, network, l, _subnodes(g, layer, l, h))
    scaled = g.mul(h, g.constant(network.output_scale))
    g.op("Add", scaled, g.constant(network.output_shift), output="y")
    number = onnx.helper.np_dtype_to_tensor_dtype(g.dtype)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, i, o, **attributes) for op, i, o, attributes in g.nodes],
        "kansym",
        [onnx.helper.make_tensor_value_info("X", number, ["batch", network.n_in])],
        [onnx.helper.make_tensor_value_info("y", number, ["batch", network.n_out])],
        [onnx.numpy_helper.from_array(value, name) for name, value in g.constants.items()],
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(
        graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="kansym"
    )
    onnx.helper.set_model_props(model, names or {})
    return model


class Graph:
    """Nodes and constants of a graph under way; every method adds a node and names its output."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype
        self.nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        self.constants: dict[str, np.ndarray] = {}

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"n{len(self.nodes)}"
        self.nodes.append((kind, list(inputs), [name], attributes))
        return name

    def constant(self, value: Any) -> str:
        """Numbers in the dtype of the graph; whole numbers stay int64."""
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().numpy()
        array = np.asarray(value)
        whole = np.issubdtype(array.dtype, np.integer)
        name = f"c{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(array, np.int64 if whole else self.dtype)
        return name

    def add(self, a: str, b: str) -> str:
        return self.op("Add", a, b)

    def sub(self, a: str, b: str) -> str:
        return self.op("Sub", a, b)

    def mul(self, a: str, b: str) -> str:
        return self.op("Mul", a, b)

    def div(self, a: str, b: str) -> str:
        return self.op("Div", a, b)

    def times(self, a: str, factor: float) -> str:
        return self.mul(a, self.constant(float(factor)))

    def plus(self, a: str, term: float) -> str:
        return self.add(a, self.constant(float(term)))

    def part(self, x: str, start: int, stop: int, axis: int, step: int = 1) -> str:
        """x[start:stop:step] along an axis."""
        bounds = [self.constant(np.array([n])) for n in (start, stop, axis, step)]
        return self.op("Slice", x, *bounds)

    def at_least(self, a: str, b: str) -> str:
        """1 where a >= b, else 0."""
        kind = 11 if self.dtype == np.float64 else 1  # TensorProto.DOUBLE, FLOAT
        return self.op("Cast", self.op("GreaterOrEqual", a, b), to=kind)


def _combine(g: Graph, network: Network, l: int, s: str) -> str:
    """Nodes of row l + 1 from the subnodes of layer l."""
    nodes, arity = network.width[l + 1], network.mult_arity
    if not nodes.n_product:
        return s
    n_sub = network.kan_layers[l].n_out
    s = g.add(s, g.constant(network.is_left_out(l).to(network.dtype)))  # such a factor is 1
    product = None
    for place in range(arity):
        factor = g.part(s, nodes.n_sum + place, n_sub, 1, arity)
        product = factor if product is None else g.mul(product, factor)
    assert product is not None
    if not nodes.n_sum:
        return product
    return g.op("Concat", g.part(s, 0, nodes.n_sum, 1), product, axis=1)


def _subnodes(g: Graph, layer: KANLayer, l: int, h: str) -> str:
    """Sums of the edges of a layer, [batch, out]."""
    weight = torch.cat([layer.coef, layer.base_weight[..., None]], 2).detach()
    weight = torch.where(layer.is_numeric[..., None], weight, 0.0)
    if bool(layer.is_numeric.any()):
        features = _features(g, layer, h)  # [batch, in, functions]
        flat = g.op("Reshape", features, g.constant(np.array([-1, weight[0].numel()])))
        total = g.op("MatMul", flat, g.constant(weight.flatten(1).T))
    else:
        total = g.op("MatMul", h, g.constant(torch.zeros(layer.n_in, layer.n_out)))
    for group in layer.symbolic_groups():
        total = g.add(total, _symbolic(g, layer, l, group, h))
    return total


def _symbolic(g: Graph, layer: KANLayer, l: int, group: SymbolicGroup, h: str) -> str:
    """The edges c f(a x + b) + d of one function, summed into their outputs."""
    name = group.function.name
    if name not in FUNCTIONS:
        edges = [(l, i, j) for j, i in zip(*_pair(group), strict=True)]
        raise ExportError(
            f"onnx has no {name!r} in float64, the function of the edges {edges}; give them "
            "their splines back with unfix_symbolic, or export the formula instead"
        )
    a, b, c, d = layer.affine[group.out_index, group.in_index].detach().T
    x = g.op("Gather", h, g.constant(group.in_index.cpu().numpy()), axis=1)
    value = FUNCTIONS[name](g, g.add(g.mul(x, g.constant(a)), g.constant(b)))
    places = torch.zeros(len(a), layer.n_out, dtype=a.dtype)
    places[torch.arange(len(a)), group.out_index.cpu()] = 1.0
    edges = g.add(g.mul(value, g.constant(c)), g.constant(d))
    return g.op("MatMul", edges, g.constant(places))


def _pair(group: SymbolicGroup) -> tuple[list[int], list[int]]:
    return group.out_index.tolist(), group.in_index.tolist()


# -- numeric edges: kansym.edge in ONNX -----------------------------------------------------------


def _features(g: Graph, layer: KANLayer, h: str) -> str:
    """`edge.features`, [batch, in, functions]."""
    k, knots, base = layer.k, layer.knots.detach(), layer.base
    outside = layer.outside
    if outside == "zero":
        breaks = bspline.extend(knots, 1)
        ends = (g.constant(breaks[:, 0].clone()), g.constant(breaks[:, -1].clone()))
        wide = _basis(g, _clip(g, h, *ends), bspline.extend(breaks, k), k)
        count = knots.shape[1] - k - 1
        return _stack(g, g.part(wide, k + 1, k + 1 + count, 2), _BASES[base][0](g, h))
    low, high = (g.constant(end) for end in bspline.grid_range(knots, k))
    inner = _fold(g, h, low, high, outside)
    spline = _basis(g, inner, knots, k)
    value = _stack(g, spline, _BASES[base][0](g, h if outside == "base" else inner))
    if outside != "linear":
        return value
    slope = _stack(g, _basis_slope(g, inner, knots, k), _BASES[base][1](g, inner))
    return g.add(value, g.mul(_last(g, g.sub(h, inner)), slope))


def _fold(g: Graph, x: str, low: str, high: str, outside: str) -> str:
    """The point of the grid that stands for x."""
    if outside not in ("periodic", "reflect"):
        return _clip(g, x, low, high)
    width = g.sub(high, low)
    if outside == "periodic":
        wrapped = g.add(low, _remainder(g, g.sub(x, low), width))
        is_inside = g.op("And", g.op("GreaterOrEqual", x, low), g.op("LessOrEqual", x, high))
        return g.op("Where", is_inside, x, wrapped)
    phase = _remainder(g, g.sub(x, low), g.times(width, 2.0))
    mirrored = g.op("Min", phase, g.sub(g.times(width, 2.0), phase))
    return g.add(low, mirrored)


def _clip(g: Graph, x: str, low: str, high: str) -> str:
    return g.op("Max", g.op("Min", x, high), low)


def _remainder(g: Graph, x: str, width: str) -> str:
    return g.sub(x, g.mul(width, g.op("Floor", g.div(x, width))))


def _basis(g: Graph, x: str, knots: torch.Tensor, k: int, degree: int | None = None) -> str:
    """All functions of a degree on the knots of degree k, [batch, in, functions], the end
    intervals' polynomials going on outside."""
    degree = k if degree is None else degree
    x = _last(g, x)
    values = _indicators(g, x, knots, k)
    for p in range(1, degree + 1):
        count = knots.shape[1] - p - 1  # functions of degree p
        rise = knots[:, p : p + count] - knots[:, :count]
        fall = knots[:, p + 1 :] - knots[:, 1 : 1 + count]
        up = g.div(g.sub(x, g.constant(knots[:, :count])), g.constant(rise))
        down = g.div(g.sub(g.constant(knots[:, p + 1 :]), x), g.constant(fall))
        left, right = g.part(values, 0, count, 2), g.part(values, 1, 1 + count, 2)
        values = g.add(g.mul(up, left), g.mul(down, right))
    return values


def _indicators(g: Graph, x: str, knots: torch.Tensor, k: int) -> str:
    """Functions of degree 0: 1 on the interval that x [batch, in, 1] lies in, else 0."""
    inner = knots[:, k + 1 : knots.shape[1] - 1 - k]
    start, stop = g.add(g.times(x, 0.0), g.constant([1.0])), g.times(x, 0.0)
    steps = g.at_least(x, g.constant(inner)) if inner.shape[1] else None
    parts = [start, stop] if steps is None else [start, steps, stop]
    above = g.op("Concat", *parts, axis=2)
    count = inner.shape[1] + 1
    inside = g.sub(g.part(above, 0, count, 2), g.part(above, 1, count + 1, 2))
    pads = g.constant(np.array([0, 0, k, 0, 0, k]))
    return g.op("Pad", inside, pads, g.constant(0.0))


def _basis_slope(g: Graph, x: str, knots: torch.Tensor, k: int) -> str:
    """B' = k (B_m / (t_m+k - t_m) - B_m+1 / (t_m+k+1 - t_m+1)) with functions of degree k - 1."""
    lower = _basis(g, x, knots, k, k - 1)
    count = knots.shape[1] - k - 1
    scaled = g.mul(lower, g.constant(k / (knots[:, k:] - knots[:, : count + 1])))
    return g.sub(g.part(scaled, 0, count, 2), g.part(scaled, 1, count + 1, 2))


def _last(g: Graph, x: str) -> str:
    return g.op("Unsqueeze", x, g.constant(np.array([-1])))


def _stack(g: Graph, spline: str, base: str) -> str:
    return g.op("Concat", spline, _last(g, base), axis=2)


def _silu_slope(g: Graph, x: str) -> str:
    s = g.op("Sigmoid", x)
    return g.mul(s, g.plus(g.mul(x, g.sub(g.constant(1.0), s)), 1.0))


def _tanh_slope(g: Graph, x: str) -> str:
    t = g.op("Tanh", x)
    return g.sub(g.constant(1.0), g.mul(t, t))


_BASES: dict[str, tuple[Callable[[Graph, str], str], Callable[[Graph, str], str]]] = {
    "silu": (lambda g, x: g.mul(x, g.op("Sigmoid", x)), _silu_slope),
    "identity": (lambda g, x: x, lambda g, x: g.plus(g.times(x, 0.0), 1.0)),
    "tanh": (lambda g, x: g.op("Tanh", x), _tanh_slope),
    "zero": (lambda g, x: g.times(x, 0.0), lambda g, x: g.times(x, 0.0)),
}


# -- symbolic edges -------------------------------------------------------------------------------


def _whole(g: Graph, x: str, n: int) -> str:
    value = x
    for _ in range(n - 1):
        value = g.mul(value, x)
    return value


def _inverse(g: Graph, x: str) -> str:
    return g.div(g.constant(1.0), x)


def _half(g: Graph, x: str, sign: float) -> str:
    """(e^x + sign e^-x) / 2: onnxruntime has Sinh and Cosh in float32 only."""
    back = g.op("Exp", g.times(x, -1.0))
    return g.times(g.add(g.op("Exp", x), g.times(back, sign)), 0.5)


def _cos(g: Graph, x: str) -> str:
    """1 - 2 sin(x/2)^2: onnxruntime has Cos in float32 only."""
    s = g.op("Sin", g.times(x, 0.5))
    return g.plus(g.times(g.mul(s, s), -2.0), 1.0)


def _arctanh(g: Graph, x: str) -> str:
    """log((1 + x) / (1 - x)) / 2."""
    ratio = g.div(g.plus(x, 1.0), g.sub(g.constant(1.0), x))
    return g.times(g.op("Log", ratio), 0.5)


FUNCTIONS: dict[str, Callable[[Graph, str], str]] = {
    "x": lambda g, x: x,
    **{f"x^{n}": lambda g, x, n=n: _whole(g, x, n) for n in (2, 3, 4, 5)},
    "1/x": _inverse,
    **{f"1/x^{n}": lambda g, x, n=n: _inverse(g, _whole(g, x, n)) for n in (2, 3, 4)},
    "sqrt": lambda g, x: g.op("Sqrt", x),
    "1/sqrt": lambda g, x: _inverse(g, g.op("Sqrt", x)),
    "x^1.5": lambda g, x: g.mul(x, g.op("Sqrt", x)),
    "exp": lambda g, x: g.op("Exp", x),
    "log": lambda g, x: g.op("Log", x),
    "sin": lambda g, x: g.op("Sin", x),
    "cos": _cos,
    "tan": lambda g, x: g.div(g.op("Sin", x), _cos(g, x)),
    "tanh": lambda g, x: g.op("Tanh", x),
    "sinh": lambda g, x: _half(g, x, -1.0),
    "cosh": lambda g, x: _half(g, x, 1.0),
    "arctanh": _arctanh,
    "abs": lambda g, x: g.op("Abs", x),
    "sign": lambda g, x: g.op("Sign", x),
    "gaussian": lambda g, x: g.op("Exp", g.times(g.mul(x, x), -1.0)),
    "sigmoid": lambda g, x: g.op("Sigmoid", x),
}
