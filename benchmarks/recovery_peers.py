"""The methods whose formulas are judged, each brought to one form.

A method is a function (X, y, names, budget, seed, jobs, **options) -> Found. Nobody is told the
noise, the ranges or the law. A method of your own: `--methods MODULE:FUNCTION`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import common
import formulas
import numpy as np


@dataclass(frozen=True)
class Found:
    """formula: in the names of the variables, or None. predict: from X to y; without one the
    formula is evaluated. verdict (EXACT, CONSISTENT, AMBIGUOUS, APPROXIMATE or NONE) and exact:
    what the method itself claims, None for methods that claim nothing.
    """

    formula: str | None
    predict: Callable[[np.ndarray], np.ndarray] | None = None
    verdict: str | None = None
    exact: bool | None = None


Adapter = Callable[..., Found]


@dataclass(frozen=True)
class Method:
    """modules: imported before the clock starts. distribution: its name for pip."""

    find: Adapter
    modules: tuple[str, ...]
    distribution: str

    @property
    def is_missing(self) -> bool:
        return not all(map(_is_there, self.modules))

    def load(self) -> None:
        for module in self.modules:
            import_module(module)


def method(name: str) -> Method:
    """By name, or as MODULE:FUNCTION. Raises ValueError."""
    if name in METHODS:
        return METHODS[name]
    module, _, function = name.partition(":")
    if not function:
        raise ValueError(
            f"unknown method {name!r}; there are {', '.join(METHODS)}, MODULE:FUNCTION"
        )
    return Method(getattr(import_module(module), function), (module,), "")


def version(name: str) -> str:
    """What a result belongs to: kansym's last commit and what came on top, a peer's release."""
    if name == "kansym":
        return common.source_version("kansym")
    distribution = method(name).distribution
    return (distribution and common.installed(distribution)[distribution]) or "unknown"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


# -- kansym ---------------------------------------------------------------------------------------


def kansym(
    X: np.ndarray, y: np.ndarray, names: Sequence[str], budget: float, seed: int, jobs: int,
    **options: Any,
) -> Found:  # fmt: skip
    """options: further arguments of KANRegressor."""
    import pandas as pd

    from kansym.estimator import KANRegressor

    given = {"max_time": budget, "random_state": seed, "n_jobs": jobs, "progress": False}
    model = KANRegressor(**{**given, **options})
    model.fit(pd.DataFrame(X, columns=list(names)), y)
    verdict = getattr(model, "verdict_", None)
    return Found(
        _text_of(model.sympy()),
        lambda X: model.predict(pd.DataFrame(X, columns=list(names))),
        None if verdict is None else str(getattr(verdict, "name", verdict)).upper(),
        getattr(model, "exact_", None),
    )


def _text_of(expression: Any) -> str | None:
    import sympy

    if expression is None:
        return None
    first = expression[0] if isinstance(expression, tuple | list) else expression
    return sympy.sstr(first, full_prec=True)


# -- Operon ---------------------------------------------------------------------------------------

OPERON_SYMBOLS = "add,sub,mul,div,constant,variable,exp,log,sin,cos,tanh,sqrt,square"
SINGLE_PRECISION = 1e-6  # Operon computes in it: closer than this, relative, is luck


def operon(
    X: np.ndarray, y: np.ndarray, names: Sequence[str], budget: float, seed: int, jobs: int,
    **options: Any,
) -> Found:  # fmt: skip
    """Accuracy against length (NSGA-II), constants fitted by Levenberg-Marquardt, until the time is
    up. From the front, the formula with the smallest Bayesian information criterion: Operon's own
    choice, by description length, wants to be told the noise."""
    from pyoperon.sklearn import SymbolicRegressor

    given = {
        "allowed_symbols": OPERON_SYMBOLS,
        "objectives": ["r2", "length"],
        "optimizer_iterations": 10,
        "max_length": 50,
        "epsilon": 0.0,  # by default errors closer than 1e-5 count as equal, and no law is reached
        "population_size": 1000,
        "generations": 10**9,
        "max_evaluations": 10**12,
        "max_time": int(budget),
        "n_threads": jobs,
        "random_state": seed,
    }
    model = SymbolicRegressor(**{**given, **options}).fit(X, y)
    floor = (SINGLE_PRECISION * y.std()) ** 2

    def criterion(entry: dict[str, Any]) -> float:
        error = entry["mean_squared_error"]
        if not np.isfinite(error):
            return np.inf
        return len(y) * np.log(max(error, floor)) + entry["length"] * np.log(len(y))

    tree = min(model.pareto_front_, key=criterion)["tree"]
    text = model.get_model_string(tree, precision=12)
    return Found(formulas.renamed(text, {f"X{i + 1}": name for i, name in enumerate(names)}))


# -- gplearn --------------------------------------------------------------------------------------


def gplearn(
    X: np.ndarray, y: np.ndarray, names: Sequence[str], budget: float, seed: int, jobs: int,
    **options: Any,
) -> Found:  # fmt: skip
    """Its own defaults with more functions; generations are added until the time is up. Its sqrt
    and log are those of the absolute value."""
    from gplearn.functions import make_function
    from gplearn.genetic import SymbolicRegressor

    started = time.perf_counter()
    exp = make_function(function=_bounded_exp, name="exp", arity=1)
    square = make_function(function=_square, name="square", arity=1)
    operators = ("add", "sub", "mul", "div", "sqrt", "log", "neg", "inv", "sin", "cos")
    given = {
        "population_size": 1000,
        "function_set": (*operators, exp, square),
        "const_range": (-5.0, 5.0),
        "n_jobs": jobs,
        "random_state": seed,
    }
    model = SymbolicRegressor(**{**given, **options}, generations=0, warm_start=True)
    longest = 0.0
    while time.perf_counter() - started + longest < budget:
        begun = time.perf_counter()
        model.set_params(generations=model.generations + 2).fit(X, y)
        longest = max(longest, time.perf_counter() - begun)
        if model._program.raw_fitness_ <= SINGLE_PRECISION * y.std():
            break
    text = str(model._program)
    for function in ("sqrt", "log"):
        text = text.replace(f"{function}(", f"{function}abs(")
    return Found(formulas.renamed(text, {f"X{i}": name for i, name in enumerate(names)}))


def _bounded_exp(x: np.ndarray) -> np.ndarray:
    return np.exp(np.clip(x, -50, 50))


def _square(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -1e50, 1e50) ** 2


# -- pykan ----------------------------------------------------------------------------------------

PYKAN_LIBRARY = (
    *("x", "x^2", "x^3", "x^4", "1/x", "1/x^2", "sqrt", "1/sqrt(x)"),
    *("exp", "log", "sin", "cos", "tanh", "abs"),
)


PYKAN_NETWORKS = ([3, 2], 5)  # three sums and two products; five sums
PYKAN_NAMING_ROWS = (
    200  # with 1,000 an edge takes 20 s, and a budget of a minute ends before naming
)


def pykan(
    X: np.ndarray, y: np.ndarray, names: Sequence[str], budget: float, seed: int, jobs: int,
    **options: Any,
) -> Found:  # fmt: skip
    """Its tutorial: train sparsely, prune, refit, refine, refit, name, refit, with product nodes
    [n, [3, 2], 1] and, if the time left will do, with [n, 5, 1]; of two formulas the one with the
    smaller error on a fifth of the rows kept aside. Naming takes the greater part of the time and
    cannot be hurried; training ends early when its 40 % of the budget are spent. options:
    `hidden`, the one hidden layer to try."""
    import sympy
    import torch

    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(jobs)
    started = time.monotonic()
    cut = len(y) * 4 // 5
    symbols = [sympy.Symbol(name, real=True) for name in names]
    found: list[tuple[float, str]] = []
    failure: Exception | None = None
    for turn, hidden in enumerate([options["hidden"]] if options else PYKAN_NETWORKS):
        if turn and 2 * (time.monotonic() - started) > budget:
            break
        try:
            model = _pykan_trained(X[:cut], y[:cut], hidden, seed, 0.4 * budget)
            formula = sympy.sstr(model.symbolic_formula(var=symbols)[0][0], full_prec=True)
            values = formulas.evaluate(formulas.read(formula, names), names, X[cut:])
        except Exception as error:  # one network failing leaves the other
            failure = error
            continue
        error = float(np.mean((values - y[cut:]) ** 2))
        found.append((error if np.isfinite(error) else np.inf, formula))
    if not found and failure:
        raise failure
    return Found(min(found)[1])


def _pykan_trained(X: np.ndarray, y: np.ndarray, hidden: Any, seed: int, seconds: float) -> Any:
    """A network all of whose edges are named. seconds: for training, before naming."""
    import torch
    from kan import KAN

    inputs, label = torch.tensor(X), torch.tensor(y)[:, None]
    data = {"train_input": inputs, "train_label": label}
    data |= {"test_input": inputs, "test_label": label}  # pykan wants them; it learns nothing there
    begun = time.monotonic()

    def fit(model: Any, share: float, **more: Any) -> None:
        """50 steps, ten at a time, while less than this share of the time is spent."""
        for _ in range(5):
            model.fit(data, opt="LBFGS", steps=10, **more)
            if time.monotonic() - begun > share * seconds:
                break

    model = KAN(width=[X.shape[1], hidden, 1], grid=3, k=3, seed=seed)
    fit(model, 0.5, lamb=1e-3)
    model = model.prune()
    fit(model, 0.75)
    model = model.refine(10)
    fit(model, 1.0)
    model(inputs[:PYKAN_NAMING_ROWS])  # the rows pykan then names edges by
    model.auto_symbolic(lib=list(PYKAN_LIBRARY), verbose=0)
    begun = time.monotonic()
    fit(model, 0.2)
    return model


METHODS = {
    "kansym": Method(
        kansym, ("kansym.estimator.regressor", "kansym.discovery.search", "pandas"), "kansym"
    ),
    "operon": Method(operon, ("pyoperon.sklearn",), "pyoperon"),
    "gplearn": Method(gplearn, ("gplearn.genetic",), "gplearn"),
    "pykan": Method(pykan, ("kan",), "pykan"),
}
