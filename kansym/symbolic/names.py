"""Names of variables: from a column's header to a symbol that is safe to print and compile.

A header is text from outside. One that is a plain identifier may become a SymPy symbol of that
name; any other stays outside SymPy: the symbol is v1, v2, ... and the header appears, escaped, only
when LaTeX is printed.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cache

import sympy
from sympy.printing.latex import modifier_dict

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
    identifier, is reserved, or appears twice."""
    if names is None:
        return tuple(sympy.Symbol(f"x{i + 1}", real=True) for i in range(count))
    names = check_names(names, count)
    taken = {f"v{i + 1}" for i in range(count)}
    result = []
    for i, name in enumerate(names):
        is_own = name == f"v{i + 1}"
        safe = bool(_IDENTIFIER.fullmatch(name)) and (is_own or name not in taken)
        safe = safe and not keyword.iskeyword(name) and name not in _reserved()
        taken.add(name)
        result.append(sympy.Symbol(name if safe else f"v{i + 1}", real=True))
    return tuple(result)


def check_names(names: Sequence[str], count: int, argument: str = "names") -> list[str]:
    """`names` as a list of `count` texts, else a ValueError."""
    # A set has no order to go by.
    is_listed = isinstance(names, Iterable) and not isinstance(names, (str, Set, Mapping))
    texts = list(names) if is_listed else []
    if len(texts) != count or not all(isinstance(name, str) for name in texts):
        raise ValueError(f"{argument} must be {count} texts, one per column, got {names!r}")
    return texts


# A letter or Greek name, with a short subscript: what reads as a mathematical symbol.
_SYMBOL_LIKE = re.compile(r"([A-Za-z]|[A-Za-z][a-z]{1,6})\d{0,3}(_[A-Za-z0-9]{1,4})?")


def latex_name(name: str) -> str:
    """A name for maths mode: alpha and x_1 as SymPy prints them, words upright and escaped."""
    if _SYMBOL_LIKE.fullmatch(name) and name != "pi" and not _has_modifier(name):
        return sympy.latex(sympy.Symbol(name))
    printable = "".join(ch if ch.isprintable() else " " for ch in name)
    escaped = "".join(_LATEX.get(ch, ch) for ch in printable).replace(" ", r"\ ")
    return rf"\mathrm{{{escaped}}}"


def _has_modifier(name: str) -> bool:
    """Whether SymPy would take the end of a word for an accent or a font: `labs` for |l|, `what`
    for a w with a hat, `chemical` for a calligraphic chemi."""
    words = re.findall("[a-z]+", name.lower())
    return any(w.endswith(end) and w != end for w in words for end in modifier_dict)
