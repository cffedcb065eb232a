"""Names of variables: from a column's header to a symbol that is safe to print and compile.

A header is text from outside. One that is a plain identifier may become a SymPy symbol of that
name; any other stays outside SymPy: the symbol is v1, v2, ... and the header appears, escaped, only
when LaTeX is printed.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cache
from typing import NamedTuple

import sympy

from kansym.errors import check_different, shown
from kansym.functions import function_names, get_function

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_LATEX = {
    "\\": r"\backslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\hat{}", "~": r"\sim{}", "<": r"<{}", ">": r">{}",
}  # fmt: skip


@cache
def _reserved() -> frozenset[str]:
    """Names that mean something else in SymPy or NumPy source: pi, E, I, sin, Symbol, ..."""
    return frozenset(dir(sympy)) | {"np", "numpy", "scipy", "math"}


def symbols(names: Sequence[str] | None, count: int) -> tuple[sympy.Symbol, ...]:
    """One real symbol per input: x1, x2, ... without names; v1, ... for a name that is no plain
    identifier or is reserved."""
    if names is None:
        return tuple(sympy.Symbol(f"x{i + 1}", real=True) for i in range(count))
    names = check_names(names, count)
    taken = {f"v{i + 1}" for i in range(count)}
    result = []
    for i, name in enumerate(names):
        is_own = name == f"v{i + 1}"
        safe = bool(_IDENTIFIER.fullmatch(name)) and (is_own or name not in taken)
        safe = safe and not keyword.iskeyword(name) and name not in _reserved()
        result.append(sympy.Symbol(name if safe else f"v{i + 1}", real=True))
    return tuple(result)


def check_names(names: Sequence[str], count: int, argument: str = "names") -> list[str]:
    """`names` as a list of `count` different texts, else a ValueError."""
    # A set has no order to go by.
    is_listed = isinstance(names, Iterable) and not isinstance(names, (str, Set, Mapping))
    texts = list(names) if is_listed else []
    if len(texts) != count or not all(isinstance(name, str) for name in texts):
        raise ValueError(f"{argument} must be {count} texts, one per column, got {shown(names)}")
    check_different(argument, texts)
    return texts


def printed_words() -> frozenset[str]:
    """What a printed formula holds beside its variables: names of numbers (pi, E, I, oo, zoo, nan)
    and of functions, the library's and those that they are written with."""
    numbers = {str(value) for value in vars(sympy).values() if _is_number(value)}
    x = sympy.Symbol("x", real=True)
    written = [get_function(name).sympy(x) for name in function_names()]
    functions = {type(f).__name__ for expr in written for f in expr.atoms(sympy.Function)}
    return frozenset(numbers | functions | {"sqrt", *function_names()})


def _is_number(value: object) -> bool:
    return isinstance(value, sympy.AtomicExpr) and bool(value.is_number)


_STARTS = frozenset("=+-@'\"\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}") | frozenset(
    "\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)

# What LaTeX calls by the name of the letter; pi is left to the number.
_GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
    "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
)  # fmt: skip
_LETTERS = {"varepsilon": "ε", "vartheta": "ϑ", "varphi": "φ", "hbar": "ℏ", "ell": "ℓ"}
_HEADS = frozenset([*_GREEK, *_LETTERS])


def _letter(word: str) -> str:
    """The Greek letter with this name."""
    case = "CAPITAL" if word[0].isupper() else "SMALL"
    return unicodedata.lookup(f"GREEK {case} LETTER {word.upper().replace('LAMBDA', 'LAMDA')}")


_IN_WORDS = str.maketrans(
    {_letter(word): word for word in _GREEK}
    | {"\N{MICRO SIGN}": "mu"}
    | {chr(ord("₀") + digit): str(digit) for digit in range(10)}
)
_SYMBOL = re.compile(
    r"(?P<head>[A-Za-z]+)(?P<digits>\d{0,3})(_(?P<sub>[A-Za-z0-9]{1,8}))?"
    r"( (?P<unit>\[[^\[\]]{1,20}\]|\([^()]{1,20}\)))?"
)


def latex_name(name: str) -> str:
    """A name for maths mode: alpha, x_1, T_ref as symbols, words and units upright, escaped."""
    return symbol_latex(name) or rf"\mathrm{{{_escaped(name)}}}"


class SymbolName(NamedTuple):
    """A name that reads as a mathematical symbol: one Latin letter, or a Greek one by its name,
    with subscripts and a unit in brackets or without."""

    head: str
    subscripts: tuple[str, ...]
    unit: str

    @property
    def letter(self) -> str:
        """The head as one character."""
        if len(self.head) == 1:
            return self.head
        return _LETTERS.get(self.head) or _letter(self.head)


def read_symbol(name: str) -> SymbolName | None:
    """The parts of h_0, x1, alpha, theta_12, T_ref or k [N/m]; None for a name that is words."""
    match = _SYMBOL.fullmatch(name.translate(_IN_WORDS))
    if not match or not (len(match["head"]) == 1 or match["head"] in _HEADS):
        return None
    subscripts = tuple(filter(None, (match["digits"], match["sub"])))
    unit = name[name.index(" ") + 1 :] if match["unit"] else ""
    return SymbolName(match["head"], subscripts, unit)


def symbol_latex(name: str) -> str | None:
    """LaTeX of a name that `read_symbol` reads, None for any other."""
    symbol = read_symbol(name)
    if symbol is None:
        return None
    latex = symbol.head if len(symbol.head) == 1 else rf"\{symbol.head}"
    below = [
        rf"\mathrm{{{sub}}}" if len(sub) > 1 and not sub.isdigit() else sub
        for sub in symbol.subscripts
    ]
    if below:
        latex += f"_{{{','.join(below)}}}"
    if symbol.unit:
        latex += rf"\ \mathrm{{{_escaped_unit(symbol.unit)}}}"
    return latex


def cell_text(name: str) -> str:
    """A name for a cell of a spreadsheet: on one line, and with an apostrophe in front where a
    spreadsheet would take it for a formula (= + - @) or for quoted."""
    line = "".join(ch if ch.isprintable() else " " for ch in name)
    return f"'{line}" if line.lstrip()[:1] in _STARTS else line


def has_words(latex: str) -> bool:
    """Whether what `latex_name` returned holds words or a unit: a factor beside it needs a dot."""
    return latex.startswith(r"\mathrm") or r"\ " in latex


def _escaped(name: str) -> str:
    printable = "".join(ch if ch.isprintable() else " " for ch in name)
    return "".join(_LATEX.get(ch, ch) for ch in printable).replace(" ", r"\ ")


def _escaped_unit(unit: str) -> str:
    """A unit with its powers raised: m/s^2."""
    power = r"\^(-?\d{1,2})"
    pieces = re.split(power, unit)
    return "".join(f"^{{{part}}}" if n % 2 else _escaped(part) for n, part in enumerate(pieces))
