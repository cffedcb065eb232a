"""A product of two unknown functions, sin(2 x1) exp(-x2), with one product node.

Sum nodes alone need u v = ((u + v)^2 - (u - v)^2) / 4; a product node reads as what it is.
Run from anywhere: python examples/product_nodes.py. Pictures go to figures/.
"""

from pathlib import Path

import torch

from kansym import KAN, create_dataset

FIGURES = Path(__file__).resolve().parent.parent / "figures"


def main(figures: Path = FIGURES) -> None:
    data = create_dataset(lambda x: torch.sin(2 * x[:, 0]) * torch.exp(-x[:, 1]), n_var=2)
    model = KAN([2, [0, 1], 1], seed=1)
    print(model.fit(data, opt="LM", steps=60, lamb=1e-3, progress=False))
    model = model.prune()
    print(model.fit(data, opt="LM", steps=50, progress=False))
    model.plot().figure.savefig(figures / "product_1_splines.png", dpi=150)
    for step in model.auto_symbolic():
        print(f"edge {step.edge}: {step.name}, R2 = {step.r2:.9f}")
    formula = model.symbolic_formula(snap=True)
    print(formula)
    axes = model.plot(formula=formula)
    axes.figure.savefig(figures / "product_2_named.png", dpi=150)


if __name__ == "__main__":
    main()
