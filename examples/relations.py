"""Which columns of a table belong together, and how: no column is named as the outcome.

Three laws of physics hide among eight columns, measured with an error of 0.2 %; two of the laws
share a column, and two columns belong to none.
Run from anywhere: python examples/relations.py. The picture goes to figures/.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from kansym import find_relations

FIGURES = Path(__file__).resolve().parent.parent / "figures"
TRUTH = {  # with the columns in the order of the table
    ("temperature", "volume", "pressure"): "pressure = 8.314 temperature / volume",
    ("temperature", "sound"): "sound = 20.05 sqrt(temperature)",
    ("length", "period"): "period = 2 pi sqrt(length / 9.81) = 2.006 sqrt(length)",
}


def measurements(n: int = 400, error: float = 0.002) -> pd.DataFrame:
    """A gas and a pendulum in one laboratory. error: relative, of every dependent column."""
    rng = np.random.default_rng(0)
    temperature, volume = rng.uniform(200, 600, n), rng.uniform(1, 4, n)  # K, m^3 of one mole
    length = rng.uniform(0.2, 2, n)  # m
    columns = {
        "temperature": temperature,
        "volume": volume,
        "length": length,
        "humidity": rng.uniform(20, 90, n),
        "hour": rng.uniform(0, 24, n),
        "pressure": 8.314 * temperature / volume,
        "sound": 20.05 * np.sqrt(temperature),
        "period": 2 * np.pi * np.sqrt(length / 9.81),
    }
    for name in ("pressure", "sound", "period"):
        columns[name] = columns[name] * (1 + error * rng.standard_normal(n))
    return pd.DataFrame(columns)


def main(figures: Path = FIGURES) -> pd.DataFrame:
    table = measurements()
    relations = find_relations(table, max_time=None, max_candidates=200)
    relations["truth"] = [TRUTH.get(columns, "none") for columns in relations["columns"]]
    shown = ["relation", "R2", "verdict", "truth"]
    print(relations[shown].to_string(index=False, float_format="%.5f"))
    draw(list(table), relations).savefig(figures / "relations.png", dpi=150)
    return relations


def draw(names: list[str], relations: pd.DataFrame) -> plt.Figure:
    """A row for each relation, a dot for each of its columns."""
    fig, ax = plt.subplots(figsize=(9, 1.2 + 0.6 * len(relations)), layout="constrained")
    for row, (columns, law) in enumerate(zip(relations["columns"], relations["law"], strict=True)):
        places = [names.index(name) for name in columns]
        ax.plot(range(len(names)), [row] * len(names), "o", color="0.88", ms=9, zorder=1)
        ax.plot([min(places), max(places)], [row, row], color="black", lw=1.5)
        ax.plot(places, [row] * len(places), "o", color="black", ms=9)
        ax.text(len(names) - 0.4, row, f"${law.latex(4)}$", va="center", fontsize=11)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    ax.set_yticks([])
    ax.set(xlim=(-0.6, len(names) + 4.5), ylim=(len(relations) - 0.4, -0.6))
    for side in ax.spines.values():
        side.set_visible(False)
    return fig


if __name__ == "__main__":
    main()
