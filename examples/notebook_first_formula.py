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
# # From a table to a formula
#
# A pipe of glass, some water, a stop-watch: Hagen and Poiseuille found around 1840 how much of a
# fluid runs through a thin tube in a second. Doubling the pressure doubles the flow, and so far
# it is what one would guess. Doubling the *radius* makes it sixteen times as much, which nobody
# guessed. Here is a table such as they might have written, and a search that knows neither law
# nor exponent.
#
# Open this file as a notebook (jupytext, or the editor's own percent format), or run it: `python
# examples/notebook_first_formula.py --out DIR` writes the pictures into a folder.

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
# ## The table
#
# 300 tubes: radius $r$, length $L$, difference of pressure $\Delta p$ and viscosity $\mu$ in
# units of the laboratory. The flow $Q$ is exact here; measurements with noise come in another
# notebook, `notebook_units_and_noise.py`.

# %%
rng = np.random.default_rng(0)
tubes = pd.DataFrame(
    {
        "r [mm]": rng.uniform(0.3, 1.0, 300),
        "L [m]": rng.uniform(0.1, 0.5, 300),
        "p [kPa]": rng.uniform(1.0, 10.0, 300),
        "mu": rng.uniform(0.8, 1.6, 300),
    }
)
flow = np.pi * tubes["p [kPa]"] * tubes["r [mm]"] ** 4 / (8 * tubes["mu"] * tubes["L [m]"])
flow = flow.rename("Q")
tubes.assign(Q=flow).head()

# %% [markdown]
# ## The search
#
# `KANRegressor` is a regressor like any other of scikit-learn. What it fits is not a set of
# weights but a list of formulas, from the simplest to the best.

# %%
est = KANRegressor(max_time=20, random_state=0)
est.fit(tubes, flow)
print(est.formula_)
est

# %% [markdown]
# The fourth power is there, and so is $\pi/8$: a fitted number is replaced by an exact one where
# a chance hit is very unlikely and the others, fitted again, are none the worse.
#
# ## How far to trust it
#
# A small error alone proves nothing. The verdict looks at more: whether the residual is rounding,
# also on the outermost rows, which no fit had seen.

# %%
print(f"{est.verdict_}: {est.reason_}")
est.equations_

# %% [markdown]
# The front shows what each further piece of formula was worth. The fall by many powers of ten is
# what a law looks like; a front that glides down slowly is what a fit looks like.

# %%
show(est.plot_pareto(), "front")

# %%
show(est.plot_features(), "importances")

# %% [markdown]
# The radius matters most by far: that is the fourth power again.
#
# ## Taking it with you
#
# Names of columns become identifiers, with a legend that says which is which.

# %%
print(est.latex())
print(est.formula_.to("python"))
print(est.formula_.to("excel"))

# %% [markdown]
# ## The network behind it
#
# Every formula is also a Kolmogorov-Arnold network with a named function on each edge.

# %%
show(est.network_.plot(), "network")
