"""The finished steps of a search, so that an interrupted one goes on where it was.

A search begins its steps in an order that follows from data and settings alone. A step that was
finished is written down with its number and what it left in its contest; a later run of the same
search takes that over instead of working it out again, the clock and the count of candidates too,
and so comes to the step that was interrupted, and from there to the same end. Steps lie within
steps: once the outer one is finished, the inner ones are forgotten.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sympy import Symbol

from kansym.discovery import checkpoint
from kansym.discovery.budget import Budget
from kansym.discovery.checkpoint import StepRecord
from kansym.discovery.contest import Contest, Entry
from kansym.discovery.reduce import Problem

EVERY = 1.0  # seconds between two writings, at least


class Journal:
    """path: of the file; steps that are there already are taken over. key: of the search, see
    `checkpoint.fingerprint`. Raises ValueError when the file is that of another search, or has been
    tampered with; it is left as it is."""

    def __init__(self, budget: Budget, path: Path, key: str):
        self.budget, self.path, self.key = budget, path, key
        self.done = {step.number: step for step in checkpoint.load(path, key)}
        self.begun = 0  # number of the next step
        self.store()

    def step(
        self, name: str, problem: Problem, contest: Contest, action: Callable[[], None]
    ) -> None:
        """Do what enters formulas into the contest, or take over what it left there.

        Raises ValueError where a formula that was left has columns that the contest lacks.
        """
        number, of = self.begun, _digest(name, problem)
        self.begun += 1
        record = self.done.get(number)
        if record is not None and record.digest == of:
            self._repeat(record, contest)
            self.begun = record.following
            self.budget.be_at(record.seconds, record.n_candidates)
            return
        before = dict(contest.entries)
        action()
        if self.budget.is_over:
            return  # the step may have been cut short; with more of the budget it would go on
        new = {key: e for key, e in contest.entries.items() if before.get(key) is not e}
        entries = _written(new, contest.variables)
        if entries is None:
            return
        for inner in range(number, self.begun):
            self.done.pop(inner, None)
        self.done[number] = StepRecord(
            number, of, self.begun, self.budget.seconds, self.budget.n_candidates, entries
        )
        if time.perf_counter() - self.stored > EVERY:
            self.store()

    def _repeat(self, record: StepRecord, contest: Contest) -> None:
        """Put what a step left into the contest."""
        try:
            entries = checkpoint.entries_of(record, contest.variables)
        except ValueError as error:
            raise checkpoint.unreadable(self.path, error) from error
        contest.entries.update({key: Entry(*entry) for key, entry in entries.items()})

    def store(self) -> None:
        """Write all finished steps."""
        checkpoint.save(self.path, self.key, [self.done[n] for n in sorted(self.done)])
        self.stored = time.perf_counter()


def _digest(name: str, problem: Problem) -> str:
    """Of a step: where the numbers of steps no longer fit, nothing wrong is taken over."""
    digest = hashlib.sha256(f"{name} {problem.noise!r} {problem.depth}".encode())
    for part in (problem.X, problem.y, problem.weight):
        digest.update(b"-" if part is None else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def _written(
    entries: dict[bytes, Entry], symbols: Sequence[Symbol]
) -> tuple[tuple[str, str, float, float, str], ...] | None:
    """The entries as a record has them; None when a formula would not read back the same."""
    rows = []
    for key, entry in entries.items():
        text = checkpoint.to_text(entry.expr, symbols)
        try:
            same = checkpoint.parse(text, symbols)
        except ValueError:  # a function of the user's own, say
            return None
        if same != entry.expr or checkpoint.to_text(same, symbols) != text:
            return None
        rows.append((key.hex(), text, entry.rmse, entry.score, entry.found_by))
    return tuple(rows)
