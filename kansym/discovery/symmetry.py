"""What the slopes of a law say about its structure.

A law that does not change when x_i grows by a little and x_j shrinks by a little has one variable
less than it seems. Each kind of change is a linear relation between slopes f_i = df/dx_i that holds
at every row:

    power     x_i f_i = s f                       f = x_i^s F(others)
    scaling   x_i f_i = r x_j f_j + s f           f = x_i^s F(x_i^r x_j, others)
    shift     f_i = r f_j                         f = F(r x_i + x_j, others)
    rotation  f_i / x_i = r f_j / x_j             f = F(r x_i^2 + x_j^2, others)
    triple    x_i f_i = r x_j f_j + q x_k f_k     f = F(x_i^r x_j, x_i^q x_k, others)

and a law falls into parts, T(f) = A(x_A) + B(x_B), where for all i in A, j in B

    T'(f) f_ij + T''(f) f_i f_j = 0.

(Udrescu and Tegmark 2020, Sci. Adv. 6, eaay2631 test such properties with a neural network and few
of the symmetries; Lie 1881 is the theory.) Slopes are uncertain: what is found here is a proposal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from kansym.discovery.monomial import nice_power
from kansym.discovery.outer import Outer, outers_for
from kansym.discovery.slopes import Slopes

LEAST_MISFIT, MOST_MISFIT = 0.01, 0.15  # of a relation, relative to the slopes in it
MISFIT_PER_ERROR = 8.0  # how much worse slopes are than the surface they come from
FAINT = 1e-3  # share of y's spread that a column must move to be needed


@dataclass(frozen=True)
class Symmetry:
    """A variable less. kind: as above. misfit: of the relation, 0 is perfect.

    pivot: the column that goes. partners: columns that take it in, with the exponents or
    coefficients r. power: s, drawn out of the law.
    """

    kind: str
    pivot: int
    partners: tuple[int, ...]
    ratios: tuple[float, ...]
    power: float
    misfit: float

    @property
    def columns(self) -> frozenset[int]:
        return frozenset((self.pivot, *self.partners))


@dataclass(frozen=True)
class Split:
    """T(f - shift) is a sum over blocks of columns; outer None stands for a product of parts that
    may change sign."""

    outer: Outer | None
    blocks: tuple[tuple[int, ...], ...]
    shift: float
    misfit: float


def tolerance(slopes: Slopes) -> float:
    """Misfit of a relation that the uncertainty of the slopes explains."""
    return float(np.clip(MISFIT_PER_ERROR * slopes.error, LEAST_MISFIT, MOST_MISFIT))


def reach(slopes: Slopes) -> np.ndarray:
    """How much each column moves the law, relative to its spread, [columns]."""
    spread = float(np.std(slopes.values)) or 1.0
    return np.sqrt(np.mean(slopes.first**2, 0)) * slopes.X.std(0) / spread


def symmetries(slopes: Slopes) -> list[Symmetry]:
    """Symmetries that the slopes allow, best first: powers, then pairs, then triples."""
    limit = tolerance(slopes)
    found = [s for s in _powers(slopes) if s.misfit < limit]
    taken = {s.pivot for s in found}
    free = [i for i in range(slopes.X.shape[1]) if i not in taken]
    pairs = [s for s in _pairs(slopes, free) if s.misfit < limit]
    found += sorted(pairs, key=lambda s: (s.power != 0, s.misfit))
    if not pairs and len(free) > 2:
        found += sorted(
            (s for s in _triples(slopes, free) if s.misfit < limit), key=lambda s: s.misfit
        )
    return found


def _relation(target: np.ndarray, columns: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Least-squares coefficients of target over columns, and the relative misfit."""
    A = np.stack(columns, 1)
    coef = np.linalg.lstsq(A, target, rcond=None)[0]
    size = np.sqrt(np.mean(target**2)) or 1.0
    return coef, float(np.sqrt(np.mean((A @ coef - target) ** 2)) / size)


def _powers(slopes: Slopes) -> Iterator[Symmetry]:
    scaled = slopes.X * slopes.first
    for i in range(scaled.shape[1]):
        (s,), misfit = _relation(scaled[:, i], [slopes.values])
        power = nice_power(s)
        if power and (power.denominator == 1 or np.all(slopes.X[:, i] > 0)):
            yield Symmetry("power", i, (), (), float(power), misfit)


def _pairs(slopes: Slopes, free: Sequence[int]) -> Iterator[Symmetry]:
    X, first = slopes.X, slopes.first
    scaled = X * first
    for i, j in combinations(free, 2):
        yield from _scaling(slopes, scaled, i, j)
        (r,), misfit = _relation(first[:, i], [first[:, j]])
        yield Symmetry("shift", i, (j,), (_tidy(r),), 0.0, misfit)
        (r,), misfit = _relation(first[:, i] * X[:, j], [first[:, j] * X[:, i]])
        yield Symmetry("rotation", i, (j,), (_tidy(r),), 0.0, misfit)


def _tidy(r: float) -> float:
    return float(round(r)) if abs(r - round(r)) < 0.02 and round(r) else float(r)


def _scaling(slopes: Slopes, scaled: np.ndarray, i: int, j: int) -> Iterator[Symmetry]:
    """x_i f_i = r x_j f_j, with s f when that is not enough; of a pair, the pivot with |r| >= 1."""
    limit = tolerance(slopes)
    for pivot, partner in ((i, j), (j, i)):
        (r,), misfit = _relation(scaled[:, pivot], [scaled[:, partner]])
        ratio, power = nice_power(r), 0.0
        if ratio is None or misfit > limit:
            (r, s), misfit = _relation(scaled[:, pivot], [scaled[:, partner], slopes.values])
            ratio, drawn = nice_power(r), nice_power(s)
            if drawn is None or not drawn:
                continue
            power = float(drawn)
        if not ratio or abs(ratio) < 1:
            continue
        whole = ratio.denominator == 1 and float(power).is_integer()
        if whole or np.all(slopes.X[:, pivot] > 0):
            yield Symmetry("scaling", pivot, (partner,), (float(ratio),), power, misfit)
            if abs(ratio) == 1 and power == 0:
                return


def _triples(slopes: Slopes, free: Sequence[int]) -> Iterator[Symmetry]:
    scaled = slopes.X * slopes.first
    for pivot, j, k in permutations(free, 3):
        if j > k:
            continue
        for columns in ([scaled[:, j], scaled[:, k]], [scaled[:, j], scaled[:, k], slopes.values]):
            coef, misfit = _relation(scaled[:, pivot], columns)
            ratios = [nice_power(c) for c in coef]
            if all(ratios) and np.all(slopes.X[:, pivot] > 0):
                nice = [float(c) for c in ratios if c]
                power = nice[2] if len(nice) > 2 else 0.0
                yield Symmetry("triple", pivot, (j, k), (nice[0], nice[1]), power, misfit)


def splits(slopes: Slopes, functions: frozenset[str] | None = None) -> list[Split]:
    """Ways in which the law falls into parts, best first."""
    m = slopes.X.shape[1]
    if m < 2:
        return []
    limit = tolerance(slopes) * 2  # second derivatives are worse than first ones
    pairs = list(combinations(range(m), 2))
    mixed = {pair: slopes.mixed(*pair) for pair in pairs}
    products = {(i, j): slopes.first[:, i] * slopes.first[:, j] for i, j in pairs}
    f = slopes.values
    found: list[Split] = []

    def propose(outer: Outer | None, shift: float, misfits: dict[tuple[int, int], float]) -> None:
        blocks = _components(m, [pair for pair, misfit in misfits.items() if misfit > limit])
        if len(blocks) > 1:
            across = [
                v for (i, j), v in misfits.items() if not any({i, j} <= set(b) for b in blocks)
            ]
            found.append(Split(outer, blocks, shift, max(across)))

    scale = float(np.std(f)) or 1.0
    size = {(i, j): np.sqrt(np.mean(products[i, j] ** 2)) for i, j in pairs}
    for outer in outers_for(f, functions):
        with np.errstate(all="ignore"):
            first, second = outer.slope(f), outer.bend(f)
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            continue
        misfits = {}
        for i, j in pairs:
            left, right = first * mixed[i, j], second * products[i, j]
            # Against what mixed slopes of this law could be: its first slopes over its spread.
            least = np.sqrt(np.mean((first * products[i, j] / scale) ** 2))
            size_of = np.sqrt(np.mean(left**2)) + np.sqrt(np.mean(right**2)) + least
            misfits[i, j] = float(np.sqrt(np.mean((left + right) ** 2)) / (size_of + 1e-300))
        propose(outer, 0.0, misfits)
    for shift in [0.0, *_shifts(f, mixed, products, limit)]:
        misfits = {}
        for pair in pairs:
            left = (f - shift) * mixed[pair]
            size_of = np.sqrt(np.mean(left**2)) + size[pair]
            misfits[pair] = float(np.sqrt(np.mean((left - products[pair]) ** 2)) / size_of)
        propose(None, shift, misfits)
    # Many parts first; a plain sum before a product, a product before a transformed sum.
    return sorted(found, key=lambda s: (-len(s.blocks), _rank(s), s.misfit))


def _rank(split: Split) -> int:
    if split.outer is None:
        return 1 if split.shift == 0 else 3
    return 0 if split.outer.name == "y" else 2


def _shifts(
    f: np.ndarray,
    mixed: dict[tuple[int, int], np.ndarray],
    products: dict[tuple[int, int], np.ndarray],
    limit: float,
) -> list[float]:
    """Constants c for which (f - c) f_ij = f_i f_j holds for some pair."""
    shifts: list[float] = []
    spread = float(np.std(f)) or 1.0
    for pair in mixed:
        h = mixed[pair]
        size = float(h @ h)
        if size == 0:
            continue
        c = float(h @ (f * h - products[pair])) / size
        left = (f - c) * h
        misfit = np.sqrt(np.mean((left - products[pair]) ** 2)) / (
            np.sqrt(np.mean(left**2)) + np.sqrt(np.mean(products[pair] ** 2)) + 1e-300
        )
        near = [other for other in shifts if abs(other - c) < 0.02 * spread]
        if misfit < limit and not near and abs(c) > 1e-3 * spread:
            shifts.append(c)
    return shifts[:4]


def _components(m: int, edges: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Connected components of columns 0..m-1 under the edges."""
    label = list(range(m))
    for i, j in edges:
        old, new = label[i], label[j]
        label = [new if value == old else value for value in label]
    groups: dict[int, list[int]] = {}
    for i, value in enumerate(label):
        groups.setdefault(value, []).append(i)
    return tuple(tuple(group) for group in groups.values())
