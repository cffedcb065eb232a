"""Errors and warnings of kansym, and the helpers that phrase them.

A bad argument is a `ValueError`; a call at the wrong moment, or on something that cannot answer,
has a class of its own. Every message names the argument, the rule, what came and the way out.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Sequence

MAX_GRID = 2000  # intervals; Liu et al. 2024 go to 1,000
MAX_SEED = 2**63 - 1


class KansymError(Exception):
    """Base of the errors that are not simply a bad argument."""


class NoSampleError(KansymError):
    """Something needs data and the model has seen none."""


class NotSymbolicError(KansymError):
    """A formula was asked for while some active edge is still a spline."""


class EmptyNetworkError(KansymError):
    """Pruning left no path from an input to an output."""


class CheckpointError(KansymError):
    """A file is not a kansym checkpoint, or is damaged."""


class FolderInUseError(KansymError):
    """Another process, or another run of this one, works in a folder."""


class WorkerError(KansymError):
    """A process that works for this one was lost, or has another version of kansym."""


class UnitError(ValueError):
    """A formula adds, compares or feeds to a function what its units forbid; `part` is where."""

    def __init__(self, message: str, part: object = None) -> None:
        super().__init__(message)
        self.part = part


class NotANumberError(ValueError, TypeError):
    """An entry of a table is no number: a bad value here, a wrong type to scikit-learn."""


class ExportError(ValueError):
    """A formula or network has a part that the language or format asked for cannot say."""


class NonFiniteWarning(RuntimeWarning):
    """Training steps produced NaN or inf and were taken back."""


class ExtrapolationWarning(UserWarning):
    """Inputs lie outside the range of the data that the model was fitted to."""


class OutsideGridWarning(RuntimeWarning):
    """Much of a training batch lies outside the fixed grid of a layer."""


class NonFiniteInputError(KansymError):
    """A layer was given NaN or inf while anomaly detection is on."""


class NotWholeError(KansymError):
    """The weights of a layer are wanted where this process holds only a part of them."""


class PoorFitWarning(UserWarning):
    """An edge was given a name that describes it badly."""


def visible(text: object) -> str:
    """Text from outside for a message or a terminal, on one line: what does not print, control
    characters and marks that turn the reading direction among it, as an escape such as \\x1b."""
    return "".join(
        ch if ch.isprintable() else ch.encode("unicode_escape").decode("ascii") for ch in str(text)
    )


def visible_lines(text: object) -> str:
    """The same for text of several lines."""
    return "\n".join(map(visible, str(text).split("\n")))


def shown(value: object) -> str:
    """`value` as messages quote it: what came from outside may be a megabyte long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        return f"a number of type {type(value).__name__} with too many digits to print"
    return text if len(text) <= 100 else f"{text[:100]}..."


def check_choice(argument: str, value: object, choices: Iterable[str]) -> str:
    """`value` if it is one of `choices`, else a ValueError with the nearest one."""
    known = list(choices)
    if isinstance(value, str) and value in known:
        return value
    raise ValueError(f"unknown {argument} {shown(value)};{suggestion(value, known)}")


def suggestion(value: object, known: Sequence[str]) -> str:
    """ " did you mean 'sin'? Known: ..." for the end of a message about an unknown name."""
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(str(value)[:100].casefold(), folded, n=1, cutoff=0.5)
    hint = f" did you mean {folded[near[0]]!r}?" if near else ""
    return f"{hint} Known: {', '.join(map(visible, known))}"


def check_positive_int(argument: str, value: object, minimum: int = 1) -> int:
    """`value` as an int >= `minimum`, else a ValueError."""
    number = as_int(value)
    if number is None or number < minimum:
        raise ValueError(f"{argument} must be an integer >= {minimum}, got {value!r}")
    return number


def as_int(value: object) -> int | None:
    """`value` as an int where it is an integer and no bool, else None."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:  # a tensor of several numbers, too, has __index__
        return None


def check_index(argument: str, value: object, count: int) -> int:
    """`value` as an int in 0..count - 1, else a ValueError."""
    number = as_int(value)
    if number is None or not 0 <= number < count:
        raise ValueError(f"{argument} must be an integer in 0..{count - 1}, got {value!r}")
    return number


def check_grid(argument: str, value: object) -> int:
    """`value` as a number of grid intervals: what is larger asks for memory nobody has."""
    number = check_positive_int(argument, value)
    if number > MAX_GRID:
        raise ValueError(f"{argument} must be an integer in 1..{MAX_GRID}, got {number}")
    return number


def check_seed(argument: str, value: object) -> int:
    """`value` as a seed of torch's generators."""
    number = check_positive_int(argument, value, 0)
    if number > MAX_SEED:
        raise ValueError(f"{argument} must be an integer in 0..2**63 - 1, got {number}")
    return number


def check_above_0(argument: str, value: object) -> float:
    """`value` as a finite number > 0, else a ValueError."""
    if not is_number(value) or not float(value) > 0:  # pyright: ignore[reportArgumentType]
        raise ValueError(f"{argument} must be a finite number > 0, got {value!r}")
    return float(value)  # pyright: ignore[reportArgumentType]


def check_bool(argument: str, value: object) -> bool:
    """`value` if it is True or False, else a ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"{argument} must be True or False, got {value!r}")
    return value


def check_different(argument: str, names: Iterable[str]) -> None:
    """ValueError for a name that is there twice: nobody could say which one is meant."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(
                f"{argument} must be different from one another, got {shown(name)} twice; "
                "rename one"
            )
        seen.add(name)


def check_callable(argument: str, value: object, call: str) -> None:
    """ValueError unless `value` can be called; call: how, for the message."""
    if not callable(value):
        raise ValueError(f"{argument} must be a function {call}, got {value!r}")


def is_number(value: object) -> bool:
    """Whether `value` is a finite real number (and not a bool)."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return False
    try:
        return math.isfinite(float(value))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):  # an int above 1e308, say
        return False
