"""Formulas from people: text, SymPy expressions, several of either, as a `Formula`.

Text is walked node by node of Python's own syntax tree and never run: whatever is not listed here
is refused.
"""

from __future__ import annotations

import ast
import operator
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sympy
from sympy import Symbol

from kansym.errors import shown, suggestion
from kansym.functions import function_names, get_function
from kansym.symbolic import names as naming
from kansym.symbolic.formula import Expr, Formula, is_real
from kansym.symbolic.ordinary import check_argument, check_ordinary

MAX_LENGTH = 10_000  # of a formula's text
MAX_NAME = 40  # characters of a variable's name
MAX_NUMBERED = 1000  # of x1, x2, ... where nothing else says how many there are
MAX_POWER = 100
MAX_BASE = 10**6  # of a power of numbers, which SymPy would work out

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
# What NumPy and SymPy call them, beside the names of the library.
_OTHER_NAMES = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atanh": "arctanh", "ln": "log",
    "Abs": "abs",
}  # fmt: skip
_BY_SYMPY = ("sec", "csc", "cot", "sech", "csch", "coth", "asinh", "acosh")
_CONSTANTS = {"pi": sympy.pi, "E": sympy.E}
_NO_VARIABLES = frozenset(("nan", "inf", "oo", "zoo", "I"))
_NUMBERED = re.compile(r"x([1-9]\d{0,3})")

Functions = Mapping[str, Callable[[Expr], Expr]]


def library_functions() -> dict[str, Callable[[Expr], Expr]]:
    """What a text may call: the functions of the library, by all names they go by."""
    found = {name: get_function(name).sympy for name in function_names() if name.isidentifier()}
    return found | {other: found[name] for other, name in _OTHER_NAMES.items()}


def _formula_functions() -> dict[str, Callable[[Expr], Expr]]:
    """The same, and those that SymPy can write in functions of the library."""
    return library_functions() | {name: getattr(sympy, name) for name in _BY_SYMPY}


class Reader:
    """One text. label: what the messages call it. nouns: what its names stand for.

    Raises ValueError for what is no text, too long or no formula in plain letters.
    """

    def __init__(
        self, text: Any, label: str, nouns: str = "variables", max_length: int = MAX_LENGTH
    ):
        self.text, self.label, self.nouns = text, label, nouns
        if not isinstance(text, str) or len(text) > max_length:
            raise ValueError(
                f"{label} must be text of at most {max_length} characters such as 'x1 - x2', "
                f"got {text!r:.60}"
            )
        # Python reads a look-alike of a letter as that letter.
        if "\0" in text or unicodedata.normalize("NFKC", text) != text:
            raise ValueError(f"{label} is not a formula in plain letters: {shown(text)}")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
            raise self._no_formula() from error

    def names(self) -> set[str]:
        """The names in the text, but for those that are called."""
        called = {id(node.func) for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        return {
            node.id
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Name) and id(node) not in called
        }

    def expression(self, known: Mapping[str, Any], functions: Functions) -> Expr:
        """The expression, with names as in `known` and calls as in `functions`.

        Raises ValueError for any other name and for whatever else is no real formula.
        """
        try:
            expr = self._walk(self._tree, known, functions)
        except (RecursionError, MemoryError, ArithmeticError) as error:
            raise self._no_formula() from error
        except _NotOrdinary as error:
            raise ValueError(
                f"{self.label} must be a real formula in the {self.nouns}, got {error} in "
                f"{shown(self.text)}"
            ) from error
        if not is_real(expr):
            raise ValueError(
                f"{self.label} must be a real formula in the {self.nouns}, got {shown(self.text)}"
            )
        return expr

    def _no_formula(self) -> ValueError:
        return ValueError(f"{self.label} is not a formula: {shown(self.text)}")

    def _walk(self, node: ast.expr, known: Mapping[str, Any], functions: Functions) -> Any:
        return _ordinary(check_ordinary, self._built(node, known, functions))

    def _built(self, node: ast.expr, known: Mapping[str, Any], functions: Functions) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            whole = isinstance(node.value, int)
            return sympy.Integer(node.value) if whole else sympy.Float(node.value, 17)
        if isinstance(node, ast.Name):
            if node.id in known:
                return known[node.id]
            raise ValueError(
                f"{self.label} has the unknown name {shown(node.id)};"
                f"{suggestion(node.id, list(known))}"
            )
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self._walk(node.operand, known, functions)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp) and type(node.op) in (ast.Pow, *_OPERATORS):
            left = self._walk(node.left, known, functions)
            right = self._walk(node.right, known, functions)
            if isinstance(node.op, ast.Pow):
                return self._power(left, right)
            return _OPERATORS[type(node.op)](left, right)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            arguments = [self._walk(argument, known, functions) for argument in node.args]
            return self._call(node.func.id, arguments, functions)
        hint = (
            "; a power is written **" if isinstance(getattr(node, "op", None), ast.BitXor) else ""
        )
        raise ValueError(
            f"{self.label} may hold {self.nouns}, numbers, + - * / **, and functions of the "
            f"library, got {shown(ast.unparse(node))} in {shown(self.text)}{hint}"
        )

    def _power(self, base: Any, power: Any) -> Any:
        is_large = power.is_number and not abs(power) <= MAX_POWER
        if is_large or (base.is_number and power.is_number and not abs(base) <= MAX_BASE):
            raise ValueError(
                f"{self.label} may raise to powers up to {MAX_POWER} (numbers up to {MAX_BASE}), "
                f"got {shown(self.text)}"
            )
        return base**power

    def _call(self, name: str, arguments: Sequence[Any], functions: Functions) -> Any:
        if name == "besselj" and len(arguments) == 2 and arguments[0] in (0, 1):
            name, arguments = f"j{arguments[0]}", arguments[1:]
        if name not in functions:
            raise ValueError(
                f"{self.label} calls the unknown function {shown(name)};"
                f"{suggestion(name, list(functions))}"
            )
        if len(arguments) != 1:
            raise ValueError(f"{self.label}: {name} takes one argument, got {len(arguments)}")
        return functions[name](_ordinary(check_argument, arguments[0]))


class _NotOrdinary(Exception):
    """A part of a formula that is no ordinary number; the reader adds which formula."""


def _ordinary(check: Callable[[Expr], Expr], expr: Expr) -> Expr:
    try:
        return check(expr)
    except ValueError as error:
        raise _NotOrdinary(str(error)) from error


# -- several of them, and their variables ---------------------------------------------------------


def as_formula(
    given: Any,
    variables: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    n_columns: int | None = None,
) -> Formula:
    """A Formula from one, text, a SymPy expression, a list of these (one for each output), or a
    dict from the names of the outputs.

    variables: in order. By default names that are all x1, x2, ... are columns by their numbers;
    others go in the order of `columns`, the names that data have, or else of the alphabet, numbers
    by size. n_columns: of the data, if any. Text may hold variables, numbers, pi, E, + - * / ** and
    functions of the library; it is never run.

    Raises ValueError for anything else.
    """
    if isinstance(given, Formula):
        if variables is not None:
            raise ValueError("variables are those of the Formula; pass text or expressions")
        return given
    parts = _parts(given)
    used = set().union(*(part.names() for part in parts.values()))
    if variables is not None:
        chosen = _check_variables(variables)
    else:
        chosen = _choose_variables(used - set(_CONSTANTS), columns, n_columns)
    if missing := sorted(used - set(chosen) - set(_CONSTANTS)):
        raise ValueError(
            f"formula uses {shown(missing[0])}, which is not among its variables {shown(chosen)}"
        )
    symbols = naming.symbols(chosen, len(chosen))
    known = _CONSTANTS | dict(zip(chosen, symbols, strict=True))
    functions = _formula_functions()
    exprs = [part.expression(known, functions) for part in parts.values()]
    targets = list(parts) if isinstance(given, Mapping) else None
    return Formula(exprs, symbols, chosen, targets)


class _Ready:
    """A SymPy expression in the place of a text."""

    def __init__(self, expr: Any, label: str):
        try:
            self._expr: Expr = sympy.sympify(expr, strict=True)
        except (sympy.SympifyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{label} must be text, a SymPy expression or a Formula, got {shown(expr)}"
            ) from error
        if not isinstance(self._expr, sympy.Expr):
            raise ValueError(f"{label} must be an expression, got {shown(expr)}")

    def names(self) -> set[str]:
        return {str(symbol) for symbol in self._expr.free_symbols}

    def expression(self, known: Mapping[str, Any], _: Functions) -> Expr:
        return self._expr.xreplace({s: known[str(s)] for s in self._expr.free_symbols})


def _parts(given: Any) -> dict[str, Reader | _Ready]:
    """Every output with its text or expression, by name or number."""
    if isinstance(given, Mapping):
        if not all(isinstance(name, str) and name for name in given):
            raise ValueError(f"formula must have texts as names of outputs, got {list(given)!r}")
        items = {name: (f"formula[{name!r}]", part) for name, part in given.items()}
    elif isinstance(given, (list, tuple)):
        items = {str(n): (f"formula[{n}]", part) for n, part in enumerate(given)}
    else:
        items = {"0": ("formula", given)}
    if not items:
        raise ValueError("formula must have at least one output, got none")
    return {
        name: Reader(part, label) if isinstance(part, str) else _Ready(part, label)
        for name, (label, part) in items.items()
    }


def _check_variables(variables: Iterable[Any]) -> list[str]:
    is_listed = isinstance(variables, Iterable) and not isinstance(variables, (str, Mapping))
    named = [str(v) if isinstance(v, Symbol) else v for v in variables] if is_listed else []
    if not named or not all(isinstance(v, str) and v for v in named) or len({*named}) < len(named):
        raise ValueError(
            f"variables must be a list of different names in the order of the columns, got "
            f"{shown(variables)}"
        )
    return named


def _choose_variables(
    used: set[str], columns: Sequence[str] | None, n_columns: int | None
) -> list[str]:
    called = set(library_functions()) - {"x"}  # a variable, where it is not called
    for name in sorted(used):
        if name in called or name in _NO_VARIABLES or len(name) > MAX_NAME:
            raise ValueError(
                f"formula has the name {shown(name)}, which reads as no variable; list it in "
                "variables if it is one"
            )
    if columns is not None and used <= {*columns}:
        return [name for name in columns if name in used]
    numbers = [_NUMBERED.fullmatch(name) for name in used]
    if all(numbers):
        largest = max((int(number[1]) for number in numbers if number), default=0)
        count = largest if n_columns is None else n_columns
        if largest > count or (n_columns is None and largest > MAX_NUMBERED):
            most = MAX_NUMBERED if n_columns is None else count
            raise ValueError(f"formula uses x{largest}, but there are x1 to x{most} only")
        if count == 0:
            raise ValueError("formula must have at least one variable; name it in variables")
        return [f"x{i + 1}" for i in range(count)]
    chosen = sorted(used, key=_by_size)
    if n_columns is not None and n_columns != len(chosen):
        raise ValueError(
            f"X must have a column for each of {chosen}, got {n_columns}; list all columns in "
            "variables"
        )
    return chosen


def _by_size(name: str) -> tuple[list[Any], str]:
    """x2 before x10."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if n % 2 else part.casefold() for n, part in enumerate(parts)], name
