"""What is missing from a law: compile it into a network, let the network grow, read what is new.

Newton's potential for an orbit, V = L^2 / (2 r^2) - M / r, lacks the term that moves Mercury's
perihelion. The law becomes a network that equals it; a product node is added, which changes
nothing; trained on values of the relativistic potential, the network says which term was missing.
First, a compiled law is asked what it says about its own structure, and drawn as a tree.
Run from anywhere: python examples/compiled_formula.py. Pictures go to figures/.
"""

from pathlib import Path

import pandas as pd
import sympy
import torch

from kansym import KAN

FIGURES = Path(__file__).resolve().parent.parent / "figures"

GRAVITY = "G*m1*m2/((x2 - x1)**2 + (y2 - y1)**2 + (z2 - z1)**2)"
GRAVITY_RANGES = dict.fromkeys(("G", "m1", "m2", "x1", "y1", "z1"), (1, 2))
GRAVITY_RANGES |= dict.fromkeys(("x2", "y2", "z2"), (3, 4))

NEWTON = "L**2/(2*r**2) - M/r"
RANGES = {"M": (0.5, 1.5), "L": (0.5, 1.5), "r": (1, 3)}


def main(figures: Path = FIGURES) -> None:
    gravity = KAN.from_formula({"F": GRAVITY}, ranges=GRAVITY_RANGES)
    print(gravity.hypotheses())
    gravity.plot_tree().figure.savefig(figures / "compiled_formula_tree.png", dpi=150)

    law = KAN.from_formula({"V": NEWTON}, variables=list(RANGES), ranges=RANGES, mult_arity=3)
    X = law.sample.X
    y = relativistic(X)
    law.plot(formula=True).figure.savefig(figures / "compiled_formula_law.png", dpi=150)

    grown = law.widen(1, n_sum=0, n_product=1)
    print(f"\nRMSE of the law     {rmse(law, X, y):.1e}")
    print(f"RMSE, node added    {rmse(grown, X, y):.1e}")
    grown.fit((X, y), opt="LM", steps=100, progress=False)
    found = grown.prune(1e-3, 1e-3)
    found.fit((X, y), opt="LM", steps=50, progress=False)
    print(f"RMSE, trained       {rmse(found, X, y):.1e}\n")
    print(found.hypotheses())

    found.auto_symbolic(lib=["x", "x^2", "x^3", "1/x", "1/x^2", "1/x^3"])
    formula = found.symbolic_formula(snap=True)
    print(f"\n{formula}")
    found.plot(formula=formula).figure.savefig(figures / "compiled_formula_found.png", dpi=150)
    print(terms(formula.exprs[0], law.symbolic_formula().exprs[0]).to_string(index=False))


def relativistic(X: torch.Tensor) -> torch.Tensor:
    """The effective potential of a mass M in general relativity, with G = c = 1."""
    M, L, r = X.T
    return L**2 / (2 * r**2) - M / r - M * L**2 / r**3


def rmse(model: KAN, X: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(X)[:, 0] - y).square().mean().sqrt())


def terms(found: sympy.Expr, law: sympy.Expr) -> pd.DataFrame:
    """The terms of a formula: what was found, what the compiled law had, what relativity says.

    Published: S. Carroll, Spacetime and Geometry (2004), sec. 5.4.
    """
    M, L, r = (sympy.Symbol(name, real=True) for name in RANGES)
    published = {L**2 / r**2: 0.5, M / r: -1.0, M * L**2 / r**3: -1.0}
    ours, known = (sympy.expand(expr).as_coefficients_dict() for expr in (found, law))
    every = [*published, *(term for term in ours if term not in published)]
    return pd.DataFrame(
        {
            "term": [str(term) for term in every],
            "law compiled": [float(known[term]) for term in every],
            "found": [float(ours[term]) for term in every],
            "Carroll 2004": [published.get(term, 0.0) for term in every],
        }
    )


if __name__ == "__main__":
    main()
