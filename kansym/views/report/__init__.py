"""A result as one self-contained HTML page.

`contents` says what is on it, `gather` makes that from networks and tables, `page` writes it.
"""

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
from kansym.views.report.gather import (
    fits_of,
    judged_figures,
    network_contents,
    network_facts,
    network_view,
    outside_rows,
    poor_fit,
    table_columns,
    thinned,
    too_large,
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
    "fits_of",
    "judged_figures",
    "network_contents",
    "network_facts",
    "network_view",
    "outside_note",
    "outside_rows",
    "poor_fit",
    "render",
    "table_columns",
    "thinned",
    "too_large",
    "write_report",
]
