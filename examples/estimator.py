"""Formulas as scikit-learn estimators: a law with two outputs, and the log-odds of a label.

Run from anywhere: python examples/estimator.py. The picture goes to figures/.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from kansym import KANClassifier, KANRegressor

FIGURES = Path(__file__).resolve().parent.parent / "figures"


def main(figures: Path = FIGURES, max_time: float = 20.0) -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.uniform(1, 3, (300, 3)), columns=["m", "v", "h"])
    targets = pd.DataFrame(
        {"kinetic": X["m"] * X["v"] ** 2 / 2, "potential": 9.81 * X["m"] * X["h"]}
    )
    law = KANRegressor(max_time=max_time, random_state=0).fit(X, targets)
    print(law.formula_)
    for target, verdict, reason in zip(targets, law.verdict_, law.reason_, strict=True):
        print(f"{target}: {verdict}: {reason}")
    print(law.equations_table(digits=4).to_string(index=False))
    law.network_.plot().figure.savefig(figures / "estimator.png", dpi=150)

    logit = 2 * X["v"] - 3 * X["h"] + 2
    label = np.where(rng.uniform(size=300) < 1 / (1 + np.exp(-logit)), "flies", "falls")
    odds = KANClassifier(max_time=max_time, random_state=0).fit(X, label)
    print(f"\n{odds.formula_}\n{odds.verdict_}: {odds.reason_}")
    print(f"accuracy {odds.score(X, label):.3f}")


if __name__ == "__main__":
    main()
