"""Formulas as presentation MathML, which browsers set by themselves.

Names of variables come from outside: they are shortened, and escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any
from xml.dom.minidom import parseString

from kansym.symbolic.names import read_symbol
from kansym.views.text import number_text, printable, shortened

DIGITS = 4

NAME_LENGTH = 60

OPENING = '<math xmlns="http://www.w3.org/1998/Math/MathML" display="{display}">'


def equation(target: str, expr: Any, names: Mapping[Any, str]) -> str:
    """A `math` element that says target = expr, on a line of its own.

    names: of the variables; a variable without one is called as its symbol is.
    """
    return (
        f"{OPENING.format(display='block')}<mrow>{_left(target)}{_math(expr, names)}</mrow></math>"
    )


def equation_parts(target: str | None, expr: Any, names: Mapping[Any, str]) -> list[str]:
    """The same as `math` elements in a row, one for each term of a sum: between them a line of
    text may break. Without a target, the expression alone."""
    parts, left = [], "" if target is None else _left(target)
    for term in expr.as_ordered_terms():
        # The sign of the first term stays where it is.
        is_minus = bool(parts) and term.could_extract_minus_sign()
        sign = "" if not parts else f"<mo form='infix'>{'&#x2212;' if is_minus else '+'}</mo>"
        body = _math(-term if is_minus else term, names)
        opening = OPENING.format(display="inline").replace(">", " displaystyle='true'>")
        parts.append(f"{opening}<mrow>{left}{sign}{body}</mrow></math>")
        left = ""
    return parts


def expression(expr: Any, names: Mapping[Any, str]) -> str:
    """A `math` element within a line of text."""
    return f"{OPENING.format(display='inline')}{_math(expr, names)}</math>"


def _left(target: str) -> str:
    return f"{_name(target)}<mo>=</mo>"


def _name(name: str) -> str:
    """A name as an identifier; h_0, alpha and k [N/m] as mathematics."""
    symbol = read_symbol(name)
    if symbol is None:
        return f"<mi>{_text(name)}</mi>"
    shown = f"<mi>{symbol.letter}</mi>"
    if symbol.subscripts:
        shown = f"<msub>{shown}<mtext>{','.join(symbol.subscripts)}</mtext></msub>"
    if symbol.unit:
        shown = f"<mrow>{shown}<mtext>\u00a0{_text(symbol.unit)}</mtext></mrow>"
    return shown


def _is_word(name: str) -> bool:
    symbol = read_symbol(name)
    return symbol is None or bool(symbol.unit)


def _text(name: str) -> str:
    return escape(shortened(printable(name), NAME_LENGTH))


def _math(expr: Any, names: Mapping[Any, str]) -> str:
    """Presentation MathML of an expression, without the element around it."""
    from sympy.printing.mathml import MathMLPresentationPrinter

    class Printer(MathMLPresentationPrinter):
        def _print_Symbol(self, sym: Any, style: str = "plain") -> Any:
            return parseString(_name(names.get(sym, str(sym)))).documentElement

        def _print_Exp1(self, e: Any) -> Any:
            element: Any = self.dom.createElement("mi")
            element.appendChild(self.dom.createTextNode("e"))
            return element

        def _print_Float(self, expr: Any) -> Any:
            return self._print_number(number_text(float(expr), DIGITS))

        def _print_number(self, digits: str) -> Any:
            base, _, power = digits.partition("e")
            element: Any = self.dom.createElement("mn")
            times = f"{base}\u00b710" if power else base
            element.appendChild(self.dom.createTextNode(times))
            if not power:
                return element
            raised: Any = self.dom.createElement("msup")
            exponent: Any = self.dom.createElement("mn")
            exponent.appendChild(self.dom.createTextNode(power))
            raised.appendChild(element)
            raised.appendChild(exponent)
            return raised

    # Words side by side would read as one.
    has_words = any(_is_word(names.get(s, str(s))) for s in expr.free_symbols)
    settings = {"mul_symbol": "dot"} if has_words else {}
    printed: Any = Printer(settings)._print(expr)
    return printed.toxml().replace("<mo>-</mo>", "<mo>\u2212</mo>")
