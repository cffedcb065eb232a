"""A model as a piece of HTML for a notebook: formula, a small table, the network.

No scripts, no style sheets, nothing fetched. All text from outside is escaped.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import networkx as nx
from matplotlib import rc_context

from kansym.views.diagram import draw
from kansym.views.mathml import DIGITS, equation
from kansym.views.text import printable, shortened

if TYPE_CHECKING:
    from kansym.symbolic.formula import Formula

MOST_EDGES = 40  # of a network that is drawn

MOST_NODES = 150  # of an expression that is set as mathematics

TEXT_LENGTH = 300


def panel(
    title: str,
    facts: Sequence[tuple[str, Any]],
    formula: Formula | None = None,
    graph: nx.DiGraph | None = None,
) -> str:
    """The HTML. facts: (what, value) rows of the table. graph: drawn when it has few edges."""
    rows = "".join(
        f'<tr><th style="text-align:left">{text(key)}</th>'
        f'<td style="text-align:left">{text(value)}</td></tr>'
        for key, value in facts
    )
    parts = [f"<strong>{text(title)}</strong>"]
    if formula is not None:
        parts += [formula_html(formula)]
    parts += [f"<table>{rows}</table>"] if rows else []
    if graph is not None and n_edges(graph) <= MOST_EDGES:
        parts += [network_svg(graph)]
    return f'<div class="kansym">{"".join(parts)}</div>'


def text(value: object) -> str:
    """A value as escaped text, cut where it is very long."""
    return escape(shortened(printable(str(value)), TEXT_LENGTH))


def n_edges(graph: nx.DiGraph) -> int:
    return sum(kind != "product" for _, _, kind in graph.edges(data="kind"))


def network_svg(graph: nx.DiGraph) -> str:
    """The diagram as an SVG element."""
    target = io.StringIO()
    # Letters as curves: fonts differ from machine to machine. A salt of its own keeps ids the same
    # from call to call.
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "kansym"}):
        draw(graph).figure.canvas.figure.savefig(target, format="svg", metadata={"Date": None})
    svg = target.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    return svg.replace("<svg ", '<svg style="max-width:100%" ', 1)


def formula_html(formula: Formula) -> str:
    """The formula as MathML, an output a line; as escaped text where it is long."""
    shown = formula.rounded(DIGITS)
    if shown.complexity() > MOST_NODES:
        return f"<pre>{text(shown)}</pre>"
    names = dict(zip(shown.variables, shown.names, strict=True))
    lines = (
        f"<div>{equation(target, expr, names)}</div>"
        for target, expr in zip(shown.target_names, shown.exprs, strict=True)
    )
    return "".join(lines)
