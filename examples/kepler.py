"""Kepler's third law from the orbits of the planets and dwarf planets, in one call.

Run from anywhere: python examples/kepler.py. The picture goes to figures/.
"""

from pathlib import Path

from kansym import find_formula, solar_system, table_dataset

FIGURES = Path(__file__).resolve().parent.parent / "figures"


def main(figures: Path = FIGURES) -> None:
    bodies = solar_system()
    print(bodies.to_string(index=False))
    orbits = table_dataset(bodies, "period_years", ["semi_major_axis_au"])
    result = find_formula(orbits, progress=False)
    print(f"\n{result.formula}\nR2 = {result.r2[0]:.9f}\n{result.formula.latex()}")
    print(result.spline_model.suggest_symbolic(0, 0, 0))
    axes = result.model.plot(formula=result.formula)
    axes.figure.savefig(figures / "kepler.png", dpi=150)


if __name__ == "__main__":
    main()
