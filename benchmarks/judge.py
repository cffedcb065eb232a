"""Is a formula the law, or does it only come close?

A narrow range forgives much: programs reach R2 = 0.999999 with wrong formulas. Three criteria, of
which the first two count where the data held no noise and the third where they did:

symbolic   constants rounded to four significant digits, SymPy turns the difference into 0.
numeric    as it stands, the formula is within 1e-4 of the law inside the ranges and within 1e-3 on
           a box 1.5 times as wide (root mean square, relative to the law's spread there); and with
           its decimal constants refitted to the law it is equal to 1e-8 inside, on that box and on
           one ten times as wide. Only the right structure gets that far; a Taylor polynomial does
           not.
structure  with its decimal constants refitted to the law it is equal to 1e-6 inside and outside,
           and no constant moved by more than 20 %: noise allows no exact constants.

Points outside are those where the law is real and finite; on the box 1.5 times as wide the formula
must be so too, further out it is compared where it is (sqrt(x) sqrt(y) may stand for sqrt(x y)).
Decimal constants are floats, and fractions too long to have been meant; an exact constant is not
refitted. A constant counts as moved if giving it back its old value would be seen (1e-4 of the
spread).
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import formulas
import numpy as np
import sympy
from formulas import Expr
from problems import Equation, Sample, draw, draw_outside, generator
from scipy.optimize import least_squares
from sympy import Float, Integer, Rational, Symbol

POINTS = 500
WIDER = (1.5, 10.0)  # boxes, each so many times as wide as the ranges
FEWEST = 50  # points a box needs to say anything
INSIDE, OUTSIDE = 1e-4, 1e-3  # relative errors as the formula stands
REFITTED, REFITTED_NOISY = 1e-8, 1e-6  # and with refitted constants
FURTHEST = 0.2  # a constant may move
SEEN = 1e-4  # what a change of a constant must do to count
DIGITS = 4
WALL = 1e3  # residual, of the law's spread, where a formula is not real or far off
LONGEST_FRACTION = 100  # numerator and denominator of a fraction that was meant
SYMBOLIC_SECONDS, REFIT_SECONDS = 10.0, 20.0
WORTH_A_TRY = {"symbolic": 1e-2, "structure": 0.5}  # relative error inside
CRITERIA = {
    False: "symbolic (4 digits) or numeric (1e-4 inside, 1e-3 outside; refitted 1e-8)",
    True: "structure (constants refitted: 1e-6 inside and outside, none moved by more than 20 %)",
}


@dataclass(frozen=True)
class Judgement:
    """criterion: the one met, "" if none. inside, outside: relative errors as the formula stands.
    refitted: the largest relative error on any box with refitted constants; moved: how far one of
    them moved, relative; NaN where it was not tried. why: what spoke against it."""

    recovered: bool
    criterion: str
    complexity: int | None
    inside: float = np.nan
    outside: float = np.nan
    refitted: float = np.nan
    moved: float = np.nan
    why: str = ""


def judge(text: str, equation: Equation, noisy: bool = False, seed: int = 0) -> Judgement:
    """Whether the formula `text` is the equation's. noisy: whether its data were."""
    try:
        found = formulas.read(text, equation.names)
    except formulas.UnreadableError as error:
        return Judgement(False, "", None, why=f"unreadable: {error}")
    boxes = _boxes(equation, seed)
    size = formulas.complexity(found)
    try:
        return (_judge_noisy if noisy else _judge_exact)(found, size, equation, boxes)
    except (TimeoutError, RecursionError, MemoryError, ArithmeticError) as error:
        return Judgement(False, "", size, why=f"judging failed: {type(error).__name__}")


def _judge_exact(found: Expr, size: int, equation: Equation, boxes: Sequence[Sample]) -> Judgement:
    symbols = formulas.variables(equation.names)
    inside, outside = _errors(formulas.function(found, symbols), boxes)[:2]
    refitted = moved = np.nan
    criterion, why = "", f"relative error {inside:.1e} inside"
    if inside <= INSIDE and not outside <= OUTSIDE:
        why = f"relative error {outside:.1e} outside"
    elif inside <= INSIDE:
        refitted, moved = _refit(found, symbols, boxes)
        criterion = "numeric" if refitted <= REFITTED else ""
        why = f"relative error {refitted:.1e} with refitted constants"
    if inside <= WORTH_A_TRY["symbolic"] and is_same(found, equation):
        criterion = "symbolic"
    why = "" if criterion else why
    return Judgement(bool(criterion), criterion, size, inside, outside, refitted, moved, why)


def _judge_noisy(found: Expr, size: int, equation: Equation, boxes: Sequence[Sample]) -> Judgement:
    symbols = formulas.variables(equation.names)
    inside, outside = _errors(formulas.function(found, symbols), boxes)[:2]
    if not inside <= WORTH_A_TRY["structure"]:
        why = f"relative error {inside:.1e} inside"
        return Judgement(False, "", size, inside, outside, why=why)
    refitted, moved = _refit(found, symbols, boxes)
    good, why = False, f"relative error {refitted:.1e} with refitted constants"
    if refitted <= REFITTED_NOISY:
        good, why = moved <= FURTHEST, f"a constant moved by {moved:.0%}"
    criterion = "structure" if good else ""
    why = "" if good else why
    return Judgement(good, criterion, size, inside, outside, refitted, moved, why)


# -- numbers --------------------------------------------------------------------------------------


def _boxes(equation: Equation, seed: int) -> list[Sample]:
    """Points inside, on the box 1.5 times and on the box 10 times as wide; empty where the law has
    hardly a value out there."""
    rng = generator(equation, seed, "judge")
    inside = draw(equation, POINTS, rng)
    outer = [draw_outside(equation, POINTS, rng, factor, inside) for factor in WIDER]
    return [
        inside,
        *(box if len(box.y) >= FEWEST else Sample(box.X[:0], box.y[:0]) for box in outer),
    ]


def _errors(function: Callable[..., np.ndarray], boxes: Sequence[Sample]) -> list[float]:
    """Relative root mean square error on each box; infinite where the formula is not real, but on
    the widest, if enough points are left."""
    values = [np.broadcast_to(function(*box.X.T), box.y.shape) for box in boxes]
    errors = [relative_error(found, box.y) for found, box in zip(values, boxes, strict=True)]
    real = np.isfinite(values[-1])
    if real.sum() >= FEWEST:
        errors[-1] = relative_error(values[-1][real], boxes[-1].y[real])
    return errors


def relative_error(found: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square of the difference over that of the truth about its mean; 0 for no points."""
    if not len(truth):
        return 0.0
    with np.errstate(all="ignore"):
        error = np.sqrt(np.mean((found - truth) ** 2)) / (truth.std() or 1.0)
    return float(error) if np.isfinite(error) else np.inf


def _refit(found: Expr, symbols: Sequence[Symbol], boxes: Sequence[Sample]) -> tuple[float, float]:
    """(largest relative error on any box, furthest relative move of a constant that matters)."""
    loose, constants, start = loosen(found)
    function = formulas.function(loose, [*symbols, *constants])

    def errors(values: np.ndarray) -> list[float]:
        return _errors(lambda *columns: function(*columns, *values), boxes)

    if not len(start):
        return max(errors(start)), 0.0
    try:
        with time_limit(REFIT_SECONDS):
            end = _least_squares(function, start, boxes)
    except TimeoutError:
        return np.inf, np.nan
    return max(errors(end)), _furthest(function, start, end, boxes)


def _least_squares(
    function: Callable[..., np.ndarray], start: np.ndarray, boxes: Sequence[Sample]
) -> np.ndarray:
    """The constants that bring the formula closest to the law, on all boxes together."""

    def residuals(values: np.ndarray) -> np.ndarray:
        parts = [
            (np.broadcast_to(function(*box.X.T, *values), box.y.shape) - box.y) / box.y.std()
            for box in boxes
            if len(box.y) and box.y.std()
        ]
        # least_squares takes finite numbers only; a wall keeps it where the formula is real.
        finite = np.nan_to_num(np.concatenate(parts), nan=WALL, posinf=WALL, neginf=-WALL)
        return np.clip(finite, -WALL, WALL)

    tiny = 1e-15
    scale = np.maximum(np.abs(start), 1e-3)
    with np.errstate(all="ignore"):
        fit = least_squares(
            residuals, start, x_scale=scale, ftol=tiny, xtol=tiny, gtol=tiny, max_nfev=200
        )
    return fit.x


def _furthest(
    function: Callable[..., np.ndarray],
    start: np.ndarray,
    end: np.ndarray,
    boxes: Sequence[Sample],
) -> float:
    """Largest relative move of a constant whose move is seen inside the ranges."""
    X, y = boxes[0]
    best = np.broadcast_to(function(*X.T, *end), y.shape)

    def is_seen(i: int) -> bool:
        values = end.copy()
        values[i] = start[i]
        change = np.broadcast_to(function(*X.T, *values), y.shape) - best
        return not np.sqrt(np.mean(change**2)) <= SEEN * (y.std() or 1.0)

    moves = np.abs(end - start) / np.maximum(np.abs(start), 1e-300)
    return max((float(move) for i, move in enumerate(moves) if is_seen(i)), default=0.0)


def loosen(expression: Expr) -> tuple[Expr, list[Symbol], np.ndarray]:
    """The expression with a symbol for every decimal constant, the symbols, and their values. An
    exponent that is a whole or half number up to rounding becomes exact: x^2.0000001 has no value
    below 0."""
    constants: list[Symbol] = []
    values: list[float] = []

    def visit(node: Expr) -> Expr:
        if is_decimal(node):
            constants.append(sympy.Dummy(f"c{len(constants)}", real=True))
            values.append(float(node))
            return constants[-1]
        if node.is_Pow:
            return visit(node.base) ** visit(_exact_exponent(node.exp))
        return node.func(*map(visit, node.args)) if node.args else node

    return visit(expression), constants, np.array(values)


def is_decimal(node: Expr) -> bool:
    """A float, or a fraction too long to have been meant."""
    if isinstance(node, Rational) and not isinstance(node, Integer):
        return max(abs(node.p), node.q) > LONGEST_FRACTION
    return isinstance(node, Float)


def _exact_exponent(exponent: Expr) -> Expr:
    if not isinstance(exponent, Float):
        return exponent
    near = Rational(round(2 * float(exponent)), 2)
    return near if abs(float(exponent) - float(near)) < 1e-6 else exponent


# -- symbols --------------------------------------------------------------------------------------


def is_same(found: Expr, equation: Equation) -> bool:
    """Whether the difference becomes 0, constants rounded; False when SymPy cannot say in time."""
    try:
        with time_limit(SYMBOLIC_SECONDS):
            positive = _positive(equation)
            sides = [rounded(side.xreplace(positive)) for side in (found, equation.expression)]
            return sides[0] == sides[1] or sympy.simplify(sides[0] - sides[1]) == 0
    except Exception:  # whatever SymPy stumbles over, it has not shown the two to be equal
        return False


def rounded(expression: Expr) -> Expr:
    """Every constant as a fraction of four significant digits: 1/sqrt(2 pi) and 0.39894 alike."""
    expression = sympy.powdenest(sympy.expand(sympy.N(expression)))
    near = {
        number: Rational(str(Float(number, DIGITS)))
        for number in expression.atoms(Float, Rational)
        if not isinstance(number, Integer)
    }
    return expression.xreplace(near)


def _positive(equation: Equation) -> dict[Symbol, Symbol]:
    """Variables that are positive all over their range, as such: sqrt(x^2) is then x."""
    symbols = formulas.variables(equation.names)
    return {
        symbol: sympy.Dummy(symbol.name, positive=True)
        for symbol, low in zip(symbols, equation.low, strict=True)
        if low > 0
    }


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block after that long. For the main thread, not nested.

    The alarm repeats, since an exception can be lost: what is raised in a finaliser or a callback
    of the garbage collector, the interpreter reports and drops, and SymPy catches some by itself.
    """

    def stop(*_: object) -> None:
        raise TimeoutError

    def report(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, TimeoutError):
            report_before(lost)

    before = signal.signal(signal.SIGALRM, stop)
    report_before, sys.unraisablehook = sys.unraisablehook, report
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook = report_before
