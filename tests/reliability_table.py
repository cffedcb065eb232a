"""The table of the reliability suite: a line per row R1, R2, ..., printed after every run of it.

A file tests/reliability/test_rNN_*.py is a row. The first line of its docstring is "what is tried:
what is promised"; every test that ran is a case. With --reliability-table PATH the table is also
written there as Markdown, between the markers below.
"""

import ast
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "reliability"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


@dataclass(frozen=True)
class Row:
    name: str  # R1
    tried: str
    promise: str
    counts: Counter


def read_rows(stats, folder=FOLDER):
    """Rows whose tests ran, in order; stats: reports by outcome, as pytest keeps them."""
    counts = {}
    for outcome in OUTCOMES:
        for report in stats.get(outcome, ()):
            if outcome == "passed" and report.when != "call":
                continue
            counts.setdefault(Path(report.nodeid.split("::")[0]).name, Counter())[outcome] += 1
    return [
        Row(_row_name(path.name), *_docstring(path), counts[path.name])
        for path in sorted(folder.glob("test_r[0-9][0-9]_*.py"))
        if path.name in counts
    ]


def _row_name(file_name):
    return f"R{int(file_name.removeprefix('test_r')[:2])}"


def _docstring(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    tried, _, promise = text.partition("\n\n")[0].replace("\n", " ").partition(": ")
    return tried, promise.rstrip(".")


def summary(row):
    parts = [f"{row.counts[outcome]} {outcome}" for outcome in OUTCOMES if row.counts[outcome]]
    return f"{row.name:4s} {row.tried}: {', '.join(parts)}"


def markdown(rows):
    lines = ["| row | what is tried | cases | passed | promise |", "|---|---|---:|---:|---|"]
    for row in rows:
        skipped = row.counts["skipped"]
        cases = row.counts.total() - skipped
        passed = f"{row.counts['passed']}" + (f" ({skipped} not run)" if skipped else "")
        lines.append(f"| {row.name} | {row.tried} | {cases} | {passed} | {row.promise} |")
    return "\n".join(lines)


def write_table(path, rows):
    """Replace what stands between the markers of a page."""
    page = Path(path).read_text(encoding="utf-8")
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} must hold the lines {BEGIN} and {END}")
    Path(path).write_text(f"{head}{BEGIN}\n{markdown(rows)}\n{END}{tail}", encoding="utf-8")
