"""Differential equations as data: which equation holds at which points.

    loss = sum over equations of weight * mean over points (and components) of residual^2,

the physics-informed loss (Raissi, Perdikaris and Karniadakis 2019, doi:10.1016/j.jcp.2018.10.045).
It is a sum of squares, so Levenberg-Marquardt lowers it. A residual is a function of the outputs
and their derivatives at one point: autograd differentiates it by these, and `kansym.derivatives`
these by the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kansym.arrays import as_matrix, as_targets
from kansym.derivatives import Jet, fields, jet
from kansym.errors import check_above_0, is_number, shown
from kansym.network import Network

SMALLEST_DEGREE = 3  # of splines whose second derivative is continuous


@dataclass(frozen=True, eq=False)
class Equation:
    """What holds at some points.

    residual: a function that is 0 where the equation holds, or the values that the outputs have at
        the points: a number, [n] or [n, out]. The function takes a `Field` for each output of the
        network (`u.value`, `u.d("x")`, `u.d("x", "x")`, `u.points`, all in raw units) and returns a
        tensor [n], or several, made row by row with torch's operations.
    points: [n, in], a tensor, array or frame.
    weight: > 0, how much its mean square counts beside those of the other equations.
    """

    residual: Any
    points: Any
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Term:
    """An equation that was checked: either residual or target is given."""

    name: str
    points: Float[Tensor, "n in"]
    weight: float
    inputs: tuple[str, ...]
    residual: Callable[..., Any] | None = None
    target: Float[Tensor, "n out"] | None = None

    def of(self, outputs: Jet) -> Float[Tensor, "n components"]:
        """The residuals, from the jet of the outputs at the points; differentiable in it.

        Raises ValueError for a function that returns anything else than tensors [n].
        """
        if self.target is not None:
            return outputs.value - self.target
        assert self.residual is not None
        found = self.residual(*fields(outputs, self.points, self.inputs))
        parts = list(found) if isinstance(found, (tuple, list)) else [found]
        n = len(self.points)
        for part in parts:
            if not isinstance(part, Tensor) or part.shape != (n,):
                got = f"shape {tuple(part.shape)}" if isinstance(part, Tensor) else shown(part)
                raise ValueError(
                    f"{self.name} must return a tensor of shape ({n},), or several, one number for"
                    f" each point, got {got}"
                )
        if not parts:
            raise ValueError(f"{self.name} must return at least one tensor, got none")
        return torch.stack(parts, 1)

    @torch.no_grad()
    def residuals(self, network: Network) -> Float[Tensor, "n components"]:
        return self.of(jet(network, self.points))

    def linearised(self, network: Network) -> tuple[Float[Tensor, "n components"], Jet]:
        """The residuals, and their derivatives by the jet of the outputs."""
        return self.differentiated(network, self.points.new_ones(len(self.points)))

    def differentiated(self, network: Network, share: Float[Tensor, " n"]) -> tuple[Tensor, Jet]:
        """The residuals, and the derivatives of their sum, each times its point's share."""
        outputs = Jet(*(part.requires_grad_() for part in jet(network, self.points)))
        with torch.enable_grad():
            found = self.of(outputs)
            seeds = [
                torch.autograd.grad(
                    column, outputs, share, retain_graph=True, materialize_grads=True
                )
                for column in found.T
            ]
        parts = zip(*seeds, strict=True)
        return found.detach(), Jet(*(torch.stack(part, 1) for part in parts))


class System:
    """The equations of a problem, checked, for one network.

    points: of all equations. targets: the values that some of them give, None where none does.
    n_residuals: over all points and components.

    Raises ValueError for what is no equation, for points and values that do not fit the network,
    for a function that mixes points or does not depend on its arguments by torch's operations, for
    splines of a degree below 3, and for a network that is not of float64.
    """

    def __init__(
        self, network: Network, equations: Equation | Iterable[Equation], inputs: Sequence[str]
    ):
        if network.k < SMALLEST_DEGREE:
            raise ValueError(
                f"k must be at least {SMALLEST_DEGREE} for splines with second derivatives, got"
                f" {network.k}; use KAN(..., k=5)"
            )
        if network.dtype != torch.float64:
            raise ValueError(
                f"equations need a model of float64, got {network.dtype}; use model.double()"
            )
        if len(set(inputs)) < len(inputs):
            raise ValueError(f"names must differ from each other, got {list(inputs)}")
        self.terms: list[Term] = []
        for equation in _listed(equations):
            name = _name(equation, len(self.terms) + 1, {term.name for term in self.terms})
            self.terms.append(_checked(network, name, equation, tuple(inputs)))
        self.points = torch.cat([term.points for term in self.terms])
        given = [term.target for term in self.terms if term.target is not None]
        self.targets = torch.cat(given) if given else None
        self.n_residuals = sum(term.residuals(network).numel() for term in self.terms)


def _listed(equations: Equation | Iterable[Equation]) -> list[Equation]:
    listed = [equations] if isinstance(equations, Equation) else equations
    listed = list(listed) if isinstance(listed, Iterable) else [listed]
    strange = [equation for equation in listed if not isinstance(equation, Equation)]
    if strange or not listed:
        got = shown(strange[0]) if strange else "none"
        raise ValueError(f"equations must be Equation(residual, points) or a list, got {got}")
    return listed  # pyright: ignore[reportReturnType]


def _name(equation: Equation, number: int, taken: set[str]) -> str:
    name = getattr(equation.residual, "__name__", "<lambda>")
    return f"equation {number}" if name == "<lambda>" or name in taken else name


def _checked(network: Network, name: str, equation: Equation, inputs: tuple[str, ...]) -> Term:
    points = as_matrix(
        equation.points, f"points of {name}", network.n_in, network.dtype, network.device
    )
    weight, residual = check_above_0(f"weight of {name}", equation.weight), equation.residual
    if callable(residual):
        term = Term(name, points, weight, inputs, residual=residual)
        _check_residual(network, term)
        return term
    n, n_out = len(points), network.n_out
    target = (
        points.new_full((n, n_out), float(residual))
        if is_number(residual)
        else as_targets(residual, n, n_out, f"values of {name}", network.dtype, network.device)
    )
    return Term(name, points, weight, inputs, target=target)


def _check_residual(network: Network, term: Term) -> None:
    """ValueError unless it depends on the outputs, each point on those at the point alone."""
    outputs = Jet(*(part.requires_grad_() for part in jet(network, term.points)))
    with torch.enable_grad():
        if not all(column.requires_grad for column in term.of(outputs).T):
            raise ValueError(
                f"{term.name} must depend on the outputs or their derivatives by torch's"
                " operations; leave out detach, item and NumPy"
            )
    share = torch.linspace(1, 2, len(term.points)).to(term.points)
    _, plain = term.linearised(network)
    _, weighted = term.differentiated(network, share)
    for one, other in zip(plain, weighted, strict=True):
        expected = one * share.view(-1, *[1] * (one.ndim - 1))
        size = float(expected.nan_to_num(0, 0, 0).abs().max())
        if not torch.allclose(other, expected, rtol=1e-6, atol=1e-9 * size, equal_nan=True):
            raise ValueError(
                f"{term.name} mixes points: the residual at each point must be made of the outputs"
                " at that point alone, without means or sums over the rows"
            )
