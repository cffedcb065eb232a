"""What a trained network, or any function, says about its own structure: hypotheses with scores.

Every hypothesis is a relation between exact derivatives (see `separability`) that is tried at a
sample of rows. Its score is the size of what violates it beside the sizes of its parts: 1e-15 for a
formula that has the property, some 1e-3 to 1e-2 for a well trained network, 0.1 to 1 where it does
not hold. It holds below `threshold`; between 0.02 and 0.1 look twice, or train longer.

    sum             f = A(x1) + B(x2, x3)
    product         f = A(x1) B(x2, x3) + c
    sum within      f = F(A(x1) + B(x2, x3))
    group           f = F(h(x1, x2), x3)
    pair            x1 and x2 only as r x1 + x2, x1^r x2 or r x1^2 + x2^2
    even, odd       f(-x1) = +-f(x1)
    homogeneous     f(t x) = t^s f(x)
    unused          x1 moves f by less than a fifth of the threshold of what f varies by

Sources: Liu et al. 2024, arXiv:2408.10205, sec. 4.3; Udrescu and Tegmark 2020, Sci. Adv. 6,
eaay2631.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kansym.arrays import as_matrix
from kansym.errors import NoSampleError, check_positive_int, is_number, shown, visible
from kansym.structure.derivatives import Derivatives, check_smooth, derivatives, in_double
from kansym.structure.groups import Group, Triples, strong_groups, tree
from kansym.structure.separability import (
    COULD_BE,
    TINY,
    components,
    not_a_product,
    not_a_sum,
    not_apart,
    product_shift,
    relation,
    rms,
)

if TYPE_CHECKING:
    import pandas as pd

THRESHOLD = 0.05
UNUSED = 0.2  # of the threshold
MOST_ROWS = 1000
MOST_VARIABLES = 30  # in use; triples of more take minutes
FAR_SHIFT = 20.0  # spreads from the mean: so far away every sum looks like a product
NEAR_RATIO = 0.02  # of a ratio or exponent to the fraction it is taken for
MAX_DENOMINATOR = 4
NEAR_MISS = 4.0  # times the threshold
MIRRORED = 0.2  # of the rows, that must have a mirror image within the data to test parity

SPLITS = ("sum", "product", "sum within")

Pairs = dict[tuple[int, int], float]


@dataclass(frozen=True)
class Hypothesis:
    """kind: as above. variables: the names it is about. statement: as text. score: 0 is perfect.
    holds: whether the score is below the threshold."""

    kind: str
    variables: tuple[str, ...]
    statement: str
    score: float
    holds: bool


@dataclass(frozen=True)
class Hypotheses:
    """What was tried, in the order of the list above. reach: how much each variable moves the
    output, in units of its standard deviation. tree: the groups of the variables in use."""

    tried: tuple[Hypothesis, ...]
    tree: Group
    reach: dict[str, float]
    threshold: float
    n_rows: int

    @property
    def found(self) -> tuple[Hypothesis, ...]:
        """Those that hold."""
        return tuple(h for h in self.tried if h.holds)

    @property
    def table(self) -> pd.DataFrame:
        """Columns kind, statement, score, holds; one row for each that was tried."""
        import pandas as pd

        rows = [(h.kind, h.statement, h.score, h.holds) for h in self.tried]
        return pd.DataFrame(rows, columns=["kind", "statement", "score", "holds"])

    def __str__(self) -> str:
        moved = ", ".join(f"{visible(name)} {value:.2g}" for name, value in self.reach.items())
        lines = [
            f"{self.n_rows} rows; a statement holds where its score, what violates it beside the "
            f"whole, is below {self.threshold:g}",
            f"slope times spread, in spreads of the output: {moved}",
        ]
        # Of what does not hold, the splits and what comes near: the rest is in the table.
        near = [
            h
            for h in self.tried
            if not h.holds and (h.kind in SPLITS or h.score < NEAR_MISS * self.threshold)
        ]
        for title, rows in (("holds:", self.found), ("does not hold:", near)):
            if rows:
                lines += [title, *(f"  {h.score:8.1e}  {visible(h.statement)}" for h in rows)]
        return "\n".join([*lines, "groups:", *(f"  {t}" for t in str(self.tree).split("\n"))])


def hypotheses(
    function: Any,
    X: Any = None,
    *,
    output: int = 0,
    names: Sequence[str] | None = None,
    target: str = "f",
    threshold: float = THRESHOLD,
) -> Hypotheses:
    """Hypotheses about one output of a network, or of any function from a tensor [n, m] to [n] or
    [n, outputs] that torch can differentiate three times.

    X: rows to try them at, spread over the region of interest; 1,000 at most are used. By default
    those of a model's last fit. names: of the columns. target: of the output, for the statements.

    Raises ValueError for bad arguments, more than 30 variables in use, and splines of degree 1;
    NoSampleError without rows.
    """
    if not callable(function):
        raise ValueError(f"function must be a model or a function of a tensor, got {function!r}")
    if not is_number(threshold) or not 0 < threshold < 1:
        raise ValueError(f"threshold must be a number in (0, 1), got {shown(threshold)}")
    check_smooth(function)
    rows = _rows(function, X)
    shown_names = _names(names, function, rows.shape[1])
    smooth = in_double(function)
    where = check_positive_int("output", output, 0)
    every = derivatives(smooth, rows, where)
    spread = float(np.std(every.values))
    if not spread > 0:
        raise ValueError("function must vary over X, got a constant")
    reach = np.sqrt(np.mean(every.first**2, 0)) * every.X.std(0) / spread
    used = np.flatnonzero(reach >= UNUSED * threshold).tolist()
    if not 1 <= len(used) <= MOST_VARIABLES:
        raise ValueError(
            f"function must use 1 to {MOST_VARIABLES} variables, got {len(used)}; prune the inputs"
        )
    held = rows.detach().double()

    def of_used(x: Tensor) -> Any:
        return smooth(held.mean(0).expand(len(x), -1).index_copy(1, torch.tensor(used), x))

    trial = _Trial(
        of_used,
        derivatives(of_used, held[:, used], where, third=len(used) > 1),
        where,
        tuple(shown_names[i] for i in used),
        visible(target),
        float(threshold),
    )
    unused = [
        trial.hypothesis("unused", (), f"{trial.target} does not need {name}", size, (name,))
        for i, (name, size) in enumerate(zip(shown_names, reach.tolist(), strict=True))
        if i not in used
    ]
    tried, groups = trial.run()
    moved = dict(zip(shown_names, reach.tolist(), strict=True))
    return Hypotheses((*tried, *unused), groups, moved, float(threshold), len(trial.at.X))


def _rows(function: Any, X: Any) -> Tensor:
    """At most 1,000 of the rows, evenly spaced."""
    if X is None:
        sample = getattr(function, "sample", None)
        if sample is None:
            raise NoSampleError("hypotheses need rows to be tried at; pass X, or fit the model")
        X = sample.X
    table = as_matrix(X)
    step = -(-len(table) // MOST_ROWS)
    return table[::step]


def _names(names: Sequence[str] | None, function: Any, count: int) -> list[str]:
    given = getattr(function, "feature_names", None) if names is None else names
    if given is None:
        return [f"x{i + 1}" for i in range(count)]
    if isinstance(given, str) or len(given) != count:
        raise ValueError(f"names must be {count} texts, one per column, got {shown(given)}")
    return [str(name) for name in given]


@dataclass(frozen=True)
class _Split:
    """Blocks of variables and the largest misfit between them."""

    blocks: tuple[tuple[int, ...], ...]
    score: float


@dataclass(frozen=True)
class _Form:
    """What a pair of variables enters through. kind: "shift", "scaling" or "rotation"."""

    kind: str
    text: str
    score: float


@dataclass(frozen=True)
class _Trial:
    """The variables in use, by number, and the derivatives by them."""

    function: Callable[[Tensor], Any]
    at: Derivatives
    output: int
    names: tuple[str, ...]
    target: str
    threshold: float

    @property
    def count(self) -> int:
        return len(self.names)

    def hypothesis(
        self, kind: str, variables: Sequence[int], statement: str, score: float,
        names: tuple[str, ...] = (),
    ) -> Hypothesis:  # fmt: skip
        named = names or tuple(self.names[i] for i in variables)
        limit = self.threshold * (UNUSED if kind == "unused" else 1.0)
        return Hypothesis(kind, named, statement, float(score), bool(score < limit))

    def run(self) -> tuple[list[Hypothesis], Group]:
        tried: list[Hypothesis] = []
        whole = range(self.count)
        splits: dict[str, _Split] = {}
        triples, forms = self._triples(), self._forms()
        if self.count > 1:
            splits["sum"] = self._sum()
            splits["product"], shift = self._product()
            splits["sum within"] = self._sum_within(triples)
            for kind, split in splits.items():
                if kind == "sum within" and any(h.holds for h in tried):
                    continue  # a sum and a product are such
                text = self._split_text(kind, split, shift)
                tried.append(self.hypothesis(kind, whole, text, split.score))
        strong = strong_groups(self.count, triples, self.threshold) if self.count > 1 else []
        held = {kind: s.blocks for kind, s in splits.items() if s.score < self.threshold}
        for group in strong[1:]:
            is_pair = len(group) == 2 and forms[min(group), max(group)].score < self.threshold
            if not is_pair and not any(_is_union(group, blocks) for blocks in held.values()):
                tried.append(self._group(group, triples))
        for pair, form in forms.items():
            text = f"{self._listed(pair, ' and ')} only as {form.text}"
            tried.append(self.hypothesis("pair", pair, text, form.score))
        tried += self._parities()
        tried.append(self._homogeneous())

        def form_of(group: frozenset[int], parts: list[frozenset[int]]) -> str:
            return self._group_form(group, parts, held, forms, triples)

        return tried, tree(self.names, strong, form_of)

    # -- splits -----------------------------------------------------------------------------------

    def _pairs(self, misfit: Callable[[int, int], float]) -> Pairs:
        return {(i, j): misfit(i, j) for i, j in combinations(range(self.count), 2)}

    def _sum(self) -> _Split:
        first, second = self.at.first, self.at.second
        spread = float(np.std(self.at.values))
        return self._split(
            self._pairs(lambda i, j: not_a_sum(second[:, i, j], first[:, i] * first[:, j], spread))
        )

    def _product(self) -> tuple[_Split, float]:
        """The best split of f - c, and c: 0 where that will do."""
        f, first, second = self.at.values, self.at.first, self.at.second
        spread, mean = float(np.std(f)), float(np.mean(f))

        def split(c: float) -> _Split:
            return self._split(
                self._pairs(
                    lambda i, j: not_a_product(f - c, second[:, i, j], first[:, i] * first[:, j])
                )
            )

        plain = split(0.0)
        if plain.score < self.threshold:
            return plain, 0.0
        shifts = [
            product_shift(f, second[:, i, j], first[:, i] * first[:, j])
            for i, j in combinations(range(self.count), 2)
        ]
        near = [c for c in shifts if c is not None and abs(c - mean) < FAR_SHIFT * spread]
        shifted = [(s, c) for c in near if (s := split(c)).score < self.threshold]
        return min(shifted, key=lambda found: found[0].score) if shifted else (plain, 0.0)

    def _sum_within(self, triples: Triples) -> _Split:
        """f = F(A + B + ...): between blocks f_i / f_j falls into a function of one and one of the
        other, so that f_j^2 (f_i f_iij - f_ii f_ij) = f_i^2 (f_j f_ijj - f_ij f_jj), and it
        depends on no third block."""
        f, s, t = self.at.first, self.at.second, self.at.third
        assert t is not None
        spread = float(np.std(self.at.values))

        def misfit(i: int, j: int) -> float:
            left = (f[:, j] ** 2 * f[:, i] * t[:, i, j, i], f[:, j] ** 2 * s[:, i, i] * s[:, i, j])
            right = (f[:, i] ** 2 * f[:, j] * t[:, i, j, j], f[:, i] ** 2 * s[:, i, j] * s[:, j, j])
            likely = COULD_BE * rms(f[:, i] ** 3 * f[:, j] ** 3) / spread**2
            size = sum(map(rms, (*left, *right))) + likely
            return rms(left[0] - left[1] - right[0] + right[1]) / (size + TINY)

        pairs = self._pairs(misfit)
        split = self._split(pairs)
        while len(split.blocks) > 1 and split.score < self.threshold:
            broken = [
                (block, score)
                for block, score in _third_blocks(split.blocks, triples)
                if score >= self.threshold
            ]
            if not broken:
                rest = [score for _, score in _third_blocks(split.blocks, triples)]
                return _Split(split.blocks, max([split.score, *rest]))
            together = broken[0][0]
            split = _joined(split, together, pairs)
        if len(split.blocks) < 2:
            return _Split(tuple((i,) for i in range(self.count)), 1.0)
        return split

    def _split(self, pairs: Pairs) -> _Split:
        """Blocks between which all misfits are below the threshold; where all hangs together, the
        two that hang together least."""
        blocks = components(
            self.count, [p for p, misfit in pairs.items() if misfit >= self.threshold]
        )
        if len(blocks) == 1:
            ranked = sorted(pairs, key=lambda pair: -pairs[pair])
            joined = next(
                n for n in range(len(ranked) + 1) if len(components(self.count, ranked[:n])) == 1
            )
            blocks = components(self.count, ranked[: joined - 1])
        return _Split(blocks, _between(blocks, pairs))

    def _split_text(self, kind: str, split: _Split, shift: float) -> str:
        parts = [f"{chr(ord('A') + n % 26)}({self._listed(b)})" for n, b in enumerate(split.blocks)]
        if kind == "product":
            tail = f" {'+' if shift > 0 else '-'} {abs(shift):.4g}" if shift else ""
            return f"{self.target} = {' * '.join(parts)}{tail}"
        total = " + ".join(parts)
        return f"{self.target} = F({total})" if kind == "sum within" else f"{self.target} = {total}"

    # -- groups -----------------------------------------------------------------------------------

    def _triples(self) -> Triples:
        first, second = self.at.first, self.at.second
        spread = float(np.std(self.at.values))
        return {
            (i, j, k): not_apart(
                (first[:, i], first[:, j], first[:, k]), (second[:, i, k], second[:, j, k]), spread
            )
            for i, j in combinations(range(self.count), 2)
            for k in range(self.count)
            if k not in (i, j)
        }

    def _group(self, group: frozenset[int], triples: Triples) -> Hypothesis:
        others = [k for k in range(self.count) if k not in group]
        score = max(triples[i, j, k] for i, j in combinations(sorted(group), 2) for k in others)
        text = f"{self.target} = F(h({self._listed(sorted(group))}), {self._listed(others)})"
        return self.hypothesis("group", sorted(group), text, score)

    def _group_form(
        self,
        group: frozenset[int],
        parts: list[frozenset[int]],
        held: dict[str, tuple[tuple[int, ...], ...]],
        forms: dict[tuple[int, int], _Form],
        triples: Triples,
    ) -> str:
        if len(group) == 2 and (form := forms[min(group), max(group)]).score < self.threshold:
            return form.text
        if len(group) == self.count:
            for kind, sign in (("sum", "+"), ("product", "*"), ("sum within", "F(+)")):
                if kind in held and {*map(frozenset, held[kind])} == {*parts}:
                    return sign
        if len(parts) == len(group):
            kinds = {forms[pair] for pair in combinations(sorted(group), 2)}
            if all(f.score < self.threshold and f.kind == "shift" for f in kinds):
                return "+"
            if all(f.score < self.threshold and f.kind == "scaling" for f in kinds):
                return "*"
        # Two of many parts that are a group, too, may be added first, and so may any others.
        outside = group - parts[0] - parts[1]
        is_associative = len(parts) > 2 and all(
            triples[i, j, k] < self.threshold
            for i, j in combinations(sorted(parts[0] | parts[1]), 2)
            for k in outside
        )
        return "F(+)" if is_associative else "h"

    # -- pairs and single variables ---------------------------------------------------------------

    def _forms(self) -> dict[tuple[int, int], _Form]:
        """For every pair the combination that it comes nearest to entering through."""
        return {
            (i, j): min(self._forms_of(i, j), key=lambda form: form.score)
            for i, j in combinations(range(self.count), 2)
        }

    def _forms_of(self, i: int, j: int) -> Iterator[_Form]:
        X, f = self.at.X, self.at.first
        slopes = {
            "shift": (f[:, i], f[:, j]),
            "scaling": (X[:, i] * f[:, i], X[:, j] * f[:, j]),
            "rotation": (f[:, i] * X[:, j], f[:, j] * X[:, i]),
        }
        for kind, (left, right) in slopes.items():
            for (one, two), (a, b) in zip(
                permutations((left, right)), ((i, j), (j, i)), strict=True
            ):
                (r,), _ = relation(one, [two])
                r = _neat(float(r))
                if abs(r) < 1:
                    continue  # the other way round
                if abs(r) == 1:
                    a, b = i, j  # either way round: in the order of the columns
                is_whole = float(r).is_integer()
                if kind == "scaling" and not is_whole and not (X[:, [a, b]] > 0).all():
                    continue  # no real power
                score = rms(one - r * two) / (rms(one) + TINY)
                yield _Form(kind, _pair_text(kind, self.names[a], self.names[b], r), score)
        yield _Form("none", "a sum, product or radius", 1.0)

    def _parities(self) -> Iterator[Hypothesis]:
        X = self.at.X
        for i, name in enumerate(self.names):
            low, high = X[:, i].min(), X[:, i].max()
            inside = (-X[:, i] >= low) & (-X[:, i] <= high) & (X[:, i] != 0)
            if inside.mean() < MIRRORED:
                continue
            mirrored = torch.from_numpy(X[inside].copy())
            mirrored[:, i] *= -1
            try:
                image = derivatives(self.function, mirrored, self.output)
            except ValueError:  # hardly a mirrored row is in the domain
                continue
            if len(image.X) < inside.sum():
                continue
            f, g = self.at.values[inside], image.values
            df, dg = self.at.first[inside, i], image.first[:, i]
            sizes = {"even": (df + dg, df, dg), "odd": (f + g, f, g)}
            text = {
                "even": f"{self.target} is even in {name}",
                "odd": f"{self.target} is odd in {name}",
            }
            for kind, (rest, one, two) in sizes.items():
                score = rms(rest) / (rms(one) + rms(two) + TINY)
                yield self.hypothesis(kind, (i,), text[kind], score)

    def _homogeneous(self) -> Hypothesis:
        """Euler's relation: sum of x_i f_i = s f."""
        scaled = self.at.X * self.at.first
        (s,), _ = relation(scaled.sum(1), [self.at.values])
        degree = _neat(float(s))
        total, wanted = scaled.sum(1), degree * self.at.values
        # Of degree 0 both sides are 0: what counts is that the terms cancel.
        size = rms(total) + rms(wanted) if degree else sum(rms(column) for column in scaled.T)
        score = rms(total - wanted) / (size + TINY)
        listed = self._listed(range(self.count))
        text = f"{self.target} is homogeneous of degree {_text(degree)} in {listed}"
        return self.hypothesis("homogeneous", range(self.count), text, score)

    def _listed(self, variables: Sequence[int], between: str = ", ") -> str:
        return between.join(self.names[i] for i in variables)


def _between(blocks: Sequence[Sequence[int]], pairs: Pairs) -> float:
    """The largest misfit between variables of different blocks."""
    block_of = {i: n for n, block in enumerate(blocks) for i in block}
    return max((m for (i, j), m in pairs.items() if block_of[i] != block_of[j]), default=1.0)


def _third_blocks(
    blocks: Sequence[tuple[int, ...]], triples: Triples
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Misfits of directions (f_i, f_j) that depend on a variable k in a block of neither, with the
    variables."""
    block_of = {i: n for n, block in enumerate(blocks) for i in block}
    for (i, j, k), score in triples.items():
        if block_of[k] not in (block_of[i], block_of[j]):
            yield (i, j, k), score


def _joined(split: _Split, together: tuple[int, ...], pairs: Pairs) -> _Split:
    """The split with the blocks of these variables as one."""
    touched = [block for block in split.blocks if set(block) & set(together)]
    rest = [block for block in split.blocks if block not in touched]
    blocks = sorted([tuple(sorted(i for block in touched for i in block)), *rest])
    return _Split(tuple(blocks), _between(blocks, pairs))


def _is_union(group: frozenset[int], blocks: Sequence[tuple[int, ...]]) -> bool:
    return all(set(block) <= group or not set(block) & group for block in blocks)


def _neat(r: float) -> float:
    """A ratio or exponent as the fraction it is near to, if it is."""
    nearest = Fraction(r).limit_denominator(MAX_DENOMINATOR)
    return float(nearest) if abs(r - nearest) <= NEAR_RATIO * max(1.0, abs(r)) else r


def _text(r: float) -> str:
    nearest = Fraction(r).limit_denominator(MAX_DENOMINATOR)
    return str(nearest) if float(nearest) == r else f"{r:.3g}"


def _pair_text(kind: str, a: str, b: str, r: float) -> str:
    """What F takes: r a + b, a^r b, r a^2 + b^2, written as people would."""
    size = abs(r)
    if kind == "scaling":
        power = "" if size == 1 else f"^{_text(size)}" if size.is_integer() else f"^({_text(size)})"
        if r > 0:
            return f"{a}{power} * {b}"
        return f"{a} / {b}" if size == 1 else f"{b} / {a}{power}"
    square = "^2" if kind == "rotation" else ""
    factor = "" if size == 1 else f"{_text(size)} "
    if r == -1:
        return f"{a}{square} - {b}{square}"
    if r == 1:
        return f"{a}{square} + {b}{square}"
    return f"{b}{square} {'+' if r > 0 else '-'} {factor}{a}{square}"
