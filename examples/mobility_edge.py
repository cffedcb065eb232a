"""Where an electron stops spreading: the mobility edge of a chain, as a formula.

The generalised Aubry-Andre model of Ganeshan, Pixley and Das Sarma 2015 is diagonalised here for
many potentials; in each the energy is measured that parts extended from localised eigenstates, and
KANRegressor finds how it depends on the potential.
Run from anywhere: python examples/mobility_edge.py. The picture goes to figures/.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sympy
from scipy.linalg import eigh_tridiagonal

from kansym import KANRegressor

FIGURES = Path(__file__).resolve().parent.parent / "figures"
SITES = 610
RATIO = (np.sqrt(5) - 1) / 2  # b: periods of the potential for each site
CHAINS = 450
EXTENDED = 0.6  # fractal dimension from which a state counts as extended
FEWEST = 0.05  # share of a chain's states on either side of an edge
TOLERATED = 0.01  # share of states on the wrong side, beyond the fewest possible
WIDEST = 0.2  # stretch of energies in which an edge may then lie, in units of the hopping


def states(lam: float, alpha: float, phase: float) -> tuple[np.ndarray, np.ndarray]:
    """Energies and fractal dimensions, in units of the hopping, of

    psi_(n+1) + psi_(n-1) + 2 lam cos(2 pi b n + phase) / (1 - alpha cos(...)) psi_n = E psi_n.

    The fractal dimension -log(sum |psi|^4) / log(sites) tends to 1 for a state that fills the chain
    and to 0 for one that sits in a place.
    """
    wave = np.cos(2 * np.pi * RATIO * np.arange(SITES) + phase)
    energies, vectors = eigh_tridiagonal(2 * lam * wave / (1 - alpha * wave), np.ones(SITES - 1))
    return energies, -np.log((vectors**4).sum(0)) / np.log(SITES)


def edge_of(energies: np.ndarray, extended: np.ndarray) -> float | None:
    """The energy above which states are localised, in the middle of where it may lie; None where
    there is hardly more than one kind of state, or a gap of the spectrum hides the edge."""
    gaps = np.arange(1, SITES)  # as many states lie below each gap
    extended_above = extended.sum() - np.cumsum(extended)[:-1]
    localised_below = gaps - np.cumsum(extended)[:-1]
    wrong = extended_above + localised_below
    possible = np.flatnonzero(wrong <= wrong.min() + TOLERATED * SITES)
    low, high = energies[possible[0]], energies[possible[-1] + 1]
    if not FEWEST < extended.mean() < 1 - FEWEST or high - low > WIDEST:
        return None
    return (low + high) / 2


def drawn(rng: np.random.Generator) -> tuple[float, float, float]:
    """lam, alpha and phase. A negative alpha turns the spectrum round and says nothing new."""
    return rng.uniform(0.4, 1.6), rng.uniform(0.1, 0.8), rng.uniform(0, 2 * np.pi)


def measured() -> pd.DataFrame:
    """The edges of chains with random potentials."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(CHAINS):
        lam, alpha, phase = drawn(rng)
        energies, dimension = states(lam, alpha, phase)
        edge = edge_of(energies, dimension > EXTENDED)
        if edge is not None:
            rows.append((lam, alpha, edge))
    return pd.DataFrame(rows, columns=["lam", "alpha", "E"])


def agreement(edge: Callable, n_chains: int = 20) -> float:
    """Share of states, of chains that were not learnt from, on the side of the edge where they
    belong: the localised ones above."""
    rng = np.random.default_rng(1)
    right = []
    for _ in range(n_chains):
        lam, alpha, phase = drawn(rng)
        energies, dimension = states(lam, alpha, phase)
        localised = energies > edge(lam, alpha)
        right.append(np.mean(localised == (dimension <= EXTENDED)))
    return float(np.mean(right))


def main(figures: Path = FIGURES) -> pd.DataFrame:
    edges = measured()
    print(f"{len(edges)} of {CHAINS} chains show an edge")
    # Only powers with whole exponents: edges that are measured so roughly allow others as well.
    found = KANRegressor(max_time=None, max_candidates=200, functions=["x", "1/x"], progress=False)
    found.fit(edges[["lam", "alpha"]], edges["E"])
    law = sympy.lambdify(found.formula_.variables, found.sympy())
    table = pd.DataFrame(
        {
            "edge": ["found here", "exact (2015)"],
            "formula": [str(found.formula_.rounded(3)), "E = 2*(1 - lam)/alpha"],
            "verdict": [str(found.verdict_), ""],
            "states on their side": [agreement(law), agreement(exact)],
        }
    )
    print(table.to_string(index=False, float_format="%.4f"))
    draw(law).savefig(figures / "mobility_edge.png", dpi=150)
    return table


def exact(lam: np.ndarray, alpha: float) -> np.ndarray:
    """Ganeshan, Pixley, Das Sarma 2015, for hopping 1 and lam > 0."""
    return 2 * (1 - lam) / alpha


def draw(law: Callable) -> plt.Figure:
    """Fractal dimensions of all states of chains with one alpha, and the edges."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
    lam = np.linspace(0.4, 1.6, 200)
    for ax, alpha in zip(axes, (0.25, 0.6), strict=True):
        for strength in np.linspace(0.4, 1.6, 25):
            energies, dimension = states(strength, alpha, 0.0)
            dots = ax.scatter(
                np.full(SITES, strength), energies, c=dimension, s=3, cmap="viridis", vmin=0, vmax=1
            )
        ax.plot(lam, law(lam, alpha), color="red", lw=2.5, label="found")
        ax.plot(lam, exact(lam, alpha), "--", color="black", lw=1.5, label="exact")
        ax.set(xlabel=r"$\lambda$", title=rf"$\alpha = {alpha}$", ylim=(-5, 6), xlim=(0.35, 1.65))
    axes[0].set_ylabel("$E$")
    axes[0].legend(loc="lower left", fontsize=9)
    fig.colorbar(dots, ax=axes, label="fractal dimension")
    return fig


if __name__ == "__main__":
    main()
