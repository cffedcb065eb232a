"""The functions an edge can be named with: one record each, and a registry.

A symbolic edge is y = c f(a x + b) + d. What a search for a and b must cover follows from the
function's invariance: for powers f(s x) = s^p f(x), so only the location -b/a matters; for exp
f(x + s) = e^s f(x), so only a matters; a periodic function needs b over half a period.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kansym.errors import is_number, shown, suggestion

Invariance = Literal["affine", "scale", "shift", "period"]


@dataclass(frozen=True)
class Domain:
    """Where a function is smooth and real: an interval, less a pole that may repeat.

    `closed` says whether the function is finite at the finite ends of the interval.
    """

    low: float = -math.inf
    high: float = math.inf
    closed: bool = True
    pole: float | None = None
    period: float | None = None

    def contains(self, low: Tensor, high: Tensor) -> Tensor:
        """Whether the whole interval [low, high] lies inside, elementwise."""
        start, stop = self.part_around(low, high)
        return start < stop

    def part_around(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Ends of the smooth part of the domain that holds all of [low, high], elementwise; NaN
        where none does."""
        start, stop = torch.full_like(low, self.low), torch.full_like(high, self.high)
        if self.pole is not None and self.period is not None:
            start = self.pole + self.period * torch.floor((low - self.pole) / self.period)
            stop = start + self.period
        elif self.pole is not None:
            start = torch.where(low > self.pole, self.pole, start)
            stop = torch.where(low > self.pole, stop, self.pole)
        if self.closed and self.pole is None:
            holds = (low >= start) & (high <= stop)
        else:
            holds = (low > start) & (high < stop)
        return torch.where(holds, start, math.nan), torch.where(holds, stop, math.nan)


REAL_LINE = Domain()


@dataclass(frozen=True)
class SymbolicFunction:
    """A univariate function in its torch, SymPy and NumPy forms.

    torch: elementwise on tensors; NaN or inf outside the domain.
    sympy: takes and returns a SymPy expression.
    complexity: a positive number; x is 1. Ranks candidates that fit equally well.
    """

    name: str
    torch: Callable[[Tensor], Tensor]
    sympy: Callable[[Any], Any]
    complexity: float
    domain: Domain = REAL_LINE
    invariance: Invariance | None = None
    slope: Callable[[Tensor], Tensor] | None = None
    has_parity: bool = False
    """f(-x) = +-f(x) + constant: the sign of a is then absorbed in c and d."""
    same_as: str | None = None
    """A function that this one is, up to a, b, c and d: sin for cos."""

    @property
    def family(self) -> str:
        """One name for functions that can describe exactly the same edges."""
        return self.same_as or self.name

    def derivative(self, x: Tensor) -> Tensor:
        """f'(x), elementwise: the given form, or the torch form differentiated."""
        if self.slope is not None:
            return self.slope(x)
        return _differentiate(self.torch, x)

    def derivatives(self, x: Tensor, order: int) -> list[Tensor]:
        """f, f', ..., up to the derivative of that order, elementwise."""
        forms = [self.torch, self.derivative]
        while len(forms) <= order:
            forms.append(partial(_differentiate, forms[-1]))
        return [form(x) for form in forms[: order + 1]]

    @cached_property
    def numpy(self) -> Callable[[np.ndarray], np.ndarray]:
        """The SymPy form compiled for NumPy arrays; NaN outside the domain."""
        import sympy

        x = sympy.Symbol("x", real=True)
        compiled = sympy.lambdify(x, self.sympy(x), modules=["scipy", "numpy"])

        def evaluate(values: np.ndarray) -> np.ndarray:
            points = np.asarray(values, dtype=float)
            with np.errstate(all="ignore"):  # of a constant, SymPy's form is one number
                return np.array(np.broadcast_to(compiled(points), points.shape), dtype=float)

        return evaluate


def _differentiate(form: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """d form / dx of an elementwise form; differentiable again where x is."""
    keeps_graph = x.requires_grad and torch.is_grad_enabled()
    with torch.enable_grad():
        at = x if keeps_graph else x.detach().requires_grad_()
        value = form(at)
        if not value.requires_grad:  # a constant
            return torch.zeros_like(x)
        return torch.autograd.grad(
            value.sum(), at, create_graph=keeps_graph, materialize_grads=True
        )[0]


def _scipy_bessel(name: str, x: Tensor) -> Tensor:
    # Not torch.special: in float64 it is off by 4e-7 and jumps at |x| = 5 (torch 2.13).
    import scipy.special

    values = getattr(scipy.special, name)(x.detach().cpu().double().numpy())
    return torch.as_tensor(values, dtype=x.dtype, device=x.device)


class _BesselJ0(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        return _scipy_bessel("j0", x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return grad * _j0_slope(x)


class _BesselJ1(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        return _scipy_bessel("j1", x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return grad * _j1_slope(x)


def _j0(x: Tensor) -> Tensor:
    return _BesselJ0.apply(x)  # pyright: ignore[reportReturnType]


def _j1(x: Tensor) -> Tensor:
    return _BesselJ1.apply(x)  # pyright: ignore[reportReturnType]


def _j0_slope(x: Tensor) -> Tensor:
    return -_j1(x)


def _j1_slope(x: Tensor) -> Tensor:
    away = torch.where(x == 0, 1.0, x)
    return torch.where(x == 0, 0.5, _j0(x) - _j1(x) / away)


def _whole_power(x: Tensor, n: int) -> Tensor:
    """x^n as products: many times faster than a general power."""
    if n <= 3:
        return x**n
    half = _whole_power(x, n // 2) ** 2
    return half * x if n % 2 else half


def _power(n: int) -> SymbolicFunction:
    return SymbolicFunction(
        f"x^{n}",
        lambda x: _whole_power(x, n),
        lambda x: x**n,
        complexity=n if n == 2 else n - 0.5,
        invariance="scale",
        slope=lambda x: n * _whole_power(x, n - 1),
        has_parity=True,
    )


def _reciprocal(n: int) -> SymbolicFunction:
    return SymbolicFunction(
        "1/x" if n == 1 else f"1/x^{n}",
        lambda x: 1 / _whole_power(x, n),
        lambda x: 1 / x**n,
        complexity=1 + n if n <= 2 else n + 0.5,
        domain=Domain(pole=0.0),
        invariance="scale",
        slope=lambda x: -n / _whole_power(x, n + 1),
        has_parity=True,
    )


def _builtins() -> Iterable[SymbolicFunction]:
    def sp() -> Any:  # SymPy takes half a second to import: only when a form is asked for
        import sympy

        return sympy

    half_line = Domain(low=0.0)
    open_half_line = Domain(low=0.0, closed=False)
    function = SymbolicFunction
    yield function(
        "x",
        lambda x: x,
        lambda x: x,
        1,
        invariance="affine",
        slope=torch.ones_like,
        has_parity=True,
    )
    yield from (_power(n) for n in (2, 3, 4, 5))
    yield from (_reciprocal(n) for n in (1, 2, 3, 4))
    yield function(
        "sqrt", torch.sqrt, lambda x: sp().sqrt(x), 2, half_line, "scale",
        lambda x: 0.5 / torch.sqrt(x),
    )  # fmt: skip
    yield function(
        "1/sqrt", torch.rsqrt, lambda x: 1 / sp().sqrt(x), 3, open_half_line, "scale",
        lambda x: -0.5 * torch.rsqrt(x) / x,
    )  # fmt: skip
    yield function(
        "x^1.5", lambda x: x * torch.sqrt(x), lambda x: x ** sp().Rational(3, 2), 3, half_line,
        "scale", lambda x: 1.5 * torch.sqrt(x),
    )  # fmt: skip
    yield function("exp", torch.exp, lambda x: sp().exp(x), 2, invariance="shift", slope=torch.exp)
    yield function(
        "log", torch.log, lambda x: sp().log(x), 2, open_half_line, "scale", torch.reciprocal
    )
    yield function(
        "sin", torch.sin, lambda x: sp().sin(x), 2, invariance="period", slope=torch.cos,
        has_parity=True,
    )  # fmt: skip
    yield function(
        "cos", torch.cos, lambda x: sp().cos(x), 2, invariance="period",
        slope=lambda x: -torch.sin(x), has_parity=True, same_as="sin",
    )  # fmt: skip
    yield function(
        "tan", torch.tan, lambda x: sp().tan(x), 3, Domain(pole=math.pi / 2, period=math.pi),
        slope=lambda x: 1 + torch.tan(x) ** 2, has_parity=True,
    )  # fmt: skip
    yield function(
        "tanh", torch.tanh, lambda x: sp().tanh(x), 3, slope=lambda x: 1 - torch.tanh(x) ** 2,
        has_parity=True,
    )  # fmt: skip
    yield function("sinh", torch.sinh, lambda x: sp().sinh(x), 3, slope=torch.cosh, has_parity=True)
    yield function("cosh", torch.cosh, lambda x: sp().cosh(x), 3, slope=torch.sinh, has_parity=True)
    unit = Domain(-1.0, 1.0)
    yield function(
        "arcsin", torch.arcsin, lambda x: sp().asin(x), 4, unit,
        slope=lambda x: torch.rsqrt(1 - x**2), has_parity=True,
    )  # fmt: skip
    yield function(
        "arccos", torch.arccos, lambda x: sp().acos(x), 4, unit,
        slope=lambda x: -torch.rsqrt(1 - x**2), has_parity=True, same_as="arcsin",
    )  # fmt: skip
    yield function(
        "arctan", torch.arctan, lambda x: sp().atan(x), 4, slope=lambda x: 1 / (1 + x**2),
        has_parity=True,
    )  # fmt: skip
    yield function(
        "arctanh", torch.arctanh, lambda x: sp().atanh(x), 4, Domain(-1.0, 1.0, closed=False),
        slope=lambda x: 1 / (1 - x**2), has_parity=True,
    )  # fmt: skip
    yield function(
        "abs", torch.abs, lambda x: sp().Abs(x), 3, invariance="scale", slope=torch.sign,
        has_parity=True,
    )  # fmt: skip
    yield function(
        "sign", torch.sign, lambda x: sp().sign(x), 3, invariance="scale", slope=torch.zeros_like,
        has_parity=True,
    )  # fmt: skip
    yield function(
        "gaussian", lambda x: torch.exp(-(x**2)), lambda x: sp().exp(-(x**2)), 3,
        slope=lambda x: -2 * x * torch.exp(-(x**2)), has_parity=True,
    )  # fmt: skip
    yield function(
        "sigmoid", torch.sigmoid, lambda x: 1 / (1 + sp().exp(-x)), 3,
        slope=lambda x: torch.sigmoid(x) * torch.sigmoid(-x), has_parity=True, same_as="tanh",
    )  # fmt: skip
    yield function(
        "erf", torch.erf, lambda x: sp().erf(x), 4,
        slope=lambda x: 2 / math.sqrt(math.pi) * torch.exp(-(x**2)), has_parity=True,
    )  # fmt: skip
    yield function("j0", _j0, lambda x: sp().besselj(0, x), 5, slope=_j0_slope, has_parity=True)
    yield function("j1", _j1, lambda x: sp().besselj(1, x), 5, slope=_j1_slope, has_parity=True)


_REGISTRY: dict[str, SymbolicFunction] = {f.name: f for f in _builtins()}


def function_names() -> tuple[str, ...]:
    """Names of all registered functions, built-in ones first."""
    return tuple(_REGISTRY)


def own_functions() -> tuple[SymbolicFunction, ...]:
    """The functions that were added with `register_function`."""
    return tuple(f for name, f in _REGISTRY.items() if name not in _BUILTIN_NAMES)


def get_function(name: str) -> SymbolicFunction:
    """The registered function of that name; a ValueError with the nearest name otherwise."""
    if isinstance(name, str) and name in _REGISTRY:
        return _REGISTRY[name]
    raise ValueError(
        f"unknown function {shown(name)};{suggestion(name, function_names())}."
        " Add your own with register_function"
    )


def get_library(lib: Iterable[str] | None) -> list[SymbolicFunction]:
    """The functions named in `lib`, or all of them for None."""
    if lib is None:
        return list(_REGISTRY.values())
    if isinstance(lib, str):
        raise ValueError(f"lib must be a list of function names, got the string {shown(lib)}")
    if not isinstance(lib, Iterable):
        raise ValueError(f"lib must be a list of function names, got {shown(lib)}")
    named = {function.name: function for function in map(get_function, lib)}
    if not named:
        raise ValueError("lib must name at least one function, got an empty list")
    return list(named.values())


def register_function(
    name: str,
    torch: Callable[[Tensor], Tensor],
    sympy: Callable[[Any], Any],
    complexity: float = 3.0,
    domain: tuple[float, float] | None = None,
    replace: bool = False,
) -> SymbolicFunction:
    """Add a function to the library; it can be suggested, fixed, printed and saved at once.

    torch: elementwise and differentiable on float tensors; NaN or inf outside its domain.
    sympy: the same function on SymPy expressions.
    complexity: positive; x is 1, sin 2, tanh 3.
    domain: (low, high) where it is defined. When None, [-16, 16] is probed in steps of 1/64: one
        infinite point is a pole, otherwise the longest finite run is taken.

    The NumPy form and the derivative are derived. Registering the same function again is allowed;
    another one under a name in use only with `replace`, for it changes every model that has it.
    Built-in names are protected.

    Raises ValueError when the name is taken or unusable, when the forms disagree at a probe point,
    when the torch form cannot be differentiated, or when it is defined nowhere in [-16, 16].
    """
    if not name or not isinstance(name, str) or not name.isprintable() or len(name) > 40:
        raise ValueError(f"name must be 1 to 40 printable characters, got {shown(name)}")
    if name in _BUILTIN_NAMES:
        raise ValueError(f"name {name!r} is a built-in function; choose another name")
    if not (is_number(complexity) and complexity > 0):
        raise ValueError(f"complexity must be positive, got {shown(complexity)}")
    if domain is not None and not _is_interval(domain):
        raise ValueError(f"domain must be (low, high) with low < high, got {shown(domain)}")
    probe = np.arange(-1024, 1025) / 64
    values = _probe(name, torch, probe)
    candidate = SymbolicFunction(
        name=name,
        torch=torch,
        sympy=sympy,
        complexity=float(complexity),
        domain=_probed_domain(name, probe, values) if domain is None else Domain(*domain),
        has_parity=_has_parity(values),
    )
    _check_sympy_form(candidate)
    _check_forms_agree(candidate, probe, values)
    old = _REGISTRY.get(name)
    if old is not None and not replace:
        before = _probe(name, old.torch, probe)
        if not np.allclose(before, values, equal_nan=True):
            raise ValueError(
                f"name {name!r} is registered with another function; choose another name, or pass "
                "replace=True, which changes every model that has it"
            )
    _REGISTRY[name] = candidate
    return candidate


def forget_function(name: str) -> None:
    """Take out a function that was added with `register_function`."""
    assert name not in _BUILTIN_NAMES
    del _REGISTRY[name]


_BUILTIN_NAMES = frozenset(_REGISTRY)


def _is_interval(domain: Any) -> bool:
    is_pair = isinstance(domain, (tuple, list)) and len(domain) == 2
    return (
        is_pair and all(isinstance(end, (int, float)) for end in domain) and domain[0] < domain[1]
    )


def _probe(name: str, form: Callable[[Tensor], Tensor], points: np.ndarray) -> np.ndarray:
    try:
        result = form(torch.tensor(points, dtype=torch.float64))
    except Exception as error:  # whatever a function of the user's may raise
        raise ValueError(f"the torch form of {name!r} fails on a tensor: {error}") from error
    if not isinstance(result, Tensor) or result.shape != (len(points),):
        raise ValueError(f"the torch form of {name!r} must return a tensor of its argument's shape")
    try:
        _differentiate(form, torch.tensor(points, dtype=torch.float64))
    except Exception as error:
        raise ValueError(f"the torch form of {name!r} has no derivative: {error}") from error
    return result.detach().numpy()


def _probed_domain(name: str, points: np.ndarray, values: np.ndarray) -> Domain:
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError(f"the torch form of {name!r} is finite nowhere in [-16, 16]")
    if finite.all():
        return REAL_LINE
    if (~finite).sum() == 1:
        return Domain(pole=float(points[~finite][0]))
    turns = np.flatnonzero(np.diff(np.concatenate([[False], finite, [False]])))
    starts, stops = turns[::2], turns[1::2]
    # The longest run; of two as long, the one further right.
    longest = len(starts) - 1 - np.argmax((stops - starts)[::-1])
    start, stop = starts[longest], stops[longest]
    low = -math.inf if start == 0 else float(points[start])
    high = math.inf if stop == len(points) else float(points[stop - 1])
    return Domain(low, high)


def _has_parity(values: np.ndarray) -> bool:
    """Whether f(-x) = +-f(x) + constant at symmetric probe points."""
    mirrored = values[::-1]
    both = np.isfinite(values) & np.isfinite(mirrored)
    if both.sum() < 3:  # sqrt(x) has 0 in common with sqrt(-x), which shows nothing
        return False
    scale = 1e-9 * (1 + np.abs(values[both]).max())
    return any(np.ptp(values[both] - sign * mirrored[both]) < scale for sign in (1, -1))


def _check_sympy_form(f: SymbolicFunction) -> None:
    """Whether it is an expression in its argument alone: compiling runs the names in it as code."""
    import sympy
    from sympy.core.function import AppliedUndef

    x = sympy.Symbol("x", real=True)
    try:
        form = f.sympy(x)
    except Exception as error:  # whatever a function of the user's may raise
        raise ValueError(f"the sympy form of {f.name!r} cannot be evaluated: {error}") from error
    is_number = isinstance(form, (int, float))
    if not (is_number or isinstance(form, sympy.Expr)):
        raise ValueError(
            f"the sympy form of {f.name!r} must return a SymPy expression, got {shown(form)}"
        )
    if not is_number and (form.free_symbols - {x} or form.has(AppliedUndef)):
        raise ValueError(
            f"the sympy form of {f.name!r} must be made of its argument and SymPy's functions, got"
            f" {shown(form)}"
        )


def _check_forms_agree(f: SymbolicFunction, points: np.ndarray, values: np.ndarray) -> None:
    try:
        other = f.numpy(points)
    except (TypeError, AttributeError, NameError, ValueError) as error:
        raise ValueError(f"the sympy form of {f.name!r} cannot be evaluated: {error}") from error
    both = np.isfinite(values) & np.isfinite(other)
    wrong = both & ~np.isclose(values, other, rtol=1e-6, atol=1e-9)
    if wrong.any() or not both.any():
        at = points[wrong][0] if wrong.any() else points[0]
        raise ValueError(
            f"the torch and sympy forms of {f.name!r} disagree, for example at x = {at}"
        )
