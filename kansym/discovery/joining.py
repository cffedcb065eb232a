"""The formula of a whole from names for its parts."""

from __future__ import annotations

from collections.abc import Sequence

from kansym.discovery.contest import Contest, Entry
from kansym.discovery.reduce import Parts, Problem
from kansym.discovery.symmetry import Split
from kansym.discovery.workshop import Workshop, combinations_of
from kansym.symbolic.formula import Expr

REMAINDERS = 2  # combinations of names for all parts but one, whose remainder is solved


def join(shop: Workshop, parts: Parts, contest: Contest) -> None:
    """Names for all parts as the model shows them; then for each in turn, the largest first,
    for what the others' names leave of the rows: with those right, it is known exactly."""
    sizes = [p.X.shape[1] for p in parts.problems]
    shop.report(f"{parts.split.kind} of {sizes} variables")
    named: list[list[Entry]] = []
    for part in parts.problems[:-1] if sizes[-1] > 1 else parts.problems:
        named.append(shop.solve(part)[:3])
        if not named[-1]:
            return
    if sizes[-1] == 1:
        for entries in combinations_of(named):
            contest.enter(parts.join([e.expr for e in entries]), parts.split.kind, late=True)
            if shop.is_done(contest):
                return
    known = [
        [_known(shop, parts.split, part, entry) for entry in entries]
        for part, entries in zip(parts.problems, named, strict=False)
    ]
    for last in reversed(range(len(sizes))):
        if sizes[last] == max(sizes):
            _name_remainder(shop, parts, known, last, contest)
        if shop.is_done(contest):
            return


def _name_remainder(
    shop: Workshop, parts: Parts, known: Sequence[Sequence[Expr]], last: int, contest: Contest
) -> None:
    others = [exprs for n, exprs in enumerate(known) if n != last]
    for exprs in combinations_of(others)[:REMAINDERS]:
        rest = parts.remainder(exprs, last)
        if rest is None:
            continue
        for entry in shop.solve(rest)[:3]:
            contest.enter(parts.join([*exprs, entry.expr]), parts.split.kind, late=True)
            if shop.is_done(contest):
                return


def _known(shop: Workshop, split: Split, part: Problem, entry: Entry) -> Expr:
    """A part's name, snapped; of a sum, without its constant: it belongs to the whole."""
    expr = shop.snapped(part, entry)
    return expr if split.is_product else expr.as_coeff_Add()[1]
