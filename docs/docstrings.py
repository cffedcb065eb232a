"""Docstrings as the reference shows them: lines about arguments become a list.

Ours say "width: nodes of each row" on a line of its own, which reads well in an editor and would
run together in a page. Only names that the object has as parameters or members begin an item.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ITEM = re.compile(r"((?:\w+, )*\w+): (?=\S)")


class ArgumentLists(griffe.Extension):
    """For mkdocstrings; griffe calls it with everything it has read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None and (obj.is_function or obj.is_class):
            text = with_lists(obj.docstring.value, _names(obj))
            obj.docstring.value = text.replace("][", r"]\[")  # an index of an index is no link


def _names(obj: Any) -> set[str]:
    """What a line of the docstring may be about."""
    own = {parameter.name for parameter in obj.parameters}
    if not obj.is_class:
        return own
    bases = [base for base in obj.mro() if not base.is_alias] if obj.resolved_bases else []
    members = {name for owner in [obj, *bases] for name in owner.members}
    makers = [owner.members["__init__"] for owner in [obj, *bases] if "__init__" in owner.members]
    return own | members | {p.name for maker in makers for p in maker.parameters}


def with_lists(text: str, names: set[str]) -> str:
    """The text with each line that begins with names and a colon, and what follows it up to the
    next or to a blank line, as an item."""
    lines, in_item = [], False
    for line in text.splitlines():
        start = ITEM.match(line)
        is_item = start is not None and set(start[1].split(", ")) <= names
        if start is not None and is_item:
            if lines and lines[-1].strip() and not in_item:
                lines.append("")
            line = f"- **{start[1]}**: {line[start.end() :]}"
        elif in_item and line.strip():
            line = f"  {line}"
        in_item = is_item or (in_item and bool(line.strip()))
        lines.append(line)
    return "\n".join(lines)
