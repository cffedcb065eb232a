"""Formulas as text, read without evaluating them as Python, and their values.

A formula comes from a CSV of anybody's or from the printer of a peer. Its variables may carry names
that mean something to Python or SymPy (lambda, E, I, S, gamma, beta): an identifier that is one of
`names` is that variable, unless an opening bracket follows. The text is parsed to a syntax tree, of
which only arithmetic, numbers, names and calls of the functions below are accepted.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sympy
from sympy import Dummy, Symbol

Expr = Any  # a SymPy expression

LONGEST = 20_000  # characters
DEEPEST = 200  # brackets within brackets; Python's own parser gives up soon after
LARGEST_POWER = 200  # of a number by a number: 9**9**9 must not be worked out
CHARACTERS = re.compile(r"[\w\s.+\-*/^(),]*")
IDENTIFIER = re.compile(r"(?<![\w.])[^\W\d]\w*")

CONSTANTS = {"pi": sympy.pi, "E": sympy.E, "e": sympy.E}

FUNCTIONS: Mapping[str, Callable[..., Expr]] = {
    **{
        name: getattr(sympy, name)
        for name in (
            *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sec", "csc", "cot"),
            *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "exp", "log", "sqrt", "cbrt"),
            *("Abs", "sign", "Max", "Min", "erf", "erfc", "floor", "ceiling"),
        )
    },
    "arcsin": sympy.asin,
    "arccos": sympy.acos,
    "arctan": sympy.atan,
    "arctanh": sympy.atanh,
    "ln": sympy.log,
    "log10": lambda a: sympy.log(a) / sympy.log(10),
    "log2": lambda a: sympy.log(a) / sympy.log(2),
    "log1p": lambda a: sympy.log(1 + a),
    "expm1": lambda a: sympy.exp(a) - 1,
    "abs": sympy.Abs,
    "sgn": sympy.sign,
    "max": sympy.Max,
    "min": sympy.Min,
    # How peers print: gplearn in prefix form, Operon and gplearn with protected functions.
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: _power(a, b),
    "neg": lambda a: -a,
    "inv": lambda a: 1 / a,
    "square": lambda a: a**2,
    "cube": lambda a: a**3,
    "sqrtabs": lambda a: sympy.sqrt(sympy.Abs(a)),
    "logabs": lambda a: sympy.log(sympy.Abs(a)),
}

OPERATORS: Mapping[type[ast.AST], Callable[..., Expr]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: _power(a, b),
    ast.USub: lambda a: -a,
    ast.UAdd: lambda a: a,
}


class UnreadableError(ValueError):
    """The text is no formula in the variables named."""


def variables(names: Sequence[str]) -> list[Symbol]:
    """One plain real symbol per name."""
    return [Symbol(name, real=True) for name in names]


def read(text: str, names: Sequence[str]) -> Expr:
    """The SymPy expression in `variables(names)`. Raises UnreadableError."""
    if len(text) > LONGEST or _depth(text) > DEEPEST:
        raise UnreadableError(f"longer than {LONGEST} characters or deeper than {DEEPEST} brackets")
    if not CHARACTERS.fullmatch(text):
        raise UnreadableError("holds a character that no formula needs")
    symbols = {f"variable_{i}": symbol for i, symbol in enumerate(variables(names))}
    try:
        tree = ast.parse(_with_safe_names(text, names).strip(), mode="eval")
        expression = sympy.sympify(_build(tree.body, symbols))
    except UnreadableError:
        raise
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise UnreadableError(f"{type(error).__name__}: {str(error)[:100]}") from None
    if expression.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo, sympy.I):
        raise UnreadableError("is infinite or not real")
    return expression


def renamed(text: str, new: Mapping[str, str]) -> str:
    """The text with identifiers replaced, all at once; names of functions stay."""

    def replace(match: re.Match[str]) -> str:
        called = text[match.end() :].lstrip().startswith("(")
        return match.group() if called else new.get(match.group(), match.group())

    return IDENTIFIER.sub(replace, text)


def function(expression: Expr, arguments: Sequence[Symbol]) -> Callable[..., np.ndarray]:
    """The expression as a function of arrays; NaN where it is not real."""
    # A variable called exp would hide the function of that name from the compiled code.
    safe = {argument: Dummy(f"a{i}", real=True) for i, argument in enumerate(arguments)}
    compiled = sympy.lambdify(
        list(safe.values()), expression.xreplace(safe), modules=["scipy", "numpy"], cse=True
    )

    def evaluate(*columns: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            values = np.asarray(compiled(*columns))
        if np.iscomplexobj(values):
            values = np.where(values.imag == 0, values.real, np.nan)
        return values.astype(float)

    return evaluate


def evaluate(expression: Expr, names: Sequence[str], X: np.ndarray) -> np.ndarray:
    """Values [n] at the rows of X [n, len(names)]; NaN where the expression is not real."""
    return np.broadcast_to(function(expression, variables(names))(*X.T), (len(X),))


def complexity(expression: Expr) -> int:
    """Nodes of the SymPy tree."""
    return sum(1 for _ in sympy.preorder_traversal(expression))


# -- inside ---------------------------------------------------------------------------------------


def _with_safe_names(text: str, names: Sequence[str]) -> str:
    safe = renamed(text, {name: f"variable_{i}" for i, name in enumerate(names)})
    return safe.replace("^", "**")  # some print powers so; as Python's xor it would bind wrongly


def _depth(text: str) -> int:
    return max(_depths(text), default=0)


def _depths(text: str) -> Iterator[int]:
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        yield depth


def _build(node: ast.AST, symbols: Mapping[str, Symbol]) -> Expr:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return sympy.Integer(value) if isinstance(value, int) else sympy.Float(value)
        case ast.Name(id=name) if name in symbols:
            return symbols[name]
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.Name(id=name):
            raise UnreadableError(f"unknown name {name!r}")
        case ast.UnaryOp(op=operator, operand=a) if type(operator) in OPERATORS:
            return OPERATORS[type(operator)](_build(a, symbols))
        case ast.BinOp(left=a, op=operator, right=b) if type(operator) in OPERATORS:
            return OPERATORS[type(operator)](_build(a, symbols), _build(b, symbols))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_build(a, symbols) for a in args))
        case ast.Call(func=ast.Name(id=name)):
            raise UnreadableError(f"unknown function {name!r}")
    raise UnreadableError(f"{type(node).__name__} has no place in a formula")


def _power(base: Expr, exponent: Expr) -> Expr:
    if base.is_number and exponent.is_number and abs(exponent) > LARGEST_POWER:
        raise UnreadableError(f"a number to a power beyond {LARGEST_POWER}")
    return base**exponent
