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
# # A network, by hand
#
# The search does all of this by itself. Doing it once by hand shows what is inside: train, cut,
# look at an edge, give it a name, read the formula.
#
# The law is the speed of water waves. In water of depth $h$ a wave of wave number $k$ runs with
# $c = \sqrt{(g / k) \tanh(k h)}$. Short waves do not feel the ground, $c = \sqrt{g / k}$; long
# ones do not feel their length, $c = \sqrt{g h}$, which is how a tsunami crosses an ocean. The
# hyperbolic tangent in between is the interesting part.
#
# Two variables go into it, but in what way? We look at $q = c^2 k / g$ over $u = \ln k$ and $v =
# \ln h$, since a product is a sum of logarithms, and a network adds.

# %%
import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from kansym import KAN

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
# ## Data
#
# 600 waves. The third column, the temperature $T$ of the water, has nothing to do with it.

# %%
g = 9.81
rng = np.random.default_rng(1)
k, h = np.exp(rng.uniform(-1.5, 1.0, 600)), np.exp(rng.uniform(-1.0, 0.7, 600))
speed = np.sqrt(g / k * np.tanh(k * h))
waves = pd.DataFrame({"u": np.log(k), "v": np.log(h), "T [degC]": rng.uniform(5, 25, 600)})
q = pd.Series(speed**2 * k / g, name="q")
waves.assign(q=q).head()

# %% [markdown]
# ## Train, sparsely
#
# A network with more nodes than it needs, and a penalty on every edge that is used.

# %%
model = KAN([3, 3, 1], grid=5, seed=0)
model.fit((waves, q), lamb=1e-3, steps=50, progress=False)
show(model.plot(), "trained")

# %% [markdown]
# ## Cut
#
# `prune` leaves out nodes and edges that hardly matter, `merge` joins hidden nodes that carry the
# same sum. Both return a new model. The temperature is gone.

# %%
model = model.prune().merge()
model.fit((waves, q), grids=(5, 10, 20), progress=False)
print(model)
show(model.plot(), "pruned")

# %%
show(model.plot_history(), "history")

# %% [markdown]
# ## Look at the edges
#
# The edges from the inputs: straight lines, with the same slope. The network has found by itself
# that only $u + v$ counts, that is $\ln(kh)$: the depth in lengths of the wave.

# %%
show(model.plot_edge(0, 0, 0), "edge_u")

# %%
model.suggest_symbolic(0, 0, 0, topk=3)

# %%
for i in (0, 1):
    model.fix_symbolic(0, i, 0, "x")
model.fit((waves, q), progress=False)

# %% [markdown]
# The outer edge is $\tanh(e^w)$, which is none of the library's functions. Here the table of
# suggestions is worth reading: something fits well, nothing to rounding.

# %%
model.suggest_symbolic(1, 0, 0, topk=5)

# %% [markdown]
# So we add the function that physics suggests. One line each for the numbers and the formula.

# %%
import sympy
import torch

from kansym import register_function

register_function(
    "tanh(exp)",
    torch=lambda w: torch.tanh(torch.exp(w)),
    sympy=lambda w: sympy.tanh(sympy.exp(w)),
    complexity=4,
    replace=True,
)
model.suggest_symbolic(1, 0, 0, topk=3)

# %%
model.fix_symbolic(1, 0, 0, "tanh(exp)")
model.fit((waves, q), progress=False)
show(model.plot_edge(1, 0, 0), "edge_outer")

# %% [markdown]
# ## The formula
#
# With exact constants where the data bear them out. Since $e^{u + v} = kh$, it reads $c^2 k / g =
# \tanh(kh)$.

# %%
formula = model.symbolic_formula(snap=True)
print(formula)
show(model.plot(formula=formula), "named")

# %% [markdown]
# What is left of the speed itself, in metres a second, when the formula is put back:

# %%
found = np.sqrt(g / k * formula.evaluate(waves)[:, 0])
print(f"largest error of the speed: {np.abs(found - speed).max():.1e} m/s")
