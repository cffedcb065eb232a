"""The finished steps of a search on disk; see `kansym.discovery.journal`.

A JSON file, written whole beside the old one and then put in its place: a crash leaves the old one.
It holds a checksum of itself: a file that was damaged must not load as other formulas. Formulas
are stored as text and read back without being executed.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sympy
from sympy import Symbol

from kansym.discovery.records import Options, Table
from kansym.files import write_atomically
from kansym.symbolic.constants import decimal
from kansym.symbolic.formula import Expr, is_real
from kansym.symbolic.ordinary import check_argument, check_ordinary, check_power

VERSION = 3
MAX_BYTES = 20_000_000
MAX_LENGTH = 20_000  # of a formula's text
MAX_DEPTH = 60  # of its tree

_FUNCTIONS = {
    name: getattr(sympy, name)
    for name in (
        "exp", "log", "sin", "cos", "tan", "tanh", "sinh", "cosh", "asin", "acos", "atan", "atanh",
        "sqrt", "Abs", "sign", "erf", "besselj",
    )
}  # fmt: skip
_N_ARGUMENTS = {"besselj": 2}  # one for all others
_NUMBERS = {"pi": sympy.pi, "E": sympy.E}
_OPERATORS: dict[type, Any] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b, ast.Pow: lambda a, b: a**b,
}  # fmt: skip


@dataclass(frozen=True)
class StepRecord:
    """A finished step of a search.

    number: of the step, in the order in which steps are begun. digest: of what it was. following:
    number of the next step after it. seconds, n_candidates: spent by then, since the search began.
    entries: left in its contest: fingerprint, formula in x0, x1, ..., RMSE, score, found_by.
    """

    number: int
    digest: str
    following: int
    seconds: float
    n_candidates: int
    entries: tuple[tuple[str, str, float, float, str], ...]


def fingerprint(table: Table, options: Options) -> str:
    """Of data, version and everything but the budget: what a stored search must agree with."""
    digest = hashlib.sha256(version("kansym").encode())
    for part in (table.X, table.y, table.weight):
        digest.update(b"-" if part is None else part.astype("<f8").tobytes())
    settings = [
        [str(v) for v in table.variables], options.seed, options.functions, options.noise,
        options.required, options.forbidden, sorted(options.monotone.items()),
        sorted(options.parity.items()), str(options.units),
        sorted((str(s), str(e)) for s, e in options.forms.items()),
    ]  # fmt: skip
    digest.update(json.dumps(settings).encode())
    return digest.hexdigest()


def save(path: Path, key: str, steps: Sequence[StepRecord]) -> None:
    """Write the finished steps of the search with the fingerprint `key`."""
    state = {"version": VERSION, "key": key, "steps": [astuple(step) for step in steps]}
    write_atomically(path, json.dumps(state | {"seal": _seal(state)}))


def _seal(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def to_text(expr: Expr, symbols: Sequence[Symbol]) -> str:
    """A formula in x0, x1, ... with every digit of its decimals."""
    plain = {s: Symbol(f"x{i}", real=True) for i, s in enumerate(symbols)}
    return sympy.sstr(expr.xreplace(plain), full_prec=True)


def load(path: Path, key: str) -> list[StepRecord]:
    """The steps stored at `path`; none when there is no file.

    Raises ValueError when the file is no checkpoint, one of another search, or has an entry that is
    no formula: somebody has changed it, and what else they changed nobody can say.
    """
    if not path.exists():
        return []
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise ValueError(f"checkpoint {str(path)!r} is no file or too large; {_WAY_OUT}")
    try:
        number, stored, steps = _read(path.read_bytes()[: MAX_BYTES + 1])
        if (number, stored) == (VERSION, key):
            for step in steps:
                entries_of(step)
    except (ValueError, TypeError, RecursionError, OSError) as error:
        raise unreadable(path, error) from error
    if number != VERSION or stored != key:
        raise ValueError(
            f"checkpoint {str(path)!r} belongs to another search (other data, settings or "
            f"version); {_WAY_OUT}"
        )
    return steps


_WAY_OUT = "remove it or choose another folder"


def unreadable(path: Path, why: Exception) -> ValueError:
    """The error for a file that nothing is taken over from."""
    return ValueError(f"checkpoint {str(path)!r} cannot be read ({why}); {_WAY_OUT}")


def entries_of(
    step: StepRecord, symbols: Sequence[Symbol] | None = None
) -> dict[bytes, tuple[Expr, float, float, str]]:
    """Fingerprint: formula in `symbols` (None: in x0, x1, ... as it stands), RMSE, score, found_by.

    Raises ValueError for an entry that `to_text` cannot have written.
    """
    entries = {}
    for place, (key, text, *more) in enumerate(step.entries):
        names = _names_in(text) if symbols is None else _names_of(symbols)
        try:
            entries[bytes.fromhex(key)] = (_parsed(text, names), *more)
        except ValueError as error:
            raise ValueError(f"entry {place} of step {step.number}: {error}") from error
    return entries


def _read(data: bytes) -> tuple[Any, Any, list[StepRecord]]:
    """Version, key and steps of a file whose seal is right."""
    state = json.loads(data.decode())
    if not isinstance(state, dict) or state.pop("seal", None) != _seal(state):
        raise ValueError("it is damaged, or no checkpoint: its checksum does not match")
    steps: Any = state.get("steps")
    _check_types(list, steps)
    return state.get("version"), state.get("key"), [_step(*fields) for fields in steps]


def _step(
    number: Any, digest: Any, following: Any, seconds: Any, n_candidates: Any, entries: Any
) -> StepRecord:
    """A record of checked types."""
    rows = []
    for key, text, rmse, score, found_by in entries:
        _check_types(str, key, text, found_by)
        _check_types((int, float), rmse, score)
        rows.append((key, text, float(rmse), float(score), found_by))
    _check_types(int, number, following, n_candidates)
    _check_types(str, digest)
    _check_types((int, float), seconds)
    return StepRecord(number, digest, following, float(seconds), n_candidates, tuple(rows))


def _check_types(kind: Any, *values: Any) -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, kind):
            raise TypeError(f"a field holds {type(value).__name__}")


def parse(text: str, symbols: Sequence[Symbol]) -> Expr:
    """The formula that `to_text` wrote. ValueError for anything else: nothing is executed."""
    return _parsed(text, _names_of(symbols))


def _names_of(symbols: Sequence[Symbol]) -> dict[str, Symbol]:
    return {f"x{i}": s for i, s in enumerate(symbols)}


def _names_in(text: str) -> dict[str, Symbol]:
    """A symbol for whatever reads like a column."""
    return {name: Symbol(name, real=True) for name in re.findall(r"x\d{1,6}", text)}


def _parsed(text: str, names: Mapping[str, Symbol]) -> Expr:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"not a formula: longer than {MAX_LENGTH} characters")
    if not text.isascii():
        raise ValueError(f"not a formula: {text[:60]!r}")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"not a formula: {text[:60]!r}") from error
    try:
        expr = _checked(tree, names, 0)
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"not a formula: {error}") from error
    if not is_real(expr):
        raise ValueError(f"not a formula: {text[:60]!r} is not real")
    return expr


def _checked(node: ast.AST, names: Mapping[str, Symbol], depth: int) -> Expr:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    return check_ordinary(_built(node, names, depth + 1))


def _built(node: ast.AST, names: Mapping[str, Symbol], depth: int) -> Expr:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = (_checked(part, names, depth) for part in (node.left, node.right))
        if isinstance(node.op, ast.Pow):
            check_power(left, right)
        return _OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _checked(node.operand, names, depth)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Constant) and _is_number(node.value):
        return decimal(node.value) if isinstance(node.value, float) else sympy.Integer(node.value)
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        return _NUMBERS[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        function = _FUNCTIONS.get(node.func.id)
        if function is not None and len(node.args) == _N_ARGUMENTS.get(node.func.id, 1):
            return function(*(check_argument(_checked(arg, names, depth)) for arg in node.args))
    raise ValueError(f"{type(node).__name__} has no place in it")


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))
