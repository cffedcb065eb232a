"""Names in source code: from headers, which are text from outside, to identifiers and comments."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Set

MAX_LENGTH = 31  # significant characters of a C99 external name, the shortest limit there is
MAX_COMMENT = 80


def identifiers(
    names: Iterable[str], reserved: Set[str], folds_case: bool, spare: str = "x"
) -> tuple[str, ...]:
    """An identifier of ASCII letters, digits and underscores for each name, all different.

    Greek letters are spelt out, subscripts become digits, a reserved word gets an underscore, a
    name of which nothing is left is `spare` and its number. folds_case: `a` and `A` are one name in
    this language.
    """

    def fold(name: str) -> str:
        return name.casefold() if folds_case else name

    words, taken, result = {fold(name) for name in reserved}, set(), []
    for i, name in enumerate(names):
        stem = cleaned(name) or f"{spare}{i + 1}"
        candidate, number = f"{stem}_" if fold(stem) in words else stem, 1
        while fold(candidate) in words | taken:
            number += 1
            candidate = f"{stem[: MAX_LENGTH - 5]}_{number}"
        taken.add(fold(candidate))
        result.append(candidate)
    return tuple(result)


def cleaned(name: str) -> str:
    """The name with everything but ASCII letters, digits and single underscores left out; empty
    where no letter is left in front."""
    # Compatibility forms: a subscript two becomes 2, a full-width A becomes A.
    plain = "".join(_spelt(ch) for ch in unicodedata.normalize("NFKD", name[:400]))
    words = re.findall("[A-Za-z0-9]+", plain)
    text = "_".join(words)[:MAX_LENGTH].rstrip("_")
    return text if text[:1].isalpha() else ""


def _spelt(ch: str) -> str:
    """alpha for the Greek letter; what is no ASCII parts words, accents vanish."""
    if ch.isascii():
        return ch
    if unicodedata.combining(ch):
        return ""
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (?:FINAL )?(\w+)", _name(ch))
    if not greek:
        return " "
    word = greek[2].lower().replace("lamda", "lambda")
    return word if greek[1] == "SMALL" else word.capitalize()


def _name(ch: str) -> str:
    return unicodedata.name(ch, "")


def quoted(name: str) -> str:
    """A name in quotes on one line for a comment, too long ones cut. The last character is a quote:
    a backslash there would join the next line to the comment in C."""
    text = repr(name)
    return text if len(text) <= MAX_COMMENT else f"{text[: MAX_COMMENT - 4]}...{text[0]}"
