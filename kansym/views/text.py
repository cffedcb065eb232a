"""Words for a diagram: drawable, short enough, and measured in inches before anything is drawn."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from matplotlib.textpath import TextToPath
from matplotlib.transforms import Bbox

from kansym.symbolic.names import symbol_latex

DOTS = 0.4

# Points, where rcParams have matplotlib's own font size.
FONT_SIZE = 10.0

LABEL, LEAST_LABEL = 9.0, 6.0

TAG, LEAST_TAG = 7.5, 5.0

FORMULA, LEAST_FORMULA = 12.0, 8.0

TITLE, LEAST_TITLE = 11.0, 8.0

FORMULA_LINES, HEADING_LINES = 3, 6

MOST_LATEX = 800

MATH_FONT, MATH_FAMILY = "stix", "STIXGeneral"


class Line(NamedTuple):
    """A line above the diagram, with the height it takes above and below its baseline."""

    text: str
    size: float
    is_math: bool
    above: float
    below: float


_MEASURE = TextToPath()

# Signs of units that the fonts of mathtext have, beside ASCII.
_MATH_CHARACTERS = frozenset(map(chr, range(32, 127))) | set("°²³µ·Ω")


def extent(text: str, size: float, is_math: bool = False) -> tuple[float, float, float]:
    """Width, height above the baseline and depth below it, in inches.

    Raises ValueError when mathtext cannot read the text.
    """
    font = FontProperties(size=size, math_fontfamily=MATH_FONT)
    width, height, depth = _MEASURE.get_text_width_height_descent(text, font, is_math)
    return float(width) / 72, float(height - depth) / 72, float(depth) / 72


def drawable(text: str) -> str:
    """The text on one line, with a box for what the fonts in use cannot draw."""
    families = rcParams["font.family"]
    fonts = _fonts(tuple([families] if isinstance(families, str) else families))
    missing = "□" if _has_glyph(fonts, "□") else "?"
    spaced = re.sub(r"\s+", " ", text).strip()
    return "".join(c if c.isprintable() and _has_glyph(fonts, c) else missing for c in spaced)


def math_drawable(latex: str) -> str:
    """LaTeX with question marks for what the fonts of mathtext cannot draw."""
    fonts = _fonts((MATH_FAMILY,))
    return "".join(c if c.isascii() or _has_glyph(fonts, c) else "?" for c in latex)


@lru_cache(maxsize=8)
def _fonts(families: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(findfont(FontProperties(family=[family]))) for family in families)


@lru_cache(maxsize=4096)
def _has_glyph(fonts: tuple[str, ...], character: str) -> bool:
    return any(get_font(path).get_char_index(ord(character)) for path in fonts)


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def printable(text: str) -> str:
    """The whole text on one line, for where it is kept and not drawn."""
    return "".join(c if c.isprintable() else " " for c in text)


def number_text(value: float, digits: int = 3) -> str:
    """A number to so many digits, with a minus sign for a minus: 1.5e−7."""
    mantissa, e, power = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}{e}{int(power) if e else ''}".replace("-", "\u2212")


def name_label(name: str, length: int) -> tuple[str, bool]:
    """A name for print, and whether it is mathematics: x_1, alpha and k [N/m] are, as in LaTeX;
    any other name stands as it is, cut to `length` characters."""
    latex = symbol_latex(name)
    if latex is not None and set(latex) <= _MATH_CHARACTERS:
        return f"${latex}$", True
    return shortened(drawable(name), length), False


def one_line(latex: str, size: float, width: float) -> tuple[str, bool, float]:
    """A formula on one line of at most `width` inches, whether it is mathematics, and its size:
    at most `size` points, less where it is long; its end is cut off where it is very long."""
    latex, factor = math_drawable(latex), size / FORMULA
    lines = _formula_lines(latex, width / factor)
    if len(lines) == 1:
        return lines[0].text, lines[0].is_math, lines[0].size * factor
    first = _formula_lines(latex, width / factor - DOTS)[0]
    return f"{first.text[:-1]} + \\ldots$", True, first.size * factor


def set_words(artist: Text, text: str, is_math: bool, whole: str | None = None) -> None:
    """Give an artist text that came from outside: mathematics only where it is said to be.

    whole: all of a text that may have been cut; in SVG it is the `<title>` that a reader sees when
    pointing there.
    """
    artist.set_usetex(False)  # a name is never run through TeX
    artist.set_parse_math(is_math)
    artist.set_math_fontfamily(MATH_FONT)
    artist.set_text(text)
    if whole is not None and whole != text and artist.axes is not None:
        artist.axes.add_artist(_Title(artist, printable(whole)))


class _Title(Artist):
    """Draws nothing; where an SVG is written, an area over a text with a `<title>`."""

    def __init__(self, words: Text, title: str):
        super().__init__()
        self.words, self.title = words, title
        self.set_in_layout(False)

    def get_window_extent(self, renderer: Any = None) -> Bbox:
        return Bbox.null()

    def draw(self, renderer: Any) -> None:
        writer: Any = getattr(renderer, "writer", None)  # the SVG backend's
        if not hasattr(writer, "element") or not self.words.get_text():
            return
        box = self.words.get_window_extent(renderer)
        place = {"x": box.x0, "y": renderer.height - box.y1, "width": box.width}
        sizes = {key: f"{value:.6g}" for key, value in {**place, "height": box.height}.items()}
        writer.start("g")
        writer.element("title", text=self.title)
        writer.element("rect", style="fill: none; pointer-events: all", **sizes)
        writer.end("g")


def _fitted(text: str, size: float, least: float, width: float) -> tuple[str, float]:
    """The text and a size at which it is at most `width` wide; cut when `least` is too large."""
    text = shortened(drawable(text), 300)
    natural = extent(text, size)[0]
    if natural <= width:
        return text, size
    if natural * least / size <= width:
        return text, size * width / natural
    length = len(text)
    while length > 1 and extent(shortened(text, length), least)[0] > width:
        length -= 1
    return shortened(text, length), least


def points(size: float) -> float:
    """A size that is meant for matplotlib's own font size, in that of rcParams."""
    return size * rcParams["font.size"] / FONT_SIZE


def fit_tag(name: str, room: float, size: float, least: float) -> tuple[str, bool, float] | None:
    """The name of a function for print, whether it is mathematics, and its size, from `size` down
    to `least` points; None where it does not fit into `room` inches."""
    text, is_math = tag_label(name)
    size *= min(1.0, room / max(extent(text, size, is_math)[0], 1e-9))
    return None if size < least else (text, is_math, size)


def tag_label(name: str) -> tuple[str, bool]:
    """The name of a function for print, powers as mathematics; and whether it is mathematics."""
    power = re.fullmatch(r"(1/)?x(\^([0-9.]+))?", name)
    if not power:
        return shortened(drawable(name), 20), False
    return f"${power[1] or ''}x{f'^{{{power[3]}}}' if power[3] else ''}$", True


def heading_lines(
    title: str | None, formula: str | None, width: float, zoom: float = 1.0
) -> list[Line]:
    """The lines above a diagram, letters `zoom` times as large as their sizes here say."""
    lines, width = [], width / zoom
    if title:
        text, size = _fitted(title, TITLE, LEAST_TITLE, width)
        lines.append(_line(text, size, False))
    for part in (formula or "").splitlines():
        if part.strip():
            lines += _formula_lines(math_drawable(part.strip().strip("$")), width)
    if len(lines) > HEADING_LINES:
        lines = [*lines[:HEADING_LINES], _line("…", LABEL, False)]
    return [
        Line(text, zoom * size, is_math, zoom * above, zoom * below)
        for text, size, is_math, above, below in lines
    ]


def _line(text: str, size: float, is_math: bool) -> Line:
    _, above, below = extent(text, size, is_math)
    return Line(text, size, is_math, max(above, size / 72), below + 0.35 * size / 72)


def _formula_lines(latex: str, width: float) -> list[Line]:
    """The formula on one line, or smaller, or broken between terms, or cut; plain text at worst."""
    terms = _terms(latex)
    lengths = list(accumulate(len(term) for term in terms))
    kept = terms[: bisect_right(lengths, MOST_LATEX)]  # mathtext reads 2 characters a millisecond
    try:
        widths = [extent(f"${term}$", FORMULA, True)[0] for term in kept]
    except ValueError:
        widths = []
    room = 0.96 * width * FORMULA / LEAST_FORMULA  # terms set apart are a little narrower
    if not widths or max(widths) > room:
        return [_line(*_fitted(latex, LABEL, LEAST_LABEL, width), False)]
    if len(kept) == len(terms) and sum(widths) <= room:
        return [_line(f"${latex}$", FORMULA * min(1.0, 0.96 * width / sum(widths)), True)]
    return [_line(f"${line}$", LEAST_FORMULA, True) for line in _broken(terms, widths, room)]


def _terms(latex: str) -> list[str]:
    """The formula cut before every + and - that stands outside all brackets."""
    cuts, depth = [0], 0
    for match in re.finditer(r"\\left\b|\\right\b|\\.|[{(\[]|[})\]]|(?<=\s)[+-](?=\s)", latex):
        token = match[0]
        if token in ("\\left", "{", "(", "["):
            depth += 1
        elif token in ("\\right", "}", ")", "]"):
            depth -= 1
        elif token in "+-" and depth == 0:
            cuts.append(match.start())
    return [latex[a:b] for a, b in pairwise([*cuts, len(latex)])]


def _broken(terms: list[str], widths: list[float], room: float) -> list[str]:
    """Terms on at most FORMULA_LINES lines; dots where some are left out."""
    lines, used = [""], 0.0
    for n, (term, width) in enumerate(zip(terms, widths, strict=False)):
        is_last_line = len(lines) == FORMULA_LINES
        # On the last line there must be room for dots, unless nothing comes after this term.
        reserve = DOTS if is_last_line and n + 1 < len(terms) else 0.0
        if used + width + reserve > room and used:
            if is_last_line:
                return [*lines[:-1], lines[-1] + r" + \ldots"]
            lines.append("")
            used = 0.0
        lines[-1] += term
        used += width
    return lines if len(widths) == len(terms) else [*lines[:-1], lines[-1] + r" + \ldots"]
