"""Formulas that tell classes apart: a curve between two of them, and tumours by measurements.

Run from anywhere: python examples/classification.py. Pictures go to figures/. Takes two minutes.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kansym import KANClassifier

FIGURES = Path(__file__).resolve().parent.parent / "figures"
STEADY = {"max_time": None, "max_candidates": 200, "random_state": 0, "progress": False}


def curve(u: np.ndarray) -> np.ndarray:
    """The border: below it a row is more likely "below"."""
    return 0.5 * np.sin(np.pi * u)


def two_sides(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows on a square with the log-odds 8 (curve(u) - v): one label in twelve is on the wrong
    side."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.uniform(-1, 1, (n, 2)), columns=["u", "v"])
    p = 1 / (1 + np.exp(-8 * (curve(X["u"]) - X["v"])))
    return X, np.where(rng.uniform(size=n) < p, "below", "above")


def find_border(n: int = 2000) -> tuple[KANClassifier, pd.DataFrame]:
    """The formula of a border, and how it does on new rows beside the truth."""
    X, y = two_sides(n, seed=0)
    model = KANClassifier(**STEADY).fit(X, y)
    new, labels = two_sides(20_000, seed=1)
    truth = 1 / (1 + np.exp(-8 * (curve(new["u"]) - new["v"])))
    found = model.predict_proba(new)[:, 1]
    rows = {name: scores(labels == "below", p) for name, p in (("truth", truth), ("found", found))}
    return model, pd.DataFrame(rows).T


def scores(y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """Of probabilities p of labels y that are true."""
    return {
        "accuracy": accuracy_score(y, p > 0.5),
        "AUC": roc_auc_score(y, p),
        "log-loss": log_loss(y, p),
    }


def tumours() -> tuple[pd.DataFrame, np.ndarray]:
    """scikit-learn's breast cancer set: 569 tumours, 30 measurements of the nuclei of cells."""
    data = load_breast_cancer(as_frame=True)
    X = data.data.rename(columns=lambda name: name.replace(" ", "_"))
    return X, np.where(data.target == 0, "malignant", "benign")


def compare(X: pd.DataFrame, y: np.ndarray, folds: int = 5) -> tuple[pd.DataFrame, list[str]]:
    """Scores on rows held out, means over folds; and the formula of every fold."""
    models = {
        "formula": KANClassifier(**STEADY),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "gradient boosting": GradientBoostingClassifier(random_state=0),
    }
    rows, formulas = [], []
    for fitted, held in StratifiedKFold(folds, shuffle=True, random_state=0).split(X, y):
        for name, model in models.items():
            model.fit(X.iloc[fitted], y[fitted])
            p = model.predict_proba(X.iloc[held])[:, 1]
            rows.append({"model": name, **scores(y[held] == "malignant", p), "size": size(model)})
        formulas.append(str(models["formula"].formula_))
    table = pd.DataFrame(rows).groupby("model", sort=False).mean()
    return table, formulas


def size(model: object) -> int:
    """Nodes of a formula, numbers of a regression, nodes of all trees."""
    if isinstance(model, KANClassifier):
        return model.equations_.query("chosen")["complexity"].item()
    if isinstance(model, GradientBoostingClassifier):
        return sum(tree.tree_.node_count for tree in model.estimators_.ravel())
    return model[-1].coef_.size + 1


def draw_border(model: KANClassifier, path: Path) -> None:
    """The rows of `find_border`, the true border, the one found and its probabilities."""
    X, y = two_sides(2000, seed=0)
    line = np.linspace(-1, 1, 201)
    u, v = np.meshgrid(line, line)
    square = pd.DataFrame({"u": u.ravel(), "v": v.ravel()})
    p = model.predict_proba(square)[:, 1].reshape(u.shape)
    fig, ax = plt.subplots(figsize=(5.6, 4.8), layout="constrained")
    shade = ax.pcolormesh(u, v, p, cmap="RdBu", vmin=0, vmax=1, alpha=0.5, rasterized=True)
    for label, colour in (("above", "C3"), ("below", "C0")):
        part = X[y == label]
        ax.plot(part["u"], part["v"], ".", color=colour, markersize=3, label=label)
    ax.plot(line, curve(line), color="black", lw=3, label="true border")
    ax.contour(u, v, p, [0.5], colors="gold", linewidths=1.5, linestyles="dashed")
    ax.plot([], [], "--", color="gold", label="found")
    ticks = np.linspace(-1, 1, 5)
    ax.set(xlabel="u", ylabel="v", xticks=ticks, yticks=ticks)
    fig.legend(loc="outside upper center", ncols=4)
    fig.colorbar(shade, label='P("below")')
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main(figures: Path = FIGURES) -> tuple[pd.DataFrame, pd.DataFrame]:
    model, border = find_border()
    print(f"{model.formula_}\nThe truth is 4 sin(pi u) - 8 v.")
    print(f"{model.verdict_}: {model.reason_}\n{border.round(4).to_string()}\n")
    draw_border(model, figures / "classification_border.png")

    X, y = tumours()
    table, formulas = compare(X, y)
    print("\n".join(formulas))
    print(table.round(3).to_string())

    model = KANClassifier(**STEADY).fit(X, y)
    print(f"\n{model.formula_}\n{model.equations_.to_string(index=False)}")
    model.plot_pareto().figure.savefig(figures / "classification_tumours.png", dpi=150)
    return border, table


if __name__ == "__main__":
    main()
