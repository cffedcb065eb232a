"""exp(sin(pi x) + y^2), step by step: train, look, prune, name, read the formula.

Run from anywhere: python examples/hello_world.py. Pictures go to figures/.
"""

from pathlib import Path

import torch

from kansym import KAN, Formula, create_dataset

FIGURES = Path(__file__).resolve().parent.parent / "figures"


def main(figures: Path = FIGURES) -> None:
    data = create_dataset(
        lambda x: torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2), n_var=2
    )

    model = KAN([2, 5, 1], grid=5, k=3, seed=0)
    print(model.fit(data, lamb=1e-3))
    save(model, figures / "hello_1_trained.png")

    model = model.prune().merge()
    print(model.fit(data, grids=(5, 10), progress=False))
    save(model, figures / "hello_2_pruned.png")

    print(model.suggest_symbolic(0, 0, 0))
    for step in model.auto_symbolic():
        print(f"edge {step.edge}: {step.name}, R2 = {step.r2:.9f}")
    print(model.symbolic_formula())
    formula = model.symbolic_formula(snap=True)
    print(formula)
    print(formula.latex())
    save(model, figures / "hello_3_named.png", formula)


def save(model: KAN, path: Path, formula: Formula | None = None) -> None:
    model.plot(formula=formula or False).figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
