# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Units, noise, and what AMBIGUOUS means
#
# A stone falls from a tower through thin air. Its speed after a fall of height $h$ is $\sqrt{2 g
# h}$, and every measurement is a little wrong. Two things help a search in noise: knowing the
# units of the columns, and being told honestly what the rows cannot decide.

# %%
import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from kansym import KANRegressor

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=Path, help="folder for the pictures")
out = parser.parse_known_args()[0].out


def show(ax, name):
    """The picture as the value of a cell; written only where a folder was given."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        ax.figure.savefig(out / f"{name}.png", dpi=120)
    return ax.figure


# %% [markdown]
# ## Measurements
#
# Falls on different planets: height, gravity, and the mass of the stone, which as Galileo said
# does not matter. The speed is known to 2 %.

# %%
rng = np.random.default_rng(3)
n = 200
falls = pd.DataFrame(
    {
        "h": rng.uniform(1.0, 40.0, n),
        "g": rng.choice([1.62, 3.71, 8.87, 9.81, 24.8], n) * rng.uniform(0.97, 1.03, n),
        "m": rng.uniform(0.1, 2.0, n),
    }
)
exact = np.sqrt(2 * falls["g"] * falls["h"])
speed = pd.Series(exact * (1 + 0.02 * rng.normal(size=n)), name="v")
falls.assign(v=speed).head()

# %% [markdown]
# ## With units
#
# With three columns and their units, a law has little freedom left: a speed can only be $\sqrt{g
# h}$ times a number, since nothing else has the kilogram of the mass to cancel it. A unit is text
# that pint reads, or an expression of `sympy.physics.units`, as here, which needs nothing
# installed.

# %%
from sympy.physics.units import kilogram, meter, second

units = {"h": meter, "g": meter / second**2, "m": kilogram, "v": meter / second}
est = KANRegressor(max_time=15, random_state=0, units=units, progress=False)
est.fit(falls, speed)
print(est.formula_)
print(f"{est.verdict_}: {est.reason_}")

# %%
show(est.plot_fit(falls, speed), "fit")

# %% [markdown]
# The number is $\sqrt 2$ to three digits. The verdict is careful all the same: with noise of this
# size a formula with one fitted number could still stand in for another law. That is what
# `AMBIGUOUS` says: right as far as these rows can tell, and they cannot tell everything. The
# residual below is what a fit should leave: no trend, and no wave, but a spread that grows with
# the speed, as the error does.
#
# ## Few rows, much noise
#
# Now a poor man's experiment: 30 falls on Earth alone, over a small range of heights, to 5 %, and
# no units. A root, a logarithm and a straight line look much the same over such a range.

# %%
few = pd.DataFrame({"h": rng.uniform(5.0, 20.0, 30)})
measured = np.sqrt(2 * 9.81 * few["h"]) * (1 + 0.05 * rng.normal(size=30))
measured = measured.rename("v")
poor = KANRegressor(max_time=15, random_state=0, progress=False).fit(few, measured)
print(poor.formula_)
print(f"{poor.verdict_}: {poor.reason_}")

# %% [markdown]
# Again `AMBIGUOUS`, and now for a plainer reason. It is no failure of the fit: the formula
# describes the rows as well as the noise allows, but so do others: its *rivals*, within ten nats
# of description length. Which of them is the law, these rows cannot say.

# %%
poor.rivals_[["complexity", "R2", "formula"]]

# %% [markdown]
# Where rivals agree, it does not matter which one is used; where they part, a new measurement
# decides. So they say which experiment to do next. Here are the formulas of both tables at a
# height of 100 m, far outside what was measured.

# %%
far = pd.DataFrame({"h": [100.0]})
print(f"the law:         {np.sqrt(2 * 9.81 * 100):6.1f} m/s")
print(f"the poor table:  {poor.predict(far)[0]:6.1f} m/s")
far = pd.DataFrame({"h": [100.0], "g": [9.81], "m": [1.0]})
print(f"the good table:  {est.predict(far)[0]:6.1f} m/s")

# %%
show(poor.plot_pareto(), "front")
