"""From a problem to smaller ones, and from their formulas back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sympy import Dummy, Symbol

from kansym.discovery.contest import evaluate
from kansym.discovery.monomial import as_rational, nice_power
from kansym.discovery.outer import IDENTITY
from kansym.discovery.products import fit_product
from kansym.discovery.sheared import Sheared, product_factors
from kansym.discovery.slopes import Slopes
from kansym.discovery.symmetry import Split, Symmetry
from kansym.discovery.weights import rms, spread
from kansym.symbolic.constants import decimal
from kansym.symbolic.formula import Expr
from kansym.symbolic.normal_form import normal_product

ANCHORS = 6
TINY = 1e-8  # of a column's size: rows so close to zero are not divided by


@dataclass(frozen=True)
class Problem:
    """Rows to explain: y as a function of the columns of X.

    noise: standard deviation of y's error where y is itself a fit, otherwise 0 or what is known.
    weight: [n], how much each row counts, or None. depth: reductions so far.
    """

    X: np.ndarray
    y: np.ndarray
    symbols: tuple[Symbol, ...]
    noise: float = 0.0
    weight: np.ndarray | None = None
    depth: int = 0


@dataclass(frozen=True)
class Reduction:
    """A smaller problem, and how a formula for it becomes one for the larger.

    size: what an error of 1 in the smaller one's y is in the larger one's.
    """

    kind: str
    problem: Problem
    lift: Callable[[Expr], Expr]
    size: float = 1.0


def without_columns(problem: Problem, gone: Sequence[int]) -> Reduction:
    """The same rows with fewer columns."""
    kept = [i for i in range(problem.X.shape[1]) if i not in gone]
    smaller = replace(
        problem,
        X=problem.X[:, kept],
        symbols=tuple(problem.symbols[i] for i in kept),
        depth=problem.depth + 1,
    )
    return Reduction("drop", smaller, lambda expr: expr)


@dataclass
class _Column:
    values: np.ndarray
    expr: Expr
    kind: str = "as it is"


def reduce_by(problem: Problem, symmetries: Sequence[Symmetry]) -> Reduction | None:
    """The problem in the variables that remain; symmetries that do not go together with earlier
    ones are passed over. None when none applies, or too few rows are left."""
    columns = {i: _Column(problem.X[:, i], symbol) for i, symbol in enumerate(problem.symbols)}
    factor: Expr = as_rational(nice_power(1.0) or 1)  # pyright: ignore[reportArgumentType]
    divisor = np.ones(len(problem.y))
    used = []
    for symmetry in symmetries:
        pivot = symmetry.pivot
        if any(i not in columns for i in symmetry.columns) or not _joins(columns, symmetry):
            continue
        if symmetry.power:
            power = nice_power(symmetry.power)
            if power is None or columns[pivot].kind != "as it is":
                continue
            factor = factor * columns[pivot].expr ** as_rational(power)
            with np.errstate(all="ignore"):
                divisor = divisor * columns[pivot].values ** float(power)
        _merge(columns, symmetry)
        del columns[pivot]
        used.append(symmetry.kind)
    if not used:
        return None
    return _reduced(problem, "+".join(dict.fromkeys(used)), list(columns.values()), factor, divisor)


def _joins(columns: dict[int, _Column], symmetry: Symmetry) -> bool:
    """Whether the partners can take one more in: relations of slopes outlive a merge only with
    others of the same kind."""
    kinds = {columns[i].kind for i in symmetry.partners} - {"as it is"}
    pivot = columns[symmetry.pivot].kind
    return kinds | ({pivot} - {"as it is"}) <= {symmetry.kind}


def _merge(columns: dict[int, _Column], symmetry: Symmetry) -> None:
    pivot = columns[symmetry.pivot]
    for partner, ratio in zip(symmetry.partners, symmetry.ratios, strict=True):
        old = columns[partner]
        with np.errstate(all="ignore"):
            if symmetry.kind in ("scaling", "triple"):
                power = nice_power(ratio)
                assert power is not None
                values = pivot.values ** float(power) * old.values
                expr = pivot.expr ** as_rational(power) * old.expr
            elif symmetry.kind == "shift":
                values = ratio * pivot.values + old.values
                expr = _factor(ratio) * pivot.expr + old.expr
            else:
                (mine, mine_as), (others, others_as) = _square(pivot), _square(old)
                values, expr = ratio * mine + others, _factor(ratio) * mine_as + others_as
        columns[partner] = _Column(values, expr, symmetry.kind)


def _square(column: _Column) -> tuple[np.ndarray, Expr]:
    """What a rotation adds up: of a column that is such a sum already, the sum."""
    is_sum = column.kind == "rotation"
    return (column.values, column.expr) if is_sum else (column.values**2, column.expr**2)


def _factor(ratio: float) -> Expr:
    return as_rational(nice_power(ratio)) if ratio.is_integer() else decimal(ratio)  # pyright: ignore[reportArgumentType]


def _reduced(
    problem: Problem, kind: str, columns: list[_Column], factor: Expr, divisor: np.ndarray
) -> Reduction | None:
    X = np.stack([c.values for c in columns], 1) if columns else np.zeros((len(problem.y), 0))
    with np.errstate(all="ignore"):
        y = problem.y / divisor
    size = float(np.median(np.abs(divisor)))
    keep = np.isfinite(X).all(1) & np.isfinite(y) & (np.abs(divisor) > TINY * size)
    if keep.sum() < max(4, 0.9 * len(y)):
        return None
    symbols = tuple(
        c.expr if isinstance(c.expr, Symbol) else Dummy("u", real=True) for c in columns
    )
    back = {s: c.expr for s, c in zip(symbols, columns, strict=True) if s != c.expr}
    weight = np.ones(len(y)) if problem.weight is None else problem.weight
    if np.ptp(divisor) > 0:
        weight = weight * divisor**2 / np.mean(divisor[keep] ** 2)
    size = rms(divisor[keep], problem.weight if problem.weight is None else problem.weight[keep])
    noise = problem.noise / size
    smaller = Problem(X[keep], y[keep], symbols, noise, weight[keep], problem.depth + 1)
    return Reduction(kind, smaller, lambda expr: factor * expr.xreplace(back), size)


@dataclass(frozen=True)
class Parts:
    """The blocks of a split as problems of their own.

    problems: what the surface shows of each block, fewest columns first.
    """

    split: Split
    whole: Problem
    problems: tuple[Problem, ...]
    blocks: tuple[tuple[int, ...], ...]

    def remainder(self, exprs: Sequence[Expr], last: int) -> Problem | None:
        """What the rows themselves leave for one block once the others have formulas."""
        whole, symbols = self.whole, self.whole.symbols
        values = [evaluate(expr, symbols, whole.X) for expr in exprs]
        weight = np.ones(len(whole.y)) if whole.weight is None else whole.weight
        split, keep = self.split, np.ones(len(whole.y), dtype=bool)
        with np.errstate(all="ignore"):
            t = split.outer.forward(whole.y) - split.shift
            weight = weight / split.outer.slope(whole.y) ** 2
            if split.is_product:
                known = np.prod(values, 0)
                y, weight = t / known, weight * known**2
                keep = np.abs(known) > 1e-3 * np.median(np.abs(known))
            else:
                y = t - np.sum(values, 0)
        keep &= np.isfinite(y) & np.isfinite(weight)
        if keep.sum() < max(4, 0.5 * len(y)):
            return None
        block = list(self.blocks[last])
        return Problem(
            whole.X[keep][:, block],
            y[keep],
            tuple(symbols[i] for i in block),
            whole.noise * spread(y[keep], weight[keep]) / (spread(whole.y, whole.weight) or 1.0),
            weight[keep],
            whole.depth + 1,
        )

    def join(self, exprs: Sequence[Expr]) -> Expr:
        """The formula of the whole from those of all blocks."""
        split = self.split
        inner = normal_product(list(exprs)) if split.is_product else sum(exprs)
        if split.shift:
            inner = inner + decimal(split.shift)
        return split.outer.undone(inner, self.whole.y)


def split_by(problem: Problem, split: Split, slopes: Slopes) -> Parts | None:
    """Every part read off the surface, along its columns from several anchors."""
    distance = (((slopes.X - slopes.X.mean(0)) / (slopes.X.std(0) + 1e-300)) ** 2).sum(1)
    values = split.outer.forward(slopes.values) - split.shift
    if split.is_product:  # an anchor where the product vanishes shows nothing
        distance = distance + 1e6 * (np.abs(values) < 0.3 * np.abs(values).mean())
    anchors = np.argsort(distance)[:ANCHORS]
    blocks = tuple(sorted(split.blocks, key=len))
    problems = [_part(problem, split, slopes, block, anchors) for block in blocks]
    if any(part is None for part in problems):
        return None
    found = [part for part in problems if part is not None]
    if split.is_product and all(len(block) == 1 for block in blocks):
        found = _sharpened(problem, split, slopes, found)
    return Parts(split, problem, tuple(found), blocks)


def _sharpened(
    problem: Problem, split: Split, slopes: Slopes, parts: list[Problem]
) -> list[Problem]:
    """Factors of one column each, fitted to the rows from where the surface puts them."""
    columns = [problem.symbols.index(part.symbols[0]) for part in parts]
    starts = np.stack([
        np.interp(problem.X[:, i], *_sorted(part.X[:, 0], part.y))
        for i, part in zip(columns, parts, strict=True)
    ], 1)  # fmt: skip
    y = split.outer.forward(problem.y) - split.shift
    scale = float((starts.prod(1) @ y) / (starts.prod(1) ** 2).sum())
    starts[:, -1] *= scale
    fitted = fit_product(problem.X[:, columns], y, starts, problem.weight)
    if fitted is None:
        return parts
    relative = fitted.error / (spread(y, problem.weight) or 1.0)
    return [
        replace(
            part,
            X=problem.X[:, [i]],
            y=factor,
            noise=relative * float(np.std(factor)) or part.noise,
        )
        for i, part, factor in zip(columns, parts, fitted.factors.T, strict=True)
    ]


def _sorted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(x)
    return x[order], y[order]


def _part(
    problem: Problem,
    split: Split,
    slopes: Slopes,
    block: tuple[int, ...],
    anchors: np.ndarray,
) -> Problem | None:
    others = [i for i in range(slopes.X.shape[1]) if i not in block]
    views = []
    for anchor in anchors:
        rows = slopes.X.copy()
        rows[:, others] = slopes.X[anchor, others]
        views.append(slopes.predict(rows))
    seen = np.stack(views, 1)  # [n, anchors]
    if not split.outer.accepts(seen.ravel()):
        return None
    t = split.outer.forward(seen) - split.shift
    if split.is_product:
        left, sizes, _ = np.linalg.svd(t, full_matrices=False)
        part = left[:, 0] * np.sqrt(len(left))
        part = part * (1.0 if part[np.argmax(np.abs(part))] > 0 else -1.0)
        doubt = float(np.sqrt((sizes[1:] ** 2).sum()) / sizes[0]) if len(sizes) > 1 else 0.0
    else:
        t = t - t.mean(0)
        part = t.mean(1)
        doubt = float(np.sqrt(np.mean((t - part[:, None]) ** 2)) / (float(part.std()) or 1.0))
    keep = np.isfinite(part)
    if keep.sum() < 4 or not np.ptp(part[keep]) > 0:
        return None
    noise = float(part[keep].std()) * max(doubt, slopes.error)
    return Problem(
        slopes.X[keep][:, block],
        part[keep],
        tuple(problem.symbols[i] for i in block),
        noise,
        None,
        problem.depth + 1,
    )


def shear_by(problem: Problem, form: Sheared) -> Reduction | None:
    """The same rows over (x1, u); None where u is not finite."""
    alone, other = form.alone, 1 - form.alone
    with np.errstate(all="ignore"):
        u = form.column(problem.X)
    if not np.isfinite(u).all():
        return None
    x, y = problem.symbols[alone], problem.symbols[other]
    if form.is_scaling:
        power = nice_power(form.ratio)
        assert power is not None
        expr = x ** as_rational(power) * y
    else:
        expr = _factor(form.ratio) * x + y
    symbol = Dummy("u", real=True)
    smaller = replace(
        problem,
        X=np.column_stack([problem.X[:, alone], u]),
        symbols=(x, symbol),
        depth=problem.depth + 1,
    )
    return Reduction("shear", smaller, lambda found: found.xreplace({symbol: expr}))


def sheared_parts(child: Problem, form: Sheared, problem: Problem) -> tuple[Parts, float] | None:
    """The two factors over (x1, u), and the RMSE of their product."""
    found = product_factors(form, problem.X, problem.y, problem.weight)
    if found is None:
        return None
    factors, error = found
    relative = error / (spread(problem.y, problem.weight) or 1.0)
    parts = tuple(
        Problem(
            child.X[:, [i]], factors[:, i], (child.symbols[i],),
            relative * float(np.std(factors[:, i])), None, child.depth + 1,
        )
        for i in (0, 1)
    )  # fmt: skip
    return Parts(Split(IDENTITY, True, ((0,), (1,))), child, parts, ((0,), (1,))), error
