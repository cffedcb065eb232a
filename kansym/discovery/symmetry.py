"""What the slopes of a law say about its structure.

A law that does not change when x_i grows by a little and x_j shrinks by a little has one variable
less than it seems. Each kind of change is a linear relation between slopes f_i = df/dx_i that holds
at every row:

    power     x_i f_i = s f                       f = x_i^s F(others)
    scaling   x_i f_i = r x_j f_j + s f           f = x_i^s F(x_i^r x_j, others)
    shift     f_i = r f_j                         f = F(r x_i + x_j, others)
    rotation  f_i / x_i = r f_j / x_j             f = F(r x_i^2 + x_j^2, others)
    triple    x_i f_i = r x_j f_j + q x_k f_k     f = F(x_i^r x_j, x_i^q x_k, others)

and t = T(f) falls into parts of different columns, where for all i in one and j in another

    t_ij = 0                      t = A(x_A) + B(x_B)
    (t - c) t_ij = t_i t_j        t = A(x_A) B(x_B) + c

(Udrescu and Tegmark 2020, Sci. Adv. 6, eaay2631 test such properties with a neural network and few
of the symmetries; Lie 1881 is the theory.) Slopes are uncertain: what is found here is a proposal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from kansym.discovery.monomial import NEAR, nice_power
from kansym.discovery.outer import Outer, outers_for
from kansym.discovery.slopes import Slopes
from kansym.structure import separability
from kansym.structure.separability import components, relation

LEAST_MISFIT, MOST_MISFIT = 0.01, 0.15  # of a relation, relative to the slopes in it
MISFIT_PER_ERROR = 8.0  # how much worse slopes are than the surface they come from
NEAR_PER_MISFIT, MOST_NEAR = 0.5, 0.12
NEAR_SHIFT = 0.02  # of the spread: shifts that close are one
MAX_SHIFTS = 4
FAR_SHIFT = 20.0  # spreads from the mean
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
    """T(f) - shift is a sum or a product of parts, one for each block of columns."""

    outer: Outer
    is_product: bool
    blocks: tuple[tuple[int, ...], ...]
    shift: float = 0.0
    misfit: float = 0.0

    @property
    def kind(self) -> str:
        name = "product" if self.is_product else "sum"
        return name if self.outer.name == "y" else f"{name} in {self.outer.name}"


def tolerance(slopes: Slopes) -> float:
    """Misfit of a relation that the uncertainty of the slopes explains."""
    return float(np.clip(MISFIT_PER_ERROR * slopes.error, LEAST_MISFIT, MOST_MISFIT))


def reach(slopes: Slopes) -> np.ndarray:
    """How much each column moves the law, relative to its spread, [columns]."""
    spread = float(np.std(slopes.values)) or 1.0
    return np.sqrt(np.mean(slopes.first**2, 0)) * slopes.X.std(0) / spread


def symmetries(slopes: Slopes, slack: float = 1.0) -> list[Symmetry]:
    """Symmetries that the slopes allow, best first: powers, then pairs, then triples.

    slack: times the tolerance that a misfit may be.
    """
    limit = slack * tolerance(slopes)
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


def _near(misfit: float) -> float:
    """How far an exponent may be from the fraction it is taken for, when slopes are uncertain."""
    return min(NEAR + NEAR_PER_MISFIT * misfit, MOST_NEAR)


def _powers(slopes: Slopes) -> Iterator[Symmetry]:
    scaled = slopes.X * slopes.first
    for i in range(scaled.shape[1]):
        (s,), misfit = relation(scaled[:, i], [slopes.values])
        power = nice_power(s, _near(misfit))
        if power and (power.denominator == 1 or np.all(slopes.X[:, i] > 0)):
            yield Symmetry("power", i, (), (), float(power), misfit)


def _pairs(slopes: Slopes, free: Sequence[int]) -> Iterator[Symmetry]:
    X, first = slopes.X, slopes.first
    scaled = X * first
    for i, j in combinations(free, 2):
        yield from _scaling(slopes, scaled, i, j)
        (r,), misfit = relation(first[:, i], [first[:, j]])
        yield Symmetry("shift", i, (j,), (_tidy(r),), 0.0, misfit)
        (r,), misfit = relation(first[:, i] * X[:, j], [first[:, j] * X[:, i]])
        yield Symmetry("rotation", i, (j,), (_tidy(r),), 0.0, misfit)


def _tidy(r: float) -> float:
    return float(round(r)) if abs(r - round(r)) < 0.02 and round(r) else float(r)


def _scaling(slopes: Slopes, scaled: np.ndarray, i: int, j: int) -> Iterator[Symmetry]:
    """x_i f_i = r x_j f_j, with s f when that is not enough; of a pair, the pivot with |r| >= 1."""
    limit = tolerance(slopes)
    for pivot, partner in ((i, j), (j, i)):
        (r,), misfit = relation(scaled[:, pivot], [scaled[:, partner]])
        ratio, power = nice_power(r, _near(misfit)), 0.0
        if ratio is None or misfit > limit:
            (r, s), misfit = relation(scaled[:, pivot], [scaled[:, partner], slopes.values])
            ratio, drawn = nice_power(r, _near(misfit)), nice_power(s, _near(misfit))
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
            coef, misfit = relation(scaled[:, pivot], columns)
            ratios = [nice_power(c) for c in coef]
            if all(ratios) and np.all(slopes.X[:, pivot] > 0):
                nice = [float(c) for c in ratios if c]
                power = nice[2] if len(nice) > 2 else 0.0
                yield Symmetry("triple", pivot, (j, k), (nice[0], nice[1]), power, misfit)


def splits(slopes: Slopes, functions: frozenset[str] | None = None) -> list[Split]:
    """Ways in which the law falls into parts, best first: many parts before few, a plain sum before
    a product, these before transformed ones."""
    m = slopes.X.shape[1]
    limit = tolerance(slopes) * 2  # second derivatives are worse than first ones
    found = []
    for outer in outers_for(slopes.values, functions) if m > 1 else []:
        target = _transformed(slopes, outer)
        if target is None:
            continue
        if outer.name != "log":  # a sum of logarithms is a product
            found.append(_split(outer, False, 0.0, target.not_a_sum(), m, limit))
            for shift in target.shifts(limit):
                found.append(_split(outer, True, shift, target.not_a_product(shift), m, limit))
    return sorted(
        (split for split in found if split is not None),
        key=lambda s: (-len(s.blocks), s.outer.name != "y", s.shift != 0, s.is_product, s.misfit),
    )


Pairs = dict[tuple[int, int], float]


def _split(
    outer: Outer, is_product: bool, shift: float, misfits: Pairs, m: int, limit: float
) -> Split | None:
    blocks = components(m, [pair for pair, misfit in misfits.items() if misfit > limit])
    if len(blocks) < 2:
        return None
    within = [set(block) for block in blocks]
    across = [v for pair, v in misfits.items() if not any(set(pair) <= b for b in within)]
    return Split(outer, is_product, blocks, shift, max(across))


@dataclass(frozen=True)
class _Target:
    """t = T(f) at the rows, its first slopes multiplied in pairs, and its mixed slopes."""

    t: np.ndarray
    products: dict[tuple[int, int], np.ndarray]
    mixed: dict[tuple[int, int], np.ndarray]

    def not_a_sum(self) -> Pairs:
        """How far t_ij is from zero, beside what it could be: t_i t_j over t's spread."""
        spread = float(np.std(self.t)) or 1.0
        return {
            pair: separability.not_a_sum(h, self.products[pair], spread)
            for pair, h in self.mixed.items()
        }

    def not_a_product(self, shift: float) -> Pairs:
        """How far (t - shift) t_ij is from t_i t_j."""
        return {
            pair: separability.not_a_product(self.t - shift, h, self.products[pair])
            for pair, h in self.mixed.items()
        }

    def shifts(self, limit: float) -> list[float]:
        """0, and the constants c for which some pair has (t - c) t_ij = t_i t_j."""
        spread = float(np.std(self.t)) or 1.0
        found = [0.0]
        for pair, h in self.mixed.items():
            c = separability.product_shift(self.t, h, self.products[pair])
            if c is None or abs(c - float(np.mean(self.t))) > FAR_SHIFT * spread:
                continue  # so far away every sum looks like a product
            is_new = all(abs(other - c) > NEAR_SHIFT * spread for other in found)
            if is_new and self.not_a_product(c)[pair] < limit:
                found.append(c)
        return found[:MAX_SHIFTS]


def _transformed(slopes: Slopes, outer: Outer) -> _Target | None:
    f = slopes.values
    with np.errstate(all="ignore"):
        t, first, second = outer.forward(f), outer.slope(f), outer.bend(f)
    if not (np.isfinite(t).all() and np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    products, mixed = {}, {}
    for i, j in combinations(range(slopes.X.shape[1]), 2):
        product = slopes.first[:, i] * slopes.first[:, j]
        products[i, j] = first**2 * product
        mixed[i, j] = first * slopes.mixed(i, j) + second * product
    return _Target(t, products, mixed)
