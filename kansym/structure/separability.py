"""Relations between the slopes of a function that say how its variables enter.

With f_i = df/dx_i and f_ij = d2f/dx_i dx_j at a sample of points:

    f_ij = 0                          f = A(x_i, others) + B(x_j, others)
    (f - c) f_ij = f_i f_j            f - c = A(x_i, others) B(x_j, others)
    f_ik f_j = f_jk f_i               the direction (f_i, f_j) does not depend on x_k
    f_i = r f_j                       f = F(r x_i + x_j, others)

A misfit is the size of what violates a relation beside the sizes of its parts, 0 to 1: root mean
squares over the points. Udrescu and Tegmark 2020, Sci. Adv. 6, eaay2631; Liu et al. 2024,
arXiv:2408.10205, sec. 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

Column = Float[np.ndarray, " n"]
TINY = 1e-300
COULD_BE = 0.25  # share of what a term could be, that it is measured against where it is small


def rms(values: Column) -> float:
    return float(np.sqrt(np.mean(values**2)))


def relation(target: Column, columns: Sequence[Column]) -> tuple[np.ndarray, float]:
    """Least-squares coefficients of target over columns, and the relative misfit."""
    A = np.stack(columns, 1)
    coef = np.linalg.lstsq(A, target, rcond=None)[0]
    size = np.sqrt(np.mean(target**2)) or 1.0
    return coef, float(np.sqrt(np.mean((A @ coef - target) ** 2)) / size)


def not_a_sum(mixed: Column, product: Column, spread: float) -> float:
    """How far f_ij = `mixed` is from zero, beside what it could be: `product` f_i f_j over the
    spread of f."""
    size = rms(mixed) + rms(product) / spread
    return rms(mixed) / (size + TINY)


def not_a_product(values: Column, mixed: Column, product: Column) -> float:
    """How far f f_ij is from f_i f_j = `product`."""
    left = values * mixed
    return rms(left - product) / (rms(left) + rms(product) + TINY)


def product_shift(values: Column, mixed: Column, product: Column) -> float | None:
    """The constant c with which (f - c) f_ij is nearest to f_i f_j; None where f_ij is zero."""
    size = float(mixed @ mixed)
    return float(mixed @ (values * mixed - product)) / size if size > 0 else None


def not_apart(
    first: tuple[Column, Column, Column], mixed: tuple[Column, Column], spread: float
) -> float:
    """How far the direction (f_i, f_j) is from not depending on x_k. first: f_i, f_j, f_k; mixed:
    f_ik, f_jk. Beside the two sides stands a share of what they could be, f_i f_j f_k over the
    spread of f: where both are nothing but rounding, they need not agree."""
    f_i, f_j, f_k = first
    left, right = mixed[0] * f_j, mixed[1] * f_i
    size = rms(left) + rms(right) + COULD_BE * rms(f_i * f_j * f_k) / spread
    return rms(left - right) / (size + TINY)


def components(count: int, edges: Iterable[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Connected components of 0..count - 1 under the edges."""
    label = list(range(count))
    for i, j in edges:
        old, new = label[i], label[j]
        label = [new if value == old else value for value in label]
    groups: dict[int, list[int]] = {}
    for i, value in enumerate(label):
        groups.setdefault(value, []).append(i)
    return tuple(tuple(group) for group in groups.values())
