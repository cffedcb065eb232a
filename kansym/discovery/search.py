"""The search for one law: rungs of a ladder first, then reductions, then networks."""

from __future__ import annotations

import numpy as np
import sympy

from kansym.discovery.records import Discovery, Finding, Options, Report, Table, Verdict


def discover(table: Table, options: Options, report: Report | None = None) -> Discovery:
    """The law behind a table."""
    A = np.column_stack([np.ones(len(table.y)), table.X])
    coef = np.linalg.lstsq(A, table.y, rcond=None)[0]
    expr = sympy.Float(coef[0], 17) + sum(
        sympy.Float(c, 17) * v for c, v in zip(coef[1:], table.variables, strict=True)
    )
    error = A @ coef - table.y
    loss = float(np.mean(error**2))
    r2 = 1 - loss / float(np.var(table.y))
    complexity = sum(1 for _ in sympy.preorder_traversal(expr))
    finding = Finding(expr, complexity, loss, r2, 0.0, "linear")
    return Discovery((finding,), finding, Verdict.APPROXIMATE, "a straight line is all it tried")
