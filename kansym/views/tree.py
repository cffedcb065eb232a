"""The tree of groups of variables, as KAN 2.0 draws it (arXiv:2408.10205, sec. 4.3): variables
below, and above them what they form together, up to the output."""

from __future__ import annotations

import re
from typing import Any

from matplotlib.axes import Axes

from kansym.structure import Group
from kansym.views.axes import BLACK, BLUE, GREY, new_figure, place
from kansym.views.text import FONT_SIZE, drawable, extent, name_label, set_words

COLUMN, ROW = 0.8, 0.7  # inches for a variable, and between a node and its parts
LEAST, SPACE = 2.5, 0.2
NAME_LENGTH, TARGET_LENGTH = 12, 32
LINE: dict[str, Any] = {"color": BLACK, "lw": 1.2, "zorder": 1}
BOX = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": BLUE, "linewidth": 1.4}


def plot_tree(tree: Group, ax: Axes | None = None, target: str = "f") -> Axes:
    """Draw the tree of `kansym.structure.hypotheses`; returns the Axes.

    A box says how a group is made of what hangs below it: x1 - x2, x1 * x2, +, *, "F(+)" for a
    function of a sum of functions of its parts, "h" for any other function. target: the name above.
    """
    if not isinstance(tree, Group):
        raise ValueError(
            f"tree must be a Group, got {type(tree).__name__}; pass hypotheses(...).tree"
        )
    depth, leaves = _depth(tree), _leaves(tree)
    if ax is None:
        labels = (name_label(name, NAME_LENGTH) for name in leaves)
        widest = max(extent(text, FONT_SIZE, is_math)[0] for text, is_math in labels)
        width = max(COLUMN, widest + SPACE) * len(leaves)
        size = max(LEAST, width), max(LEAST, ROW * (depth + 2))
        ax = new_figure(figsize=size, layout="constrained").add_subplot()
    ax = place(ax)
    x = _draw(ax, tree, {leaf: n for n, leaf in enumerate(leaves)})
    ax.plot([x, x], [depth, depth + 0.8], **LINE)
    _name(ax, x, depth + 0.85, target, TARGET_LENGTH, "bottom")
    ax.set_xlim(-0.6, len(leaves) - 0.4)
    ax.set_ylim(-0.6, depth + 1.3)
    ax.set_axis_off()
    return ax


def _draw(ax: Axes, group: Group, column: dict[str, int]) -> float:
    """Draw a group and all below it; where it stands."""
    if not group.parts:
        name = group.variables[0]
        _name(ax, column[name], -0.1, name, NAME_LENGTH, "top")
        return float(column[name])
    height = _depth(group)
    places = [_draw(ax, part, column) for part in group.parts]
    for part, x in zip(group.parts, places, strict=True):
        ax.plot([x, x], [_depth(part), height], **LINE)
    ax.plot([min(places), max(places)], [height, height], **LINE)
    x = (min(places) + max(places)) / 2
    box = BOX | ({"edgecolor": GREY} if group.form in ("h", "F(+)") else {})
    size = "large" if group.form in ("+", "*") else "medium"
    text = ax.text(x, height, "", ha="center", va="center", bbox=box, zorder=2, fontsize=size)
    set_words(text, *_form_label(group), group.form)
    return x


def _name(ax: Axes, x: float, y: float, name: str, length: int, va: str) -> None:
    label, is_math = name_label(name, length)
    set_words(ax.text(x, y, "", ha="center", va=va), label, is_math, name)


def _form_label(group: Group) -> tuple[str, bool]:
    """The form as mathematics where all names in it read as symbols."""
    if group.form in ("+", "*", "F(+)", "h"):
        return {"+": "+", "*": "×", "F(+)": "F(+)", "h": "h"}[group.form], False
    labels = {name: name_label(name, NAME_LENGTH) for name in group.variables}
    is_math = all(is_symbol for _, is_symbol in labels.values())
    # Longer names first: x1 is part of x12.
    pattern = "|".join(map(re.escape, sorted(labels, key=len, reverse=True)))
    if not is_math:
        text = re.sub(pattern, lambda found: labels[found[0]][0].strip("$"), group.form)
        return drawable(text.replace(" * ", " × ")), False
    text = re.sub(r"\^\(?([0-9./]+)\)?", r"^{\1}", group.form.replace(" * ", r"\,"))
    return f"${re.sub(pattern, lambda found: labels[found[0]][0].strip('$'), text)}$", True


def _depth(group: Group) -> int:
    return 1 + max(map(_depth, group.parts)) if group.parts else 0


def _leaves(group: Group) -> list[str]:
    """The variables in the order in which they stand below the tree."""
    if not group.parts:
        return list(group.variables)
    return [leaf for part in group.parts for leaf in _leaves(part)]
