"""The way back: from a formula to a network whose edges are all named and which equals it.

Every part of an expression is written as

    constant + sum of c f(a u + b)

with f a function of the library and u an input or a node of the network; terms are edges. A
function of such a sum needs a sum node for it, unless the sum is a u + b alone; a product becomes a
product node, with a sum for every factor; parts that occur twice become one node. Nodes stand in
the first row they can, and "x" edges pass values on to the rows that need them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import mean
from typing import Any, NamedTuple, TypeVar

import sympy
import torch
from sympy import Add, Function, Mul, NumberSymbol, Pow, Symbol
from torch import Tensor

from kansym import bspline
from kansym.errors import check_positive_int
from kansym.functions import get_function, get_library
from kansym.network import Network
from kansym.symbolic.fix import set_edge
from kansym.symbolic.formula import Expr, Formula
from kansym.training.grids import covering_breaks

N = TypeVar("N", bound=Network)

MAX_EXPONENT = 500  # beyond, e^b is not drawn out of an exponential
_POWERS = {
    **{float(n): f"x^{n}" for n in (2, 3, 4, 5)},
    **{float(-n): f"1/x^{n}" for n in (2, 3, 4)},
    -1.0: "1/x", 0.5: "sqrt", -0.5: "1/sqrt", 1.5: "x^1.5",
}  # fmt: skip
LARGEST_POWER, LARGEST_RECIPROCAL = 5, 4

# Functions that are not in the library, by one in which SymPy can write them.
_REWRITTEN = {
    sympy.cot: sympy.tan,
    sympy.sec: sympy.cos,
    sympy.csc: sympy.sin,
    sympy.coth: sympy.tanh,
    sympy.sech: sympy.cosh,
    sympy.csch: sympy.sinh,
    sympy.asinh: sympy.log,
    sympy.acosh: sympy.log,
}


class NamedEdge(NamedTuple):
    """Edge (l, i, j) is the function `name` with params (a, b, c, d)."""

    l: int
    i: int
    j: int
    name: str
    params: tuple[float, float, float, float]


@dataclass(frozen=True)
class Blueprint:
    """A network to be built: rows of (sum, product) nodes and every active edge."""

    width: tuple[tuple[int, int], ...]
    mult_arity: int
    edges: tuple[NamedEdge, ...]


def build_network(formula: Formula, cls: type[N], mult_arity: int = 2, **options: Any) -> N:
    """A network equal to the formula, to rounding; `options` go to `cls`.

    mult_arity: factors that product nodes have at least; what the formula does not need is left
    out, and there for nodes that are added later.
    Raises ValueError, with the part, for what a network of the library's functions cannot be.
    """
    blueprint = plan(formula, check_positive_int("mult_arity", mult_arity, 2))
    network = cls(
        [list(row) for row in blueprint.width], mult_arity=blueprint.mult_arity, **options
    )
    for layer in network.kan_layers:
        layer.mask[:] = False
    for l, i, j, name, params in blueprint.edges:
        network.kan_layers[l].mask[j, i] = True
        set_edge(network, (l, i, j), name, params)
    return network


@torch.no_grad()
def cover(network: Network, X: Tensor) -> None:
    """Lay every grid over what reaches it from X, in place, for a network without splines; rows in
    which a node is not finite do not count."""
    rows = network.rows(X)
    for layer, h in zip(network.kan_layers, rows[:-1], strict=True):
        finite = h[torch.isfinite(h).all(1)]
        if len(finite):
            breaks = covering_breaks(finite, layer.grid, network.grid_eps)
            layer.knots = bspline.extend(breaks, layer.k)


def plan(formula: Formula, mult_arity: int = 2) -> Blueprint:
    """The rows, nodes and edges of a network that equals the formula. See `build_network`."""
    if not isinstance(formula, Formula):
        raise ValueError(f"formula must be a Formula, got {type(formula).__name__}")
    if not formula.variables or not formula.exprs:
        raise ValueError(
            f"formula must have at least one variable and one output, got"
            f" {len(formula.variables)} and {len(formula.exprs)}"
        )
    parts = _Parts(formula.variables)
    try:
        exprs = [_checked(expr, formula.variables) for expr in formula.exprs]
        outputs = [parts.distinct(parts.linear(expr)) for expr in exprs]
        blueprint = _Rows(parts, outputs).blueprint(mult_arity)
    except RecursionError as error:
        raise ValueError("formula is nested too deeply for a network") from error
    if not all(math.isfinite(p) for edge in blueprint.edges for p in edge.params):
        raise ValueError("formula has constants that leave the range of floating point")
    return blueprint


def _checked(expr: Expr, variables: Sequence[Symbol]) -> Expr:
    """The expression, if the library has all that it is made of."""
    try:
        expr = sympy.sympify(expr, strict=True)  # strict: text would be run as code
    except sympy.SympifyError as error:
        raise ValueError(f"formula must hold SymPy expressions, got {expr!r}") from error
    heads = _heads()
    for part in sympy.preorder_traversal(expr):
        if isinstance(part, Symbol):
            if part not in variables:
                raise ValueError(
                    f"formula uses {part}, which is not among its variables {tuple(variables)}"
                )
        elif not (
            isinstance(part, (Add, Mul, Pow, NumberSymbol))
            or (isinstance(part, sympy.Number) and part.is_finite)
            or (isinstance(part, Function) and (_head(part) in heads or part.func in _REWRITTEN))
        ):
            raise ValueError(
                f"formula has the part {part}, for which there is no edge: parts may be sums,"
                " products, powers, real numbers and functions of the library; add your own with"
                " register_function"
            )
    return expr


def _heads() -> dict[Any, str]:
    """Names of the functions that SymPy writes as one function of x: asin, besselj(0, .), ..."""
    x = sympy.Dummy(real=True)
    heads: dict[Any, str] = {}
    for f in get_library(None):
        form = f.sympy(x)
        if isinstance(form, Function) and form.args[-1] == x:
            heads.setdefault(_head(form), f.name)
    return heads


def _head(part: Expr) -> Any:
    return part.func, part.args[:-1]


def _number(expr: Expr) -> float:
    """A SymPy number as a float; ValueError when it is not real or too large for one."""
    try:
        value = float(expr)
    except (TypeError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"formula has the part {expr}, which is no real number a float can hold")
    return value


class _Term(NamedTuple):
    """coef f(a u + b), with u the node `source`."""

    coef: float
    function: str
    a: float
    b: float
    source: int


class _Linear(NamedTuple):
    """constant + sum of terms."""

    constant: float
    terms: tuple[_Term, ...]


class _Node(NamedTuple):
    """A node and the first row it can stand in: an input has no factor, a sum has one."""

    row: int
    factors: tuple[_Linear, ...]


def _of_node(source: int, coef: float = 1.0) -> _Linear:
    return _Linear(0.0, (_Term(coef, "x", 1.0, 0.0, source),))


def _plus(total: _Linear, part: _Linear, factor: float = 1.0) -> _Linear:
    """total + factor * part; terms that differ in nothing but their coefficient become one, and one
    of coefficient 0 goes."""
    coefs = {term[1:]: term.coef for term in total.terms}
    for term in part.terms:
        coefs[term[1:]] = coefs.get(term[1:], 0.0) + factor * term.coef
    terms = tuple(_Term(coef, *rest) for rest, coef in coefs.items() if coef)
    return _Linear(total.constant + factor * part.constant, terms)


def _scaled(part: _Linear, factor: float) -> _Linear:
    return _plus(_Linear(0.0, ()), part, factor)


class _Parts:
    """The nodes that a formula needs, inputs first; each is made once."""

    def __init__(self, variables: Sequence[Symbol]):
        self.inputs = {variable: i for i, variable in enumerate(variables)}
        self.nodes = [_Node(0, ()) for _ in variables]
        self._heads = _heads()
        self._sums: dict[Any, tuple[int, float]] = {}
        self._products: dict[Any, int] = {}

    def linear(self, expr: Expr) -> _Linear:
        """The expression as a constant and terms."""
        total = _Linear(0.0, ())
        for addend in Add.make_args(expr):
            if not addend.free_symbols:
                total = _plus(total, _Linear(_number(addend), ()))
                continue
            number, rest = addend.as_independent(*self.inputs, as_Add=False)
            total = _plus(total, self._part(rest), _number(number))
        return total

    def _part(self, expr: Expr) -> _Linear:
        if isinstance(expr, Symbol):
            return _of_node(self.inputs[expr])
        if isinstance(expr, Add):
            return self.linear(expr)
        if isinstance(expr, Mul):
            return self._product([self.linear(factor) for factor in expr.args])
        if isinstance(expr, Pow):
            return self._general_power(expr.base, expr.exp)
        if expr.func in _REWRITTEN and _head(expr) not in self._heads:
            return self.linear(expr.rewrite(_REWRITTEN[expr.func]))
        return self._function(self._heads[_head(expr)], self.linear(expr.args[-1]))

    def _general_power(self, base: Expr, exponent: Expr) -> _Linear:
        if not exponent.free_symbols:
            return self._power(self.linear(base), _number(exponent))
        if base.free_symbols:
            log = self._function("log", self.linear(base))
            return self._function("exp", self._product([self.linear(exponent), log]))
        if (value := _number(base)) <= 0:
            raise ValueError(f"formula has the part {base**exponent}, which is not real")
        return self._function("exp", _scaled(self.linear(exponent), math.log(value)))

    def _power(self, base: _Linear, n: float) -> _Linear:
        """base^n: as one edge, or step by step; as an exponential of a logarithm at last."""
        if n == 1:
            return base
        if n in _POWERS:
            return self._function(_POWERS[n], base)
        if n.is_integer():
            return self._whole_power(base, int(n))
        if (2 * n).is_integer():
            return self._power(self._function("sqrt", base), 2 * n)
        return self._function("exp", _scaled(self._function("log", base), n))

    def _whole_power(self, base: _Linear, n: int) -> _Linear:
        steps = [step for step in (2, 3, 4, 5) if n % step == 0]
        if steps:  # two edges where two will do
            step = next((step for step in steps if n / step in _POWERS), steps[-1])
            return self._power(self._power(base, n / step), float(step))
        sign, size = (1, n) if n > 0 else (-1, -n)
        largest = LARGEST_POWER if n > 0 else LARGEST_RECIPROCAL
        first = largest if size <= 2 * largest else size - 1
        sizes = (first, size - first)
        return self._product([self._power(base, float(sign * part)) for part in sizes])

    def _function(self, name: str, inner: _Linear) -> _Linear:
        """f(inner) as one edge."""
        if not inner.terms:  # a coefficient was too small for floating point
            value = get_function(name).torch(torch.tensor(inner.constant, dtype=torch.float64))
            return _Linear(float(value), ())
        special = _one_edge(name, inner)
        if special is not None:
            return special
        is_node = len(inner.terms) == 1 and inner.terms[0].function == "x"
        source, a = (
            (inner.terms[0].source, inner.terms[0].coef) if is_node else self.sum(inner.terms)
        )
        return _Linear(0.0, (_Term(1.0, name, a, inner.constant, source),))

    def _product(self, parts: Sequence[_Linear]) -> _Linear:
        coef, factors = 1.0, []
        for part in parts:
            if not part.terms:
                coef *= part.constant
            elif len(part.terms) == 1 and not part.constant:
                term = part.terms[0]
                coef *= term.coef
                inside = self.nodes[term.source].factors if term.function == "x" else ()
                factors += inside if len(inside) > 1 else [_Linear(0.0, (term._replace(coef=1.0),))]
            else:
                factors.append(part)
        if not factors:
            return _Linear(coef, ())
        return _scaled(self._product_of(factors), coef)

    def _product_of(self, factors: Sequence[_Linear]) -> _Linear:
        """The product node of these factors. What can be multiplied in an earlier row is: one value
        is passed on instead of many."""
        if len(factors) == 1:
            return factors[0]
        key = tuple(sorted(factors))
        if key not in self._products:
            last = max(map(self.first_row, factors))
            late = [factor for factor in factors if self.first_row(factor) < last]
            if len(late) > 1:
                now = [factor for factor in factors if factor not in late]
                factors = [*now, self._product_of(late)]
            self._products[key] = len(self.nodes)
            self.nodes.append(_Node(last, tuple(map(self.distinct, factors))))
        return _of_node(self._products[key])

    def sum(self, terms: Iterable[_Term]) -> tuple[int, float]:
        """A sum node, and what it is to be multiplied with to be the sum of these terms."""
        terms = tuple(sorted(terms, key=lambda term: term[1:]))
        lead = terms[0].coef
        key = tuple((term.coef / lead, *term[1:]) for term in terms)
        if key not in self._sums:
            # One term leaves its coefficient to the next edge; several keep theirs, as written.
            if len(terms) == 1:
                terms = (terms[0]._replace(coef=1.0),)
            held = self.distinct(_Linear(0.0, terms))
            row = self.first_row(held)  # may make nodes, too
            self._sums[key] = len(self.nodes), terms[0].coef
            self.nodes.append(_Node(row, (held,)))
        node, its_lead = self._sums[key]
        return node, lead / its_lead

    def first_row(self, part: _Linear) -> int:
        """The first row in which a node can add up these terms."""
        return 1 + max(self.nodes[term.source].row for term in self.distinct(part).terms)

    def distinct(self, part: _Linear) -> _Linear:
        """The same with no two terms of one node: an edge carries one function, so that several
        functions of a node need nodes of their own."""
        while True:
            count = Counter(term.source for term in part.terms)
            if max(count.values(), default=1) == 1:
                return part
            total = _Linear(part.constant, ())
            for term in part.terms:
                is_shared = count[term.source] > 1 and term.function != "x"
                own = _of_node(*self.sum([term])) if is_shared else _Linear(0.0, (term,))
                total = _plus(total, own)
            part = total


def _one_edge(name: str, inner: _Linear) -> _Linear | None:
    """exp(k - (a u + b)^2) as a gaussian, 1 / (k + c exp(a u + b)) as a sigmoid."""
    if len(inner.terms) != 1:
        return None
    k, (coef, function, a, b, source) = inner.constant, inner.terms[0]
    if (name, function) == ("exp", "x^2") and coef < 0 and abs(k) <= MAX_EXPONENT:
        root = math.sqrt(-coef)
        return _Linear(0.0, (_Term(math.exp(k), "gaussian", root * a, root * b, source),))
    if (name, function) == ("1/x", "exp") and coef > 0 and k > 0:
        shift = math.log(coef) - math.log(k)
        return _Linear(0.0, (_Term(1 / k, "sigmoid", -a, -b - shift, source),))
    return None


class _Edge(NamedTuple):
    source: int
    name: str
    params: tuple[float, float, float, float]


class _Rows:
    """Nodes in rows: in their own, and passed on to all later ones in which they are needed."""

    def __init__(self, parts: _Parts, outputs: Sequence[_Linear]):
        self._parts = parts
        last = max(parts.first_row(part) if part.terms else 1 for part in outputs)  # row of outputs
        # For every row the factors of its nodes, each a list of edges from the row before.
        self._rows: list[dict[int, list[list[_Edge]]]] = [{} for _ in range(last)]
        self._rows[0].update((i, []) for i in parts.inputs.values())
        self._outputs = [self._edges(part, last) for part in outputs]
        anything = next(iter(self._rows[-1]))
        for edges, part in zip(self._outputs, outputs, strict=True):
            if not edges:  # a constant
                edges.append(_Edge(anything, "x", (1.0, 0.0, 0.0, part.constant)))

    def _edges(self, part: _Linear, row: int) -> list[_Edge]:
        """The edges that end in a sum of row `row`."""
        edges, constant = [], part.constant
        for coef, name, a, b, source in self._gathered(part.terms, row):
            self._bring(source, row - 1)
            edges.append(_Edge(source, name, (a, b, coef, constant)))
            constant = 0.0
        return edges

    def _gathered(self, terms: tuple[_Term, ...], row: int) -> list[_Term]:
        """The terms, but what can be added up in an earlier row is: one value is passed on instead
        of many."""
        late = [term for term in terms if self._parts.nodes[term.source].row < row - 1]
        if len(late) < 2:
            return list(terms)
        now = [term for term in terms if term not in late]
        gathered = _of_node(*self._parts.sum(late)).terms[0]
        is_taken = gathered.source in {term.source for term in now}
        return list(terms) if is_taken else [*now, gathered]

    def _bring(self, node: int, row: int) -> None:
        """Have the node in a row: itself, or its value from the row before."""
        if node in self._rows[row]:
            return
        first, factors = self._parts.nodes[node]
        wanted = factors if first == row else (_of_node(node),)
        self._rows[row][node] = [self._edges(factor, row) for factor in wanted]

    def blueprint(self, mult_arity: int) -> Blueprint:
        products = [len(factors) for row in self._rows[1:] for factors in row.values()]
        arity = max([mult_arity, *products])
        order = {node: i for i, node in enumerate(self._rows[0])}
        width, edges = [(len(order), 0)], []
        for l, row in enumerate(self._rows[1:]):
            ordered = sorted(row, key=lambda n: _place(chain(*row[n]), order))
            sums = [n for n in ordered if len(row[n]) == 1]
            products = [n for n in ordered if len(row[n]) > 1]
            heads = [row[n][0] for n in sums]
            for n in products:
                factors = sorted(row[n], key=lambda factor: _place(factor, order))
                heads += factors + [[]] * (arity - len(factors))
            edges += _named(l, heads, order)
            order = {node: i for i, node in enumerate(sums + products)}
            width.append((len(sums), len(products)))
        edges += _named(len(width) - 1, self._outputs, order)
        width.append((len(self._outputs), 0))
        return Blueprint(tuple(width), arity, tuple(edges))


def _place(edges: Iterable[_Edge], order: dict[int, int]) -> float:
    """Where a node or a factor belongs: in the middle of its sources, so that few lines cross."""
    return mean(order[edge.source] for edge in edges)


def _named(l: int, heads: Sequence[list[_Edge]], order: dict[int, int]) -> list[NamedEdge]:
    return [
        NamedEdge(l, order[edge.source], j, edge.name, edge.params)
        for j, head in enumerate(heads)
        for edge in head
    ]
