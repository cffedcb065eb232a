"""Reports that the tests of the page and those in a browser share."""

import numpy as np
import sympy
import torch

from kansym import KAN, Formula, KANRegressor
from kansym.discovery.records import Discovery, Finding, Verdict

HOSTILE = [
    "<script>window.hacked = true</script>",
    "</script><script>window.hacked = true</script>",
    "</style><img src=x onerror='window.hacked = true'>",
    '" onmouseover="window.hacked = true',
    "' onfocus='window.hacked = true' x='",
    "]]><b>bold</b>",
    "$x$ \\input{/etc/passwd} \\frac{1}{0}",
    "line\nbreak\x00\x1b",
    "\u202egnp.exe\u2066 \u200bzero",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp;",
    "x" * 300,
    "",
    "\\",
    "-->",
]

HOSTILE_TRIPLES = [tuple(HOSTILE[n : n + 3]) for n in range(0, len(HOSTILE), 3)]


def network(width=(2, 5, 1), steps=8, names=None, lamb=1e-3):
    """A network that has seen exp(sin(pi x1) + x2^2)."""
    X = 2 * torch.rand(150, width[0], generator=torch.Generator().manual_seed(0)).double() - 1
    y = torch.exp(torch.sin(torch.pi * X[:, :1]) + X[:, 1:2] ** 2)
    model = KAN(list(width), grid=3, seed=0)
    model.fit((X, y), steps=steps, lamb=lamb, progress=False)
    if names:
        model.feature_names, model.target_names = tuple(names[:-1]), (names[-1],)
    return model


def search(names=("m [kg]", "v_0", "E [J]"), verdict=Verdict.CONSISTENT):
    """An estimator as after a fit that found ten formulas and a rival, without the search."""
    v1, v2 = variables = sympy.symbols("v1 v2", real=True)
    exprs = [
        sympy.Float(4.2), 2.5 * v1, 1.3 * v1 + v2, v1 * v2, 0.6 * v1 * v2**2,
        v1 * v2**2 / 2, v1 * v2**2 / 2 + 0.01 * v1, v1 * v2**2 / 2 + 0.01 * sympy.sin(3.1 * v1),
        v1 * v2**2 / 2 + 0.01 * sympy.exp(-v2) * v1, sympy.gamma(v1 + 2) * 0.1 + v2,
    ]  # fmt: skip
    findings = tuple(
        Finding(e, 2 * n + 1, 4.0 * 10.0**-n, 1 - 10.0**-n, 0.0) for n, e in enumerate(exprs)
    )
    rival = Finding(v1 * sympy.sinh(v2), 6, 1e-5, 0.999, 0.0)
    est = KANRegressor(random_state=3)
    est._found = (
        Discovery(findings, findings[5], verdict, "the residual < noise & fine", (rival,)),
    )
    est._variables, est._names, est._targets = variables, tuple(names[:2]), (names[2],)
    X = np.random.default_rng(0).uniform(1, 3, (120, 2))
    y = X[:, :1] * X[:, 1:] ** 2 / 2 + np.random.default_rng(1).normal(0, 0.01, (120, 1))
    est._rows, est._network, est._is_flat, est.n_features_in_ = (X, y), None, True, 2
    return est


def named():
    """A network whose every edge is named, and which equals its formula."""
    a, b = sympy.symbols("a b", real=True)
    formula = Formula([sympy.exp(sympy.sin(3.1 * a) + 0.5 * b**2)], [a, b], target_names=["f"])
    X = np.random.default_rng(0).uniform(-1, 1, (80, 2))
    return KAN.from_formula(formula, X, formula.evaluate(X))
