"""A result as one self-contained HTML page: `contents` says what, `page` writes it."""

from kansym.views.report.contents import (
    Column,
    Contents,
    EdgeName,
    Entry,
    Fit,
    Front,
    NetworkView,
    outside_note,
)
from kansym.views.report.page import render, write_report

__all__ = [
    "Column",
    "Contents",
    "EdgeName",
    "Entry",
    "Fit",
    "Front",
    "NetworkView",
    "outside_note",
    "render",
    "write_report",
]
