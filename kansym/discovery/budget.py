"""How much a search may still do: in seconds, in formulas fitted, or both."""

from __future__ import annotations

import math
import time

from kansym.workers import is_called_off


class Budget:
    """max_time: seconds from now. max_candidates: formulas whose constants are fitted; counted
    alone it makes a search independent of the speed of the machine."""

    def __init__(self, max_time: float | None = None, max_candidates: int | None = None):
        self.started = time.perf_counter()
        self.max_time, self.max_candidates = max_time, max_candidates
        self.n_candidates = 0

    @property
    def seconds(self) -> float:
        """Spent so far."""
        return time.perf_counter() - self.started

    @property
    def seconds_left(self) -> float:
        return math.inf if self.max_time is None else self.max_time - self.seconds

    def be_at(self, seconds: float, n_candidates: int) -> None:
        """As if so much had been spent by now."""
        self.started = time.perf_counter() - seconds
        self.n_candidates = n_candidates

    def extend_to(self, max_time: float | None) -> None:
        """Another number of seconds, counted from the same start."""
        self.max_time = max_time

    @property
    def stopped_by(self) -> str | None:
        """ "time" or "candidates" once one is used up; "interrupted" when nobody waits for it."""
        if is_called_off():
            return "interrupted"
        if self.seconds_left <= 0:
            return "time"
        if self.max_candidates is not None and self.n_candidates >= self.max_candidates:
            return "candidates"
        return None

    @property
    def is_over(self) -> bool:
        return self.stopped_by is not None

    def has_ended(self) -> bool:
        """`is_over`, to hand on."""
        return self.is_over
