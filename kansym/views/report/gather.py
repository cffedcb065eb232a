"""From networks, formulas and rows to the records of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from kansym.arrays import to_numpy
from kansym.network import Network
from kansym.scores import feature_scores
from kansym.structure import removals
from kansym.symbolic.candidates import numeric_edges, suggest
from kansym.symbolic.constants import ConstantProblem
from kansym.symbolic.formula import Formula
from kansym.training.history import History
from kansym.views.report.contents import (
    Column,
    Contents,
    Edge,
    EdgeName,
    Entry,
    Fit,
    Front,
    NetworkView,
    outside_note,
)
from kansym.views.report.network import MOST_EDGES

THRESHOLDS = (0.0, *(n * 10.0**-p for p in (4, 3, 2, 1) for n in (1, 1.5, 2, 3, 5, 7)), 1.0)
"""Positions of the slider; the default of `prune`, 0.01, is among them."""

MOST_SUGGESTIONS = 30  # splines that the nearest name is sought for

ROWS = 2000  # for the pictures of a network

LITTLE_R2 = 0.9

UNKNOWN = 0.5  # relative standard error of a number that the data do not determine

MOST_NUMBERS = 30  # fitted, of a formula whose numbers are checked


def network_view(
    network: Network,
    X: Tensor,
    graph: nx.DiGraph,
    library: Sequence[Any],
    r2: Mapping[Edge, float] | None = None,
) -> NetworkView | str:
    """The network with what pruning on X would take and with names for its edges, or why it is not
    drawn. library: functions to name splines with. r2: of the names that edges have."""
    splines = numeric_edges(network)
    nearest = {}
    if 0 < len(splines) <= MOST_SUGGESTIONS:
        nearest = suggest(network, X, splines, list(library))
    names = {
        edge: EdgeName(found[0].name, found[0].params, found[0].r2, is_kept=False)
        for edge, found in nearest.items()
        if found
    }
    known = r2 or {}
    for _, _, data in graph.edges(data=True):
        if data["kind"] == "symbolic":
            edge = data["l"], data["i"], data["j"]
            names[edge] = EdgeName(data["function"], data["affine"], known.get(edge, math.nan))
    thresholds = [float(f"{threshold:g}") for threshold in THRESHOLDS]
    return NetworkView(graph, removals(network, X, thresholds, "attribution"), names)


def network_contents(
    network: Network,
    X: Tensor,
    y: Tensor | None,
    view: NetworkView | str,
    *,
    names: Sequence[str] | None,
    targets: Sequence[str],
    formula: Formula | None,
    history: History | None,
    warnings: Sequence[str] = (),
    title: str | None = None,
    code: str | None = None,
) -> Contents:
    """The report on one network at rows X [n, in], y [n, out], or without y."""
    rows = to_numpy(X)
    observed = None if y is None else to_numpy(y)
    r2, rmse, fits, doubts = (), (), (), []
    if observed is not None:
        with torch.no_grad():
            predicted = to_numpy(network(X))
        r2, rmse = judged_figures(observed, predicted)
        fits = fits_of(targets, observed, predicted)
        doubts = poor_fit(targets, r2)
        doubts += [] if formula is None else undetermined(formula, rows, observed)
    columns = table_columns(rows, names, observed, targets)
    complexity = None if formula is None else formula.complexity()
    entry = Entry(formula, complexity, r2, rmse, view, fits, is_chosen=True)
    with torch.no_grad():
        shares = feature_scores(network, network.trace(X)).tolist()
    of = ", ".join(targets)
    fitted = () if history is None else (("last fit", f"{history.opt}: {history.reason}"),)
    return Contents(
        title=title or (f"A network for {of}" if formula is None else f"A formula for {of}"),
        kind="network",
        fronts=(Front(of, (entry,)),),
        columns=columns,
        tested_on=f"of the {len(rows)} rows shown here",
        importance=tuple((c.name, share) for c, share in zip(columns, shares, strict=False)),
        importance_note="How much of the outputs' variation flows from each input.",
        history=history,
        warnings=(*warnings, *doubts, outside_note(columns)),
        facts=(*network_facts(network), *fitted),
        code=network_code(network) if code is None else code,
    )


def network_facts(network: Network) -> tuple[tuple[str, Any], ...]:
    """(what, value) pairs that describe a network."""
    named = sum(int(layer.is_symbolic.sum()) for layer in network.kan_layers)
    return (
        ("width", plain_width(network)),
        ("active edges", f"{network.n_active_edges}, {named} of them named"),
        ("splines", f"degree {network.k}, {network.grid} intervals"),
    )


def network_code(network: Network) -> str:
    """A network of this shape; how it was trained, nobody wrote down."""
    layer = network.kan_layers[0]
    given = f"width={plain_width(network)}, grid={network.grid}, k={network.k}"
    if layer.base != "silu":
        given += f", base={layer.base!r}"
    if layer.outside != "linear":
        given += f", outside={layer.outside!r}"
    return (
        "from kansym import KAN\n\n"
        f"model = KAN({given})  # a network of this shape\n"
        "model.fit((X, y))  # what was done between fits is not recorded in a network"
    )


def plain_width(network: Network) -> list[int | list[int]]:
    """The width as `KAN` takes it."""
    return [row.n_sum if not row.n_product else list(row) for row in network.width]


def too_large(network: Network) -> str:
    """Why a network is not drawn; empty where it is."""
    if network.n_active_edges == 0:
        return "No network: there is no edge to draw."
    if network.n_active_edges > MOST_EDGES:
        return (
            f"{network.n_active_edges} edges are too many to draw (at most {MOST_EDGES}); prune the"
            " network first."
        )
    return ""


def thinned(n_rows: int, most: int = ROWS) -> np.ndarray:
    """Indices of at most so many rows, evenly spread."""
    return np.linspace(0, n_rows - 1, min(n_rows, most)).round().astype(int)


def table_columns(
    X: np.ndarray,
    names: Sequence[str] | None,
    y: np.ndarray | None = None,
    targets: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
    role: str = "target",
) -> tuple[Column, ...]:
    """The columns of X [n, columns] and y [n, outputs]."""
    shown = names or [f"x{i + 1}" for i in range(X.shape[1])]
    known = units or {}
    columns = [Column(name, X[:, i], unit=known.get(name, "")) for i, name in enumerate(shown)]
    if y is not None:
        columns += [
            Column(name, y[:, o], role, known.get(name, "")) for o, name in enumerate(targets)
        ]
    return tuple(columns)


def fits_of(targets: Sequence[str], observed: np.ndarray, predicted: np.ndarray) -> tuple[Fit, ...]:
    """observed, predicted: [n, outputs]."""
    return tuple(Fit(name, observed[:, o], predicted[:, o]) for o, name in enumerate(targets))


def judged_figures(observed: np.ndarray, predicted: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """R2 and RMSE of every output; NaN where a prediction is not finite, or nothing varies."""
    mse = np.mean((observed - predicted) ** 2, 0)
    variance = np.var(observed, 0)
    r2 = 1 - mse / np.where(variance > 0, variance, np.nan)
    return tuple(r2.tolist()), tuple(np.sqrt(mse).tolist())


def poor_fit(targets: Sequence[str], r2: Sequence[float]) -> list[str]:
    """Sentences about outputs that are described badly."""
    return [
        f"{name} is described poorly: R² is {value:.3g}."
        for name, value in zip(targets, r2, strict=True)
        if value < LITTLE_R2
    ]


def undetermined(formula: Formula, X: np.ndarray, y: np.ndarray) -> list[str]:
    """Sentences about the fitted numbers of a formula whose standard error is of their size."""
    sentences = []
    for o, (name, expr) in enumerate(zip(formula.target_names, formula.exprs, strict=True)):
        if not 0 < len([a for a in expr.atoms() if a.is_Float]) <= MOST_NUMBERS:
            continue
        fit = ConstantProblem(formula.variables, X, y[:, o]).fit_expression(expr)
        if fit is None:
            continue
        unknown = int(np.sum(fit.errors > UNKNOWN * np.abs(fit.values)))
        if unknown:
            sentences.append(
                f"The rows do not determine {unknown} of the {len(fit.values)} fitted numbers of "
                f"{name}: their standard errors are as large as they are, or nearly so."
            )
    return sentences


def outside_rows(X: np.ndarray, seen: Sequence[Column]) -> list[str]:
    """A sentence where rows of X lie outside what was seen. seen: the columns of X as fitted."""
    low = np.array([column.values.min() for column in seen])
    high = np.array([column.values.max() for column in seen])
    outside = np.less(X, low) | np.greater(X, high)
    if not outside.any():
        return []
    names = ", ".join(seen[i].name for i in np.flatnonzero(outside.any(0)).tolist())
    return [
        f"{int(outside.any(1).sum())} of the {len(X)} rows judged here lie outside the range of the"
        f" rows that were fitted, in: {names}."
    ]
